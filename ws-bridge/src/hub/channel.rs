//! One channel: its subscribers and its ring. A subscription to a pattern has a channel too, without a ring.

use std::sync::Arc;

use super::classes::Classes;
use super::ring::Ring;
use crate::client::Kind;
use crate::protocol::{Close, Unsubscribed, reply};

/// A channel that has subscribers, or events that are kept.
pub(crate) struct Channel {
    /// Its name, or the pattern.
    pub(crate) name: Arc<str>,
    pub(crate) classes: Classes,
    pub(crate) ring: Ring,
}

impl Channel {
    pub(crate) fn new(name: Arc<str>) -> Self {
        Channel { name, classes: Classes::default(), ring: Ring::default() }
    }

    /// Whether nobody would miss it.
    pub(crate) fn is_unused(&self) -> bool {
        self.classes.is_empty() && self.ring.is_empty()
    }

    /// Sends every subscriber away: their positions are worth nothing any more. An SDK subscribes again by itself, but
    /// not to what the server had subscribed it to, and a stream of server-sent events has no commands: those clients have to
    /// connect again.
    pub(crate) fn dismiss(self) {
        let notice = reply::unsubscribed(&self.name, Unsubscribed::INSUFFICIENT_STATE);
        for member in self.classes.members() {
            if member.server_side || member.client.kind == Kind::Events {
                member.client.close(Close::INSUFFICIENT_STATE);
            } else {
                member.client.tell(&notice);
            }
        }
    }
}
