//! What upstreams can do, they do for branches.

use sallyport_testkit::{Answer, ComposedEdge, Mode, Origin, Signal};
use serde_json::json;

stories!(
    calls_are_balanced_over_targets,
    a_target_that_fails_is_left_out,
    a_call_is_tried_again_on_the_other_target,
    what_may_not_be_repeated_is_not,
    the_host_is_the_upstreams,
    a_target_takes_no_more_than_its_limit,
    a_kept_connection_that_has_closed_is_replaced,
);

async fn start(mode: Mode, targets: &[&Origin], settings: &str, branch: &str) -> ComposedEdge {
    let targets: Vec<_> = targets.iter().map(|origin| format!("\"{}\"", origin.address())).collect();
    let yaml = format!(
        "upstreams:\n  up: {{ targets: [{}]{settings} }}\nroutes:\n  - match: GET /x\n    public: true\n    \
         aggregate:\n      a: {{ call: {branch} }}\n",
        targets.join(", ")
    );
    ComposedEdge::start(mode, "", &yaml).await
}

async fn calls_are_balanced_over_targets(mode: Mode) {
    let (one, two) = (Origin::start().await, Origin::start().await);
    let edge = start(mode, &[&one, &two], ", balance: round_robin", "GET up/a").await;
    for _ in 0..6 {
        edge.get("/x").await.expect(200);
    }
    assert_eq!((one.requests().len(), two.requests().len()), (3, 3));
}

async fn a_target_that_fails_is_left_out(mode: Mode) {
    let bad = Origin::builder().on("/a", Answer::status(503)).start().await;
    let good = Origin::start().await;
    let settings = ", balance: round_robin, ejection: { failures: 2, for: 1h }";
    let edge = start(mode, &[&bad, &good], settings, "GET up/a").await;
    let mut failed = 0;
    for _ in 0..12 {
        failed += usize::from(edge.get("/x").await.status == 502);
    }
    assert_eq!((failed, bad.requests().len(), good.requests().len()), (2, 2, 10));
}

async fn a_call_is_tried_again_on_the_other_target(mode: Mode) {
    let never = Signal::new();
    for (bad, on) in [
        (None, "connect"),
        (Some(Answer::close()), "reset"),
        (Some(Answer::cut(9, "1")), "reset"),
        (Some(Answer::status(503)), "\"503\""),
    ] {
        let refused = bad.is_none();
        let bad =
            Origin::builder().on("/a", bad.unwrap_or_else(|| Answer::echo().held(&never))).start().await;
        let good = Origin::builder().on("/a", Answer::json("1")).start().await;
        if refused {
            bad.kill();
        }
        let branch = format!("GET up/a, retry: {{ attempts: 1, on: [{on}] }}");
        let settings = ", balance: round_robin, ejection: { failures: 0 }";
        let edge = start(mode, &[&bad, &good], settings, &branch).await;
        for _ in 0..4 {
            assert_eq!(edge.get("/x").await.expect(200).text(), r#"{"a":1}"#, "{on}");
        }
        assert_eq!(good.requests().len(), 4);
        let ids: Vec<_> = good
            .requests()
            .iter()
            .map(|request| request.header("x-request-id").unwrap().to_owned())
            .collect();
        assert!(
            bad.requests()
                .iter()
                .all(|request| ids.iter().any(|id| request.header("x-request-id") == Some(id)))
        );
    }
}

/// RFC 9110, section 9.2.2.
async fn what_may_not_be_repeated_is_not(mode: Mode) {
    let bad = Origin::builder().on("/a", Answer::close()).start().await;
    let good = Origin::start().await;
    let settings = ", balance: round_robin, ejection: { failures: 0 }";
    let branch = "POST up/a, retry: { attempts: 1, on: [connect] }";
    let edge = start(mode, &[&bad, &good], settings, branch).await;
    let mut statuses = Vec::new();
    for _ in 0..4 {
        statuses.push(edge.get("/x").await.status);
    }
    statuses.sort_unstable();
    assert_eq!((statuses, bad.requests().len(), good.requests().len()), (vec![200, 200, 502, 502], 2, 2));
}

async fn the_host_is_the_upstreams(mode: Mode) {
    let origin = Origin::start().await;
    for (settings, wanted) in [
        ("", "api.example.com".to_owned()),
        (", host: preserve", "api.example.com".to_owned()),
        (", host: target", origin.address().to_string()),
        (", host: users.internal", "users.internal".to_owned()),
    ] {
        let edge = start(mode, &[&origin], settings, "GET up/a").await;
        let mut client = edge.edge.client().await;
        client.get("/x").host("api.example.com").send().await.expect(200);
        assert_eq!(origin.last().headers("host"), [wanted]);
        assert_eq!(origin.last().headers("x-forwarded-host"), ["api.example.com"]);
    }
}

async fn a_target_takes_no_more_than_its_limit(mode: Mode) {
    let signal = Signal::new();
    let origin = Origin::builder().on("/a", Answer::json("1").held(&signal)).start().await;
    let edge = start(mode, &[&origin], ", in_flight: 1", "POST up/a").await;
    let second = async {
        origin.wait_for(1).await;
        let problem = edge.get("/x").await.problem(502, "bad-gateway");
        assert_eq!(problem["branches"], json!([{ "name": "a", "reason": "unavailable" }]));
        signal.give();
    };
    let (first, ()) = tokio::join!(edge.get("/x"), second);
    first.expect(200);
    edge.get("/x").await.expect(200);
    assert_eq!(origin.requests().len(), 2);
}

async fn a_kept_connection_that_has_closed_is_replaced(mode: Mode) {
    let origin = Origin::start().await;
    let edge = start(mode, &[&origin], "", "GET up/a").await;
    for round in 1..=3 {
        edge.get("/x").await.expect(200);
        origin.kill();
        origin.wait_until_idle().await;
        origin.restart().await;
        assert_eq!(origin.requests().len(), round);
    }
    edge.get("/x").await.expect(200);
}
