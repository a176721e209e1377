//! One WebSocket connection: reads messages, has their commands carried out, writes what waits. A future written by hand,
//! because there are very many of them and most are idle: it holds no buffer then.

use std::future::Future;
use std::ops::ControlFlow;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::SystemTime;

use bytes::Bytes;
use tokio::io::AsyncWrite;

use crate::bridge::Shared;
use crate::client::Client;
use crate::counted::Counted;
use crate::hello::Stream;
use crate::protocol::{Close, command};
use crate::session::{Session, Wait};
use crate::websocket::{Incoming, Limits, Outbox, ReadEnd, ReadError, Reader, pong_frame};

/// Bytes that are taken from a client's queue at a time; the rest stays where policies for slow clients reach it.
const STAGED_BYTES_MAX: usize = 64 * 1024;
/// Frames, likewise.
const STAGED_FRAMES_MAX: usize = 64;
/// How long a client gets to take what waits for it and its Close, and to answer that, in milliseconds.
const CLOSE_MS: u64 = 5_000;
/// RFC 6455, section 7.1.5: nobody has said why.
const FAILED: End = End { code: 1006, reason: "connection failed" };
/// Turns of one poll before other tasks get theirs.
const TURNS_MAX: u32 = 16;

/// How a connection ended, for the edge's log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ended {
    /// The close code that was sent, or the client's; 1006 where there was none (RFC 6455, section 7.1.5).
    pub code: u16,
    /// A word or two about it.
    pub reason: &'static str,
    /// Bytes that came from the client behind its handshake.
    pub received_bytes: u64,
    /// Bytes that went to it.
    pub sent_bytes: u64,
}

/// Why a connection ends: the first that is found.
#[derive(Clone, Copy)]
struct End {
    code: u16,
    reason: &'static str,
}

/// Commands of a message that are not carried out yet.
struct Waiting {
    /// What the first of them, which has begun, waits for; none if all wait for the client to read.
    wait: Option<Wait>,
    /// Those behind it.
    rest: String,
}

/// A connection's life as a future.
pub(crate) struct Connection<S> {
    stream: Counted<S>,
    reader: Reader,
    outbox: Outbox,
    session: Session,
    shared: Arc<Shared>,
    limits: Limits,
    waiting: Option<Box<Waiting>>,
    ended: Option<End>,
    /// When the connection ends, whatever still waits, by the timers; `u64::MAX` while nobody wants to close it.
    close_by: u64,
    /// The reading side has nothing more.
    read_closed: bool,
    /// The age of the newest event that was staged is observed once it is written.
    newest_event: i64,
}

impl<S: Stream> Connection<S> {
    pub(crate) fn new(stream: S, early: &[u8], session: Session, shared: Arc<Shared>) -> Self {
        let limits = Limits { message_bytes: shared.plan.settings.limits.message_bytes.0 as usize };
        Connection {
            stream: Counted::new(stream),
            reader: Reader::new(early),
            // What is staged, one frame beyond it, and replies to pings.
            outbox: Outbox::new(usize::MAX),
            session,
            shared,
            limits,
            waiting: None,
            ended: None,
            close_by: u64::MAX,
            read_closed: false,
            newest_event: 0,
        }
    }

    fn client(&self) -> &Arc<Client> {
        &self.session.client
    }

    /// Goes on with the commands that wait, if they need not any more.
    fn poll_waiting(&mut self, cx: &mut Context<'_>) -> bool {
        let Connection { session, outbox, waiting, .. } = self;
        let Some(Waiting { wait, .. }) = waiting.as_deref_mut() else { return false };
        let next = match wait {
            None if is_behind(session, outbox) => return false,
            None => None,
            Some(wait) => match wait.as_mut().poll(cx) {
                Poll::Ready(resume) => session.resume(resume),
                Poll::Pending => return false,
            },
        };
        let rest = waiting.take().map(|waiting| waiting.rest).unwrap_or_default();
        *waiting = match next {
            Some(wait) => Some(Box::new(Waiting { wait: Some(wait), rest })),
            None => commands(session, outbox, &rest),
        };
        true
    }

