//! What the server needs of the bridge behind it.

use std::pin::Pin;

use bytes::Bytes;
use futures::Stream;
use sallyport_sidecar::{Operations, Refusal};
use tokio::net::UnixStream;

use crate::hello::Hello;

/// The bridge, as far as its HTTP side knows it.
pub trait Service: Operations {
    /// A client wants a WebSocket; its handshake was checked.
    ///
    /// # Errors
    /// A refusal that the client gets instead, such as one connection too many.
    fn websocket(&self, hello: Hello) -> Result<Carry, Refusal>;

    /// A client wants server-sent events. They end when the stream does, or it is dropped when the client goes.
    ///
    /// # Errors
    /// A refusal that the client gets instead.
    fn events(&self, request: EventsRequest) -> Result<EventStream, Refusal>;
}

/// Takes a connection over when the answer to its handshake is written: the stream, and what the client sent behind the
/// handshake already. Returns at once; what it holds is dropped with it if the connection ends before.
pub type Carry = Box<dyn FnOnce(UnixStream, Bytes) + Send>;

/// Blocks of server-sent events, see [`event_block`](super::event_block).
pub type EventStream = Pin<Box<dyn Stream<Item = Bytes> + Send>>;

/// A client's wish for server-sent events.
pub struct EventsRequest {
    /// Who is there.
    pub hello: Hello,
    /// The channels it names, each once, in its order; none is possible.
    pub channels: Vec<String>,
    /// Where it was, if it was here before.
    pub last_event_id: Option<String>,
}
