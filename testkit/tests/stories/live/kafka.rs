//! The way back, from clients to Kafka; and Kafka that is not there.

use std::sync::Arc;
use std::time::Duration;

use sallyport_kafka::{EmbeddedBroker, Range, Record, read_ranges};
use sallyport_testkit::wait::within;
use sallyport_testkit::{LiveEdge, Mode};
use serde_json::{Value, json};

use super::{note, number, section};

stories!(publications_and_calls_become_records, kafka_may_come_later, kafka_may_go_and_come_again,);

/// The records of a topic's only partition, so many.
async fn records(live: &LiveEdge, topic: &str, count: i64) -> Vec<Record> {
    let ranges = [Range { topic: topic.into(), partition: 0, from: 0, to: count }];
    let settings = live.broker.settings();
    let read = tokio::task::spawn_blocking(move || {
        let mut records = Vec::new();
        read_ranges(&settings, &ranges, 100, Duration::from_secs(20), &mut |record| records.push(record))
            .map(|()| records)
    });
    within("reading Kafka", read).await.unwrap().unwrap()
}

fn json_of(record: &Record) -> Value {
    serde_json::from_slice(record.value.as_deref().unwrap()).unwrap()
}

fn header(record: &Record, name: &str) -> String {
    let value = record.header(name).unwrap_or_else(|| panic!("no {name}: {record:?}"));
    String::from_utf8(value.to_vec()).unwrap()
}

async fn publications_and_calls_become_records(mode: Mode) {
    let settings = r#"  issuers: [main]
  sources:
    - { topics: [rooms], channel: "room:{key}", tags: { type: "{ce.type}" } }
  channels:
    room:
      visible_to: "true"
      publish: { topic: rooms, key: "{id}", allow: "has(event.text) && claims.sub == 'ada'", bytes: 100B }
  rpc:
    submit: { topic: commands, key: "{user}", allow: "event.batch > 0", type: batch.submitted }
"#;
    let live = LiveEdge::start(mode, &["rooms", "commands"], settings).await;
    let mut ada = live.client("ada").await;
    ada.join("room:blue").await;
    let data = json!({ "text": "hé" });
    // The publication may come before the reply.
    ada.succeed("publish", json!({ "channel": "room:blue", "data": data })).await;
    let (channel, publication) = ada.publication().await;
    assert_eq!((&*channel, &publication["data"]), ("room:blue", &data));
    assert_eq!(publication["tags"], json!({ "type": "room" }));
    let receipt = ada.succeed("rpc", json!({ "method": "submit", "data": { "batch": 7 } })).await;
    assert_eq!(receipt["data"], json!({ "partition": 0, "offset": 0 }));

    let published = records(&live, "rooms", 1).await.remove(0);
    let called = records(&live, "commands", 1).await.remove(0);
    for (record, key, kind, value) in
        [(&published, "blue", "room", data), (&called, "ada", "batch.submitted", json!({ "batch": 7 }))]
    {
        assert_eq!(record.key.as_deref(), Some(key.as_bytes()));
        assert_eq!(json_of(record), value);
        let known = ["ce_specversion", "ce_type", "ce_source", "ce_user", "content-type"];
        let expected = ["1.0", kind, "/sallyport/ws-bridge", "ada", "application/json"];
        assert_eq!(known.map(|name| header(record, name)), expected);
    }
    assert_ne!(header(&published, "ce_id"), header(&called, "ce_id"));

    let mut bob = live.client("bob").await;
    let text = |text: &str| json!({ "channel": "room:blue", "data": { "text": text } });
    let reply = bob.call("publish", text("x")).await;
    assert_eq!(reply["error"], json!({ "code": 103, "message": "permission denied" }));
    for (name, command, code) in [
        ("publish", text(&"x".repeat(100)), 106),
        ("rpc", json!({ "method": "submit", "data": { "batch": "no number" } }), 103),
        ("rpc", json!({ "method": "unknown", "data": {} }), 104),
    ] {
        let reply = ada.call(name, command).await;
        assert_eq!(reply["error"]["code"], code, "{reply}");
    }
    for topic in ["rooms", "commands"] {
        assert_eq!(records(&live, topic, 100).await.len(), 1, "what is refused does not reach {topic}");
    }
}

async fn kafka_may_come_later(mode: Mode) {
    let broker = Arc::new(EmbeddedBroker::start(&[("notes", 1)]).unwrap());
    broker.down();
    let live = LiveEdge::start_with(mode, broker, &section("", "")).await;
    assert_eq!(live.edge.get("/plain").await.expect(200).text(), "plain");
    let mut client = live.client("ada").await;
    let reply = client.call("subscribe", json!({ "channel": "note:a" })).await;
    assert_eq!(reply["error"], json!({ "code": 100, "message": "not ready", "temporary": true }));
    live.broker.up();
    client.join("note:a").await;
    live.produce("notes", "k", &note("a", 1)).await;
    assert_eq!(number(&client.publication().await.1), 1);
    live.edge.get("/plain").await.expect(200);
}

async fn kafka_may_go_and_come_again(mode: Mode) {
    let live = LiveEdge::start(mode, &["notes"], &section("", "")).await;
    let mut client = live.client("ada").await;
    client.join("note:a").await;
    live.produce("notes", "k", &note("a", 1)).await;
    assert_eq!(number(&client.publication().await.1), 1);
    live.broker.down();
    // What was there is still told, and the edge does not mind.
    let mut other = live.client("bob").await;
    let history = other.succeed("history", json!({ "channel": "note:a", "limit": 10 })).await;
    assert_eq!(history["publications"].as_array().unwrap().len(), 1, "{history}");
    live.edge.get("/plain").await.expect(200);
    live.broker.up();
    live.produce("notes", "k", &note("a", 2)).await;
    assert_eq!(number(&client.publication().await.1), 2);
}
