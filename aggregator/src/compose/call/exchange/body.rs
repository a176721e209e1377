//! The body of an answer, in one piece and within its limits.
//!
//! It is copied once at most behind the connection: what has come whole with the head stays where it is, and what comes in
//! several pieces is gathered in a buffer that is as large as is announced.

use bytes::{Bytes, BytesMut};
use http::header::CONTENT_LENGTH;
use pingora_core::protocols::http::HttpTask;
use pingora_http::ResponseHeader;
use sallyport_upstreams::exchange::Exchange;

use super::super::super::gate::{Gate, UNASKED_BYTES};
use super::Broken;

/// A piece of fewer bytes is copied, even if it is all there is: the buffer that it came in may be many times as large.
const IN_PLACE_BYTES_MIN: usize = 16 * 1024;

/// Reads the body behind a head. No more is held than `gate` allows, but for what comes at once.
///
/// # Errors
/// It is longer than `bytes_max`, or the connection breaks.
pub(super) async fn read(
    exchange: &mut Exchange,
    head: &ResponseHeader,
    bytes_max: usize,
    gate: &Gate,
) -> Result<Bytes, Broken> {
    let announced = content_length(head);
    if announced.is_some_and(|announced| announced > bytes_max) {
        return Err(Broken::TooLarge);
    }
    let mut body = Body { only: Bytes::new(), gathered: BytesMut::new(), allowed: 0, bytes_max, gate };
    body.allow(announced.unwrap_or(0)).await;
    loop {
        let over = if announced.is_some() && body.bytes() > 0 {
            let gathered = body.gather();
            let over = exchange.next_into(gathered, false).await.map_err(|_| Broken::Off)?;
            if gathered.len() > bytes_max {
                return Err(Broken::TooLarge);
            }
            over
        } else {
            match exchange.next(false).await.map_err(|_| Broken::Off)? {
                HttpTask::Body(chunk, over) => {
                    body.add(chunk.unwrap_or_default()).await?;
                    over
                }
                HttpTask::Trailer(_) | HttpTask::Done => true,
                HttpTask::Header(..) | HttpTask::UpgradedBody(..) | HttpTask::Failed(_) => {
                    return Err(Broken::Off);
                }
            }
        };
        if over {
            return Ok(body.finish(head_bytes(head)));
        }
    }
}

/// A body as far as it has come.
struct Body<'a> {
    /// The first piece, as long as it is the only one.
    only: Bytes,
    gathered: BytesMut,
    /// Bytes that the gate has let pass.
    allowed: usize,
    bytes_max: usize,
    gate: &'a Gate,
}

impl Body<'_> {
    fn bytes(&self) -> usize {
        self.only.len() + self.gathered.len()
    }

    async fn allow(&mut self, bytes: usize) {
        self.allowed = bytes;
        self.gate.pass(bytes).await;
    }

    async fn add(&mut self, chunk: Bytes) -> Result<(), Broken> {
        let needed = self.bytes() + chunk.len();
        if needed > self.bytes_max {
            return Err(Broken::TooLarge);
        }
        if needed > self.allowed {
            self.allow((needed * 2).clamp(UNASKED_BYTES.min(self.bytes_max), self.bytes_max)).await;
        }
        if self.bytes() == 0 {
            self.only = chunk;
        } else {
            self.gather().extend_from_slice(&chunk);
        }
        Ok(())
    }

    /// Where all pieces are put one behind the other, with room for as much as is allowed.
    fn gather(&mut self) -> &mut BytesMut {
        if self.gathered.capacity() < self.allowed {
            self.gathered.reserve(self.allowed - self.gathered.len());
        }
        self.gathered.extend_from_slice(&std::mem::take(&mut self.only));
        &mut self.gathered
    }

    /// The bytes, without much room around them: they may be kept for long.
    fn finish(self, head_bytes: usize) -> Bytes {
        if !self.only.is_empty() {
            // It may share its memory with the head.
            let in_place = self.only.len() >= IN_PLACE_BYTES_MIN.max(4 * head_bytes);
            return if in_place { self.only } else { Bytes::copy_from_slice(&self.only) };
        }
        if self.gathered.capacity() > self.gathered.len() / 4 * 5 + 1024 {
            return Bytes::copy_from_slice(&self.gathered);
        }
        self.gathered.freeze()
    }
}

/// The length that is announced. It was checked that it is one number, and removed where chunks follow.
fn content_length(head: &ResponseHeader) -> Option<usize> {
    head.headers.get(CONTENT_LENGTH)?.to_str().ok()?.trim().parse().ok()
}

/// About how long a head is.
fn head_bytes(head: &ResponseHeader) -> usize {
    head.headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum()
}
