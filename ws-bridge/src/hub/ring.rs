//! What is kept of a channel's events for clients that come back.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use serde_json::value::RawValue;

use crate::event::{Event, Place};
use crate::hub::progress::topic_key;
use crate::protocol::reply::json;

/// An event with its place in this node's stream.
#[derive(Debug)]
pub(crate) struct Stored {
    pub(crate) event: Event,
    /// What stands for its topic in positions.
    pub(crate) topic: u32,
    /// Counts the events of this node.
    pub(crate) sequence: u64,
    /// The protocol's `offset`: of the position behind this event.
    pub(crate) offset: u64,
    /// The publication without its closing brace, so that members can be added.
    publication: Bytes,
}

/// The events of one channel, oldest first.
#[derive(Debug, Default)]
pub(crate) struct Ring {
    events: VecDeque<Arc<Stored>>,
    bytes: usize,
    /// Where events are gone that were dropped for the channel's own limits: the next offset of their partitions.
    floor: Vec<(u32, i32, i64)>,
    /// The stream's offset of the newest of them.
    gone: u64,
}

impl Stored {
    pub(crate) fn new(event: Event, sequence: u64, offset: u64) -> Stored {
        let mut publication = Vec::with_capacity(event.data.len() + 96);
        publication.extend_from_slice(b"{\"data\":");
        publication.extend_from_slice(&event.data);
        publication.extend_from_slice(format!(",\"offset\":{offset}").as_bytes());
        if event.time > 0 {
            publication.extend_from_slice(format!(",\"time\":{}", event.time).as_bytes());
        }
        if !event.tags.is_empty() {
            let mut before = "{";
            publication.extend_from_slice(b",\"tags\":");
            for (name, value) in &event.tags {
                publication.extend_from_slice(before.as_bytes());
                publication.extend_from_slice(json(&**name).as_bytes());
                publication.push(b':');
                publication.extend_from_slice(json(&**value).as_bytes());
                before = ",";
            }
            publication.push(b'}');
        }
        Stored {
            topic: topic_key(&event.place.topic),
            event,
            sequence,
            offset,
            publication: publication.into(),
        }
    }

    /// The name of its family.
    pub(crate) fn family(&self) -> &str {
        super::family_of(&self.event.channel)
    }

    /// The publication without its closing brace.
    pub(crate) fn open_publication(&self) -> &Bytes {
        &self.publication
    }

    /// The publication as a JSON value; `wildcard` adds the channel, for subscriptions to a pattern.
    pub(crate) fn publication(&self, wildcard: bool) -> Box<RawValue> {
        let mut text = String::from_utf8_lossy(&self.publication).into_owned();
        if wildcard {
            text.push_str(",\"channel\":");
            text.push_str(&json(&*self.event.channel));
        }
        text.push('}');
        // It was put together from JSON values above; null would be a defect of this file.
        RawValue::from_string(text).unwrap_or_default()
    }

    /// Bytes of that and of a comma.
    pub(crate) fn publication_bytes(&self, wildcard: bool) -> usize {
        let channel = if wildcard { ",\"channel\":".len() + json(&*self.event.channel).len() } else { 0 };
        self.publication.len() + channel + "},".len()
    }

    /// Bytes it costs while it is kept.
    pub(crate) fn cost(&self) -> usize {
        // The event's data is mostly a slice of the record it came from: it counts although it is shared.
        self.publication.len() + self.event.data.len() + 256
    }

    pub(crate) fn place(&self) -> &Place {
        &self.event.place
    }
}

impl Ring {
    /// Adds an event; the oldest go for it.
    pub(crate) fn push(&mut self, event: Arc<Stored>, events_max: usize, bytes_max: usize) {
        self.bytes += event.cost();
        self.events.push_back(event);
        while self.events.len() > events_max || (self.bytes > bytes_max && self.events.len() > 1) {
            let Some(oldest) = self.events.pop_front() else { break };
            self.bytes -= oldest.cost();
            self.raise(&oldest);
        }
    }

    /// Drops the oldest event if it is this one.
    pub(crate) fn expire(&mut self, sequence: u64) {
        if let Some(oldest) = self.events.pop_front_if(|oldest| oldest.sequence == sequence) {
            self.bytes -= oldest.cost();
        }
    }

    fn raise(&mut self, gone: &Stored) {
        self.gone = gone.offset;
        let (partition, next) = (gone.place().partition, gone.place().offset + 1);
        match self.floor.iter_mut().find(|(topic, known, _)| (*topic, *known) == (gone.topic, partition)) {
            Some((_, _, floor)) => *floor = next.max(*floor),
            None => self.floor.push((gone.topic, partition, next)),
        }
    }

    /// The next offsets of partitions below which events are gone.
    pub(crate) fn floor(&self) -> &[(u32, i32, i64)] {
        &self.floor
    }

    /// The stream's offset of the newest event that is gone.
    pub(crate) fn gone(&self) -> u64 {
        self.gone
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Arc<Stored>> + Clone {
        self.events.iter()
    }

    pub(crate) fn newest(&self) -> Option<&Arc<Stored>> {
        self.events.back()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.events.is_empty()
    }
}
