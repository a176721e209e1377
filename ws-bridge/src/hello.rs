//! What a bridge inside the edge is handed with a connection: who is there, and what the connection holds.

use std::net::IpAddr;
use std::sync::Arc;

use sallyport_sidecar::Introduction;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};

/// A client's connection behind its WebSocket handshake.
pub trait Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send + 'static> Stream for T {}

/// Who is at the other end. The edge has checked it.
pub struct Hello {
    /// The client's address, as trusted proxies tell it.
    pub client: IpAddr,
    /// The claims of the identity that the route's filters established; `None` without one.
    pub claims: Option<Arc<Value>>,
    /// The request id of the upgrade, for logs.
    pub request_id: String,
    /// What lives as long as the connection: places in limits of the edge. Drop it when the connection has ended.
    pub hold: Box<dyn Send>,
}

impl From<Introduction> for Hello {
    /// In a process of its own: the edge counts the connection for as long as it is open, so nothing has to be held here.
    fn from(Introduction { client, claims, request_id }: Introduction) -> Self {
        Hello { client, claims, request_id, hold: Box::new(()) }
    }
}
