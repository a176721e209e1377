//! One try on one target: the request's head and body out, the answer's head and body in, the connection back to the
//! pool.

mod body;

use bytes::Bytes;
use futures::FutureExt;
use http::header::{
    ACCEPT_ENCODING, AGE, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HOST, RETRY_AFTER,
    VARY, WWW_AUTHENTICATE,
};
use http::{HeaderName, HeaderValue, StatusCode};
use pingora_core::protocols::http::HttpTask;
use pingora_core::upstreams::peer::HttpPeer;
use pingora_error::{ErrorType, RetryType};
use pingora_http::{RequestHeader, ResponseHeader};
use sallyport_upstreams::exchange::{Connections, Exchange};
use smallvec::SmallVec;
use tokio::time::Instant;

use super::super::gate::Gate;
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

/// An exchange that is let go of if the try is given up.
struct Line<'a> {
    connections: &'a Connections,
    peer: &'a HttpPeer,
    /// `None` once it is given back.
    exchange: Option<Exchange>,
}

impl Drop for Line<'_> {
    fn drop(&mut self) {
        if let Some(exchange) = self.exchange.take() {
            self.connections.give_up(exchange, self.peer);
        }
    }
}

/// Makes one try. The time it takes is for the caller to limit; when its client stops to wait, `told`, is only told to the
/// service.
pub(super) async fn run(
    connections: &Connections,
    peer: &HttpPeer,
    host: Option<&HeaderValue>,
    call: &Call,
    gate: &Gate,
    told: Instant,
) -> Result<Response, Broken> {
    let connected = connections.reach(peer).await;
    let (exchange, reused) = connected.map_err(|_| Broken::NoConnection)?;
    let mut line = Line { connections, peer, exchange: Some(exchange) };
    let Some(exchange) = &mut line.exchange else { return Err(Broken::Off) };
    let head = head(call, host, told).ok_or(Broken::Request)?;
    let asked = async {
        exchange.send_whole(head, call.body.clone(), peer).await?;
        read_head(exchange).await
    };
    let asked = asked.await;
    let (head, empty) =
        asked.map_err(|error| if reused && may_be_stale(&error) { Broken::Stale } else { Broken::Off })?;
    let status = head.status;
    let headers = READ
        .iter()
        .flat_map(|name| head.headers.get_all(name).iter().map(move |value| (name.clone(), value.clone())));
    let headers: SmallVec<_> = headers.collect();
    let encoded = is_encoded(&head);
    if status.is_success() && encoded {
        return Err(Broken::Coding);
    }
    let bytes_max = if status.is_success() { call.bytes_max } else { PROBLEM_BYTES_MAX };
    let body = if empty { Ok(Bytes::new()) } else { body::read(exchange, &head, bytes_max, gate).await };
    let body = match body {
        // Who knows what else a failure has to say.
        Err(Broken::TooLarge) if !status.is_success() => {
            return Ok(Response { status, headers, body: Bytes::new() });
        }
        body => body?,
    };
    if let Some(exchange) = line.exchange.take() {
        // The answer is complete; what a farewell to a connection that is not kept takes must not delay it.
        let _ = connections.release(exchange, peer).now_or_never();
    }
    // What a failure says in a coding that nobody asked for is not read.
    Ok(Response { status, headers, body: if encoded { Bytes::new() } else { body } })
}

/// The request's head. `None` if HTTP does not allow it.
fn head(call: &Call, host: Option<&HeaderValue>, told: Instant) -> Option<RequestHeader> {
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
    Some(head)
}

/// Reads on to the final head; with it, whether there is no body.
async fn read_head(exchange: &mut Exchange) -> pingora_error::Result<(Box<ResponseHeader>, bool)> {
    for _ in 0..=INFORMATIONAL_MAX {
        match exchange.next(false).await? {
            HttpTask::Header(head, _) if head.status == StatusCode::SWITCHING_PROTOCOLS => {
                return Err(malformed("a 101 without an upgrade"));
            }
            HttpTask::Header(head, _) if head.status.is_informational() => {}
            HttpTask::Header(head, end) => return Ok((head, end)),
            HttpTask::Failed(error) => return Err(error),
            _ => return Err(malformed("no head where one should be")),
        }
    }
    Err(malformed("too many informational answers"))
}

fn malformed(what: &'static str) -> Box<pingora_error::Error> {
    pingora_error::Error::explain(ErrorType::InvalidHTTPHeader, what)
}

/// Whether the other side may have closed a kept connection before it saw the request. Writing to it fails then, or the
/// read finds its end at once.
fn may_be_stale(error: &pingora_error::Error) -> bool {
    matches!(error.retry, RetryType::ReusedOnly) || matches!(error.etype(), ErrorType::WriteError)
}

/// Whether a body is in another content coding than none. None was accepted (RFC 9110, section 12.5.3).
fn is_encoded(head: &ResponseHeader) -> bool {
    let codings = head.headers.get_all(CONTENT_ENCODING).iter();
    codings.flat_map(|value| value.as_bytes().split(|byte| *byte == b',')).any(|coding| {
        let coding = coding.trim_ascii();
        !coding.is_empty() && !coding.eq_ignore_ascii_case(b"identity")
    })
}
