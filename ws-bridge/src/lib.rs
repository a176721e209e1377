//! Kafka events to browsers over WebSocket and server-sent events, each client only what concerns it.
//!
//! Records come from `sallyport-kafka`, become events in [`mapping`], go through the `hub` to those who may see them, and
//! leave over connections that speak Centrifugo's client protocol. The edge guards the way here; this crate does
//! not know it.

pub mod event;
pub mod mapping;
mod plan;
mod template;
mod allowance;
mod hub;
mod feed;
mod changes;
mod catch_up;
mod protocol;
mod session;
mod who;
mod client;
mod clients;
mod timers;
pub mod websocket;
mod counted;
mod connection;
mod events;
pub mod hello;
mod bridge;
pub mod server;
pub mod explain;
mod host;
mod serve;
mod metrics;

pub use bridge::{Bridge, BridgeMetrics, StartError};
pub use connection::Ended;
pub use host::Host;
pub use plan::Plan;
pub use serve::{ServeError, Serving, serve};
