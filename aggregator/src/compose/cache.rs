//! Results that are kept for other requests: how long each may be used, and which give way when there are too many.
//!
//! A result is kept under a [`Key`] that holds everything by which answers of one URL may differ; see
//! [`key`](super::key). How long it is fresh is [`freshness`](super::freshness). Results that are no longer fresh stay until
//! others need their place: they may still stand in for a failure.

use std::hash::RandomState;
use std::sync::{Mutex, MutexGuard, PoisonError};

use lru::LruCache;
use tokio::time::Instant;

use super::freshness::Freshness;
use super::key::Key;
use crate::json::Checked;

/// What an entry takes beside its key and its value, in bytes: table, list and handles, rounded up.
const ENTRY_BYTES: usize = 256;

/// Results that are kept, the least recently used first to go.
pub(super) struct Cache {
    bytes_max: usize,
    kept: Mutex<Kept>,
}

struct Kept {
    entries: LruCache<Key, Entry, RandomState>,
    bytes: usize,
}

struct Entry {
    value: Checked,
    bytes: usize,
    until: Until,
    /// Somebody fetches a new one.
    renewing: bool,
}

/// Until when a result may be used, and how.
#[derive(Debug, Clone, Copy)]
struct Until {
    fresh: Instant,
    revalidate: Instant,
    error: Instant,
}

/// What is kept under a key.
#[derive(Debug)]
pub(super) enum Found {
    /// To be used as it is.
    Fresh(Checked),
    /// To be used while a new one is fetched; `renew` tells one of those who find it to do so.
    Stale {
        /// The result.
        value: Checked,
        /// Whether to fetch a new one. Whoever is told so has to end in [`Cache::keep`] or [`Cache::not_renewed`].
        renew: bool,
    },
    /// Not without asking anew.
    Old,
    /// Nothing.
    Nothing,
}

impl Cache {
    /// Keeps at most so many bytes, keys and what entries take included.
    pub(super) fn new(bytes_max: usize) -> Self {
        let entries = LruCache::unbounded_with_hasher(RandomState::new());
        Cache { bytes_max, kept: Mutex::new(Kept { entries, bytes: 0 }) }
    }

    /// What is kept under a key, and how it may be used now.
    pub(super) fn find(&self, key: &Key, now: Instant) -> Found {
        let mut kept = self.lock();
        let Some(entry) = kept.entries.get_mut(key) else { return Found::Nothing };
        if now < entry.until.fresh {
            return Found::Fresh(entry.value.clone());
        }
        if now < entry.until.revalidate {
            let renew = !std::mem::replace(&mut entry.renewing, true);
            return Found::Stale { value: entry.value.clone(), renew };
        }
        Found::Old
    }

    /// What may stand in for a call that failed (RFC 5861, section 4).
    pub(super) fn for_error(&self, key: &Key, now: Instant) -> Option<Checked> {
        let mut kept = self.lock();
        kept.entries.get(key).filter(|entry| now < entry.until.error).map(|entry| entry.value.clone())
    }

    /// The last good result, however old.
    pub(super) fn last(&self, key: &Key) -> Option<Checked> {
        self.lock().entries.get(key).map(|entry| entry.value.clone())
    }

    /// Keeps a result in place of the one before. One that would need more than an eighth of the whole cache is not kept,
    /// so that a few large ones do not drive out all others.
    pub(super) fn keep(&self, key: Key, value: Checked, freshness: Freshness, now: Instant) {
        let bytes = key.len() + value.bytes().len() + ENTRY_BYTES;
        let until = Until {
            fresh: after(now, freshness.fresh),
            revalidate: after(now, freshness.fresh + freshness.stale_while_revalidate),
            error: after(now, freshness.fresh + freshness.stale_if_error),
        };
        let mut gone = Vec::new();
        let mut kept = self.lock();
        if let Some(before) = kept.entries.pop(&key) {
            kept.bytes -= before.bytes;
            gone.push(before);
        }
        if bytes > self.bytes_max / 8 {
            return;
        }
        kept.bytes += bytes;
        kept.entries.push(key, Entry { value, bytes, until, renewing: false });
        while kept.bytes > self.bytes_max {
            let Some((_, oldest)) = kept.entries.pop_lru() else { break };
            kept.bytes -= oldest.bytes;
            gone.push(oldest);
        }
        // Memory is freed outside of the lock.
        drop(kept);
    }

    /// A new one was fetched in vain: the next who finds the old one may try.
    pub(super) fn not_renewed(&self, key: &Key) {
        if let Some(entry) = self.lock().entries.peek_mut(key) {
            entry.renewing = false;
        }
    }

    /// Forgets what a service has taken back.
    pub(super) fn forget(&self, key: &Key) {
        let mut kept = self.lock();
        if let Some(entry) = kept.entries.pop(key) {
            kept.bytes -= entry.bytes;
        }
    }

