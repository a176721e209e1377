//! The frames that wait for one client, up to a number of bytes, and their way into its socket.

use std::collections::VecDeque;
use std::io::{Error, ErrorKind, IoSlice, Result as IoResult};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use tokio::io::AsyncWrite;

use super::close_frame;

/// Frames that one write takes.
const SLICES_MAX: usize = 64;
/// Writes of one poll before other tasks get their turn.
const WRITES_A_POLL_MAX: usize = 16;

/// Why a frame was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// Too many bytes wait already.
    #[error("too many bytes wait for the client")]
    Full,
    /// Nothing follows a Close (RFC 6455, section 5.5.1).
    #[error("the connection is closing")]
    Closing,
}

/// Frames that wait for one client, each with a tag of the owner's, by which it may take them back. It owns no memory
/// while nothing waits.
///
/// fastwebsockets writes one frame at a time, does not flush, and may send a second Close; this does not.
#[derive(Debug)]
pub struct Outbox<T = ()> {
    frames: VecDeque<(Bytes, T)>,
    /// The sum of `frames`.
    bytes: usize,
    bytes_max: usize,
    /// A part of the first frame was written.
    begun: bool,
    /// Something was written and not flushed.
    unflushed: bool,
    /// The last of `frames` is a Close, or it was written.
    closing: bool,
}

impl<T: Default> Outbox<T> {
    /// An outbox for at most so many bytes, a Close not counted.
    pub fn new(bytes_max: usize) -> Self {
        Outbox {
            frames: VecDeque::new(),
            bytes: 0,
            bytes_max,
            begun: false,
            unflushed: false,
            closing: false,
        }
    }

    /// Puts a frame behind the others.
    ///
    /// # Errors
    /// Full, even if nothing waits but the frame alone is too large; or closing. The frame is not sent then.
    pub fn push(&mut self, frame: Bytes, tag: T) -> Result<(), Refused> {
        if self.closing {
            return Err(Refused::Closing);
        }
        let bytes = self.bytes.saturating_add(frame.len());
        if bytes > self.bytes_max {
            return Err(Refused::Full);
        }
        self.bytes = bytes;
        self.frames.push_back((frame, tag));
        Ok(())
    }

    /// Puts a Close behind all that waits, with code and reason as [`close_frame`] takes them. False: there is one
    /// already, and it stays the only one.
    pub fn close(&mut self, code: Option<u16>, reason: &str) -> bool {
        if self.closing {
            return false;
        }
        self.closing = true;
        let frame = close_frame(code, reason);
        self.bytes += frame.len();
        self.frames.push_back((frame, T::default()));
        true
    }

    /// The same, but what waits is thrown away, except a frame of which the client has a part. For those who do not read.
    pub fn close_at_once(&mut self, code: Option<u16>, reason: &str) -> bool {
        if !self.closing {
            self.take_back(|_| true);
        }
        self.close(code, reason)
    }

    /// Throws away the frames whose tag `unwanted` picks, oldest first, but never a Close or a frame of which the client has
    /// a part. Says how many frames that were.
    pub fn take_back(&mut self, mut unwanted: impl FnMut(&T) -> bool) -> usize {
        let last = self.frames.len() - usize::from(self.closing && !self.frames.is_empty());
        let (mut place, before, begun) = (0, self.frames.len(), self.begun);
        let mut bytes = self.bytes;
        self.frames.retain(|(frame, tag)| {
            let keep = (place == 0 && begun) || place >= last || !unwanted(tag);
            place += 1;
            bytes -= if keep { 0 } else { frame.len() };
            keep
        });
        self.bytes = bytes;
        before - self.frames.len()
    }

