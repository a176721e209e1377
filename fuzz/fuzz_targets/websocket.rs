//! Frames of WebSocket clients: reading never panics, keeps no more than its limit, and yields the same however the bytes
//! arrive; and what it accepts comes out of frames written anew.

#![no_main]

use std::collections::VecDeque;
use std::io::Result as IoResult;
use std::ops::ControlFlow;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use libfuzzer_sys::fuzz_target;
use sallyport_ws_bridge::websocket::{Incoming, Limits, ReadEnd, ReadError, Reader, text_frame};
use tokio::io::{AsyncRead, ReadBuf};

const MESSAGE_BYTES_MAX: usize = 1024;

// The first byte says into how many pieces the others are cut.
fuzz_target!(|bytes: &[u8]| {
    let Some((&piece, bytes)) = bytes.split_first() else { return };
    let whole = read(Reader::new(b""), vec![bytes.to_vec()]);
    let pieces = bytes.chunks(usize::from(piece).max(1)).map(<[u8]>::to_vec).collect();
    assert_eq!(read(Reader::new(b""), pieces), whole);
    assert_eq!(read(Reader::new(bytes), vec![]), whole);
    for (text, message) in &whole.0 {
        assert!(message.len() <= MESSAGE_BYTES_MAX);
        let frame = text_frame(&[message]);
        assert!(frame.ends_with(message) && frame.len() <= message.len() + 10);
        assert!(!text || std::str::from_utf8(message).is_ok());
    }
});

/// All messages, each with whether it must be UTF-8, and how reading ended. Every third message is followed by a pause.
fn read(mut reader: Reader, pieces: Vec<Vec<u8>>) -> (Vec<(bool, Vec<u8>)>, Result<ReadEnd, String>) {
    let mut source = Source(pieces.into());
    let mut messages = Vec::new();
    let limits = Limits { message_bytes: MESSAGE_BYTES_MAX };
    loop {
        let mut take = |incoming: Incoming<'_>| {
            messages.push(match incoming {
                Incoming::Text(text) => (true, text.as_bytes().to_vec()),
                Incoming::Binary(bytes) | Incoming::Ping(bytes) | Incoming::Pong(bytes) => {
                    (false, bytes.to_vec())
                }
                Incoming::Close(close) => (true, close.map(|(_, reason)| reason.into()).unwrap_or_default()),
            });
            if messages.len() % 3 == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        };
        match reader.poll_read(&mut Context::from_waker(Waker::noop()), &mut source, &limits, &mut take) {
            Poll::Pending | Poll::Ready(Ok(ReadEnd::Paused)) => {}
            Poll::Ready(end) => {
                assert_eq!(reader.held_bytes(), 0);
                let end = end.map_err(|error: ReadError| {
                    assert!(error.close_code().is_some(), "the connection did not fail");
                    error.to_string()
                });
                return (messages, end);
            }
        }
    }
}

/// A client that sends these pieces and goes.
struct Source(VecDeque<Vec<u8>>);

impl AsyncRead for Source {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<IoResult<()>> {
        if let Some(piece) = self.0.front_mut() {
            let count = piece.len().min(buffer.remaining());
            buffer.put_slice(&piece.drain(..count).collect::<Vec<_>>());
            if piece.is_empty() {
                self.0.pop_front();
            }
        }
        Poll::Ready(Ok(()))
    }
}
