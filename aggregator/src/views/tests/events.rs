//! Which events rules are for; duplicates, and those that come late.

use super::*;

fn first_rule(on: &str, record: Record) -> Result<bool, PoisonReason> {
    let view =
        format!("topic: events\nkey: key\nvisible_to: 'true'\nfold: [{{ on: {on}, set: {{ x: 1 }} }}]");
    let outcome = Kept::new(&view).fold_record(record).map_err(|poison| poison.reason)?;
    Ok(outcome == Outcome::Folded)
}

#[test]
fn rules_choose_their_events() {
    let cloud = [("ce_type", "made"), ("type", "other")];
    let header = [("type", "made")];
    let data = r#"{"type": "made", "kind": "essay", "n": 7, "deep": {"b": true}, "z": null}"#;
    for (on, headers, expected) in [
        ("{ type: made }", &cloud[..], true),
        ("{ type: other }", &cloud, false),
        ("{ type: made }", &header, true),
        ("{ type: made }", &[], true),
        ("{ type: gone }", &[], false),
        ("{}", &[], true),
        ("{ header: { Type: made } }", &header, true),
        ("{ header: { type: made, more: x } }", &header, false),
        ("{ field: { $.kind: essay } }", &[], true),
        ("{ field: { $.n: 7, $.deep.b: true } }", &[], true),
        ("{ field: { $.n: 7.0 } }", &[], false),
        ("{ field: { $.z: 'null' } }", &[], false),
        ("{ field: { $.deep: x } }", &[], false),
        ("{ when: 'event.n > 5 && key == \"k\" && topic == \"events\"' }", &[], true),
        ("{ when: 'event.missing > 5' }", &[], false),
        ("{ when: 'ce.type == \"made\"' }", &cloud, true),
        ("{ type: made, when: 'event.n > 7' }", &[], false),
    ] {
        assert_eq!(first_rule(on, record(0, "k", headers, data)), Ok(expected), "{on} {headers:?}");
    }
}

