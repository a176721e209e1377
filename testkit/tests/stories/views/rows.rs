//! From events to rows: what each effect of a rule does, as clients see it.

use sallyport_kafka::EmbeddedBroker;
use sallyport_testkit::{ComposedEdge, Mode};
use serde_json::json;

use super::{broker, document, folded, keys, send, send_as, send_tombstone, things};

stories!(
    every_effect_changes_what_clients_see,
    the_first_rule_that_fits_is_carried_out,
    rows_of_several_topics_meet,
    tombstones_delete_where_a_rule_says_so,
    values_keep_their_bytes,
);

async fn every_effect_changes_what_clients_see(mode: Mode) {
    let broker = broker("things", 2);
    let view = r#"
    key: key
    fold:
      - { on: { type: made }, set: { name: $.name, size: $.size, by: ce.source, tag: header.tag, at: timestamp, new: true } }
      - { on: { type: grown }, increment: { size: $.by, times: 1 } }
      - { on: { type: measured }, max: { high: $.n, latest: $.t }, min: { low: $.n } }
      - { on: { type: cleared }, unset: [new, name, tag, at, by] }
      - { on: { type: noted }, set: { note: $.note }, create: false }
      - { on: { type: gone }, delete: true }
"#;
    let composed = ComposedEdge::start(mode, "", &things(&broker, view)).await;
    send_as(&broker, "things", &[("ce_type", "made"), ("tag", "red")], "a", r#"{"name":"A","size":10}"#)
        .await;
    send(&broker, "things", "grown", "a", &json!({"by": 2.5})).await;
    send(&broker, "things", "grown", "a", &json!({"by": -1})).await;
    for (n, t) in [(5, "2026-01-02"), (-7, "2026-01-03"), (3, "2026-01-01")] {
        send(&broker, "things", "measured", "a", &json!({"n": n, "t": t})).await;
    }
    let last = send(&broker, "things", "noted", "a", &json!({"note": null})).await;
    folded(&composed, "/things", &[&last]).await;
    let mut row = document(&composed, "root", "/things/a").await;
    assert!(row["at"].take().as_i64().is_some_and(|at| at > 1_700_000_000_000), "milliseconds: {row}");
    let wanted = json!({
        "key": "a", "name": "A", "size": 11.5, "by": "/story", "tag": "red", "at": null, "new": true, "times": 2,
        "high": 5, "latest": "2026-01-03", "low": -7, "note": null,
    });
    assert_eq!(row, wanted);

    // What is missing in the event leaves a field as it is, and a row that is not there is not made of a note.
    send(&broker, "things", "cleared", "a", &json!({})).await;
    send(&broker, "things", "made", "a", &json!({"size": 1})).await;
    let other = send(&broker, "things", "noted", "b", &json!({"note": "lost"})).await;
    let last = send(&broker, "things", "cleared", "a", &json!({})).await;
    folded(&composed, "/things", &[&other, &last]).await;
    let wanted = json!({
        "items": [{"key": "a", "size": 1, "times": 2, "high": 5, "latest": "2026-01-03", "low": -7, "note": null}]
    });
    assert_eq!(document(&composed, "root", "/things").await, wanted);

    // What comes after the end begins anew.
    send(&broker, "things", "gone", "a", &json!({})).await;
    let last = send(&broker, "things", "gone", "a", &json!({})).await;
    folded(&composed, "/things", &[&last]).await;
    composed.get("/things/a").await.problem(404, "no-such-row");
    let last = send(&broker, "things", "grown", "a", &json!({"by": 4})).await;
    folded(&composed, "/things", &[&last]).await;
    assert_eq!(document(&composed, "root", "/things/a").await, json!({"key": "a", "size": 4, "times": 1}));
}

async fn the_first_rule_that_fits_is_carried_out(mode: Mode) {
    let broker = broker("things", 1);
    let view = r#"
    key: key
    fold:
      - { on: { header: { lane: fast }, type: t }, set: { by: '"header"' } }
      - { on: { field: { "$.kind": essay, "$.n": "1" } }, set: { by: '"field"' } }
      - { on: { when: "event.n > 5 && ce.type == 't' && key != 'none' && topic == 'things'" }, set: { by: '"when"' } }
      - { on: { type: t }, set: { by: '"type"' } }
"#;
    let composed = ComposedEdge::start(mode, "", &things(&broker, view)).await;
    for (key, attributes, value) in [
        ("a", vec![("ce_type", "t"), ("lane", "fast")], r#"{"kind":"essay","n":1}"#),
        ("b", vec![("ce_type", "u"), ("lane", "fast")], r#"{"kind":"essay","n":1}"#),
        ("c", vec![("ce_type", "t")], r#"{"kind":"essay","n":6}"#),
        ("none", vec![("ce_type", "t")], r#"{"n":6}"#),
        ("d", vec![("ce_type", "t")], r#"{"n":"6"}"#),
        ("e", vec![("ce_type", "u")], r#"{"n":6}"#),
        // Without CloudEvents: the record's header, else the data's member.
        ("f", vec![], r#"{"type":"t"}"#),
    ] {
        send_as(&broker, "things", &attributes, key, value).await;
    }
    let plain = broker.produce("things", None, Some(b"g"), Some(b"{}"), &[("type", b"t")]).await.unwrap();
    folded(&composed, "/things", &[&super::place("things", plain)]).await;
    let page = document(&composed, "root", "/things").await;
    let all = page["items"].as_array().unwrap().iter();
    let all: Vec<String> = all.map(|row| format!("{} {}", row["key"], row["by"]).replace('"', "")).collect();
    assert_eq!(all, ["a header", "b field", "c when", "d type", "f type", "g type", "none type"]);
}

async fn rows_of_several_topics_meet(mode: Mode) {
    let broker = EmbeddedBroker::start(&[("orders", 1), ("payments", 3)]).expect("a broker");
    let view = r#"
    key: $.order
    fold:
      - { on: { type: ordered }, set: { sum: $.sum } }
      - { on: { type: paid }, increment: { paid: $.sum } }
"#;
    let yaml = things(&broker, view).replace("topic: things", "topic: [orders, payments]");
    let composed = ComposedEdge::start(mode, "", &yaml).await;
    let ordered = send(&broker, "orders", "ordered", "o1", &json!({"order": 1, "sum": 30})).await;
    let paid = send(&broker, "payments", "paid", "p1", &json!({"order": "1", "sum": 10})).await;
    let again = send(&broker, "payments", "paid", "p2", &json!({"order": 1, "sum": 20})).await;
    folded(&composed, "/things", &[&ordered, &paid, &again]).await;
    // The order among topics is nobody's promise, so the members are in either.
    assert_eq!(document(&composed, "root", "/things/1").await, json!({"key": "1", "sum": 30, "paid": 30}));
}

async fn tombstones_delete_where_a_rule_says_so(mode: Mode) {
    let broker = broker("things", 1);
    let deletes = "
    key: key
    fold:
      - { on: { type: made }, set: { name: $.name } }
      - { on: { tombstone: true }, delete: true }
";
    let composed = ComposedEdge::start(mode, "", &things(&broker, deletes)).await;
    for key in ["a", "b"] {
        send(&broker, "things", "made", key, &json!({"name": key})).await;
    }
    let last = send_tombstone(&broker, "things", "a").await;
    folded(&composed, "/things", &[&last]).await;
    assert_eq!(keys(&composed, "root", "/things").await, "b");

    let passes = deletes.lines().filter(|line| !line.contains("tombstone")).collect::<Vec<_>>().join("\n");
    let composed = ComposedEdge::start(mode, "", &things(&broker, &passes)).await;
    folded(&composed, "/things", &[&last]).await;
    assert_eq!(keys(&composed, "root", "/things").await, "a b");
    composed.wait_for_metric("sallyport_view_events_total", &[("result", "passed")], 1.0).await;
}

/// A row's values are the event's bytes: no number is made a double, no text written otherwise.
async fn values_keep_their_bytes(mode: Mode) {
    let broker = broker("things", 1);
    let view = "
    key: $.id
    fold: [{ on: { type: t }, set: { big: $.big, text: $.text, tree: $.tree } }]
";
    let composed = ComposedEdge::start(mode, "", &things(&broker, view)).await;
    let (big, text, tree) =
        ("123456789012345678901234567890.10e3", r#""\u00e9\/""#, r#"{"b":[1.0,null],"a":{}}"#);
    let value = format!(r#"{{"id":"é 1?","big":{big},"text":{text},"tree":{tree}}}"#);
    let last = send_as(&broker, "things", &[("ce_type", "t")], "k", &value).await;
    folded(&composed, "/things", &[&last]).await;
    let row = format!(r#"{{"key":"é 1?","big":{big},"text":{text},"tree":{tree}}}"#);
    assert_eq!(composed.get("/things/%C3%A9%201%3F").await.expect(200).text(), row);
    assert_eq!(composed.get("/things").await.expect(200).text(), format!(r#"{{"items":[{row}]}}"#));
}
