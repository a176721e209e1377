//! A connection to an HTTP/1.1 upstream: bytes in, bytes out, each within its time.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::{Context, Waker};
use std::time::Duration;

use bytes::BytesMut;
use pingora_core::protocols::{Digest, Stream};
use pingora_error::{Error, ErrorType, OrErr, Result};
use pingora_timeout::timeout;
use sallyport_wire::{READ_BYTES, poll_read_some};
use tokio::io::{AsyncRead as _, AsyncReadExt as _, AsyncWriteExt as _, ReadBuf};
use tokio::task::coop::unconstrained;

/// A connection, and what is known of it.
pub(super) struct Connection {
    stream: Stream,
    digest: Digest,
}

impl Connection {
    pub(super) fn of(stream: Stream) -> Self {
        let digest = Digest { proxy_digest: stream.get_proxy_digest(), ..Digest::default() };
        Connection { stream, digest }
    }

    /// What the one who connected has left with it.
    pub(super) fn digest(&self) -> &Digest {
        &self.digest
    }

    /// Whether the other side has neither closed nor said anything.
    pub(super) fn is_quiet(&mut self) -> bool {
        let read = poll_fn(|cx| {
            let mut byte = [0; 1];
            Pin::new(&mut self.stream).poll_read(cx, &mut ReadBuf::new(&mut byte))
        });
        // A task that has used up its budget is told that nothing is ready, whatever has come.
        let read = pin!(unconstrained(read));
        read.poll(&mut Context::from_waker(Waker::noop())).is_pending()
    }

    /// Sends pieces, all of them, and flushes.
    ///
    /// # Errors
    /// The connection is broken, or the other side does not take them in time.
    pub(super) async fn send(&mut self, pieces: &[&[u8]], limit: Option<Duration>) -> Result<()> {
        let all = async {
            for piece in pieces {
                self.stream.write_all(piece).await?;
            }
            self.stream.flush().await
        };
        within(limit, all, ErrorType::WriteTimedout).await?.or_err(ErrorType::WriteError, "while sending")
    }

    /// Reads what has come, at least a byte, behind what is in the buffer; 0 where the other side has closed. `left` is
    /// how much is known to follow.
    ///
    /// # Errors
    /// The connection is broken, or nothing comes in time.
    pub(super) async fn read(
        &mut self,
        arrived: &mut BytesMut,
        left: u64,
        limit: Option<Duration>,
    ) -> Result<usize> {
        let read = if left >= READ_BYTES as u64 {
            arrived.reserve(READ_BYTES);
            within(limit, self.stream.read_buf(arrived), ErrorType::ReadTimedout).await?
        } else {
            let some = poll_fn(|cx| poll_read_some(&mut self.stream, arrived, cx));
            within(limit, some, ErrorType::ReadTimedout).await?
        };
        read.or_err(ErrorType::ReadError, "while reading the answer")
    }
}

async fn within<T>(limit: Option<Duration>, work: impl Future<Output = T>, late: ErrorType) -> Result<T> {
    match limit {
        Some(limit) => timeout(limit, work).await.map_err(|_| Error::explain(late, "of the upstream")),
        None => Ok(work.await),
    }
}
