//! Queries that cannot be meant, and what the client is told: problem documents (RFC 9457) that name the parameter.

use sallyport_testkit::Mode;
use serde_json::{Value, json};

use super::{ask, broker, folded, register, start};

stories!(
    what_cannot_be_meant_is_refused_with_the_parameter,
    a_cursor_belongs_to_its_query,
    other_methods_are_not_allowed,
    a_query_has_limits,
);

async fn what_cannot_be_meant_is_refused_with_the_parameter(mode: Mode) {
    let broker = broker("batches", 1);
    let composed = start(mode, &broker, "").await;
    let last = register(&broker, "b1", "ann", "t").await;
    folded(&composed, "/batches", &[&last]).await;
    for (target, parameter, detail) in [
        ("/batches?owners=ann", "owners", "there is no parameter `owners`; did you mean `owner`?"),
        ("/batches?id=b1", "id", "rows cannot be filtered by `id`: it is in no index of this view"),
        ("/batches?limit=201", "limit", "`limit` is a number from 0 to 200"),
        ("/batches?limit=-1", "limit", "`limit` is a number from 0 to 200"),
        ("/batches?limit=1&limit=2", "limit", "`limit` stands there twice"),
        ("/batches?count=yes", "count", "`count` is `true` or `false`"),
        ("/batches?order=id", "order", "`order` names a field of an index: owner, status, checked, title"),
        ("/batches?group=stauts", "group", "`group` names a field of an index; did you mean `status`?"),
        ("/batches?fields=id,nam", "fields", "rows have no field `nam`"),
        (
            "/batches?owner[like]=a",
            "owner[like]",
            "`owner[like]` compares with an operation that there is not: eq, gt, gte, lt, lte",
        ),
        (
            "/batches?cursor=%2E%2E",
            "cursor",
            "`cursor` is the `next` of an answer, as it was given; this is none",
        ),
        (
            "/batches?min_offset=other/0@1",
            "min_offset",
            "`min_offset` names a topic that this view does not read",
        ),
        (
            "/batches/b1?owner=ann",
            "owner",
            "`owner` means nothing for one row; there are: fields, min_offset",
        ),
    ] {
        let answer = ask(&composed, Some("ann"), target, &[]).await;
        assert_eq!(answer.header("Cache-Control"), Some("no-store"), "{target}: {}", answer.text());
        let mut problem = answer.problem(400, "invalid-parameter");
        let instance = problem["instance"].take();
        assert!(instance.as_str().is_some_and(|id| id.starts_with("urn:sallyport:request:")), "{instance}");
        let wanted = json!({
            "type": "urn:sallyport:problem:invalid-parameter", "title": "Bad Request", "status": 400,
            "detail": detail, "parameter": parameter, "instance": null,
        });
        assert_eq!(problem, wanted, "{target}");
    }
    let problem = ask(&composed, Some("ann"), "/batches?owner=%ff", &[]).await.problem(400, "invalid-query");
    assert_eq!((&problem["detail"], &problem["parameter"]), (&json!("the query is not UTF-8"), &Value::Null));
}

async fn a_cursor_belongs_to_its_query(mode: Mode) {
    let broker = broker("batches", 1);
    let composed = start(mode, &broker, "").await;
    let mut last = String::new();
    for id in ["b1", "b2", "b3"] {
        last = register(&broker, id, "ann", "t").await;
    }
    folded(&composed, "/batches", &[&last]).await;
    let page = super::document(&composed, "ann", "/batches?limit=1&order=status").await;
    let next = page["next"].as_str().expect("more");
    // Another limit, other members: the same way.
    let page =
        super::document(&composed, "ann", &format!("/batches?limit=2&order=status&fields=id&cursor={next}"))
            .await;
    assert_eq!(page["items"], json!([{"id": "b2"}, {"id": "b3"}]));
    for query in ["order=-status", "order=title", "", "order=status&owner=ann"] {
        let target = format!("/batches?{query}&cursor={next}");
        let problem = ask(&composed, Some("ann"), &target, &[]).await.problem(400, "invalid-parameter");
        let detail = "this cursor belongs to a query with other filters, or in another order";
        assert_eq!(
            (&problem["parameter"], &problem["detail"]),
            (&json!("cursor"), &json!(detail)),
            "{query}"
        );
    }
    // Whoever takes over somebody's cursor sees rows of his own.
    let page = super::document(&composed, "bob", &format!("/batches?order=status&cursor={next}")).await;
    assert_eq!(page, json!({"items": []}));
}

/// RFC 9110, section 15.5.6.
async fn other_methods_are_not_allowed(mode: Mode) {
    let broker = broker("batches", 1);
    let composed = start(mode, &broker, "").await;
    let token = composed.token("ann");
    for method in ["POST", "PUT", "DELETE", "PATCH"] {
        let mut client = composed.edge.client().await;
        let draft = client.request(method, "/batches").bearer(&token).body("{}");
        let answer = draft.send().await;
        assert_eq!(answer.header("Allow"), Some("GET, HEAD"), "{method}: {}", answer.text());
        answer.problem(405, "method-not-allowed");
    }
}

async fn a_query_has_limits(mode: Mode) {
    let broker = broker("batches", 1);
    let composed = start(mode, &broker, "").await;
    let last = register(&broker, "b1", "ann", "t").await;
    folded(&composed, "/batches", &[&last]).await;
    let values = |count: usize| (0..count).map(|n| format!("owner=o{n}")).collect::<Vec<_>>().join("&");
    let target = |query: String| format!("/batches?{query}");
    ask(&composed, Some("ann"), &target(values(50)), &[]).await.expect(200);
    let problem =
        ask(&composed, Some("ann"), &target(values(51)), &[]).await.problem(400, "invalid-parameter");
    assert_eq!(problem["detail"], "`owner` has more than 50 values");
    let many = vec!["owner=a"; 129].join("&");
    let problem = ask(&composed, Some("ann"), &target(many), &[]).await.problem(400, "invalid-query");
    assert_eq!(problem["detail"], "a query has at most 128 parameters");
}
