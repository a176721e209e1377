//! What a client's commands do: one session for each connection, asked by whoever reads it. Commands are carried out in
//! order: while one waits, for keys, for Kafka, the next are not looked at.

mod ask;
mod connect;
mod publish;
mod refresh;
mod subscribe;

use std::sync::Arc;

use futures::future::BoxFuture;
use sallyport_identity::{NotVerified, Verified};
use sallyport_kafka::SendError;
use serde_json::Value;

use crate::allowance::Used;
use crate::bridge::Shared;
use crate::client::Client;
use crate::clients::Place;
use crate::hub::Subscription;
use crate::plan::PublishPlan;
use crate::protocol::{Close, Command, ErrorCode, reply};
use crate::who::Who;

pub(crate) use subscribe::{Begun, Looked, Wish, check_name};

/// Never, as a time.
const NEVER: u64 = u64::MAX;

/// A client's session.
pub(crate) struct Session {
    shared: Arc<Shared>,
    pub(crate) client: Arc<Client>,
    /// None where there was no room: such a client is being closed.
    place: Option<Place>,
    /// Whom the edge says it is.
    edge: Option<Arc<Value>>,
    who: Who,
    user: Arc<str>,
    stage: Stage,
    subscriptions: Vec<Held>,
    messages: Used,
    /// For each rule of publishing that it has used.
    sent: Vec<(Arc<PublishPlan>, Used)>,
    times: Times,
}

/// How far a session is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// The first command is awaited.
    New,
    /// It is carried out. Nothing may be sent until it is answered.
    Connecting,
    Connected,
}

/// A subscription, and when its token expires.
struct Held {
    subscription: Subscription,
    expires_at: u64,
    server_side: bool,
}

/// When something is due, in milliseconds of the timers.
struct Times {
    connect_by: u64,
    ping_at: u64,
    pong_by: u64,
    /// A token is looked at again: with every ping, and in time also when something is sent always, and so no ping.
    check_at: u64,
    expires_at: u64,
    close_at: u64,
}

/// What a command waits for.
pub(crate) type Wait = BoxFuture<'static, Resume>;

/// With what a command goes on.
pub(crate) enum Resume {
    Connect { id: u32, wishes: Vec<Wish>, verified: Result<Arc<Verified>, NotVerified> },
    Join { connecting: connect::Connecting, caught_up: Looked },
    SubscribeToken { id: u32, wish: Wish, verified: Result<Arc<Verified>, NotVerified> },
    Subscribe { id: u32, wish: Wish, caught_up: Looked },
    Refresh { id: u32, verified: Result<Arc<Verified>, NotVerified> },
    SubscriptionRefresh { id: u32, channel: Arc<str>, verified: Result<Arc<Verified>, NotVerified> },
    Sent { id: u32, command: &'static str, sent: Result<(i32, i64), SendError> },
}

impl Session {
    pub(crate) fn new(
        shared: Arc<Shared>,
        client: Arc<Client>,
        place: Option<Place>,
        edge: Option<Arc<Value>>,
    ) -> Self {
        let now = shared.timers.now();
        let life = &shared.plan.settings.connection;
        let max_age = life.max_age.as_millis();
        let times = Times {
            connect_by: now + millis(life.connect_timeout.as_millis()),
            ping_at: NEVER,
            pong_by: NEVER,
            check_at: NEVER,
            expires_at: NEVER,
            // Spread, so that clients that came together do not go together.
            close_at: if max_age == 0 { NEVER } else { now + spread(millis(max_age)) },
        };
        let session = Session {
            shared,
            client,
            place,
            edge,
            who: Who::Nobody,
            user: "".into(),
            stage: Stage::New,
            subscriptions: Vec::new(),
            messages: Used::default(),
            sent: Vec::new(),
            times,
        };
        session.set_timer();
        session
    }

