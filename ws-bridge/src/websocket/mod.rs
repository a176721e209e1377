//! WebSocket frames (RFC 6455), the server's side: bytes to messages ([`Reader`]), messages to frames ([`text_frame`] and
//! its neighbours), and what waits for one client ([`Outbox`]).
//!
//! Not here: the upgrade (`server`, or the edge), and what messages mean (`protocol`, `session`). Nothing here owns a
//! socket or a clock.
//!
//! Opcodes, close codes and unmasking are fastwebsockets'. Its reader and writer are not used; the comments that name it
//! say what is done otherwise here, and `docs/decisions/0012-websocket-frames.md` says why.

mod error;
mod header;
mod message;
mod reader;
mod scratch;
mod frames;
mod outbox;

#[cfg(test)]
mod cases;
#[cfg(test)]
mod properties;
#[cfg(test)]
mod wire;

pub use error::ReadError;
pub use frames::{PING, close_frame, ping_frame, pong_frame, text_frame};
pub use message::Incoming;
pub use outbox::{Outbox, Refused};
pub use reader::{FRAMES_A_MESSAGE_MAX, Limits, ReadEnd, Reader};

/// The most bytes of payload that a control frame may have (RFC 6455, section 5.5).
pub const CONTROL_BYTES_MAX: usize = 125;
