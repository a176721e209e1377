//! What waits for a client, in order, and how events give way in it when there are too many.

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::sync::Arc;

use bytes::Bytes;

use crate::hub::Stored;
use crate::protocol::{Close, reply};
use crate::websocket::text_frame;

/// What waits for a client.
#[derive(Default)]
pub(super) struct Queue {
    pub(super) items: VecDeque<Item>,
    /// Bytes of events and of notices that some are gone.
    pub(super) event_bytes: usize,
    /// Bytes of everything else.
    pub(super) reply_bytes: usize,
    pub(super) close: Option<Close>,
}

/// Something to send: the bytes on the wire, and what they tell of.
pub(crate) struct Item {
    pub(crate) bytes: Bytes,
    pub(super) about: About,
}

/// What is told.
pub(super) enum About {
    Event(Arc<Stored>),
    /// So many events of a channel are gone.
    Gap(Arc<str>, u64),
    /// A reply, or something else that stays.
    Other,
}

impl Item {
    /// The time of the event, in milliseconds since 1970; 0 if it is none.
    pub(crate) fn event_time(&self) -> i64 {
        self.event().map_or(0, |event| event.event.time)
    }

    fn event(&self) -> Option<&Arc<Stored>> {
        match &self.about {
            About::Event(event) => Some(event),
            About::Gap(..) | About::Other => None,
        }
    }
}

impl Queue {
    /// The sum that these bytes are in.
    pub(super) fn bytes_of(&mut self, about: &About) -> &mut usize {
        match about {
            About::Event(_) | About::Gap(..) => &mut self.event_bytes,
            About::Other => &mut self.reply_bytes,
        }
    }

    pub(super) fn push(&mut self, bytes: Bytes, about: About) {
        *self.bytes_of(&about) += bytes.len();
        self.items.push_back(Item { bytes, about });
    }

    /// Drops the oldest events of the same family until no more than this waits. The channel of each.
    pub(super) fn drop_oldest(&mut self, event: &Stored, kept_max: usize) -> Vec<Arc<str>> {
        let family = event.family();
        let mut dropped = Vec::new();
        let mut bytes = self.event_bytes;
        self.items.retain(|item| {
            let old = item.event().filter(|old| bytes > kept_max && old.family() == family);
            let Some(old) = old else { return true };
            bytes -= item.bytes.len();
            dropped.push(old.event.channel.clone());
            false
        });
        self.event_bytes = bytes;
        dropped
    }

    /// Drops events of the same channel that a newer one with the same key follows. The channel of each.
    pub(super) fn conflate(&mut self, event: &Stored) -> Vec<Arc<str>> {
        let mut newer = HashSet::from([(event.event.channel.clone(), event.event.key.clone())]);
        let mut dropped = Vec::new();
        let mut kept = VecDeque::with_capacity(self.items.len());
        while let Some(item) = self.items.pop_back() {
            let replaced = item.event().filter(|event| {
                event.event.key.is_some()
                    && !newer.insert((event.event.channel.clone(), event.event.key.clone()))
            });
            if let Some(replaced) = replaced {
                dropped.push(replaced.event.channel.clone());
                self.event_bytes -= item.bytes.len();
            } else {
                kept.push_front(item);
            }
        }
        self.items = kept;
        dropped
    }

    /// Tells of events that are gone, in the notice of their channel that waits already or in a new one. Notices of their
    /// own would fill the queue in the end, and nothing could make room for events again.
    pub(super) fn note_gone(&mut self, gone: Vec<Arc<str>>) {
        let mut counts = BTreeMap::<Arc<str>, u64>::new();
        gone.into_iter().for_each(|channel| *counts.entry(channel).or_default() += 1);
        let notice = |channel: &str, events| text_frame(&[reply::gap(channel, events).as_bytes()]);
        for item in &mut self.items {
            if let About::Gap(channel, events) = &mut item.about
                && let Some(more) = counts.remove(channel)
            {
                *events += more;
                self.event_bytes -= item.bytes.len();
                item.bytes = notice(channel, *events);
                self.event_bytes += item.bytes.len();
            }
        }
        for (channel, events) in counts {
            self.push(notice(&channel, events), About::Gap(channel, events));
        }
    }
}
