//! Bodies of requests: kept where a composition passes them on, let go where none does, and what they may take together.
//!
//! Only small bodies take nothing from anybody. Another waits, unread, for all that it could ever need, and so does the edge
//! behind it. Who has its part asks for no more of it, so that there can be no deadlock; a composition that waits for
//! memory may hold a body, but no body waits for a composition.

use std::pin::pin;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::body::Body;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Bytes of a request's body that a composition may pass on. Beyond: 413.
const BODY_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Bytes of a body that is read without asking.
const FREE_BYTES: usize = 64 * 1024;
/// Bytes of larger bodies, of all requests together.
const POOL_BYTES: usize = 256 * 1024 * 1024;
/// The pool is counted in pieces of this many bytes.
const PIECE_BYTES: usize = 1024;

/// What bodies may take.
#[derive(Debug, Clone)]
pub(crate) struct Bodies(Arc<Semaphore>);

/// A body, and its part of the pool, which is given back on drop.
#[derive(Debug)]
pub(crate) struct Held {
    /// The body; empty if nobody wants it.
    pub(crate) bytes: Bytes,
    _part: Option<OwnedSemaphorePermit>,
}

/// Why there is no body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BodyError {
    /// It is larger than [`BODY_BYTES_MAX`].
    TooLarge,
    /// It broke off.
    Broken,
}

impl Bodies {
    /// With nothing taken.
    pub(crate) fn new() -> Bodies {
        Bodies(Arc::new(Semaphore::new(POOL_BYTES / PIECE_BYTES)))
    }

    /// Reads a body to its end: an answer before that could be lost by who still sends. What is not wanted, or too large, is
    /// not kept.
    ///
    /// # Errors
    /// See [`BodyError`].
    pub(crate) async fn read<B: Body<Data = Bytes>>(&self, body: B, wanted: bool) -> Result<Held, BodyError> {
        let announced = body.size_hint().exact().map(|bytes| usize::try_from(bytes).unwrap_or(usize::MAX));
        let (mut body, mut bytes, mut part) = (pin!(body), BytesMut::new(), None);
        let mut keeps = wanted && announced.is_none_or(|announced| announced <= BODY_BYTES_MAX);
        if let Some(announced) = announced.filter(|announced| keeps && *announced > FREE_BYTES) {
            part = self.take(announced).await;
        }
        while let Some(frame) = body.frame().await {
            let Ok(data) = frame.map_err(|_| BodyError::Broken)?.into_data() else { continue };
            keeps &= bytes.len() + data.len() <= BODY_BYTES_MAX;
            if !keeps {
                (bytes, part) = (BytesMut::new(), None);
                continue;
            }
            if bytes.len() + data.len() > FREE_BYTES && part.is_none() {
                part = self.take(BODY_BYTES_MAX).await;
            }
            bytes.extend_from_slice(&data);
        }
        if wanted && !keeps {
            Err(BodyError::TooLarge)
        } else {
            Ok(Held { bytes: bytes.freeze(), _part: part })
        }
    }

    async fn take(&self, bytes: usize) -> Option<OwnedSemaphorePermit> {
        let pieces = u32::try_from(bytes.div_ceil(PIECE_BYTES)).unwrap_or(u32::MAX);
        // The pool is never closed, and never smaller than the largest body.
        self.0.clone().acquire_many_owned(pieces).await.ok()
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use futures::FutureExt;
    use http_body_util::{Full, StreamBody};
    use hyper::body::Frame;

    use super::*;

    fn whole(bytes: usize) -> Full<Bytes> {
        Full::new(Bytes::from(vec![b'x'; bytes]))
    }

    /// In pieces of 64 KiB, of a length that nobody has announced.
    fn chunked(pieces: usize) -> impl Body<Data = Bytes, Error = Infallible> {
        let piece = |_| Ok(Frame::data(Bytes::from(vec![b'x'; 64 * 1024])));
        StreamBody::new(futures::stream::iter((0..pieces).map(piece)))
    }

    fn left(bodies: &Bodies) -> usize {
        bodies.0.available_permits() * PIECE_BYTES
    }

    #[tokio::test]
    async fn a_body_takes_what_it_needs_and_gives_it_back() {
        let bodies = Bodies::new();
        let small = bodies.read(whole(FREE_BYTES), true).await.unwrap();
        assert_eq!((small.bytes.len(), left(&bodies)), (FREE_BYTES, POOL_BYTES));
        let large = bodies.read(whole(1 << 20), true).await.unwrap();
        assert_eq!((large.bytes.len(), left(&bodies)), (1 << 20, POOL_BYTES - (1 << 20)));
        let unknown = bodies.read(chunked(3), true).await.unwrap();
        assert_eq!(unknown.bytes.len(), 192 * 1024);
        assert_eq!(left(&bodies), POOL_BYTES - (1 << 20) - BODY_BYTES_MAX);
        drop((large, unknown));
        assert_eq!(left(&bodies), POOL_BYTES);
    }

    #[tokio::test]
    async fn what_nobody_wants_is_let_go() {
        let bodies = Bodies::new();
        for pieces in [1, 400] {
            let held = bodies.read(chunked(pieces), false).await.unwrap();
            assert_eq!((held.bytes.len(), left(&bodies)), (0, POOL_BYTES));
        }
    }

    #[tokio::test]
    async fn what_is_too_large_is_read_to_its_end_and_not_kept() {
        let bodies = Bodies::new();
        assert_eq!(bodies.read(whole(BODY_BYTES_MAX + 1), true).await.unwrap_err(), BodyError::TooLarge);
        assert_eq!(bodies.read(chunked(257), true).await.unwrap_err(), BodyError::TooLarge);
        assert_eq!(bodies.read(chunked(256), true).await.unwrap().bytes.len(), BODY_BYTES_MAX);
        assert_eq!(left(&bodies), POOL_BYTES);
    }

    #[tokio::test]
    async fn bodies_wait_in_turn_unread() {
        let bodies = Bodies::new();
        let mut held = Vec::new();
        for _ in 0..POOL_BYTES / BODY_BYTES_MAX {
            held.push(bodies.take(BODY_BYTES_MAX).await);
        }
        let mut waits = Box::pin(bodies.read(chunked(2), true));
        assert!(futures::poll!(&mut waits).is_pending());
        // Who waits holds up nobody who needs nothing.
        assert!(bodies.read(whole(10), true).now_or_never().is_some());
        assert!(bodies.read(chunked(400), false).now_or_never().is_some());
        held.pop();
        assert_eq!(waits.await.unwrap().bytes.len(), 128 * 1024);
    }

    #[tokio::test]
    async fn a_body_that_breaks_off_is_none() {
        for wanted in [true, false] {
            let pieces = [Ok(Frame::data(Bytes::from_static(b"x"))), Err("gone")];
            let body = StreamBody::new(futures::stream::iter(pieces));
            assert_eq!(Bodies::new().read(body, wanted).await.unwrap_err(), BodyError::Broken);
        }
    }
}
