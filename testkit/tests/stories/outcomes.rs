//! How exchanges with an upstream end, as the metric `sallyport_upstream_outcomes_total` tells it: whose fault it was.

use sallyport_testkit::{Answer, EdgeUnderTest, Feed, Origin, Signal};

const OUTCOMES: &str = "sallyport_upstream_outcomes_total";

// A target that fails once is left out at once, so that a blame on it shows.
fn config(origin: &Origin, route: &str) -> String {
    format!(
        r#"
upstreams:
  origin: {{ targets: ["{}"], ejection: {{ failures: 1, for: 1h }} }}
routes:
  - match: "/{{**rest}}"
    public: true
    upstream: origin
{route}"#,
        origin.address()
    )
}

async fn outcome(edge: &EdgeUnderTest, outcome: &str, count: f64) {
    edge.wait_for_metric(OUTCOMES, &[("upstream", "origin"), ("outcome", outcome)], count).await;
    assert_eq!(edge.metric(OUTCOMES, &[("upstream", "origin")]).await, count, "and no other outcome");
}

#[tokio::test]
async fn a_client_that_leaves_in_the_middle_of_a_response_is_not_the_origins_fault() {
    let feed = Feed::new();
    let origin = Origin::builder().on("/stream", Answer::stream(&feed)).start().await;
    let edge = EdgeUnderTest::start(&config(&origin, "")).await;
    let mut client = edge.client().await;
    client.send("GET /stream HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    client.head().await;
    feed.send("begin");
    assert_eq!(client.some_bytes().await, b"5\r\nbegin\r\n");
    drop(client);
    // Whether the edge notices by reading or by writing: it lets go of the origin.
    feed.send("and more");
    outcome(&edge, "abandoned", 1.0).await;
    feed.finish();
    origin.wait_until_idle().await;
    edge.get("/").await.expect(200);
}

#[tokio::test]
async fn a_client_that_leaves_before_the_response_is_not_the_origins_fault() {
    let signal = Signal::new();
    let origin = Origin::builder().on("/held", Answer::status(200).held(&signal)).start().await;
    let edge = EdgeUnderTest::start(&config(&origin, "")).await;
    let mut client = edge.client().await;
    client.send("GET /held HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    origin.wait_for(1).await;
    drop(client);
    outcome(&edge, "abandoned", 1.0).await;
    signal.give();
    edge.get("/").await.expect(200);
}

#[tokio::test]
async fn an_upload_that_a_limit_cuts_is_not_the_origins_fault() {
    let origin = Origin::start().await;
    let edge = EdgeUnderTest::start(&config(&origin, "    body_limit: 10B\n")).await;
    let mut client = edge.client().await;
    client
        .send("PUT / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")
        .await;
    origin.wait_for(1).await;
    client.send("6\r\nworld!\r\n0\r\n\r\n").await;
    client.response_to("PUT").await.problem(413, "content-too-large");
    outcome(&edge, "abandoned", 1.0).await;
    edge.get("/").await.expect(200);
}

#[tokio::test]
async fn an_origin_that_does_not_answer_in_time_is_left_out() {
    let signal = Signal::new();
    let origin = Origin::builder().on("/held", Answer::status(200).held(&signal)).start().await;
    let edge = EdgeUnderTest::start(&config(&origin, "    timeouts: { first_byte: 100ms }\n")).await;
    edge.get("/held").await.problem(504, "gateway-timeout");
    outcome(&edge, "timeout", 1.0).await;
    signal.give();
}

#[tokio::test]
async fn the_other_outcomes_have_their_names() {
    for (target, answer, name, status) in [
        ("/ok", Answer::status(404), "ok", 404),
        ("/failing", Answer::status(500), "server_error", 500),
        ("/closing", Answer::close(), "broken", 502),
    ] {
        let origin = Origin::builder().on(target, answer).start().await;
        let edge = EdgeUnderTest::start(&config(&origin, "")).await;
        edge.get(target).await.expect(status);
        outcome(&edge, name, 1.0).await;
    }
    let origin = Origin::start().await;
    let edge = EdgeUnderTest::start(&config(&origin, "")).await;
    origin.kill();
    origin.wait_until_idle().await;
    edge.get("/").await.problem(502, "bad-gateway");
    outcome(&edge, "connect", 1.0).await;
}
