//! Events, folds and stores together, without Kafka. With it: `tests/views.rs`.

mod expressions;
mod effects;
mod events;
mod durable;
mod kafka;

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use rusqlite::Connection;
use sallyport_kafka::Record;

use super::batch::{Outcome, RowChange};
use super::plan::ViewPlan;
pub(super) use super::plan::tests::compiled;
use super::poison::{Poison, PoisonReason};
use super::store::{Opened, Store};

/// A record with JSON, and headers.
fn record(offset: i64, key: &str, headers: &[(&str, &str)], value: &str) -> Record {
    Record {
        topic: "events".into(),
        partition: 0,
        offset,
        timestamp: 1_700_000_000_000 + offset,
        key: Some(Bytes::copy_from_slice(key.as_bytes())),
        headers: headers
            .iter()
            .map(|(name, value)| (Box::from(*name), Bytes::copy_from_slice(value.as_bytes())))
            .collect(),
        value: Some(Bytes::copy_from_slice(value.as_bytes())),
    }
}

fn tombstone(offset: i64, key: &str) -> Record {
    Record { value: None, ..record(offset, key, &[], "") }
}

fn open(path: &Path, plan: &Arc<ViewPlan>) -> Store {
    match Store::open(path, plan, &[]).unwrap() {
        Opened::Ready(store) => *store,
        Opened::Outdated(why) => panic!("{why}"),
    }
}

/// A view with a store, and the next record's offset.
struct Kept {
    store: Store,
    next: i64,
    _folder: tempfile::TempDir,
}

impl Kept {
    fn new(view: &str) -> Kept {
        let folder = tempfile::tempdir().unwrap();
        let store = open(&folder.path().join("v.sqlite"), &compiled(view));
        Kept { store, next: 0, _folder: folder }
    }

    fn fold_record(&mut self, mut record: Record) -> Result<Outcome, Poison> {
        record.offset = self.next;
        self.next += 1;
        self.store.fold(&record).unwrap()
    }

    /// Folds an event with the key `k`.
    fn fold(&mut self, value: &str) -> Result<Outcome, PoisonReason> {
        self.fold_record(record(0, "k", &[], value)).map_err(|poison| poison.reason)
    }

    /// All rows after a commit: keys and texts.
    fn rows(&mut self) -> Vec<(String, String)> {
        self.commit();
        rows(&self.store.db)
    }

    /// The row of the key `k`.
    fn row(&mut self) -> Option<String> {
        self.rows().into_iter().find(|(key, _)| key == "k").map(|(_, doc)| doc)
    }

    fn commit(&mut self) -> Vec<RowChange> {
        let mut changes = Vec::new();
        self.store.commit(|change| changes.push(change)).unwrap();
        changes
    }
}

fn rows(db: &Connection) -> Vec<(String, String)> {
    let mut select = db.prepare("SELECT key, CAST(doc AS TEXT) FROM rows ORDER BY key").unwrap();
    let rows = select.query_map((), |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
    rows.map(Result::unwrap).collect()
}

/// Everything that a store says of its events, in one text.
fn dump(db: &Connection) -> String {
    let mut dump = String::new();
    for table in ["rows", "offsets", "meta", "seen"] {
        let order = if table == "rows" { "key" } else { "1, 2" };
        let mut select = db.prepare(&format!("SELECT * FROM {table} ORDER BY {order}")).unwrap();
        let count = select.column_count();
        let mut rows = select.query(()).unwrap();
        while let Some(row) = rows.next().unwrap() {
            dump.push_str(table);
            // The numbers of rows depend on where batches end.
            for column in usize::from(table == "rows")..count {
                dump.push_str(&format!(" {:?}", row.get_ref(column).unwrap()));
            }
            dump.push('\n');
        }
    }
    dump
}
