//! From events to rows, and from rows to who may see them.

use sallyport_kafka::EmbeddedBroker;
use sallyport_testkit::Mode;
use sallyport_testkit::wait::until;
use serde_json::json;

use super::{send, start};

stories!(a_client_sees_its_own_rows_and_nobody_elses);

async fn a_client_sees_its_own_rows_and_nobody_elses(mode: Mode) {
    let broker = EmbeddedBroker::start(&[("batches", 2)]).expect("a broker");
    let composed = start(mode, &broker, "").await;
    for (id, owner) in [("b1", "ann"), ("b2", "bob"), ("b3", "ann")] {
        let data = json!({"batch_id": id, "user_id": owner, "title": format!("of {owner}")});
        send(&broker, "batches", "batch.registered", id, &data).await;
    }
    send(&broker, "batches", "batch.checked", "b1", &json!({"batch_id": "b1"})).await;
    let row = json!({"key": "b1", "id": "b1", "owner": "ann", "title": "of ann", "status": "registered", "checked": 1});
    until("the row of the last event", || async {
        let answer = composed.get_as("ann", "/batches?order=owner").await;
        // At first the store is being built.
        let page = if answer.status == 503 { json!(null) } else { answer.expect(200).json() };
        (page["items"]
            == json!([row, {"key": "b3", "id": "b3", "owner": "ann", "title": "of ann", "status": "registered"}]))
        .then_some(())
    })
    .await;
    assert_eq!(composed.get_as("ann", "/batches/b1").await.expect(200).json(), row);
    composed.get_as("ann", "/batches/b2").await.problem(404, "no-such-row");
    composed.get("/batches/b1").await.problem(401, "unauthorized");
}
