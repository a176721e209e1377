//! Kafka that is not there, goes away and comes again.

use sallyport_testkit::wait::until;
use sallyport_testkit::{ComposedEdge, Mode};
use serde_json::json;

use super::{ask, broker, document, folded, happened, keys, register, start};

stories!(
    kafka_may_come_later,
    kafka_may_go_and_come_again,
    a_topic_may_come_later,
    a_view_without_events_is_empty,
);

async fn kafka_may_come_later(mode: Mode) {
    let broker = broker("batches", 1);
    let last = register(&broker, "b1", "ann", "t").await;
    broker.down();
    let composed = start(mode, &broker, "").await;
    for target in ["/batches", "/batches/b1"] {
        let answer = ask(&composed, Some("ann"), target, &[]).await;
        assert_eq!(answer.header("Retry-After"), Some("1"), "{target}");
        assert_eq!(answer.header("Cache-Control"), Some("no-store"), "{target}");
        answer.problem(503, "view-being-built");
    }
    // Until its store is open, nobody knows whether there is one to build.
    let view = until("it is being built", || async {
        let view = composed.views().await["batches"].clone();
        (!view["building"].is_null()).then_some(view)
    })
    .await;
    assert_eq!((&view["serving"], &view["building"]["reason"]), (&json!(false), &json!("new")), "{view}");
    // Everything else is there.
    assert_eq!(composed.edge.admin("GET", "/readyz").await.status, 200);
    broker.up();
    folded(&composed, "/batches", &[&last]).await;
    assert_eq!(keys(&composed, "ann", "/batches").await, "b1");
    let view = &composed.views().await["batches"];
    assert_eq!(
        (&view["serving"], &view["building"], &view["rows"]),
        (&json!(true), &json!(null), &json!(1)),
        "{view}"
    );
}

async fn kafka_may_go_and_come_again(mode: Mode) {
    let broker = broker("batches", 2);
    let composed = start(mode, &broker, "").await;
    let first = [register(&broker, "b1", "ann", "t").await, register(&broker, "b2", "ann", "t").await];
    folded(&composed, "/batches", &[&first[0], &first[1]]).await;
    for round in 1..=3 {
        broker.down();
        // Answers go on, from memory and from the store.
        for target in ["/batches", "/batches?order=-title", "/batches/b1"] {
            let answer = ask(&composed, Some("ann"), target, &[]).await.expect(200);
            assert!(answer.header("View-Offsets").is_some(), "{target}");
        }
        broker.up();
        let place = happened(&broker, "b1", "checked").await;
        folded(&composed, "/batches", &[&place]).await;
        assert_eq!(document(&composed, "ann", "/batches/b1").await["checked"], round);
    }
    // The view itself tells that it has come to the ends again.
    until("no lag is left", || async {
        let answer = ask(&composed, Some("ann"), "/batches", &[]).await.expect(200);
        (answer.header("View-Lag") == Some("0")).then_some(())
    })
    .await;
    let read = composed.metric("sallyport_kafka_records_total", &[("reader", "view:batches")]).await;
    assert!((5.0 - read).abs() < 1e-9, "each record is read once, {read} were");
}

async fn a_topic_may_come_later(mode: Mode) {
    let broker = broker("other", 1);
    let composed = start(mode, &broker, "").await;
    // A view whose topic is not there is one without rows; it says so after a look at a broker that has settled.
    super::until_answered(&composed, "/batches?count=true", &json!({"items": [], "count": 0})).await;
    broker.create_topic("batches", 1).expect("a topic");
    let last = register(&broker, "b1", "ann", "t").await;
    folded(&composed, "/batches", &[&last]).await;
    assert_eq!(keys(&composed, "ann", "/batches").await, "b1");
}

async fn a_view_without_events_is_empty(mode: Mode) {
    let broker = broker("batches", 3);
    let composed: ComposedEdge = start(mode, &broker, "").await;
    super::until_answered(
        &composed,
        "/batches?count=true&group=owner",
        &json!({"items": [], "count": 0, "groups": []}),
    )
    .await;
    ask(&composed, Some("ann"), "/batches/b1", &[]).await.problem(404, "no-such-row");
    let answer = ask(&composed, Some("ann"), "/batches", &[]).await.expect(200);
    assert_eq!(answer.header("View-Offsets"), None);
}
