//! The parts beside the edge, the bridge and the aggregator: where they are, what they are told of a request, and how a
//! connection is handed to a bridge that runs in the same process.

use std::borrow::Cow;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use futures::future::BoxFuture;
use http::HeaderValue;
use pingora_core::upstreams::peer::{HttpPeer, HttpUpstreamRequestPolicy};
use pingora_error::{Error, ErrorType, OrErr, Result};
use pingora_http::RequestHeader;
use sallyport_aggregator::asked::{IDENTITY, PARAMS, ROUTE};
use sallyport_config::route::Timeouts;
use sallyport_filters::Facts;
use sallyport_sidecar::{CLAIMS, CLIENT};
pub use sallyport_ws_bridge::hello::{Hello, Stream};

/// How long a connection to a sidecar waits in the pool for its next use.
const POOL_IDLE: Duration = Duration::from_secs(60);
const X_REQUEST_ID: &str = "X-Request-Id";

/// A part of Sallyport beside the edge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sidecar {
    /// Carries events to browsers.
    Bridge,
    /// Composes answers and keeps views.
    Aggregator,
}

/// What the aggregator is told of a route.
pub(crate) struct Introduction {
    route: HeaderValue,
    identity: HeaderValue,
}

/// Where a sidecar can be reached.
#[derive(Clone)]
pub struct Seat {
    /// Which one it is.
    pub sidecar: Sidecar,
    /// The Unix socket that it serves HTTP on.
    pub socket: PathBuf,
    /// A bridge itself if it runs in this process: WebSockets are handed to it without a second hop.
    pub carrier: Option<Arc<dyn Carrier>>,
}

/// A bridge that carries WebSockets of this process's clients.
pub trait Carrier: Send + Sync + 'static {
    /// Carries a connection to its end. The handshake is over: the next byte in either direction belongs to a frame.
    /// When the edge stops, the carrier ends its connections itself; what outlasts the drain is dropped.
    fn carry(&self, stream: Box<dyn Stream>, hello: Hello) -> BoxFuture<'static, Ended>;

    /// The subprotocols it speaks; the first that a client offers is chosen. Default: `centrifuge-json`.
    fn subprotocols(&self) -> &[&'static str] {
        &["centrifuge-json"]
    }
}

/// How a tunnel ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    /// Why.
    pub reason: Reason,
    /// Bytes from the client, behind the handshake.
    pub received_bytes: u64,
    /// Bytes to the client, behind the handshake.
    pub sent_bytes: u64,
    /// What went wrong, for the operator. No payload, no token.
    pub error: Option<Cow<'static, str>>,
}

/// Why a tunnel ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// The client ended it.
    Client,
    /// The upstream, or the bridge, ended it.
    Upstream,
    /// Nothing was heard for too long.
    Idle,
    /// It was too old.
    Age,
    /// The edge stops.
    Drain,
    /// A connection broke.
    Error,
}

impl Reason {
    /// Every reason, for metrics.
    pub(crate) const ALL: [Reason; 6] =
        [Reason::Client, Reason::Upstream, Reason::Idle, Reason::Age, Reason::Drain, Reason::Error];

    /// The word in logs and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Reason::Client => "client",
            Reason::Upstream => "upstream",
            Reason::Idle => "idle",
            Reason::Age => "age",
            Reason::Drain => "drain",
            Reason::Error => "error",
        }
    }
}

impl Sidecar {
    /// Its name in logs, where an upstream's stands otherwise.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Sidecar::Bridge => "ws-bridge",
            Sidecar::Aggregator => "aggregator",
        }
    }

    /// Whether its answers have the route's time limits. A stream of events may last and pause as long as it likes.
    pub(crate) fn is_limited(self) -> bool {
        self == Sidecar::Aggregator
    }
}

impl Introduction {
    /// What to tell of a route with this name, whose chain sets these fields. `None` if the name cannot stand in a head.
    pub(crate) fn new<'a>(route: &str, sets: impl Iterator<Item = &'a str>) -> Option<Introduction> {
        let mut names: Vec<&str> = sets.collect();
        names.sort_unstable();
        names.dedup();
        let route = HeaderValue::from_bytes(route.as_bytes()).ok()?;
        Some(Introduction { route, identity: HeaderValue::from_str(&names.join(",")).ok()? })
    }
}

impl Seat {
    /// What Pingora connects to.
    ///
    /// # Errors
    /// The path is no address of a Unix socket: 107 bytes are the most.
    pub(crate) fn peer(&self, timeouts: &Timeouts) -> Result<Box<HttpPeer>> {
        let Some(path) = self.socket.to_str() else {
            return Error::e_explain(
                ErrorType::InternalError,
                "the sidecar's socket has a path that is no text",
            );
        };
        let mut peer =
            HttpPeer::new_uds(path, false, String::new()).or_err(ErrorType::InternalError, "sidecar")?;
        let connect = (!timeouts.connect.is_zero()).then_some(*timeouts.connect);
        peer.options.connection_timeout = connect;
        peer.options.total_connection_timeout = connect;
        peer.options.idle_timeout = Some(POOL_IDLE);
        peer.options.http_upstream_request_policy = HttpUpstreamRequestPolicy::standard();
        Ok(Box::new(peer))
    }
}

/// Tells the aggregator which route it answers for.
pub(crate) fn introduce_route(
    head: &mut RequestHeader,
    told: &Introduction,
    facts: &Facts,
    path: &str,
) -> Result<()> {
    head.insert_header(ROUTE, told.route.clone())?;
    head.insert_header(IDENTITY, told.identity.clone())?;
    let params = HeaderValue::from_str(&params_line(facts, path))
        .or_err(ErrorType::InternalError, "parameters as a field")?;
    head.insert_header(PARAMS, params)
}

/// Path parameters as [`PARAMS`] has them. They keep the encoding of the canonical path, but `&` would part them.
fn params_line(facts: &Facts, path: &str) -> String {
    let mut line = String::new();
    let names = facts.route.iter().flat_map(|route| route.params.iter());
    for (name, (from, to)) in names.zip(&facts.params) {
        let Some(value) = path.get(usize::from(*from)..usize::from(*to)) else { continue };
        if !line.is_empty() {
            line.push('&');
        }
        line.push_str(name);
        line.push('=');
        line.push_str(&value.replace('&', "%26"));
    }
    line
}

/// Tells a sidecar who the client is. The names are managed, see [`crate::managed`]: no client can set them.
pub(crate) fn introduce(head: &mut RequestHeader, facts: &Facts) -> Result<()> {
    head.insert_header(CLIENT, facts.client.to_string())?;
    // The filter `request_id` may show it under another name, or not at all.
    head.insert_header(X_REQUEST_ID, facts.request_id.clone())?;
    head.remove_header(CLAIMS);
    if let Some(identity) = &facts.identity {
        let claims = URL_SAFE_NO_PAD.encode(identity.claims.to_string());
        let claims = HeaderValue::from_str(&claims).or_err(ErrorType::InternalError, "claims as a field")?;
        head.insert_header(CLAIMS, claims)?;
    }
    Ok(())
}
