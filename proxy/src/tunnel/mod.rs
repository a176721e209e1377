//! WebSocket tunnels: bytes both ways between a client and an upstream or a bridge, behind a handshake that the edge has
//! checked on both sides.
//!
//! Pingora carries no byte of a tunnel. Why: docs/decisions/0011-websocket-tunnels.md. Which requests may become one is
//! for the route and its filters to say, before anything here is asked.

mod handshake;
mod origin;
mod open;
mod connect;
mod refusal;
mod record;
mod frames;
mod half;
mod pipe;
mod life;
mod run;

pub use frames::Frames;
pub(crate) use handshake::{Asked, asked};
pub(crate) use life::Limits;
pub(crate) use open::{Opened, Opening, open};
pub(crate) use origin::Origins;
pub(crate) use record::Record;
pub(crate) use run::Tunnel;
