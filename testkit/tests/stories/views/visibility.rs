//! Who may see which rows, whatever is asked for.

use sallyport_testkit::{ComposedEdge, Mode};
use serde_json::json;

use super::{ask, broker, document, folded, happened, keys, register, send, start, things};

stories!(
    a_client_sees_its_own_rows_and_nobody_elses,
    a_row_that_changes_hands_is_seen_by_its_new_owner_alone,
    without_claims_only_public_rows_are_there,
    odd_claims_open_nothing,
);

async fn a_client_sees_its_own_rows_and_nobody_elses(mode: Mode) {
    let broker = broker("batches", 2);
    let composed = start(mode, &broker, "").await;
    let mut places = Vec::new();
    for (id, owner) in [("b1", "ann"), ("b2", "bob"), ("b3", "ann"), ("b4", "bob"), ("b5", "bob")] {
        places.push(register(&broker, id, owner, &format!("of {owner}")).await);
    }
    places.push(happened(&broker, "b1", "checked").await);
    places.push(happened(&broker, "b5", "closed").await);
    let places: Vec<&str> = places.iter().map(String::as_str).collect();
    folded(&composed, "/batches", &places).await;

    let row = json!({"key": "b1", "id": "b1", "owner": "ann", "title": "of ann", "status": "registered", "checked": 1});
    assert_eq!(document(&composed, "ann", "/batches/b1").await, row);
    ask(&composed, Some("ann"), "/batches/b2", &[]).await.problem(404, "no-such-row");
    ask(&composed, Some("ann"), "/batches/none", &[]).await.problem(404, "no-such-row");
    composed.get("/batches/b1").await.problem(401, "unauthorized");
    assert_eq!(document(&composed, "root", "/batches/b2").await["owner"], "bob");

    for (user, query, wanted) in [
        ("ann", "", "b1 b3"),
        ("bob", "", "b2 b4 b5"),
        ("eve", "", ""),
        ("root", "", "b1 b2 b3 b4 b5"),
        ("ann", "owner=bob", ""),
        ("ann", "owner=bob&owner=ann", "b1 b3"),
        ("ann", "title[gte]=of", "b1 b3"),
        ("bob", "status=closed", "b5"),
        ("ann", "status=closed", ""),
    ] {
        assert_eq!(keys(&composed, user, &format!("/batches?{query}")).await, wanted, "{user} {query}");
    }
    // Counts and groups tell nothing of rows that are hidden.
    for (user, count, groups) in [
        ("ann", 2, json!([{"value": "ann", "n": 2}])),
        ("bob", 3, json!([{"value": "bob", "n": 3}])),
        ("eve", 0, json!([])),
        ("root", 5, json!([{"value": "ann", "n": 2}, {"value": "bob", "n": 3}])),
    ] {
        let page = document(&composed, user, "/batches?limit=0&count=true&group=owner").await;
        assert_eq!((&page["count"], sorted(&page["groups"])), (&json!(count), groups), "{user}: {page}");
    }
    let page = document(&composed, "ann", "/batches?limit=0&count=true&owner=bob").await;
    assert_eq!(page["count"], 0);
}

/// Groups in the order of their values.
fn sorted(groups: &serde_json::Value) -> serde_json::Value {
    let mut groups = groups.as_array().unwrap_or_else(|| panic!("no groups: {groups}")).clone();
    groups.sort_by_key(|group| group["value"].to_string());
    groups.into()
}

async fn a_row_that_changes_hands_is_seen_by_its_new_owner_alone(mode: Mode) {
    let broker = broker("batches", 1);
    let composed = start(mode, &broker, "").await;
    for (owner, other) in [("ann", "bob"), ("bob", "ann"), ("ann", "bob")] {
        let last = register(&broker, "b1", owner, "t").await;
        folded(&composed, "/batches", &[&last]).await;
        // Twice: the second time it may come from memory.
        for _ in 0..2 {
            for query in ["", "?status=registered", "?owner=ann&owner=bob"] {
                assert_eq!(
                    keys(&composed, owner, &format!("/batches{query}")).await,
                    "b1",
                    "{owner} {query}"
                );
                assert_eq!(keys(&composed, other, &format!("/batches{query}")).await, "", "{other} {query}");
            }
            assert_eq!(document(&composed, owner, "/batches/b1").await["owner"], owner);
            ask(&composed, Some(other), "/batches/b1", &[]).await.problem(404, "no-such-row");
        }
    }
}

async fn without_claims_only_public_rows_are_there(mode: Mode) {
    let broker = broker("things", 1);
    let view = "
    key: key
    fold: [{ on: { type: t }, set: { owner: $.owner, public: $.public } }]
    indexes: [owner, public]
";
    let yaml = things(&broker, view)
        .replace(r#"visible_to: "true""#, "visible_to: row.public == true || row.owner == claims.sub");
    let composed = ComposedEdge::start(mode, "", &yaml).await;
    let mut last = String::new();
    for (key, data) in [
        ("a", json!({"owner": "ann", "public": true})),
        ("b", json!({"owner": "ann", "public": false})),
        ("c", json!({"owner": "ann", "public": "true"})),
        ("d", json!({"owner": null, "public": null})),
        ("e", json!({})),
        ("f", json!({"owner": ""})),
    ] {
        last = send(&broker, "things", "t", key, &data).await;
    }
    folded(&composed, "/things", &[&last]).await;
    let page = composed.get("/things?count=true").await.expect(200).json();
    assert_eq!((super::keys_of(&page), &page["count"]), ("a".to_owned(), &json!(1)));
    for hidden in ["b", "c", "d", "e", "f"] {
        composed.get(&format!("/things/{hidden}")).await.problem(404, "no-such-row");
    }
}

/// A claim that is missing, null or of another type is no reason to see a row.
async fn odd_claims_open_nothing(mode: Mode) {
    let broker = broker("batches", 1);
    let composed = start(mode, &broker, "").await;
    register(&broker, "b1", "7", "t").await;
    send(&broker, "batches", "batch.registered", "b2", &json!({"batch_id": "b2", "user_id": null})).await;
    let last =
        send(&broker, "batches", "batch.registered", "b3", &json!({"batch_id": "b3", "title": "t"})).await;
    folded(&composed, "/batches", &[&last]).await;
    assert_eq!(keys(&composed, "root", "/batches").await, "b1 b2 b3");
    for roles in [json!("admin"), json!({"role": "admin"}), json!(["Admin"]), json!(null), json!([["admin"]])]
    {
        let token = composed.tokens.token().claim("sub", "x").claim("roles", roles.clone()).sign();
        let mut client = composed.edge.client().await;
        let page = client.get("/batches?count=true").bearer(&token).send().await.expect(200).json();
        assert_eq!(page, json!({"items": [], "count": 0}), "{roles}");
    }
    // A client cannot bring claims of its own.
    let claims = [("Sallyport-Claims", "eyJzdWIiOiI3Iiwicm9sZXMiOlsiYWRtaW4iXX0")];
    let page = ask(&composed, None, "/open?count=true", &claims).await.expect(200).json();
    assert_eq!(page, json!({"items": [], "count": 0}));
}
