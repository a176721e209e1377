//! One HTTP/1.1 connection: reads each head strictly, then lets Pingora carry the exchange.
//!
//! Pingora forgives what RFC 9112 lets a server forgive (bare LF, two equal Content-Length fields, Content-Length next to
//! Transfer-Encoding). Two parsers that forgive differently are how requests are smuggled, so a head is checked here,
//! byte for byte, before Pingora sees it, and where its body ends is kept count of. Pingora gets the checked bytes as the
//! start of its session, and never a byte of the request behind.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use pingora_core::protocols::IO;
use pingora_core::server::ShutdownWatch;
use pingora_proxy::Session;
use sallyport_filters::{ProblemKind, Reply};
use sallyport_wire::BodyEnd;
use tokio::io::AsyncWriteExt;

use super::head_reader::{Arrived, Patience, read_head};
use super::stream::ClientStream;
use super::{Conn, Drain, Service};
use crate::head::{self, Framing, HeadLimits};
use crate::reply;
use crate::tunnel::Tunnel;

/// Serves a connection until it ends, or becomes a tunnel: the answer is the rest of its life.
pub(super) async fn serve<S: IO + 'static>(
    service: &Service,
    mut stream: Box<ClientStream<S>>,
    conn: &Arc<Conn>,
    drain: &Drain,
) -> Option<Tunnel> {
    let mut stop = drain.stop.clone();
    let limits = &conn.listener.limits;
    let mut patience = Patience {
        idle: *limits.head_timeout,
        head: *limits.head_timeout,
        bytes_max: usize::try_from(limits.head_bytes.0).unwrap_or(usize::MAX),
    };
    let mut arrived = BytesMut::new();
    loop {
        let (body, taken) = match next(&mut stream, &mut arrived, &patience, conn, &mut stop).await {
            Next::Request(body, taken) => (body, taken),
            Next::End => {
                close(stream).await;
                return None;
            }
            Next::Refusal(refusal) => {
                refuse(service, stream, conn, &refusal).await;
                return None;
            }
        };
        // An empty remainder would keep the whole buffer for as long as the connection is idle.
        let ahead = if taken < arrived.len() { arrived.split_off(taken) } else { BytesMut::new() };
        stream.begin(body, ahead);
        let keepalive = (!*stop.borrow()).then_some(patience.idle.as_secs());
        let session = session(stream, std::mem::take(&mut arrived), keepalive);
        // Boxed: an idle connection has no room for an exchange.
        let given_back = Box::pin(service.carrier.carry(session)).await;
        let opened = conn.opened();
        // What Pingora gives back is what it was given.
        let same = given_back?.into_any().downcast::<ClientStream<S>>().ok()?;
        if let Some(opened) = opened {
            let (client, ahead) = same.into_parts();
            return Some(opened.run(client, ahead.to_vec(), drain.clone()));
        }
        stream = same;
        arrived = stream.end();
        patience.idle = *limits.idle_timeout;
    }
}

/// What a connection brings next.
enum Next {
    /// A request: where its body stands after the bytes that have arrived, and how many of those are its own.
    Request(BodyEnd, usize),
    /// Nothing more.
    End,
    /// Something that is no request.
    Refusal(Reply),
}

async fn next<S: IO + 'static>(
    stream: &mut ClientStream<S>,
    arrived: &mut BytesMut,
    patience: &Patience,
    conn: &Conn,
    stop: &mut ShutdownWatch,
) -> Next {
    let refuse = |kind, detail: &'static str| Next::Refusal(Reply::problem(kind, detail));
    let end = match read_head(stream, arrived, patience, stop).await {
        Arrived::Head(end) => end,
        Arrived::Nothing => return Next::End,
        Arrived::TooSlow => return refuse(ProblemKind::RequestTimeout, "the request head came too slowly"),
        Arrived::TooLarge => {
            let error = head::oversized(&arrived[..arrived.len().min(patience.bytes_max)]);
            return refuse(error.kind(), error.detail());
        }
    };
    let mut body = match check(&arrived[..end], conn) {
        Ok(framing) => BodyEnd::of(framing),
        Err(refusal) => return Next::Refusal(refusal),
    };
    match body.take(&arrived[end..]) {
        Ok(taken) => Next::Request(body, end + taken),
        Err(_) => refuse(ProblemKind::BadRequest, "the chunked body is malformed"),
    }
}

fn check(head: &[u8], conn: &Conn) -> Result<Framing, Reply> {
    let limits = HeadLimits {
        fields: conn.listener.limits.head_fields,
        allow_underscores: conn.listener.allow_underscores,
    };
    head::check(head, &limits).map_err(|error| Reply::problem(error.kind(), error.detail()))
}

fn session<S: IO + 'static>(
    stream: Box<ClientStream<S>>,
    request: BytesMut,
    keepalive_seconds: Option<u64>,
) -> Session {
    let mut session = Session::new_h1(stream);
    session.set_keepalive(keepalive_seconds);
    session.set_pipelined_prefix(request);
    session
}

/// Answers a head that Pingora never gets to see, and closes.
async fn refuse<S: IO + 'static>(
    service: &Service,
    mut stream: Box<ClientStream<S>>,
    conn: &Conn,
    refusal: &Reply,
) {
    let answer: Bytes = reply::before_session(service, conn, refusal);
    // The client may be gone; there is nobody to tell.
    let _ = stream.write_all(&answer).await;
    close(stream).await;
}

async fn close<S: IO + 'static>(mut stream: Box<ClientStream<S>>) {
    // A connection that ends is no error, whichever side ends it first.
    let _ = AsyncWriteExt::shutdown(&mut stream).await;
}
