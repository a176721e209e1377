//! The buckets of one limit: a table of bounded size, in parts that are locked one by one.
//!
//! A bucket that is full again is the same as none, so forgetting it changes no decision. Only when every bucket that
//! is looked at is still in use does the table forget one early, the fullest of them, and counts that.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use prometheus::{IntCounter, IntGauge};

use super::gcra::{Gcra, Ticks};

/// How many buckets a new one looks at to find one that is full again.
const LOOK: usize = 8;

/// Parts of a large table.
const PARTS: usize = 16;

/// Buckets by key. Locking is short: no allocation but when a part grows, no wait.
pub(super) struct Table {
    pub(super) gcra: Gcra,
    parts: Box<[Mutex<Part>]>,
    /// Keys of one part at most.
    part_max: usize,
    epoch: Instant,
    /// Differs from that of every other table in the process: who locks several does it in this order.
    pub(super) order: u64,
    keys: IntGauge,
    evicted: IntCounter,
}

#[derive(Default)]
struct Part {
    /// Where in `buckets` a key is.
    index: HashMap<u128, u32, BuildHasherDefault<AsIs>>,
    buckets: Vec<Bucket>,
    /// Where the search for a bucket that is full again goes on.
    hand: usize,
}

#[derive(Clone, Copy)]
struct Bucket {
    key: u128,
    full: Ticks,
}

/// A bucket under lock, with the request that asks for one token of it.
pub(super) struct Held<'t> {
    table: &'t Table,
    part: MutexGuard<'t, Part>,
    key: u128,
    found: Option<usize>,
    full: Ticks,
    now: Ticks,
}

/// What a bucket has left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Left {
    /// Requests that could pass at once.
    pub(super) requests: u32,
    /// Seconds, rounded up, until the bucket is full again.
    pub(super) full_in: u32,
}

impl Table {
    /// A table of at most `keys_max` buckets, which starts empty and grows with the clients that are limited.
    pub(super) fn new(gcra: Gcra, keys_max: usize, keys: IntGauge, evicted: IntCounter) -> Table {
        static ORDER: AtomicU64 = AtomicU64::new(0);
        let parts = if keys_max < 1024 { 1 } else { PARTS };
        Table {
            gcra,
            parts: (0..parts).map(|_| Mutex::default()).collect(),
            part_max: (keys_max / parts).max(1),
            epoch: Instant::now(),
            order: ORDER.fetch_add(1, Ordering::Relaxed),
            keys,
            evicted,
        }
    }

    /// Locks the bucket of `key` for a request that came at `moment`.
    pub(super) fn hold(&self, key: u128, moment: Instant) -> Held<'_> {
        // The low half finds the place in a part, the high half the part.
        let part = &self.parts[(key >> 64) as usize % self.parts.len()];
        let part = part.lock().unwrap_or_else(PoisonError::into_inner);
        let now = self.gcra.ticks(moment.saturating_duration_since(self.epoch));
        let found = part.index.get(&key).map(|index| *index as usize);
        let full = found.map_or(now, |index| part.buckets[index].full);
        Held { table: self, part, key, found, full, now }
    }
}

impl Drop for Table {
    fn drop(&mut self) {
        for part in &mut self.parts {
            let part = part.get_mut().unwrap_or_else(PoisonError::into_inner);
            self.keys.sub(i64::try_from(part.buckets.len()).unwrap_or(0));
        }
    }
}

impl Held<'_> {
    /// How long this request would have to wait, in whole seconds, rounded up; `None` if it may pass.
    pub(super) fn wait_secs(&self) -> Option<u32> {
        let missing = self.table.gcra.take(self.full, self.now).err()?;
        Some(self.table.gcra.seconds(missing).max(1))
    }

    /// What is left without this request.
    pub(super) fn left(&self) -> Left {
        let gcra = &self.table.gcra;
        Left {
            requests: gcra.left(self.full, self.now),
            full_in: gcra.seconds(self.full.saturating_sub(self.now)),
        }
    }

    /// Takes one token, if there is one, and lets go of the bucket.
    pub(super) fn take(mut self) -> Left {
        if let Ok(full) = self.table.gcra.take(self.full, self.now) {
            self.full = full;
            match self.found {
                Some(index) => self.part.buckets[index].full = full,
                None => self.part.insert(Bucket { key: self.key, full }, self.now, self.table),
            }
        }
        self.left()
    }
}

