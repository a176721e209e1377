//! Carries exchanges of HTTP/1.1 clients: a head is read, the phases (`phases.rs`) are gone through, bytes pass.
//!
//! Pingora's proxy does the same for HTTP/2, and could for HTTP/1.1. It does so for whatever anybody may build on it:
//! caches, modules, subrequests and channels between two halves of an exchange cost more CPU time there than all that
//! this edge adds. Why this is written anew, on Pingora's own sessions: docs/decisions/0023-carrying-exchanges.md.

mod duplex;

use std::sync::Arc;

use http::{HeaderMap, Version, header};
use pingora_core::protocols::Stream;
use pingora_core::protocols::http::server::ReusableHttpStream;
use pingora_core::upstreams::peer::HttpPeer;
use pingora_error::{Error, ErrorType, Result};
use pingora_http::RequestHeader;
use pingora_proxy::Session;
use sallyport_upstreams::exchange::{Connections, Exchange};

use self::duplex::Duplex;
use crate::ctx::Ctx;
use crate::forward;
use crate::phases::Phases;
use crate::reply;

/// The most connections that wait for their next use, of all upstreams.
pub(crate) const POOL_CONNECTIONS_MAX: usize = 4096;
/// Tries of one exchange; routes have smaller limits of their own.
pub(crate) const TRIES_MAX: usize = 8;

/// Room in a request's head for what the edge and filters set, so that it need not grow.
const FIELDS_TO_COME: usize = 12;

/// Carries exchanges, and keeps the connections to upstreams that wait for their next use.
pub(crate) struct Carrier {
    phases: Phases,
    connections: Arc<Connections>,
}

impl Carrier {
    pub(crate) fn new(phases: Phases) -> Self {
        Carrier { phases, connections: Arc::new(Connections::new(POOL_CONNECTIONS_MAX)) }
    }

    /// The connections to upstreams, for others who call them.
    pub(crate) fn connections(&self) -> &Arc<Connections> {
        &self.connections
    }

    /// One exchange. The answer is the connection, if it may serve another.
    pub(crate) async fn carry(&self, mut session: Session) -> Option<Stream> {
        match session.read_request().await {
            Ok(true) => {}
            // What was checked already, Pingora's parser refuses in few cases more, such as a target that is no URI.
            Err(error) if error.etype() == &ErrorType::InvalidHTTPHeader => {
                let _ = session.respond_error(400).await;
                return None;
            }
            Ok(false) | Err(_) => return None,
        }
        let mut ctx = Ctx::default();
        let outcome = match self.phases.accept(&mut session, &mut ctx).await {
            Ok(true) => Ok(true),
            Ok(false) => self.tries(&mut session, &mut ctx).await,
            Err(error) => Err(error),
        };
        if let Err(error) = &outcome {
            Box::pin(self.phases.failed(&mut session, error, &mut ctx)).await;
        }
        self.phases.end(&mut session, outcome.as_ref().err().map(|error| &**error), &mut ctx);
        drop(ctx);
        if !outcome.is_ok_and(|reusable| reusable) {
            return None;
        }
        session
            .downstream_session
            .finish()
            .await
            .ok()
            .flatten()
            .map(|reusable: ReusableHttpStream| reusable.into_parts().0)
    }

    /// Tries targets until one has answered, or no other may be tried. Whether the client's connection may serve another
    /// exchange.
    async fn tries(&self, session: &mut Session, ctx: &mut Ctx) -> Result<bool> {
        let mut tries = 1;
        loop {
            match self.attempt(session, ctx).await {
                Err(error) if error.retry() && repeatable(session) && tries < TRIES_MAX => tries += 1,
                outcome => return outcome,
            }
        }
    }

    async fn attempt(&self, session: &mut Session, ctx: &mut Ctx) -> Result<bool> {
        let peer = forward::pick(ctx)?;
        let (mut upstream, reused) = match self.connections.reach(&peer).await {
            Ok(reached) => reached,
            Err(error) => return Err(self.phases.unconnected(session, error, ctx)),
        };
        match self.pass(session, &mut upstream, &peer, ctx).await {
            Ok(reusable) => {
                self.connections.release(upstream, &peer).await;
                Ok(reusable)
            }
            Err(mut error) => {
                self.connections.abandon(upstream, &mut error, &peer).await;
                Err(self.phases.broken(&peer, session, error, ctx, reused))
            }
        }
    }

    /// Passes the request to the upstream and its answer to the client.
    async fn pass(
        &self,
        session: &mut Session,
        upstream: &mut Exchange,
        peer: &HttpPeer,
        ctx: &mut Ctx,
    ) -> Result<bool> {
        self.phases.connected(upstream.digest(), ctx);
        // Without the case of names as the client wrote them: it means nothing (RFC 9110, section 5.1), and a second map.
        let mut parts = session.req_header().as_owned_parts();
        parts.headers.reserve(FIELDS_TO_COME);
        parts.version = Version::HTTP_11;
        let mut head = RequestHeader::from(parts);
        self.phases.shape(session, &mut head, ctx)?;
        let empty = session.is_body_empty();
        if !empty && !is_framed(&head.headers) {
            head.insert_header(header::TRANSFER_ENCODING, "chunked")?;
        }
        upstream.send_head(head, empty, peer).await.map_err(|error| error.into_up())?;
        session.enable_retry_buffering();
        Duplex::new(&self.phases, session, upstream, ctx).run().await
    }
}

/// Whether another try would be the same request with an answer of its own: nothing of an answer was passed on, and all of
/// the body that was read is still there. Whatever an error says of the connection, it cannot know this.
fn repeatable(session: &Session) -> bool {
    reply::sent(session).is_none() && !session.retry_buffer_truncated()
}

/// Whether a head says where its body ends.
fn is_framed(headers: &HeaderMap) -> bool {
    headers.contains_key(header::CONTENT_LENGTH) || headers.contains_key(header::TRANSFER_ENCODING)
}

/// An upstream that switches protocols unasked: upgrades never get here.
fn switched() -> Box<Error> {
    Error::explain(ErrorType::InvalidHTTPHeader, "a 101 without an upgrade").into_up()
}
