//! Another configuration while a view runs: what goes on, what is built anew, what comes and goes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use sallyport_kafka::EmbeddedBroker;
use sallyport_testkit::wait::until;
use sallyport_testkit::{ComposedEdge, Mode};
use serde_json::{Value, json};

use super::{ask, broker, configuration, document, folded, happened, keys, register, start};

stories!(
    settings_of_queries_change_without_a_gap,
    who_may_see_rows_changes_at_once,
    other_indexes_keep_the_rows,
    another_fold_is_built_anew_behind_the_old_answers,
    views_come_and_go,
    the_last_view_goes_too,
    a_view_that_cannot_be_started_leaves_the_others_as_they_were,
);

async fn records_read(composed: &ComposedEdge) -> f64 {
    composed.metric("sallyport_kafka_records_total", &[("reader", "view:batches")]).await
}

async fn three_rows(mode: Mode) -> (EmbeddedBroker, ComposedEdge) {
    let broker = broker("batches", 1);
    let composed = start(mode, &broker, "").await;
    register(&broker, "b1", "ann", "t").await;
    register(&broker, "b2", "bob", "t").await;
    let last = register(&broker, "b3", "ann", "u").await;
    folded(&composed, "/batches", &[&last]).await;
    (broker, composed)
}

async fn settings_of_queries_change_without_a_gap(mode: Mode) {
    let (broker, composed) = three_rows(mode).await;
    let composed = Arc::new(composed);
    let done = Arc::new(AtomicBool::new(false));
    // Somebody asks all the time, and never gets anything but rows.
    let asking = {
        let (composed, done) = (composed.clone(), done.clone());
        tokio::spawn(async move {
            let mut asked = 0;
            while !done.load(Ordering::Acquire) {
                ask(&composed, Some("ann"), "/batches", &[]).await.expect(200);
                asked += 1;
            }
            asked
        })
    };
    for page in [1, 2, 1] {
        let query = format!("    query: {{ page: {page}, max_age: 9s }}\n");
        composed.reload("", &configuration(&broker, &query)).await.expect("a reload");
        let answer = ask(&composed, Some("root"), "/batches", &[]).await.expect(200);
        assert_eq!(answer.json()["items"].as_array().map(Vec::len), Some(page));
        assert_eq!(answer.header("Cache-Control"), Some("private, max-age=9"));
    }
    done.store(true, Ordering::Release);
    assert!(asking.await.expect("rows at all times") > 0);
    assert_eq!(records_read(&composed).await, 3.0);
    // The fold goes on.
    let last = happened(&broker, "b1", "checked").await;
    folded(&composed, "/batches", &[&last]).await;
    assert_eq!(document(&composed, "ann", "/batches/b1").await["checked"], 1);
}

async fn who_may_see_rows_changes_at_once(mode: Mode) {
    let (broker, composed) = three_rows(mode).await;
    assert_eq!(keys(&composed, "ann", "/batches").await, "b1 b3");
    let yaml = configuration(&broker, "").replace("row.owner == claims.sub ||", "row.title == 'u' ||");
    composed.reload("", &yaml).await.expect("a reload");
    until("the view is there again", || async {
        let answer = ask(&composed, Some("ann"), "/batches", &[]).await;
        if answer.status == 503 {
            return None;
        }
        // Never what was visible before: not for a moment.
        assert_eq!(super::keys_of(&answer.expect(200).json()), "b3");
        Some(())
    })
    .await;
    ask(&composed, Some("ann"), "/batches/b1", &[]).await.problem(404, "no-such-row");
    assert_eq!(keys(&composed, "bob", "/batches").await, "b3");
    assert_eq!(records_read(&composed).await, 3.0);
}

async fn other_indexes_keep_the_rows(mode: Mode) {
    let (broker, composed) = three_rows(mode).await;
    ask(&composed, Some("root"), "/batches?id=b2", &[]).await.problem(400, "invalid-parameter");
    let yaml = configuration(&broker, "").replace("indexes: [owner,", "indexes: [owner, id,");
    composed.reload("", &yaml).await.expect("a reload");
    super::until_answered(
        &composed,
        "/batches?id=b2&fields=id&count=true",
        &json!({"items": [{"id": "b2"}], "count": 1}),
    )
    .await;
    assert_eq!(keys(&composed, "ann", "/batches?order=-id").await, "b3 b1");
    assert_eq!(records_read(&composed).await, 3.0, "nothing is read a second time");
}

