//! The life of a request, in the order of Pingora's phases. Each phase is a few calls; what they do is elsewhere.
//!
//! docs/life-of-a-request.md walks through this file.

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use pingora_core::modules::http::HttpModules;
use pingora_core::protocols::Digest;
use pingora_core::upstreams::peer::HttpPeer;
use pingora_error::{Error, Result};
use pingora_http::{RequestHeader, ResponseHeader};
use pingora_proxy::{FailToProxy, ProxyHttp, Session};
use sallyport_filters::{Exchange, Fault, ProblemKind};
use sallyport_upstreams::{Observation, Pace};

use crate::begin::begin;
use crate::ctx::{Begun, Ctx};
use crate::decide::decide;
use crate::state::State;
use crate::tunnel::{self, Asked, Opening};
use crate::{body, end, fault, forward, reply};

/// Our side of Pingora's proxy.
pub(crate) struct EdgeProxy {
    pub(crate) state: Arc<State>,
}

#[async_trait]
impl ProxyHttp for EdgeProxy {
    type CTX = Ctx;

    fn new_ctx(&self) -> Ctx {
        Ctx::default()
    }

    /// None: a module would be boxed for every request, and is global where our chains belong to routes.
    fn init_downstream_modules(&self, _modules: &mut HttpModules) {}

    /// Accept the head, choose a route, run its filters; `true` if the edge has answered.
    async fn request_filter(&self, session: &mut Session, ctx: &mut Ctx) -> Result<bool> {
        let (begun, accepted) = begin(session, &self.state);
        ctx.begun = begun;
        let mut asked = Asked::Nothing;
        let answer = match (accepted, &mut ctx.begun) {
            (Ok(target), Some(begun)) => {
                asked = target.asked;
                decide(session.req_header_mut(), begun, &target, &mut ctx.outbound).await
            }
            (Err(refusal), _) => Some(refusal),
            (Ok(_), None) => None,
        };
        let opening = match answer {
            Some(answer) => Opening::Refused(answer),
            None => tunnel::open(session, ctx, &self.state, asked).await?,
        };
        match opening {
            Opening::Refused(answer) => reply::send(session, ctx, answer).await.map(|()| true),
            Opening::Done => Ok(true),
            Opening::Ordinary => {
                body::prepare_request(session, ctx).await?;
                Ok(false)
            }
        }
    }

    /// Choose a target; again for each try.
    async fn upstream_peer(&self, _session: &mut Session, ctx: &mut Ctx) -> Result<Box<HttpPeer>> {
        forward::pick(ctx)
    }

    async fn connected_to_upstream(
        &self,
        _session: &mut Session,
        _reused: bool,
        _peer: &HttpPeer,
        _fd: std::os::unix::io::RawFd,
        digest: Option<&Digest>,
        ctx: &mut Ctx,
    ) -> Result<()> {
        let route = ctx.begun.as_ref().and_then(Begun::route);
        let limited =
            route.filter(|_| ctx.outbound.sidecar.as_ref().is_none_or(|seat| seat.sidecar.is_limited()));
        ctx.outbound.pace = limited.map(|route| Pace::new(digest, &route.timeouts));
        Ok(())
    }

    async fn upstream_request_filter(
        &self,
        session: &mut Session,
        head: &mut RequestHeader,
        ctx: &mut Ctx,
    ) -> Result<()> {
        body::begin_request(session, ctx);
        forward::shape(session, ctx, head)
    }

    async fn request_body_filter(
        &self,
        _session: &mut Session,
        body: &mut Option<Bytes>,
        end: bool,
        ctx: &mut Ctx,
    ) -> Result<()> {
        body::request(body, end, ctx)
    }

    async fn upstream_response_filter(
        &self,
        session: &mut Session,
        head: &mut ResponseHeader,
        ctx: &mut Ctx,
    ) -> Result<()> {
        if !forward::is_final(head) {
            return Ok(());
        }
        ctx.outbound.responded(head);
        let failed = matches!(head.status.as_u16(), 502..=504);
        forward::observe(ctx, if failed { Observation::Failure } else { Observation::Success });
        if forward::try_again(session, head, ctx) { Err(forward::try_again_error()) } else { Ok(()) }
    }