    /// Begins without a command, for a stream of server-sent events: as whom the edge says, with these channels, or
    /// with those it would be subscribed to anyway. The channel that cannot be had, if there is one.
    pub(crate) fn begin_events(&mut self, channels: &[Arc<str>]) -> Result<Vec<Wish>, (Arc<str>, ErrorCode)> {
        self.who = self.edge.clone().map_or(Who::Nobody, Who::Edge);
        self.user = self.who.user(&self.shared.plan.settings.user_claim);
        let limits = &self.shared.clone().plan.settings.limits;
        if !self.has_room(limits.connections_per_user) || channels.len() > limits.subscriptions {
            return Err(("".into(), ErrorCode::LIMIT_EXCEEDED));
        }
        self.stage = Stage::Connected;
        self.times.check_at = self.shared.timers.now() + self.check_interval();
        self.take_expiry();
        self.set_timer();
        if channels.is_empty() {
            return Ok(self.joins());
        }
        let wish =
            |channel: &Arc<str>| self.wish_for_events(channel).map_err(|error| (channel.clone(), error));
        channels.iter().map(wish).collect()
    }

    /// The position over all topics.
    pub(crate) fn position(&self) -> String {
        self.shared.hub.whole_position()
    }

    /// Whether what waits for the client may be sent: not while its first command is carried out.
    pub(crate) fn may_send(&self) -> bool {
        self.stage != Stage::Connecting || self.client.is_closing()
    }

    /// Counts a message against the client's rate. Whether it may be looked at.
    pub(crate) fn message(&mut self) -> bool {
        let now = self.shared.timers.now();
        if self.shared.plan.messages.take(&mut self.messages, now) {
            return true;
        }
        self.client.close(Close::TOO_MANY_REQUESTS);
        false
    }

    /// Carries out a command.
    pub(crate) fn handle(&mut self, command: Command<'_>) -> Option<Wait> {
        let id = command.id;
        if command.is_pong() {
            self.times.pong_by = NEVER;
            return None;
        }
        if let Some(connect) = command.connect {
            return self.connect(id, connect);
        }
        if self.stage != Stage::Connected || (id == 0 && command.send.is_none()) {
            self.client.close(Close::BAD_REQUEST);
            return None;
        }
        if let Some(subscribe) = command.subscribe {
            return self.subscribe(id, subscribe);
        }
        if let Some(publish) = command.publish {
            return self.publish(id, &publish);
        }
        if let Some(rpc) = command.rpc {
            return self.rpc(id, &rpc);
        }
        if let Some(refresh) = command.refresh {
            return self.refresh(id, &refresh.token);
        }
        if let Some(refresh) = command.sub_refresh {
            return self.refresh_subscription(id, &refresh);
        }
        if let Some(unsubscribe) = command.unsubscribe {
            self.unsubscribe(id, &unsubscribe.channel);
        } else if let Some(history) = command.history {
            self.history(id, &history);
        } else if let Some(presence) = command.presence {
            self.presence(id, &presence.channel);
        } else if let Some(stats) = command.presence_stats {
            self.presence_stats(id, &stats.channel);
        } else if command.ping.is_some() {
            self.reply(id, "ping", &reply::Nothing {});
        } else if command.send.is_none() {
            self.client.close(Close::BAD_REQUEST);
        }
        // A `send` wants no answer, and nobody here listens to it.
        None
    }

    /// Goes on with a command that has waited.
    pub(crate) fn resume(&mut self, resume: Resume) -> Option<Wait> {
        // Its pong could not be read meanwhile.
        self.await_pong_anew();
        match resume {
            Resume::Connect { id, wishes, verified } => self.connect_verified(id, wishes, verified),
            Resume::Join { connecting, caught_up } => self.join_caught_up(connecting, caught_up),
            Resume::SubscribeToken { id, wish, verified } => self.subscribe_verified(id, wish, verified),
            Resume::Subscribe { id, wish, caught_up } => self.subscribe_caught_up(id, wish, caught_up),
            Resume::Refresh { id, verified } => self.refreshed(id, verified),
            Resume::SubscriptionRefresh { id, channel, verified } => {
                self.subscription_refreshed(id, &channel, verified)
            }
            Resume::Sent { id, command, sent } => self.sent(id, command, sent),
        }
    }

