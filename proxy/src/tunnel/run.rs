//! A tunnel as the task of a connection: from the moment the connection is free to the end of both sides.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures::future::BoxFuture;
use sallyport_ws_bridge::hello::Hello;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};

use super::life::live;
use super::open::{Opened, To};
use super::pipe::Pipe;
use super::record::Record;
use crate::listener::Drain;
use crate::sidecar::{Carrier, Ended, Reason};

/// The part of the drain over which closes are spread; the rest is for answers to them.
const SPREAD: f64 = 0.75;

/// The rest of a connection's life.
pub(crate) type Tunnel = BoxFuture<'static, ()>;

impl Opened {
    /// Joins the client's connection to where the tunnel leads. `ahead` is what the client has sent behind its head.
    pub(crate) fn run<C>(self, client: C, ahead: Vec<u8>, drain: Drain) -> Tunnel
    where
        C: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let Opened { to, to_client, head_bytes, limits, record } = self;
        match to {
            To::Upstream(upstream) => {
                let mut pipe = Pipe::new(client, upstream, ahead, to_client, head_bytes);
                let mut record = record;
                let state = record.state.clone();
                let window = move || state.plan.load().loaded.config.process.drain.mul_f64(SPREAD);
                // A block and no function: the arguments of one would take their room twice.
                Box::pin(async move { record.ended = live(&mut pipe, limits, drain, window).await })
            }
            To::Carrier(carrier) => Box::pin(hand_over(Box::new(client), ahead, to_client, carrier, record)),
        }
    }
}

/// Answers 101 and gives the connection to the bridge, which ends it itself.
async fn hand_over<C>(
    mut client: Box<C>,
    ahead: Vec<u8>,
    to_client: Vec<u8>,
    carrier: Arc<dyn Carrier>,
    mut record: Box<Record>,
) where
    C: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let answered = async {
        client.write_all(&to_client).await?;
        client.flush().await
    };
    let answered: io::Result<()> = answered.await;
    drop(to_client);
    if let Err(error) = answered {
        let error = Some(format!("client: {}", error.kind()).into());
        record.ended = Ended { reason: Reason::Error, received_bytes: 0, sent_bytes: 0, error };
        return;
    }
    let claims = record.facts.identity.as_ref().map(|identity| identity.claims.clone());
    let hello = Hello {
        client: record.facts.client,
        claims,
        request_id: record.facts.request_id.to_str().unwrap_or_default().to_owned(),
        hold: Box::new(()),
    };
    let carried = if ahead.is_empty() {
        carrier.carry(client, hello)
    } else {
        carrier.carry(Box::new(Ahead { ahead, read: 0, inner: client }), hello)
    };
    drop(carrier);
    record.ended = carried.await;
}

/// A connection of which some bytes were read already.
struct Ahead<C> {
    ahead: Vec<u8>,
    read: usize,
    inner: C,
}

impl<C: AsyncRead + Unpin> AsyncRead for Ahead<C> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.ahead.is_empty() {
            return Pin::new(&mut this.inner).poll_read(cx, buf);
        }
        let left = &this.ahead[this.read..];
        let taken = left.len().min(buf.remaining());
        buf.put_slice(&left[..taken]);
        this.read += taken;
        if this.read == this.ahead.len() {
            this.ahead = Vec::new();
        }
        Poll::Ready(Ok(()))
    }
}

impl<C: AsyncWrite + Unpin> AsyncWrite for Ahead<C> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write_vectored(cx, slices)
    }
}
