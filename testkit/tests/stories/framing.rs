//! Raw bytes at the front door (RFC 9112): what has two readings is refused and the connection closed, and the origin
//! never sees a byte of it.

use sallyport_testkit::body::Body;
use sallyport_testkit::{Answer, Client, EdgeUnderTest, Feed, Origin};

async fn edge() -> (Origin, EdgeUnderTest) {
    let origin = Origin::start().await;
    let edge = EdgeUnderTest::start(&crate::everything_to(origin.address())).await;
    (origin, edge)
}

/// Sends each of these on a connection of its own and expects this status (or no answer at all), then the end of the
/// connection, and nothing at the origin.
async fn refused(cases: &[&str], status: u16) {
    let (origin, edge) = edge().await;
    for case in cases {
        let mut client = edge.client().await;
        client.send(case).await;
        // What follows must not be taken for a request either.
        client.send("GET /smuggled HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
        if let Ok(Some(response)) = client.try_response_to("GET").await {
            assert_eq!(response.status, status, "{case:?}: {}", response.text());
            assert_eq!(response.header("connection"), Some("close"), "{case:?}");
        }
        let after = client.closed().await;
        assert!(after.is_empty(), "{case:?}: a second answer {:?}", String::from_utf8_lossy(&after));
        let targets: Vec<_> = origin.requests().into_iter().map(|request| request.target).collect();
        assert!(targets.is_empty(), "{case:?} reached the origin: {targets:?}");
        assert!(origin.violations().is_empty(), "{case:?}: {:?}", origin.violations());
    }
}

// RFC 9112, section 6.1: a request with both is an attempt to smuggle.
#[tokio::test]
async fn content_length_beside_transfer_encoding() {
    refused(
        &[
            "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\ntransfer-encoding: CHUNKED\r\n\r\n0\r\n\r\n",
        ],
        400,
    )
    .await;
}

// RFC 9112, section 6.3: several lengths, or something that is none.
#[tokio::test]
async fn content_length_that_is_no_single_number() {
    refused(
        &[
            "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabc",
            "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\nabc",
            "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3, 3\r\n\r\nabc",
            "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: +3\r\n\r\nabc",
            "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: -3\r\n\r\nabc",
            "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0x3\r\n\r\nabc",
            "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3 3\r\n\r\nabc",
            "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length:\r\n\r\nabc",
            "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 18446744073709551617\r\n\r\nabc",
        ],
        400,
    )
    .await;
}

// RFC 9112, sections 6.1 and 7: only `chunked`, and only once.
#[tokio::test]
async fn transfer_encoding_that_is_not_just_chunked() {
    refused(
        &[
            "POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: identity\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked;q=1\r\n\r\n0\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding:\x0bchunked\r\n\r\n0\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
        ],
        400,
    )
    .await;
}

// RFC 9112, sections 2.2, 3, 5.1, 5.2.
#[tokio::test]
async fn heads_that_parsers_read_differently() {
    refused(
        &[
            "GET / HTTP/1.1\r\nHost: localhost\r\nA : b\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: localhost\r\nA: b\r\n folded\r\n\r\n",
            "GET / HTTP/1.1\r\n Host: localhost\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: localhost\r\nA: b\rc\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: localhost\r\nA: b\0c\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: localhost\r\nnocolon\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: localhost\r\n: b\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: localhost\r\nA(b): c\r\n\r\n",
            "GET  / HTTP/1.1\r\nHost: localhost\r\n\r\n",
            "GET / HTTP/1.1 \r\nHost: localhost\r\n\r\n",
            "GET /a b HTTP/1.1\r\nHost: localhost\r\n\r\n",
            "GET / HTTP/2.0\r\nHost: localhost\r\n\r\n",
            "GET / http/1.1\r\nHost: localhost\r\n\r\n",
            "GET /\r\n\r\n",
        ],
        400,
    )
    .await;
}

// RFC 9112, section 2.2 lets a recipient take a bare LF for a line end; the parser behind may not.
#[tokio::test]
async fn a_bare_line_feed_is_no_line_end() {
    refused(
        &[
            "GET / HTTP/1.1\nHost: localhost\n\n",
            "GET / HTTP/1.1\r\nHost: localhost\nA: b\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\n\r\n0\r\n\r\n",
        ],
        400,
    )
    .await;
}

// RFC 9112, section 3.2: one Host, and it is the authority.
#[tokio::test]
async fn host_is_there_once_and_agrees() {
    refused(
        &[
            "GET / HTTP/1.1\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a b\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a/b\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: user@a\r\n\r\n",
            "GET http://a/ HTTP/1.1\r\nHost: b\r\n\r\n",
        ],
        400,
    )
    .await;
}

// RFC 9112, section 7.1: each of these is read differently by lenient parsers.
#[tokio::test]
async fn chunks_that_parsers_read_differently() {
    let (origin, edge) = edge().await;
    let mut accepted = Vec::new();
    for chunks in [
        "0x3\r\nabc\r\n0\r\n\r\n",
        "+3\r\nabc\r\n0\r\n\r\n",
        "-1\r\nabc\r\n0\r\n\r\n",
        "g\r\nabc\r\n0\r\n\r\n",
        "\r\nabc\r\n0\r\n\r\n",
        "3\r\nabcd\r\n0\r\n\r\n",
        "3\nabc\n0\n\n",
        "10000000000000003\r\nabc\r\n0\r\n\r\n",
        "3\r\nabc0\r\n\r\n",
    ] {
        let mut client = edge.client().await;
        client.send("POST /x HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n").await;
        client.send(chunks).await;
        client.send("GET /smuggled HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
        let answer = client.try_response_to("POST").await;
        if matches!(&answer, Ok(Some(response)) if response.status != 400)
            || !client.closed().await.is_empty()
        {
            accepted.push(chunks);
        }
    }
    assert!(accepted.is_empty(), "these chunks passed: {accepted:?}");
    // The head may have gone ahead; what may not is a whole request, or another one.
    for request in origin.requests() {
        assert!(request.target == "/x" && !request.complete, "{request:?}");
    }
    assert!(origin.violations().is_empty(), "{:?}", origin.violations());
}

#[tokio::test]
async fn chunks_arrive_whole_and_their_extensions_do_not() {
    let (origin, edge) = edge().await;
    let mut client = edge.client().await;
    client.send("POST /x HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n").await;
    client.send_slowly("3;a=b\r\nabc\r\n02\r\nde\r\n0\r\n\r\n").await;
    let echo = client.response_to("POST").await.expect(200).json();
    assert_eq!(echo["body"], "abcde");
    let bytes = origin.bytes(0);
    assert!(!String::from_utf8_lossy(&bytes).contains("a=b"), "{:?}", String::from_utf8_lossy(&bytes));
    assert!(origin.violations().is_empty());
}

#[tokio::test]
async fn a_request_may_come_byte_by_byte() {
    let (origin, edge) = edge().await;
    let mut client = edge.client().await;
    client.send_slowly("PUT /slow?a=b HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\nhello").await;
    assert_eq!(client.response_to("PUT").await.expect(200).json()["body"], "hello");
    assert_eq!(origin.last().target, "/slow?a=b");
}

#[tokio::test]
async fn http_1_0_gets_an_answer_and_the_end_of_the_connection() {
    let (origin, edge) = edge().await;
    let mut client = edge.client().await;
    client.send("GET /old HTTP/1.0\r\nHost: localhost\r\n\r\n").await;
    let bytes = client.closed().await;
    let text = String::from_utf8_lossy(&bytes);
    assert!(text.starts_with("HTTP/1.1 200") || text.starts_with("HTTP/1.0 200"), "{text}");
    // Chunks mean nothing to it.
    assert!(!text.to_ascii_lowercase().contains("transfer-encoding"), "{text}");
    assert_eq!(origin.last().target, "/old");
}

#[tokio::test]
async fn connect_opens_no_tunnel() {
    let (origin, edge) = edge().await;
    let mut client = edge.client().await;
    client.send(format!("CONNECT {0} HTTP/1.1\r\nHost: {0}\r\n\r\n", origin.address())).await;
    let response = client.response().await;
    assert!((400..=501).contains(&response.status), "{}", response.status);
    assert!(origin.requests().is_empty() && origin.connections() == 0);
}

#[tokio::test]
async fn a_large_body_passes_unchanged_both_ways() {
    let size: u64 = 20_000_000;
    let origin = Origin::builder().on("/down", Answer::download(size)).start().await;
    let yaml = crate::everything_to(origin.address()) + "    body_limit: 100MiB\n";
    let edge = EdgeUnderTest::start(&yaml).await;
    assert_eq!(edge.get("/down").await.expect(200).body, Body::patterned(size));
    let mut body = Vec::new();
    sallyport_testkit::body::pattern(size, |piece| body.extend_from_slice(piece));
    let echo = edge.client().await.request("PUT", "/up").body(body).send().await.expect(200).json();
    assert_eq!(
        (echo["body_bytes"].as_u64(), echo["body_sha256"].as_str().unwrap()),
        (Some(size), Body::patterned(size).sha256.as_str())
    );
}

#[tokio::test]
async fn a_stream_is_not_held_back() {
    let feed = Feed::new();
    let origin = Origin::builder().on("/stream", Answer::stream(&feed)).start().await;
    let edge = EdgeUnderTest::start(&crate::everything_to(origin.address())).await;
    let mut client = edge.client().await;
    client.send("GET /stream HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    client.head().await;
    for word in ["one", "two", "three"] {
        feed.send(word);
        let bytes = client.some_bytes().await;
        assert_eq!(String::from_utf8_lossy(&bytes), format!("{:x}\r\n{word}\r\n", word.len()));
    }
    feed.finish();
    assert_eq!(client.some_bytes().await, b"0\r\n\r\n");
}

#[tokio::test]
async fn a_body_cut_short_by_the_client_is_not_completed_for_the_origin() {
    let (origin, edge) = edge().await;
    let mut client = edge.client().await;
    client
        .send("PUT /cut HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")
        .await;
    origin.wait_for(1).await;
    drop(client);
    origin.wait_until_idle().await;
    assert!(!origin.last().complete, "the origin was told that the body was whole");
    Client::plain(edge.address("public")).await.get("/").send().await.expect(200);
}
