//! One try on one target: the request's head and body out, the answer's head and body in, the connection back to the
//! pool.

use bytes::{Bytes, BytesMut};
use futures::FutureExt;
use http::header::{
    ACCEPT_ENCODING, AGE, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HOST, RETRY_AFTER,
    VARY, WWW_AUTHENTICATE,
};
use http::{HeaderName, HeaderValue};
use pingora_core::connectors::http::Connector;
use pingora_core::protocols::http::client::HttpSession;
use pingora_core::upstreams::peer::{HttpPeer, Peer};
use pingora_error::RetryType;
use pingora_http::{RequestHeader, ResponseHeader};
use smallvec::SmallVec;
use tokio::time::Instant;

use super::super::gate::{Gate, UNASKED_BYTES};
use super::super::upstream_problem::PROBLEM_BYTES_MAX;
use super::{Call, Response};

/// How many milliseconds the service has: what is left for the branch when the request is sent. A service that
/// knows it need not work for a client that has stopped to wait. There is no standard name; those that are in use
/// (`grpc-timeout`, `x-envoy-expected-rq-timeout-ms`) promise the habits of their products, which this one does not have.
const TIME_BUDGET: HeaderName = HeaderName::from_static("request-timeout-ms");
/// The fields of an answer that anybody reads.
const READ: [HeaderName; 6] = [CONTENT_TYPE, CACHE_CONTROL, AGE, VARY, RETRY_AFTER, WWW_AUTHENTICATE];
/// Informational answers before the final one; more are no HTTP that anybody means.
const INFORMATIONAL_MAX: usize = 16;

/// Why a try has no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Broken {
    /// No connection was made.
    NoConnection,
    /// A connection of the pool was closed by the other side before anything of an answer came.
    Stale,
    /// The connection broke, or what came was not HTTP.
    Off,
    /// The body is longer than the call allows.
    TooLarge,
    /// The body is in a content coding.
    Coding,
    /// HTTP does not allow such a request.
    Request,
}

/// A connection, or a stream of one, that is in use.
struct Line<'a> {
    connector: &'a Connector,
    peer: &'a HttpPeer,
    /// `None` once it is given back.
    session: Option<HttpSession>,
}

impl Drop for Line<'_> {
    /// An exchange that is given up. A connection of HTTP/1 closes by being dropped. A stream of HTTP/2 is reset by being
    /// dropped, but only the pool's own door lets its connection become idle, and so be closed one day.
    fn drop(&mut self) {
        if let Some(session @ HttpSession::H2(_)) = self.session.take()
            && tokio::runtime::Handle::try_current().is_ok()
        {
            // For HTTP/2 nothing in it waits.
            let _ = self
                .connector
                .release_http_session(session, self.peer, self.peer.idle_timeout())
                .now_or_never();
        }
    }
}

/// Makes one try. The time it takes is for the caller to limit; when its client stops to wait, `told`, is only told to the
/// service.
pub(super) async fn run(
    connector: &Connector,
    peer: &HttpPeer,
    host: Option<&HeaderValue>,
    call: &Call,
    gate: &Gate,
    told: Instant,
) -> Result<Response, Broken> {
    let connected = connector.get_http_session(peer).await;
    let (session, reused) = connected.map_err(|_| Broken::NoConnection)?;
    let mut line = Line { connector, peer, session: Some(session) };
    let Some(session) = &mut line.session else { return Err(Broken::Off) };
    let head = head(call, host, told).ok_or(Broken::Request)?;
    let sent = async {
        send(session, head, &call.body).await?;
        read_head(session).await
    };
    sent.await.map_err(|error| if reused && may_be_stale(&error) { Broken::Stale } else { Broken::Off })?;
    let head = session.response_header().ok_or(Broken::Off)?;
    let status = head.status;
    let headers = READ
        .iter()
        .flat_map(|name| head.headers.get_all(name).iter().map(move |value| (name.clone(), value.clone())));
    let headers: SmallVec<_> = headers.collect();
    let (encoded, announced) = (is_encoded(head), content_length(head));
    if status.is_success() && encoded {
        return Err(Broken::Coding);
    }
    let bytes_max = if status.is_success() { call.bytes_max } else { PROBLEM_BYTES_MAX };
    let body = match read_body(session, announced, bytes_max, gate).await {
        // Who knows what else a failure has to say.
        Err(Broken::TooLarge) if !status.is_success() => {
            return Ok(Response { status, headers, body: Bytes::new() });
        }
        body => body?,
    };
    if let Some(session) = line.session.take() {
        // The answer is complete; what a farewell to a connection that is not kept takes must not delay it.
        let _ = connector.release_http_session(session, peer, peer.idle_timeout()).now_or_never();
    }
    // What a failure says in a coding that nobody asked for is not read.
    Ok(Response { status, headers, body: if encoded { Bytes::new() } else { body } })
}

