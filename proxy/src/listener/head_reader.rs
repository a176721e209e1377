//! Reads the raw head of one HTTP/1.1 request within its limits. Does not parse it.
//!
//! Nothing is held while a connection is idle, see `wire/src/scratch.rs`.

use std::future::poll_fn;
use std::io;
use std::time::Duration;

use bytes::BytesMut;
use pingora_core::server::ShutdownWatch;
use pingora_timeout::timeout;
use sallyport_wire::poll_read_some;
use tokio::io::AsyncRead;

use crate::head;

/// How the wait for a head ended.
#[derive(Debug)]
pub(super) enum Arrived {
    /// A whole head is in the buffer and ends at this offset; bytes behind it may follow.
    Head(usize),
    /// The client closed, broke or said nothing within the idle time, or the edge is stopping: close without a word.
    Nothing,
    /// The head did not come within its time.
    TooSlow,
    /// The head is longer than the limit.
    TooLarge,
}

/// Limits on one head.
pub(super) struct Patience {
    /// Until the first byte.
    pub(super) idle: Duration,
    /// From the first byte to the last.
    pub(super) head: Duration,
    /// The most bytes.
    pub(super) bytes_max: usize,
}

/// Waits for a head. `buffer` may already hold bytes that came behind the last request.
pub(super) async fn read_head(
    stream: &mut (impl AsyncRead + Unpin),
    buffer: &mut BytesMut,
    patience: &Patience,
    stop: &mut ShutdownWatch,
) -> Arrived {
    if buffer.is_empty() {
        match first_bytes(stream, buffer, patience.idle, stop).await {
            Ok(true) => {}
            Ok(false) | Err(_) => return Arrived::Nothing,
        }
    }
    if let Some(done) = complete(buffer, 0, patience.bytes_max) {
        return done;
    }
    match timeout(patience.head, rest(stream, buffer, patience.bytes_max)).await {
        Ok(arrived) => arrived,
        Err(_) => Arrived::TooSlow,
    }
}

async fn first_bytes(
    stream: &mut (impl AsyncRead + Unpin),
    buffer: &mut BytesMut,
    idle: Duration,
    stop: &mut ShutdownWatch,
) -> io::Result<bool> {
    if *stop.borrow() {
        return Ok(false);
    }
    let read = timeout(idle, poll_fn(|cx| poll_read_some(stream, buffer, cx)));
    tokio::select! {
        biased;
        read = read => match read {
            Ok(read) => Ok(read? > 0),
            Err(_) => Ok(false),
        },
        _ = stop.changed() => Ok(false),
    }
}

async fn rest(stream: &mut (impl AsyncRead + Unpin), buffer: &mut BytesMut, bytes_max: usize) -> Arrived {
    loop {
        let before = buffer.len();
        match poll_fn(|cx| poll_read_some(stream, buffer, cx)).await {
            Ok(0) | Err(_) => return Arrived::Nothing,
            Ok(_) => {}
        }
        if let Some(done) = complete(buffer, before, bytes_max) {
            return done;
        }
    }
}

fn complete(buffer: &BytesMut, searched: usize, bytes_max: usize) -> Option<Arrived> {
    match head::find_end(buffer, searched) {
        Some(end) if end <= bytes_max => Some(Arrived::Head(end)),
        Some(_) => Some(Arrived::TooLarge),
        None if buffer.len() > bytes_max => Some(Arrived::TooLarge),
        None => None,
    }
}
