//! What expressions give, and what keys can be.

use super::*;

const HEADERS: [(&str, &str); 6] = [
    ("ce_specversion", "1.0"),
    ("ce_type", "order.made"),
    ("ce_id", "e\"1"),
    ("X-Kind", "ä"),
    ("content-type", "application/json"),
    ("bad", "x"),
];

fn value_of(expression: &str, value: &str) -> String {
    let view = format!(
        "topic: events\nkey: key\nvisible_to: 'true'\nfold: [{{ on: {{}}, set: {{ x: {} }} }}]",
        serde_json::to_string(expression).unwrap()
    );
    let mut kept = Kept::new(&view);
    assert_eq!(kept.fold_record(record(0, "k", &HEADERS, value)), Ok(Outcome::Folded));
    kept.row().unwrap()
}

#[test]
fn values_come_as_they_stand() {
    let digits = "7".repeat(400);
    let data = format!(
        r#"{{"n": {digits}, "f": 1.500, "t": "a\u0041\/", "o": {{"b" : [1, null]}}, "z": null, "l": [{{"q": true}}]}}"#
    );
    for (expression, expected) in [
        ("$.n", &*digits),
        ("$.f", "1.500"),
        ("$.t", r#""a\u0041\/""#),
        ("$.o", r#"{"b" : [1, null]}"#),
        ("$.z", "null"),
        ("$.l[0].q", "true"),
        ("key", r#""k""#),
        ("ce.id", r#""e\"1""#),
        ("ce.type", r#""order.made""#),
        ("header.x-kind", "\"ä\""),
        ("timestamp", "1700000000000"),
        ("1e3", "1e3"),
        ("\"text\"", "\"text\""),
        ("{\"a\": 1}", "{\"a\": 1}"),
    ] {
        assert_eq!(value_of(expression, &data), format!("{{\"x\":{expected}}}"), "{expression}");
    }
    for missing in ["$.nothing", "$.o.b.c", "ce.subject", "header.none"] {
        assert_eq!(value_of(missing, &data), "{}", "{missing}");
    }
    assert_eq!(value_of("$", " [1, 2] "), "{\"x\":[1, 2]}");
}

/// CloudEvents 1.0.2, JSON event format: the data is in the envelope.
#[test]
fn structured_events_are_opened() {
    let view = "topic: events\nkey: $.id\nvisible_to: 'true'\nfold: [{ on: { type: made }, set: { n: $.n, source: ce.source, level: ce.level } }]";
    let mut kept = Kept::new(view);
    let headers = [("content-type", "application/cloudevents+json; charset=utf-8")];
    let envelope = r#"{"specversion": "1.0", "type": "made", "source": "/a", "level": 3, "data": {"id": "k", "n": 1.0}}"#;
    assert_eq!(kept.fold_record(record(0, "r", &headers, envelope)), Ok(Outcome::Folded));
    assert_eq!(kept.row().unwrap(), r#"{"n":1.0,"source":"/a","level":"3"}"#);
    let broken = kept.fold_record(record(0, "r", &headers, "{}")).unwrap_err();
    assert_eq!(broken.reason, PoisonReason::CloudEvent);
}

#[test]
fn keys_are_texts_numbers_and_booleans() {
    let view = "topic: events\nkey: $.id\nvisible_to: 'true'\nfold: [{ on: {}, set: { x: 1 } }]";
    let mut kept = Kept::new(view);
    for value in [r#"{"id": "a\u0042"}"#, r#"{"id": 7.0}"#, r#"{"id": true}"#] {
        assert_eq!(kept.fold(value), Ok(Outcome::Folded));
    }
    let keys: Vec<String> = kept.rows().into_iter().map(|(key, _)| key).collect();
    assert_eq!(keys, ["7.0", "aB", "true"]);
    let long = format!(r#"{{"id": "{}"}}"#, "x".repeat(1025));
    for (value, reason) in [
        ("{}", PoisonReason::FieldMissing),
        (r#"{"id": null}"#, PoisonReason::FieldMissing),
        (r#"{"id": ["a"]}"#, PoisonReason::FieldType),
        (r#"{"id": ""}"#, PoisonReason::Length),
        (&long, PoisonReason::Length),
        ("{\"id\": 1", PoisonReason::NotJson),
        ("\u{1}", PoisonReason::NotJson),
        (r#"{"id": "\ud800"}"#, PoisonReason::NotJson),
    ] {
        assert_eq!(kept.fold(value), Err(reason), "{value}");
    }
    let mut kept =
        Kept::new("topic: events\nkey: key\nvisible_to: 'true'\nfold: [{ on: {}, set: { x: 1 } }]");
    let mut bad = record(0, "", &[], "{}");
    bad.key = Some(Bytes::from_static(b"\xff"));
    assert_eq!(kept.fold_record(bad.clone()).unwrap_err().reason, PoisonReason::NotText);
    bad.key = None;
    assert_eq!(kept.fold_record(bad).unwrap_err().reason, PoisonReason::FieldMissing);
    assert_eq!(kept.rows(), []);
}
