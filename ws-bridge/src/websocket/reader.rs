//! Messages out of a client's bytes, in pieces of any size, without a buffer of the connection's own.
//!
//! A message that arrived in one piece is handed out where it was read. Only what is not complete is kept, and freed when
//! it is; between messages a reader owns nothing. Nothing is lost when a poll is not followed by another: there is no
//! future to cancel.

use std::ops::ControlFlow;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use fastwebsockets::{OpCode, unmask};
use tokio::io::{AsyncRead, ReadBuf};

use super::ReadError;
use super::header::{Header, is_control};
use super::message::{Incoming, OpenMessage, Take, control, hand_out};
use super::scratch::Scratch;

/// Frames of one message, control frames between them included, so that empty fragments do not go on for ever.
pub const FRAMES_A_MESSAGE_MAX: u32 = 16_384;
/// Frames that one poll hands out before other tasks get their turn.
const FRAMES_A_POLL_MAX: u32 = 256;
/// Reads of one poll, likewise.
const READS_A_POLL_MAX: u32 = 8;
/// Bytes thrown away after the last message; who sends more has its connection reset.
const DISCARD_BYTES_MAX: u32 = 256 * 1024;

/// What a client may send.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Bytes of a message, all its fragments together. Above: [`ReadError::TooBig`], as soon as a header claims it.
    pub message_bytes: usize,
}

/// Why a poll came back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReadEnd {
    /// The receiver wanted a pause. What had been read already is kept for the next poll.
    Paused,
    /// A Close was handed out, or reading failed before. Every further poll says so too.
    Closed,
    /// The client's side of the connection ended, without a Close.
    Eof,
}

/// Reads one connection: 16 bytes while it is idle.
#[derive(Debug, Default)]
pub struct Reader {
    /// What is not complete.
    partial: Option<Box<Partial>>,
    ended: bool,
    discarded: u32,
}

/// What is kept between polls.
#[derive(Debug, Default)]
struct Partial {
    /// Bytes that were read and not taken apart: a header or a control frame that is not complete, or, when `waiting`,
    /// frames for which there was no turn.
    rest: Vec<u8>,
    waiting: bool,
    frame: Option<OpenFrame>,
    message: Option<OpenMessage>,
}

/// A frame of a message, the payload of which is not complete.
#[derive(Debug)]
struct OpenFrame {
    fin: bool,
    /// Turned so that it fits the next byte.
    mask: [u8; 4],
    missing: usize,
}

/// Why frames are no longer taken from a buffer.
enum Stop {
    /// The next frame needs bytes that are not there.
    Starved,
    /// Others have to get their turn.
    Turn,
    Paused,
    Closed,
}

impl Reader {
    /// A reader for a connection on which `early` was read already, together with the request.
    pub fn new(early: &[u8]) -> Self {
        let partial = (!early.is_empty())
            .then(|| Box::new(Partial { rest: early.to_vec(), waiting: true, ..Partial::default() }));
        Reader { partial, ended: false, discarded: 0 }
    }

