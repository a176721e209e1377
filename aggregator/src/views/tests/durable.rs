//! Stores across batches, kills, damage and other rules.

use std::fs;

use proptest::prelude::*;

use super::super::column::ColumnValue;
use super::super::files::Files;
use super::super::snapshot::{self, SnapshotError};
use super::*;

const VIEW: &str = r#"
topic: events
key: $.id
visible_to: row.owner == claims.sub
indexes: ["owner", "status, n"]
unique: { by: $.event, keep: 8 }
ordered_by: $.v
fold:
  - on: { field: { $.do: make } }
    set: { owner: $.owner, status: '"new"' }
  - on: { field: { $.do: count } }
    increment: { n: $.by }
    max: { last: $.v }
  - on: { field: { $.do: drop } }
    delete: true
"#;

/// Events over few keys, so that they meet each other.
fn events() -> impl Strategy<Value = Vec<Record>> {
    let one = (
        0..4u8,
        0..4u8,
        0..30u8,
        0..6u8,
        prop_oneof![Just("1"), Just("0.25"), Just("\"x\""), Just("9223372036854775807")],
    );
    prop::collection::vec(one, 1..60).prop_map(|all| {
        let event = |(offset, (id, what, event, version, by)): (i64, (u8, u8, u8, u8, &str))| {
            let what = ["make", "count", "count", "drop"][usize::from(what)];
            let value = format!(
                r#"{{"id": "k{id}", "do": "{what}", "event": {event}, "v": {version}, "by": {by}, "owner": "u{id}"}}"#
            );
            record(offset, "", &[], &value)
        };
        (0..).zip(all).map(event).collect()
    })
}

/// Folds from where the store is, with a commit after each record for which `commit` says so.
fn fold_all(store: &mut Store, records: &[Record], commit: impl Fn(usize) -> bool) {
    let from = store.next("events", 0).unwrap_or_default();
    for (number, record) in records.iter().enumerate().skip(usize::try_from(from).unwrap()) {
        // What cannot be folded is passed over everywhere alike.
        let _ = store.fold(record).unwrap();
        if commit(number) {
            store.commit(|_| {}).unwrap();
        }
    }
    store.commit(|_| {}).unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn batches_do_not_matter(records in events(), cuts in prop::collection::vec(any::<bool>(), 60), cache in any::<bool>()) {
        let folder = tempfile::tempdir().unwrap();
        let plan = compiled(VIEW);
        let mut whole = open(&folder.path().join("whole"), &plan);
        fold_all(&mut whole, &records, |_| false);
        let mut cut = open(&folder.path().join("cut"), &plan);
        if cache {
            cut.cache = super::super::cache::Cache::new(1);
        }
        fold_all(&mut cut, &records, |number| cuts[number]);
        prop_assert_eq!(dump(&whole.db), dump(&cut.db));
        prop_assert_eq!(whole.rows as usize, rows(&whole.db).len());
    }

    /// A process that is killed leaves its files as they are at that moment.
    #[test]
    fn a_kill_neither_loses_nor_doubles(
        records in events(),
        cuts in prop::collection::vec(any::<bool>(), 60),
        kills in prop::collection::vec(0..60usize, 1..4),
    ) {
        let folder = tempfile::tempdir().unwrap();
        let plan = compiled(VIEW);
        let mut whole = open(&folder.path().join("whole"), &plan);
        fold_all(&mut whole, &records, |_| false);
        let mut path = folder.path().join("life");
        for (life, kill) in kills.iter().enumerate() {
            let mut store = open(&path, &plan);
            let upto = &records[..(*kill).min(records.len())];
            let from = usize::try_from(store.next("events", 0).unwrap_or_default()).unwrap();
            for (number, record) in upto.iter().enumerate().skip(from) {
                let _ = store.fold(record).unwrap();
                if cuts[number] {
                    store.commit(|_| {}).unwrap();
                }
            }
            // Some more that is written, but not committed.
            for key in store.changed.clone() {
                let _ = store.db.execute("UPDATE rows SET doc = x'00' WHERE key = ?", [&*key]);
            }
            let next = folder.path().join(format!("life-{life}"));
            for beside in ["", "-wal"] {
                let of = |path: &Path| format!("{}{beside}", path.display());
                if Path::new(&of(&path)).exists() {
                    fs::copy(of(&path), of(&next)).unwrap();
                }
            }
            path = next;
        }
        let mut store = open(&path, &plan);
        fold_all(&mut store, &records, |number| cuts[number]);
        prop_assert_eq!(dump(&store.db), dump(&whole.db));
    }
}

