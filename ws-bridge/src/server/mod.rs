//! The bridge's HTTP side, behind the edge: see `sallyport-sidecar` for who may speak here, and for operators.
//!
//! A request of a client opens a WebSocket, on any path, or a stream of server-sent events.
//!
//! Not here: what happens on a connection once it is open, see [`Service`].

mod service;
mod respond;
mod upgrade;
mod query;
mod events;
mod answer;

#[cfg(test)]
mod tests;

pub use events::event_block;
pub use respond::serve;
pub use service::{Carry, EventStream, EventsRequest, Service};
