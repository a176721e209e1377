//! Tokens on a live connection: refreshed, expired, revoked.

use std::sync::Arc;

use sallyport_identity::{Moment, NotVerified, Refusal, Verified};

use super::{NEVER, Resume, Session, Wait, millis};
use crate::client::Kind;
use crate::hub::ClassKey;
use crate::protocol::command::SubRefresh;
use crate::protocol::{Close, ErrorCode, Unsubscribed, reply};
use crate::who::{Who, refresh_after};

impl Session {
    pub(super) fn refresh(&mut self, id: u32, token: &str) -> Option<Wait> {
        let Some(verifier) = self.shared.plan.verifier.clone().filter(|_| !token.is_empty()) else {
            self.client.close(Close::BAD_REQUEST);
            return None;
        };
        let token = token.to_owned();
        Some(Box::pin(async move { Resume::Refresh { id, verified: verifier.verify(&token).await } }))
    }

    pub(super) fn refreshed(
        &mut self,
        id: u32,
        verified: Result<Arc<Verified>, NotVerified>,
    ) -> Option<Wait> {
        let who = match verified {
            Ok(verified) => Who::Token(verified),
            Err(NotVerified::Refused(Refusal::Expired)) => {
                self.fail(id, "refresh", ErrorCode::TOKEN_EXPIRED);
                return None;
            }
            Err(NotVerified::Unavailable) => {
                self.fail(id, "refresh", ErrorCode::INTERNAL);
                return None;
            }
            Err(NotVerified::Refused(_)) => {
                self.client.close(Close::INVALID_TOKEN);
                return None;
            }
        };
        if who.user(&self.shared.plan.settings.user_claim) != self.user {
            self.client.close(Close::INVALID_TOKEN);
            return None;
        }
        self.who = who;
        self.take_expiry();
        self.seat_anew();
        let expires_in = self.who.expires_in();
        let result = reply::Refreshed {
            client: self.client.name.to_string(),
            expires: expires_in.is_some(),
            ttl: expires_in.map_or(0, refresh_after),
        };
        self.reply(id, "refresh", &result);
        if self.client.resume() {
            self.recover_what_was_withheld();
        }
        self.set_timer();
        None
    }

    /// New claims may allow more or less: subscriptions that are not allowed any more end, the others are judged by the
    /// new claims from the next event on.
    fn seat_anew(&mut self) {
        let Session { subscriptions, shared, client, who, .. } = self;
        subscriptions.retain_mut(|held| {
            let channel = held.subscription.channel.clone();
            let Some(family) = shared.plan.families.get(crate::hub::family_of(&channel)) else {
                return false;
            };
            if !family.may_subscribe(who.claims(), &channel) {
                shared.hub.unsubscribe(client, &held.subscription);
                client.tell(&reply::unsubscribed(&channel, Unsubscribed::SERVER));
                return false;
            }
            let (text, read) = family.subject(who.claims());
            shared.hub.seat_anew(
                client,
                &mut held.subscription,
                |filter| ClassKey { claims: text, filter },
                &read,
            );
            true
        });
    }

    /// Events were withheld while the token had expired: SDKs subscribe again and recover them.
    fn recover_what_was_withheld(&mut self) {
        if self.subscriptions.iter().any(|held| held.server_side) {
            // What the server has subscribed it to comes back with a new connection only.
            self.client.close(Close::INSUFFICIENT_STATE);
            return;
        }
        for held in self.subscriptions.drain(..) {
            self.shared.hub.unsubscribe(&self.client, &held.subscription);
            let notice = reply::unsubscribed(&held.subscription.channel, Unsubscribed::INSUFFICIENT_STATE);
            self.client.tell(&notice);
        }
    }

    pub(super) fn refresh_subscription(&mut self, id: u32, command: &SubRefresh<'_>) -> Option<Wait> {
        let verifier =
            self.shared.plan.verifier.clone().filter(|_| command.kind == 0 && !command.token.is_empty());
        let Some(verifier) = verifier else {
            self.client.close(Close::BAD_REQUEST);
            return None;
        };
        let (channel, token) = ((&*command.channel).into(), command.token.to_string());
        Some(Box::pin(async move {
            Resume::SubscriptionRefresh { id, channel, verified: verifier.verify(&token).await }
        }))
    }

    pub(super) fn subscription_refreshed(
        &mut self,
        id: u32,
        channel: &str,
        verified: Result<Arc<Verified>, NotVerified>,
    ) -> Option<Wait> {
        let expires_at = self.subscription_expiry(channel, verified);
        let held = self.subscriptions.iter_mut().find(|held| &*held.subscription.channel == channel);
        let (held, expires_at) = match (held, expires_at) {
            (Some(held), Ok(expires_at)) => (held, expires_at),
            (_, Err(error)) => {
                self.fail(id, "sub_refresh", error);
                return None;
            }
            (None, Ok(_)) => {
                self.fail(id, "sub_refresh", ErrorCode::PERMISSION_DENIED);
                return None;
            }
        };
        held.expires_at = expires_at;
        let expires = expires_at != NEVER;
        let left = expires_at.saturating_sub(self.shared.timers.now());
        let ttl = if expires { refresh_after(left) } else { 0 };
        self.reply(id, "sub_refresh", &reply::Refreshed { client: String::new(), expires, ttl });
        self.set_timer();
        None
    }

    /// The identity has expired: no more events, and the end after the grace.
    pub(super) fn expired(&mut self, now: u64) {
        let grace = millis(self.shared.plan.settings.connection.expiry_grace.as_millis());
        let still_good = self.who.expires_in().is_none_or(|left| left > 0);
        if still_good {
            // The clock of the day went back, or it was refreshed meanwhile.
            self.take_expiry();
        } else if self.client.is_suspended() || grace == 0 || self.client.kind == Kind::Events {
            // A stream of server-sent events has no way to refresh.
            self.client.close(Close::EXPIRED);
        } else {
            self.client.suspend();
            self.times.expires_at = now + grace;
        }
    }

    /// Whether the identity was taken back since. For whom the edge has identified that is known if the bridge believes the
    /// same issuer.
    pub(super) fn revoked(&self) -> bool {
        match (&self.who, &self.shared.plan.verifier) {
            (Who::Token(verified), Some(verifier)) => {
                let good = verifier.still_good(verified, Moment::now());
                good.is_err_and(|refusal| refusal != Refusal::Expired)
            }
            (Who::Edge(claims), Some(verifier)) => verifier.revoked(claims),
            _ => false,
        }
    }
}
