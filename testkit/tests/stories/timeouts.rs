//! Who is slow is told so; nobody is waited for for ever. Only outcomes are asserted, never how long they took.

use sallyport_testkit::{Answer, EdgeUnderTest, Feed, Origin, Signal};

fn with_timeouts(origin: &Origin, timeouts: &str) -> String {
    crate::everything_to(origin.address()) + &format!("    timeouts: {{ {timeouts} }}\n")
}

#[tokio::test]
async fn an_origin_that_does_not_answer_is_504() {
    let signal = Signal::new();
    let origin = Origin::builder().on("/held", Answer::status(200).held(&signal)).start().await;
    let edge = EdgeUnderTest::start(&with_timeouts(&origin, "first_byte: 100ms")).await;
    edge.get("/held").await.problem(504, "gateway-timeout");
    edge.wait_for_metric("sallyport_upstream_outcomes_total", &[("outcome", "timeout")], 1.0).await;
    edge.get("/other").await.expect(200);
}

#[tokio::test]
async fn an_origin_that_stops_in_the_middle_is_cut_off() {
    let feed = Feed::new();
    let origin = Origin::builder().on("/stream", Answer::stream(&feed)).start().await;
    let edge = EdgeUnderTest::start(&with_timeouts(&origin, "idle: 100ms")).await;
    feed.send("begin");
    let mut client = edge.client().await;
    client.send("GET /stream HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    assert!(client.try_response_to("GET").await.is_err(), "half a response passed for a whole one");
}

#[tokio::test]
async fn a_whole_response_has_a_limit_too() {
    let feed = Feed::new();
    let origin = Origin::builder().on("/drip", Answer::stream(&feed)).start().await;
    let edge = EdgeUnderTest::start(&with_timeouts(&origin, "whole: 300ms")).await;
    let mut client = edge.client().await;
    client.send("GET /drip HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    let dripping = tokio::spawn(async move {
        let mut pause = tokio::time::interval(std::time::Duration::from_millis(10));
        loop {
            pause.tick().await;
            feed.send("drip");
        }
    });
    assert!(client.try_response_to("GET").await.is_err());
    dripping.abort();
}

#[tokio::test]
async fn a_head_that_drips_is_408() {
    let origin = Origin::start().await;
    let listener = "listeners:\n  public: { address: \"127.0.0.1:0\", limits: { head_timeout: 200ms } }\n";
    let edge = EdgeUnderTest::start(&(listener.to_owned() + &crate::everything_to(origin.address()))).await;
    let mut client = edge.client().await;
    client.send("GET / HTTP/1.1\r\nHost: local").await;
    client.response().await.problem(408, "request-timeout");
    assert!(client.closed().await.is_empty());
    assert!(origin.requests().is_empty());
}

#[tokio::test]
async fn an_idle_connection_is_closed_without_a_word() {
    let origin = Origin::start().await;
    let listener = "listeners:\n  public: { address: \"127.0.0.1:0\", limits: { idle_timeout: 200ms } }\n";
    let edge = EdgeUnderTest::start(&(listener.to_owned() + &crate::everything_to(origin.address()))).await;
    let mut client = edge.client().await;
    client.get("/").send().await.expect(200);
    assert!(client.closed().await.is_empty());
}

#[tokio::test]
async fn a_handshake_that_never_ends_is_cut_off() {
    let certificates = sallyport_testkit::Certificates::new();
    let leaf = certificates.leaf(&["localhost"]);
    let origin = Origin::start().await;
    let listener = format!(
        "listeners:\n  public:\n    address: \"127.0.0.1:0\"\n    limits: {{ handshake_timeout: 200ms }}\n    tls: {{ certificates: [{{ cert: \"{}\", key: \"{}\" }}] }}\n",
        leaf.cert.display(),
        leaf.key.display()
    );
    let edge = EdgeUnderTest::start(&(listener + &crate::everything_to(origin.address()))).await;
    let mut client = edge.client().await;
    client.send([0x16, 0x03, 0x01]).await;
    client.closed().await;
}

#[tokio::test]
async fn a_client_that_leaves_lets_the_origin_go() {
    let feed = Feed::new();
    let origin = Origin::builder().on("/stream", Answer::stream(&feed)).start().await;
    let edge = EdgeUnderTest::start(&crate::everything_to(origin.address())).await;
    let mut client = edge.client().await;
    client.send("GET /stream HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    client.head().await;
    drop(client);
    sallyport_testkit::wait::until("the end of the exchange", || async {
        feed.send("x");
        (edge.metric("sallyport_requests_in_flight", &[]).await < 1.0).then_some(())
    })
    .await;
}
