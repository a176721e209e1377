//! What a client has missed: from the rings if they reach back far enough, else for a catch-up to read from Kafka.

use std::sync::Arc;

use sallyport_kafka::Range;

use super::progress::{Position, Progress};
use super::{Channel, FamilyState, Stored};
use crate::feed::view_of;

/// From where on a client wants to go on.
#[derive(Debug, Clone)]
pub(crate) struct Since {
    /// The position it was given last.
    pub(crate) epoch: String,
    /// The stream's offset of what it has seen last. Newer than `epoch` for subscriptions of the server's making, whose
    /// epochs SDKs keep from their beginning.
    pub(crate) offset: u64,
}

/// What a client has missed.
pub(crate) enum Missed {
    /// These, in order; not yet looked at whether the client may see them.
    Events(Vec<Arc<Stored>>),
    /// What the rings have not is in these ranges; each ends where the rings begin.
    Older(Vec<Range>),
    /// The client is ahead of this node: it has to wait.
    Ahead,
    /// Nobody knows any more.
    Lost,
}

/// What a catch-up has read for a client.
pub(crate) struct CaughtUp {
    pub(crate) ranges: Vec<Range>,
    /// The events of the client's channel in these ranges, in order.
    pub(crate) events: Vec<Arc<Stored>>,
}

/// The channels that a subscription looks at: one, or all that a pattern matches.
pub(crate) fn channels_of<'a>(state: &'a FamilyState, name: &str) -> Vec<&'a Channel> {
    match name.strip_suffix('*') {
        None => state.channels.get(name).into_iter().collect(),
        Some(prefix) => state.channels.values().filter(|channel| channel.name.starts_with(prefix)).collect(),
    }
}

/// What a client has missed of a channel, or of the channels of a pattern.
pub(crate) fn missed(
    state: &FamilyState,
    progress: &Progress,
    name: &str,
    since: &Since,
    caught_up: Option<CaughtUp>,
) -> Missed {
    let Some(position) = Position::parse(&since.epoch) else { return Missed::Lost };
    if progress.is_void(&position, &state.topics) {
        return Missed::Lost;
    }
    let channels = channels_of(state, name);
    let rings = channels.iter().flat_map(|channel| channel.ring.iter());
    if let Some(last) = &position.last
        && rings.clone().any(|event| {
            let place = (event.topic, event.place().partition, event.place().offset);
            place == (last.topic, last.partition, last.offset) && event.event.time != last.time
        })
    {
        return Missed::Lost;
    }
    let offset = since.offset.max(position.offset_over(progress, &state.topics));
    if caught_up.is_none() && progress.is_mine(&position, &state.topics) {
        let gone = channels.iter().map(|channel| channel.ring.gone()).max().unwrap_or(0);
        if offset >= gone.max(state.log.gone()) {
            return Missed::Events(in_order(rings.filter(|event| event.offset > offset).cloned().collect()));
        }
    }
    // Where one partition feeds the family, the stream's offsets are Kafka's, on every node.
    let single = progress.partitions(&state.topics).count() == 1;
    let next_of = |topic, partition| {
        let next = position.next(topic, partition);
        if single { next.max(i64::try_from(offset).unwrap_or(i64::MAX)) } else { next }
    };
    let mut older = Vec::new();
    let mut ahead = false;
    for (topic, partition, next) in progress.partitions(&state.topics) {
        let from = next_of(topic.key, partition);
        ahead |= from > next;
        let floors = channels.iter().flat_map(|channel| channel.ring.floor());
        let of_this = floors.filter(|(key, other, _)| (*key, *other) == (topic.key, partition));
        let floor = of_this.map(|(_, _, floor)| *floor).max().unwrap_or(0);
        let floor = floor.max(state.log.floor(topic.key, partition));
        let covered =
            caught_up.as_ref().map_or(from, |caught_up| caught_up.reached(topic.name, partition, from));
        if covered < floor {
            older.push(Range { topic: topic.name.clone(), partition, from, to: floor });
        }
    }
    if ahead {
        return Missed::Ahead;
    }
    // Changes of a view are nowhere but in rings.
    if older.iter().any(|range| view_of(&range.topic).is_some()) {
        return Missed::Lost;
    }
    if !older.is_empty() {
        return Missed::Older(older);
    }
    let caught_up = caught_up.unwrap_or(CaughtUp { ranges: Vec::new(), events: Vec::new() });
    let newer = rings.filter(|event| {
        let from = next_of(event.topic, event.place().partition);
        event.place().offset >= caught_up.reached(&event.place().topic, event.place().partition, from)
    });
    let newer = in_order(newer.cloned().collect());
    Missed::Events(caught_up.events.into_iter().chain(newer).collect())
}

fn in_order(mut events: Vec<Arc<Stored>>) -> Vec<Arc<Stored>> {
    events.sort_unstable_by_key(|event| event.sequence);
    events
}

impl CaughtUp {
    /// Up to where a partition was read for the client; `from` if it was not.
    fn reached(&self, topic: &str, partition: i32, from: i64) -> i64 {
        let range = self.ranges.iter().find(|range| &*range.topic == topic && range.partition == partition);
        range.map_or(from, |range| range.to)
    }
}
