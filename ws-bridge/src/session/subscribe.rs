//! Subscriptions: who may have them, how they begin, what they begin with.

use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use sallyport_identity::{NotVerified, Refusal, Verified};
use serde_json::Value;

use super::{Held, NEVER, Resume, Session, Wait};
use crate::client::RECOVERY_QUEUES;
use crate::hub::{self, CaughtUp, ClassKey, Family, Since, family_of};
use crate::protocol::command::{FLAG_REJECT_UNRECOVERED, Subscribe};
use crate::protocol::{Close, ErrorCode, TagFilter, Unsubscribed, reply};
use crate::who::{Who, refresh_after};

/// How often a client that is ahead of this node is looked at again, and how many times.
const AHEAD_PAUSE: Duration = Duration::from_millis(100);
const AHEAD_TRIES: u32 = 30;

/// A subscription that somebody wants.
#[derive(Clone)]
pub(crate) struct Wish {
    pub(crate) channel: Arc<str>,
    pub(crate) filter: Option<Arc<TagFilter>>,
    pub(crate) since: Option<Since>,
    pub(crate) reject_unrecovered: bool,
    pub(crate) server_side: bool,
    pub(crate) wants_changes: bool,
    /// When its token expires, by the timers' clock.
    pub(crate) expires_at: u64,
    /// How often it was found to be ahead of this node.
    pub(crate) ahead: u32,
    /// Whether it has been caught up, or cannot be.
    pub(crate) settled: bool,
}

/// What a subscription has waited for.
pub(crate) enum Looked {
    /// Some time, because the client was ahead of this node.
    Again,
    /// A catch-up.
    CaughtUp(CaughtUp),
    /// A catch-up that could not be carried out.
    InVain,
}

/// What became of a wish.
pub(crate) enum Begun {
    Done(Arc<str>, reply::Subscribed),
    Wait(Wish, BoxFuture<'static, Looked>),
    Failed(ErrorCode),
}

impl Wish {
    /// A subscription that the server makes.
    pub(super) fn of_server(channel: Arc<str>) -> Wish {
        Wish {
            channel,
            filter: None,
            since: None,
            reject_unrecovered: false,
            server_side: true,
            wants_changes: false,
            expires_at: NEVER,
            ahead: 0,
            settled: false,
        }
    }
}

impl Session {
    pub(super) fn subscribe(&mut self, id: u32, command: Subscribe<'_>) -> Option<Wait> {
        if command.channel.is_empty() {
            self.client.close(Close::BAD_REQUEST);
            return None;
        }
        let wish = match self.wish(&command) {
            Ok(wish) => wish,
            Err(error) => {
                self.fail(id, "subscribe", error);
                return None;
            }
        };
        if self.subscriptions.len() >= self.shared.plan.settings.limits.subscriptions {
            self.client.close(Close::CHANNEL_LIMIT);
            return None;
        }
        let needs_token = self.family(&wish.channel).is_some_and(|family| family.token);
        if !needs_token {
            return self.subscribe_wish(id, wish, None);
        }
        let Some(verifier) = self.shared.plan.verifier.clone().filter(|_| !command.token.is_empty()) else {
            self.fail(id, "subscribe", ErrorCode::PERMISSION_DENIED);
            return None;
        };
        let token = command.token.into_owned();
        Some(Box::pin(
            async move { Resume::SubscribeToken { id, wish, verified: verifier.verify(&token).await } },
        ))
    }

    /// What the command asks for, if it can be had at all.
    fn wish(&mut self, command: &Subscribe<'_>) -> Result<Wish, ErrorCode> {
        let channel: Arc<str> = (&*command.channel).into();
        if command.kind != 0 {
            return Err(ErrorCode::NOT_AVAILABLE);
        }
        let family = self.family(&channel).ok_or(ErrorCode::UNKNOWN_CHANNEL)?;
        check_name(&channel, family, self.shared.plan.settings.limits.channel_bytes)?;
        let wants_changes = command.join_leave && family.join_leave;
        if self.holds(&channel) {
            return Err(ErrorCode::ALREADY_SUBSCRIBED);
        }
        let filter = match &command.tf {
            None => None,
            Some(node) => Some(TagFilter::compile(node.clone()).ok_or(ErrorCode::BAD_REQUEST)?.into()),
        };
        let since = command.recover.then(|| Since { epoch: command.epoch.to_string(), offset: 0 });
        Ok(Wish {
            filter,
            since,
            reject_unrecovered: command.flag & FLAG_REJECT_UNRECOVERED != 0,
            server_side: false,
            wants_changes,
            ..Wish::of_server(channel)
        })
    }

