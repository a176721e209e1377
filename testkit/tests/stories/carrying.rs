//! What goes wrong between the edge and an upstream while an exchange is under way: resets, early answers, pauses.
//! The upstreams here are bare sockets, because a well-behaved origin cannot do what these do.

use sallyport_testkit::{Answer, EdgeUnderTest, H2Origin, Origin, Signal};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// Reads to the end of a head and answers with it.
async fn head(stream: &mut TcpStream) -> String {
    let mut read = Vec::new();
    while !read.ends_with(b"\r\n\r\n") {
        read.push(stream.read_u8().await.unwrap());
    }
    String::from_utf8(read).unwrap()
}

/// Begins HTTP/2 and reads to the end of the first head: a frame of type 1.
async fn headers(stream: &mut TcpStream) {
    stream.read_exact(&mut [0; 24]).await.unwrap();
    stream.write_all(b"\0\0\0\x04\0\0\0\0\0").await.unwrap();
    loop {
        let mut frame = [0; 9];
        stream.read_exact(&mut frame).await.unwrap();
        let length = usize::from(frame[1]) << 8 | usize::from(frame[2]);
        stream.read_exact(&mut vec![0; length]).await.unwrap();
        if frame[3] == 1 {
            return;
        }
    }
}

async fn listener() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").await.unwrap()
}

/// RFC 9112, section 8: an answer that breaks off is not whole. Half of one answer and half of another would look so: a
/// connection that has served before is replaced only as long as the client has got nothing.
#[tokio::test]
async fn an_answer_that_breaks_off_on_a_used_connection_is_not_begun_again() {
    let listener = listener().await;
    let address = listener.local_addr().unwrap();
    let (begun, gone) = (Signal::new(), Signal::new());
    let (seen, closed) = (begun.clone(), gone.clone());
    let upstream = tokio::spawn(async move {
        let (mut first, _) = listener.accept().await.unwrap();
        head(&mut first).await;
        first.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await.unwrap();
        // Not the whole head: what is left unread makes the close a reset.
        first.read_u8().await.unwrap();
        first.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 20000\r\n\r\n").await.unwrap();
        first.write_all(&[b'a'; 10_000]).await.unwrap();
        seen.given().await;
        drop(first);
        closed.give();
        if let Ok((mut second, _)) = listener.accept().await {
            head(&mut second).await;
            second.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 20000\r\n\r\n").await.unwrap();
            second.write_all(&[b'b'; 20_000]).await.unwrap();
        }
    });
    let edge = EdgeUnderTest::start(&crate::everything_to(address)).await;
    let mut client = edge.client().await;
    client.get("/").send().await.expect(200);
    client.send("GET /large HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    client.head().await;
    let mut body = client.some_bytes().await;
    begun.give();
    gone.given().await;
    while body.len() < 20_000 {
        let more = client.some_bytes().await;
        if more.is_empty() {
            break;
        }
        body.extend_from_slice(&more);
    }
    assert!(body.len() < 20_000, "half an answer was made whole with another");
    assert!(!body.contains(&b'b'));
    upstream.abort();
}

/// RFC 9112, section 9.5: an upstream may answer without reading the request. Its answer counts, not that the rest of
/// the request cannot be sent; and what the client sends meanwhile belongs to that request, too.
#[tokio::test]
async fn an_answer_counts_though_the_request_cannot_be_sent() {
    const BODY: usize = 48 * 1024 * 1024;
    let listener = listener().await;
    let address = listener.local_addr().unwrap();
    let sent = Signal::new();
    let uploaded = sent.clone();
    let upstream = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        head(&mut stream).await;
        uploaded.given().await;
        stream.write_all(b"HTTP/1.1 413 No\r\nContent-Length: 2\r\n\r\nno").await.unwrap();
        stream
    });
    let yaml =
        crate::everything_to(address) + "    body_limit: 64MiB\n    timeouts: { idle: 200ms, whole: 0s }\n";
    let edge = EdgeUnderTest::start(&yaml).await;
    let mut client = edge.client().await;
    client.send(format!("POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: {BODY}\r\n\r\n")).await;
    client.send(vec![b'x'; BODY]).await;
    sent.give();
    client.response().await.expect(413);
    drop(upstream.await.unwrap());
}

/// RFC 9110, section 15.5.9. Whoever made the pause is at fault: the upstream waits like the edge, and must not be taken
/// for a bad one because of its clients.
#[tokio::test]
async fn a_client_that_pauses_in_its_body_is_408_and_the_upstream_is_not_blamed() {
    let origin = Origin::start().await;
    let yaml = crate::everything_to(origin.address()) + "    timeouts: { first_byte: 50ms, idle: 150ms }\n";
    let edge = EdgeUnderTest::start(&yaml).await;
    for _ in 0..3 {
        let mut client = edge.client().await;
        client.send("POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\nabc").await;
        client.response().await.problem(408, "request-timeout");
    }
    assert_eq!(edge.metric("sallyport_upstream_outcomes_total", &[("outcome", "timeout")]).await, 0.0);
}

