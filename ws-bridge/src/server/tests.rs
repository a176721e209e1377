//! The server over real sockets: raw requests of an edge on one side, a service of three channels on the other.

use std::future::poll_fn;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use fastwebsockets::{Frame, Payload, Role, WebSocket};
use futures::stream;
use http::StatusCode;
use sallyport_sidecar::{Operations, Refusal, bind};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::*;
use crate::hello::Hello;
use crate::websocket::{Incoming, Limits, Outbox, Reader, text_frame};

/// Nothing here takes longer unless it hangs.
const PATIENCE: Duration = Duration::from_secs(20);

/// Echoes over WebSocket; of events it tells what was asked for, and then keeps quiet until `end` is gone.
struct Echo {
    ready: bool,
    end: watch::Receiver<()>,
    dropped: mpsc::UnboundedSender<()>,
}

impl Service for Echo {
    fn websocket(&self, hello: Hello) -> Result<Carry, Refusal> {
        if hello.client.is_ipv6() {
            return Err(Refusal::new(StatusCode::TOO_MANY_REQUESTS, "too-many-requests", "one too many"));
        }
        Ok(Box::new(move |stream, early| {
            tokio::spawn(echo(stream, early, hello));
        }))
    }

    fn events(&self, request: EventsRequest) -> Result<EventStream, Refusal> {
        if request.channels.iter().any(|channel| channel == "full") {
            return Err(Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", "no place is left"));
        }
        let claims = request.hello.claims.as_deref().cloned();
        let told = json!([request.channels, request.last_event_id, claims]).to_string();
        let first = event_block(Some("e:1"), None, told.as_bytes());
        let (mut end, dropped) = (self.end.clone(), DropTells(self.dropped.clone()));
        let mut first = Some(first);
        let mut quiet = Box::pin(async move {
            let _dropped = dropped;
            while end.changed().await.is_ok() {}
        });
        Ok(Box::pin(stream::poll_fn(move |cx| match first.take() {
            Some(first) => std::task::Poll::Ready(Some(first)),
            None => quiet.as_mut().poll(cx).map(|()| None),
        })))
    }
}

impl Operations for Echo {
    fn healthy(&self) -> (bool, Value) {
        (true, json!({"status": "ok"}))
    }

    fn ready(&self) -> (bool, Value) {
        (self.ready, json!({"partitions": 0}))
    }

    fn metrics(&self) -> String {
        "connections 1\n".to_owned()
    }
}

struct DropTells(mpsc::UnboundedSender<()>);

impl Drop for DropTells {
    fn drop(&mut self) {
        let _ = self.0.send(());
    }
}

async fn echo(mut stream: UnixStream, early: Bytes, hello: Hello) {
    let (mut reader, mut outbox) = (Reader::new(&early), Outbox::<()>::new(1 << 20));
    let limits = Limits { message_bytes: 1 << 16 };
    let _ = poll_fn(|cx| {
        let read = reader.poll_read(cx, &mut stream, &limits, &mut |incoming| {
            if let Incoming::Text(text) = incoming {
                let id = hello.request_id.as_bytes();
                outbox.push(text_frame(&[id, b" ", text.as_bytes()]), ()).unwrap();
            }
            ControlFlow::Continue(())
        });
        let _ = outbox.poll_write(cx, &mut stream).map(Result::unwrap);
        read
    })
    .await;
}

struct Bridge {
    path: PathBuf,
    stop: watch::Sender<bool>,
    end: Option<watch::Sender<()>>,
    dropped: mpsc::UnboundedReceiver<()>,
    served: JoinHandle<()>,
    _directory: tempfile::TempDir,
}

async fn bridge(ready: bool) -> Bridge {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("bridge.sock");
    let listener = bind(&path).await.unwrap();
    let (stop, stopped) = watch::channel(false);
    let (end, ended) = watch::channel(());
    let (told, dropped) = mpsc::unbounded_channel();
    let service = Arc::new(Echo { ready, end: ended, dropped: told });
    let served = tokio::spawn(serve(listener, service, stopped));
    Bridge { path, stop, end: Some(end), dropped, served, _directory: directory }
}

impl Bridge {
    /// Sends a head whose lines are those of `head`, and whatever `behind` is.
    async fn send(&self, head: &str, behind: &[u8]) -> UnixStream {
        let mut stream = UnixStream::connect(&self.path).await.unwrap();
        let head = head.lines().map(str::trim).collect::<Vec<_>>().join("\r\n") + "\r\n\r\n";
        stream.write_all(&[head.as_bytes(), behind].concat()).await.unwrap();
        stream
    }

