//! One exchange with an HTTP/1.1 upstream: the request's head and body as they go over the wire, the answer's head read,
//! its body found (RFC 9112).

use std::io;
use std::time::Duration;

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use http::{HeaderValue, Method, StatusCode, Version, header};
use pingora_core::protocols::Digest;
use pingora_core::protocols::http::HttpTask;
use pingora_core::upstreams::peer::HttpPeer;
use pingora_error::{Error, ErrorType, Result, RetryType};
use pingora_http::{RequestHeader, ResponseHeader};

use super::answer_head::{self, keeps, length_of, malformed};
use super::connection::Connection;
use super::has_no_body;
use crate::body_end::BodyEnd;
use crate::head::{Framing, find_end};

/// Bytes of an answer's head.
const HEAD_BYTES_MAX: usize = 1024 * 1024;
/// No end in sight: as much as there is.
const UNBOUNDED: u64 = u64::MAX;

/// An exchange on a connection.
pub(super) struct Http1 {
    connection: Connection,
    /// What is left to send of the request.
    request: Framing,
    /// Whether the method has answers without body only.
    head_only: bool,
    arrived: BytesMut,
    /// How much of it was looked through for the end of a head.
    searched: usize,
    place: Place,
    /// Whether the other side keeps the connection, as far as is known.
    kept: bool,
    read_timeout: Option<Duration>,
    write_timeout: Option<Duration>,
}

/// How far the answer has been read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Head,
    Body(BodyEnd),
    /// A body that ends with the connection.
    UntilClose,
    Done,
}

impl Http1 {
    pub(super) fn new(connection: Connection, peer: &HttpPeer) -> Self {
        Http1 {
            connection,
            request: Framing::None,
            head_only: false,
            arrived: BytesMut::new(),
            searched: 0,
            place: Place::Head,
            kept: true,
            read_timeout: peer.options.read_timeout,
            write_timeout: peer.options.write_timeout,
        }
    }

    pub(super) fn digest(&self) -> &Digest {
        self.connection.digest()
    }

    /// The connection, if another exchange may follow on it.
    pub(super) fn into_reusable(self) -> Option<Connection> {
        let over = self.place == Place::Done && self.request == Framing::None && self.arrived.is_empty();
        (over && self.kept).then_some(self.connection)
    }

    /// Sends the head.
    pub(super) async fn send_head(&mut self, head: &RequestHeader) -> Result<()> {
        self.head_only = head.method == Method::HEAD;
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
        self.connection.send(&[&wire], self.write_timeout).await
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
            if let Some(part) = self.at_hand()? {
                return Ok(part);
            }
            let left = match self.place {
                Place::Body(BodyEnd::Length(left)) => left,
                Place::UntilClose => UNBOUNDED,
                _ => 0,
            };
            let limit = if limited { self.read_timeout } else { None };
            let read = self.connection.read(&mut self.arrived, left, limit).await;
            if read.map_err(|error| self.broken(error))? == 0 {
                return self.closed();
            }
        }
    }

    /// What can be told of the bytes that have come.
    fn at_hand(&mut self) -> Result<Option<HttpTask>> {
        match self.place {
            Place::Done => return Ok(Some(HttpTask::Done)),
            _ if self.arrived.is_empty() => return Ok(None),
            Place::Head => return self.head(),
            Place::UntilClose => return Ok(Some(HttpTask::Body(Some(self.arrived.split().freeze()), false))),
            Place::Body(mut end) => {
                let found = end.data(&self.arrived);
                let (skipped, data) = found.map_err(|_| malformed("a malformed chunk"))?;
                self.arrived.advance(skipped);
                let chunk = (data > 0).then(|| self.arrived.split_to(data).freeze());
                let over = end == BodyEnd::Reached;
                self.place = if over { Place::Done } else { Place::Body(end) };
                if over || chunk.is_some() {
                    return Ok(Some(HttpTask::Body(chunk, over)));
                }
            }
        }
        Ok(None)
    }

    /// A connection that was just closed may be replaced, as long as nothing of the answer has come. Not so after an error
    /// of TLS: that is no connection which was just closed.
    fn broken(&self, mut error: Box<Error>) -> Box<Error> {
        let cause = error.root_cause().downcast_ref::<io::Error>();
        if self.place == Place::Head && cause.is_some_and(|cause| cause.raw_os_error().is_some()) {
            error.retry = RetryType::ReusedOnly;
        }
        error
    }

    /// The other side has closed.
    fn closed(&mut self) -> Result<HttpTask> {
        self.kept = false;
        match self.place {
            Place::UntilClose => {
                self.place = Place::Done;
                Ok(HttpTask::Body(None, true))
            }
            Place::Head => {
                let mut error =
                    Error::explain(ErrorType::ConnectionClosed, "before the answer's head was whole");
                error.retry = RetryType::ReusedOnly;
                Err(error)
            }
            _ => Error::e_explain(ErrorType::ConnectionClosed, "before the answer's body was whole"),
        }
    }

    fn head(&mut self) -> Result<Option<HttpTask>> {
        let Some(length) = find_end(&self.arrived, self.searched) else {
            self.searched = self.arrived.len();
            if self.searched > HEAD_BYTES_MAX {
                return Err(malformed("a head that is too long"));
            }
            return Ok(None);
        };
        self.searched = 0;
        let (mut head, reason) = answer_head::parse(self.arrived.split_to(length).freeze())?;
        let status = head.status.as_u16();
        self.place = if status != 101 && head.status.is_informational() {
            Place::Head
        } else if status == 101 || self.head_only || has_no_body(&Method::GET, status) {
            self.kept &= keeps(&head.headers, head.version);
            Place::Done
        } else {
            self.kept &= keeps(&head.headers, head.version);
            self.place_of_body(&mut head)?
        };
        if head.status.is_informational() || head.status == StatusCode::NO_CONTENT {
            // RFC 9110, section 8.6, and RFC 9112, section 6.1: they have no body, and nothing that says how long it is.
            head.headers.remove(header::CONTENT_LENGTH);
            head.headers.remove(header::TRANSFER_ENCODING);
        }
        let end = self.place == Place::Done;
        let mut whole = ResponseHeader::from(head);
        whole.set_reason_phrase(reason.as_deref())?;
        Ok(Some(HttpTask::Header(Box::new(whole), end)))
    }

    /// Where the body ends (RFC 9112, section 6.3).
    fn place_of_body(&mut self, head: &mut http::response::Parts) -> Result<Place> {
        if head.headers.contains_key(header::TRANSFER_ENCODING) {
            // Whoever sends both means the coding, or means mischief: what follows is no longer believed.
            self.kept &=
                head.headers.remove(header::CONTENT_LENGTH).is_none() && head.version == Version::HTTP_11;
            let codings = head.headers.get_all(header::TRANSFER_ENCODING).iter();
            let last = codings.flat_map(|value| value.as_bytes().split(|&byte| byte == b',')).last();
            if last.is_some_and(|last| last.trim_ascii().eq_ignore_ascii_case(b"chunked")) {
                return Ok(Place::Body(BodyEnd::of(Framing::Chunked)));
            }
        } else if let Some(length) = length_of(&head.headers)? {
            let told = HeaderValue::from(length);
            if !head.headers.get_all(header::CONTENT_LENGTH).iter().eq([&told]) {
                head.headers.insert(header::CONTENT_LENGTH, told);
            }
            let end = BodyEnd::of(Framing::Length(length));
            return Ok(if end == BodyEnd::Reached { Place::Done } else { Place::Body(end) });
        }
        self.kept = false;
        Ok(Place::UntilClose)
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
