//! Messages of a client: what they may be, and what is checked when one is complete.

use std::ops::ControlFlow;

use fastwebsockets::{CloseCode, OpCode};

use super::ReadError;

/// What a client sent. Text is UTF-8, and control frames are as RFC 6455, section 5.5, wants them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Incoming<'a> {
    /// A text message.
    Text(&'a str),
    /// A binary message.
    Binary(&'a [u8]),
    /// A ping; a pong with the same bytes is due.
    Ping(&'a [u8]),
    /// A pong, asked for or not.
    Pong(&'a [u8]),
    /// The client closes, with this code and reason. A Close is due unless one was sent; nothing comes after it.
    Close(Option<(u16, &'a str)>),
}

/// The receiver of messages: says whether it wants another one now.
pub(super) type Take<'t> = dyn FnMut(Incoming<'_>) -> ControlFlow<()> + 't;

/// A message that is not complete.
#[derive(Debug)]
pub(super) struct OpenMessage {
    text: bool,
    pub(super) frames: u32,
    pub(super) data: Vec<u8>,
    /// How much of `data` is known to be UTF-8.
    checked: usize,
}

impl OpenMessage {
    pub(super) fn new(text: bool) -> Self {
        OpenMessage { text, frames: 0, data: Vec::new(), checked: 0 }
    }

    /// Adds payload; text that is no UTF-8 already is refused before the message is complete.
    pub(super) fn add(&mut self, payload: &[u8]) -> Result<(), ReadError> {
        self.data.extend_from_slice(payload);
        if self.text {
            match std::str::from_utf8(&self.data[self.checked..]) {
                Ok(_) => self.checked = self.data.len(),
                Err(error) if error.error_len().is_none() => self.checked += error.valid_up_to(),
                Err(_) => return Err(NOT_UTF8),
            }
        }
        Ok(())
    }

    pub(super) fn hand_out(&self, take: &mut Take<'_>) -> Result<ControlFlow<()>, ReadError> {
        hand_out(self.text, &self.data, take)
    }
}

const NOT_UTF8: ReadError = ReadError::NotUtf8("text message that is not UTF-8 (RFC 6455, 8.1)");

/// Hands a complete message to its receiver.
pub(super) fn hand_out(text: bool, data: &[u8], take: &mut Take<'_>) -> Result<ControlFlow<()>, ReadError> {
    if text {
        let text = std::str::from_utf8(data).map_err(|_| NOT_UTF8)?;
        return Ok(take(Incoming::Text(text)));
    }
    Ok(take(Incoming::Binary(data)))
}

/// What a complete control frame says.
pub(super) fn control(opcode: OpCode, payload: &[u8]) -> Result<Incoming<'_>, ReadError> {
    match (opcode, payload) {
        (OpCode::Ping, _) => Ok(Incoming::Ping(payload)),
        (OpCode::Pong, _) => Ok(Incoming::Pong(payload)),
        (_, []) => Ok(Incoming::Close(None)),
        (_, [_]) => Err(ReadError::Protocol("close frame with half a code (RFC 6455, 5.5.1)")),
        (_, &[high, low, ref reason @ ..]) => {
            let code = u16::from_be_bytes([high, low]);
            // 1014 was registered after RFC 6455 (section 7.4.1 leaves that to IANA); fastwebsockets does not know it.
            if code != 1014 && !CloseCode::from(code).is_allowed() {
                return Err(ReadError::Protocol("close code that must not be sent (RFC 6455, 7.4)"));
            }
            let reason = std::str::from_utf8(reason)
                .map_err(|_| ReadError::NotUtf8("close reason that is not UTF-8 (RFC 6455, 5.5.1)"))?;
            Ok(Incoming::Close(Some((code, reason))))
        }
    }
}