#[test]
fn columns_follow_their_fields() {
    let mut kept = Kept::new(VIEW);
    let mut fold = |value: &str| kept.fold(value).unwrap();
    fold(r#"{"id": "k", "do": "make", "event": 1, "v": 1, "owner": "u\u0031"}"#);
    fold(r#"{"id": "k", "do": "count", "event": 2, "v": 2, "by": 2}"#);
    kept.commit();
    let mut column = |name: &str, expected: ColumnValue| {
        kept.commit();
        let found = kept.store.db.query_row(
            &format!("SELECT {name} IS ?1 FROM rows WHERE key = 'k'"),
            [expected],
            |row| row.get::<_, bool>(0),
        );
        found.unwrap()
    };
    assert!(column("f_owner", ColumnValue::Text("u1".into())));
    assert!(column("f_n", ColumnValue::Integer(2)));
    assert!(column("f_status", ColumnValue::Text("new".into())));
    kept.fold(r#"{"id": "k", "do": "count", "event": 3, "v": 3, "by": 0.5}"#).unwrap();
    kept.commit();
    let found: f64 = kept.store.db.query_row("SELECT f_n FROM rows", (), |row| row.get(0)).unwrap();
    assert_eq!(found, 2.5);
}

#[test]
fn other_rules_need_another_store_and_other_indexes_do_not() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("v.sqlite");
    let mut store = open(&path, &compiled(VIEW));
    let event = r#"{"id": "k", "do": "make", "event": 1, "v": 1, "owner": "u"}"#;
    assert_eq!(store.fold(&record(0, "", &[], event)).unwrap(), Ok(Outcome::Folded));
    store.commit(|_| {}).unwrap();
    store.close().unwrap();
    let other = compiled(&VIEW.replace("\"new\"", "\"fresh\""));
    let Opened::Outdated(why) = Store::open(&path, &other, &[]).unwrap() else { panic!("it was opened") };
    assert!(why.contains("other rules"), "{why}");
    let indexed = compiled(&VIEW.replace("[\"owner\", \"status, n\"]", "[\"status\", \"last\"]"));
    let store = open(&path, &indexed);
    let found: (String, Option<String>) = store
        .db
        .query_row("SELECT key, f_owner FROM rows WHERE f_status = 'new'", (), |row| {
            Ok((row.get(0)?, row.get(1)?))
        })
        .unwrap();
    assert_eq!(found, ("k".to_owned(), Some("u".to_owned())));
    assert_eq!(store.next("events", 0), Some(1));
    store.db.execute("UPDATE meta SET value = 99 WHERE name = 'format'", ()).unwrap();
    store.close().unwrap();
    let Opened::Outdated(why) = Store::open(&path, &indexed, &[]).unwrap() else { panic!("it was opened") };
    assert!(why.contains("format 99"), "{why}");
}

#[test]
fn damage_is_found() {
    let folder = tempfile::tempdir().unwrap();
    let plan = compiled(VIEW);
    let path = folder.path().join("v.sqlite");
    fs::write(&path, "this is no store, and long enough to be asked for its header".repeat(20)).unwrap();
    assert!(Store::open(&path, &plan, &[]).err().unwrap().is_damage());
    fs::remove_file(&path).unwrap();
    let mut store = open(&path, &plan);
    for number in 0..2000 {
        let event = format!(
            r#"{{"id": "k{number}", "do": "make", "event": {number}, "v": 1, "owner": "u{number}"}}"#
        );
        store.fold(&record(number, "", &[], &event)).unwrap().unwrap();
    }
    store.commit(|_| {}).unwrap();
    store.close().unwrap();
    let mut bytes = fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle..middle + 8192].fill(0xAA);
    fs::write(&path, &bytes).unwrap();
    // As after a kill: all of it is read.
    let db = Connection::open(&path).unwrap();
    db.execute("UPDATE meta SET value = 0 WHERE name = 'closed'", ()).unwrap();
    drop(db);
    assert!(Store::open(&path, &plan, &[]).err().unwrap().is_damage());
    // A row that no fold has written.
    fs::remove_file(&path).unwrap();
    let mut store = open(&path, &plan);
    store.db.execute("INSERT INTO rows(key, doc) VALUES ('k', '{\"foreign\":1}')", ()).unwrap();
    let event = r#"{"id": "k", "do": "make", "event": 1, "v": 1}"#;
    assert!(store.fold(&record(0, "", &[], event)).unwrap_err().is_damage());
}

#[test]
fn a_copy_goes_on_where_it_was_taken() {
    let folder = tempfile::tempdir().unwrap();
    let plan = compiled(VIEW);
    let (files, other) =
        (Files::new(&folder.path().join("a"), "v"), Files::new(&folder.path().join("b"), "v"));
    let copy = folder.path().join("copy");
    fs::create_dir_all(folder.path().join("a")).unwrap();
    let mut store = open(&files.store(), &plan);
    let event = |id: u32| format!(r#"{{"id": "k{id}", "do": "make", "event": {id}, "v": 1}}"#);
    store.fold(&record(0, "", &[], &event(0))).unwrap().unwrap();
    store.commit(|_| {}).unwrap();
    assert!(matches!(snapshot::export(&files, &copy), Err(SnapshotError::Building)));
    store.set_built().unwrap();
    // In the middle of a transaction of the fold.
    store.fold(&record(1, "", &[], &event(1))).unwrap().unwrap();
    snapshot::export(&files, &copy).unwrap();
    assert!(matches!(snapshot::export(&files, &copy), Err(SnapshotError::Exists(_))));
    store.commit(|_| {}).unwrap();

    let elsewhere = compiled(&VIEW.replace("\"new\"", "\"fresh\""));
    assert!(matches!(snapshot::import(&other, &elsewhere, &copy), Err(SnapshotError::Foreign { .. })));
    let none = folder.path().join("none");
    fs::write(&none, "no store").unwrap();
    assert!(matches!(snapshot::import(&other, &plan, &none), Err(SnapshotError::Foreign { .. })));
    assert!(!other.store().exists());
    snapshot::import(&other, &plan, &copy).unwrap();
    assert!(matches!(snapshot::import(&other, &plan, &copy), Err(SnapshotError::Exists(_))));
    let mut brought = open(&other.store(), &plan);
    assert!(brought.facts.built);
    assert_eq!(brought.next("events", 0), Some(1));
    brought.fold(&record(1, "", &[], &event(1))).unwrap().unwrap();
    brought.commit(|_| {}).unwrap();
    assert_eq!(rows(&brought.db), rows(&store.db));
}