    /// Reads and carries out commands until one waits, the client has to read first, or nothing more is there. Whether
    /// anything may have changed.
    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.waiting.is_some() || self.read_closed || is_behind(&self.session, &self.outbox) {
            return Poll::Pending;
        }
        let Connection { reader, stream, session, outbox, waiting, limits, ended, .. } = self;
        let mut closed = None;
        let read = reader.poll_read(cx, stream, limits, &mut |incoming| {
            match incoming {
                Incoming::Text(text) => {
                    if session.message() {
                        *waiting = commands(session, outbox, text);
                    }
                }
                // The JSON form of the protocol is text.
                Incoming::Binary(_) => session.client.close(Close::INAPPROPRIATE_PROTOCOL),
                // They count like messages, and a client that does not read the answers gets no more of them.
                Incoming::Ping(payload) => {
                    if session.message() && outbox.bytes() < STAGED_BYTES_MAX {
                        let _ = outbox.push(pong_frame(payload), ());
                    }
                }
                Incoming::Pong(_) => {
                    session.message();
                }
                Incoming::Close(code) => closed = Some(code.map_or(1005, |(code, _)| code)),
            }
            if waiting.is_some() || session.client.is_closing() || is_behind(session, outbox) {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        });
        if let Some(code) = closed {
            ended.get_or_insert(End { code, reason: "client" });
            session.client.close(Close::NORMAL);
        }
        match read {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Ok(ReadEnd::Paused)) => Poll::Ready(()),
            Poll::Ready(Ok(ReadEnd::Closed)) => self.read_ended(None),
            Poll::Ready(Ok(ReadEnd::Eof)) => {
                self.ended.get_or_insert(End { code: 1006, reason: "client gone" });
                self.read_ended(None)
            }
            Poll::Ready(Err(error)) => self.read_ended(Some(error)),
        }
    }

    fn read_ended(&mut self, error: Option<ReadError>) -> Poll<()> {
        self.read_closed = true;
        let close = match error {
            None => Close::NORMAL,
            Some(ReadError::TooBig(_)) => Close::TOO_BIG,
            Some(ReadError::NotUtf8(_)) => Close::NOT_UTF8,
            Some(ReadError::Protocol(_) | ReadError::TooManyFrames) => Close::PROTOCOL_ERROR,
            Some(ReadError::Io(_)) => {
                self.ended.get_or_insert(FAILED);
                Close::NORMAL
            }
        };
        self.client().close(close);
        Poll::Ready(())
    }

    /// Stages what waits for the client, and its Close behind it.
    fn stage(&mut self) {
        if !self.session.may_send() || self.outbox.is_closing() {
            return;
        }
        let Connection { session, outbox, newest_event, .. } = self;
        let client = session.client.clone();
        let (mut bytes, mut frames) = (outbox.bytes(), 0);
        let close = client.take(
            |item| {
                let more = bytes == 0
                    || (bytes + item.bytes.len() <= STAGED_BYTES_MAX && frames < STAGED_FRAMES_MAX);
                bytes += item.bytes.len();
                frames += 1;
                more
            },
            |item| {
                *newest_event = (*newest_event).max(item.event_time());
                // There is no bound to reach, and no Close before.
                let _ = outbox.push(item.bytes, ());
            },
        );
        if let Some(close) = close {
            self.close(close);
        }
    }

    /// Whether the client is being closed: nothing of what it says is looked at any more.
    fn is_closing(&mut self) -> bool {
        if self.close_by == u64::MAX
            && let Some(close) = self.client().closing()
        {
            self.begin_closing(close);
        }
        self.close_by != u64::MAX
    }

    /// Its time begins when its close is decided, and not when there is room for the Close: otherwise a client that does
    /// not read would stay as long as it likes.
    fn begin_closing(&mut self, close: Close) {
        self.ended.get_or_insert(End { code: close.code, reason: close.reason });
        self.session.end();
        self.close_by = self.shared.timers.now() + CLOSE_MS;
        self.shared.timers.set(self.client(), self.close_by);
    }

    fn close(&mut self, close: Close) {
        if self.close_by == u64::MAX {
            self.begin_closing(close);
        }
        let ended = self.ended.unwrap_or(FAILED);
        // The answer to a Close has its code (RFC 6455, section 5.5.1), and none if that had none.
        let answers = close == Close::NORMAL && ended.reason == "client";
        let code = Some(if answers { ended.code } else { close.code });
        if close == Close::SLOW {
            self.outbox.close_at_once(code, close.reason);
        } else {
            self.outbox.close(code, close.reason);
        }
    }

    /// Whether a write has made room for more.
    fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        if self.outbox.is_idle() {
            return Poll::Pending;
        }
        let (behind, sent_before) = (is_behind(&self.session, &self.outbox), self.stream.sent_bytes);
        let written = self.outbox.poll_write(cx, &mut self.stream);
        if behind && self.stream.sent_bytes > sent_before {
            // It reads, and its pong is not looked at before it has read enough.
            self.session.await_pong_anew();
        }
        if let Poll::Ready(Ok(())) = &written {
            if self.newest_event > 0 {
                self.shared.metrics.age.observe(age_seconds(self.newest_event));
                self.newest_event = 0;
            }
            // The timer is that of the close by then.
            if self.close_by == u64::MAX {
                self.session.wrote();
            }
        }
        written
    }

    fn end(&mut self) -> Poll<Ended> {
        self.session.end();
        let ended = *self.ended.get_or_insert(FAILED);
        // A client may choose its code; ours are few.
        let code = if ended.reason == "client" { ended.reason.to_owned() } else { ended.code.to_string() };
        self.shared.metrics.closed.with_label_values(&[code]).inc();
        let Counted { received_bytes, sent_bytes, .. } = self.stream;
        Poll::Ready(Ended { code: ended.code, reason: ended.reason, received_bytes, sent_bytes })
    }
}

