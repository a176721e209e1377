//! A client's connection as Pingora gets it.
//!
//! Small writes are gathered, so that a head and a small body leave in one system call and one TLS record; Pingora does so
//! only for connections of its own accept loop, and keeps the buffer for as long as the connection. Reads end where the
//! body of the request ends: what a client sends ahead is held back for the next head, where Pingora would break off
//! the exchange under way.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use async_trait::async_trait;
use bytes::BytesMut;
use pingora_core::protocols::raw_connect::ProxyDigest;
use pingora_core::protocols::tls::SslDigest;
use pingora_core::protocols::{
    ALPN, GetProxyDigest, GetSocketDigest, GetTimingDigest, Peek, Shutdown, SocketDigest, Ssl, TimingDigest,
    UniqueID, UniqueIDType,
};
use sallyport_wire::BodyEnd;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};

/// Writes are gathered up to this many bytes; a head fits, and larger writes go out as they are.
const GATHERED_BYTES: usize = 4096;
/// The most that is held back for the next head. Beyond, the client waits.
const AHEAD_BYTES_MAX: usize = 64 * 1024;

/// A connection with gathered writes and bounded reads.
#[derive(Debug)]
pub(super) struct ClientStream<S> {
    inner: S,
    gathered: Vec<u8>,
    body: BodyEnd,
    ahead: BytesMut,
}

impl<S> ClientStream<S> {
    /// A connection before its first request.
    pub(super) fn new(inner: S) -> Self {
        ClientStream { inner, gathered: Vec::new(), body: BodyEnd::Unknown, ahead: BytesMut::new() }
    }

    /// A request begins: reads end where its body does. `body` has taken note of the bytes that were read already, and of
    /// these `ahead` came behind the body.
    pub(super) fn begin(&mut self, body: BodyEnd, ahead: BytesMut) {
        self.body = body;
        self.ahead = ahead;
    }

    /// The request is over: what came ahead of the next one.
    pub(super) fn end(&mut self) -> BytesMut {
        self.body = BodyEnd::Unknown;
        std::mem::take(&mut self.ahead)
    }

    /// The connection itself, and what has come behind the request. What was written must have been flushed.
    pub(super) fn into_parts(self) -> (S, BytesMut) {
        (self.inner, self.ahead)
    }
}

impl<S: AsyncWrite + Unpin> ClientStream<S> {
    fn poll_empty(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut written = 0;
        let result = loop {
            if written == self.gathered.len() {
                break Poll::Ready(Ok(()));
            }
            match Pin::new(&mut self.inner).poll_write(cx, &self.gathered[written..]) {
                Poll::Ready(Ok(0)) => break Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Poll::Ready(Ok(count)) => written += count,
                Poll::Ready(Err(error)) => break Poll::Ready(Err(error)),
                Poll::Pending => break Poll::Pending,
            }
        };
        if written == self.gathered.len() {
            // Given back, so that an idle connection holds no buffer.
            self.gathered = Vec::new();
        } else {
            self.gathered.drain(..written);
        }
        result
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for ClientStream<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.gathered.len() + bytes.len() > GATHERED_BYTES {
            ready!(self.poll_empty(cx))?;
        }
        if bytes.len() >= GATHERED_BYTES {
            return Pin::new(&mut self.inner).poll_write(cx, bytes);
        }
        if self.gathered.capacity() == 0 {
            self.gathered.reserve_exact(GATHERED_BYTES.min(bytes.len().max(1024)));
        }
        self.gathered.extend_from_slice(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_empty(cx))?;
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_empty(cx))?;
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

impl<S: AsyncRead + Unpin> ClientStream<S> {
    /// Behind the body: bytes are held back, and only the client's close is told.
    fn poll_ahead(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut scratch = [0; 512];
        while self.ahead.len() < AHEAD_BYTES_MAX {
            let mut read = ReadBuf::new(&mut scratch);
            ready!(Pin::new(&mut self.inner).poll_read(cx, &mut read))?;
            if read.filled().is_empty() {
                return Poll::Ready(Ok(()));
            }
            self.ahead.extend_from_slice(read.filled());
        }
        // Nobody wakes this read any more; the exchange under way ends all the same, and with it the wait.
        Poll::Pending
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for ClientStream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.body == BodyEnd::Unknown {
            return Pin::new(&mut self.inner).poll_read(cx, buf);
        }
        if self.body == BodyEnd::Reached {
            return self.poll_ahead(cx);
        }
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.inner).poll_read(cx, buf))?;
        let this = &mut *self;
        let read = &buf.filled()[before..];
        let malformed = |_| io::Error::new(io::ErrorKind::InvalidData, "the chunked body is malformed");
        let taken = this.body.take(read).map_err(malformed)?;
        this.ahead.extend_from_slice(&read[taken..]);
        buf.set_filled(before + taken);
        Poll::Ready(Ok(()))
    }
}

#[async_trait]
impl<S: AsyncWrite + Unpin + Send> Shutdown for ClientStream<S> {
    async fn shutdown(&mut self) {
        // A connection that ends is no error, whichever side ends it first.
        let _ = AsyncWriteExt::shutdown(self).await;
    }
}

