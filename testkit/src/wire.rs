//! Reading HTTP/1.1 messages strictly (RFC 9112), for both the origin and the client of a story. What a lenient
//! parser would forgive is an error here, so that a message that two parsers could read differently is noticed.

use std::io;
use std::sync::{Arc, Mutex};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::body::{Body, Reading};

/// The most bytes of a head that are read.
const HEAD_BYTES_MAX: usize = 1024 * 1024;

/// A byte stream of any kind: TCP, or TLS over it.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin + 'static {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin + 'static> Stream for T {}

/// Why a message could not be read.
#[derive(Debug, thiserror::Error)]
pub enum WireError {
    /// The connection broke.
    #[error("connection: {0}")]
    Io(#[from] io::Error),
    /// The connection ended inside a message.
    #[error("the connection ended inside {0}")]
    Ended(&'static str),
    /// The bytes are not HTTP/1.1.
    #[error("not HTTP/1.1: {0}")]
    Broken(String),
}

/// The head of a request or response, exactly as received.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Head {
    /// The first line, without its end.
    pub start: String,
    /// The fields in order, names in the case they had.
    pub fields: Vec<(String, String)>,
    /// Every byte, the empty line included.
    pub raw: Vec<u8>,
}

/// How long a body is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// There is none.
    None,
    /// This many bytes.
    Length(u64),
    /// Chunks (RFC 9112, section 7.1).
    Chunked,
    /// Until the connection ends.
    UntilClose,
}

impl Head {
    /// The value of the first field of this name, in any case.
    pub fn value(&self, name: &str) -> Option<&str> {
        self.values(name).first().copied()
    }

    /// The values of all fields of this name, in any case.
    pub fn values(&self, name: &str) -> Vec<&str> {
        self.fields.iter().filter(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.as_str()).collect()
    }

    /// Reads a head from its bytes.
    ///
    /// # Errors
    /// When a line breaks RFC 9112, sections 2 to 5: bare CR or LF, space before the colon, a folded line, a field name
    /// that is not a token.
    pub fn parse(raw: &[u8]) -> Result<Self, WireError> {
        let inner = raw.strip_suffix(b"\r\n\r\n").ok_or(WireError::Ended("a head"))?;
        let mut lines = Vec::new();
        let mut rest = inner;
        while let Some(end) = rest.windows(2).position(|pair| pair == b"\r\n") {
            lines.push(&rest[..end]);
            rest = &rest[end + 2..];
        }
        lines.push(rest);
        if let Some(line) = lines.iter().find(|line| line.iter().any(|b| matches!(b, b'\r' | b'\n' | 0))) {
            return Err(broken("bare CR, LF or NUL in", line));
        }
        let fields = lines[1..].iter().map(|line| field(line)).collect::<Result<Vec<_>, _>>()?;
        Ok(Head { start: String::from_utf8_lossy(lines[0]).into_owned(), fields, raw: raw.to_vec() })
    }

    /// How long the body of this request is (RFC 9112, section 6.3).
    ///
    /// # Errors
    /// When the head leaves room for two readings: both Content-Length and Transfer-Encoding, two lengths, a coding
    /// other than chunked, Transfer-Encoding in HTTP/1.0.
    pub fn request_framing(&self) -> Result<Framing, WireError> {
        if self.start.ends_with("HTTP/1.0") && self.value("transfer-encoding").is_some() {
            return Err(WireError::Broken(
                "Transfer-Encoding in HTTP/1.0 (RFC 9112, section 6.1)".to_owned(),
            ));
        }
        Ok(self.declared_framing()?.unwrap_or(Framing::None))
    }

    /// How long the body of this response is.
    ///
    /// # Errors
    /// As for requests.
    pub fn response_framing(&self, method: &str, status: u16) -> Result<Framing, WireError> {
        if method == "HEAD" || status < 200 || status == 204 || status == 304 {
            return Ok(Framing::None);
        }
        Ok(self.declared_framing()?.unwrap_or(Framing::UntilClose))
    }

    fn declared_framing(&self) -> Result<Option<Framing>, WireError> {
        let lengths = self.values("content-length");
        let codings = self.values("transfer-encoding");
        match (lengths.as_slice(), codings.as_slice()) {
            ([], []) => Ok(None),
            ([], [coding]) if coding.eq_ignore_ascii_case("chunked") => Ok(Some(Framing::Chunked)),
            ([length], []) if !length.is_empty() && length.bytes().all(|b| b.is_ascii_digit()) => {
                let length = length.parse().map_err(|_| broken("length", length.as_bytes()))?;
                Ok(Some(Framing::Length(length)))
            }
            _ => Err(WireError::Broken(format!(
                "ambiguous framing: Content-Length {lengths:?}, Transfer-Encoding {codings:?}"
            ))),
        }
    }
}

