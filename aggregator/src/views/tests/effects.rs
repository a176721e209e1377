//! What rules do to rows.

use super::*;

const VIEW: &str = r#"
topic: events
key: key
visible_to: "true"
row_bytes: 1KiB
fold:
  - on: { type: set }
    set: { a: $.a, b: $.b, status: '"open"' }
  - on: { type: count }
    increment: { n: $.by, calls: 1 }
  - on: { type: extremes }
    max: { high: $.v }
    min: { low: $.v }
  - on: { type: chain }
    set: { n: 10 }
    increment: { n: 5 }
    max: { n: 12 }
  - on: { type: unset }
    unset: [a, b]
  - on: { type: touch }
    set: { touched: timestamp }
    create: false
  - on: { type: delete }
    delete: true
"#;

fn told(kept: &mut Kept, events: &[&str]) -> Option<String> {
    for event in events {
        assert!(matches!(kept.fold(event), Ok(Outcome::Folded | Outcome::Passed)), "{event}");
    }
    kept.row()
}

#[test]
fn fields_keep_the_order_in_which_they_came() {
    let mut kept = Kept::new(VIEW);
    let row = told(&mut kept, &[r#"{"type": "set", "b": 1}"#]);
    assert_eq!(row.unwrap(), r#"{"b":1,"status":"open"}"#);
    let row = told(&mut kept, &[r#"{"type": "set", "a": [ 2 ]}"#]);
    assert_eq!(row.unwrap(), r#"{"b":1,"status":"open","a":[ 2 ]}"#, "what is missing stays as it is");
    let row = told(&mut kept, &[r#"{"type": "unset"}"#, r#"{"type": "set", "b": null}"#]);
    assert_eq!(row.unwrap(), r#"{"status":"open","b":null}"#);
}

#[test]
fn numbers_are_added_exactly() {
    let mut kept = Kept::new(VIEW);
    let row =
        told(&mut kept, &[r#"{"type": "count", "by": 9007199254740993}"#, r#"{"type": "count", "by": 2}"#]);
    assert_eq!(row.unwrap(), r#"{"n":9007199254740995,"calls":2}"#);
    let row = told(&mut kept, &[r#"{"type": "count"}"#, r#"{"type": "count", "by": null}"#]);
    assert_eq!(row.unwrap(), r#"{"n":9007199254740995,"calls":4}"#);
    for (event, reason) in [
        (r#"{"type": "count", "by": "1"}"#, PoisonReason::FieldType),
        (r#"{"type": "count", "by": true}"#, PoisonReason::FieldType),
        (r#"{"type": "count", "by": 9223372036854775807}"#, PoisonReason::Overflow),
        (r#"{"type": "count", "by": 1e400}"#, PoisonReason::Overflow),
    ] {
        assert_eq!(kept.fold(event), Err(reason), "{event}");
    }
    assert_eq!(kept.row().unwrap(), r#"{"n":9007199254740995,"calls":4}"#, "half a rule is no rule");
}

#[test]
fn extremes_are_numbers_or_texts() {
    let mut kept = Kept::new(VIEW);
    let of = |value: &str| format!(r#"{{"type": "extremes", "v": {value}}}"#);
    let row = told(
        &mut kept,
        &[&of("5"), &of("12"), &of("5.0"), &of("-1"), "{\"type\": \"extremes\"}", &of("null")],
    );
    assert_eq!(row.unwrap(), r#"{"high":12,"low":-1}"#);
    assert_eq!(kept.fold(&of("\"z\"")), Err(PoisonReason::FieldType));
    assert_eq!(kept.fold(&of("[1]")), Err(PoisonReason::FieldType));
    let mut kept = Kept::new(VIEW);
    let row = told(&mut kept, &[&of("\"2026-01-02\""), &of("\"2026-01-10\""), &of("\"2025-12-31\"")]);
    assert_eq!(row.unwrap(), r#"{"high":"2026-01-10","low":"2025-12-31"}"#);
    let mut kept = Kept::new(VIEW);
    assert_eq!(kept.fold(&of("true")), Err(PoisonReason::FieldType), "also where there is nothing yet");
    assert_eq!(kept.rows(), []);
}

#[test]
fn effects_of_a_rule_follow_each_other() {
    let mut kept = Kept::new(VIEW);
    assert_eq!(told(&mut kept, &[r#"{"type": "chain"}"#]).unwrap(), r#"{"n":15}"#);
}

#[test]
fn rows_are_made_only_where_rules_make_them() {
    let mut kept = Kept::new(VIEW);
    for event in [
        r#"{"type": "touch"}"#,
        r#"{"type": "unset"}"#,
        r#"{"type": "delete"}"#,
        r#"{"type": "unknown"}"#,
        "{}",
    ] {
        assert_eq!(kept.fold(event), Ok(Outcome::Passed), "{event}");
    }
    assert_eq!(kept.rows(), []);
    assert_eq!(kept.fold(r#"{"type": "set", "a": 1}"#), Ok(Outcome::Folded));
    assert_eq!(kept.fold(r#"{"type": "touch"}"#), Ok(Outcome::Folded));
    assert_eq!(kept.row().unwrap(), r#"{"a":1,"status":"open","touched":1700000000006}"#.replace("6}", "0}"));
    assert_eq!(kept.store.rows, 1);
    assert_eq!(kept.fold(r#"{"type": "delete"}"#), Ok(Outcome::Folded));
    let changes = kept.commit();
    assert_eq!((changes.len(), &changes[0].doc, changes[0].place.offset), (1, &None, 7));
    assert_eq!((kept.rows(), kept.store.rows), (vec![], 0));
}

#[test]
fn a_row_that_comes_and_goes_in_one_batch_was_never_there() {
    let mut kept = Kept::new(VIEW);
    kept.fold(r#"{"type": "set", "a": 1}"#).unwrap();
    kept.fold(r#"{"type": "delete"}"#).unwrap();
    assert_eq!(kept.commit(), []);
    assert_eq!(kept.rows(), []);
    kept.fold(r#"{"type": "set", "a": 1}"#).unwrap();
    kept.commit();
    kept.fold(r#"{"type": "delete"}"#).unwrap();
    kept.fold(r#"{"type": "set", "a": 2}"#).unwrap();
    assert_eq!(kept.row().unwrap(), r#"{"a":2,"status":"open"}"#);
}

#[test]
fn a_row_has_a_size() {
    let mut kept = Kept::new(VIEW);
    kept.fold(r#"{"type": "set", "a": 1}"#).unwrap();
    let large = format!(r#"{{"type": "set", "a": "{}"}}"#, "x".repeat(1024));
    assert_eq!(kept.fold(&large), Err(PoisonReason::RowBytes));
    assert_eq!(kept.row().unwrap(), r#"{"a":1,"status":"open"}"#);
}

#[test]
fn a_view_has_so_many_rows() {
    let mut kept = Kept::new(&VIEW.replace("row_bytes: 1KiB", "rows_max: 2"));
    let event = r#"{"type": "count"}"#;
    for (key, expected) in
        [("a", Outcome::Folded), ("b", Outcome::Folded), ("c", Outcome::LeftOut), ("a", Outcome::Folded)]
    {
        assert_eq!(kept.fold_record(record(0, key, &[], event)), Ok(expected));
    }
    kept.fold_record(record(0, "a", &[], r#"{"type": "delete"}"#)).unwrap();
    assert_eq!(kept.fold_record(record(0, "c", &[], event)), Ok(Outcome::Folded));
    assert_eq!((kept.rows().len(), kept.store.left_out), (2, 1));
}