/// A topic may carry other things than JSON.
#[test]
fn what_no_rule_asks_for_need_not_be_json() {
    let headers = [("type", "image")];
    assert_eq!(first_rule("{ type: made }", record(0, "k", &headers, "\u{1}PNG")), Ok(false));
    assert_eq!(
        first_rule("{ type: image }", record(0, "k", &headers, "\u{1}PNG")),
        Err(PoisonReason::NotJson)
    );
    assert_eq!(first_rule("{ type: made }", record(0, "k", &[], "\u{1}PNG")), Err(PoisonReason::NotJson));
    // A condition reads numbers, which a double has to hold.
    assert_eq!(
        first_rule("{ when: 'event.n > 1' }", record(0, "k", &[], r#"{"n": 1e999}"#)),
        Err(PoisonReason::NotJson)
    );
}

#[test]
fn records_without_a_value_are_for_their_own_rules() {
    let view = "topic: events\nkey: key\nvisible_to: 'true'\nfold: [{ on: {}, set: { x: 1 } }, { on: { tombstone: true, when: 'key != \"kept\"' }, delete: true }]";
    let mut kept = Kept::new(view);
    for key in ["k", "kept"] {
        kept.fold_record(record(0, key, &[], "{}")).unwrap();
    }
    assert_eq!(kept.fold_record(tombstone(0, "k")), Ok(Outcome::Folded));
    assert_eq!(kept.fold_record(tombstone(0, "kept")), Ok(Outcome::Passed));
    assert_eq!(kept.rows(), [("kept".to_owned(), r#"{"x":1}"#.to_owned())]);
    let mut kept =
        Kept::new("topic: events\nkey: key\nvisible_to: 'true'\nfold: [{ on: {}, set: { x: 1 } }]");
    assert_eq!(kept.fold_record(tombstone(0, "k")), Ok(Outcome::Passed));
}

#[test]
fn the_first_rule_that_fits_is_carried_out() {
    let view = "topic: events\nkey: key\nvisible_to: 'true'\nfold: [{ on: { field: { $.a: 1 } }, set: { x: 1 } }, { on: {}, set: { x: 2 } }]";
    let mut kept = Kept::new(view);
    kept.fold(r#"{"a": 1}"#).unwrap();
    assert_eq!(kept.row().unwrap(), r#"{"x":1}"#);
    kept.fold(r#"{"a": 2}"#).unwrap();
    assert_eq!(kept.row().unwrap(), r#"{"x":2}"#);
}

#[test]
fn an_event_counts_once_among_those_that_are_remembered() {
    let view = "topic: events\nkey: key\nvisible_to: 'true'\nunique: { by: $.id, keep: 3 }\nfold: [{ on: { field: { $.do: count } }, increment: { n: 1 } }]";
    let mut kept = Kept::new(view);
    let event = |id: u32| format!(r#"{{"do": "count", "id": {id}}}"#);
    for (id, expected) in [
        (1, Outcome::Folded),
        (1, Outcome::Duplicate),
        (2, Outcome::Folded),
        (3, Outcome::Folded),
        (1, Outcome::Duplicate),
        (4, Outcome::Folded),
        (2, Outcome::Duplicate),
        // The fourth has made the first forgotten.
        (1, Outcome::Folded),
    ] {
        assert_eq!(kept.fold(&event(id)), Ok(expected), "{id}");
        if id == 3 {
            kept.commit();
        }
    }
    assert_eq!(kept.fold(r#"{"id": 9}"#), Ok(Outcome::Passed));
    assert_eq!(kept.fold(r#"{"do": "count"}"#), Err(PoisonReason::FieldMissing));
    assert_eq!(kept.row().unwrap(), r#"{"n":5}"#);
    let kept_ids: i64 = kept.store.db.query_row("SELECT count(*) FROM seen", (), |row| row.get(0)).unwrap();
    assert_eq!(kept_ids, 3);
}

/// What cannot be folded is not remembered: once the producer has repaired it, it counts.
#[test]
fn only_folded_events_are_remembered() {
    let view = "topic: events\nkey: key\nvisible_to: 'true'\nunique: { by: $.id }\nfold: [{ on: {}, increment: { n: $.n } }]";
    let mut kept = Kept::new(view);
    assert_eq!(kept.fold(r#"{"id": 1, "n": "x"}"#), Err(PoisonReason::FieldType));
    assert_eq!(kept.fold(r#"{"id": 1, "n": 2}"#), Ok(Outcome::Folded));
    assert_eq!(kept.fold(r#"{"id": 1, "n": "x"}"#), Ok(Outcome::Duplicate));
}

#[test]
fn a_late_event_is_passed_over_until_the_row_is_gone() {
    let view = "topic: events\nkey: key\nvisible_to: 'true'\nordered_by: $.v\nfold: [{ on: { field: { $.gone: true } }, delete: true }, { on: {}, set: { x: $.x } }]";
    let mut kept = Kept::new(view);
    let mut fold = |version: &str, x: u32| kept.fold(&format!(r#"{{"v": {version}, "x": {x}}}"#));
    assert_eq!(fold("5", 1), Ok(Outcome::Folded));
    assert_eq!(fold("4", 2), Ok(Outcome::Late));
    assert_eq!(fold("5.0", 3), Ok(Outcome::Folded));
    assert_eq!(fold("\"6\"", 4), Err(PoisonReason::FieldType));
    assert_eq!(fold("null", 4), Err(PoisonReason::FieldMissing));
    assert_eq!(fold("[1]", 4), Err(PoisonReason::FieldType));
    assert_eq!(kept.row().unwrap(), r#"{"x":3}"#);
    // The mark is in the store, not in the row.
    kept.store.cache = super::super::cache::Cache::new(1);
    assert_eq!(kept.fold(r#"{"v": 4, "x": 5}"#), Ok(Outcome::Late));
    assert_eq!(kept.fold(r#"{"v": 7, "gone": true}"#), Ok(Outcome::Folded));
    assert_eq!(kept.fold(r#"{"v": 1, "x": 6}"#), Ok(Outcome::Folded), "a row that is gone leaves no mark");
    assert_eq!(kept.row().unwrap(), r#"{"x":6}"#);
}
