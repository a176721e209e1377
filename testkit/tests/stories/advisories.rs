//! The advisories of Pingora, each as a story that must never come true again, whatever version we stand on.

use sallyport_testkit::{Answer, EdgeUnderTest, Origin, Signal};

use crate::h2_frames::{
    CONTINUATION, END_HEADERS, END_STREAM, GOAWAY, HEADERS, WINDOW_UPDATE, comes, frame, literal, preface,
    request_block,
};

const H2C: &str = "listeners:\n  public: { address: \"127.0.0.1:0\", h2c: true }\n";

// CVE-2025-4366: an answer that did not come from the origin left the request's body unread, and the body was taken for
// the next request.
#[tokio::test]
async fn cve_2025_4366_an_unread_body_is_not_the_next_request() {
    let origin = Origin::start().await;
    let edge = EdgeUnderTest::start(
        &(r#"
chains:
  nobody:
    - ip_allow: { allow: ["203.0.113.1"] }
"#
        .to_owned()
            + &crate::everything_to(origin.address())
            + r#"
  - match: /fixed
    public: true
    respond: { body: "hi" }
  - match: /refused
    public: true
    chains: [nobody]
    upstream: origin
"#),
    )
    .await;
    let smuggled = "GET /smuggled HTTP/1.1\r\nHost: localhost\r\n\r\n";
    for (path, status) in [("/fixed", 200), ("/refused", 403)] {
        for framing in
            [format!("Content-Length: {}", smuggled.len()), "Transfer-Encoding: chunked".to_owned()]
        {
            let body = match framing.starts_with('C') {
                true => smuggled.to_owned(),
                false => format!("{:x}\r\n{smuggled}\r\n0\r\n\r\n", smuggled.len()),
            };
            let mut client = edge.client().await;
            client.send(format!("POST {path} HTTP/1.1\r\nHost: localhost\r\n{framing}\r\n\r\n")).await;
            client.send(&body).await;
            client.finish_sending().await;
            client.response_to("POST").await.expect(status);
            let after = client.closed().await;
            assert!(after.is_empty(), "{path} {framing}: {:?}", String::from_utf8_lossy(&after));
        }
    }
    assert!(origin.requests().is_empty(), "{:?}", origin.requests());
}

// CVE-2025-8671 (MadeYouReset): frames that make the server reset its own streams free the client from the limit of
// streams, while the work goes on. The connection has to end.
#[tokio::test]
async fn cve_2025_8671_a_client_cannot_make_us_reset_streams_for_ever() {
    let signal = Signal::new();
    let origin = Origin::builder().on("/held", Answer::status(200).held(&signal)).start().await;
    let edge = EdgeUnderTest::start(&(H2C.to_owned() + &crate::everything_to(origin.address()))).await;
    let mut client = edge.client().await;
    client.send(preface()).await;
    for number in 0..5_000_u32 {
        let stream = number * 2 + 1;
        let mut bytes = frame(HEADERS, END_HEADERS | END_STREAM, stream, &request_block("GET", "/held"));
        // An increment of 0 is a stream error (RFC 9113, section 6.9).
        bytes.extend(frame(WINDOW_UPDATE, 0, stream, &0_u32.to_be_bytes()));
        client.send(bytes).await;
    }
    assert!(comes(&mut client, GOAWAY).await || client.closed().await.is_empty());
    signal.give();
    edge.h2_client().await.get("/other").send().await.expect(200);
}

// CVE-2026-2833: bytes behind an Upgrade request went to the origin before it had agreed to switch.
#[tokio::test]
async fn cve_2026_2833_nothing_follows_an_upgrade_that_was_not_agreed_to() {
    let origin = Origin::start().await;
    let yaml = format!(
        r#"
upstreams:
  origin: {{ targets: ["{}"] }}
routes:
  - {{ match: "/open", public: true, upstream: origin }}
"#,
        origin.address()
    );
    let edge = EdgeUnderTest::start(&yaml).await;
    for upgrade in ["websocket", "h2c", "foo"] {
        let mut client = edge.client().await;
        client
            .send(format!(
                "GET /open HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: {upgrade}\r\n\
                 Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n\
                 GET /secret HTTP/1.1\r\nHost: localhost\r\n\r\n"
            ))
            .await;
        client.finish_sending().await;
        client.closed().await;
    }
    let targets: Vec<_> = origin.requests().into_iter().map(|request| request.target).collect();
    assert!(targets.iter().all(|target| target == "/open"), "{targets:?}");
    for connection in 0..origin.connections() {
        let bytes = origin.bytes(connection);
        assert!(
            !String::from_utf8_lossy(&bytes).contains("/secret"),
            "bytes behind the head reached the origin"
        );
    }
    assert!(origin.violations().is_empty(), "{:?}", origin.violations());
}

// CVE-2026-2835: HTTP/1.0 with Transfer-Encoding was read as a body until the end of the connection by one side and as
// chunks by the other (RFC 9112, section 6.1).
#[tokio::test]
async fn cve_2026_2835_http_1_0_has_no_transfer_encoding() {
    let origin = Origin::start().await;
    let edge = EdgeUnderTest::start(&crate::everything_to(origin.address())).await;
    for connection in ["", "Connection: keep-alive\r\n"] {
        let mut client = edge.client().await;
        client
            .send(format!(
                "POST / HTTP/1.0\r\nHost: localhost\r\n{connection}Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n\
                 GET /smuggled HTTP/1.1\r\nHost: localhost\r\n\r\n"
            ))
            .await;
        client.response_to("POST").await.problem(400, "bad-request");
        assert!(client.closed().await.is_empty());
    }
    assert!(origin.requests().is_empty() && origin.violations().is_empty());
}

// CVE-2026-2836: the default cache key left out the host, so that one host's answer was another's. Nothing is cached
// here; the story sees to it that it stays so.
#[tokio::test]
async fn cve_2026_2836_hosts_do_not_share_answers() {
    let first =
        Origin::builder().on("/x", Answer::fixed(200, "first").header("Cache-Control", "public, max-age=60"));
    let second = Origin::builder()
        .on("/x", Answer::fixed(200, "second").header("Cache-Control", "public, max-age=60"));
    let (first, second) = (first.start().await, second.start().await);
    let edge = EdgeUnderTest::start(&format!(
        r#"
upstreams:
  first: {{ targets: ["{}"] }}
  second: {{ targets: ["{}"] }}
routes:
  - {{ match: "a.test/x", public: true, upstream: first }}
  - {{ match: "b.test/x", public: true, upstream: second }}
"#,
        first.address(),
        second.address()
    ))
    .await;
    let mut client = edge.client().await;
    for _ in 0..3 {
        for (host, text) in [("a.test", "first"), ("b.test", "second")] {
            assert_eq!(client.get("/x").host(host).send().await.expect(200).text(), text, "{host}");
        }
    }
    assert_eq!((first.requests().len(), second.requests().len()), (3, 3));
}

// CVE-2026-105297: HTTP/2 header lists without a limit. A list of more than 64 KiB is refused, and the connection of a
// client that never ends its header block ends.
#[tokio::test]
async fn cve_2026_105297_header_lists_have_a_limit() {
    let origin = Origin::start().await;
    let edge = EdgeUnderTest::start(&(H2C.to_owned() + &crate::everything_to(origin.address()))).await;
    let client = edge.h2_client().await;
    let large = "x".repeat(8 * 1024);
    let draft = (0..12).fold(client.get("/large"), |draft, i| draft.header(&format!("x-{i}"), &large));
    if let Ok(response) = draft.try_send().await {
        assert_eq!(response.status, 431);
    }

    let mut endless = edge.client().await;
    endless.send(preface()).await;
    endless.send(frame(HEADERS, END_STREAM, 1, &request_block("GET", "/endless"))).await;
    let more: Vec<u8> = (0..15).flat_map(|i| literal(&format!("x-{i}"), &"y".repeat(1000))).collect();
    for _ in 0..1_000 {
        endless.send(frame(CONTINUATION, 0, 1, &more)).await;
    }
    assert!(comes(&mut endless, GOAWAY).await || endless.closed().await.is_empty());
    assert!(origin.requests().is_empty());
    edge.h2_client().await.get("/after").send().await.expect(200);
}
