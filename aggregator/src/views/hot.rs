//! Answers of views that are kept in memory, within a number of bytes. What is in them and when they still hold is told by
//! those who bring them; here is only what is kept and what goes.

use std::collections::HashMap;
use std::hash::BuildHasher;
use std::sync::{Arc, Mutex, PoisonError};

use slab::Slab;

use super::versions::{Version, Versions};

/// Parts with a lock each, so that threads seldom wait for each other.
const SHARDS: usize = 8;

/// What an entry takes beside its key and its answer: the map, the list and the allocations.
const ENTRY_BYTES: usize = 256;

/// How many bytes of memory an answer takes.
pub trait Weigh {
    /// The bytes.
    fn weight(&self) -> usize;
}

/// Answers by key; those not used for longest go first.
#[derive(Debug)]
pub struct Hot<A> {
    shards: Box<[Mutex<Shard<A>>]>,
    hasher: std::hash::RandomState,
    bytes_max: usize,
}

#[derive(Debug)]
struct Shard<A> {
    /// The whole key is compared: answers of different people must never meet.
    places: HashMap<Arc<[u8]>, usize>,
    entries: Slab<Entry<A>>,
    /// The entry used last, and the one not used for longest.
    ends: Option<(usize, usize)>,
    bytes: usize,
}

#[derive(Debug)]
struct Entry<A> {
    key: Arc<[u8]>,
    answer: A,
    version: Version,
    bytes: usize,
    /// The one used after it, and the one used before.
    newer: Option<usize>,
    older: Option<usize>,
}

impl<A: Clone + Weigh> Hot<A> {
    /// Keeps answers within this many bytes, all together. 0 keeps none.
    pub fn new(bytes_max: usize) -> Self {
        let shards = (0..SHARDS).map(|_| Mutex::new(Shard::default())).collect();
        Hot { shards, hasher: std::hash::RandomState::new(), bytes_max: bytes_max / SHARDS }
    }

    /// The answer under a key, if it still holds. One that does not goes.
    pub fn find(&self, key: &[u8], versions: &Versions) -> Option<A> {
        let mut shard = self.shard(key);
        let place = *shard.places.get(key)?;
        let entry = shard.entries.get(place)?;
        if !versions.holds(&entry.version) {
            shard.remove(place);
            return None;
        }
        let answer = entry.answer.clone();
        shard.unlink(place);
        shard.link_first(place);
        Some(answer)
    }

    /// Keeps an answer: `version` was noted before its query began. One that is too large for its place is not kept.
    pub fn keep(&self, key: &[u8], version: Version, answer: A) {
        let bytes = key.len() + answer.weight() + ENTRY_BYTES;
        // One answer must not drive out all others.
        if bytes > self.bytes_max / 2 {
            return;
        }
        let mut shard = self.shard(key);
        if let Some(place) = shard.places.get(key).copied() {
            shard.remove(place);
        }
        while shard.bytes + bytes > self.bytes_max {
            let Some((_, oldest)) = shard.ends else { break };
            shard.remove(oldest);
        }
        let key: Arc<[u8]> = key.into();
        shard.bytes += bytes;
        let entry = Entry { key: key.clone(), answer, version, bytes, newer: None, older: None };
        let place = shard.entries.insert(entry);
        shard.places.insert(key, place);
        shard.link_first(place);
    }

    /// Bytes that are kept now.
    pub fn bytes(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().unwrap_or_else(PoisonError::into_inner).bytes).sum()
    }

    fn shard(&self, key: &[u8]) -> std::sync::MutexGuard<'_, Shard<A>> {
        let number = self.hasher.hash_one(key) as usize % SHARDS;
        self.shards[number].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<A> Default for Shard<A> {
    fn default() -> Self {
        Shard { places: HashMap::new(), entries: Slab::new(), ends: None, bytes: 0 }
    }
}

impl<A> Shard<A> {
    fn remove(&mut self, place: usize) {
        self.unlink(place);
        if let Some(entry) = self.entries.try_remove(place) {
            self.places.remove(&entry.key);
            self.bytes -= entry.bytes;
        }
    }

