//! Asking once and looking at the whole answer: what is checked before anything is measured.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

/// No single answer may take longer.
const PATIENCE: Duration = Duration::from_secs(10);
/// Fields that an answer's head may have.
const FIELDS_MAX: usize = 64;

/// One request without a body, on a connection of its own.
#[derive(Debug, Clone)]
pub struct Request {
    port: u16,
    host: String,
    line: String,
    fields: Vec<(String, String)>,
}

/// An answer.
#[derive(Debug, Clone)]
pub struct Answer {
    /// Its status code.
    pub status: u16,
    /// Its header fields in order.
    pub fields: Vec<(String, String)>,
    /// Its body.
    pub body: Vec<u8>,
}

impl Request {
    /// `GET PATH`.
    pub fn get(port: u16, path: &str) -> Request {
        Request::new("GET", port, path)
    }

    /// `METHOD PATH`.
    pub fn new(method: &str, port: u16, path: &str) -> Request {
        Request { port, host: "edge.test".to_owned(), line: format!("{method} {path}"), fields: Vec::new() }
    }

    /// Another host than `edge.test`.
    #[must_use]
    pub fn host(mut self, host: &str) -> Request {
        host.clone_into(&mut self.host);
        self
    }

    /// One header field more.
    #[must_use]
    pub fn with(mut self, name: &str, value: &str) -> Request {
        self.fields.push((name.to_owned(), value.to_owned()));
        self
    }

    /// With `Authorization: Bearer TOKEN`.
    #[must_use]
    pub fn bearer(self, token: &str) -> Request {
        self.with("Authorization", &format!("Bearer {token}"))
    }

    /// Sends it and reads the answer to its end.
    ///
    /// # Errors
    /// There is no whole answer of HTTP/1.1 in time.
    pub fn send(&self) -> Result<Answer> {
        let address = SocketAddr::from(([127, 0, 0, 1], self.port));
        let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let mut head = format!("{} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n", self.line, self.host);
        for (name, value) in &self.fields {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        stream.write_all(format!("{head}\r\n").as_bytes())?;
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).with_context(|| format!("{} on port {}", self.line, self.port))?;
        parse(&bytes).with_context(|| format!("{} on port {}", self.line, self.port))
    }
}

impl Answer {
    /// The first field of a name, in any case of letters.
    pub fn field(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(is, _)| is.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

fn parse(bytes: &[u8]) -> Result<Answer> {
    let mut fields = [httparse::EMPTY_HEADER; FIELDS_MAX];
    let mut head = httparse::Response::new(&mut fields);
    let httparse::Status::Complete(length) = head.parse(bytes)? else {
        bail!("the answer's head is not whole")
    };
    let status = head.code.context("no status")?;
    let fields: Vec<(String, String)> = head
        .headers
        .iter()
        .map(|field| (field.name.to_owned(), String::from_utf8_lossy(field.value).into_owned()))
        .collect();
    let mut answer = Answer { status, fields, body: Vec::new() };
    let rest = &bytes[length..];
    let chunked =
        answer.field("Transfer-Encoding").is_some_and(|value| value.eq_ignore_ascii_case("chunked"));
    answer.body = if chunked { unchunk(rest)? } else { rest.to_vec() };
    if let Some(length) = answer.field("Content-Length") {
        let length: usize = length.parse()?;
        ensure!(answer.body.len() == length, "{} bytes of {length}", answer.body.len());
    }
    Ok(answer)
}

/// A body in chunks (RFC 9112, section 7.1), without the trailer.
fn unchunk(mut rest: &[u8]) -> Result<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let httparse::Status::Complete((start, size)) =
            httparse::parse_chunk_size(rest).map_err(|_| anyhow::anyhow!("a bad size of a chunk"))?
        else {
            bail!("the answer's last chunk is missing");
        };
        if size == 0 {
            return Ok(body);
        }
        let end = start + usize::try_from(size)?;
        body.extend_from_slice(rest.get(start..end).context("a chunk is not whole")?);
        rest = rest.get(end + 2..).context("a chunk is not ended")?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_in_chunks_is_put_together() {
        let answer =
            parse(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n");
        assert_eq!(answer.unwrap().text(), "abcde");
    }

    #[test]
    fn an_answer_that_was_cut_is_an_error() {
        for cut in [
            "HTTP/1.1 200 OK\r\nContent-Le",
            "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nab",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nab",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
        ] {
            assert!(parse(cut.as_bytes()).is_err(), "{cut}");
        }
    }
}
