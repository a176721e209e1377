//! HTTP/1.1 over a blocking socket, as far as large bodies need it: heads, and bodies that have a length.

use std::io::Read;
use std::net::TcpStream;

use anyhow::{Context, Result, bail, ensure};

use super::head::{self, FIELDS_MAX, HEAD_BYTES_MAX};
use super::pattern::{PIECE_BYTES, Pattern};

/// A connection, with what has come and was not looked at yet.
pub(super) struct Wire {
    stream: TcpStream,
    bytes: Vec<u8>,
    filled: usize,
}

/// A head.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Head {
    /// `GET /bytes/17` of a request, `200` of an answer.
    pub(super) line: String,
    /// Its body's length.
    pub(super) length: u64,
}

impl Wire {
    /// A connection on which nothing was read yet.
    pub(super) fn new(stream: TcpStream) -> Wire {
        Wire { stream, bytes: vec![0; PIECE_BYTES], filled: 0 }
    }

    /// The connection, to write to.
    pub(super) fn stream(&mut self) -> &mut TcpStream {
        &mut self.stream
    }

    /// The next head; none if the connection ends before it.
    ///
    /// # Errors
    /// It ends within one, or a body has no length.
    pub(super) fn head(&mut self) -> Result<Option<Head>> {
        loop {
            if let Some((head, end)) = parse(&self.bytes[..self.filled])? {
                self.bytes.copy_within(end..self.filled, 0);
                self.filled -= end;
                return Ok(Some(head));
            }
            ensure!(self.filled < HEAD_BYTES_MAX, "a head of more than {HEAD_BYTES_MAX} bytes");
            match self.stream.read(&mut self.bytes[self.filled..])? {
                0 if self.filled == 0 => return Ok(None),
                0 => bail!("the connection ended within a head"),
                count => self.filled += count,
            }
        }
    }

    /// Reads a body of so many bytes and compares all of them with the pattern.
    ///
    /// # Errors
    /// A byte is another, or the connection ends before the body.
    pub(super) fn swallow(&mut self, length: u64, pattern: &Pattern) -> Result<()> {
        let mut place = 0;
        while place < length {
            if self.filled == 0 {
                self.filled = self.stream.read(&mut self.bytes)?;
                ensure!(self.filled > 0, "the body ended after {place} of {length} bytes");
            }
            let count = usize::try_from((length - place).min(self.filled as u64))?;
            ensure!(pattern.is(place, &self.bytes[..count]), "bytes from {place} on are not the right ones");
            self.bytes.copy_within(count..self.filled, 0);
            self.filled -= count;
            place += count as u64;
        }
        Ok(())
    }
}

/// A request's or answer's head and its length, if it is whole.
fn parse(bytes: &[u8]) -> Result<Option<(Head, usize)>> {
    if bytes.starts_with(b"HTTP/") {
        let Some(answer) = head::Head::of_answer(bytes)? else { return Ok(None) };
        let head = Head { line: answer.status.to_string(), length: answer.length.unwrap_or(0) };
        return Ok(Some((head, answer.bytes)));
    }
    let mut fields = [httparse::EMPTY_HEADER; FIELDS_MAX];
    let mut request = httparse::Request::new(&mut fields);
    let httparse::Status::Complete(end) = request.parse(bytes)? else { return Ok(None) };
    let (method, path) = request.method.zip(request.path).context("a head without a line")?;
    let line = format!("{method} {path}");
    let length = head::length(request.headers).with_context(|| line.clone())?.unwrap_or(0);
    Ok(Some((Head { line, length }, end)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_of_both_sides_are_read_and_bodies_without_a_length_refused() {
        let (head, end) = parse(b"PUT /bytes/3 HTTP/1.1\r\ncontent-length: 3\r\n\r\nabc").unwrap().unwrap();
        assert_eq!((head.line.as_str(), head.length, end), ("PUT /bytes/3", 3, 44));
        let (head, _) = parse(b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n").unwrap().unwrap();
        assert_eq!((head.line.as_str(), head.length), ("200", 7));
        assert_eq!(parse(b"HTTP/1.1 200 OK\r\nContent-Le").unwrap(), None);
        assert!(parse(b"PUT / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n").is_err());
        assert!(parse(b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n").is_err());
    }
}