    /// Notes that something was sent: a ping is due some time after.
    pub(crate) fn wrote(&mut self) {
        if self.stage == Stage::Connected {
            self.times.ping_at = self.shared.timers.now() + self.ping_interval();
            self.set_timer();
        }
    }

    /// Gives the client its time anew in which a pong is expected, if one is.
    pub(crate) fn await_pong_anew(&mut self) {
        if self.times.pong_by != NEVER {
            self.times.pong_by = self.pong_deadline(self.shared.timers.now());
        }
    }

    /// Does what is due. `waiting`: a command waits, and the client's pong cannot be read.
    pub(crate) fn tick(&mut self, waiting: bool) {
        let now = self.shared.timers.now();
        if now < self.client.due.load(std::sync::atomic::Ordering::Acquire) {
            return;
        }
        let Times { connect_by, ping_at, pong_by, check_at, expires_at, close_at } = self.times;
        if self.stage != Stage::Connected && now >= connect_by {
            self.client.close(Close::STALE);
        } else if now >= close_at {
            self.client.close(Close::FORCE_RECONNECT);
        } else if now >= pong_by && !waiting {
            self.client.close(Close::NO_PONG);
        } else if now >= expires_at {
            self.expired(now);
        } else if now >= ping_at.min(check_at) && self.revoked() {
            self.client.close(Close::INVALID_TOKEN);
        } else if now >= ping_at {
            self.client.send(self.shared.ping.clone());
            self.times.ping_at = now + self.ping_interval();
            self.times.check_at = now + self.check_interval();
            if self.times.pong_by == NEVER {
                self.times.pong_by = self.pong_deadline(now);
            }
        } else if now >= check_at {
            self.times.check_at = now + self.check_interval();
        } else if now >= pong_by {
            self.await_pong_anew();
        }
        self.expire_subscriptions(now);
        self.set_timer();
    }

    /// The client is gone.
    pub(crate) fn end(&mut self) {
        for held in self.subscriptions.drain(..) {
            self.shared.hub.unsubscribe(&self.client, &held.subscription);
        }
    }

    /// Counts the client as one of its user's. Whether there was room.
    fn has_room(&mut self, per_user_max: usize) -> bool {
        self.place.as_mut().is_some_and(|place| place.of_user(&self.user, per_user_max))
    }

    fn set_timer(&self) {
        let Times { connect_by, ping_at, pong_by, check_at, expires_at, close_at } = self.times;
        let connect_by = if self.stage == Stage::Connected { NEVER } else { connect_by };
        let of_subscriptions = self.subscriptions.iter().map(|held| held.expires_at).min().unwrap_or(NEVER);
        let times = [connect_by, ping_at, pong_by, check_at, expires_at, close_at, of_subscriptions];
        self.shared.timers.set(&self.client, times.into_iter().min().unwrap_or(NEVER));
    }

    fn pong_deadline(&self, now: u64) -> u64 {
        now + millis(self.shared.plan.settings.connection.pong_timeout.as_millis())
    }

    fn ping_interval(&self) -> u64 {
        spread(self.check_interval())
    }

    /// Not shorter than between two pings, so that it costs clients that get them nothing.
    fn check_interval(&self) -> u64 {
        millis(self.shared.plan.settings.connection.ping.as_millis())
    }

    fn reply(&self, id: u32, command: &'static str, result: &impl serde::Serialize) {
        self.shared.metrics.commands.with_label_values(&[command, "ok"]).inc();
        self.client.tell(&reply::result(id, command, result));
    }

    fn fail(&self, id: u32, command: &'static str, error: ErrorCode) {
        self.shared.metrics.commands.with_label_values(&[command, error.message]).inc();
        self.client.tell(&reply::error(id, error));
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.end();
    }
}

/// Milliseconds as the timers count them.
fn millis(millis: u128) -> u64 {
    u64::try_from(millis).unwrap_or(NEVER / 2)
}

/// Up to a tenth less, at random, so that what began together does not go on together.
fn spread(millis: u64) -> u64 {
    millis - fastrand::u64(0..=millis / 10)
}