    /// Reads what there is and hands it to `take`, in order. Pending: there is no more now, or others get their turn
    /// first; the task is woken either way. After an error nothing more is read.
    pub fn poll_read<S: AsyncRead + Unpin + ?Sized>(
        &mut self,
        cx: &mut Context<'_>,
        stream: &mut S,
        limits: &Limits,
        take: &mut Take<'_>,
    ) -> Poll<Result<ReadEnd, ReadError>> {
        let mut frames_left = FRAMES_A_POLL_MAX;
        for _ in 0..READS_A_POLL_MAX {
            if self.ended {
                return Poll::Ready(Ok(ReadEnd::Closed));
            }
            let read = ready!(self.poll_round(cx, stream, limits, &mut frames_left, take));
            if !matches!(read, Ok(Some(Stop::Starved | Stop::Turn | Stop::Paused))) {
                self.ended = true;
                self.partial = None;
            }
            match read? {
                None => return Poll::Ready(Ok(ReadEnd::Eof)),
                Some(Stop::Paused) => return Poll::Ready(Ok(ReadEnd::Paused)),
                Some(Stop::Closed) => return Poll::Ready(Ok(ReadEnd::Closed)),
                Some(Stop::Turn) => break,
                Some(Stop::Starved) => {}
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Throws away what still comes, until the client ends its side: a connection that is closed with bytes unread is
    /// reset, and the reset may overtake the Close on its way to the client. Ready also after 256 KiB.
    pub fn poll_discard<S: AsyncRead + Unpin + ?Sized>(
        &mut self,
        cx: &mut Context<'_>,
        stream: &mut S,
    ) -> Poll<std::io::Result<()>> {
        (self.ended, self.partial) = (true, None);
        let mut scratch = Scratch::lend();
        while self.discarded < DISCARD_BYTES_MAX {
            let mut buffer = ReadBuf::new(&mut scratch);
            ready!(Pin::new(&mut *stream).poll_read(cx, &mut buffer))?;
            if buffer.filled().is_empty() {
                break;
            }
            // A buffer is far smaller than u32::MAX.
            self.discarded = self.discarded.saturating_add(buffer.filled().len() as u32);
        }
        Poll::Ready(Ok(()))
    }

    /// Bytes that are kept because a message is not complete, or because of a pause. 0 while idle.
    pub fn held_bytes(&self) -> usize {
        self.partial.as_ref().map_or(0, |partial| {
            partial.rest.capacity() + partial.message.as_ref().map_or(0, |message| message.data.capacity())
        })
    }

    /// One read, or none if frames wait. None: the end of the connection.
    fn poll_round<S: AsyncRead + Unpin + ?Sized>(
        &mut self,
        cx: &mut Context<'_>,
        stream: &mut S,
        limits: &Limits,
        frames_left: &mut u32,
        take: &mut Take<'_>,
    ) -> Poll<Result<Option<Stop>, ReadError>> {
        if let Some(partial) = self.partial.as_deref_mut().filter(|partial| partial.waiting) {
            let mut rest = std::mem::take(&mut partial.rest);
            return Poll::Ready(self.consume(&mut rest, limits, frames_left, take).map(Some));
        }
        let mut scratch = Scratch::lend();
        // At most a header or a control frame, so there is room behind it.
        let kept = self.partial.as_ref().map_or(0, |partial| partial.rest.len());
        let mut buffer = ReadBuf::new(&mut scratch[kept..]);
        ready!(Pin::new(stream).poll_read(cx, &mut buffer))?;
        let filled = kept + buffer.filled().len();
        if filled == kept {
            return Poll::Ready(Ok(None));
        }
        if let Some(partial) = self.partial.as_deref_mut() {
            scratch[..kept].copy_from_slice(&partial.rest);
            partial.rest = Vec::new();
        }
        Poll::Ready(self.consume(&mut scratch[..filled], limits, frames_left, take).map(Some))
    }

    /// Takes `bytes` apart and keeps what is left of them.
    fn consume(
        &mut self,
        bytes: &mut [u8],
        limits: &Limits,
        frames_left: &mut u32,
        take: &mut Take<'_>,
    ) -> Result<Stop, ReadError> {
        let mut at = 0;
        let stop = self.take_apart(bytes, &mut at, limits, frames_left, take)?;
        let left = &bytes[at..];
        if !left.is_empty() {
            let partial = self.partial.get_or_insert_default();
            partial.rest = left.to_vec();
            partial.waiting = !matches!(stop, Stop::Starved);
        } else if let Some(partial) = self.partial.as_deref_mut() {
            partial.waiting = false;
            if partial.frame.is_none() && partial.message.is_none() {
                self.partial = None;
            }
        }
        Ok(stop)
    }

    fn take_apart(
        &mut self,
        bytes: &mut [u8],
        at: &mut usize,
        limits: &Limits,
        frames_left: &mut u32,
        take: &mut Take<'_>,
    ) -> Result<Stop, ReadError> {
        loop {
            if let Some(partial) = self.partial.as_deref_mut()
                && partial.frame.is_some()
            {
                let Some(message) = partial.fill(bytes, at)? else { return Ok(Stop::Starved) };
                if let Some(message) = message
                    && message.hand_out(take)?.is_break()
                {
                    return Ok(Stop::Paused);
                }
                continue;
            }
            let Some(header) = Header::read(&bytes[*at..])? else { return Ok(Stop::Starved) };
            if *frames_left == 0 {
                return Ok(Stop::Turn);
            }
            *frames_left -= 1;
            let begin = *at + header.size;
            self.admit(&header, bytes.len() - begin, limits)?;
            // What `admit` let pass is no longer than a limit of type usize.
            let length = header.length as usize;
            let whole = bytes.get_mut(begin..begin.saturating_add(length));
            let in_message = self.partial.as_ref().is_some_and(|partial| partial.message.is_some());
            let flow = match (whole, is_control(header.opcode)) {
                (None, true) => return Ok(Stop::Starved),
                (Some(payload), true) => {
                    *at = begin + length;
                    unmask(payload, header.mask);
                    let incoming = control(header.opcode, payload)?;
                    let flow = take(incoming);
                    if matches!(incoming, Incoming::Close(_)) {
                        return Ok(Stop::Closed);
                    }
                    flow
                }
                (Some(payload), false) if header.fin && !in_message => {
                    *at = begin + length;
                    unmask(payload, header.mask);
                    hand_out(header.opcode == OpCode::Text, payload, take)?
                }
                _ => {
                    *at = begin;
                    self.partial.get_or_insert_default().open(&header, length);
                    ControlFlow::Continue(())
                }
            };
            if flow.is_break() {
                return Ok(Stop::Paused);
            }
        }
    }

    /// Checks a header against the frames before it (RFC 6455, section 5.4) and against the limits, before anything of its
    /// payload is looked at or room made for it. fastwebsockets limits single frames only, and makes the room first.
    fn admit(&mut self, header: &Header, here: usize, limits: &Limits) -> Result<(), ReadError> {
        let message = self.partial.as_deref_mut().and_then(|partial| partial.message.as_mut());
        let control = is_control(header.opcode);
        if let Some(message) = &message
            && message.frames >= FRAMES_A_MESSAGE_MAX
        {
            return Err(ReadError::TooManyFrames);
        }
        if control {
            // Counted once, although its header is read again if the frame is not complete.
            if let Some(message) = message
                && here as u64 >= header.length
            {
                message.frames += 1;
            }
            return Ok(());
        }
        match (&message, header.opcode) {
            (None, OpCode::Continuation) => {
                return Err(ReadError::Protocol("continuation of no message (RFC 6455, 5.4)"));
            }
            (Some(_), OpCode::Text | OpCode::Binary) => {
                return Err(ReadError::Protocol("new message inside a fragmented one (RFC 6455, 5.4)"));
            }
            _ => {}
        }
        let before = message.map_or(0, |message| message.data.len());
        match usize::try_from(header.length).ok().and_then(|length| length.checked_add(before)) {
            Some(total) if total <= limits.message_bytes => Ok(()),
            _ => Err(ReadError::TooBig(limits.message_bytes)),
        }
    }
}

impl Partial {
    /// Begins a frame of a message, and the message if there is none.
    fn open(&mut self, header: &Header, length: usize) {
        let text = header.opcode == OpCode::Text;
        let message = self.message.get_or_insert_with(|| OpenMessage::new(text));
        message.frames += 1;
        self.frame = Some(OpenFrame { fin: header.fin, mask: header.mask, missing: length });
    }

    /// Moves payload from `bytes` to the message. None: the frame is still not complete; the message, if this completes
    /// it. Room is made as bytes come, never because a header claims them.
    fn fill(&mut self, bytes: &mut [u8], at: &mut usize) -> Result<Option<Option<OpenMessage>>, ReadError> {
        let (Some(frame), Some(message)) = (&mut self.frame, &mut self.message) else {
            return Ok(Some(None));
        };
        let here = frame.missing.min(bytes.len() - *at);
        let payload = &mut bytes[*at..*at + here];
        unmask(payload, frame.mask);
        frame.mask.rotate_left(here % 4);
        frame.missing -= here;
        *at += here;
        message.add(payload)?;
        if frame.missing > 0 {
            return Ok(None);
        }
        let fin = frame.fin;
        self.frame = None;
        Ok(Some(if fin { self.message.take() } else { None }))
    }
}
