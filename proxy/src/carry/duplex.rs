//! Both directions of one exchange at once: the request's body to the upstream, the answer to the client.

use bytes::Bytes;
use http::{Method, Version, header};
use pingora_core::protocols::http::HttpTask;
use pingora_error::{Error, Result};
use pingora_http::ResponseHeader;
use pingora_proxy::Session;
use sallyport_upstreams::exchange::Exchange;
use sallyport_wire::is_bodiless;

use super::{is_framed, switched};
use crate::body;
use crate::ctx::Ctx;
use crate::phases::Phases;

/// One exchange whose request's head was sent.
pub(super) struct Duplex<'a> {
    phases: &'a Phases,
    session: &'a mut Session,
    upstream: &'a mut Exchange,
    ctx: &'a mut Ctx,
    /// Whether the upstream has got all of the request, or does not want the rest.
    request_done: bool,
    response_done: bool,
    /// Why the rest of the request could not be sent. The upstream may have answered all the same.
    unsent: Option<Box<Error>>,
}

impl<'a> Duplex<'a> {
    pub(super) fn new(
        phases: &'a Phases,
        session: &'a mut Session,
        upstream: &'a mut Exchange,
        ctx: &'a mut Ctx,
    ) -> Self {
        Duplex { phases, session, upstream, ctx, request_done: false, response_done: false, unsent: None }
    }

    /// Runs until both are over. Whether the client's connection may serve another exchange.
    ///
    /// # Errors
    /// The client or the upstream broke off, or a phase says that the exchange has failed.
    pub(super) async fn run(mut self) -> Result<bool> {
        let read = self.session.is_body_done();
        // What an earlier try has read of the body, for this one.
        let kept = self.session.get_retry_buffer();
        if kept.is_some() || self.session.is_body_empty() {
            self.send(kept, read).await?;
        }
        while !(self.request_done && self.response_done) {
            let (request_done, response_done) = (self.request_done, self.response_done);
            // The answer first: when it is there, nothing has to be known of the client.
            tokio::select! {
                biased;
                // As long as the client sends, the upstream waits like the edge: only the client's time counts.
                part = self.upstream.next(request_done), if !response_done => match part {
                    Ok(part) => self.answer(part).await?,
                    Err(error) => return Err(self.unsent.take().unwrap_or(error).into_up()),
                },
                chunk = self.session.downstream_session.read_body_or_idle(request_done && self.unsent.is_none()) => {
                    let chunk = chunk.map_err(|error| error.into_down())?;
                    let end = self.session.is_body_done();
                    self.send(chunk, end).await?;
                }
            }
        }
        self.session.finish_body().await.map_err(|error| error.into_down())?;
        Ok(true)
    }

    /// A chunk of the request's body, on its way to the upstream.
    async fn send(&mut self, mut chunk: Option<Bytes>, end: bool) -> Result<()> {
        let end = end || chunk.is_none();
        body::request(&mut chunk, end, self.ctx)?;
        let chunk = chunk.filter(|chunk| !chunk.is_empty());
        // What cannot be sent is read all the same: it is no next request, and the client may not listen before it has
        // sent it.
        if self.unsent.is_some() || chunk.is_none() && !end {
            return Ok(());
        }
        if let Err(error) = self.upstream.send(chunk, end).await {
            // An upstream may answer early and read no further (RFC 9112, section 9.5): what it says comes first.
            self.unsent = Some(error.into_up());
            self.upstream.spoil();
            self.request_done = true;
        } else if end {
            self.request_done = true;
        }
        Ok(())
    }

    /// A part of the answer, on its way to the client.
    async fn answer(&mut self, part: HttpTask) -> Result<()> {
        match part {
            HttpTask::Header(head, end) => self.head(head, end).await?,
            HttpTask::Body(chunk, end) => self.chunk(chunk, end).await?,
            HttpTask::Trailer(_) | HttpTask::Done => self.chunk(None, true).await?,
            HttpTask::UpgradedBody(..) => return Err(switched()),
            HttpTask::Failed(error) => return Err(error),
        }
        Ok(())
    }

    async fn head(&mut self, mut head: Box<ResponseHeader>, end: bool) -> Result<()> {
        self.phases.responded(self.session, &head, self.ctx)?;
        if head.status == 101 {
            return Err(switched());
        }
        let old = self.session.req_header().version < Version::HTTP_11;
        if old && head.status.is_informational() {
            // RFC 9110, section 15.2.
            return Ok(());
        }
        // RFC 9112, section 2.3: the version of whoever sends, which is the edge.
        head.set_version(Version::HTTP_11);
        let no_body = self.session.req_header().method == Method::HEAD || is_bodiless(head.status);
        if !no_body && !end && !is_framed(&head.headers) {
            // An answer that ends with its connection goes on with an end of its own.
            head.insert_header(header::TRANSFER_ENCODING, "chunked")?;
        }
        self.phases.answer(self.session, &mut head, self.ctx)?;
        if old && head.remove_header(&header::TRANSFER_ENCODING).is_some() {
            // RFC 9112, section 6.1: without chunks the answer ends with the connection.
            self.session.set_keepalive(None);
        }
        let informational = head.status.is_informational();
        self.session
            .downstream_session
            .write_response_header(head)
            .await
            .map_err(|error| error.into_down())?;
        if end && !informational {
            self.chunk(None, true).await?;
        }
        Ok(())
    }

    async fn chunk(&mut self, mut chunk: Option<Bytes>, end: bool) -> Result<()> {
        body::response(&mut chunk, end, self.ctx)?;
        let chunk = chunk.unwrap_or_default();
        if end || !chunk.is_empty() {
            let downstream = &mut self.session.downstream_session;
            downstream.write_response_body(chunk, end).await.map_err(|error| error.into_down())?;
        }
        self.response_done = end;
        Ok(())
    }
}