impl<S: UniqueID> UniqueID for ClientStream<S> {
    fn id(&self) -> UniqueIDType {
        self.inner.id()
    }
}

impl<S: Ssl> Ssl for ClientStream<S> {
    fn get_ssl_digest(&self) -> Option<Arc<SslDigest>> {
        self.inner.get_ssl_digest()
    }

    fn selected_alpn_proto(&self) -> Option<ALPN> {
        self.inner.selected_alpn_proto()
    }
}

impl<S: GetTimingDigest> GetTimingDigest for ClientStream<S> {
    fn get_timing_digest(&self) -> Vec<Option<TimingDigest>> {
        self.inner.get_timing_digest()
    }

    fn get_read_pending_time(&self) -> Duration {
        self.inner.get_read_pending_time()
    }

    fn get_write_pending_time(&self) -> Duration {
        self.inner.get_write_pending_time()
    }
}

impl<S: GetProxyDigest> GetProxyDigest for ClientStream<S> {
    fn get_proxy_digest(&self) -> Option<Arc<ProxyDigest>> {
        self.inner.get_proxy_digest()
    }
}

impl<S: GetSocketDigest> GetSocketDigest for ClientStream<S> {
    fn get_socket_digest(&self) -> Option<Arc<SocketDigest>> {
        self.inner.get_socket_digest()
    }
}

/// Not supported: the accept loop has looked at the socket before there was a stream.
impl<S> Peek for ClientStream<S> {}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt;

    use super::*;

    #[tokio::test]
    async fn small_writes_leave_together_and_large_ones_keep_their_place() {
        let (near, mut far) = tokio::io::duplex(64 * 1024);
        let mut stream = ClientStream::new(near);
        let large = vec![b'x'; 2 * GATHERED_BYTES];
        stream.write_all(b"head").await.unwrap();
        stream.write_all(b"body").await.unwrap();
        assert_eq!(stream.gathered, b"headbody");
        stream.write_all(&large).await.unwrap();
        assert!(stream.gathered.is_empty());
        stream.write_all(b"end").await.unwrap();
        stream.flush().await.unwrap();
        assert_eq!(stream.gathered.capacity(), 0, "an idle connection holds no buffer");
        let mut read = vec![0; 8 + large.len() + 3];
        far.read_exact(&mut read).await.unwrap();
        assert!(read.starts_with(b"headbodyx") && read.ends_with(b"xend"));
    }

    #[tokio::test]
    async fn what_the_other_side_does_not_take_yet_is_kept() {
        let (near, mut far) = tokio::io::duplex(3);
        let mut stream = ClientStream::new(near);
        stream.write_all(b"0123456789").await.unwrap();
        let sent = tokio::spawn(async move { stream.flush().await });
        let mut read = [0; 10];
        far.read_exact(&mut read).await.unwrap();
        assert_eq!(&read, b"0123456789");
        sent.await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn a_read_ends_with_the_body_and_the_rest_is_kept() {
        let (near, mut far) = tokio::io::duplex(64 * 1024);
        let mut stream = ClientStream::new(near);
        stream.begin(BodyEnd::Length(4), BytesMut::new());
        far.write_all(b"bodyGET /next").await.unwrap();
        let mut read = [0; 64];
        let count = stream.read(&mut read).await.unwrap();
        assert_eq!(&read[..count], b"body");
        far.write_all(b" HTTP/1.1").await.unwrap();
        let idle = std::future::poll_fn(|cx| {
            let mut nothing = ReadBuf::new(&mut read);
            Poll::Ready(Pin::new(&mut stream).poll_read(cx, &mut nothing).is_pending())
        });
        assert!(idle.await, "what comes ahead does not end the exchange");
        assert_eq!(&stream.end()[..], b"GET /next HTTP/1.1");
    }

    #[tokio::test]
    async fn a_close_behind_the_body_is_told() {
        let (near, far) = tokio::io::duplex(64);
        let mut stream = ClientStream::new(near);
        stream.begin(BodyEnd::Reached, BytesMut::new());
        drop(far);
        assert_eq!(stream.read(&mut [0; 8]).await.unwrap(), 0);
    }

    /// RFC 9112, section 7.1.
    #[tokio::test]
    async fn a_malformed_chunk_breaks_the_read() {
        let (near, mut far) = tokio::io::duplex(64);
        let mut stream = ClientStream::new(near);
        stream.begin(BodyEnd::of(crate::head::Framing::Chunked), BytesMut::new());
        far.write_all(b"\r\n0\r\n\r\n").await.unwrap();
        assert_eq!(stream.read(&mut [0; 8]).await.unwrap_err().kind(), io::ErrorKind::InvalidData);
    }

    #[tokio::test]
    async fn a_shutdown_sends_what_was_gathered() {
        let (near, mut far) = tokio::io::duplex(64);
        let mut stream = ClientStream::new(near);
        stream.write_all(b"last words").await.unwrap();
        Shutdown::shutdown(&mut stream).await;
        let mut read = String::new();
        far.read_to_string(&mut read).await.unwrap();
        assert_eq!(read, "last words");
    }
}