    /// Writes and flushes what waits. Ready: nothing waits any more. Pending: the client does not read, or others get their
    /// turn first; the task is woken either way.
    pub fn poll_write<S: AsyncWrite + Unpin + ?Sized>(
        &mut self,
        cx: &mut Context<'_>,
        stream: &mut S,
    ) -> Poll<IoResult<()>> {
        let mut writes_left = WRITES_A_POLL_MAX;
        while !self.frames.is_empty() {
            if writes_left == 0 {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            writes_left -= 1;
            let mut slices = [IoSlice::new(&[]); SLICES_MAX];
            let count = self.frames.len().min(SLICES_MAX);
            for (slice, (frame, _)) in slices.iter_mut().zip(&self.frames) {
                *slice = IoSlice::new(frame);
            }
            let written = ready!(Pin::new(&mut *stream).poll_write_vectored(cx, &slices[..count]))?;
            if written == 0 {
                return Poll::Ready(Err(Error::from(ErrorKind::WriteZero)));
            }
            self.unflushed = true;
            self.advance(written);
        }
        // Freed only now: a client that gets frame after frame needs the place again.
        if self.frames.capacity() > 0 {
            self.frames = VecDeque::new();
        }
        if self.unflushed {
            // TLS keeps bytes back otherwise.
            ready!(Pin::new(stream).poll_flush(cx))?;
            self.unflushed = false;
        }
        Poll::Ready(Ok(()))
    }

    /// Bytes that wait.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether nothing waits to be written or flushed.
    pub fn is_idle(&self) -> bool {
        self.frames.is_empty() && !self.unflushed
    }

    /// Whether a Close waits or was sent.
    pub fn is_closing(&self) -> bool {
        self.closing
    }

    /// Whether a Close was sent, and nothing waits.
    pub fn is_closed(&self) -> bool {
        self.closing && self.is_idle()
    }

    fn advance(&mut self, mut written: usize) {
        self.bytes = self.bytes.saturating_sub(written);
        while let Some((frame, _)) = self.frames.front_mut() {
            if written < frame.len() {
                self.begun |= written > 0;
                frame.advance(written);
                return;
            }
            written -= frame.len();
            self.begun = false;
            self.frames.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use proptest::prelude::*;

    use super::super::text_frame;
    use super::super::wire::Sink;
    use super::*;

    fn drain<T: Default>(outbox: &mut Outbox<T>, sink: &mut Sink) -> Poll<IoResult<()>> {
        outbox.poll_write(&mut Context::from_waker(Waker::noop()), sink)
    }

    #[test]
    fn frames_leave_in_order_and_are_flushed() {
        let mut outbox = Outbox::new(1000);
        let mut sink = Sink::taking(usize::MAX);
        for number in 0..100_u8 {
            outbox.push(text_frame(&[&[number]]), ()).unwrap();
        }
        assert_eq!((outbox.bytes(), outbox.is_idle()), (300, false));
        assert!(drain(&mut outbox, &mut sink).is_ready());
        assert_eq!(sink.taken, (0..100).flat_map(|number| [0x81, 1, number]).collect::<Vec<_>>());
        assert_eq!((outbox.bytes(), outbox.is_idle(), outbox.frames.capacity()), (0, true, 0));
        assert_eq!((sink.writes, sink.flushes), (2, 1), "64 and 36 frames");
        assert!(drain(&mut outbox, &mut sink).is_ready());
        assert_eq!((sink.writes, sink.flushes), (2, 1));
    }

    #[test]
    fn a_flush_that_waits_is_asked_for_again() {
        let mut outbox = Outbox::new(1000);
        let mut sink = Sink::taking(usize::MAX);
        sink.flush_pending = true;
        outbox.push(text_frame(&[b"x"]), ()).unwrap();
        assert!(drain(&mut outbox, &mut sink).is_pending());
        assert!(!outbox.is_idle());
        sink.flush_pending = false;
        assert!(drain(&mut outbox, &mut sink).is_ready());
        assert!(outbox.is_idle());
    }

    #[test]
    fn a_full_outbox_takes_nothing_but_a_close() {
        let mut outbox = Outbox::new(8);
        assert_eq!(outbox.push(text_frame(&[b"1234567"]), ()), Err(Refused::Full));
        outbox.push(text_frame(&[b"123456"]), ()).unwrap();
        assert_eq!(outbox.push(text_frame(&[b""]), ()), Err(Refused::Full));
        assert!(outbox.close(Some(3008), "slow"));
        let mut sink = Sink::taking(usize::MAX);
        assert!(drain(&mut outbox, &mut sink).is_ready());
        assert_eq!(sink.taken, b"\x81\x06123456\x88\x06\x0b\xc0slow");
        assert!(outbox.is_closed());
    }

    /// RFC 6455, section 5.5.1: one Close, and nothing behind it.
    #[test]
    fn a_close_is_the_only_one_and_the_last() {
        let mut outbox = Outbox::new(100);
        assert!(outbox.close(Some(1001), "going"));
        assert!(!outbox.close(Some(1000), ""));
        assert!(!outbox.close_at_once(Some(1000), ""));
        assert_eq!(outbox.push(text_frame(&[b"late"]), ()), Err(Refused::Closing));
        assert_eq!(outbox.take_back(|()| true), 0);
        assert_eq!((outbox.is_closing(), outbox.is_closed()), (true, false));
        let mut sink = Sink::taking(3);
        assert!(drain(&mut outbox, &mut sink).is_ready());
        assert_eq!(sink.taken, b"\x88\x07\x03\xe9going");
        assert!(!outbox.close(Some(1000), ""));
        assert_eq!(outbox.push(text_frame(&[b"late"]), ()), Err(Refused::Closing));
        assert_eq!(outbox.take_back(|()| true), 0);
        assert!(outbox.is_closed());
    }

    #[test]
    fn a_begun_frame_is_always_finished() {
        let mut outbox = Outbox::new(100);
        for letter in [b"a", b"b", b"c"] {
            outbox.push(text_frame(&[letter]), letter[0]).unwrap();
        }
        let mut sink = Sink::taking(2);
        sink.room = 2;
        assert!(drain(&mut outbox, &mut sink).is_pending());
        assert_eq!(outbox.take_back(|&letter| letter != b'c'), 1, "b alone");
        assert_eq!(outbox.bytes(), 4);
        assert!(outbox.close_at_once(Some(1000), ""));
        assert_eq!(outbox.bytes(), 1 + 4);
        sink.room = usize::MAX;
        assert!(drain(&mut outbox, &mut sink).is_ready());
        assert_eq!(sink.taken, b"\x81\x01a\x88\x02\x03\xe8");
    }

    #[test]
    fn a_socket_that_takes_nothing_is_an_error() {
        let mut outbox = Outbox::new(100);
        outbox.push(text_frame(&[b"a"]), ()).unwrap();
        let Poll::Ready(Err(error)) = drain(&mut outbox, &mut Sink::taking(0)) else { panic!("no error") };
        assert_eq!(error.kind(), ErrorKind::WriteZero);
    }

    #[test]
    fn an_idle_outbox_is_small() {
        assert!(size_of::<Outbox>() <= 56, "{}", size_of::<Outbox>());
    }

    proptest! {
        /// However little the socket takes at a time, all bytes arrive, once and in order.
        #[test]
        fn partial_writes_lose_nothing(
            texts in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..300), 0..200),
            at_a_time in 1_usize..2000,
        ) {
            let mut outbox = Outbox::new(usize::MAX);
            let mut expected = Vec::new();
            for text in &texts {
                let frame = text_frame(&[text]);
                expected.extend_from_slice(&frame);
                outbox.push(frame, ()).unwrap();
            }
            let mut sink = Sink::taking(at_a_time);
            while drain(&mut outbox, &mut sink).is_pending() {
                prop_assert_eq!(outbox.bytes() + sink.taken.len(), expected.len());
            }
            prop_assert_eq!(sink.taken, expected);
            prop_assert_eq!(outbox.bytes(), 0);
        }
    }
}
