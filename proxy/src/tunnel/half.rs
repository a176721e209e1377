//! One direction of a tunnel: reads into a buffer of the thread, writes at once, and keeps bytes of its own only while the
//! other side does not take them. An idle direction holds no buffer.

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::frames::{Frames, close_of_client, close_of_server};

const SCRATCH_BYTES: usize = 64 * 1024;
/// Reads in a row, after which other tasks get their turn.
const ROUNDS_MAX: usize = 32;

thread_local! {
    static SCRATCH: RefCell<Box<[u8]>> = RefCell::new(vec![0; SCRATCH_BYTES].into_boxed_slice());
}

/// Whose frames a direction carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum From {
    Client,
    Upstream,
}

/// One direction.
pub(super) struct Half {
    from: From,
    waiting: Option<Box<Waiting>>,
    frames: Frames,
    bytes: u64,
    unflushed: bool,
    stage: Stage,
    farewell: Farewell,
}

/// Bytes that the other side has not taken.
struct Waiting {
    bytes: Vec<u8>,
    written: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Bytes flow.
    Open,
    /// No more will come; the other side is to be told.
    Ended,
    /// It has been told.
    Shut,
}

/// Whether the edge itself closes this direction's WebSocket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Farewell {
    None,
    /// At the end of the frame under way.
    Wanted(u16),
    /// What still comes is read and not passed on.
    Said,
}

/// Which side broke, and how.
#[derive(Debug)]
pub(super) struct Broken {
    pub(super) side: From,
    pub(super) error: io::Error,
}

impl Half {
    /// A direction through which so far nothing went; `early` is still to be written. `frames_from` says where in it the
    /// first frame begins.
    pub(super) fn new(from: From, early: Vec<u8>, frames_from: usize) -> Self {
        let mut frames = Frames::new();
        let early_frames = early.get(frames_from..).unwrap_or_default();
        frames.pass(early_frames);
        let bytes = early_frames.len() as u64;
        let waiting = (!early.is_empty()).then(|| Box::new(Waiting { bytes: early, written: 0 }));
        Half { from, waiting, frames, bytes, unflushed: false, stage: Stage::Open, farewell: Farewell::None }
    }

    /// Bytes of frames that were read.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Whether whoever sends in this direction has ended it, by a Close frame or by closing the connection.
    pub(super) fn ended(&self) -> bool {
        self.stage != Stage::Open || self.frames.closed()
    }

    /// Whether a Close frame has gone by, and all before it was written.
    pub(super) fn closed(&self) -> bool {
        self.frames.closed() && self.is_written()
    }

    /// Whether the end of the connection was passed on.
    pub(super) fn shut(&self) -> bool {
        self.stage == Stage::Shut
    }

    /// Whether all is done: the end was passed on, or both sides have closed their WebSocket.
    pub(super) fn done(&self) -> bool {
        let closed_by_both = self.farewell == Farewell::Said && self.frames.closed();
        self.stage == Stage::Shut || closed_by_both && self.is_written()
    }

    /// Closes the WebSocket with this code where the frame under way ends.
    pub(super) fn close(&mut self, code: u16) {
        if self.farewell == Farewell::None {
            self.farewell = Farewell::Wanted(code);
        }
    }

    /// Carries what there is.
    pub(super) fn poll<R, W>(
        &mut self,
        reader: &mut R,
        writer: &mut W,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), Broken>>
    where
        R: AsyncRead + Unpin,
        W: AsyncWrite + Unpin,
    {
        let to = if self.from == From::Client { From::Upstream } else { From::Client };
        let broken = |side: From| move |error: io::Error| Broken { side, error };
        for _ in 0..ROUNDS_MAX {
            if let Farewell::Wanted(code) = self.farewell
                && self.frames.between()
            {
                self.say_farewell(code);
            }
            ready!(self.poll_written(writer, cx)).map_err(broken(to))?;
            match self.stage {
                Stage::Shut => return Poll::Ready(Ok(())),
                Stage::Ended => {
                    ready!(Pin::new(&mut *writer).poll_shutdown(cx)).map_err(broken(to))?;
                    self.stage = Stage::Shut;
                    return Poll::Ready(Ok(()));
                }
                Stage::Open if self.done() => return Poll::Ready(Ok(())),
                Stage::Open => {}
            }
            let step = SCRATCH.with_borrow_mut(|scratch| {
                let mut read = ReadBuf::new(scratch);
                ready!(Pin::new(&mut *reader).poll_read(cx, &mut read)).map_err(broken(self.from))?;
                let read = read.filled();
                if read.is_empty() {
                    self.stage = Stage::Ended;
                    return Poll::Ready(Ok(()));
                }
                self.bytes += read.len() as u64;
                let passing = self.passing(read);
                Poll::Ready(self.write_now(writer, &read[..passing], cx).map_err(broken(to)))
            });
            ready!(step)?;
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Takes note of what was read; the answer is how much of it is to be written now.
    fn passing(&mut self, read: &[u8]) -> usize {
        match self.farewell {
            Farewell::None => {
                self.frames.pass(read);
                read.len()
            }
            Farewell::Wanted(code) => {
                let end = self.frames.finish_frame(read);
                self.keep(&read[..end]);
                if self.frames.between() {
                    self.say_farewell(code);
                    // Dropped, because nothing may follow our Close frame; but theirs may be in it.
                    self.frames.pass(&read[end..]);
                }
                0
            }
            Farewell::Said => {
                self.frames.pass(read);
                0
            }
        }
    }

    fn say_farewell(&mut self, code: u16) {
        self.farewell = Farewell::Said;
        // Whoever has been passed a Close frame gets no second one.
        if self.frames.closed() || self.stage != Stage::Open {
            return;
        }
        match self.from {
            From::Upstream => self.keep(&close_of_server(code)),
            From::Client => self.keep(&close_of_client(code, fastrand::u32(..).to_ne_bytes())),
        }
    }

    fn keep(&mut self, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        match &mut self.waiting {
            Some(waiting) => waiting.bytes.extend_from_slice(bytes),
            None => self.waiting = Some(Box::new(Waiting { bytes: bytes.to_vec(), written: 0 })),
        }
    }

    fn write_now<W: AsyncWrite + Unpin>(
        &mut self,
        writer: &mut W,
        mut bytes: &[u8],
        cx: &mut Context<'_>,
    ) -> io::Result<()> {
        while !bytes.is_empty() {
            match Pin::new(&mut *writer).poll_write(cx, bytes) {
                Poll::Ready(Ok(0)) => return Err(io::ErrorKind::WriteZero.into()),
                Poll::Ready(Ok(count)) => {
                    bytes = &bytes[count..];
                    self.unflushed = true;
                }
                Poll::Ready(Err(error)) => return Err(error),
                Poll::Pending => {
                    self.keep(bytes);
                    break;
                }
            }
        }
        Ok(())
    }

    /// Ready when nothing waits any more.
    fn poll_written<W: AsyncWrite + Unpin>(
        &mut self,
        writer: &mut W,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        if let Some(waiting) = &mut self.waiting {
            while waiting.written < waiting.bytes.len() {
                let left = &waiting.bytes[waiting.written..];
                match ready!(Pin::new(&mut *writer).poll_write(cx, left))? {
                    0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                    count => waiting.written += count,
                }
            }
            self.waiting = None;
            self.unflushed = true;
        }
        if self.unflushed {
            ready!(Pin::new(&mut *writer).poll_flush(cx))?;
            self.unflushed = false;
        }
        Poll::Ready(Ok(()))
    }

    fn is_written(&self) -> bool {
        self.waiting.is_none() && !self.unflushed
    }
}