    fn link_first(&mut self, place: usize) {
        let second = self.ends.map(|(newest, _)| newest);
        if let Some(entry) = self.entries.get_mut(place) {
            (entry.newer, entry.older) = (None, second);
        }
        if let Some(entry) = second.and_then(|second| self.entries.get_mut(second)) {
            entry.newer = Some(place);
        }
        self.ends = Some((place, self.ends.map_or(place, |(_, oldest)| oldest)));
    }

    fn unlink(&mut self, place: usize) {
        let Some(entry) = self.entries.get_mut(place) else { return };
        let (newer, older) = (entry.newer.take(), entry.older.take());
        if let Some(entry) = newer.and_then(|newer| self.entries.get_mut(newer)) {
            entry.older = older;
        }
        if let Some(entry) = older.and_then(|older| self.entries.get_mut(older)) {
            entry.newer = newer;
        }
        self.ends = self.ends.and_then(|(newest, oldest)| {
            let newest = if newest == place { older } else { Some(newest) };
            let oldest = if oldest == place { newer } else { Some(oldest) };
            newest.zip(oldest)
        });
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::versions::{State, Touched};
    use super::*;

    #[derive(Debug, Clone, PartialEq)]
    struct Sized(usize, u32);

    impl Weigh for Sized {
        fn weight(&self) -> usize {
            self.0
        }
    }

    #[test]
    fn an_answer_is_kept_until_what_it_depends_on_changes() {
        let (versions, hot) = (Versions::new(), Hot::new(1 << 20));
        let version = versions.note(&[]);
        hot.keep(b"a", version.clone(), Sized(10, 1));
        assert_eq!(hot.find(b"a", &versions), Some(Sized(10, 1)));
        assert_eq!(hot.find(b"b", &versions), None);
        let mut touched = Touched::default();
        touched.row("k");
        versions.committed(&touched, State::default());
        assert_eq!((hot.find(b"a", &versions), hot.bytes()), (None, 0));
        // What was noted before a commit is not newer for being kept after it.
        hot.keep(b"a", version, Sized(10, 1));
        assert_eq!(hot.find(b"a", &versions), None);
    }

    #[test]
    fn what_is_too_large_is_not_kept() {
        let (versions, hot) = (Versions::new(), Hot::new(SHARDS * 1000));
        hot.keep(b"a", versions.note(&[]), Sized(600, 1));
        assert_eq!((hot.find(b"a", &versions), hot.bytes()), (None, 0));
        let none = Hot::new(0);
        none.keep(b"", versions.note(&[]), Sized(0, 1));
        assert_eq!(none.bytes(), 0);
    }

    proptest! {
        /// Against a list in the order of use.
        #[test]
        fn those_not_used_for_longest_go_first(steps in prop::collection::vec((0u8..12, 0usize..300, any::<bool>()), 0..120)) {
            let versions = Versions::new();
            let version = versions.note(&[]);
            let hot: Hot<Sized> = Hot::new(SHARDS * 1200);
            let mut model: [Vec<(u8, Sized, usize)>; SHARDS] = Default::default();
            for (number, (key, weight, keep)) in steps.into_iter().enumerate() {
                let shard = hot.hasher.hash_one(&[key][..]) as usize % SHARDS;
                let known = &mut model[shard];
                let position = known.iter().position(|(known, ..)| *known == key);
                if keep {
                    let answer = Sized(weight, number as u32);
                    hot.keep(&[key], version.clone(), answer.clone());
                    position.map(|position| known.remove(position));
                    let bytes = 1 + weight + ENTRY_BYTES;
                    while known.iter().map(|(.., bytes)| bytes).sum::<usize>() + bytes > 1200 {
                        known.remove(0);
                    }
                    known.push((key, answer, bytes));
                } else {
                    let expected = position.map(|position| known.remove(position));
                    known.extend(expected.clone());
                    prop_assert_eq!(hot.find(&[key], &versions), expected.map(|(_, answer, _)| answer));
                }
                let bytes: usize = model.iter().flatten().map(|(.., bytes)| bytes).sum();
                prop_assert_eq!(hot.bytes(), bytes);
            }
        }
    }
}
