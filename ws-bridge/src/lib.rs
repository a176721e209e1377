//! Kafka events to browsers over WebSocket and server-sent events, each client only what concerns it.
//!
//! Records come from [`kafka`], become events in [`mapping`], go through the [`hub`] to those who may see them, and
//! leave over connections that speak Centrifugo's client protocol. The edge guards the way here; this crate does
//! not know it.

pub mod event;
pub mod hello;
pub mod mapping;
pub mod record;
pub mod server;
pub mod websocket;
