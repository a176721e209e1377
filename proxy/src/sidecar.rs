//! The bridge beside the edge: where it is, what it is told of a client, and how a connection is handed to one that runs in
//! the same process.

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
use sallyport_config::route::Timeouts;
use sallyport_filters::Facts;
use sallyport_sidecar::{CLAIMS, CLIENT};
pub use sallyport_ws_bridge::hello::{Hello, Stream};

/// Its name in logs, where an upstream's stands otherwise.
pub(crate) const NAME: &str = "ws-bridge";
/// How long a connection to the bridge waits in the pool for its next use.
const POOL_IDLE: Duration = Duration::from_secs(60);

/// Where a bridge can be reached.
#[derive(Clone)]
pub struct Seat {
    /// The Unix socket that it serves HTTP on.
    pub socket: PathBuf,
    /// The bridge itself if it runs in this process: WebSockets are handed to it without a second hop.
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

impl Seat {
    /// What Pingora connects to. A stream of events may last and pause as long as it likes, so nothing but the connection
    /// has a limit.
    ///
    /// # Errors
    /// The path is no address of a Unix socket: 107 bytes are the most.
    pub(crate) fn peer(&self, timeouts: &Timeouts) -> Result<Box<HttpPeer>> {
        let Some(path) = self.socket.to_str() else {
            return Error::e_explain(
                ErrorType::InternalError,
                "the bridge's socket has a path that is no text",
            );
        };
        let mut peer =
            HttpPeer::new_uds(path, false, String::new()).or_err(ErrorType::InternalError, "bridge")?;
        let connect = (!timeouts.connect.is_zero()).then_some(*timeouts.connect);
        peer.options.connection_timeout = connect;
        peer.options.total_connection_timeout = connect;
        peer.options.idle_timeout = Some(POOL_IDLE);
        peer.options.http_upstream_request_policy = HttpUpstreamRequestPolicy::standard();
        Ok(Box::new(peer))
    }
}

/// Tells the bridge who the client is. The names are managed, see [`crate::managed`]: no client can set them.
pub(crate) fn introduce(head: &mut RequestHeader, facts: &Facts) -> Result<()> {
    head.insert_header(CLIENT, facts.client.to_string())?;
    head.remove_header(CLAIMS);
    if let Some(identity) = &facts.identity {
        let claims = URL_SAFE_NO_PAD.encode(identity.claims.to_string());
        let claims = HeaderValue::from_str(&claims).or_err(ErrorType::InternalError, "claims as a field")?;
        head.insert_header(CLAIMS, claims)?;
    }
    Ok(())
}
