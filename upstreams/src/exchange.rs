//! How targets are spoken to: connections for one exchange each, made or taken from a pool, spoken to, given back.
//!
//! [`Connections`] is the way to every target, whatever it speaks; an [`Exchange`] is one request and its answer, in
//! parts. What is asked, what becomes of the answer, and how long all of it may take is the caller's.

mod answer;
mod answer_head;
mod connection;
mod http1;
mod pool;
mod session;

use std::sync::Arc;
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use futures::FutureExt as _;
use pingora_core::connectors::http::Connector;
use pingora_core::connectors::{ConnectorOptions, TransportConnector};
use pingora_core::protocols::Digest;
use pingora_core::protocols::http::HttpTask;
use pingora_core::upstreams::peer::{HttpPeer, Peer as _};
use pingora_error::{Error, ErrorType, Result};
use pingora_http::RequestHeader;

use connection::Connection;
use http1::Http1;
use pool::Pool;
use session::Session;

pub use answer::Answer;

/// The way to every target.
pub struct Connections {
    /// Makes connections of HTTP/1.1.
    dial: TransportConnector,
    /// Where they wait.
    pool: Arc<Pool>,
    /// Makes and keeps those that should speak HTTP/2.
    sessions: Connector,
}

/// An exchange with a target. Dropped, it is broken off, whatever it speaks; but see [`Connections::abandon`].
pub struct Exchange {
    spoken: Spoken,
}

/// What goes over the wire.
#[expect(
    clippy::large_enum_variant,
    reason = "the large one is the usual one, and a box would cost each exchange"
)]
enum Spoken {
    Http1(Http1),
    Session(Session),
}

impl Connections {
    /// None yet. At most so many wait for their next use, of each kind. To be called on a Tokio runtime: a task looks
    /// after those that wait.
    pub fn new(waiting_max: usize) -> Self {
        Connections {
            dial: TransportConnector::new(None),
            pool: Pool::new(waiting_max),
            sessions: Connector::new(Some(ConnectorOptions::new(waiting_max))),
        }
    }

    /// A connection to a peer, and whether it has served before.
    ///
    /// # Errors
    /// None can be made.
    pub async fn reach(&self, peer: &HttpPeer) -> Result<(Exchange, bool)> {
        if !only_http1(peer) {
            // Boxed, like all that is rare: an exchange has room for the largest of what it awaits.
            let (session, reused) = Box::pin(self.sessions.get_http_session(peer)).await?;
            return Ok((Exchange { spoken: Spoken::Session(Session::new(session, peer)) }, reused));
        }
        if let Some(waiting) = self.pool.take(peer.reuse_hash(), Instant::now()) {
            return Ok((Exchange { spoken: Spoken::Http1(Http1::new(waiting, peer)) }, true));
        }
        let stream = Box::pin(self.dial.new_stream(peer)).await?;
        let http1 = Http1::new(Connection::of(stream), peer);
        Ok((Exchange { spoken: Spoken::Http1(http1) }, false))
    }

    /// Gives a connection back after a whole exchange, if another may follow on it.
    pub async fn release(&self, exchange: Exchange, peer: &HttpPeer) {
        match exchange.spoken {
            Spoken::Http1(http1) => {
                if let (Some(connection), Some(wait)) = (http1.into_reusable(), peer.idle_timeout()) {
                    self.pool.put(peer.reuse_hash(), connection, wait, Instant::now());
                }
            }
            Spoken::Session(session) => {
                if let Some(session) = session.into_reusable() {
                    Box::pin(self.sessions.release_http_session(session, peer, peer.idle_timeout())).await;
                }
            }
        }
    }

    /// Lets go of a connection after an exchange that has failed: one of HTTP/1.1 closes, of HTTP/2 a stream ends. Only so,
    /// not by being dropped, does an HTTP/2 connection become idle, and is closed one day.
    pub async fn abandon(&self, exchange: Exchange, error: &mut Error, peer: &HttpPeer) {
        if matches!(error.etype(), ErrorType::H2Downgrade | ErrorType::InvalidH2) {
            // Pingora would have HTTP/1.1 tried, which these targets were not set up to speak, for a request that may
            // have had its effect.
            error.set_retry(false);
        }
        if let Spoken::Session(session) = exchange.spoken
            && let Some(stream) = session.into_stream(error)
        {
            Box::pin(self.sessions.release_http_session(stream, peer, peer.idle_timeout())).await;
        }
    }

