//! The answer of an HTTP/1.1 upstream, found in the bytes that come (RFC 9112): its heads, its body, its end. Sees no
//! socket.

use bytes::{Buf as _, BytesMut};
use http::{HeaderValue, Method, StatusCode, Version, header};
use pingora_core::protocols::http::HttpTask;
use pingora_error::{Error, ErrorType, Result, RetryType};
use pingora_http::ResponseHeader;
use sallyport_wire::{BodyEnd, Framing, find_end, is_bodiless};

use super::answer_head::{self, keeps, length_of, malformed};

/// Bytes of an answer's head.
const HEAD_BYTES_MAX: usize = 1024 * 1024;
/// No end in sight: as much as there is.
const UNBOUNDED: u64 = u64::MAX;

/// One answer, as far as it has come.
#[derive(Debug)]
pub struct Answer {
    /// Whether the method has answers without body only.
    head_only: bool,
    /// What has come and was not told yet. Whoever reads puts it here.
    pub arrived: BytesMut,
    /// How much of it was looked through for the end of a head.
    searched: usize,
    place: Place,
    /// Whether an informational head was told.
    informed: bool,
    /// Whether the other side keeps the connection, as far as is known.
    kept: bool,
}

/// How far the answer has been read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Place {
    #[default]
    Head,
    Body(BodyEnd),
    /// A body that ends with the connection.
    UntilClose,
    Done,
}

impl Default for Answer {
    fn default() -> Self {
        Answer::to(&Method::GET)
    }
}

impl Answer {
    /// The answer to a request with this method, of which nothing has come.
    pub fn to(method: &Method) -> Self {
        let head_only = method == Method::HEAD;
        let arrived = BytesMut::new();
        Answer { head_only, arrived, searched: 0, place: Place::default(), informed: false, kept: true }
    }

    /// Whether another exchange may follow on the connection: the answer is whole, nothing came behind it, and nothing in
    /// it speaks against that.
    pub fn leaves_reusable(&self) -> bool {
        self.place == Place::Done && self.arrived.is_empty() && self.kept
    }

    /// Whether nothing of it has come, so that the other side may never have seen the request.
    pub(super) fn is_to_come(&self) -> bool {
        self.place == Place::Head && self.arrived.is_empty() && !self.informed
    }

    /// Whether it is in a body of known length of which nothing is at hand: then what comes may go straight to where the
    /// body is gathered, see [`Answer::took`].
    pub(super) fn takes_bytes(&self) -> bool {
        matches!(self.place, Place::Body(BodyEnd::Length(_))) && self.arrived.is_empty()
    }

    /// Takes note of bytes that have come but were put elsewhere than `arrived`. How many of them belong to the body, and
    /// whether it is over.
    pub(super) fn took(&mut self, bytes: &[u8]) -> (usize, bool) {
        let Place::Body(mut end @ BodyEnd::Length(_)) = self.place else { return (0, false) };
        let taken = end.take(bytes).unwrap_or_default();
        self.place = if end == BodyEnd::Reached { Place::Done } else { Place::Body(end) };
        (taken, self.place == Place::Done)
    }

    /// How many bytes are known to follow.
    pub(super) fn left(&self) -> u64 {
        match self.place {
            Place::Body(BodyEnd::Length(left)) => left,
            Place::UntilClose => UNBOUNDED,
            _ => 0,
        }
    }

    /// The next part that can be told of the bytes that have come; each is told once.
    ///
    /// # Errors
    /// They are no HTTP, or nobody can know where the answer ends.
    pub fn at_hand(&mut self) -> Result<Option<HttpTask>> {
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

    /// The other side has closed, and all that came before was told.
    ///
    /// # Errors
    /// The answer is not whole.
    pub fn closed(&mut self) -> Result<HttpTask> {
        self.kept = false;
        match self.place {
            Place::UntilClose => {
                self.place = Place::Done;
                Ok(HttpTask::Body(None, true))
            }
            Place::Head => {
                let mut error =
                    Error::explain(ErrorType::ConnectionClosed, "before the answer's head was whole");
                if self.is_to_come() {
                    error.retry = RetryType::ReusedOnly;
                }
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
        let interim = head.status.is_informational() && head.status != StatusCode::SWITCHING_PROTOCOLS;
        if interim {
            self.informed = true;
        } else {
            self.kept &= keeps(&head.headers, head.version);
            let bodiless = self.head_only || is_bodiless(head.status);
            self.place = if bodiless { Place::Done } else { self.place_of_body(&mut head)? };
        }
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
