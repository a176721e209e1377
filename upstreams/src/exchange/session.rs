//! An exchange with a target that should speak HTTP/2, on a session of Pingora's.

use std::time::Duration;

use bytes::Bytes;
use http::uri::{Authority, PathAndQuery, Uri};
use http::{Version, header};
use pingora_core::protocols::Digest;
use pingora_core::protocols::http::HttpTask;
use pingora_core::protocols::http::client::HttpSession;
use pingora_core::upstreams::peer::HttpPeer;
use pingora_error::{Error, ErrorSource, ErrorType, Result};
use pingora_http::RequestHeader;

/// A stream of an HTTP/2 connection, or whatever a target that should speak HTTP/2 speaks: a session of Pingora's.
pub(super) struct Session {
    inner: HttpSession,
    read_timeout: Option<Duration>,
    /// Whether the request was sent whole, so that another may follow.
    whole: bool,
    /// Whether the end of an HTTP/2 request was sent with its head.
    ended: bool,
    /// Whether the head of an HTTP/2 answer was read.
    headed: bool,
}

impl Session {
    pub(super) fn new(mut inner: HttpSession, peer: &HttpPeer) -> Self {
        inner.set_write_timeout(peer.options.write_timeout);
        let read_timeout = peer.options.read_timeout;
        Session { inner, read_timeout, whole: true, ended: false, headed: false }
    }

    pub(super) fn digest(&self) -> Option<&Digest> {
        self.inner.digest()
    }

    /// The session, if it may go back to its pool as far as this exchange goes; it has its own say.
    pub(super) fn into_reusable(self) -> Option<HttpSession> {
        let shared = matches!(self.inner, HttpSession::H2(_));
        (self.whole || shared).then_some(self.inner)
    }

    /// The stream of an exchange that has failed, if it is one of a connection that others share: that goes back to its
    /// pool, or nobody would ever close it. Without an answer in time it serves no further exchange, lest it hangs.
    pub(super) fn into_stream(self, error: &Error) -> Option<HttpSession> {
        if let HttpSession::H2(stream) = &self.inner
            && error.etype() == &ErrorType::ReadTimedout
            && error.esource() == &ErrorSource::Upstream
        {
            stream.conn.mark_shutdown();
        }
        self.into_shared()
    }

    /// The stream, if it is one of a connection that others share.
    pub(super) fn into_shared(self) -> Option<HttpSession> {
        matches!(self.inner, HttpSession::H2(_)).then_some(self.inner)
    }

    /// The request was not sent whole.
    pub(super) fn spoil(&mut self) {
        self.whole = false;
    }

    /// Sends the head; of a request without a body that is all.
    pub(super) async fn send_head(
        &mut self,
        head: Box<RequestHeader>,
        empty: bool,
        peer: &HttpPeer,
    ) -> Result<()> {
        match &mut self.inner {
            HttpSession::H1(h1) => h1.write_request_header(head).await.map(|_| ()),
            HttpSession::H2(h2) => {
                self.ended = empty;
                h2.write_request_header(for_http2(head, peer)?, empty)
            }
            HttpSession::Custom(()) => Err(unknown()),
        }
    }

    /// Sends a chunk of the body.
    pub(super) async fn send(&mut self, chunk: Option<Bytes>, end: bool) -> Result<()> {
        match &mut self.inner {
            HttpSession::H1(h1) => {
                if let Some(chunk) = chunk {
                    h1.write_body(&chunk).await?;
                }
                if end {
                    h1.finish_body().await?;
                }
                Ok(())
            }
            HttpSession::H2(_) if self.ended => Ok(()),
            HttpSession::H2(h2) => match chunk {
                Some(chunk) => h2.write_request_body(chunk, end).await,
                None if end => h2.finish_request_body(),
                None => Ok(()),
            },
            HttpSession::Custom(()) => Err(unknown()),
        }
    }

    /// The next part of the answer; `limited` says whether the time counts. May be dropped and asked again.
    pub(super) async fn next(&mut self, limited: bool) -> Result<HttpTask> {
        self.inner.set_read_timeout(if limited { self.read_timeout } else { None });
        match &mut self.inner {
            HttpSession::H1(h1) => h1.read_response_task().await,
            HttpSession::H2(h2) => {
                if !self.headed {
                    h2.read_response_header().await?;
                    let mut head = h2.response_header().cloned().ok_or_else(unknown)?;
                    head.set_version(Version::HTTP_11);
                    self.headed = true;
                    return Ok(HttpTask::Header(Box::new(head), h2.response_finished()));
                }
                match h2.read_response_body().await? {
                    Some(chunk) => Ok(HttpTask::Body(Some(chunk), h2.response_finished())),
                    None => Ok(HttpTask::Done),
                }
            }
            HttpSession::Custom(()) => Err(unknown()),
        }
    }
}

/// The head as HTTP/2 has it: the host as `:authority`, no field of a connection (RFC 9113, sections 8.2.2 and 8.3.1).
fn for_http2(mut head: Box<RequestHeader>, peer: &HttpPeer) -> Result<Box<RequestHeader>> {
    let malformed = |what| Error::explain(ErrorType::InvalidHTTPHeader, what).into_in();
    for name in [header::TRANSFER_ENCODING, header::CONNECTION, header::UPGRADE] {
        head.remove_header(&name);
    }
    let host = head.remove_header(&header::HOST).ok_or_else(|| malformed("no host for HTTP/2"))?;
    let authority =
        Authority::try_from(host.as_bytes()).map_err(|_| malformed("a host that is no authority"))?;
    if authority.as_str().contains('@') {
        return Err(malformed("a host with user information"));
    }
    let path = head.uri.path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/"));
    let scheme = if peer.is_tls() { "https" } else { "http" };
    let uri = Uri::builder().scheme(scheme).authority(authority).path_and_query(path).build();
    head.set_uri(uri.map_err(|_| malformed("a target that HTTP/2 cannot have"))?);
    head.set_version(Version::HTTP_2);
    Ok(head)
}

fn unknown() -> Box<Error> {
    Error::explain(ErrorType::InternalError, "neither HTTP/1.1 nor HTTP/2")
}
