//! Connections of our own clients: behind their handshakes, and requests on them one after another. What is not here is
//! a client for anything but these scenarios: answers are read as servers of theirs write them, no more.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;

use anyhow::{Context, Result, ensure};
use rustls::pki_types::ServerName;
use sallyport_testkit::certificates::trusting;
use sallyport_testkit::websocket::Upgrade;
use sallyport_testkit::wire::Stream;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpSocket;
use tokio_rustls::TlsConnector;

/// Of one answer, head and body. Beyond, the measurement fails.
const ANSWER_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Where to connect, and how.
#[derive(Clone)]
pub(crate) struct Address {
    to: SocketAddr,
    from: Option<IpAddr>,
    tls: Option<(TlsConnector, ServerName<'static>)>,
}

impl Address {
    /// With `ca`, the file of an authority, over TLS to the name `localhost`.
    pub(crate) fn new(to: SocketAddr, ca: Option<&Path>) -> Result<Self> {
        let tls = match ca {
            None => None,
            Some(file) => {
                Some((TlsConnector::from(trusting(file)), ServerName::try_from("localhost".to_owned())?))
            }
        };
        Ok(Address { to, from: None, tls })
    }

    /// From an address of its own, as another machine would.
    pub(crate) fn from(mut self, from: IpAddr) -> Self {
        self.from = Some(from);
        self
    }

    /// A stream, TLS done; `receive_bytes` bounds what the system keeps for it.
    pub(crate) async fn stream(&self, receive_bytes: Option<u32>) -> io::Result<Box<dyn Stream>> {
        let socket = TcpSocket::new_v4()?;
        if let Some(bytes) = receive_bytes {
            socket.set_recv_buffer_size(bytes)?;
        }
        if let Some(from) = self.from {
            socket.bind(SocketAddr::new(from, 0))?;
        }
        let stream = socket.connect(self.to).await?;
        stream.set_nodelay(true)?;
        Ok(match &self.tls {
            None => Box::new(stream),
            Some((tls, name)) => Box::new(tls.connect(name.clone(), stream).await?),
        })
    }

    /// A WebSocket to `path`, and what came behind the head of its handshake.
    pub(crate) async fn websocket(
        &self,
        path: &str,
        receive_bytes: Option<u32>,
    ) -> io::Result<(Box<dyn Stream>, Vec<u8>)> {
        let mut stream = self.stream(receive_bytes).await?;
        stream.write_all(&Upgrade::to(path).bytes()).await?;
        stream.flush().await?;
        let (head, behind) = head(&mut stream).await?;
        if !head.starts_with(b"HTTP/1.1 101 ") {
            let head = String::from_utf8_lossy(&head);
            return Err(io::Error::other(head.lines().next().unwrap_or_default().to_owned()));
        }
        Ok((stream, behind))
    }

