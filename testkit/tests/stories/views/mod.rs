//! Views: events of Kafka become rows, and clients ask for those that they may see. Every story is told twice: with the
//! aggregator inside the edge, and with one of its own behind it. Kafka is the broker inside librdkafka.

mod branches;
mod changes;
mod events;
mod freshness;
mod kafka;
mod memory;
mod queries;
mod refusals;
mod reload;
mod rows;
mod state;
mod strange;
mod visibility;

use std::sync::{Mutex, PoisonError};

use sallyport_kafka::EmbeddedBroker;
use sallyport_testkit::wait::{until, within};
use sallyport_testkit::{ComposedEdge, Mode, Response};
use serde_json::{Value, json};

/// A broker with this topic.
fn broker(topic: &str, partitions: i32) -> EmbeddedBroker {
    EmbeddedBroker::start(&[(topic, partitions)]).expect("a broker")
}

/// Sends a CloudEvent of a type, by its key. Gives its place, as `min_offset` takes it.
async fn send(broker: &EmbeddedBroker, topic: &str, event_type: &str, key: &str, data: &Value) -> String {
    send_as(broker, topic, &[("ce_type", event_type), ("ce_id", key)], key, &data.to_string()).await
}

/// Sends a CloudEvent with further or other attributes.
async fn send_as(
    broker: &EmbeddedBroker,
    topic: &str,
    attributes: &[(&str, &str)],
    key: &str,
    value: &str,
) -> String {
    let always = [("ce_specversion", "1.0"), ("ce_source", "/story")];
    let headers: Vec<(&str, &[u8])> =
        always.iter().chain(attributes).map(|(name, value)| (*name, value.as_bytes())).collect();
    let sent = broker.produce(topic, None, Some(key.as_bytes()), Some(value.as_bytes()), &headers);
    place(topic, within("a record in Kafka", sent).await.expect("a record in Kafka"))
}

/// Sends a record without a value.
async fn send_tombstone(broker: &EmbeddedBroker, topic: &str, key: &str) -> String {
    let sent = broker.produce(topic, None, Some(key.as_bytes()), None, &[]);
    place(topic, within("a record in Kafka", sent).await.expect("a record in Kafka"))
}

fn place(topic: &str, (partition, offset): (i32, i64)) -> String {
    format!("{topic}/{partition}@{offset}")
}

/// A batch that is registered for an owner.
async fn register(broker: &EmbeddedBroker, id: &str, owner: &str, title: &str) -> String {
    let data = json!({"batch_id": id, "user_id": owner, "title": title});
    send(broker, "batches", "batch.registered", id, &data).await
}

/// Something that happened to a batch.
async fn happened(broker: &EmbeddedBroker, id: &str, what: &str) -> String {
    send(broker, "batches", &format!("batch.{what}"), id, &json!({"batch_id": id})).await
}

/// The view `batches` of the topic `batches`, and routes to it: pages under `/batches`, a row under `/batches/{id}`, and
/// both without a token under `/open`.
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
    indexes: [owner, "status, checked", title]
    visible_to: row.owner == claims.sub || "admin" in claims.roles
{settings}
routes:
  - {{ name: pages, match: GET /batches, filters: [{{ jwt: {{ issuer: main }} }}], view: batches }}
  - {{ name: row, match: "GET /batches/{{id}}", filters: [{{ jwt: {{ issuer: main }} }}], view: {{ name: batches, key: "{{id}}" }} }}
  - {{ name: open, match: GET /open, public: true, view: batches }}
  - {{ name: open-row, match: "GET /open/{{id}}", public: true, view: {{ name: batches, key: "{{id}}" }} }}
"#
    )
}

/// A view of these lines, indented by four, over the topic `things`: pages under `/things`, without a token.
fn things(broker: &EmbeddedBroker, view: &str) -> String {
    let address = broker.address();
    format!(
        r#"
kafka:
  main: {{ brokers: ["{address}"] }}
views:
  things:
    topic: things
    visible_to: "true"
{view}
routes:
  - {{ name: things, match: GET /things, public: true, view: things }}
  - {{ name: thing, match: "GET /things/{{id}}", public: true, view: {{ name: things, key: "{{id}}" }} }}
"#
    )
}

async fn start(mode: Mode, broker: &EmbeddedBroker, settings: &str) -> ComposedEdge {
    ComposedEdge::start(mode, "", &configuration(broker, settings)).await
}

/// A GET with these headers, and with a token of this user if there is one. `root` is an admin.
async fn ask(
    composed: &ComposedEdge,
    user: Option<&str>,
    target: &str,
    headers: &[(&str, &str)],
) -> Response {
    let mut client = composed.edge.client().await;
    let mut draft = client.get(target);
    if let Some(user) = user {
        let roles = if user == "root" { json!(["admin"]) } else { json!([]) };
        let token = composed.tokens.token().claim("sub", user).claim("roles", roles).sign();
        draft = draft.bearer(&token);
    }
    for (name, value) in headers {
        draft = draft.header(name, *value);
    }
    draft.send().await
}

/// Waits until the view behind `target` has folded these records.
async fn folded(composed: &ComposedEdge, target: &str, places: &[&str]) {
    let target = format!("{target}?limit=0&min_offset={}", places.join(","));
    let last = Last::default();
    until(&format!("{target} answers"), || async {
        let answer = ask(composed, Some("root"), &target, &[]).await;
        last.note(&answer.text());
        // At first the store is being built.
        (!matches!(answer.status, 503 | 504)).then(|| answer.expect(200))
    })
    .await;
}

/// Waits until this is what a GET as an admin gets.
async fn until_answered(composed: &ComposedEdge, target: &str, wanted: &Value) {
    let last = Last::default();
    until(&format!("{target} is {wanted}"), || async {
        let answer = ask(composed, Some("root"), target, &[]).await;
        last.note(&answer.text());
        (answer.status == 200 && answer.json() == *wanted).then_some(())
    })
    .await;
}

/// The document of a page or a row, as this user gets it.
async fn document(composed: &ComposedEdge, user: &str, target: &str) -> Value {
    ask(composed, Some(user), target, &[]).await.expect(200).json()
}

/// The keys of the rows of a page, with blanks between them.
async fn keys(composed: &ComposedEdge, user: &str, target: &str) -> String {
    keys_of(&document(composed, user, target).await)
}

fn keys_of(page: &Value) -> String {
    let items = page["items"].as_array().unwrap_or_else(|| panic!("no page: {page}"));
    let keys: Vec<&str> = items.iter().map(|item| item["key"].as_str().expect("a key")).collect();
    keys.join(" ")
}

/// Shows the last answer if a story fails while it waits for another one.
#[derive(Default)]
struct Last(Mutex<String>);

impl Last {
    fn note(&self, answer: &str) {
        answer.clone_into(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

impl Drop for Last {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the last answer was: {}", self.0.lock().unwrap_or_else(PoisonError::into_inner));
        }
    }
}
