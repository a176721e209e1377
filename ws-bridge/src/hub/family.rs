//! A family of channels, compiled: its conditions and what they read.

use std::sync::Arc;

use sallyport_condition::{Alternative, Condition, EvaluationError, Place, Reads, Vars};
use sallyport_config::ws_bridge::{self, Replay, Slow};
use sallyport_config::{Located, Report};
use sallyport_kafka::TopicPattern;
use serde_json::{Map, Value};

use super::ring::Stored;
use crate::catch_up::unqualified;
use crate::protocol::reply::json;

/// What `visible_to` may read.
pub(crate) const OF_EVENT: [&str; 7] = ["claims", "event", "ce", "tags", "key", "channel", "id"];
/// What `subscribe_if` may read.
pub(crate) const OF_SUBSCRIPTION: [&str; 3] = ["claims", "channel", "id"];

/// A family of channels.
pub(crate) struct Family {
    pub(crate) name: Arc<str>,
    pub(crate) visible_to: Condition,
    pub(crate) subscribe_if: Option<Condition>,
    pub(crate) token: bool,
    pub(crate) wildcard: bool,
    pub(crate) replay: Replay,
    pub(crate) slow: Slow,
    pub(crate) presence: bool,
    pub(crate) join_leave: bool,
    pub(crate) history: bool,
    /// The topics that feed it, each with its cluster.
    topics: Vec<(Arc<str>, TopicPattern)>,
    /// What each outermost alternative of `visible_to` needs.
    alternatives: Vec<Alternative>,
}

impl Family {
    /// Compiles a family that these topics feed.
    pub(crate) fn compile(
        name: &str,
        settings: &ws_bridge::Family,
        topics: Vec<(Arc<str>, TopicPattern)>,
        report: &mut Report,
    ) -> Option<Family> {
        let visible_to = Condition::compile(&settings.visible_to, &OF_EVENT, report);
        let compile = |source: &Located<String>| Condition::compile(source, &OF_SUBSCRIPTION, report);
        let subscribe_if = settings.subscribe_if.as_ref().map(compile);
        let visible_to = visible_to?;
        // Only claims are known before there is an event: a pattern's channel is not.
        let alternatives = visible_to.alternatives(&["claims"]);
        Some(Family {
            name: name.into(),
            visible_to,
            subscribe_if: match subscribe_if {
                None => None,
                Some(compiled) => Some(compiled?),
            },
            token: settings.token,
            wildcard: settings.wildcard,
            replay: settings.replay.clone(),
            slow: settings.slow,
            presence: settings.presence,
            join_leave: settings.join_leave,
            history: settings.history,
            topics,
            alternatives,
        })
    }

    /// Whether a topic, with its cluster before it, feeds it.
    pub(crate) fn is_fed_by(&self, topic: &str) -> bool {
        let (cluster, topic) = unqualified(topic);
        self.topics.iter().any(|(known, pattern)| **known == *cluster && pattern.matches(topic))
    }

    /// Whether any topic can feed it.
    pub(crate) fn is_fed(&self) -> bool {
        !self.topics.is_empty()
    }

    /// The claims that `visible_to` reads, and their text: those for whom it is the same are judged alike. A claim counts
    /// as a whole, however deep the condition looks into it.
    pub(crate) fn subject(&self, claims: &Value) -> (Arc<str>, Value) {
        let read = match self.visible_to.reads("claims") {
            Reads::Nothing => Value::Object(Map::new()),
            Reads::Whole => claims.clone(),
            Reads::Paths(paths) => {
                let names = paths.iter().filter_map(|path| match path.steps().first()? {
                    sallyport_condition::Step::Name(name) => Some(&**name),
                    sallyport_condition::Step::Index(_) => None,
                });
                let read = names.filter_map(|name| Some((name.to_owned(), claims.get(name)?.clone())));
                Value::Object(read.collect())
            }
        };
        (json(&read).into(), read)
    }

    /// Whether a subject may subscribe to a channel, or to a pattern.
    pub(crate) fn may_subscribe(&self, claims: &Value, channel: &str) -> bool {
        let vars = Self::subscription_vars(claims, channel);
        self.subscribe_if.as_ref().is_none_or(|condition| condition.holds(&vars).unwrap_or(false))
    }

    /// What `subscribe_if` may read.
    pub(crate) fn subscription_vars<'a>(claims: &'a Value, channel: &'a str) -> Vars<'a> {
        Vars::new().bind("claims", claims).bind_text("channel", channel).bind_text("id", id(channel))
    }

    /// Whether `visible_to` holds. An error means no.
    pub(crate) fn visible(&self, claims: &Value, event: &Stored) -> Result<bool, EvaluationError> {
        self.visible_to.holds(&self.event_vars(event).bind("claims", claims))
    }

    /// What conditions may read of an event.
    pub(crate) fn event_vars<'a>(&self, event: &'a Stored) -> Vars<'a> {
        let channel = &*event.event.channel;
        Vars::new()
            .bind_members(&event.event.facts)
            .bind_text("channel", channel)
            .bind_text("id", id(channel))
    }

    pub(crate) fn alternatives(&self) -> &[Alternative] {
        &self.alternatives
    }

    /// The places of an event by which classes are found, each with the number of its alternative.
    pub(crate) fn equalities(&self) -> impl Iterator<Item = (usize, &Place)> {
        self.alternatives.iter().enumerate().filter_map(|(index, alternative)| match alternative {
            Alternative::Equal { right, .. } => Some((index, right)),
            Alternative::OfSubscriber(_) | Alternative::Other => None,
        })
    }
}

/// What stands behind the family in a channel's name.
pub(crate) fn id(channel: &str) -> &str {
    channel.split_once(':').map_or("", |(_, id)| id)
}