    /// A connection for requests.
    pub(crate) async fn connection(&self) -> io::Result<Connection> {
        Ok(Connection { stream: self.stream(None).await?, unread: Vec::new() })
    }
}

/// The head of a message, and what came behind it.
pub(crate) async fn head(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<(Vec<u8>, Vec<u8>)> {
    let mut head = Vec::with_capacity(1024);
    read_head(stream, &mut head).await.map(|end| {
        let behind = head.split_off(end);
        (head, behind)
    })
}

/// A connection that requests are sent on, HTTP/1.1 with keep-alive.
pub(crate) struct Connection {
    stream: Box<dyn Stream>,
    unread: Vec<u8>,
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: Vec<u8>,
}

impl Connection {
    /// Sends a request as it is and reads its answer.
    pub(crate) async fn ask(&mut self, request: &[u8]) -> Result<Answer> {
        self.stream.write_all(request).await?;
        self.stream.flush().await?;
        let end = read_head(&mut self.stream, &mut self.unread).await?;
        let head = std::str::from_utf8(&self.unread[..end])?;
        let status = head.get(9..12).context("no status")?.parse()?;
        let body = match (value(head, "content-length"), value(head, "transfer-encoding")) {
            (Some(length), None) => Some(length.parse()?),
            (None, Some("chunked")) => None,
            (None, None) if status == 204 => Some(0),
            _ => anyhow::bail!("an answer whose length is not clear: {head}"),
        };
        self.unread.drain(..end);
        let body = match body {
            Some(length) => self.take(length).await?,
            None => self.chunks().await?,
        };
        Ok(Answer { status, body })
    }

    /// So many bytes.
    async fn take(&mut self, length: usize) -> Result<Vec<u8>> {
        ensure!(length <= ANSWER_BYTES_MAX, "an answer of {length} bytes");
        self.unread.reserve(length.saturating_sub(self.unread.len()));
        while self.unread.len() < length {
            ensure!(self.stream.read_buf(&mut self.unread).await? > 0, "the connection ended within a body");
        }
        let behind = self.unread.split_off(length);
        Ok(std::mem::replace(&mut self.unread, behind))
    }

    /// A body in chunks, without trailers (RFC 9112, section 7.1).
    async fn chunks(&mut self) -> Result<Vec<u8>> {
        let mut body = Vec::new();
        loop {
            let line = loop {
                if let Some(end) = self.unread.windows(2).position(|two| two == b"\r\n") {
                    break self.unread.drain(..end + 2).collect::<Vec<u8>>();
                }
                ensure!(self.stream.read_buf(&mut self.unread).await? > 0, "the connection ended in a chunk");
            };
            let length = usize::from_str_radix(std::str::from_utf8(&line)?.trim_end(), 16)?;
            ensure!(body.len() + length <= ANSWER_BYTES_MAX, "an answer of more than {} bytes", body.len());
            let chunk = self.take(length + 2).await?;
            body.extend_from_slice(&chunk[..length]);
            if length == 0 {
                return Ok(body);
            }
        }
    }
}

/// The value of a field of a head, if it is there once or more.
fn value<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let mut fields = head.lines().skip(1).filter_map(|line| line.split_once(':'));
    fields.find(|(field, _)| field.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
}

/// Reads until a head is whole; where it ends.
async fn read_head(stream: &mut (impl AsyncRead + Unpin), bytes: &mut Vec<u8>) -> io::Result<usize> {
    loop {
        if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            return Ok(end + 4);
        }
        if stream.read_buf(bytes).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn over(bytes: &[u8]) -> Connection {
        let (mut there, here) = tokio::io::duplex(1024);
        let bytes = bytes.to_vec();
        tokio::spawn(async move {
            let mut request = [0; 3];
            let _ = there.read_exact(&mut request).await;
            let _ = there.write_all(&bytes).await;
            // As much as is asked for, but no answer more.
            let _ = there.shutdown().await;
            let _ = there.read_to_end(&mut Vec::new()).await;
        });
        Connection { stream: Box::new(here), unread: Vec::new() }
    }

    #[tokio::test]
    async fn answers_are_read_by_length_and_by_chunk() {
        let mut connection = over(b"HTTP/1.1 200 OK\r\nContent-length: 2\r\n\r\nabHTTP/1.1 502 x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n1\r\nd\r\n0\r\n\r\n");
        let first = connection.ask(b"one").await.unwrap();
        assert_eq!((first.status, first.body.as_slice()), (200, b"ab".as_slice()));
        let second = connection.ask(b"two").await.unwrap();
        assert_eq!((second.status, second.body.as_slice()), (502, b"abcd".as_slice()));
        assert!(connection.unread.is_empty());
    }

    #[tokio::test]
    async fn an_answer_that_is_not_whole_is_none() {
        for bytes in [
            b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nab".as_slice(),
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
            b"HTTP/1.1 200 OK\r\n\r\nab",
            b"HTTP/1.1 200 OK\r\nContent-Le",
        ] {
            assert!(over(bytes).ask(b"one").await.is_err());
        }
    }
}