impl Part {
    /// Adds a bucket, in place of one that is full again if the hand finds such a one.
    fn insert(&mut self, bucket: Bucket, now: Ticks, table: &Table) {
        let room = self.buckets.len() < table.part_max;
        // While there is room, a short look keeps the table about as large as the number of buckets in use.
        let looks = if room { 2 } else { LOOK }.min(self.buckets.len());
        let mut fullest: Option<usize> = None;
        for _ in 0..looks {
            let here = self.hand % self.buckets.len();
            self.hand = here + 1;
            if fullest.is_none_or(|index| self.buckets[here].full < self.buckets[index].full) {
                fullest = Some(here);
            }
            if self.buckets[here].full <= now {
                break;
            }
        }
        match fullest {
            Some(index) if !room || self.buckets[index].full <= now => {
                if self.buckets[index].full > now {
                    table.evicted.inc();
                }
                self.index.remove(&self.buckets[index].key);
                self.index.insert(bucket.key, index as u32);
                self.buckets[index] = bucket;
            }
            _ => {
                self.index.insert(bucket.key, self.buckets.len() as u32);
                self.buckets.push(bucket);
                table.keys.inc();
            }
        }
    }
}

/// Takes the low half of a key as it is: keys are keyed hashes already.
#[derive(Default)]
struct AsIs(u64);

impl Hasher for AsIs {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u128(&mut self, key: u128) {
        self.0 = key as u64;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;
    use sallyport_config::units::Rate;

    use super::*;

    fn table(keys_max: usize) -> Table {
        let rate = Rate { count: 1, per: Duration::from_secs(1) };
        let keys = IntGauge::new("keys", "of a test").unwrap();
        Table::new(Gcra::new(rate, 2), keys_max, keys, IntCounter::new("evicted", "of a test").unwrap())
    }

    fn take(table: &Table, key: u128, seconds: u64) -> bool {
        let held = table.hold(key, table.epoch + Duration::from_secs(seconds));
        let passes = held.wait_secs().is_none();
        held.take();
        passes
    }

    #[test]
    fn buckets_that_are_full_again_make_room_and_nothing_is_lost() {
        let table = table(100);
        for round in 0..50u64 {
            for key in 0..100 {
                assert!(take(&table, u128::from(round) << 32 | key, round * 10));
            }
        }
        assert_eq!((table.keys.get(), table.evicted.get()), (100, 0));
    }

    #[test]
    fn a_table_stays_as_small_as_the_number_of_buckets_in_use() {
        let table = table(100_000);
        for second in 0..5_000u64 {
            take(&table, u128::from(second) << 64 | u128::from(second), second);
        }
        assert!(table.keys.get() <= 16 * 4, "{} keys for about one bucket in use", table.keys.get());
    }

    #[test]
    fn when_all_are_in_use_the_fullest_one_seen_is_forgotten_and_counted() {
        let table = table(4);
        for key in 0..4 {
            assert!(take(&table, key, 0));
        }
        for key in 1..4 {
            assert!(take(&table, key, 0));
        }
        assert!(take(&table, 9, 0), "a new client passes");
        assert_eq!((table.keys.get(), table.evicted.get()), (4, 1));
        for key in 1..4 {
            assert!(!take(&table, key, 0), "the emptier bucket {key} was kept");
        }
    }

    /// However many threads ask for the same bucket at the same moment, exactly its burst passes.
    #[test]
    fn decisions_are_exact_under_contention() {
        let rate = Rate { count: 1, per: Duration::from_secs(1) };
        let keys = IntGauge::new("keys", "of a test").unwrap();
        let table =
            Table::new(Gcra::new(rate, 100), 10, keys, IntCounter::new("evicted", "of a test").unwrap());
        let passed = AtomicU64::new(0);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..100 {
                        let held = table.hold(1, table.epoch);
                        if held.wait_secs().is_none() {
                            held.take();
                            passed.fetch_add(1, Ordering::Relaxed);
                        }
                    }
                });
            }
        });
        assert_eq!(passed.into_inner(), 100);
    }

    proptest! {
        /// The index and the buckets agree, and the bound holds, whatever comes.
        #[test]
        fn the_bound_holds_and_the_index_is_true(
            keys_max in 1usize..20,
            requests in prop::collection::vec((0u128..40, 0u64..3), 1..300),
        ) {
            let table = table(keys_max);
            let mut second = 0;
            for (key, gap) in requests {
                second += gap;
                take(&table, key, second);
                let part = table.parts[0].lock().unwrap();
                prop_assert!(part.buckets.len() <= keys_max);
                prop_assert_eq!(part.index.len(), part.buckets.len());
                for (index, bucket) in part.buckets.iter().enumerate() {
                    prop_assert_eq!(part.index.get(&bucket.key), Some(&(index as u32)));
                }
            }
        }
    }
}
