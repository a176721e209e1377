//! Views: events of Kafka become rows, and clients ask for those that they may see. Every story is told twice: with the
//! aggregator inside the edge, and with one of its own behind it. Kafka is the broker inside librdkafka.

mod changes;
mod rows;

use sallyport_kafka::EmbeddedBroker;
use sallyport_testkit::wait::within;
use sallyport_testkit::{ComposedEdge, Mode};
use serde_json::Value;

/// Sends a CloudEvent of a type, by its key.
async fn send(broker: &EmbeddedBroker, topic: &str, event_type: &str, key: &str, data: &Value) {
    let value = data.to_string();
    let headers =
        [("ce_specversion", "1.0"), ("ce_type", event_type), ("ce_id", key), ("ce_source", "/story")];
    let headers: Vec<(&str, &[u8])> = headers.iter().map(|(name, value)| (*name, value.as_bytes())).collect();
    let sent = broker.produce(topic, None, Some(key.as_bytes()), Some(value.as_bytes()), &headers);
    within("a record in Kafka", sent).await.expect("a record in Kafka");
}

/// The view `batches` of the topic `batches`, and routes to it: pages under `/batches`, a row under `/batches/{id}`.
fn configuration(broker: &EmbeddedBroker, settings: &str) -> String {
    let address = broker.address();
    format!(
        r#"
kafka:
  main: {{ brokers: ["{address}"] }}
views:
  batches:
    topic: batches
    key: $.batch_id
    fold:
      - on: {{ type: batch.registered }}
        set: {{ id: $.batch_id, owner: $.user_id, title: $.title, status: '"registered"' }}
      - on: {{ type: batch.checked }}
        increment: {{ checked: 1 }}
      - on: {{ type: batch.closed }}
        set: {{ status: '"closed"' }}
      - on: {{ type: batch.deleted }}
        delete: true
    indexes: [owner, status]
    visible_to: row.owner == claims.sub || "admin" in claims.roles
{settings}
routes:
  - {{ name: pages, match: GET /batches, filters: [{{ jwt: {{ issuer: main }} }}], view: batches }}
  - {{ name: row, match: "GET /batches/{{id}}", filters: [{{ jwt: {{ issuer: main }} }}], view: {{ name: batches, key: "{{id}}" }} }}
"#
    )
}

async fn start(mode: Mode, broker: &EmbeddedBroker, settings: &str) -> ComposedEdge {
    ComposedEdge::start(mode, "", &configuration(broker, settings)).await
}
