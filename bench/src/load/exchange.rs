//! One connection of HTTP/1.1 that never blocks: a request is written, its answer read as it comes and checked.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};

use anyhow::{Context, Result, bail, ensure};

use super::head::Head;

/// The most that is read at once.
const READ_BYTES: usize = 64 * 1024;

/// What an answer has to be.
#[derive(Debug, Clone, Copy)]
pub(super) struct Expected {
    /// Its status.
    pub(super) status: u16,
    /// Bytes of its body.
    pub(super) body_bytes: u64,
}

/// A connection, with an answer on its way or not.
pub(super) struct Connection {
    stream: TcpStream,
    /// What has come of a head that is not whole.
    head: Vec<u8>,
    /// Bytes of the body that are still to come, once the head is whole.
    rest: Option<u64>,
}

/// What reading has brought.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// The answer is not whole.
    Waits,
    /// It is whole, and right.
    Whole,
    /// The other side has closed. That is its right between two answers.
    Closed,
}

impl Connection {
    pub(super) fn open(address: SocketAddr) -> Result<Connection> {
        let stream = TcpStream::connect(address).with_context(|| format!("cannot connect to {address}"))?;
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        Ok(Connection { stream, head: Vec::new(), rest: None })
    }

    pub(super) fn stream(&self) -> &TcpStream {
        &self.stream
    }

    /// Sends a request. It is short and the answer before it was read, so the kernel has room for it.
    pub(super) fn send(&mut self, request: &[u8]) -> Result<()> {
        let written = self.stream.write(request).context("a connection broke when a request was sent")?;
        ensure!(written == request.len(), "no room for a request of {} bytes", request.len());
        Ok(())
    }

    /// Reads what there is. `space` is memory that all connections share.
    pub(super) fn read(&mut self, space: &mut Space, expected: Expected) -> Result<Progress> {
        loop {
            match self.stream.read(&mut space.0) {
                Ok(0) if self.head.is_empty() && self.rest.is_none() => return Ok(Progress::Closed),
                Ok(0) => bail!("a connection was closed within an answer"),
                Ok(length) => {
                    if self.take(&space.0[..length], expected)? {
                        return Ok(Progress::Whole);
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(Progress::Waits),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error).context("a connection broke"),
            }
        }
    }

    /// Whether these bytes end the answer.
    fn take(&mut self, bytes: &[u8], expected: Expected) -> Result<bool> {
        let body = match self.rest {
            Some(rest) => return self.take_body(rest, bytes.len()),
            None if self.head.is_empty() => match body_start(bytes, expected)? {
                Some(start) => bytes.len() - start,
                None => {
                    self.head.extend_from_slice(bytes);
                    return Ok(false);
                }
            },
            None => {
                self.head.extend_from_slice(bytes);
                let Some(start) = body_start(&self.head, expected)? else { return Ok(false) };
                let body = self.head.len() - start;
                self.head.clear();
                body
            }
        };
        self.take_body(expected.body_bytes, body)
    }

    fn take_body(&mut self, rest: u64, come: usize) -> Result<bool> {
        let left = rest.checked_sub(come as u64).context("an answer is followed by bytes of no request")?;
        self.rest = (left > 0).then_some(left);
        Ok(left == 0)
    }
}

/// Memory to read into.
pub(super) struct Space(Vec<u8>);

impl Space {
    pub(super) fn new() -> Space {
        Space(vec![0; READ_BYTES])
    }
}

/// Where the body begins, once the head is whole.
fn body_start(bytes: &[u8], expected: Expected) -> Result<Option<usize>> {
    let Some(head) = Head::of_answer(bytes)? else { return Ok(None) };
    ensure!(head.status == expected.status, "status {} in place of {}", head.status, expected.status);
    let length = head.length.context("an answer without Content-Length")?;
    ensure!(length == expected.body_bytes, "a body of {length} bytes in place of {}", expected.body_bytes);
    Ok(Some(head.bytes))
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::net::TcpListener;

    use super::*;

    const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";

    /// What becomes of an answer that comes in these pieces, and of the last state of it.
    fn answered(pieces: &[&str]) -> Result<Progress> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let mut connection = Connection::open(listener.local_addr()?)?;
        connection.stream.set_nonblocking(false)?;
        let (mut other, _) = listener.accept()?;
        let mut space = Space::new();
        let expected = Expected { status: 200, body_bytes: 5 };
        for piece in pieces {
            other.write_all(piece.as_bytes())?;
            let length = connection.stream.read(&mut space.0)?;
            if connection.take(&space.0[..length], expected)? {
                return Ok(Progress::Whole);
            }
        }
        drop(other);
        connection.read(&mut space, expected)
    }

    #[test]
    fn an_answer_may_come_in_any_pieces() {
        for at in 1..OK.len() {
            let (first, second) = OK.split_at(at);
            assert_eq!(answered(&[first, second]).unwrap(), Progress::Whole, "cut at {at}");
        }
        assert_eq!(answered(&[]).unwrap(), Progress::Closed);
    }

    #[test]
    fn a_wrong_answer_is_an_error_that_says_what_was_wrong() {
        for (answer, error) in [
            ("HTTP/1.1 401 No\r\nContent-Length: 5\r\n\r\nhello", "status 401 in place of 200"),
            ("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nhell", "a body of 4 bytes in place of 5"),
            ("HTTP/1.1 200 OK\r\n\r\n", "an answer without Content-Length"),
            (
                "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello!",
                "an answer is followed by bytes of no request",
            ),
            ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhel", "a connection was closed within an answer"),
            ("HTTP/1.1 200 OK\r\nContent-Le", "a connection was closed within an answer"),
        ] {
            assert_eq!(answered(&[answer]).unwrap_err().to_string(), error);
        }
    }
}
