//! Server-sent events through the edge: the same events for whoever cannot or will not open a WebSocket.

use sallyport_testkit::{Client, LiveEdge, Mode};
use serde_json::Value;

use super::identity::revoke;
use super::{note, number, section};

stories!(
    a_stream_goes_on_where_it_was,
    streams_are_refused_as_requests_are,
    a_stop_ends_streams,
    a_revoked_token_ends_its_stream,
);

/// A stream, read block by block.
struct Stream {
    client: Client,
    raw: Vec<u8>,
    text: String,
    /// The last chunk has come.
    whole: bool,
}

#[derive(Debug)]
struct Block {
    id: Option<String>,
    event: Option<String>,
    data: Value,
}

impl Stream {
    async fn open(live: &LiveEdge, query: &str, last: Option<&str>) -> Stream {
        Self::with_token(live, query, last, &live.token("ada")).await
    }

    async fn with_token(live: &LiveEdge, query: &str, last: Option<&str>, token: &str) -> Stream {
        let mut client = live.edge.client().await;
        let last = last.map(|id| format!("Last-Event-ID: {id}\r\n")).unwrap_or_default();
        client
            .send(format!(
                "GET /guarded?{query} HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n\
                 Authorization: Bearer {token}\r\n{last}\r\n"
            ))
            .await;
        let head = client.head().await;
        assert!(head.start.contains(" 200 "), "{head:?}");
        assert_eq!(head.value("content-type"), Some("text/event-stream"));
        Stream { client, raw: Vec::new(), text: String::new(), whole: false }
    }

    /// The next block that is no comment; `None` at the end, which is told.
    async fn next(&mut self) -> Option<Block> {
        loop {
            if let Some(end) = self.text.find("\n\n") {
                let block: String = self.text.drain(..end + 2).collect();
                if let Some(block) = parse(&block) {
                    return Some(block);
                }
                continue;
            }
            if self.whole {
                return None;
            }
            let bytes = self.client.some_bytes().await;
            assert!(!bytes.is_empty(), "the stream was cut off");
            self.raw.extend(bytes);
            self.take_chunks();
        }
    }

    /// The chunks that are whole (RFC 9112, section 7.1).
    fn take_chunks(&mut self) {
        while let Some(line) = self.raw.windows(2).position(|pair| pair == b"\r\n") {
            let size = usize::from_str_radix(std::str::from_utf8(&self.raw[..line]).unwrap(), 16).unwrap();
            if self.raw.len() < line + size + 4 {
                return;
            }
            self.text.push_str(std::str::from_utf8(&self.raw[line + 2..line + 2 + size]).unwrap());
            self.raw.drain(..line + size + 4);
            self.whole |= size == 0;
        }
    }

    async fn named(&mut self, event: &str) -> Block {
        let block = self.next().await.unwrap();
        assert_eq!(block.event.as_deref(), Some(event), "{block:?}");
        block
    }

    async fn publication(&mut self) -> (Value, Option<String>) {
        let block = self.next().await.unwrap();
        assert!(block.event.is_none() && block.data["channel"] == "note:a", "{block:?}");
        (block.data["pub"].clone(), block.id)
    }
}

fn parse(text: &str) -> Option<Block> {
    let field = |name: &str| {
        let mut values = text.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
        values.next().map(str::to_owned)
    };
    let data = serde_json::from_str(&field("data")?).unwrap();
    Some(Block { id: field("id"), event: field("event"), data })
}

/// A stream on which everything that there is has been told.
async fn ready(live: &LiveEdge) -> Stream {
    loop {
        let mut stream = Stream::open(live, "channel=note:a", None).await;
        let block = stream.next().await.unwrap();
        // Kafka has not been read yet.
        if block.event.as_deref() == Some("error") {
            assert_eq!(block.data["code"], 100);
            continue;
        }
        assert_eq!(block.event.as_deref(), Some("subscribed"), "{block:?}");
        assert!(block.id.is_some());
        stream.named("ready").await;
        return stream;
    }
}

async fn a_stream_goes_on_where_it_was(mode: Mode) {
    let live = LiveEdge::start(mode, &["notes"], &section("", "")).await;
    let mut stream = ready(&live).await;
    live.produce("notes", "k", &note("a", 1)).await;
    let (first, id) = stream.publication().await;
    assert_eq!(number(&first), 1);
    drop(stream);
    live.produce("notes", "k", &note("a", 2)).await;
    live.produce("notes", "k", &note("b", 3)).await;
    live.produce("notes", "k", &note("a", 4)).await;
    // A witness has the last, so the bridge has them all.
    let mut witness = ready(&live).await;
    live.produce("notes", "k", &note("a", 5)).await;
    while number(&witness.publication().await.0) != 5 {}

    let mut stream = Stream::open(&live, "channel=note:a", id.as_deref()).await;
    let subscribed = stream.named("subscribed").await;
    assert_eq!((&subscribed.data["recovered"], &subscribed.id), (&Value::Bool(true), &None));
    for expected in [2, 4, 5] {
        assert_eq!(number(&stream.publication().await.0), expected);
    }
    assert!(stream.named("ready").await.id.is_some());
    live.produce("notes", "k", &note("a", 6)).await;
    assert_eq!(number(&stream.publication().await.0), 6);
}

async fn streams_are_refused_as_requests_are(mode: Mode) {
    let live = LiveEdge::start(mode, &["notes"], &section("", "")).await;
    ready(&live).await;
    let rows = [
        ("/live?channel=note:a", "", 401, "unauthorized"),
        ("/guarded?channel=nothing:a", "ada", 404, "not-found"),
        ("/guarded?channel=own:bob", "ada", 403, "forbidden"),
        ("/guarded", "ada", 400, "bad-request"),
    ];
    for (target, user, status, problem) in rows {
        let mut client = live.edge.client().await;
        let mut draft = client.get(target).header("Accept", "text/event-stream");
        if !user.is_empty() {
            draft = draft.header("Authorization", format!("Bearer {}", live.token(user)));
        }
        draft.send().await.problem(status, problem);
    }
}

async fn a_stop_ends_streams(mode: Mode) {
    let live = LiveEdge::start(mode, &["notes"], &section("", "")).await;
    let mut stream = ready(&live).await;
    let stop = tokio::spawn(live.stop_bridge());
    assert!(stream.next().await.is_none());
    stop.await.unwrap();
}

async fn a_revoked_token_ends_its_stream(mode: Mode) {
    let live = LiveEdge::start(mode, &["notes"], &section("  connection: { ping: 1s }", "")).await;
    ready(&live).await;
    let token = live.tokens.token().claim("jti", "t1").sign();
    let mut stream = Stream::with_token(&live, "channel=note:a", None, &token).await;
    stream.named("subscribed").await;
    stream.named("ready").await;
    revoke(&live).await;
    assert!(stream.next().await.is_none());
}
