//! Both directions of a tunnel as one future, from the first byte behind the handshake to the end of both sides.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::time::Instant;

use super::half::{Broken, From, Half};

/// A tunnel. Resolves when both directions have ended, or one has broken.
pub(super) struct Pipe<C, U> {
    client: C,
    upstream: U,
    up: Half,
    down: Half,
    heard: Instant,
    first_to_end: Option<From>,
}

impl<C, U> Pipe<C, U>
where
    C: AsyncRead + AsyncWrite + Unpin,
    U: AsyncRead + AsyncWrite + Unpin,
{
    /// Joins two connections. `from_client` is what the client has sent ahead; `to_client` begins with the head of the 101,
    /// `head_bytes` long.
    pub(super) fn new(
        client: C,
        upstream: U,
        from_client: Vec<u8>,
        to_client: Vec<u8>,
        head_bytes: usize,
    ) -> Self {
        Pipe {
            client,
            upstream,
            up: Half::new(From::Client, from_client, 0),
            down: Half::new(From::Upstream, to_client, head_bytes),
            heard: Instant::now(),
            first_to_end: None,
        }
    }

    /// When the last byte came, from either side.
    pub(super) fn heard(&self) -> Instant {
        self.heard
    }

    /// Who ended it first.
    pub(super) fn first_to_end(&self) -> Option<From> {
        self.first_to_end
    }

    /// Bytes from the client, and to it.
    pub(super) fn bytes(&self) -> (u64, u64) {
        (self.up.bytes(), self.down.bytes())
    }

    /// Closes the WebSocket on both sides, each where the frame under way ends. The pipe resolves when both have answered.
    pub(super) fn close(&mut self, code: u16) {
        self.up.close(code);
        self.down.close(code);
    }

    /// Ends both connections. Errors mean that they have ended already.
    pub(super) async fn shut(&mut self) {
        let _ = self.client.shutdown().await;
        let _ = self.upstream.shutdown().await;
    }
}

impl<C, U> Future for Pipe<C, U>
where
    C: AsyncRead + AsyncWrite + Unpin,
    U: AsyncRead + AsyncWrite + Unpin,
{
    type Output = Result<(), Broken>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        let before = (this.up.bytes(), this.down.bytes());
        let up = this.up.poll(&mut this.client, &mut this.upstream, cx);
        let down = this.down.poll(&mut this.upstream, &mut this.client, cx);
        if before != (this.up.bytes(), this.down.bytes()) {
            this.heard = Instant::now();
        }
        if this.first_to_end.is_none() {
            this.first_to_end = match (this.up.ended(), this.down.ended()) {
                (true, _) => Some(From::Client),
                (false, true) => Some(From::Upstream),
                (false, false) => None,
            };
        }
        match (up, down) {
            (Poll::Ready(Err(broken)), _) | (_, Poll::Ready(Err(broken))) => Poll::Ready(Err(broken)),
            (Poll::Ready(Ok(())), Poll::Ready(Ok(()))) => Poll::Ready(Ok(())),
            // RFC 6455, section 7.1.1: with both Close frames through, whoever ends the connection ends it for both.
            _ if this.up.closed() && this.down.closed() && (this.up.shut() || this.down.shut()) => {
                Poll::Ready(Ok(()))
            }
            _ => Poll::Pending,
        }
    }
}

#[cfg(test)]
mod tests;
