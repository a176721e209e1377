//! Tokens that were verified a short while ago. Bounded; a token is known by a keyed hash of all its bytes.
//!
//! Each shard has two generations of entries. New ones, and old ones that are used again, go to the young
//! generation; when that is full it becomes the old one, and what was old is forgotten. So a hit takes a read
//! lock and nothing else, forgetting costs no search, and what is in use stays.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::{Arc, PoisonError, RwLock};

use prometheus::IntGauge;
use siphasher::sip128::SipHasher13;

const SHARDS_MAX: usize = 16;

/// The identity of a token: 128 bits that nobody outside can aim at.
pub(crate) type Fingerprint = u128;

/// Verified tokens, by a keyed hash of their bytes; `T` is what is known of one.
pub struct Memory<T> {
    hasher: SipHasher13,
    shards: Box<[RwLock<Shard<T>>]>,
    /// The most entries in one generation of one shard.
    half: usize,
    gauge: IntGauge,
}

struct Shard<T> {
    young: HashMap<Fingerprint, Arc<T>, Folded>,
    old: HashMap<Fingerprint, Arc<T>, Folded>,
}

impl<T> Default for Shard<T> {
    fn default() -> Self {
        Shard { young: HashMap::default(), old: HashMap::default() }
    }
}

impl<T> Shard<T> {
    fn len(&self) -> usize {
        self.young.len() + self.old.len()
    }
}

impl<T> Memory<T> {
    /// A memory for at most `entries` tokens (at least 2). The gauge counts them, with those of other
    /// memories.
    pub fn new(entries: usize, gauge: IntGauge) -> Self {
        // Fresh random keys, so that no one can find two tokens that share an entry.
        let key = || RandomState::new().build_hasher().finish();
        let shards = if entries < 64 * SHARDS_MAX { 1 } else { SHARDS_MAX };
        Memory {
            hasher: SipHasher13::new_with_keys(key(), key()),
            shards: (0..shards).map(|_| RwLock::default()).collect(),
            half: (entries / shards / 2).max(1),
            gauge,
        }
    }

    /// By what a token is known here.
    pub(crate) fn fingerprint(&self, token: &[u8]) -> Fingerprint {
        self.hasher.hash(token).as_u128()
    }

    /// What is remembered of this token. Allocates nothing, except when an old entry is used again.
    pub(crate) fn find(&self, token: Fingerprint) -> Option<Arc<T>> {
        let shard = self.shard(token);
        let found = {
            let shard = shard.read().unwrap_or_else(PoisonError::into_inner);
            if let Some(verified) = shard.young.get(&token) {
                return Some(verified.clone());
            }
            shard.old.get(&token).cloned()
        }?;
        self.insert(token, found.clone());
        Some(found)
    }

    /// Remembers a token.
    pub(crate) fn insert(&self, token: Fingerprint, verified: Arc<T>) {
        let mut shard = self.shard(token).write().unwrap_or_else(PoisonError::into_inner);
        let before = shard.len();
        shard.old.remove(&token);
        if shard.young.len() >= self.half && !shard.young.contains_key(&token) {
            shard.old = std::mem::take(&mut shard.young);
        }
        shard.young.insert(token, verified);
        self.gauge.add(shard.len() as i64 - before as i64);
    }

    /// Forgets a token.
    pub(crate) fn forget(&self, token: Fingerprint) {
        let mut shard = self.shard(token).write().unwrap_or_else(PoisonError::into_inner);
        let before = shard.len();
        shard.young.remove(&token);
        shard.old.remove(&token);
        self.gauge.add(shard.len() as i64 - before as i64);
    }

    fn len(&self) -> usize {
        let len = |shard: &RwLock<Shard<T>>| shard.read().unwrap_or_else(PoisonError::into_inner).len();
        self.shards.iter().map(len).sum()
    }

    fn shard(&self, token: Fingerprint) -> &RwLock<Shard<T>> {
        // The low bits choose the shard; the map inside uses the high half.
        &self.shards[(token as usize) % self.shards.len()]
    }
}

impl<T> Drop for Memory<T> {
    fn drop(&mut self) {
        self.gauge.sub(self.len() as i64);
    }
}

/// Uses a fingerprint as its own hash: it is one already.
#[derive(Default, Clone, Copy)]
struct Folded;

struct FoldedHasher(u64);

impl BuildHasher for Folded {
    type Hasher = FoldedHasher;

    fn build_hasher(&self) -> FoldedHasher {
        FoldedHasher(0)
    }
}

impl Hasher for FoldedHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write_u128(&mut self, value: u128) {
        self.0 = (value >> 64) as u64;
    }

    fn write(&mut self, bytes: &[u8]) {
        self.0 = bytes.iter().fold(self.0, |hash, byte| hash.rotate_left(8) ^ u64::from(*byte));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn memory(entries: usize) -> Memory<String> {
        Memory::new(entries, IntGauge::new("entries", "of the test").unwrap())
    }

    fn verified(subject: &str) -> Arc<String> {
        Arc::new(subject.to_owned())
    }

    #[test]
    fn a_hit_is_the_very_same_entry_and_a_miss_is_none() {
        let memory = memory(100);
        let entry = verified("ann");
        let token = memory.fingerprint(b"token");
        memory.insert(token, entry.clone());
        assert!(Arc::ptr_eq(&memory.find(token).unwrap(), &entry));
        assert!(memory.find(memory.fingerprint(b"tokem")).is_none());
        memory.forget(token);
        assert!(memory.find(token).is_none());
        assert_eq!(memory.gauge.get(), 0);
    }

    #[test]
    fn memory_is_bounded_and_keeps_what_is_used() {
        for entries in [2, 100, 10_000] {
            let memory = memory(entries);
            let used = memory.fingerprint(b"used");
            memory.insert(used, verified("used"));
            for number in 0..3 * entries {
                memory.insert(memory.fingerprint(&number.to_le_bytes()), verified("once"));
                assert!(memory.find(used).is_some(), "{entries}: {number}");
                if number % 1000 == 0 {
                    assert!(memory.len() <= entries.max(2));
                }
            }
            assert!(memory.len() <= entries);
            assert_eq!(memory.gauge.get(), memory.len() as i64);
            let gauge = memory.gauge.clone();
            drop(memory);
            assert_eq!(gauge.get(), 0, "what is gone is not counted");
        }
    }

    proptest! {
        /// Two tokens never share an entry, and two memories never share a fingerprint.
        #[test]
        fn other_bytes_are_another_token(
            a in prop::collection::vec(any::<u8>(), 0..200),
            b in prop::collection::vec(any::<u8>(), 0..200),
        ) {
            let memory = memory(100);
            prop_assert_eq!(a == b, memory.fingerprint(&a) == memory.fingerprint(&b));
            prop_assert_ne!(memory.fingerprint(&a), self::memory(100).fingerprint(&a));
        }
    }
}
