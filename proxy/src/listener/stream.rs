//! A client's connection as Pingora gets it: gathers small writes, so that a head and a small body leave in one system
//! call and one TLS record.
//!
//! Pingora buffers writes itself in connections that its own accept loop takes, but gives no way to ask for it elsewhere,
//! and keeps the buffer for as long as the connection. This one exists only between a write and the flush behind it.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use async_trait::async_trait;
use pingora_core::protocols::tls::SslDigest;
use pingora_core::protocols::{
    ALPN, GetProxyDigest, GetSocketDigest, GetTimingDigest, Peek, Shutdown, SocketDigest, Ssl, TimingDigest, UniqueID,
    UniqueIDType,
};
use pingora_core::protocols::raw_connect::ProxyDigest;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};

/// Writes are gathered up to this many bytes; a head fits, and larger writes go out as they are.
const GATHERED_BYTES: usize = 4096;

/// A connection that gathers small writes until they are flushed.
#[derive(Debug)]
pub(super) struct Gathering<S> {
    inner: S,
    gathered: Vec<u8>,
}

impl<S: AsyncWrite + Unpin> Gathering<S> {
    pub(super) fn new(inner: S) -> Self {
        Gathering { inner, gathered: Vec::new() }
    }

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

impl<S: AsyncWrite + Unpin> AsyncWrite for Gathering<S> {
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

impl<S: AsyncRead + Unpin> AsyncRead for Gathering<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(cx, buf)
    }
}

#[async_trait]
impl<S: AsyncWrite + Unpin + Send> Shutdown for Gathering<S> {
    async fn shutdown(&mut self) {
        // A connection that ends is no error, whichever side ends it first.
        let _ = AsyncWriteExt::shutdown(self).await;
    }
}

impl<S: UniqueID> UniqueID for Gathering<S> {
    fn id(&self) -> UniqueIDType {
        self.inner.id()
    }
}

impl<S: Ssl> Ssl for Gathering<S> {
    fn get_ssl_digest(&self) -> Option<Arc<SslDigest>> {
        self.inner.get_ssl_digest()
    }

    fn selected_alpn_proto(&self) -> Option<ALPN> {
        self.inner.selected_alpn_proto()
    }
}

impl<S: GetTimingDigest> GetTimingDigest for Gathering<S> {
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

impl<S: GetProxyDigest> GetProxyDigest for Gathering<S> {
    fn get_proxy_digest(&self) -> Option<Arc<ProxyDigest>> {
        self.inner.get_proxy_digest()
    }
}

impl<S: GetSocketDigest> GetSocketDigest for Gathering<S> {
    fn get_socket_digest(&self) -> Option<Arc<SocketDigest>> {
        self.inner.get_socket_digest()
    }
}

/// Not supported: the accept loop has looked at the socket before there was a stream.
impl<S> Peek for Gathering<S> {}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt;

    use super::*;

    #[tokio::test]
    async fn small_writes_leave_together_and_large_ones_keep_their_place() {
        let (near, mut far) = tokio::io::duplex(64 * 1024);
        let mut stream = Gathering::new(near);
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
        let mut stream = Gathering::new(near);
        stream.write_all(b"0123456789").await.unwrap();
        let sent = tokio::spawn(async move { stream.flush().await });
        let mut read = [0; 10];
        far.read_exact(&mut read).await.unwrap();
        assert_eq!(&read, b"0123456789");
        sent.await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn a_shutdown_sends_what_was_gathered() {
        let (near, mut far) = tokio::io::duplex(64);
        let mut stream = Gathering::new(near);
        stream.write_all(b"last words").await.unwrap();
        Shutdown::shutdown(&mut stream).await;
        let mut read = String::new();
        far.read_to_string(&mut read).await.unwrap();
        assert_eq!(read, "last words");
    }
}
