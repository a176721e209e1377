//! The order in which a family's events came, so that the oldest go first, and the offsets from which on nothing is gone.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use super::{FamilyState, Stored};

/// A family's events in the order they came, also those that their channel has dropped already.
#[derive(Default)]
pub(crate) struct Log {
    entries: VecDeque<Entry>,
    bytes: usize,
    /// Below these offsets events are gone, or were never read: by topic and partition.
    floor: HashMap<(u32, i32), i64>,
    /// The stream's offset of the newest event that is gone.
    gone: u64,
}

struct Entry {
    channel: Arc<str>,
    sequence: u64,
    time: i64,
    topic: u32,
    partition: i32,
    next: i64,
    /// The stream's.
    offset: u64,
    bytes: usize,
}

impl Log {
    /// Notes from which offset on a partition is read.
    pub(crate) fn begin(&mut self, topic: u32, partition: i32, from: i64) {
        self.floor.insert((topic, partition), from);
    }

    /// Notes an event.
    pub(crate) fn push(&mut self, event: &Stored) {
        self.bytes += event.cost();
        self.entries.push_back(Entry {
            channel: event.event.channel.clone(),
            sequence: event.sequence,
            time: event.event.time,
            topic: event.topic,
            partition: event.place().partition,
            next: event.place().offset + 1,
            offset: event.offset,
            bytes: event.cost(),
        });
    }

    /// The offset of a partition below which events are gone.
    pub(crate) fn floor(&self, topic: u32, partition: i32) -> i64 {
        self.floor.get(&(topic, partition)).copied().unwrap_or(0)
    }

    /// The stream's offset of the newest event that is gone.
    pub(crate) fn gone(&self) -> u64 {
        self.gone
    }

    /// The sequence of the oldest event.
    pub(crate) fn oldest(&self) -> Option<u64> {
        self.entries.front().map(|entry| entry.sequence)
    }

    /// Bytes of all events.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }
}

impl FamilyState {
    /// Drops the oldest event if it is older than `time`; its bytes.
    pub(crate) fn expire_before(&mut self, time: i64) -> Option<usize> {
        let oldest = self.log.entries.front().is_some_and(|entry| entry.time < time);
        if oldest { self.drop_oldest() } else { None }
    }

    /// Drops the oldest event; its bytes. A channel goes with its last event unless it has subscribers.
    pub(crate) fn drop_oldest(&mut self) -> Option<usize> {
        let entry = self.log.entries.pop_front()?;
        self.log.bytes -= entry.bytes;
        let floor = self.log.floor.entry((entry.topic, entry.partition)).or_default();
        *floor = entry.next.max(*floor);
        self.log.gone = entry.offset;
        if let Some(channel) = self.channels.get_mut(&entry.channel) {
            channel.ring.expire(entry.sequence);
            if channel.is_unused() {
                self.channels.remove(&entry.channel);
            }
        }
        Some(entry.bytes)
    }

    /// Forgets every event, and sends every subscriber away. Other topics than the one that is void go on: of their events,
    /// too, nothing is left below what was read.
    pub(crate) fn dismiss(&mut self) {
        let Log { entries, mut floor, mut gone, .. } = std::mem::take(&mut self.log);
        for entry in entries {
            let floor = floor.entry((entry.topic, entry.partition)).or_default();
            *floor = entry.next.max(*floor);
            gone = entry.offset;
        }
        self.log = Log { floor, gone, ..Log::default() };
        let channels = self.channels.drain().map(|(_, channel)| channel);
        for channel in channels.chain(self.patterns.drain().map(|(_, channel)| channel)) {
            channel.dismiss();
        }
    }
}
