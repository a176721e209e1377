//! One call to an upstream: a target is chosen, tried within the time there is, and another one where that is allowed.
//!
//! What goes over the wire in one try is [`exchange`]. Dropping the future of a call ends it: over HTTP/1 its connection
//! is closed, over HTTP/2 its stream is reset, and no request is left running.

mod exchange;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, StatusCode};
use sallyport_config::route::Timeouts;
use sallyport_upstreams::exchange::Connections;
use sallyport_upstreams::{Observation, Picked, Retry, Upstream};
use smallvec::SmallVec;
use tokio::time::{Instant, timeout_at};

use super::failure::Failure;
use super::fetch::Times;
use super::gate::Gate;
use exchange::Broken;

/// The most time for one connection, however much the branch has.
const CONNECT_MAX: Duration = Duration::from_secs(5);
/// Connections of the pool that were closed by the other side just as they were used, and that a request is sent again
/// for, on another one, beside the tries that the branch allows.
const STALE_CONNECTIONS_MAX: u32 = 2;

/// A call, ready to be made.
#[derive(Debug, Clone)]
pub(super) struct Call {
    /// Where to.
    pub(super) upstream: Arc<Upstream>,
    pub(super) method: Method,
    /// Path and query, as they go into the request.
    pub(super) target: Box<str>,
    /// What the client sent as `Host`.
    pub(super) host: Option<HeaderValue>,
    /// The fields, without `Host`, those that frame the body and the time budget.
    pub(super) headers: Vec<(HeaderName, HeaderValue)>,
    pub(super) body: Bytes,
    /// Bytes of the answer's body; more is a failure.
    pub(super) bytes_max: usize,
    /// Whether and when it is tried again.
    pub(super) retry: Option<Retry>,
}

/// The whole answer to a call.
#[derive(Debug)]
pub(super) struct Response {
    pub(super) status: StatusCode,
    /// Of its fields those that anybody reads: see `exchange::READ`.
    pub(super) headers: SmallVec<[(HeaderName, HeaderValue); 2]>,
    /// The body. Of a failure it may be left out.
    pub(super) body: Bytes,
}

impl Response {
    /// The first value of a field.
    pub(super) fn header(&self, name: &HeaderName) -> Option<&HeaderValue> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value)
    }
}

/// Makes calls.
pub(super) struct Caller {
    connections: Arc<Connections>,
}

impl Caller {
    /// Over these connections.
    pub(super) fn new(connections: Arc<Connections>) -> Self {
        Caller { connections }
    }

    /// Makes a call, tries after the first included, until the branch's time ends. It holds no more of the body than `gate`
    /// lets it. Any status is an answer.
    ///
    /// # Errors
    /// One of those failures that are the call's own: no answer, not in time, too large, in a coding nobody asked for.
    pub(super) async fn call(&self, call: &Call, gate: &Gate, times: Times) -> Result<Response, Failure> {
        let deadline = times.branch;
        let mut last = Failure::Unavailable;
        let mut tries = Tries { call, tried: SmallVec::new(), retries: 0, stale: 0 };
        call.upstream.note_request(std::time::Instant::now());
        loop {
            let picked = call.upstream.pick(&tries.tried, std::time::Instant::now());
            let Ok(picked) = picked else { return Err(last) };
            tries.tried.push(picked.address());
            let connect = tries.time_to_connect(deadline);
            // Of a route's limits a peer needs that of the connection only; all other time is kept here.
            let mut peer = call.upstream.peer(&picked, &Timeouts::default());
            peer.options.connection_timeout = Some(connect);
            peer.options.total_connection_timeout = Some(connect);
            let host = call.upstream.host(&picked).or(call.host.as_ref());
            let attempt = exchange::run(&self.connections, &peer, host, call, gate, times.ends());
            let done = timeout_at(deadline, attempt).await;
            let done = match done {
                Ok(done) => done,
                Err(_) if gate.is_shut() => return Err(Failure::Memory),
                Err(_) => {
                    observe(&call.upstream, &picked, Observation::Failure);
                    return Err(Failure::Timeout);
                }
            };
            if let Some(seen) = seen(&done) {
                observe(&call.upstream, &picked, seen);
            }
            let stale = matches!(done, Err(Broken::Stale));
            let again = (stale && tries.again_on_another_connection()) || tries.again(&done);
            if !again {
                return done.map_err(Failure::from);
            }
            last = done.map_or_else(Failure::from, |response| Failure::Status(response.status, None));
        }
    }
}

/// What was tried, and whether there is one more try.
struct Tries<'a> {
    call: &'a Call,
    tried: SmallVec<[SocketAddr; 3]>,
    retries: u32,
    stale: u32,
}

impl Tries<'_> {
    /// The time that is left, in equal parts for this try and those that may follow.
    fn time_to_connect(&self, deadline: Instant) -> Duration {
        let retry = self.call.retry.as_ref().filter(|retry| retry.connect);
        let parts = retry.map_or(1, |retry| retry.attempts.saturating_sub(self.retries) + 1);
        let left = deadline.saturating_duration_since(Instant::now()) / parts;
        left.clamp(Duration::from_millis(1), CONNECT_MAX)
    }

    /// A connection of the pool had been closed already: the service is not to blame, and has not seen the request as
    /// far as that can be known. So only what may be repeated is repeated (RFC 9110, section 9.2.2).
    fn again_on_another_connection(&mut self) -> bool {
        self.stale += 1;
        let again = self.stale <= STALE_CONNECTIONS_MAX && self.call.method.is_idempotent();
        if again {
            self.tried.pop();
        }
        again
    }

    fn again(&mut self, done: &Result<Response, Broken>) -> bool {
        let Some(retry) = &self.call.retry else { return false };
        let wanted = match done {
            Err(Broken::NoConnection) => retry.connect,
            Err(Broken::Off | Broken::Stale) => retry.reset && self.call.method.is_idempotent(),
            Err(_) => false,
            Ok(response) => {
                retry.statuses.contains(&response.status.as_u16()) && self.call.method.is_idempotent()
            }
        };
        // Asked last: the budget counts the question as a retry.
        let again = wanted
            && self.retries < retry.attempts
            && self.call.upstream.may_retry(std::time::Instant::now());
        self.retries += u32::from(again);
        again
    }
}

fn observe(upstream: &Upstream, picked: &Picked, seen: Observation) {
    upstream.observe(picked, seen, std::time::Instant::now());
}

/// As the edge sees it: no connection, no answer, a broken one, 502, 503 and 504 speak against the target. That a kept
/// connection was closed says nothing of it.
fn seen(done: &Result<Response, Broken>) -> Option<Observation> {
    match done {
        Ok(response) if matches!(response.status.as_u16(), 502..=504) => Some(Observation::Failure),
        Ok(_) | Err(Broken::TooLarge | Broken::Coding) => Some(Observation::Success),
        Err(Broken::Stale | Broken::Request) => None,
        Err(Broken::NoConnection | Broken::Off) => Some(Observation::Failure),
    }
}

impl From<Broken> for Failure {
    fn from(broken: Broken) -> Self {
        match broken {
            Broken::NoConnection => Failure::Connect,
            Broken::Stale | Broken::Off => Failure::Broken,
            Broken::TooLarge => Failure::TooLarge,
            Broken::Coding => Failure::ContentCoding,
            Broken::Request => Failure::Request,
        }
    }
}
