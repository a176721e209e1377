//! The first command: who the client is, and what it is subscribed to without asking.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use sallyport_identity::{NotVerified, Refusal, Verified};
use serde_json::value::RawValue;

use super::subscribe::Begun;
use super::{Looked, NEVER, Resume, Session, Stage, Wait, Wish};
use crate::hub::Since;
use crate::protocol::command::{Connect, Subscribe};
use crate::protocol::{Close, ErrorCode, reply};
use crate::who::{Who, refresh_after};

/// A client that is being connected.
pub(crate) struct Connecting {
    id: u32,
    /// Subscriptions that have not begun.
    wishes: Vec<Wish>,
    /// Those that have.
    subs: BTreeMap<String, Box<RawValue>>,
}

impl Session {
    pub(super) fn connect(&mut self, id: u32, command: Connect<'_>) -> Option<Wait> {
        if self.stage != Stage::New || id == 0 {
            self.client.close(Close::BAD_REQUEST);
            return None;
        }
        self.stage = Stage::Connecting;
        let wishes = positions(&command.subs);
        let anonymous = self.shared.plan.settings.anonymous;
        match &self.shared.plan.verifier {
            Some(verifier) if !command.token.is_empty() => {
                let (verifier, token) = (verifier.clone(), command.token.into_owned());
                Some(Box::pin(async move {
                    Resume::Connect { id, wishes, verified: verifier.verify(&token).await }
                }))
            }
            // Without issuers a token says nothing, and its bearer is whoever the edge says, or nobody.
            _ => {
                match self.edge.clone() {
                    Some(claims) => self.who = Who::Edge(claims),
                    None if anonymous => {}
                    None => {
                        self.client.close(Close::PERMISSION_DENIED);
                        return None;
                    }
                }
                self.begin_joining(id, wishes)
            }
        }
    }

    pub(super) fn connect_verified(
        &mut self,
        id: u32,
        wishes: Vec<Wish>,
        verified: Result<Arc<Verified>, NotVerified>,
    ) -> Option<Wait> {
        match verified {
            Ok(verified) => self.who = Who::Token(verified),
            Err(NotVerified::Refused(Refusal::Expired)) => return self.refuse(id, ErrorCode::TOKEN_EXPIRED),
            Err(NotVerified::Unavailable) => return self.refuse(id, ErrorCode::INTERNAL),
            Err(NotVerified::Refused(_)) => {
                self.client.close(Close::INVALID_TOKEN);
                return None;
            }
        }
        let claim = &self.shared.plan.settings.user_claim;
        let by_edge = self.edge.clone().map(|claims| Who::Edge(claims).user(claim));
        if by_edge.is_some_and(|user| user != self.who.user(claim)) {
            // Two proofs of being two people.
            self.client.close(Close::INVALID_TOKEN);
            return None;
        }
        self.begin_joining(id, wishes)
    }

    /// Refuses the first command: the client may try again with another.
    fn refuse(&mut self, id: u32, error: ErrorCode) -> Option<Wait> {
        self.stage = Stage::New;
        self.fail(id, "connect", error);
        None
    }

    /// A channel that is to be joined has not been read yet: the client comes back, rather than being without it.
    fn not_ready(&mut self, id: u32) -> Option<Wait> {
        self.end();
        self.refuse(id, ErrorCode::NOT_READY)
    }

    fn begin_joining(&mut self, id: u32, positions: Vec<Wish>) -> Option<Wait> {
        let settings = &self.shared.clone().plan.settings;
        self.user = self.who.user(&settings.user_claim);
        if !self.has_room(settings.limits.connections_per_user) {
            self.client.close(Close::CONNECTION_LIMIT);
            return None;
        }
        self.take_expiry();
        let mut wishes = self.joins();
        for wish in &mut wishes {
            wish.since = positions
                .iter()
                .find(|known| known.channel == wish.channel)
                .and_then(|known| known.since.clone());
        }
        wishes.truncate(settings.limits.subscriptions);
        self.join(Connecting { id, wishes, subs: BTreeMap::new() })
    }