impl<S: Stream> Future for Connection<S> {
    type Output = Ended;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Ended> {
        let this = self.get_mut();
        this.client().waker.register(cx.waker());
        for _ in 0..TURNS_MAX {
            let mut turned = false;
            if this.is_closing() {
                if this.shared.timers.now() >= this.close_by {
                    return this.end();
                }
                if this.outbox.is_closing() {
                    return this.poll_closing(cx);
                }
            } else {
                let waits = this.waiting.as_ref().is_some_and(|waiting| waiting.wait.is_some());
                this.session.tick(waits);
                turned |= this.poll_waiting(cx);
                turned |= this.poll_read(cx).is_ready();
            }
            this.stage();
            match this.poll_write(cx) {
                Poll::Ready(Ok(())) => turned = true,
                Poll::Ready(Err(_)) => return this.end(),
                Poll::Pending => {}
            }
            if !turned && !this.outbox.is_closing() {
                return Poll::Pending;
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

impl<S: Stream> Connection<S> {
    /// Writes the Close, then waits for the client's, and ends the connection.
    fn poll_closing(&mut self, cx: &mut Context<'_>) -> Poll<Ended> {
        if !self.outbox.is_idle() {
            match self.outbox.poll_write(cx, &mut self.stream) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(_)) => return self.end(),
                Poll::Pending => return Poll::Pending,
            }
        }
        match Pin::new(&mut self.stream).poll_shutdown(cx) {
            Poll::Pending => return Poll::Pending,
            Poll::Ready(Err(_)) => return self.end(),
            Poll::Ready(Ok(())) => {}
        }
        match self.reader.poll_discard(cx, &mut self.stream) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(_) => self.end(),
        }
    }
}

/// Whether the client has to read before it is answered more. What is staged in any case does not count.
fn is_behind(session: &Session, outbox: &Outbox) -> bool {
    session.client.is_behind(outbox.bytes().saturating_sub(STAGED_BYTES_MAX))
}

/// Carries out the commands of a message in order, up to one that waits, or until the client has to read; the rest is kept.
fn commands(session: &mut Session, outbox: &Outbox, message: &str) -> Option<Box<Waiting>> {
    let mut rest = message;
    for _ in 0..command::COMMANDS_MAX {
        if is_behind(session, outbox) {
            return Some(Box::new(Waiting { wait: None, rest: rest.to_owned() }));
        }
        let line;
        (line, rest) = rest.split_once('\n').unwrap_or((rest, ""));
        match command::commands(line).next() {
            None => {}
            Some(Ok(command)) => {
                if let Some(wait) = session.handle(command) {
                    return Some(Box::new(Waiting { wait: Some(wait), rest: rest.to_owned() }));
                }
            }
            Some(Err(_)) => session.client.close(Close::BAD_REQUEST),
        }
        if rest.is_empty() || session.client.is_closing() {
            return None;
        }
    }
    session.client.close(Close::BAD_REQUEST);
    None
}

fn age_seconds(time: i64) -> f64 {
    let now =
        SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64());
    (now - time as f64 / 1000.0).max(0.0)
}

/// The ping of the client protocol, in its frame.
pub(crate) fn ping() -> Bytes {
    crate::websocket::text_frame(&[crate::protocol::reply::PING.as_bytes()])
}
