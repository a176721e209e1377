//! One HTTP/1.1 connection: reads each head strictly, then lets Pingora carry the exchange.
//!
//! Pingora forgives what RFC 9112 lets a server forgive (bare LF, two equal Content-Length fields, Content-Length next to
//! Transfer-Encoding). Two parsers that forgive differently are how requests are smuggled, so a head is checked here,
//! byte for byte, before Pingora sees it. Pingora gets the checked bytes as the start of its session.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use pingora_core::apps::{HttpPersistentSettings, HttpServerApp};
use pingora_core::protocols::Stream;
use pingora_core::protocols::http::ServerSession;
use pingora_core::server::ShutdownWatch;
use sallyport_filters::{ProblemKind, Reply};
use tokio::io::AsyncWriteExt;

use super::head_reader::{Arrived, Patience, read_head};
use super::{Conn, Service};
use crate::head::{self, Framing, HeadLimits};
use crate::reply;

/// Serves a connection until it ends.
pub(super) async fn serve(service: &Service, mut stream: Stream, conn: &Arc<Conn>, mut stop: ShutdownWatch) {
    let limits = &conn.listener.limits;
    let mut patience = Patience {
        idle: *limits.head_timeout,
        head: *limits.head_timeout,
        bytes_max: usize::try_from(limits.head_bytes.0).unwrap_or(usize::MAX),
    };
    let mut settings: Option<HttpPersistentSettings> = None;
    let mut buffer = BytesMut::new();
    loop {
        let refusal = match read_head(&mut stream, &mut buffer, &patience, &mut stop).await {
            Arrived::Head(end) => match check(&buffer[..end], conn) {
                Ok(framing) => {
                    let (request, behind) = cut(std::mem::take(&mut buffer), end, framing);
                    let session = session(stream, settings.take(), request, patience.idle.as_secs());
                    let Some(reused) = service.proxy.process_new_http(session, &stop).await else { return };
                    (stream, settings) = reused.consume();
                    buffer = behind;
                    patience.idle = *limits.idle_timeout;
                    continue;
                }
                Err(refusal) => refusal,
            },
            Arrived::Nothing => return close(stream).await,
            Arrived::TooSlow => Reply::problem(ProblemKind::RequestTimeout, "the request head came too slowly"),
            Arrived::TooLarge => Reply::problem(ProblemKind::HeadersTooLarge, "the request head is too large"),
        };
        return refuse(service, stream, conn, &refusal).await;
    }
}

fn check(head: &[u8], conn: &Conn) -> Result<Framing, Reply> {
    let limits = HeadLimits {
        fields: conn.listener.limits.head_fields,
        allow_underscores: conn.listener.allow_underscores,
    };
    head::check(head, &limits).map_err(|error| Reply::problem(error.kind(), error.detail()))
}

/// Splits what has arrived into this request's bytes and those that follow it. With a chunked body the end is not
/// known yet; Pingora then closes the connection if more than the body has come, which RFC 9112, section 9.3.2
/// allows.
fn cut(mut arrived: BytesMut, end: usize, framing: Framing) -> (BytesMut, BytesMut) {
    let body = match framing {
        Framing::None => 0,
        Framing::Length(length) => usize::try_from(length).unwrap_or(usize::MAX),
        Framing::Chunked => usize::MAX,
    };
    let at = end.saturating_add(body).min(arrived.len());
    let behind = if at < arrived.len() { arrived.split_off(at) } else { BytesMut::new() };
    (arrived, behind)
}

fn session(
    stream: Stream,
    settings: Option<HttpPersistentSettings>,
    request: BytesMut,
    keepalive_seconds: u64,
) -> ServerSession {
    let mut session = ServerSession::new_http1(stream);
    match settings {
        Some(settings) => settings.apply_to_session(&mut session),
        None => session.set_keepalive(Some(keepalive_seconds)),
    }
    session.set_pipelined_prefix(request);
    session
}

/// Answers a head that Pingora never gets to see, and closes.
async fn refuse(service: &Service, mut stream: Stream, conn: &Conn, refusal: &Reply) {
    let answer: Bytes = reply::before_session(service, conn, refusal);
    // The client may be gone; there is nobody to tell.
    let _ = stream.write_all(&answer).await;
    close(stream).await;
}

async fn close(mut stream: Stream) {
    // A connection that ends is no error, whichever side ends it first.
    let _ = AsyncWriteExt::shutdown(&mut stream).await;
}
