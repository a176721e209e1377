//! One exchange with an HTTP/1.1 upstream: the request's head and body as they go over the wire (RFC 9112), and the
//! connection that the answer comes on. What the answer is: `answer.rs`.

use std::io;
use std::time::Duration;

use bytes::{BufMut as _, Bytes, BytesMut};
use http::header;
use pingora_core::protocols::Digest;
use pingora_core::protocols::http::HttpTask;
use pingora_core::upstreams::peer::HttpPeer;
use pingora_error::{Error, ErrorType, Result, RetryType};
use pingora_http::RequestHeader;
use sallyport_wire::Framing;

use super::answer::Answer;
use super::answer_head::length_of;
use super::append;
use super::connection::Connection;

/// Bytes of a body that are copied so that they go out together with the head.
const TOGETHER_BYTES_MAX: usize = 16 * 1024;

/// An exchange on a connection.
pub(super) struct Http1 {
    connection: Connection,
    /// What is left to send of the request.
    request: Framing,
    answer: Answer,
    read_timeout: Option<Duration>,
    write_timeout: Option<Duration>,
}

impl Http1 {
    pub(super) fn new(connection: Connection, peer: &HttpPeer) -> Self {
        Http1 {
            connection,
            request: Framing::None,
            answer: Answer::default(),
            read_timeout: peer.options.read_timeout,
            write_timeout: peer.options.write_timeout,
        }
    }

    pub(super) fn digest(&self) -> &Digest {
        self.connection.digest()
    }

    /// The connection, if another exchange may follow on it.
    pub(super) fn into_reusable(self) -> Option<Connection> {
        (self.request == Framing::None && self.answer.leaves_reusable()).then_some(self.connection)
    }

    /// Sends the head.
    pub(super) async fn send_head(&mut self, head: &RequestHeader) -> Result<()> {
        let wire = self.begin(head)?;
        self.connection.send(&[&wire], self.write_timeout).await
    }

    /// Sends the head and all of the body; together, unless that would mean to copy much.
    pub(super) async fn send_whole(&mut self, head: &RequestHeader, body: &[u8]) -> Result<()> {
        let mut wire = self.begin(head)?;
        let length = if let Framing::Length(length) = self.request { length } else { 0 };
        if self.request == Framing::Chunked || length != body.len() as u64 {
            return Err(misframed());
        }
        if body.len() <= TOGETHER_BYTES_MAX {
            wire.extend_from_slice(body);
            self.connection.send(&[&wire], self.write_timeout).await?;
        } else {
            self.connection.send(&[&wire, body], self.write_timeout).await?;
        }
        self.request = Framing::None;
        Ok(())
    }

    /// Begins with the head as it goes over the wire.
    fn begin(&mut self, head: &RequestHeader) -> Result<BytesMut> {
        self.answer = Answer::to(&head.method);
        self.request = framing(head)?;
        let target = head.raw_path();
        if target.iter().any(|byte| byte.is_ascii_whitespace() || byte.is_ascii_control()) {
            // A head that were cut in two here would be two requests.
            return Error::e_explain(ErrorType::InvalidHTTPHeader, "a target that cannot be sent");
        }
        let mut wire = BytesMut::with_capacity(1024);
        wire.put_slice(head.method.as_str().as_bytes());
        wire.put_u8(b' ');
        wire.put_slice(target);
        wire.put_slice(b" HTTP/1.1\r\n");
        head.header_to_h1_wire(&mut wire);
        wire.put_slice(b"\r\n");
        Ok(wire)
    }

    /// Sends a chunk of the body, and its end.
    pub(super) async fn send(&mut self, chunk: Option<Bytes>, end: bool) -> Result<()> {
        let chunk = chunk.unwrap_or_default();
        match self.request {
            Framing::None if chunk.is_empty() => Ok(()),
            Framing::None => Err(misframed()),
            Framing::Length(left) => {
                let left = left.checked_sub(chunk.len() as u64).ok_or_else(misframed)?;
                if end && left > 0 {
                    return Err(misframed());
                }
                self.connection.send(&[&chunk], self.write_timeout).await?;
                self.request = if left == 0 { Framing::None } else { Framing::Length(left) };
                Ok(())
            }
            Framing::Chunked => {
                let size = format!("{:x}\r\n", chunk.len());
                let last: &[u8] = if end { b"0\r\n\r\n" } else { b"" };
                let pieces: [&[u8]; 4] = [size.as_bytes(), &chunk, b"\r\n", last];
                // A chunk without data would be the last one.
                let pieces = if chunk.is_empty() { &pieces[3..] } else { &pieces[..] };
                self.connection.send(pieces, self.write_timeout).await?;
                if end {
                    self.request = Framing::None;
                }
                Ok(())
            }
        }
    }

    /// The next part of the answer; `limited` says whether the time counts. May be dropped and asked again.
    pub(super) async fn next(&mut self, limited: bool) -> Result<HttpTask> {
        loop {
            if let Some(part) = self.answer.at_hand()? {
                return Ok(part);
            }
            let limit = if limited { self.read_timeout } else { None };
            let left = self.answer.left();
            let read = self.connection.read(&mut self.answer.arrived, left, limit).await;
            if read.map_err(|error| self.broken(error))? == 0 {
                return self.answer.closed();
            }
        }
    }

    /// Reads on in the body, to behind what is in the buffer; whether that was the last of it.
    pub(super) async fn next_into(&mut self, body: &mut BytesMut, limited: bool) -> Result<bool> {
        if !self.answer.takes_bytes() {
            return append(self.next(limited).await?, body);
        }
        let limit = if limited { self.read_timeout } else { None };
        let before = body.len();
        if self.connection.read(body, self.answer.left(), limit).await? == 0 {
            return self.answer.closed().map(|_| true);
        }
        let (taken, over) = self.answer.took(&body[before..]);
        // What came behind the body keeps the connection from being used again.
        self.answer.arrived.extend_from_slice(&body.split_off(before + taken));
        Ok(over)
    }

    /// A connection that was just closed may be replaced, as long as nothing of the answer has come. Not so after an error
    /// of TLS: that is no connection which was just closed.
    fn broken(&self, mut error: Box<Error>) -> Box<Error> {
        let cause = error.root_cause().downcast_ref::<io::Error>();
        if self.answer.is_to_come() && cause.is_some_and(|cause| cause.raw_os_error().is_some()) {
            error.retry = RetryType::ReusedOnly;
        }
        error
    }
}

/// How the body of a request is delimited: by the fields of its own head.
fn framing(head: &RequestHeader) -> Result<Framing> {
    let mut codings = head.headers.get_all(header::TRANSFER_ENCODING).iter();
    if let Some(coding) = codings.next() {
        let alone = codings.next().is_none() && !head.headers.contains_key(header::CONTENT_LENGTH);
        let chunked = alone && coding.as_bytes().eq_ignore_ascii_case(b"chunked");
        return if chunked { Ok(Framing::Chunked) } else { Err(misframed()) };
    }
    Ok(length_of(&head.headers)?.filter(|length| *length > 0).map_or(Framing::None, Framing::Length))
}

fn misframed() -> Box<Error> {
    Error::explain(ErrorType::InternalError, "a body that is not as long as its head says")
}

#[cfg(test)]
mod tests;
