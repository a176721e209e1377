//! How far this node has read each topic, and the positions that clients are given.
//!
//! A position is what a client needs to go on from, on any node: the next offset of every partition that feeds its
//! family. It travels as the protocol's `epoch`, an opaque text; the protocol's `offset` is the number of records before
//! the position, which is Kafka's offset + 1 where one partition feeds the family. Four to seven characters for
//! each partition: families of very many partitions pay for that in every publication.

use std::collections::BTreeMap;
use std::hash::Hasher;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use siphasher::sip::SipHasher13;

use crate::event::Place;

/// The first byte of an epoch.
const VERSION: u8 = 1;
/// Longer epochs are not looked at.
const EPOCH_BYTES_MAX: usize = 32 * 1024;
/// Partitions that an epoch may name, over all topics.
const PARTITIONS_MAX: usize = 4096;

/// How far a topic was read.
#[derive(Debug, Clone, Default)]
pub(crate) struct TopicProgress {
    /// What stands for its name in epochs.
    pub(crate) key: u32,
    /// The next offset of each partition.
    pub(crate) next: Vec<i64>,
    /// Whether each partition has reached what was its end at the start.
    pub(crate) ready: Vec<bool>,
    /// How often the topic was made again since this node started.
    pub(crate) incarnation: u32,
}

/// A topic's name and what stands for it.
#[derive(Clone, Copy)]
pub(crate) struct TopicName<'a> {
    pub(crate) name: &'a Arc<str>,
    pub(crate) key: u32,
}

/// How far all topics were read.
pub(crate) struct Progress {
    /// Tells this run of this node from any other.
    pub(crate) run: u32,
    pub(crate) topics: BTreeMap<Arc<str>, TopicProgress>,
}

/// A position that a client has shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Position {
    run: u32,
    incarnation: u32,
    topics: Vec<(u32, Vec<i64>)>,
    /// The newest event that the client may have seen, and its time: a topic that was deleted and made again has
    /// another record there.
    pub(crate) last: Option<Last>,
}

/// An event as a position remembers it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Last {
    pub(crate) topic: u32,
    pub(crate) partition: i32,
    pub(crate) offset: i64,
    pub(crate) time: i64,
}

/// What stands for a topic's name in epochs.
pub(crate) fn topic_key(name: &str) -> u32 {
    let mut hasher = SipHasher13::new();
    hasher.write(name.as_bytes());
    // The lower half is as good a hash as the whole.
    hasher.finish() as u32
}

impl Progress {
    pub(crate) fn new() -> Self {
        Progress { run: fastrand::u32(..), topics: BTreeMap::new() }
    }

    /// The number of records before the present position, over some topics.
    pub(crate) fn offset(&self, topics: &[Arc<str>]) -> u64 {
        let nexts = topics.iter().filter_map(|name| self.topics.get(name)).flat_map(|topic| &topic.next);
        nexts.map(|next| u64::try_from(*next).unwrap_or(0)).sum()
    }

    /// The present position over some topics, as text. `last` is the newest event before it.
    pub(crate) fn epoch(&self, topics: &[Arc<str>], last: Option<(&Place, i64)>) -> String {
        let mut bytes = Vec::with_capacity(16 + 8 * topics.len());
        let known = topics.iter().filter_map(|name| self.topics.get(name));
        let incarnation: u32 = known.clone().map(|topic| topic.incarnation).sum();
        bytes.push(VERSION);
        bytes.extend_from_slice(&self.run.to_be_bytes());
        write(&mut bytes, u64::from(incarnation));
        write(&mut bytes, known.clone().count() as u64);
        for topic in known {
            bytes.extend_from_slice(&topic.key.to_be_bytes());
            write(&mut bytes, topic.next.len() as u64);
            for next in &topic.next {
                write(&mut bytes, u64::try_from(*next).unwrap_or(0));
            }
        }
        if let Some((place, time)) = last {
            bytes.extend_from_slice(&topic_key(&place.topic).to_be_bytes());
            for number in [i64::from(place.partition), place.offset, time] {
                write(&mut bytes, u64::try_from(number).unwrap_or(0));
            }
        }
        URL_SAFE_NO_PAD.encode(bytes)
    }

    /// Whether a position was given out by this node, and since the topics are what they are.
    pub(crate) fn is_mine(&self, position: &Position, topics: &[Arc<str>]) -> bool {
        position.run == self.run && position.incarnation == self.incarnation(topics)
    }

    /// Whether this node gave the position out before one of the topics was made again.
    pub(crate) fn is_void(&self, position: &Position, topics: &[Arc<str>]) -> bool {
        position.run == self.run && position.incarnation != self.incarnation(topics)
    }

    fn incarnation(&self, topics: &[Arc<str>]) -> u32 {
        topics.iter().filter_map(|name| self.topics.get(name)).map(|topic| topic.incarnation).sum()
    }

    /// Every partition of some topics, with its next offset.
    pub(crate) fn partitions<'a>(
        &'a self,
        topics: &'a [Arc<str>],
    ) -> impl Iterator<Item = (TopicName<'a>, i32, i64)> {
        let known = topics.iter().filter_map(|name| Some((name, self.topics.get(name)?)));
        known.flat_map(|(name, topic)| {
            let key = topic.key;
            (0..).zip(&topic.next).map(move |(partition, next)| (TopicName { name, key }, partition, *next))
        })
    }

    /// Whether every partition of some topics has reached what was its end at the start.
    pub(crate) fn is_ready(&self, topics: &[Arc<str>]) -> bool {
        topics
            .iter()
            .filter_map(|name| self.topics.get(name))
            .all(|topic| topic.ready.iter().all(|ready| *ready))
    }
}