    /// The status line and header lines, in small letters, and the body of an answer that ends with its connection.
    async fn ask(&self, head: &str) -> (String, String) {
        let mut stream = self.send(&format!("{head}\nConnection: close"), b"").await;
        let mut answer = String::new();
        timeout(PATIENCE, stream.read_to_string(&mut answer)).await.expect("an end").unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
        (head.to_ascii_lowercase(), body.to_owned())
    }
}

/// Reads up to and with `end`.
async fn read_to(stream: &mut UnixStream, end: &str) -> String {
    let mut text = Vec::new();
    while !text.ends_with(end.as_bytes()) {
        let byte = timeout(PATIENCE, stream.read_u8()).await.expect("more in time").expect("more");
        text.push(byte);
    }
    String::from_utf8(text).unwrap()
}

const HANDSHAKE: &str = "GET /any/path HTTP/1.1
    Host: edge.example
    Sallyport-Client: 192.0.2.7
    X-Request-Id: id-1
    Upgrade: websocket
    Connection: keep-alive, Upgrade
    Sec-WebSocket-Version: 13
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==";

#[tokio::test]
async fn operators_ask_without_the_edge() {
    let bridge = bridge(false).await;
    let (head, body) = bridge.ask("GET /healthz HTTP/1.1\nHost: x").await;
    assert!(head.starts_with("http/1.1 200 ") && head.contains("content-type: application/json"), "{head}");
    assert_eq!(body, r#"{"status":"ok"}"#);
    let (head, body) = bridge.ask("GET /readyz HTTP/1.1\nHost: x").await;
    assert!(head.starts_with("http/1.1 503 "), "{head}");
    assert_eq!(body, r#"{"partitions":0}"#);
    let (head, body) = bridge.ask("GET /metrics HTTP/1.1\nHost: x").await;
    assert!(head.contains("content-type: text/plain; version=0.0.4"), "{head}");
    assert_eq!(body, "connections 1\n");
    let (head, body) = bridge.ask("HEAD /healthz HTTP/1.1\nHost: x").await;
    assert!(head.starts_with("http/1.1 200 ") && body.is_empty(), "{head}");
    let (head, _) = bridge.ask("POST /metrics HTTP/1.1\nHost: x").await;
    assert!(head.starts_with("http/1.1 405 ") && head.contains("allow: get, head"), "{head}");
    let (head, body) = bridge.ask("GET /other HTTP/1.1\nHost: x").await;
    assert!(head.starts_with("http/1.1 404 ") && body.contains("Sallyport-Client"), "{head}");
}

/// What comes through the edge never reaches the operators' paths.
#[tokio::test]
async fn clients_do_not_reach_operators_paths() {
    let bridge = bridge(true).await;
    for path in ["/healthz", "/readyz", "/metrics"] {
        let json =
            format!("GET {path} HTTP/1.1\nHost: x\nSallyport-Client: 192.0.2.7\nAccept: application/json");
        let (head, body) = bridge.ask(&json).await;
        assert!(head.starts_with("http/1.1 406 "), "{head}");
        assert!(body.contains("urn:sallyport:problem:not-acceptable"), "{body}");
    }
}

/// RFC 6455, section 1.3, has the key and its hash. A client may send before it has the answer.
#[tokio::test]
async fn a_handshake_becomes_a_connection() {
    let mut bridge = bridge(true).await;
    let mut frame = Vec::new();
    let mut early = Frame::text(Payload::Borrowed(b"early"));
    early.mask();
    let length = early.write(&mut frame).len();
    let handshake = format!("{HANDSHAKE}\nSec-WebSocket-Protocol: centrifuge-protobuf, centrifuge-json");
    let mut stream = bridge.send(&handshake, &frame[..length]).await;
    let head = read_to(&mut stream, "\r\n\r\n").await.to_ascii_lowercase();
    assert!(head.starts_with("http/1.1 101 "), "{head}");
    for field in [
        "upgrade: websocket",
        "connection: upgrade",
        "sec-websocket-accept: s3pplmbitxaq9kygzzhzrbk+xoo=",
        "sec-websocket-protocol: centrifuge-json",
    ] {
        assert!(head.contains(&format!("{field}\r\n")), "{field} in {head}");
    }
    let mut client = WebSocket::after_handshake(stream, Role::Client);
    assert_eq!(client.read_frame().await.unwrap().payload[..], *b"id-1 early");
    // A stop is not the end of what is open already.
    bridge.stop.send(true).unwrap();
    timeout(PATIENCE, &mut bridge.served).await.expect("the server ends").unwrap();
    client.write_frame(Frame::text(Payload::Borrowed(b"late"))).await.unwrap();
    assert_eq!(client.read_frame().await.unwrap().payload[..], *b"id-1 late");
}

#[tokio::test]
async fn a_client_that_names_no_subprotocol_gets_none() {
    let bridge = bridge(true).await;
    let mut stream = bridge.send(HANDSHAKE, b"").await;
    let head = read_to(&mut stream, "\r\n\r\n").await.to_ascii_lowercase();
    assert!(head.starts_with("http/1.1 101 ") && !head.contains("sec-websocket-protocol"), "{head}");
}

/// RFC 6455, sections 4.2.1 and 4.4.
#[tokio::test]
async fn wrong_handshakes_are_refused() {
    let bridge = bridge(true).await;
    let rows = [
        ("GET /any/path HTTP/1.1", "POST /any/path HTTP/1.1", 405),
        ("GET /any/path HTTP/1.1", "GET /any/path HTTP/1.0", 400),
        ("Host: edge.example", "X-Host: edge.example", 400),
        ("Host: edge.example", "Host: edge.example\nContent-Length: 1", 400),
        ("Host: edge.example", "Host: edge.example\nTransfer-Encoding: chunked", 400),
        ("Connection: keep-alive, Upgrade", "Connection: keep-alive", 400),
        ("Connection: keep-alive, Upgrade", "X-Connection: upgrade", 400),
        ("Upgrade: websocket", "Upgrade: h2c\nAccept: text/html", 406),
        ("Version: 13", "Version: 8", 426),
        ("Version: 13", "Version: 13, 8", 426),
        ("Version: 13", "Version: 13\nSec-WebSocket-Version: 13", 426),
        ("Sec-WebSocket-Version: 13", "X-Nothing: 1", 426),
        ("Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", "X-Nothing: 1", 400),
        ("dGhlIHNhbXBsZSBub25jZQ==", "dGhlIHNhbXBsZSBub25jZQ", 400),
        ("dGhlIHNhbXBsZSBub25jZQ==", "c2hvcnQ=", 400),
        ("dGhlIHNhbXBsZSBub25jZQ==", "a key", 400),
        ("Version: 13", "Version: 13\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", 400),
        ("Version: 13", "Version: 13\nSec-WebSocket-Protocol: centrifuge-protobuf", 400),
        ("Version: 13", "Version: 13\nSec-WebSocket-Protocol: Centrifuge-JSON", 400),
        ("192.0.2.7", "2001:db8::7", 429),
        ("192.0.2.7", "nobody", 400),
    ];
    for (right, wrong, status) in rows {
        assert!(HANDSHAKE.contains(right), "{right}");
        let mut stream = bridge.send(&HANDSHAKE.replace(right, wrong), b"").await;
        let head = read_to(&mut stream, "\r\n\r\n").await.to_ascii_lowercase();
        assert!(head.split(' ').nth(1) == Some(&status.to_string()), "{wrong}: {head}");
        assert!(head.contains("content-type: application/problem+json"), "{wrong}: {head}");
        assert_eq!(head.contains("sec-websocket-version: 13"), status == 426, "{wrong}: {head}");
        assert_eq!(head.contains("allow: get"), status == 405, "{wrong}: {head}");
        let body = read_to(&mut stream, "}").await;
        assert!(body.contains("urn:sallyport:request:id-1"), "{body}");
    }
}

#[tokio::test]
async fn events_are_streamed_until_the_service_ends_them() {
    let mut bridge = bridge(true).await;
    let ask = "GET /events?channel=a&channels=b,c HTTP/1.1
        Host: x
        Sallyport-Client: 2001:db8::7
        Sallyport-Claims: eyJzdWIiOiJhbm4ifQ
        Accept: text/event-stream
        Last-Event-ID: e:0";
    let mut stream = bridge.send(ask, b"").await;
    let head = read_to(&mut stream, "\r\n\r\n").await.to_ascii_lowercase();
    assert!(head.starts_with("http/1.1 200 "), "{head}");
    for field in ["content-type: text/event-stream", "cache-control: no-store", "x-accel-buffering: no"] {
        assert!(head.contains(&format!("{field}\r\n")), "{field} in {head}");
    }
    let body = read_to(&mut stream, "}]\n\n").await;
    assert!(body.contains("retry: 2000\n\n"), "{body}");
    assert!(body.contains("id: e:1\ndata: [[\"a\",\"b\",\"c\"],\"e:0\",{\"sub\":\"ann\"}]\n\n"), "{body}");
    // A stop waits for the service to end its streams.
    bridge.stop.send(true).unwrap();
    assert!(!bridge.served.is_finished());
    drop(bridge.end.take());
    let rest = read_to(&mut stream, "0\r\n\r\n").await;
    assert!(!rest.contains("data"), "{rest}");
    timeout(PATIENCE, &mut bridge.served).await.expect("the server ends").unwrap();
}

#[tokio::test]
async fn a_client_that_goes_ends_its_events() {
    let mut bridge = bridge(true).await;
    let ask = "GET /events?channel=a HTTP/1.1\nHost: x\nSallyport-Client: ::1";
    let mut stream = bridge.send(ask, b"").await;
    read_to(&mut stream, "null]\n\n").await;
    drop(stream);
    timeout(PATIENCE, bridge.dropped.recv()).await.expect("the stream is dropped").unwrap();
}

#[tokio::test]
async fn events_are_refused_with_a_problem() {
    let bridge = bridge(true).await;
    let client = "Host: x\nSallyport-Client: ::1\nX-Request-Id: id-2";
    let rows = [
        ("GET /?channel=full HTTP/1.1", "503", "no place is left"),
        ("GET /?channel= HTTP/1.1", "400", "without a name"),
        ("POST /?channel=a HTTP/1.1", "405", "only GET"),
        ("HEAD /?channel=a HTTP/1.1", "405", ""),
    ];
    for (line, status, detail) in rows {
        let (head, body) = bridge.ask(&format!("{line}\n{client}")).await;
        assert!(head.starts_with(&format!("http/1.1 {status} ")), "{line}: {head}");
        assert!(body.contains(detail), "{line}: {body}");
        if !detail.is_empty() {
            let problem: Value = serde_json::from_str(&body).unwrap();
            assert_eq!(problem["instance"], "urn:sallyport:request:id-2");
            assert_eq!(problem["status"].to_string(), status);
        }
    }
}

#[tokio::test]
async fn heads_are_limited() {
    let bridge = bridge(true).await;
    let (head, _) = bridge.ask(&format!("GET / HTTP/1.1\nHost: x\nX-Long: {}", "x".repeat(60_000))).await;
    assert!(head.starts_with("http/1.1 404 "), "{head}");
    let field = format!("X-Long: {}", "x".repeat(70_000));
    let mut stream = UnixStream::connect(&bridge.path).await.unwrap();
    let (mut reading, mut writing) = stream.split();
    let head = format!("GET / HTTP/1.1\r\nHost: x\r\n{field}\r\n\r\n");
    let mut answer = Vec::new();
    // The answer may come before all was written, and then the rest cannot be.
    let (_, _) = tokio::join!(writing.write_all(head.as_bytes()), reading.read_to_end(&mut answer));
    assert!(answer.starts_with(b"HTTP/1.1 431 "), "{}", String::from_utf8_lossy(&answer));
}

/// An idle connection of the edge's pool does not hold a stop up.
#[tokio::test]
async fn a_stop_ends_idle_connections() {
    let mut bridge = bridge(true).await;
    let mut stream = bridge.send("GET /healthz HTTP/1.1\nHost: x", b"").await;
    read_to(&mut stream, "}").await;
    bridge.stop.send(true).unwrap();
    timeout(PATIENCE, &mut bridge.served).await.expect("the server ends").unwrap();
    assert_eq!(stream.read(&mut [0; 1]).await.unwrap(), 0);
    assert!(UnixStream::connect(&bridge.path).await.is_err());
}