/// RFC 9112, section 6.1: no chunks to HTTP/1.0; RFC 9110, section 15.2: no informational answer either.
#[tokio::test]
async fn http_1_0_gets_neither_chunks_nor_informational_answers() {
    let raw = "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n\
               5\r\nhello\r\n0\r\n\r\n";
    let until_close = "HTTP/1.1 200 OK\r\n\r\nhello";
    let origin = Origin::builder()
        .on("/chunked", Answer::raw_kept(raw))
        .on("/close", Answer::raw(until_close))
        .start()
        .await;
    let edge = EdgeUnderTest::start(&crate::everything_to(origin.address())).await;
    for target in ["/chunked", "/close"] {
        let mut client = edge.client().await;
        client
            .send(format!("GET {target} HTTP/1.0\r\nHost: localhost\r\nConnection: keep-alive\r\n\r\n"))
            .await;
        let bytes = client.closed().await;
        let text = String::from_utf8_lossy(&bytes);
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 200"), "{text}");
        assert!(!head.to_ascii_lowercase().contains("transfer-encoding"), "{text}");
        assert!(head.to_ascii_lowercase().contains("connection: close"), "{text}");
        assert_eq!(body, "hello");
    }
}

/// RFC 9112, section 2.3: the version is that of whoever sends; RFC 9112, section 6.1: chunks need HTTP/1.1.
#[tokio::test]
async fn an_answer_of_http_1_0_goes_on_as_http_1_1() {
    let chunked = "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n";
    let origin = Origin::builder().on("/", Answer::raw_kept(chunked)).start().await;
    let edge = EdgeUnderTest::start(&crate::everything_to(origin.address())).await;
    let mut client = edge.client().await;
    client.send("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    let head = client.head().await;
    assert!(head.start.starts_with("HTTP/1.1 200"), "{}", head.start);
}

/// RFC 9113, section 8.1: a stream that is reset has not ended, though all data so far has been read.
#[tokio::test]
async fn an_answer_over_http_2_that_is_reset_is_not_whole() {
    let listener = listener().await;
    let address = listener.local_addr().unwrap();
    let upstream = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        headers(&mut stream).await;
        // An acknowledgement, `:status: 200`, data, and a reset for an internal error, at once.
        let frames = b"\0\0\0\x04\x01\0\0\0\0\0\0\x01\x01\x04\0\0\0\x01\x88\0\0\x04\0\0\0\0\0\x01part\
                       \0\0\x04\x03\0\0\0\0\x01\0\0\0\x02";
        stream.write_all(frames).await.unwrap();
        stream
    });
    let yaml = crate::everything_to(address).replacen("targets:", "protocol: h2, targets:", 1);
    let edge = EdgeUnderTest::start(&yaml).await;
    let mut client = edge.client().await;
    client.send("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    let answer = client.try_response_to("GET").await;
    assert!(
        answer.is_err() || answer.unwrap().unwrap().status == 502,
        "half an answer passed for a whole one"
    );
    drop(upstream.await.unwrap());
}

/// RFC 9110, section 9.2.2: a request that may do something twice is not repeated, and no other either for ever, because
/// the answer breaks the rules of HTTP/2.
#[tokio::test]
async fn what_is_no_http_2_is_not_tried_again() {
    let listener = listener().await;
    let address = listener.local_addr().unwrap();
    let (count, mut counted) = tokio::sync::watch::channel(0);
    let upstream = tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            count.send_modify(|count| *count += 1);
            headers(&mut stream).await;
            // Data on no stream.
            stream.write_all(b"\0\0\0\0\0\0\0\0\0").await.unwrap();
            while stream.read(&mut [0; 64]).await.is_ok_and(|read| read > 0) {}
        }
    });
    let yaml = crate::everything_to(address).replacen("targets:", "protocol: h2, targets:", 1);
    let edge = EdgeUnderTest::start(&yaml).await;
    edge.client().await.request("POST", "/").body("once").send().await.problem(502, "bad-gateway");
    assert_eq!(*counted.borrow_and_update(), 1);
    upstream.abort();
}

/// A client that leaves ends its stream; the connection to the upstream serves the next client.
#[tokio::test]
async fn a_client_that_leaves_ends_its_stream_alone() {
    let signal = Signal::new();
    let origin =
        H2Origin::from_builder(Origin::builder().on("/held", Answer::status(200).held(&signal))).await;
    let yaml = crate::everything_to(origin.address()).replacen("targets:", "protocol: h2, targets:", 1);
    let edge = EdgeUnderTest::start(&yaml).await;
    let mut leaving = edge.client().await;
    leaving.send("GET /held HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    origin.wait_for(1).await;
    drop(leaving);
    edge.access_log(1).await;
    edge.get("/next").await.expect(200);
    assert_eq!(origin.connections(), 1);
    signal.give();
}