    /// A channel of a stream of server-sent events.
    pub(super) fn wish_for_events(&self, channel: &Arc<str>) -> Result<Wish, ErrorCode> {
        let family = self.family(channel).ok_or(ErrorCode::UNKNOWN_CHANNEL)?;
        check_name(channel, family, self.shared.plan.settings.limits.channel_bytes)?;
        // There is no place for a channel's token here.
        if family.token || !family.may_subscribe(self.who.claims(), channel) {
            return Err(ErrorCode::PERMISSION_DENIED);
        }
        Ok(Wish { server_side: false, ..Wish::of_server(channel.clone()) })
    }

    pub(super) fn subscribe_verified(
        &mut self,
        id: u32,
        mut wish: Wish,
        verified: Result<Arc<Verified>, NotVerified>,
    ) -> Option<Wait> {
        match self.subscription_expiry(&wish.channel, verified) {
            Ok(expires_at) => wish.expires_at = expires_at,
            Err(error) => {
                self.fail(id, "subscribe", error);
                return None;
            }
        }
        self.subscribe_wish(id, wish, None)
    }

    pub(super) fn subscribe_caught_up(&mut self, id: u32, wish: Wish, caught_up: Looked) -> Option<Wait> {
        self.subscribe_wish(id, wish, Some(caught_up))
    }

    fn subscribe_wish(&mut self, id: u32, wish: Wish, caught_up: Option<Looked>) -> Option<Wait> {
        let command = self.reply_inside(id);
        match self.begin_with(wish, caught_up, command) {
            Begun::Done(..) => None,
            Begun::Wait(wish, caught_up) => {
                Some(Box::pin(async move { Resume::Subscribe { id, wish, caught_up: caught_up.await } }))
            }
            Begun::Failed(error) => {
                self.fail(id, "subscribe", error);
                None
            }
        }
    }

    /// Tells the result of a subscription while the hub holds its breath, so that no event overtakes it.
    fn reply_inside(&self, id: u32) -> impl FnOnce(&reply::Subscribed) + use<> {
        let (client, metrics) = (self.client.clone(), self.shared.metrics.clone());
        move |result| {
            metrics.commands.with_label_values(&["subscribe", "ok"]).inc();
            client.tell(&reply::result(id, "subscribe", result));
        }
    }

    pub(crate) fn begin(&mut self, wish: Wish, caught_up: Option<Looked>) -> Begun {
        self.begin_with(wish, caught_up, |_| {})
    }

    /// Begins a subscription, or says what it waits for. `tell` is called with the result before any event.
    fn begin_with(
        &mut self,
        mut wish: Wish,
        caught_up: Option<Looked>,
        tell: impl FnOnce(&reply::Subscribed),
    ) -> Begun {
        let shared = self.shared.clone();
        let claims = self.who.claims();
        let Some(family) = self.family(&wish.channel) else {
            return Begun::Failed(ErrorCode::UNKNOWN_CHANNEL);
        };
        if let Err(error) = check_name(&wish.channel, family, shared.plan.settings.limits.channel_bytes) {
            return Begun::Failed(error);
        }
        if (family.token && wish.server_side && self.is_nobody())
            || !family.may_subscribe(claims, &wish.channel)
        {
            return Begun::Failed(ErrorCode::PERMISSION_DENIED);
        }
        let (caught_up, in_vain) = match caught_up {
            None | Some(Looked::Again) => (None, false),
            Some(Looked::CaughtUp(caught_up)) => (Some(caught_up), false),
            Some(Looked::InVain) => (None, true),
        };
        wish.settled |= caught_up.is_some() || in_vain;
        let was_behind = wish.settled;
        let (text, read) = family.subject(claims);
        let limits = &shared.plan.settings.limits;
        let request = hub::Request {
            channel: wish.channel.clone(),
            key: ClassKey { claims: text, filter: wish.filter.clone() },
            claims: &read,
            user: self.user.clone(),
            since: wish.since.clone(),
            give_up: in_vain || wish.ahead >= AHEAD_TRIES,
            reject_unrecovered: wish.reject_unrecovered,
            server_side: wish.server_side,
            wants_changes: wish.wants_changes,
            bytes_max: (limits.queue_bytes.0 as usize).saturating_mul(RECOVERY_QUEUES),
            may_catch_up: limits.catch_up_records > 0 && !wish.settled,
        };
        let mut result = reply::Subscribed::default();
        let begun = shared.hub.subscribe(&self.client, request, caught_up, |welcome| {
            result = subscribed(welcome, wish.expires_at, shared.timers.now());
            shared.note_recovery(welcome.recovered, was_behind);
            tell(&result);
        });
        match begun {
            Ok(subscription) => {
                let channel = wish.channel.clone();
                let (expires_at, server_side) = (wish.expires_at, wish.server_side);
                // Most have one, and a list of its own accord has room for four.
                if self.subscriptions.is_empty() {
                    self.subscriptions.reserve_exact(1);
                }
                self.subscriptions.push(Held { subscription, expires_at, server_side });
                self.set_timer();
                Begun::Done(channel, result)
            }
            Err(refusal) => self.not_begun(wish, refusal),
        }
    }