/// A connection that messages are read from and bytes are written to.
pub struct Wire {
    stream: Box<dyn Stream>,
    buffer: BytesMut,
    tape: Option<Arc<Mutex<Vec<u8>>>>,
}

impl Wire {
    /// Takes a connection.
    pub fn new(stream: impl Stream) -> Self {
        Wire { stream: Box::new(stream), buffer: BytesMut::new(), tape: None }
    }

    /// Also appends every byte received to `tape`.
    pub fn recording(mut self, tape: Arc<Mutex<Vec<u8>>>) -> Self {
        self.tape = Some(tape);
        self
    }

    /// Writes these bytes at once.
    ///
    /// # Errors
    /// When the connection broke.
    pub async fn write(&mut self, bytes: &[u8]) -> Result<(), WireError> {
        self.stream.write_all(bytes).await?;
        self.stream.flush().await?;
        Ok(())
    }

    /// Says that nothing more will be written; reading goes on.
    ///
    /// # Errors
    /// When the connection broke.
    pub async fn finish_writing(&mut self) -> Result<(), WireError> {
        Ok(self.stream.shutdown().await?)
    }

    /// Bytes that were received and not read yet.
    pub fn unread(&self) -> &[u8] {
        &self.buffer
    }

    /// Receives more; `false` at the end of the stream.
    ///
    /// # Errors
    /// When the connection broke.
    pub async fn fill(&mut self) -> Result<bool, WireError> {
        let before = self.buffer.len();
        let count = self.stream.read_buf(&mut self.buffer).await?;
        if let Some(tape) = &self.tape {
            tape.lock().unwrap().extend_from_slice(&self.buffer[before..]);
        }
        Ok(count > 0)
    }

    /// Reads a head; `None` when the connection ends before its first byte.
    ///
    /// # Errors
    /// When the connection breaks or ends inside the head, or when the head breaks the rules.
    pub async fn head(&mut self) -> Result<Option<Head>, WireError> {
        let mut searched = 0;
        loop {
            let from = usize::saturating_sub(searched, 3);
            if let Some(end) = self.buffer[from..].windows(4).position(|four| four == b"\r\n\r\n") {
                return Head::parse(&self.buffer.split_to(from + end + 4)).map(Some);
            }
            searched = self.buffer.len();
            if searched > HEAD_BYTES_MAX {
                return Err(WireError::Broken(format!("a head of more than {HEAD_BYTES_MAX} bytes")));
            }
            if !self.fill().await? {
                return if self.buffer.is_empty() { Ok(None) } else { Err(WireError::Ended("a head")) };
            }
        }
    }

    /// Reads a body into `reading`, which keeps what came even when the rest does not.
    ///
    /// # Errors
    /// When the connection breaks or ends inside the body, or when a chunk breaks the rules.
    pub async fn body(&mut self, framing: Framing, reading: &mut Reading) -> Result<Body, WireError> {
        match framing {
            Framing::None => {}
            Framing::Length(bytes) => self.exactly(bytes, reading).await?,
            Framing::Chunked => self.chunks(reading).await?,
            Framing::UntilClose => self.rest(reading).await?,
        }
        Ok(reading.so_far())
    }

    async fn exactly(&mut self, bytes: u64, reading: &mut Reading) -> Result<(), WireError> {
        let mut left = bytes;
        while left > 0 {
            if self.buffer.is_empty() && !self.fill().await? {
                return Err(WireError::Ended("a body"));
            }
            let piece = self.buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            reading.take(&self.buffer[..piece]);
            self.buffer.advance(piece);
            left -= piece as u64;
        }
        Ok(())
    }

    async fn rest(&mut self, reading: &mut Reading) -> Result<(), WireError> {
        loop {
            reading.take(&self.buffer);
            self.buffer.clear();
            if !self.fill().await? {
                return Ok(());
            }
        }
    }

    async fn chunks(&mut self, reading: &mut Reading) -> Result<(), WireError> {
        loop {
            let line = self.line().await?;
            let size = line.split(|&b| b == b';').next().unwrap_or_default();
            let size = std::str::from_utf8(size).unwrap_or_default();
            if size.is_empty() || size.len() > 16 || !size.bytes().all(|b| b.is_ascii_hexdigit()) {
                return Err(broken("chunk size", &line));
            }
            let bytes = u64::from_str_radix(size, 16).map_err(|_| broken("chunk size", &line))?;
            if bytes == 0 {
                break;
            }
            self.exactly(bytes, reading).await?;
            if !self.line().await?.is_empty() {
                return Err(WireError::Broken("no CRLF behind a chunk".to_owned()));
            }
        }
        loop {
            let line = self.line().await?;
            if line.is_empty() {
                return Ok(());
            }
            let (name, value) = field(&line)?;
            reading.trailer(&name, &value);
        }
    }

