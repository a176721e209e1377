//! Views as branches of composed answers: pages and rows, as the client who asks may see them.

use sallyport_testkit::{Answer, ComposedEdge, Mode, Origin};
use serde_json::json;

use super::{ask, broker, configuration, folded, happened, register};

stories!(
    a_composition_has_the_rows_of_its_client,
    a_row_that_is_not_there_fails_its_branch,
    a_branch_can_be_led_by_rows,
);

/// The view, its routes, and a composition of these branches under `/home/{id}`.
fn with_branches(configuration: &str, branches: &str) -> String {
    format!(
        "{configuration}  - name: home\n    match: \"GET /home/{{id}}\"\n    filters: [{{ jwt: {{ issuer: main }} }}]\n    \
         aggregate:\n{branches}"
    )
}

async fn a_composition_has_the_rows_of_its_client(mode: Mode) {
    let broker = broker("batches", 1);
    let branches = r#"
      batch: { view: { name: batches, key: "{id}" } }
      mine: { view: { name: batches, query: { status: "{query.status}", limit: "2", count: "true", fields: "id,checked" } } }
      titles: { view: { name: batches, query: { order: -title } }, flatten: $.items, pick: [title] }
"#;
    let yaml = with_branches(&configuration(&broker, ""), branches);
    let composed = ComposedEdge::start(mode, "", &yaml).await;
    register(&broker, "b1", "ann", "A & B").await;
    register(&broker, "b2", "bob", "of bob").await;
    register(&broker, "b3", "ann", "C").await;
    let last = happened(&broker, "b3", "closed").await;
    folded(&composed, "/batches", &[&last]).await;
    let b1 = json!({"key": "b1", "id": "b1", "owner": "ann", "title": "A & B", "status": "registered"});
    let wanted = json!({
        "batch": b1, "mine": {"items": [{"id": "b3"}], "count": 1}, "titles": [{"title": "C"}, {"title": "A & B"}],
    });
    assert_eq!(super::document(&composed, "ann", "/home/b1?status=closed").await, wanted);
    // Without the parameter there is no filter; a value cannot bring parameters of its own.
    let whole = super::document(&composed, "ann", "/home/b1").await;
    assert_eq!(whole["mine"]["count"], 2);
    let crafted = super::document(&composed, "ann", "/home/b1?status=closed%26owner%3Dbob").await;
    assert_eq!(crafted["mine"], json!({"items": [], "count": 0}));
    let admins = super::document(&composed, "root", "/home/b2").await;
    assert_eq!((&admins["batch"]["owner"], &admins["mine"]["count"]), (&json!("bob"), &json!(3)));
    // A query that is refused is the operator's mistake, or the client's: its branch fails.
    let events = happened(&broker, "b1", "checked").await;
    folded(&composed, "/batches", &[&events]).await;
    assert_eq!(super::document(&composed, "ann", "/home/b1").await["batch"]["checked"], 1);
}

async fn a_row_that_is_not_there_fails_its_branch(mode: Mode) {
    let broker = broker("batches", 1);
    for (settings, status) in [("", 502), ("pass_statuses: [404],", 404), ("on_error: null,", 200)] {
        let branches = format!("      batch: {{ {settings} view: {{ name: batches, key: \"{{id}}\" }} }}\n");
        let yaml = with_branches(&configuration(&broker, ""), &branches);
        let composed = ComposedEdge::start(mode, "", &yaml).await;
        let last = register(&broker, "b2", "bob", "t").await;
        folded(&composed, "/batches", &[&last]).await;
        // Not there, and not to be seen: the same.
        for id in ["none", "b2"] {
            let answer = ask(&composed, Some("ann"), &format!("/home/{id}"), &[]).await.expect(status);
            match status {
                200 => {
                    assert_eq!(answer.header("X-Aggregate-Complete"), Some("false"));
                    assert_eq!(answer.json(), json!({"batch": null}));
                }
                404 => assert_eq!(answer.json()["status"], 404, "{}", answer.text()),
                _ => assert!(!answer.text().contains("bob"), "{}", answer.text()),
            }
        }
        ask(&composed, Some("bob"), "/home/b2", &[]).await.expect(200);
    }
}

async fn a_branch_can_be_led_by_rows(mode: Mode) {
    let origin = Origin::builder().on("/users/ann", Answer::json(r#"{"name":"Ann"}"#)).start().await;
    let broker = broker("batches", 1);
    let branches = r#"
      batch: { view: { name: batches, key: "{id}" } }
      owner: { call: "GET users/users/{batch.$.owner}" }
"#;
    let configuration = format!(
        "upstreams:\n  users: {{ targets: [\"{}\"] }}\n{}",
        origin.address(),
        configuration(&broker, "")
    );
    let composed = ComposedEdge::start(mode, "", &with_branches(&configuration, branches)).await;
    let last = register(&broker, "b1", "ann", "t").await;
    folded(&composed, "/batches", &[&last]).await;
    let answer = super::document(&composed, "ann", "/home/b1").await;
    assert_eq!(answer["owner"], json!({"name": "Ann"}));
}