    async fn response_filter(
        &self,
        session: &mut Session,
        head: &mut ResponseHeader,
        ctx: &mut Ctx,
    ) -> Result<()> {
        if !forward::is_final(head) {
            return Ok(());
        }
        forward::strip_hop_by_hop(head);
        let Some(begun) = &mut ctx.begun else { return Ok(()) };
        let (chain, facts) = begun.split();
        let mut x = Exchange::new(session.req_header_mut(), facts);
        if let Err(fault) = chain.on_response(&mut x, head) {
            return forward::fail(ctx, fault);
        }
        ctx.response_body.transforms = chain.response_body(&mut x, head);
        body::prepare_response(ctx, head);
        Ok(())
    }

    fn response_body_filter(
        &self,
        _session: &mut Session,
        body: &mut Option<Bytes>,
        end: bool,
        ctx: &mut Ctx,
    ) -> Result<Option<Duration>> {
        body::response(body, end, ctx).map(|()| None)
    }

    fn fail_to_connect(
        &self,
        session: &mut Session,
        _peer: &HttpPeer,
        ctx: &mut Ctx,
        mut error: Box<Error>,
    ) -> Box<Error> {
        forward::observe(ctx, Observation::Failure);
        error.as_up();
        error.set_retry(forward::retries(session, &error, false, ctx));
        forward::note_absent_sidecar(&error, ctx);
        error
    }

    /// A failure after the connection was made. A pooled connection that turns out to be closed is replaced by Pingora
    /// itself, once, if the method allows it; that is no retry of ours.
    fn error_while_proxy(
        &self,
        peer: &HttpPeer,
        session: &mut Session,
        error: Box<Error>,
        ctx: &mut Ctx,
        reused: bool,
    ) -> Box<Error> {
        if error.etype() == &fault::TRY_AGAIN {
            return error;
        }
        let mut error = error.more_context(format!("target {}", peer._address));
        let late = ctx.outbound.pace.as_ref().and_then(|pace| pace.late(Instant::now()));
        if let Some(late) = late {
            ctx.error = Some(late.to_string().into());
            ctx.fault = Some(Fault::new(ProblemKind::GatewayTimeout, late.to_string()));
        }
        let of_upstream = error.esource() == &pingora_error::ErrorSource::Upstream;
        if of_upstream || late.is_some() {
            forward::observe(ctx, Observation::Failure);
        }
        let stale = reused
            && late.is_none()
            && session.req_header().method.is_idempotent()
            && !session.retry_buffer_truncated();
        error.retry.decide_reuse(stale);
        if !error.retry() && of_upstream && late.is_none() && ctx.fault.is_none() {
            error.set_retry(forward::retries(session, &error, true, ctx));
        }
        error
    }

    /// Every failure ends here; nothing else turns an error into an answer.
    async fn fail_to_proxy(&self, session: &mut Session, error: &Error, ctx: &mut Ctx) -> FailToProxy {
        let reply = fault::to_reply(error, ctx.fault.as_ref());
        let code = reply.as_ref().map_or(0, |reply| reply.status.as_u16());
        match reply {
            // An answer has begun already; cutting it off is the only way left to say that it is not whole.
            Some(_) if reply::sent(session).is_some() => session.shutdown().await,
            // A failure to send is one more sign that nobody listens.
            Some(reply) => drop(reply::send(session, ctx, reply).await),
            None => {}
        }
        FailToProxy { error_code: code, can_reuse_downstream: false }
    }

    async fn logging(&self, session: &mut Session, error: Option<&Error>, ctx: &mut Ctx) {
        end::end(session, error, ctx, &self.state);
    }

    /// The access log says it all, once.
    fn suppress_error_log(&self, _session: &Session, _ctx: &Ctx, _error: &Error) -> bool {
        true
    }

    fn suppress_proxy_warn_log(
        &self,
        _session: &Session,
        _ctx: &Ctx,
        _error: &Error,
        _context: pingora_proxy::ProxyWarnLogContext,
    ) -> bool {
        true
    }
}
