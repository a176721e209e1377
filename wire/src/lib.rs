//! HTTP/1.1 as bytes (RFC 9112): where a head ends, where a body ends, and how bytes are read.
//!
//! The side of clients and the side of upstreams both stand on this. What a head says, and what may be said in one, is for
//! either side to know: clients are believed nothing, upstreams a little.

mod head_end;
mod body_end;
mod scratch;

pub use body_end::{BodyEnd, Chunk, Framing, Malformed, is_bodiless};
pub use head_end::find_end;
pub use scratch::{READ_BYTES, poll_read_some};