    async fn line(&mut self) -> Result<Vec<u8>, WireError> {
        loop {
            if let Some(end) = self.buffer.windows(2).position(|pair| pair == b"\r\n") {
                let line = self.buffer.split_to(end + 2)[..end].to_vec();
                if line.iter().any(|b| matches!(b, b'\r' | b'\n')) {
                    return Err(broken("bare CR or LF in", &line));
                }
                return Ok(line);
            }
            if self.buffer.len() > HEAD_BYTES_MAX {
                return Err(WireError::Broken(format!("a line of more than {HEAD_BYTES_MAX} bytes")));
            }
            if !self.fill().await? {
                return Err(WireError::Ended("a chunked body"));
            }
        }
    }
}

fn field(line: &[u8]) -> Result<(String, String), WireError> {
    let colon = line.iter().position(|&b| b == b':').ok_or_else(|| broken("field without a colon", line))?;
    let (name, value) = (&line[..colon], &line[colon + 1..]);
    if name.is_empty() || !name.iter().all(|&b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b))
    {
        return Err(broken("field name in", line));
    }
    Ok((String::from_utf8_lossy(name).into_owned(), String::from_utf8_lossy(value.trim_ascii()).into_owned()))
}

fn broken(what: &str, bytes: &[u8]) -> WireError {
    WireError::Broken(format!("{what} {:?}", String::from_utf8_lossy(bytes)))
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn chunked(bytes: &'static [u8]) -> Result<Body, WireError> {
        let (mut there, here) = tokio::io::duplex(4096);
        there.write_all(bytes).await.unwrap();
        drop(there);
        Wire::new(here).body(Framing::Chunked, &mut Reading::default()).await
    }

    #[tokio::test]
    async fn reads_chunks_and_trailers() {
        let body = chunked(b"3\r\nabc\r\n2;x=y\r\nde\r\n0\r\nX-End: yes\r\n\r\n").await.unwrap();
        assert_eq!(body.kept, b"abcde");
        assert_eq!(body.trailers, [("X-End".to_owned(), "yes".to_owned())]);
    }

    // RFC 9112, section 7.1: each of these is read differently by lenient parsers.
    #[tokio::test]
    async fn refuses_chunks_that_lenient_parsers_forgive() {
        for bytes in [
            b"3\nabc\n0\n\n".as_slice(),
            b"0x3\r\nabc\r\n0\r\n\r\n",
            b"+3\r\nabc\r\n0\r\n\r\n",
            b"3 \r\nabc\r\n0\r\n\r\n",
            b"3\r\nabcd\r\n0\r\n\r\n",
            b"\r\n",
            b"3\r\nab",
            b"10000000000000003\r\nabc\r\n0\r\n\r\n",
        ] {
            assert!(chunked(bytes).await.is_err(), "{:?} was read", String::from_utf8_lossy(bytes));
        }
    }

    // RFC 9112, sections 2.2, 5.1, 5.2.
    #[test]
    fn refuses_heads_that_lenient_parsers_forgive() {
        for raw in [
            "GET / HTTP/1.1\r\nA : b\r\n\r\n",
            "GET / HTTP/1.1\r\nA: b\r\n c\r\n\r\n",
            "GET / HTTP/1.1\nA: b\r\n\r\n",
            "GET / HTTP/1.1\r\nA: b\rc\r\n\r\n",
            "GET / HTTP/1.1\r\nno colon\r\n\r\n",
            "GET / HTTP/1.1\r\n: b\r\n\r\n",
        ] {
            assert!(Head::parse(raw.as_bytes()).is_err(), "{raw:?} was read");
        }
    }

    // RFC 9112, section 6.3.
    #[test]
    fn refuses_ambiguous_lengths() {
        for fields in [
            "Content-Length: 1\r\nContent-Length: 1",
            "Content-Length: 1, 1",
            "Content-Length: +1",
            "Content-Length: ",
            "Content-Length: 1\r\nTransfer-Encoding: chunked",
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
            "Transfer-Encoding: gzip",
            "Transfer-Encoding: chunked, identity",
        ] {
            let head = Head::parse(format!("POST / HTTP/1.1\r\n{fields}\r\n\r\n").as_bytes()).unwrap();
            assert!(head.request_framing().is_err(), "{fields:?} was read");
        }
        let old = Head::parse(b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n").unwrap();
        assert!(old.request_framing().is_err());
    }

    #[test]
    fn keeps_the_case_of_names_and_finds_them_in_any() {
        let head = Head::parse(b"GET / HTTP/1.1\r\nX-oDd: 1\r\nx-odd: 2\r\n\r\n").unwrap();
        assert_eq!(head.fields[0].0, "X-oDd");
        assert_eq!(head.values("X-ODD"), ["1", "2"]);
    }
}
