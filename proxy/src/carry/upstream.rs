//! Connections to upstreams for one exchange each: made or taken from a pool, spoken to, given back.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use pingora_core::connectors::http::Connector;
use pingora_core::connectors::{ConnectorOptions, TransportConnector};
use pingora_core::protocols::Digest;
use pingora_core::protocols::http::HttpTask;
use pingora_core::upstreams::peer::{HttpPeer, Peer as _};
use pingora_error::{Error, ErrorType, Result};
use pingora_http::RequestHeader;

use super::connection::Connection;
use super::http1::Http1;
use super::pool::Pool;
use super::session::Session;

/// The way to every upstream.
pub(super) struct Upstreams {
    /// Makes connections of HTTP/1.1.
    dial: TransportConnector,
    /// Where they wait.
    pool: Arc<Pool>,
    /// Makes and keeps those that should speak HTTP/2.
    sessions: Connector,
}

/// An exchange with an upstream.
#[expect(
    clippy::large_enum_variant,
    reason = "the large one is the usual one, and a box would cost each exchange"
)]
pub(super) enum Upstream {
    Http1(Http1),
    Session(Session),
}

impl Upstreams {
    /// At most so many connections wait for their next use, of each kind.
    pub(super) fn new(waiting_max: usize) -> Self {
        Upstreams {
            dial: TransportConnector::new(None),
            pool: Pool::new(waiting_max),
            sessions: Connector::new(Some(ConnectorOptions::new(waiting_max))),
        }
    }

    /// A connection to a peer, and whether it has served before.
    ///
    /// # Errors
    /// None can be made.
    pub(super) async fn reach(&self, peer: &HttpPeer) -> Result<(Upstream, bool)> {
        if !only_http1(peer) {
            // Boxed, like all that is rare: an exchange has room for the largest of what it awaits.
            let (session, reused) = Box::pin(self.sessions.get_http_session(peer)).await?;
            return Ok((Upstream::Session(Session::new(session, peer)), reused));
        }
        if let Some(waiting) = self.pool.take(peer.reuse_hash(), Instant::now()) {
            return Ok((Upstream::Http1(Http1::new(waiting, peer)), true));
        }
        let stream = Box::pin(self.dial.new_stream(peer)).await?;
        Ok((Upstream::Http1(Http1::new(Connection::of(stream), peer)), false))
    }

    /// Gives a connection back after a whole exchange, if another may follow on it.
    pub(super) async fn release(&self, upstream: Upstream, peer: &HttpPeer) {
        match upstream {
            Upstream::Http1(http1) => {
                if let (Some(connection), Some(wait)) = (http1.into_reusable(), peer.idle_timeout()) {
                    self.pool.put(peer.reuse_hash(), connection, wait, Instant::now());
                }
            }
            Upstream::Session(session) => {
                if let Some(session) = session.into_reusable() {
                    Box::pin(self.sessions.release_http_session(session, peer, peer.idle_timeout())).await;
                }
            }
        }
    }

    /// Lets go of a connection after an exchange that has failed: one of HTTP/1.1 closes, of HTTP/2 a stream ends.
    pub(super) async fn abandon(&self, upstream: Upstream, error: &mut Error, peer: &HttpPeer) {
        if matches!(error.etype(), ErrorType::H2Downgrade | ErrorType::InvalidH2) {
            // Pingora would have HTTP/1.1 tried, which these targets were not set up to speak, for a request that may
            // have had its effect.
            error.set_retry(false);
        }
        if let Upstream::Session(session) = upstream
            && let Some(stream) = session.into_stream(error)
        {
            Box::pin(self.sessions.release_http_session(stream, peer, peer.idle_timeout())).await;
        }
    }
}

impl Upstream {
    pub(super) fn digest(&self) -> Option<&Digest> {
        match self {
            Upstream::Http1(http1) => Some(http1.digest()),
            Upstream::Session(session) => session.digest(),
        }
    }

    /// Sends the head; of a request without a body that is all.
    pub(super) async fn send_head(
        &mut self,
        head: RequestHeader,
        empty: bool,
        peer: &HttpPeer,
    ) -> Result<()> {
        match self {
            Upstream::Http1(http1) => http1.send_head(&head).await,
            Upstream::Session(session) => Box::pin(session.send_head(Box::new(head), empty, peer)).await,
        }
    }

    /// Sends a chunk of the body.
    pub(super) async fn send(&mut self, chunk: Option<Bytes>, end: bool) -> Result<()> {
        match self {
            Upstream::Http1(http1) => http1.send(chunk, end).await,
            Upstream::Session(session) => Box::pin(session.send(chunk, end)).await,
        }
    }

    /// The rest of the request cannot be sent.
    pub(super) fn spoil(&mut self) {
        match self {
            // It knows itself that the request is not whole.
            Upstream::Http1(_) => {}
            Upstream::Session(session) => session.spoil(),
        }
    }

    /// The next part of the answer; `limited` says whether the time counts. May be dropped and asked again.
    pub(super) async fn next(&mut self, limited: bool) -> Result<HttpTask> {
        match self {
            Upstream::Http1(http1) => http1.next(limited).await,
            Upstream::Session(session) => Box::pin(session.next(limited)).await,
        }
    }
}

fn only_http1(peer: &HttpPeer) -> bool {
    peer.options.alpn.get_max_http_version() == 1
}
