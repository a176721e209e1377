//! Why reading a connection ended: what the log says, and the close code that the client is told.

use std::io;

/// Why no further message can be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The client broke the protocol in this way.
    #[error("{0}")]
    Protocol(&'static str),
    /// Text that is not UTF-8 (RFC 6455, section 8.1).
    #[error("{0}")]
    NotUtf8(&'static str),
    /// A message, or what its frames claim, above so many bytes.
    #[error("message above {0} bytes")]
    TooBig(usize),
    /// More frames in one message than [`FRAMES_A_MESSAGE_MAX`](super::FRAMES_A_MESSAGE_MAX).
    #[error("message in too many frames")]
    TooManyFrames,
    /// The connection failed.
    #[error("connection failed: {0}")]
    Io(#[from] io::Error),
}

impl ReadError {
    /// The code for the Close frame (RFC 6455, section 7.4.1). None: the connection is broken, nobody would read it.
    pub fn close_code(&self) -> Option<u16> {
        match self {
            ReadError::Protocol(_) => Some(1002),
            ReadError::NotUtf8(_) => Some(1007),
            ReadError::TooManyFrames => Some(1008),
            ReadError::TooBig(_) => Some(1009),
            ReadError::Io(_) => None,
        }
    }
}
