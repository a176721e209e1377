//! What compositions may take: places, and memory.

use std::sync::Arc;

use sallyport_testkit::{Answer, ComposedEdge, Mode, Origin, Signal};

use super::{routes, targets};

stories!(
    one_request_more_than_there_are_places_is_turned_away,
    large_answers_take_turns_within_the_memory_there_is,
    who_waits_for_memory_too_long_is_told_to_come_again,
);

const HELD: &str = r#"
  - match: GET /held
    public: true
    aggregate:
      a: { call: GET up/a, timeout: 1h }
    answer: { timeout: 1h }
"#;

async fn one_request_more_than_there_are_places_is_turned_away(mode: Mode) {
    let signal = Signal::new();
    let origin = Origin::builder().on("/a", Answer::json("1").held(&signal)).start().await;
    let edge = ComposedEdge::start(mode, "  limits: { in_flight: 2 }", &routes(&origin, HELD)).await;
    let third = async {
        edge.wait_for_metric("sallyport_aggregate_in_flight", &[], 2.0).await;
        let refused = edge.get("/held").await;
        assert_eq!(refused.header("retry-after"), Some("1"));
        let problem = refused.problem(503, "unavailable");
        assert_eq!(problem["detail"], "too many requests are under way; try again");
        let mut client = edge.edge.client().await;
        client.request("HEAD", "/held").send().await.expect(503);
        signal.give();
    };
    let (one, two, ()) = tokio::join!(edge.get("/held"), edge.get("/held"), third);
    one.expect(200);
    two.expect(200);
    edge.wait_for_metric("sallyport_aggregate_answers_total", &[("result", "refused")], 2.0).await;
    edge.wait_for_metric("sallyport_aggregate_in_flight", &[], 0.0).await;
    edge.get("/held").await.expect(200);
}

const MIB: usize = 1024 * 1024;
const LIMIT: usize = 20 * MIB;

/// Eight branches of a mebibyte each.
fn large() -> String {
    let mut route = "  - match: GET /large/{id}\n    public: true\n    aggregate:\n".to_owned();
    for branch in 0..8 {
        route += &format!(
            "      b{branch}: {{ call: \"GET up/{branch}?id={{id}}\", timeout: 1h, bytes: 1MiB }}\n"
        );
    }
    route + "    answer: { timeout: 1h, bytes: 8MiB }\n"
}

async fn large_answers_take_turns_within_the_memory_there_is(mode: Mode) {
    let mut origin = Origin::builder();
    let text = |branch: usize| char::from(b'a' + branch as u8).to_string().repeat(MIB - 2);
    for branch in 0..8 {
        origin = origin.on(&format!("/{branch}"), Answer::json(format!("\"{}\"", text(branch))));
    }
    let origin = origin.start().await;
    let settings = "  limits: { memory: 20MiB }";
    let edge = Arc::new(ComposedEdge::start(mode, settings, &routes(&origin, &large())).await);
    let mut wanted = String::from("{");
    for branch in 0..8 {
        wanted += &format!("{}\"b{branch}\":\"{}\"", if branch == 0 { "" } else { "," }, text(branch));
    }
    wanted += "}";
    let wanted = sallyport_testkit::body::Body::of(wanted.as_bytes());
    let clients: Vec<_> = (0..6)
        .map(|id| {
            let edge = edge.clone();
            tokio::spawn(async move { edge.get(&format!("/large/{id}")).await.expect(200).body })
        })
        .collect();
    let mut most = 0.0_f64;
    while !clients.iter().all(|client| client.is_finished()) {
        let held = edge.metric("sallyport_aggregate_memory_bytes", &[]).await;
        assert!(held <= LIMIT as f64, "{held} bytes are held");
        most = most.max(held);
    }
    for client in clients {
        let body = client.await.unwrap();
        assert_eq!((body.bytes, &body.sha256), (wanted.bytes, &wanted.sha256));
    }
    assert!(most > 0.0, "large answers are counted");
    assert_eq!(targets(&origin).len(), 48);
    edge.wait_for_metric("sallyport_aggregate_memory_bytes", &[], 0.0).await;
    edge.wait_for_metric("sallyport_aggregate_in_flight", &[], 0.0).await;
    assert_eq!(edge.metric("sallyport_aggregate_memory_waiting", &[]).await, 0.0);
}

async fn who_waits_for_memory_too_long_is_told_to_come_again(mode: Mode) {
    let signal = Signal::new();
    let body = format!("\"{}\"", "x".repeat(MIB - 2));
    let origin = Origin::builder()
        .on("/first", Answer::json(body.clone()))
        .on("/held", Answer::json("1").held(&signal))
        .on("/second", Answer::json(body))
        .start()
        .await;
    let of_routes = r#"
  - match: GET /first
    public: true
    aggregate:
      a: { call: GET up/first, timeout: 1h }
      b: { call: GET up/held, needs: [a], timeout: 1h }
    answer: { timeout: 1h, bytes: 2MiB }
  - match: GET /second
    public: true
    aggregate:
      a: { call: GET up/second, timeout: 100ms }
    answer: { timeout: 1h, bytes: 2MiB }
"#;
    let edge = ComposedEdge::start(mode, "  limits: { memory: 2MiB }", &routes(&origin, of_routes)).await;
    let second = async {
        origin.wait_for(2).await;
        assert_eq!(edge.metric("sallyport_aggregate_memory_bytes", &[]).await, (2 * MIB) as f64);
        let refused = edge.get("/second").await;
        assert_eq!(refused.header("retry-after"), Some("1"));
        let problem = refused.problem(503, "unavailable");
        assert_eq!(problem["branches"], serde_json::json!([{ "name": "a", "reason": "memory" }]));
        signal.give();
    };
    let (first, ()) = tokio::join!(edge.get("/first"), second);
    first.expect(200);
    edge.wait_for_metric("sallyport_aggregate_memory_bytes", &[], 0.0).await;
    edge.get("/second").await.expect(200);
}
