//! Calls over HTTP/2, by prior knowledge.

use std::future::poll_fn;

use h2::Reason;
use http::Response;
use tokio::net::TcpListener;
use tokio::sync::mpsc;

use super::*;

/// What the service saw.
#[derive(Debug, PartialEq)]
enum Event {
    /// A connection.
    Connected,
    /// A request for this path and its body.
    Asked(String, Vec<u8>),
    /// The stream of one that hangs was reset.
    Reset(Reason),
}

/// `/hang` never answers; all else is answered with its own path.
async fn service() -> (Origin, mpsc::UnboundedReceiver<Event>) {
    let mut origin = Origin::new().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    origin.address = listener.local_addr().unwrap();
    let (events, seen) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let events = events.clone();
            events.send(Event::Connected).unwrap();
            tokio::spawn(async move {
                let mut connection = h2::server::handshake(stream).await.unwrap();
                while let Some(Ok((request, mut respond))) = connection.accept().await {
                    let events = events.clone();
                    tokio::spawn(async move {
                        let (head, mut body) = request.into_parts();
                        let path = head.uri.path().to_owned();
                        let mut bytes = Vec::new();
                        while let Some(Ok(chunk)) = body.data().await {
                            bytes.extend_from_slice(&chunk);
                        }
                        events.send(Event::Asked(path.clone(), bytes)).unwrap();
                        if path == "/hang" {
                            let reason = poll_fn(|context| respond.poll_reset(context)).await.unwrap();
                            events.send(Event::Reset(reason)).unwrap();
                            return;
                        }
                        let head =
                            Response::builder().header("content-type", "application/json").body(()).unwrap();
                        let mut send = respond.send_response(head, false).unwrap();
                        send.send_data(Bytes::from(format!("\"{path}\"")), true).unwrap();
                    });
                }
            });
        }
    });
    (origin, seen)
}

#[tokio::test]
async fn calls_go_over_http2() {
    let (origin, mut seen) = service().await;
    let setup = Setup::new(
        &origin,
        "    aggregate:\n      a: { call: GET two/a }\n      b: { call: POST two/b, body: { x: '{a.$}' } }\n",
    );
    let asked = |path: &str, body: &[u8]| Some(Event::Asked(path.to_owned(), body.to_vec()));
    for turn in 0..2 {
        let got = setup.ask().await;
        assert_eq!(got.text, r#"{"a":"/a","b":"/b"}"#);
        if turn == 0 {
            assert_eq!(seen.recv().await, Some(Event::Connected));
        }
        assert_eq!(seen.recv().await, asked("/a", b""));
        assert_eq!(seen.recv().await, asked("/b", br#"{"x":"/a"}"#));
    }
}

/// RFC 9113, section 8.7: CANCEL says that the answer is no longer wanted.
#[tokio::test]
async fn a_client_that_leaves_resets_the_stream_and_the_connection_lives_on() {
    let (origin, mut seen) = service().await;
    let setup = Setup::new(
        &origin,
        "    aggregate:\n      a: { call: GET two/hang, timeout: 1h }\n    answer: { timeout: 1h }\n",
    );
    let hangs = || Some(Event::Asked("/hang".to_owned(), Vec::new()));
    let answer = setup.spawn(asked());
    assert_eq!(seen.recv().await, Some(Event::Connected));
    assert_eq!(seen.recv().await, hangs());
    answer.abort();
    assert_eq!(seen.recv().await, Some(Event::Reset(Reason::CANCEL)));
    let again = setup.spawn(asked());
    assert_eq!(seen.recv().await, hangs(), "over the same connection");
    again.abort();
    assert_eq!(seen.recv().await, Some(Event::Reset(Reason::CANCEL)));
}
