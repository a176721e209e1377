//! Changes of rows reach the clients of a channel: through Kafka, the aggregator, its socket, the bridge and the edge.

use sallyport_kafka::EmbeddedBroker;
use sallyport_testkit::websocket::{Upgrade, WebSocketClient};
use sallyport_testkit::{ComposedEdge, LiveClient, Mode};
use serde_json::{Value, json};

use super::{configuration, send};

stories!(changes_of_rows_reach_who_may_see_them, an_aggregator_that_was_away_goes_on);

const CHANNELS: &str = r#"
ws_bridge:
  issuers: [main]
  sources:
    - { view: batches, channel: "batch:{key}", tags: { type: "{ce.type}" } }
  channels:
    batch: { visible_to: event.row.owner == claims.sub || event.was.owner == claims.sub }
"#;

async fn start(mode: Mode, broker: &EmbeddedBroker) -> ComposedEdge {
    let live = "routes:\n  - { name: live, match: GET /live, public: true, sidecar: ws-bridge }\n";
    let text = configuration(broker, CHANNELS).replace("routes:\n", live);
    ComposedEdge::start(mode, "", &text).await
}

/// A client of `/live` that is connected and has subscribed.
async fn client(composed: &ComposedEdge, user: &str, channel: &str) -> LiveClient {
    let socket = WebSocketClient::open(composed.edge.address("public"), &Upgrade::to("/live")).await;
    let mut client = LiveClient::new(socket);
    client.connect(&composed.token(user)).await;
    client.join(channel).await;
    client
}

/// The data of the next event, and its type.
async fn next(client: &mut LiveClient) -> (Value, Value) {
    let (_, mut publication) = client.publication().await;
    (publication["data"].take(), publication["tags"]["type"].take())
}

async fn changes_of_rows_reach_who_may_see_them(mode: Mode) {
    let broker = EmbeddedBroker::start(&[("batches", 2)]).expect("a broker");
    let composed = start(mode, &broker).await;
    let mut ann = client(&composed, "ann", "batch:b1").await;
    let mut bob = client(&composed, "bob", "batch:b1").await;
    bob.join("batch:b2").await;
    let of = |id: &str, owner: &str| json!({"batch_id": id, "user_id": owner, "title": "t"});
    send(&broker, "batches", "batch.registered", "b1", &of("b1", "ann")).await;
    let row = json!({"id": "b1", "owner": "ann", "title": "t", "status": "registered"});
    assert_eq!(next(&mut ann).await, (json!({"key": "b1", "row": row}), json!("view.changed")));
    send(&broker, "batches", "batch.deleted", "b1", &json!({"batch_id": "b1"})).await;
    assert_eq!(next(&mut ann).await, (json!({"key": "b1", "row": null, "was": row}), json!("view.deleted")));
    // The first that bob sees is his own: what came before it in the same partition or another was not for him.
    send(&broker, "batches", "batch.registered", "b2", &of("b2", "bob")).await;
    assert_eq!(next(&mut bob).await.0["key"], "b2");
}

/// Nothing has happened meanwhile, so nobody has to begin anew.
async fn an_aggregator_that_was_away_goes_on(mode: Mode) {
    let broker = EmbeddedBroker::start(&[("batches", 1)]).expect("a broker");
    let mut composed = start(mode, &broker).await;
    let mut ann = client(&composed, "ann", "batch:b1").await;
    let data = json!({"batch_id": "b1", "user_id": "ann", "title": "t"});
    send(&broker, "batches", "batch.registered", "b1", &data).await;
    assert_eq!(next(&mut ann).await.1, "view.changed");
    if mode == Mode::Separate {
        let connected = ("sallyport_live_view_connected", &[("view", "batches")]);
        composed.stop_aggregator().await;
        composed.edge.wait_for_metric(connected.0, connected.1, 0.0).await;
        composed.start_aggregator().await;
        composed.edge.wait_for_metric(connected.0, connected.1, 1.0).await;
    }
    send(&broker, "batches", "batch.checked", "b1", &json!({"batch_id": "b1"})).await;
    assert_eq!(next(&mut ann).await.0["row"]["checked"], 1);
    assert!(composed.edge.metric("sallyport_live_view_gaps_total", &[]).await < 0.5);
}
