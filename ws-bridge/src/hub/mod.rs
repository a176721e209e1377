//! Channels: who is subscribed, what is kept for those who come back, and the way of an event to its subscribers.
//!
//! One lock guards all of it, so that a subscription begins between two events and a recovered client gets each exactly
//! once. Nothing waits while the lock is held: events are put into clients' queues, and written elsewhere.

mod channel;
mod classes;
mod deliver;
pub(crate) mod family;
mod log;
pub(crate) mod progress;
mod recover;
mod ring;
mod subscribe;

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::event::{Event, Place};
use crate::metrics::Metrics;

pub(crate) use crate::mapping::family as family_of;
pub(crate) use channel::Channel;
pub(crate) use classes::{ClassKey, Member, sees};
pub(crate) use family::{Family, id};
pub(crate) use recover::{CaughtUp, Since};
pub(crate) use ring::Stored;
pub(crate) use subscribe::{CatchUpNeeded, Most, Refusal, Request, Subscription, Welcome};

use log::Log;
use progress::{Progress, TopicProgress, topic_key};

/// All channels of this node.
pub(crate) struct Hub {
    state: Mutex<State>,
    pub(crate) metrics: Arc<Metrics>,
}

/// What the lock guards.
pub(crate) struct State {
    progress: Progress,
    families: HashMap<Arc<str>, FamilyState>,
    /// Every topic that feeds a family.
    topics: Vec<Arc<str>>,
    /// Counts events.
    sequence: u64,
    replay_bytes: usize,
    replay_bytes_max: usize,
}

/// The channels of a family.
pub(crate) struct FamilyState {
    family: Arc<Family>,
    /// The topics that feed it, as far as they exist.
    topics: Vec<Arc<str>>,
    channels: HashMap<Arc<str>, Channel>,
    /// Subscriptions to patterns, by what stands before the `*`.
    patterns: HashMap<Box<str>, Channel>,
    log: Log,
}

impl Hub {
    pub(crate) fn new(
        families: impl IntoIterator<Item = Arc<Family>>,
        replay_bytes_max: usize,
        metrics: Arc<Metrics>,
    ) -> Hub {
        let families = families.into_iter().map(|family| (family.name.clone(), FamilyState::new(family)));
        let state = State {
            progress: Progress::new(),
            families: families.collect(),
            topics: Vec::new(),
            sequence: 0,
            replay_bytes: 0,
            replay_bytes_max,
        };
        Hub { state: Mutex::new(state), metrics }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes a topic's partitions, and from which offsets on they are read.
    pub(crate) fn partitions(&self, topic: &Arc<str>, first: &[i64]) {
        let mut state = self.state();
        let known = state
            .progress
            .topics
            .entry(topic.clone())
            .or_insert_with(|| TopicProgress { key: topic_key(topic), ..TopicProgress::default() });
        let before = known.next.len();
        for from in first.iter().skip(before) {
            known.next.push(*from);
            known.ready.push(false);
        }
        if !state.topics.contains(topic) {
            state.topics.push(topic.clone());
        }
        for family in state.families.values_mut().filter(|family| family.family.is_fed_by(topic)) {
            if !family.topics.contains(topic) {
                family.topics.push(topic.clone());
                // The order is part of no position, but a fixed one makes positions comparable by eye.
                family.topics.sort();
            }
            for (partition, from) in (0..).zip(first).skip(before) {
                family.log.begin(topic_key(topic), partition, *from);
            }
        }
    }

    /// Notes that a partition was read up to `next`.
    pub(crate) fn position(&self, topic: &Arc<str>, partition: i32, next: i64) {
        self.state().advance(topic, partition, next);
    }

    /// Notes that a partition has reached what was its end at the start.
    pub(crate) fn ready(&self, topic: &Arc<str>, partition: i32) {
        let mut state = self.state();
        let known = state.progress.topics.get_mut(topic);
        let index = usize::try_from(partition).ok();
        if let Some(ready) = known.zip(index).and_then(|(topic, index)| topic.ready.get_mut(index)) {
            *ready = true;
        }
    }

    /// Takes the events of a record, and gives them to those who may see them.
    pub(crate) fn publish(&self, place: &Place, events: Vec<Event>) {
        let mut state = self.state();
        state.advance(&place.topic, place.partition, place.offset + 1);
        for event in events {
            state.publish(event, &self.metrics);
        }
    }

    /// Forgets a topic that was deleted and perhaps made again: subscribers of the families it feeds have to subscribe
    /// again, and cannot recover what was in it.
    pub(crate) fn recreated(&self, topic: &Arc<str>) {
        let mut state = self.state();
        if let Some(known) = state.progress.topics.get_mut(topic) {
            known.incarnation += 1;
            known.next.clear();
            known.ready.clear();
        }
        let State { families, replay_bytes, .. } = &mut *state;
        for family in families.values_mut().filter(|family| family.family.is_fed_by(topic)) {
            *replay_bytes -= family.log.bytes();
            family.dismiss();
        }
    }

    /// Whether everything that was there at the start has been read.
    pub(crate) fn is_ready(&self) -> bool {
        let state = self.state();
        state.families.values().all(|family| family.is_ready(&state.progress))
    }

    /// The families that wait for a topic that does not exist.
    pub(crate) fn without_topics(&self) -> Vec<Arc<str>> {
        let state = self.state();
        let waiting =
            state.families.values().filter(|family| family.topics.is_empty() && family.family.is_fed());
        waiting.map(|family| family.family.name.clone()).collect()
    }

    /// Drops events that are older than their family keeps them, and channels that nobody needs.
    pub(crate) fn expire(&self, now: i64) {
        let mut state = self.state();
        let State { families, replay_bytes, .. } = &mut *state;
        for family in families.values_mut() {
            let oldest = now - i64::try_from(family.family.replay.window.as_millis()).unwrap_or(i64::MAX);
            while let Some(bytes) = family.expire_before(oldest) {
                *replay_bytes -= bytes;
            }
        }
        let channels: usize =
            families.values().map(|family| family.channels.len() + family.patterns.len()).sum();
        self.metrics.channels.set(i64::try_from(channels).unwrap_or(i64::MAX));
        self.metrics.replay_bytes.set(i64::try_from(*replay_bytes).unwrap_or(i64::MAX));
    }
}

impl State {
    fn advance(&mut self, topic: &Arc<str>, partition: i32, next: i64) {
        let known = self.progress.topics.get_mut(topic);
        let index = usize::try_from(partition).ok();
        if let Some(position) = known.zip(index).and_then(|(topic, index)| topic.next.get_mut(index)) {
            *position = next.max(*position);
        }
    }
}

impl FamilyState {
    /// Whether all that was there at the start has been read. A topic that is waited for is none that was read.
    fn is_ready(&self, progress: &Progress) -> bool {
        progress.is_ready(&self.topics) && !(self.topics.is_empty() && self.family.is_fed())
    }

    fn new(family: Arc<Family>) -> Self {
        FamilyState {
            family,
            topics: Vec::new(),
            channels: HashMap::new(),
            patterns: HashMap::new(),
            log: Log::default(),
        }
    }
}