    /// What becomes of a subscription that the hub has refused: it failed, or begins anew when what it waits for is there.
    fn not_begun(&self, mut wish: Wish, refusal: hub::Refusal) -> Begun {
        match refusal {
            hub::Refusal::Unknown => Begun::Failed(ErrorCode::UNKNOWN_CHANNEL),
            hub::Refusal::NotReady => Begun::Failed(ErrorCode::NOT_READY),
            hub::Refusal::Unrecoverable => Begun::Failed(ErrorCode::UNRECOVERABLE_POSITION),
            hub::Refusal::Ahead => {
                wish.ahead += 1;
                let pause = async {
                    tokio::time::sleep(AHEAD_PAUSE).await;
                    Looked::Again
                };
                Begun::Wait(wish, Box::pin(pause))
            }
            hub::Refusal::CatchUp(needed) => {
                let caught_up = self.shared.catch_up.read(wish.channel.clone(), needed);
                let looked = async { caught_up.await.map_or(Looked::InVain, Looked::CaughtUp) };
                Begun::Wait(wish, Box::pin(looked))
            }
        }
    }

    pub(super) fn unsubscribe(&mut self, id: u32, channel: &str) {
        let held = self.subscriptions.iter().position(|held| &*held.subscription.channel == channel);
        if let Some(held) = held.map(|index| self.subscriptions.swap_remove(index)) {
            self.shared.hub.unsubscribe(&self.client, &held.subscription);
        }
        self.reply(id, "unsubscribe", &reply::Nothing {});
    }

    /// Whether the client is subscribed to a channel, also by the hub's account.
    fn holds(&mut self, channel: &str) -> bool {
        let Session { subscriptions, shared, client, .. } = self;
        let of_channel = |held: &Held| &*held.subscription.channel == channel;
        subscriptions.retain(|held| !of_channel(held) || shared.hub.holds(client, &held.subscription));
        subscriptions.iter().any(of_channel)
    }

    pub(super) fn family(&self, channel: &str) -> Option<&'_ Arc<Family>> {
        self.shared.plan.families.get(family_of(channel))
    }

    pub(super) fn is_nobody(&self) -> bool {
        matches!(self.who, Who::Nobody)
    }

    /// Until when a token allows a subscription: it has to name the channel and the user.
    pub(super) fn subscription_expiry(
        &self,
        channel: &str,
        verified: Result<Arc<Verified>, NotVerified>,
    ) -> Result<u64, ErrorCode> {
        let verified = verified.map_err(|error| match error {
            NotVerified::Refused(Refusal::Expired) => ErrorCode::TOKEN_EXPIRED,
            NotVerified::Refused(_) => ErrorCode::PERMISSION_DENIED,
            NotVerified::Unavailable => ErrorCode::INTERNAL,
        })?;
        let of = Who::Token(verified);
        let names_channel = of.claims().get("channel").and_then(Value::as_str) == Some(channel);
        if !names_channel || of.user(&self.shared.plan.settings.user_claim) != self.user {
            return Err(ErrorCode::PERMISSION_DENIED);
        }
        Ok(of.expires_in().map_or(NEVER, |expires_in| self.shared.timers.now() + expires_in))
    }

    /// Ends subscriptions whose tokens have expired; an SDK fetches a new token, subscribes again, and recovers.
    pub(super) fn expire_subscriptions(&mut self, now: u64) {
        let Session { subscriptions, shared, client, .. } = self;
        subscriptions.retain(|held| {
            if held.expires_at > now {
                return true;
            }
            shared.hub.unsubscribe(client, &held.subscription);
            client.tell(&reply::unsubscribed(&held.subscription.channel, Unsubscribed::EXPIRED));
            false
        });
    }
}

/// What a client is told when a subscription begins.
fn subscribed(welcome: &hub::Welcome, expires_at: u64, now: u64) -> reply::Subscribed {
    let expires = expires_at != NEVER;
    reply::Subscribed {
        expires,
        ttl: if expires { refresh_after(expires_at.saturating_sub(now)) } else { 0 },
        recoverable: true,
        epoch: welcome.epoch.clone(),
        publications: welcome.publications(),
        recovered: welcome.recovered == Some(true),
        offset: welcome.offset,
        positioned: true,
        was_recovering: welcome.recovered.is_some(),
    }
}

/// Whether a subscription may have this name at all.
pub(crate) fn check_name(channel: &str, family: &Family, bytes_max: usize) -> Result<(), ErrorCode> {
    if channel.len() > bytes_max || channel.chars().any(char::is_control) {
        return Err(ErrorCode::BAD_REQUEST);
    }
    match channel.find('*') {
        None => Ok(()),
        // `family:*` or `family:begin*`; a star in the middle means nothing.
        Some(star) if star + 1 == channel.len() && family.wildcard && channel.contains(':') => Ok(()),
        Some(_) => Err(ErrorCode::PERMISSION_DENIED),
    }
}