/// The request's head. `None` if HTTP does not allow it.
fn head(call: &Call, host: Option<&HeaderValue>, told: Instant) -> Option<Box<RequestHeader>> {
    let fields = call.headers.len() + 4;
    let mut head =
        RequestHeader::build_no_case(call.method.clone(), call.target.as_bytes(), Some(fields)).ok()?;
    head.insert_header(HOST, host?).ok()?;
    for (name, value) in &call.headers {
        head.append_header(name, value).ok()?;
    }
    let left = told.saturating_duration_since(Instant::now()).as_millis().max(1);
    head.insert_header(TIME_BUDGET, HeaderValue::from(u64::try_from(left).unwrap_or(u64::MAX))).ok()?;
    head.insert_header(ACCEPT_ENCODING, HeaderValue::from_static("identity")).ok()?;
    if !call.body.is_empty() || matches!(call.method.as_str(), "POST" | "PUT" | "PATCH") {
        head.insert_header(CONTENT_LENGTH, HeaderValue::from(call.body.len())).ok()?;
    }
    Some(Box::new(head))
}

async fn send(
    session: &mut HttpSession,
    head: Box<RequestHeader>,
    body: &Bytes,
) -> pingora_error::Result<()> {
    if let HttpSession::H2(stream) = session {
        // Without a body the head itself ends the request, one frame less.
        stream.write_request_header(head, body.is_empty())?;
    } else {
        session.write_request_header(head).await?;
    }
    if !body.is_empty() {
        session.write_request_body(body.clone(), true).await?;
    }
    session.finish_request_body().await
}

/// Reads on to the final head.
async fn read_head(session: &mut HttpSession) -> pingora_error::Result<()> {
    for _ in 0..=INFORMATIONAL_MAX {
        session.read_response_header().await?;
        match session.response_header() {
            Some(head) if head.status.is_informational() => {}
            _ => return Ok(()),
        }
    }
    pingora_error::Error::e_explain(
        pingora_error::ErrorType::InvalidHTTPHeader,
        "too many informational answers",
    )
}

/// Whether the other side may have closed a kept connection before it saw the request. Writing to it fails then, or the
/// read finds its end at once.
fn may_be_stale(error: &pingora_error::Error) -> bool {
    matches!(error.retry, RetryType::ReusedOnly)
        || matches!(error.etype(), pingora_error::ErrorType::WriteError)
}

async fn read_body(
    session: &mut HttpSession,
    announced: Option<usize>,
    bytes_max: usize,
    gate: &Gate,
) -> Result<Bytes, Broken> {
    if announced.is_some_and(|announced| announced > bytes_max) {
        return Err(Broken::TooLarge);
    }
    let mut body = Body { bytes: BytesMut::new(), allowed: 0, bytes_max, gate };
    body.allow(announced.unwrap_or(0)).await;
    match session {
        // A chunk is borrowed from the connection's buffer, so that it is copied only once.
        HttpSession::H1(connection) => {
            while let Some(chunk) = connection.read_body_ref().await.map_err(|_| Broken::Off)? {
                body.add(chunk).await?;
            }
        }
        other => {
            while let Some(chunk) = other.read_response_body().await.map_err(|_| Broken::Off)? {
                body.add(&chunk).await?;
            }
        }
    }
    Ok(body.finish())
}

/// A body as far as it has come.
struct Body<'a> {
    bytes: BytesMut,
    /// Bytes that the gate has let pass.
    allowed: usize,
    bytes_max: usize,
    gate: &'a Gate,
}

impl Body<'_> {
    async fn allow(&mut self, bytes: usize) {
        self.allowed = bytes;
        self.gate.pass(bytes).await;
        self.bytes.reserve(bytes - self.bytes.len());
    }

    async fn add(&mut self, chunk: &[u8]) -> Result<(), Broken> {
        let needed = self.bytes.len() + chunk.len();
        if needed > self.bytes_max {
            return Err(Broken::TooLarge);
        }
        if needed > self.allowed {
            self.allow((needed * 2).clamp(UNASKED_BYTES.min(self.bytes_max), self.bytes_max)).await;
        }
        self.bytes.extend_from_slice(chunk);
        Ok(())
    }

    /// The bytes, without much room behind them: they may be kept for long.
    fn finish(self) -> Bytes {
        if self.bytes.capacity() > self.bytes.len() / 4 * 5 + 1024 {
            return Bytes::copy_from_slice(&self.bytes);
        }
        self.bytes.freeze()
    }
}

/// Whether a body is in another content coding than none. None was accepted (RFC 9110, section 12.5.3).
fn is_encoded(head: &ResponseHeader) -> bool {
    let codings = head.headers.get_all(CONTENT_ENCODING).iter();
    codings.flat_map(|value| value.as_bytes().split(|byte| *byte == b',')).any(|coding| {
        let coding = coding.trim_ascii();
        !coding.is_empty() && !coding.eq_ignore_ascii_case(b"identity")
    })
}

/// The length that is announced. Pingora has checked that it is one number, and removed it where chunks follow.
fn content_length(head: &ResponseHeader) -> Option<usize> {
    head.headers.get(CONTENT_LENGTH)?.to_str().ok()?.trim().parse().ok()
}
