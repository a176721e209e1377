//! Rows in memory: those that the last events were about, so that most events need not ask the store. A row that has
//! changed stays until it was written.

use std::collections::HashMap;
use std::sync::Arc;

use super::row::Row;

/// Bytes that a slot costs beside its texts, about.
const SLOT_BYTES: usize = 320;

/// Rows by key. Of two halves the older goes as a whole when the younger is full.
#[derive(Debug)]
pub(super) struct Cache {
    young: HashMap<Arc<str>, Slot>,
    old: HashMap<Arc<str>, Slot>,
    young_bytes: usize,
    bytes_max: usize,
}

/// What is known of a key.
#[derive(Debug, Default)]
pub(super) struct Slot {
    /// The row as it is now.
    pub(super) row: Option<Row>,
    /// The largest value of `ordered_by` that it has seen, as JSON.
    pub(super) mark: Option<Box<str>>,
    /// Its number in the store, if it is there.
    pub(super) id: Option<i64>,
    /// What the store has, and which record was the last to change it, while that is not what the row is now.
    pub(super) unwritten: Option<Unwritten>,
}

/// A change that was not written yet.
#[derive(Debug)]
pub(super) struct Unwritten {
    /// The row in the store.
    pub(super) before: Option<Row>,
    /// The last record that changed it.
    pub(super) place: Place,
}

/// Where a record stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The topic.
    pub topic: Arc<str>,
    /// The partition.
    pub partition: i32,
    /// The offset.
    pub offset: i64,
    /// Milliseconds since 1970, as Kafka has them; 0 if it has none.
    pub timestamp: i64,
}

impl Cache {
    pub(super) fn new(bytes_max: usize) -> Cache {
        Cache { young: HashMap::new(), old: HashMap::new(), young_bytes: 0, bytes_max }
    }

    /// The key as it is shared, if something is known of it.
    pub(super) fn touch(&mut self, key: &str) -> Option<Arc<str>> {
        if let Some((key, _)) = self.young.get_key_value(key) {
            return Some(key.clone());
        }
        let (key, slot) = self.old.remove_entry(key)?;
        self.insert(key.clone(), slot);
        Some(key)
    }

    /// What is known of a key that was touched before.
    pub(super) fn find(&mut self, key: &str) -> Option<&mut Slot> {
        self.young.get_mut(key)
    }

    pub(super) fn insert(&mut self, key: Arc<str>, slot: Slot) {
        self.young_bytes += key.len() + slot.row.as_ref().map_or(0, |row| row.doc().len()) + SLOT_BYTES;
        self.young.insert(key, slot);
    }

    /// Lets rows go that were not touched for long. All of them have to be written.
    pub(super) fn shrink(&mut self) {
        if self.young_bytes > self.bytes_max / 2 {
            self.old = std::mem::take(&mut self.young);
            self.young_bytes = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_touched_goes() {
        let mut cache = Cache::new(4 * SLOT_BYTES);
        for key in ["a", "b", "c"] {
            cache.insert(key.into(), Slot::default());
        }
        cache.shrink();
        assert!(cache.touch("a").is_some());
        for key in ["d", "e"] {
            cache.insert(key.into(), Slot::default());
        }
        cache.shrink();
        assert!(cache.touch("b").is_none() && cache.touch("c").is_none());
        assert!(cache.touch("a").is_some() && cache.find("a").is_some());
        cache.shrink();
        assert!(cache.find("a").is_some(), "a cache that is not full keeps all");
    }
}
