//! What nobody waits for any more ends: calls are closed, and nothing is left running.

use sallyport_testkit::{Answer, ComposedEdge, Mode, Origin, Signal};

stories!(
    a_client_that_leaves_ends_its_calls,
    a_stream_that_is_reset_ends_its_calls,
    a_failed_branch_ends_those_beside_it,
    a_late_answer_ends_its_calls,
    calls_behind_the_one_that_failed_are_not_made,
);

const ROUTES: &str = r#"
routes:
  - match: GET /both
    public: true
    aggregate:
      a: { call: GET slow/a, timeout: 1h }
      b: { call: GET slow/b, timeout: 1h, on_error: "null" }
      list: { call: GET up/list }
      each: { call: "GET slow/{item}", each: { in: list.$, max: 9, concurrency: 2 }, timeout: 1h }
      behind: { call: GET up/behind, needs: [a] }
    answer: { timeout: 1h }
  - match: GET /failed
    public: true
    aggregate:
      a: { call: GET slow/a, timeout: 1h }
      bad: { call: GET up/bad }
    answer: { timeout: 1h }
  - match: GET /late
    public: true
    aggregate:
      a: { call: GET slow/a, timeout: 1h, on_error: omit }
    answer: { timeout: 50ms }
"#;

struct Story {
    up: Origin,
    slow: Origin,
    edge: ComposedEdge,
    _never: Signal,
}

async fn start(mode: Mode) -> Story {
    let never = Signal::new();
    let mut slow = Origin::builder();
    for path in ["/a", "/b", "/1", "/2", "/3"] {
        slow = slow.on(path, Answer::echo().held(&never));
    }
    let slow = slow.start().await;
    let up = Origin::builder().on("/bad", Answer::status(500)).on("/list", Answer::json("[1,2,3]"));
    let up = up.start().await;
    let yaml = format!(
        "listeners:\n  public: {{ address: \"127.0.0.1:0\", h2c: true }}\n\
         upstreams:\n  up: {{ targets: [\"{}\"] }}\n  slow: {{ targets: [\"{}\"] }}\n{ROUTES}",
        up.address(),
        slow.address()
    );
    let edge = ComposedEdge::start(mode, "", &yaml).await;
    Story { up, slow, edge, _never: never }
}

impl Story {
    async fn nothing_is_left(&self, cancelled: f64) {
        self.slow.wait_until_idle().await;
        self.edge.wait_for_metric("sallyport_aggregate_in_flight", &[], 0.0).await;
        self.edge.wait_for_metric("sallyport_aggregate_cancelled_total", &[], cancelled).await;
        assert_eq!(self.edge.metric("sallyport_aggregate_memory_bytes", &[]).await, 0.0);
    }
}

async fn a_client_that_leaves_ends_its_calls(mode: Mode) {
    let story = start(mode).await;
    let mut client = story.edge.edge.client().await;
    client.send("GET /both HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    story.slow.wait_for(4).await;
    assert_eq!(story.edge.metric("sallyport_aggregate_in_flight", &[]).await, 1.0);
    drop(client);
    story.nothing_is_left(1.0).await;
    assert_eq!(story.slow.requests().len(), 4, "no further item was asked for");
    assert!(!super::targets(&story.up).contains(&"/behind".to_owned()));
    // It is the client who left, no service failed.
    assert_eq!(story.edge.metric("sallyport_aggregate_answers_total", &[]).await, 0.0);
}

async fn a_stream_that_is_reset_ends_its_calls(mode: Mode) {
    let story = start(mode).await;
    let client = story.edge.edge.h2_client().await;
    let asked = tokio::spawn(client.get("/both").send());
    story.slow.wait_for(4).await;
    asked.abort();
    story.nothing_is_left(1.0).await;
    // The connection goes on.
    client.get("/failed").send().await.expect(502);
}

async fn a_failed_branch_ends_those_beside_it(mode: Mode) {
    let story = start(mode).await;
    story.edge.get("/failed").await.problem(502, "bad-gateway");
    story.nothing_is_left(0.0).await;
}

async fn a_late_answer_ends_its_calls(mode: Mode) {
    let story = start(mode).await;
    assert_eq!(story.edge.get("/late").await.expect(200).text(), "{}");
    story.nothing_is_left(0.0).await;
}

async fn calls_behind_the_one_that_failed_are_not_made(mode: Mode) {
    let up = Origin::builder().on("/bad", Answer::status(500)).start().await;
    let routes = r#"
  - match: GET /behind
    public: true
    aggregate:
      bad: { call: GET up/bad, on_error: omit }
      needs: { call: GET up/needs, needs: [bad], on_error: omit }
      uses: { call: "GET up/uses/{bad.$.x}", on_error: "null" }
      other: { call: DELETE up/other, needs: [uses], on_error: "null" }
"#;
    let edge = super::start(mode, &up, routes).await;
    assert_eq!(edge.get("/behind").await.expect(200).text(), r#"{"uses":null,"other":null}"#);
    assert_eq!(super::targets(&up), ["/bad"]);
}