impl Position {
    /// Reads an epoch. `None`: it is none of ours.
    pub(crate) fn parse(epoch: &str) -> Option<Position> {
        if epoch.len() > EPOCH_BYTES_MAX {
            return None;
        }
        let bytes = URL_SAFE_NO_PAD.decode(epoch).ok()?;
        let mut rest = &bytes[..];
        if take(&mut rest, 1)? != [VERSION] {
            return None;
        }
        let run = read_u32(&mut rest)?;
        let incarnation = u32::try_from(read(&mut rest)?).ok()?;
        let mut topics = Vec::new();
        let mut partitions = 0;
        for _ in 0..read(&mut rest)? {
            let key = read_u32(&mut rest)?;
            let count = usize::try_from(read(&mut rest)?).ok()?;
            partitions += count;
            if partitions > PARTITIONS_MAX {
                return None;
            }
            let next: Option<Vec<i64>> =
                (0..count).map(|_| read(&mut rest).and_then(|next| i64::try_from(next).ok())).collect();
            topics.push((key, next?));
        }
        let last = if rest.is_empty() { None } else { Some(Last::read(&mut rest)?) };
        rest.is_empty().then_some(Position { run, incarnation, topics, last })
    }

    /// The next offset of a partition. A partition that the position does not name did not exist for the client: it
    /// has seen nothing of it.
    pub(crate) fn next(&self, topic: u32, partition: i32) -> i64 {
        let known = self.topics.iter().find(|(key, _)| *key == topic);
        let next = known.and_then(|(_, next)| next.get(usize::try_from(partition).ok()?));
        next.copied().unwrap_or(0)
    }

    /// The number of records before the position, over some topics.
    pub(crate) fn offset_over(&self, progress: &Progress, topics: &[Arc<str>]) -> u64 {
        let partitions = progress.partitions(topics);
        partitions.map(|(topic, number, _)| u64::try_from(self.next(topic.key, number)).unwrap_or(0)).sum()
    }
}

impl Last {
    fn read(rest: &mut &[u8]) -> Option<Last> {
        let topic = read_u32(rest)?;
        let partition = i32::try_from(read(rest)?).ok()?;
        let offset = i64::try_from(read(rest)?).ok()?;
        let time = i64::try_from(read(rest)?).ok()?;
        Some(Last { topic, partition, offset, time })
    }
}

fn take<'a>(rest: &mut &'a [u8], count: usize) -> Option<&'a [u8]> {
    let (taken, behind) = rest.split_at_checked(count)?;
    *rest = behind;
    Some(taken)
}

fn read_u32(rest: &mut &[u8]) -> Option<u32> {
    take(rest, 4)?.try_into().ok().map(u32::from_be_bytes)
}

/// LEB128.
fn write(bytes: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
}

fn read(rest: &mut &[u8]) -> Option<u64> {
    let mut number: u64 = 0;
    for shift in (0..64).step_by(7) {
        let byte = take(rest, 1)?[0];
        number |= u64::from(byte & 0x7f).checked_shl(shift)?;
        if byte < 0x80 {
            return Some(number);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn progress(next: &[i64]) -> (Progress, Vec<Arc<str>>) {
        let name: Arc<str> = "t".into();
        let mut progress = Progress::new();
        let topic = TopicProgress { key: topic_key("t"), next: next.to_vec(), ..TopicProgress::default() };
        progress.topics.insert(name.clone(), topic);
        (progress, vec![name])
    }

    fn place(partition: i32, offset: i64) -> Place {
        Place { topic: "t".into(), partition, offset }
    }

    #[test]
    fn an_epoch_says_what_comes_next() {
        let (progress, topics) = progress(&[5, 0, 1 << 40]);
        let position = Position::parse(&progress.epoch(&topics, Some((&place(2, 7), 99)))).unwrap();
        let key = topic_key("t");
        assert_eq!([0, 1, 2, 3].map(|p| position.next(key, p)), [5, 0, 1 << 40, 0]);
        assert_eq!(position.last, Some(Last { topic: key, partition: 2, offset: 7, time: 99 }));
        assert_eq!(progress.offset(&topics), 5 + (1 << 40));
        assert_eq!(position.offset_over(&progress, &topics), progress.offset(&topics));
        assert!(progress.is_mine(&position, &topics));
    }

    #[test]
    fn a_topic_made_again_voids_the_positions_before() {
        let (mut progress, topics) = progress(&[5]);
        let position = Position::parse(&progress.epoch(&topics, None)).unwrap();
        progress.topics.get_mut("t").unwrap().incarnation += 1;
        assert!(progress.is_void(&position, &topics));
        assert!(!Progress::new().is_void(&position, &topics), "another node cannot know");
    }

    #[test]
    fn what_is_no_epoch_of_ours_is_none() {
        for epoch in ["", "_", "abc", "AQ", "AgAAAAAAAA", "AQAAAAAA__________8B", "not base64!"] {
            assert_eq!(Position::parse(epoch), None, "{epoch}");
        }
        let (progress, topics) = progress(&[5]);
        let epoch = progress.epoch(&topics, None);
        assert_eq!(Position::parse(&format!("{epoch}AAAA")), None, "something behind it");
    }

    proptest! {
        #[test]
        fn anything_may_come_from_a_client(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let mut with_version = vec![VERSION];
            with_version.extend(bytes);
            let _ = Position::parse(&URL_SAFE_NO_PAD.encode(with_version));
        }

        #[test]
        fn epochs_come_back_as_they_were(next in proptest::collection::vec(0..i64::MAX, 0..40)) {
            let (progress, topics) = progress(&next);
            let position = Position::parse(&progress.epoch(&topics, None)).unwrap();
            for (partition, next) in next.iter().enumerate() {
                prop_assert_eq!(position.next(topic_key("t"), partition as i32), *next);
            }
        }
    }
}
