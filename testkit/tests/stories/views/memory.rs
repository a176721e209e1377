//! Answers that come from memory: they hold as long as no event has touched what they are made of, and belong to one view of
//! the rows alone.

use sallyport_testkit::{ComposedEdge, Mode};
use serde_json::json;

use super::{ask, broker, document, folded, happened, keys, register, start};

stories!(
    the_second_answer_comes_from_memory_until_its_rows_change,
    answers_of_different_people_never_meet,
    nothing_is_kept_where_nothing_may_be,
);

/// Queries that the store has answered.
async fn from_store(composed: &ComposedEdge) -> f64 {
    composed.metric("sallyport_view_queries_total", &[("from", "store")]).await
}

async fn from_memory(composed: &ComposedEdge) -> f64 {
    composed.metric("sallyport_view_queries_total", &[("from", "memory")]).await
}

async fn the_second_answer_comes_from_memory_until_its_rows_change(mode: Mode) {
    let broker = broker("batches", 1);
    let composed = start(mode, &broker, "").await;
    register(&broker, "b1", "ann", "t").await;
    let last = register(&broker, "b2", "bob", "t").await;
    folded(&composed, "/batches", &[&last]).await;
    for target in ["/batches", "/batches?owner=ann&count=true", "/batches/b1"] {
        let first = ask(&composed, Some("ann"), target, &[]).await.expect(200);
        let (stored, kept) = (from_store(&composed).await, from_memory(&composed).await);
        for _ in 0..3 {
            assert_eq!(ask(&composed, Some("ann"), target, &[]).await.expect(200).text(), first.text());
        }
        let seen = (from_store(&composed).await, from_memory(&composed).await);
        assert_eq!(seen, (stored, kept + 3.0), "{target}");

        // An event of somebody else's row does not touch it. What it says of itself goes on.
        let last = happened(&broker, "b2", "checked").await;
        folded(&composed, "/batches", &[&last]).await;
        let stored = from_store(&composed).await;
        let again = ask(&composed, Some("ann"), target, &[]).await.expect(200);
        assert_eq!(from_store(&composed).await, stored, "{target}");
        assert_eq!((again.text(), again.header("View-Offsets")), (first.text(), Some(&*last)), "{target}");

        // One of its own does.
        let last = happened(&broker, "b1", "checked").await;
        folded(&composed, "/batches", &[&last]).await;
        let stored = from_store(&composed).await;
        let changed = ask(&composed, Some("ann"), target, &[]).await.expect(200);
        assert_eq!(from_store(&composed).await, stored + 1.0, "{target}");
        assert_ne!(changed.text(), first.text(), "{target}");

        // So does a row that comes to be one of them.
        let last = register(&broker, "b3", "ann", "t").await;
        folded(&composed, "/batches", &[&last]).await;
        let page = keys(&composed, "ann", "/batches").await;
        assert_eq!(page, "b1 b3", "{target}");
        let last = happened(&broker, "b3", "deleted").await;
        folded(&composed, "/batches", &[&last]).await;
        assert_eq!(keys(&composed, "ann", "/batches").await, "b1", "{target}");
    }
    // A row that is not there is remembered as well, until it is.
    for _ in 0..2 {
        ask(&composed, Some("ann"), "/batches/b9", &[]).await.problem(404, "no-such-row");
    }
    let last = register(&broker, "b9", "ann", "t").await;
    folded(&composed, "/batches", &[&last]).await;
    assert_eq!(document(&composed, "ann", "/batches/b9").await["id"], "b9");
}

async fn answers_of_different_people_never_meet(mode: Mode) {
    let broker = broker("batches", 1);
    let composed = start(mode, &broker, "").await;
    let mut last = String::new();
    for (id, owner) in [("b1", "ann"), ("b2", "bob"), ("b3", "ann")] {
        last = register(&broker, id, owner, "t").await;
    }
    folded(&composed, "/batches", &[&last]).await;
    // Warm for one, then asked by the others, in every order.
    for users in [["root", "ann", "bob", "eve"], ["eve", "bob", "ann", "root"], ["bob", "root", "eve", "ann"]]
    {
        for query in
            ["", "?count=true&group=owner", "?status=registered&order=-title", "?owner=ann&fields=id,owner"]
        {
            for user in users {
                let page = document(&composed, user, &format!("/batches{query}")).await;
                let owners = page["items"].as_array().expect("rows").iter().map(|row| row["owner"].clone());
                let foreign: Vec<_> =
                    owners.filter(|owner| user != "root" && *owner != json!(user)).collect();
                assert!(foreign.is_empty(), "{user} saw rows of {foreign:?} with {query}");
            }
        }
        for user in users {
            let status = ask(&composed, Some(user), "/batches/b2", &[]).await.status;
            assert_eq!(status, if matches!(user, "root" | "bob") { 200 } else { 404 }, "{user}");
        }
        ask(&composed, None, "/open/b2", &[]).await.problem(404, "no-such-row");
        assert_eq!(ask(&composed, None, "/open", &[]).await.expect(200).json(), json!({"items": []}));
    }
    assert!(from_memory(&composed).await > 0.0);
}

async fn nothing_is_kept_where_nothing_may_be(mode: Mode) {
    let broker = broker("batches", 1);
    let yaml = super::configuration(&broker, "");
    let composed = ComposedEdge::start(mode, "  limits: { hot_bytes: 0B }\n", &yaml).await;
    let last = register(&broker, "b1", "ann", "t").await;
    folded(&composed, "/batches", &[&last]).await;
    for _ in 0..3 {
        assert_eq!(keys(&composed, "ann", "/batches").await, "b1");
    }
    assert_eq!(from_memory(&composed).await, 0.0);
    assert_eq!(composed.metric("sallyport_view_hot_bytes", &[]).await, 0.0);
}