    /// The channels that the client is subscribed to without asking: those of families that say so, and those that its
    /// claims list.
    pub(super) fn joins(&self) -> Vec<Wish> {
        self.shared.plan.joined(self.who.claims()).into_iter().map(Wish::of_server).collect()
    }

    /// Begins one subscription after the other, then answers.
    fn join(&mut self, mut connecting: Connecting) -> Option<Wait> {
        while let Some(wish) = connecting.wishes.pop() {
            match self.begin(wish, None) {
                Begun::Done(channel, result) => self.joined(&mut connecting, &channel, &result),
                Begun::Wait(wish, caught_up) => {
                    connecting.wishes.push(wish);
                    return Some(Box::pin(
                        async move { Resume::Join { connecting, caught_up: caught_up.await } },
                    ));
                }
                Begun::Failed(ErrorCode::NOT_READY) => return self.not_ready(connecting.id),
                // A channel that its claims list but that it may not have, or that is not there, is left out.
                Begun::Failed(_) => {}
            }
        }
        self.connected(connecting);
        None
    }

    pub(super) fn join_caught_up(&mut self, mut connecting: Connecting, caught_up: Looked) -> Option<Wait> {
        let wish = connecting.wishes.pop()?;
        match self.begin(wish, Some(caught_up)) {
            Begun::Done(channel, result) => self.joined(&mut connecting, &channel, &result),
            Begun::Wait(wish, caught_up) => {
                connecting.wishes.push(wish);
                return Some(Box::pin(
                    async move { Resume::Join { connecting, caught_up: caught_up.await } },
                ));
            }
            Begun::Failed(ErrorCode::NOT_READY) => return self.not_ready(connecting.id),
            Begun::Failed(_) => {}
        }
        self.join(connecting)
    }

    fn joined(&self, connecting: &mut Connecting, channel: &str, result: &reply::Subscribed) {
        // A text of our own making is JSON.
        if let Ok(result) = RawValue::from_string(reply::json(result)) {
            connecting.subs.insert(channel.to_owned(), result);
        }
    }

    fn connected(&mut self, connecting: Connecting) {
        let settings = &self.shared.plan.settings.connection;
        // Whom the edge identifies renews that with the edge; a refresh here would need a token.
        let expires_in = matches!(self.who, Who::Token(_)).then(|| self.who.expires_in()).flatten();
        let result = reply::Connected {
            client: self.client.name.to_string(),
            version: concat!("Sallyport ", env!("CARGO_PKG_VERSION")),
            expires: expires_in.is_some(),
            ttl: expires_in.map_or(0, refresh_after),
            subs: connecting.subs,
            ping: settings.ping.as_secs().max(1),
            pong: true,
            node: self.shared.node.to_string(),
        };
        self.shared.metrics.commands.with_label_values(&["connect", "ok"]).inc();
        // Events may wait already; they come behind.
        self.client.tell_first(&reply::result(connecting.id, "connect", &result));
        self.stage = Stage::Connected;
        let now = self.shared.timers.now();
        self.times.ping_at = now + self.ping_interval();
        self.times.check_at = now + self.check_interval();
        self.set_timer();
    }

    /// Takes over when the identity expires.
    pub(super) fn take_expiry(&mut self) {
        let expires_in = self.who.expires_in();
        self.times.expires_at = expires_in.map_or(NEVER, |expires_in| self.shared.timers.now() + expires_in);
    }
}

/// The positions in server-side subscriptions that a client shows when it comes back.
fn positions(subs: &BTreeMap<Cow<'_, str>, Subscribe<'_>>) -> Vec<Wish> {
    let known = subs.iter().filter(|(_, known)| known.recover);
    let wish = |(channel, known): (&Cow<'_, str>, &Subscribe<'_>)| Wish {
        since: Some(Since { epoch: known.epoch.to_string(), offset: known.offset }),
        ..Wish::of_server((&**channel).into())
    };
    known.map(wish).collect()
}