    /// Lets go of a connection whose exchange nobody waits for any more, as [`Connections::abandon`] does after a failure.
    pub fn give_up(&self, exchange: Exchange, peer: &HttpPeer) {
        if let Spoken::Session(session) = exchange.spoken
            && let Some(stream) = session.into_shared()
            && tokio::runtime::Handle::try_current().is_ok()
        {
            // For HTTP/2 nothing in it waits.
            let _ = self.sessions.release_http_session(stream, peer, peer.idle_timeout()).now_or_never();
        }
    }
}

impl Exchange {
    /// What is known of the connection, and what the one who connected has left with it.
    pub fn digest(&self) -> Option<&Digest> {
        match &self.spoken {
            Spoken::Http1(http1) => Some(http1.digest()),
            Spoken::Session(session) => session.digest(),
        }
    }

    /// Sends the head; of a request without a body (`empty`) that is all.
    ///
    /// # Errors
    /// The head cannot be sent to such a target, or the connection is broken.
    pub async fn send_head(&mut self, head: RequestHeader, empty: bool, peer: &HttpPeer) -> Result<()> {
        match &mut self.spoken {
            Spoken::Http1(http1) => http1.send_head(&head).await,
            Spoken::Session(session) => Box::pin(session.send_head(Box::new(head), empty, peer)).await,
        }
    }

    /// Sends the head with all of the body.
    ///
    /// # Errors
    /// The body is not as long as the head says, the head cannot be sent to such a target, or the connection is broken.
    pub async fn send_whole(&mut self, head: RequestHeader, body: Bytes, peer: &HttpPeer) -> Result<()> {
        match &mut self.spoken {
            Spoken::Http1(http1) => http1.send_whole(&head, &body).await,
            Spoken::Session(session) => {
                let send = async {
                    session.send_head(Box::new(head), body.is_empty(), peer).await?;
                    session.send(Some(body).filter(|body| !body.is_empty()), true).await
                };
                Box::pin(send).await
            }
        }
    }

    /// Sends a chunk of the body; `end` says that it is the last.
    ///
    /// # Errors
    /// The body is not as long as its head says, or the connection is broken.
    pub async fn send(&mut self, chunk: Option<Bytes>, end: bool) -> Result<()> {
        match &mut self.spoken {
            Spoken::Http1(http1) => http1.send(chunk, end).await,
            Spoken::Session(session) => Box::pin(session.send(chunk, end)).await,
        }
    }

    /// The rest of the request cannot be sent.
    pub fn spoil(&mut self) {
        match &mut self.spoken {
            // It knows itself that the request is not whole.
            Spoken::Http1(_) => {}
            Spoken::Session(session) => session.spoil(),
        }
    }

    /// The next part of the answer; `limited` says whether the time counts. May be dropped and asked again.
    ///
    /// # Errors
    /// The connection is broken, nothing comes in the time that the peer has for it, or what comes is not HTTP.
    pub async fn next(&mut self, limited: bool) -> Result<HttpTask> {
        match &mut self.spoken {
            Spoken::Http1(http1) => http1.next(limited).await,
            Spoken::Session(session) => Box::pin(session.next(limited)).await,
        }
    }

    /// Reads on in the answer's body, to behind what is in the buffer, with as few copies as there can be; whether that was
    /// the last of it. For bodies that are wanted in one piece, and whose length is known and bounded: what comes at once is
    /// never more than is said of it, and 64 KiB.
    ///
    /// # Errors
    /// As [`Exchange::next`], or it is no body that comes.
    pub async fn next_into(&mut self, body: &mut BytesMut, limited: bool) -> Result<bool> {
        match &mut self.spoken {
            Spoken::Http1(http1) => http1.next_into(body, limited).await,
            Spoken::Session(session) => append(Box::pin(session.next(limited)).await?, body),
        }
    }
}

/// Puts a part of a body behind what is in the buffer; whether it was the last.
fn append(part: HttpTask, body: &mut BytesMut) -> Result<bool> {
    match part {
        HttpTask::Body(chunk, end) => {
            body.extend_from_slice(&chunk.unwrap_or_default());
            Ok(end)
        }
        HttpTask::Trailer(_) | HttpTask::Done => Ok(true),
        HttpTask::Failed(error) => Err(error),
        HttpTask::Header(..) | HttpTask::UpgradedBody(..) => {
            Error::e_explain(ErrorType::InvalidHTTPHeader, "no body where one should be")
        }
    }
}

fn only_http1(peer: &HttpPeer) -> bool {
    peer.options.alpn.get_max_http_version() == 1
}
