//! Streams for tests: a client that sends pieces, and a socket that takes a little at a time.

use std::collections::VecDeque;
use std::io::{IoSlice, Result as IoResult};
use std::ops::ControlFlow;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use fastwebsockets::unmask;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{Incoming, Limits, ReadEnd, ReadError, Reader};

/// A client that sends these pieces, then nothing more, then ends.
pub(super) struct Source {
    pub(super) pieces: VecDeque<Vec<u8>>,
    /// Every second poll has nothing to read.
    pub(super) hesitates: bool,
    pub(super) open: bool,
    pending: bool,
}

impl Source {
    pub(super) fn of(pieces: impl IntoIterator<Item = Vec<u8>>) -> Self {
        let pieces = pieces.into_iter().filter(|piece| !piece.is_empty()).collect();
        Source { pieces, hesitates: false, open: false, pending: false }
    }
}

impl AsyncRead for Source {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<IoResult<()>> {
        self.pending = self.hesitates && !self.pending;
        if self.pending || (self.open && self.pieces.is_empty()) {
            return Poll::Pending;
        }
        if let Some(mut piece) = self.pieces.pop_front() {
            let more = piece.split_off(piece.len().min(buffer.remaining()));
            buffer.put_slice(&piece);
            if !more.is_empty() {
                self.pieces.push_front(more);
            }
        }
        Poll::Ready(Ok(()))
    }
}

/// A socket that takes so many bytes at a time, as long as it has room.
#[derive(Default)]
pub(super) struct Sink {
    pub(super) taken: Vec<u8>,
    pub(super) room: usize,
    pub(super) writes: usize,
    pub(super) flushes: usize,
    pub(super) flush_pending: bool,
    at_a_time: usize,
}

impl Sink {
    pub(super) fn taking(at_a_time: usize) -> Self {
        Sink { at_a_time, room: usize::MAX, ..Sink::default() }
    }
}

impl AsyncWrite for Sink {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<IoResult<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<IoResult<usize>> {
        if self.room == 0 {
            return Poll::Pending;
        }
        let all = slices.iter().flat_map(|slice| slice.iter().copied()).collect::<Vec<_>>();
        let count = all.len().min(self.at_a_time).min(self.room);
        self.taken.extend_from_slice(&all[..count]);
        self.room -= count;
        self.writes += 1;
        Poll::Ready(Ok(count))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<IoResult<()>> {
        if self.flush_pending {
            return Poll::Pending;
        }
        self.flushes += 1;
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<IoResult<()>> {
        Poll::Ready(Ok(()))
    }
}

/// A message, owned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Message {
    Text(String),
    Binary(Vec<u8>),
    Ping(Vec<u8>),
    Pong(Vec<u8>),
    Close(Option<(u16, String)>),
}

impl From<Incoming<'_>> for Message {
    fn from(incoming: Incoming<'_>) -> Self {
        match incoming {
            Incoming::Text(text) => Message::Text(text.to_owned()),
            Incoming::Binary(bytes) => Message::Binary(bytes.to_vec()),
            Incoming::Ping(bytes) => Message::Ping(bytes.to_vec()),
            Incoming::Pong(bytes) => Message::Pong(bytes.to_vec()),
            Incoming::Close(close) => Message::Close(close.map(|(code, reason)| (code, reason.to_owned()))),
        }
    }
}

/// A client's frame, with a mask that is no palindrome.
pub(super) fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mask = [0x37, 0xfa, 0x21, 0x3d];
    let mut bytes = vec![first];
    match payload.len() {
        length @ ..=125 => bytes.push(0x80 | length as u8),
        length @ ..=65_535 => {
            bytes.push(0xfe);
            bytes.extend((length as u16).to_be_bytes());
        }
        length => {
            bytes.push(0xff);
            bytes.extend((length as u64).to_be_bytes());
        }
    }
    bytes.extend(mask);
    let mut payload = payload.to_vec();
    unmask(&mut payload, mask);
    bytes.extend(payload);
    bytes
}

/// Reads `source` to its end, pausing after every message whose number `pauses` picks.
pub(super) fn read_all(
    reader: &mut Reader,
    source: &mut Source,
    limits: &Limits,
    mut pauses: impl FnMut(usize) -> bool,
) -> (Vec<Message>, Result<ReadEnd, ReadError>) {
    let mut messages = Vec::new();
    loop {
        let mut take = |incoming: Incoming<'_>| {
            messages.push(Message::from(incoming));
            if pauses(messages.len()) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        };
        match reader.poll_read(&mut Context::from_waker(Waker::noop()), source, limits, &mut take) {
            Poll::Pending | Poll::Ready(Ok(ReadEnd::Paused)) => {}
            Poll::Ready(end) => return (messages, end),
        }
    }
}