    /// Bytes kept now.
    pub(super) fn bytes(&self) -> usize {
        self.lock().bytes
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn after(now: Instant, time: std::time::Duration) -> Instant {
    // So far away that nobody will see it.
    now.checked_add(time).unwrap_or_else(|| now + std::time::Duration::from_secs(365 * 86_400))
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::time::Duration;

    use bytes::Bytes;
    use proptest::prelude::*;

    use super::super::key::KeyBuilder;
    use super::*;
    use crate::json::Limits;

    const LIVES: Freshness = Freshness {
        fresh: Duration::from_secs(10),
        stale_while_revalidate: Duration::from_secs(20),
        stale_if_error: Duration::from_secs(40),
    };

    fn key(name: &str) -> Key {
        let mut key = KeyBuilder::new();
        key.part(name.as_bytes());
        key.build()
    }

    fn value(text: &str) -> Checked {
        Checked::new(Bytes::from(text.to_owned()), &Limits { depth_max: 9, bytes_max: 1 << 20 }).unwrap()
    }

    fn text(value: Option<Checked>) -> Option<String> {
        value.map(|value| String::from_utf8(value.into_bytes().to_vec()).unwrap())
    }

    #[test]
    fn a_result_is_fresh_then_stale_then_only_for_failures() {
        let cache = Cache::new(1 << 20);
        let now = Instant::now();
        let later = |seconds| now + Duration::from_secs(seconds);
        cache.keep(key("a"), value("1"), LIVES, now);
        assert!(matches!(cache.find(&key("a"), later(9)), Found::Fresh(_)));
        assert!(matches!(cache.find(&key("a"), later(10)), Found::Stale { renew: true, .. }));
        assert!(
            matches!(cache.find(&key("a"), later(11)), Found::Stale { renew: false, .. }),
            "one fetches, not all"
        );
        cache.not_renewed(&key("a"));
        assert!(matches!(cache.find(&key("a"), later(29)), Found::Stale { renew: true, .. }));
        assert!(matches!(cache.find(&key("a"), later(30)), Found::Old));
        assert_eq!(text(cache.for_error(&key("a"), later(49))), Some("1".to_owned()));
        assert_eq!(text(cache.for_error(&key("a"), later(50))), None);
        assert_eq!(text(cache.last(&key("a"))), Some("1".to_owned()));
        assert!(matches!(cache.find(&key("b"), now), Found::Nothing));
        cache.keep(key("a"), value("2"), LIVES, later(50));
        assert!(matches!(cache.find(&key("a"), later(59)), Found::Fresh(_)), "a new one begins anew");
        cache.forget(&key("a"));
        assert_eq!((text(cache.last(&key("a"))), cache.bytes()), (None, 0));
    }

    #[test]
    fn the_least_recently_used_give_way() {
        let one = key("a").len() + 3 + ENTRY_BYTES;
        let cache = Cache::new(one * 10);
        let now = Instant::now();
        for name in ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j"] {
            cache.keep(key(name), value("111"), LIVES, now);
        }
        assert_eq!(cache.bytes(), one * 10);
        cache.find(&key("a"), now);
        cache.keep(key("k"), value("111"), LIVES, now);
        assert!(cache.last(&key("a")).is_some() && cache.last(&key("b")).is_none());
    }

    #[test]
    fn what_is_too_large_is_not_kept_and_what_it_replaces_goes() {
        let cache = Cache::new(8 * 1024);
        let now = Instant::now();
        cache.keep(key("a"), value("1"), LIVES, now);
        cache.keep(key("a"), value(&"1".repeat(1024)), LIVES, now);
        assert_eq!((cache.bytes(), text(cache.last(&key("a")))), (0, None));
    }

    proptest! {
        /// Every find gives what was kept last under exactly that key, and the bytes are counted right.
        #[test]
        fn a_result_is_found_under_its_own_key_only(
            kept in prop::collection::vec((prop::collection::vec("[ab]{0,2}", 0..4), 0u32..1000), 1..60),
        ) {
            let cache = Cache::new(1 << 20);
            let now = Instant::now();
            let of = |parts: &[String]| {
                let mut key = KeyBuilder::new();
                for part in parts {
                    key.part(part.as_bytes());
                }
                key.build()
            };
            let mut model: HashMap<Vec<String>, u32> = HashMap::new();
            for (parts, number) in &kept {
                cache.keep(of(parts), value(&number.to_string()), LIVES, now);
                model.insert(parts.clone(), *number);
            }
            let mut bytes = 0;
            for (parts, number) in &model {
                prop_assert_eq!(text(cache.last(&of(parts))), Some(number.to_string()));
                bytes += of(parts).len() + number.to_string().len() + ENTRY_BYTES;
            }
            prop_assert_eq!(cache.bytes(), bytes);
        }
    }
}