async fn another_fold_is_built_anew_behind_the_old_answers(mode: Mode) {
    let (broker, composed) = three_rows(mode).await;
    let yaml = configuration(&broker, "").replace(r#"status: '"registered"'"#, r#"status: '"new"'"#);
    // As long as Kafka is away nothing can be built: the answers are those of before, and say that more may be missing.
    broker.down();
    composed.reload("", &yaml).await.expect("a reload");
    let answer = until("the old answers", || async {
        let answer = ask(&composed, Some("ann"), "/batches", &[]).await;
        (answer.status != 503).then_some(answer)
    })
    .await
    .expect(200);
    assert_eq!(answer.json()["items"][0]["status"], "registered");
    assert_eq!(answer.header("View-Complete"), Some("false"));
    let view = composed.views().await["batches"].clone();
    let building = json!({"reason": "fold", "percent": 0.0});
    assert_eq!((&view["serving"], &view["building"]), (&json!(true), &building), "{view}");
    broker.up();
    until("the new answers", || async {
        let answer = ask(&composed, Some("ann"), "/batches", &[]).await.expect(200);
        let is_new = answer.json()["items"][0]["status"] == "new";
        (is_new && answer.header("View-Complete").is_none()).then_some(())
    })
    .await;
    assert_eq!(composed.views().await["batches"]["building"], Value::Null);
    let labels = [("view", "batches"), ("reason", "fold")];
    assert_eq!(composed.metric("sallyport_view_rebuilds_total", &labels).await, 1.0);
    assert_eq!(composed.metric("sallyport_view_rebuild_progress", &[("view", "batches")]).await, 1.0);
    assert_eq!(keys(&composed, "ann", "/batches").await, "b1 b3");
}

/// The configuration with a second view over the same topic, and a route to it.
fn with_another(configuration: &str) -> String {
    let view = r#"
  owners:
    topic: batches
    key: $.user_id
    fold: [{ on: { type: batch.registered }, increment: { batches: 1 } }]
    visible_to: "true"
routes:
  - { name: owners, match: "GET /owners/{id}", public: true, view: { name: owners, key: "{id}" } }
"#;
    configuration.replace("\nroutes:\n", view)
}

async fn views_come_and_go(mode: Mode) {
    let (broker, composed) = three_rows(mode).await;
    let one = configuration(&broker, "");
    composed.get("/owners/ann").await.problem(404, "not-found");
    for round in 0..2 {
        composed.reload("", &with_another(&one)).await.expect("a reload");
        super::until_answered(&composed, "/owners/ann", &json!({"key": "ann", "batches": 2 + round})).await;
        assert_eq!(keys(&composed, "bob", "/batches").await, "b2");
        let of_owners = [("view", "owners")];
        assert!(composed.metric("sallyport_view_rows", &of_owners).await > 0.0);

        composed.reload("", &one).await.expect("a reload");
        composed.get("/owners/ann").await.problem(404, "not-found");
        assert_eq!(composed.views().await.as_object().map(serde_json::Map::len), Some(1));
        assert_eq!(composed.metric("sallyport_view_rows", &of_owners).await, 0.0);
        // What happens meanwhile is read when the view comes again.
        let last = register(&broker, &format!("c{round}"), "ann", "t").await;
        folded(&composed, "/batches", &[&last]).await;
    }
    assert_eq!(records_read(&composed).await, 5.0, "the other view is not disturbed");
}

async fn the_last_view_goes_too(mode: Mode) {
    let (broker, composed) = three_rows(mode).await;
    let yaml = "routes:\n  - { match: /plain, public: true, respond: { body: plain } }\n";
    let reloaded = composed.reload("", yaml).await;
    match mode {
        Mode::Embedded => {
            reloaded.expect("a reload");
            let views = composed.edge.admin("GET", "/views").await.expect(200).json();
            assert_eq!(views["views"], json!({}));
        }
        // A process that is there for nothing says so, and goes on.
        Mode::Separate => {
            let told = reloaded.expect_err("a refusal");
            assert!(told.contains("there is nothing to do"), "{told}");
        }
    }
    composed.get("/plain").await.expect(200);
    ask(&composed, Some("ann"), "/batches", &[]).await.problem(404, "not-found");
    composed.reload("", &configuration(&broker, "")).await.expect("a reload");
    let last = happened(&broker, "b1", "checked").await;
    folded(&composed, "/batches", &[&last]).await;
    assert_eq!(document(&composed, "ann", "/batches/b1").await["checked"], 1);
}

async fn a_view_that_cannot_be_started_leaves_the_others_as_they_were(mode: Mode) {
    let (broker, composed) = three_rows(mode).await;
    // The name of its lock is taken by what is no file.
    let state = composed.edge.path("state");
    std::fs::create_dir(state.join("owners.lock")).expect("a folder");
    let changed = configuration(&broker, "").replace("indexes: [owner,", "indexes: [owner, id,");
    let told = composed.reload("", &with_another(&changed)).await.expect_err("a refusal");
    assert!(told.contains("view `owners`") && told.contains("owners.lock"), "{told}");
    // The view that had changed in the same file is as it was.
    let last = happened(&broker, "b1", "checked").await;
    folded(&composed, "/batches", &[&last]).await;
    assert_eq!(document(&composed, "ann", "/batches/b1").await["checked"], 1);
    ask(&composed, Some("ann"), "/batches?id=b1", &[]).await.problem(400, "invalid-parameter");
    std::fs::remove_dir(state.join("owners.lock")).expect("the folder");
    composed.reload("", &with_another(&changed)).await.expect("a reload");
    super::until_answered(&composed, "/owners/ann", &json!({"key": "ann", "batches": 2})).await;
    assert_eq!(keys(&composed, "ann", "/batches?id=b1").await, "b1");
}
