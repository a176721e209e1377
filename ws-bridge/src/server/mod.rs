//! The bridge's HTTP side: HTTP/1.1 over a Unix socket, for the edge and for nobody else.
//!
//! A request of a client carries `Sallyport-Client`, which the edge sets on all that it forwards and deletes from what
//! clients send. It opens a WebSocket, on any path, or a stream of server-sent events. A request without the header comes
//! from this machine: it may ask for `/healthz`, `/readyz` and `/metrics`, which for that reason no route of an edge can
//! reach. Who may speak here at all is decided by the socket file, which its owner alone may open.
//!
//! Not here: what happens on a connection once it is open, see [`Service`].

mod service;
mod socket;
mod serve;
mod respond;
mod greeting;
mod upgrade;
mod query;
mod events;
mod answer;

#[cfg(test)]
mod tests;

pub use events::event_block;
pub use serve::serve;
pub use service::{Carry, EventStream, EventsRequest, Refusal, Service};
pub use socket::bind;
