//! Reading into a buffer of the thread, so that a connection that waits holds none: bytes land there and are copied out once.

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::BytesMut;
use tokio::io::{AsyncRead, ReadBuf};

/// The most that is read at once. Also what a stream of Pingora's buffers: reads of this size go past that buffer.
pub const READ_BYTES: usize = 64 * 1024;

thread_local! {
    static SCRATCH: RefCell<Box<[u8]>> = RefCell::new(vec![0; READ_BYTES].into_boxed_slice());
}

/// Reads what has come behind what is in the buffer; 0 where the other side has closed.
///
/// # Errors
/// Those of the stream.
pub fn poll_read_some(
    stream: &mut (impl AsyncRead + Unpin),
    to: &mut BytesMut,
    cx: &mut Context<'_>,
) -> Poll<io::Result<usize>> {
    SCRATCH.with_borrow_mut(|scratch| {
        let mut read = ReadBuf::new(scratch);
        ready!(Pin::new(stream).poll_read(cx, &mut read))?;
        to.extend_from_slice(read.filled());
        Poll::Ready(Ok(read.filled().len()))
    })
}
