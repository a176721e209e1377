//! Server-sent events (WHATWG HTML, section 9.2): blocks of lines, and a body that says from time to time that it lives.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, header};
use hyper::Response;
use hyper::body::Frame;
use memchr::memchr2;
use tokio::time::{Instant, Sleep};

use super::EventStream;
use super::answer::Body;

/// How long a client waits before it comes back, in milliseconds.
const RETRY: &[u8] = b"retry: 2000\n\n";
/// A comment: proxies on the way see that the connection lives, and a client that is gone is noticed.
const PING: &[u8] = b": ping\n\n";
/// Bounds of the time between two pings. Each connection has its own, so that they do not come together.
const PING_MIN: Duration = Duration::from_secs(15);
const PING_MAX: Duration = Duration::from_secs(25);

/// An event: `id`, `event` and `data` fields and the empty line behind them. `data` may have lines of any kind; `id` and
/// `name` end at their first line break, because more would be fields of its own.
pub fn event_block(id: Option<&str>, name: Option<&str>, data: &[u8]) -> Bytes {
    let mut block = Vec::with_capacity(data.len() + 64);
    // A zero byte in an id makes clients ignore it.
    for (field, value) in [("id: ", id), ("event: ", name)] {
        if let Some(value) = value {
            let value = value.split(['\r', '\n', '\0']).next().unwrap_or_default();
            block.extend_from_slice(field.as_bytes());
            block.extend_from_slice(value.as_bytes());
            block.push(b'\n');
        }
    }
    let mut rest = data;
    loop {
        block.extend_from_slice(b"data: ");
        let Some(end) = memchr2(b'\r', b'\n', rest) else {
            block.extend_from_slice(rest);
            break;
        };
        block.extend_from_slice(&rest[..end]);
        block.push(b'\n');
        let ended_by = if rest[end..].starts_with(b"\r\n") { 2 } else { 1 };
        rest = &rest[end + ended_by..];
    }
    block.extend_from_slice(b"\n\n");
    Bytes::from(block)
}

/// 200, with the blocks of `stream` as they come.
pub(super) fn response(stream: EventStream) -> Response<Body> {
    let mut response = Response::new(Body::Events(EventsBody::new(stream)));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    // Some proxies on the way would wait for more otherwise.
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    response
}

/// A body that ends when its stream does.
pub(super) struct EventsBody {
    stream: EventStream,
    begun: bool,
    every: Duration,
    ping: Pin<Box<Sleep>>,
}

impl EventsBody {
    fn new(stream: EventStream) -> Self {
        let every =
            Duration::from_millis(fastrand::u64(PING_MIN.as_millis() as u64..=PING_MAX.as_millis() as u64));
        EventsBody { stream, begun: false, every, ping: Box::pin(tokio::time::sleep(every)) }
    }

    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let frame = |bytes| Poll::Ready(Some(Ok(Frame::data(bytes))));
        if !self.begun {
            // Sent at once, so that the client learns that it is connected.
            self.begun = true;
            return frame(Bytes::from_static(RETRY));
        }
        match self.stream.as_mut().poll_next(cx) {
            Poll::Ready(Some(block)) => return frame(block),
            Poll::Ready(None) => return Poll::Ready(None),
            Poll::Pending => {}
        }
        if self.ping.as_mut().poll(cx).is_pending() {
            return Poll::Pending;
        }
        self.ping.as_mut().reset(Instant::now() + self.every);
        frame(Bytes::from_static(PING))
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use proptest::prelude::*;

    use super::*;

    /// WHATWG HTML, section 9.2.6, for what is written here.
    fn parse(block: &str) -> (Option<&str>, Option<&str>, String) {
        let (mut id, mut name, mut data) = (None, None, Vec::new());
        let lines = block.strip_suffix("\n\n").expect("an empty line at the end");
        for line in lines.split(['\n', '\r']) {
            match line.split_once(": ").expect("a field") {
                ("id", value) => id = Some(value),
                ("event", value) => name = Some(value),
                ("data", value) => data.push(value),
                other => panic!("{other:?}"),
            }
        }
        (id, name, data.join("\n"))
    }

    #[test]
    fn blocks_are_as_the_standard_has_them() {
        assert_eq!(event_block(Some("7"), Some("gap"), b"{}")[..], *b"id: 7\nevent: gap\ndata: {}\n\n");
        assert_eq!(event_block(None, None, b"")[..], *b"data: \n\n");
        let lines = event_block(None, None, b"a\nb\r\nc\rd\n\ne\n");
        assert_eq!(lines[..], *b"data: a\ndata: b\ndata: c\ndata: d\ndata: \ndata: e\ndata: \n\n");
        let forged = event_block(Some("1\ndata: x"), Some("a\r\n\r\nb"), b"y");
        assert_eq!(forged[..], *b"id: 1\nevent: a\ndata: y\n\n");
    }

    proptest! {
        /// No data, id or name makes another field or another event.
        #[test]
        fn nothing_breaks_out_of_its_field(id: String, name: String, data in "[a-z: \r\n\0é]{0,50}") {
            let block = event_block(Some(&id), Some(&name), data.as_bytes());
            let (got_id, got_name, got_data) = parse(std::str::from_utf8(&block).unwrap());
            prop_assert_eq!(got_id, id.split(['\r', '\n', '\0']).next());
            prop_assert_eq!(got_name, name.split(['\r', '\n', '\0']).next());
            prop_assert_eq!(got_data, data.replace("\r\n", "\n").replace('\r', "\n"));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_quiet_stream_is_pinged() {
        let mut body = EventsBody::new(Box::pin(futures::stream::pending()));
        assert!((PING_MIN..=PING_MAX).contains(&body.every));
        let mut frames = Vec::new();
        let begin = Instant::now();
        for _ in 0..3 {
            let frame = poll_fn(|cx| body.poll(cx)).await.unwrap().unwrap();
            frames.push((begin.elapsed().as_secs(), frame.into_data().unwrap()));
        }
        let every = body.every.as_secs();
        assert_eq!(frames[0], (0, Bytes::from_static(RETRY)));
        // The clock of the test stands still but for the timer, which rounds up to milliseconds.
        assert!(frames[1].0.abs_diff(every) <= 1 && frames[1].1 == PING, "{frames:?}");
        assert!(frames[2].0.abs_diff(2 * every) <= 2 && frames[2].1 == PING, "{frames:?}");
    }
}
