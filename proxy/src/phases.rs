//! The life of a request, phase by phase. Each phase is a few calls; what they do is elsewhere.
//!
//! Who goes through the phases is elsewhere, too: `carry` for HTTP/1.1, Pingora's proxy for HTTP/2 (`pingora.rs`).
//! docs/life-of-a-request.md walks through this file.

use std::sync::Arc;
use std::time::Instant;

use pingora_core::protocols::Digest;
use pingora_core::upstreams::peer::HttpPeer;
use pingora_error::{Error, Result};
use pingora_http::{RequestHeader, ResponseHeader};
use pingora_proxy::Session;
use sallyport_filters::{Exchange, Fault, ProblemKind};
use sallyport_upstreams::{Observation, Pace};

use crate::begin::begin;
use crate::ctx::{Begun, Ctx};
use crate::decide::decide;
use crate::state::State;
use crate::tunnel::{self, Asked, Opening};
use crate::{body, end, fault, forward, reply};

/// The phases of an exchange.
#[derive(Clone)]
pub(crate) struct Phases {
    pub(crate) state: Arc<State>,
}

impl Phases {
    /// Accepts the head, chooses a route, runs its filters; `true` if the edge has answered.
    pub(crate) async fn accept(&self, session: &mut Session, ctx: &mut Ctx) -> Result<bool> {
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

    /// Notes a connection to the chosen target: the limits of this try begin.
    pub(crate) fn connected(&self, digest: Option<&Digest>, ctx: &mut Ctx) {
        let route = ctx.begun.as_ref().and_then(Begun::route);
        let limited =
            route.filter(|_| ctx.outbound.sidecar.as_ref().is_none_or(|seat| seat.sidecar.is_limited()));
        ctx.outbound.pace = limited.map(|route| Pace::new(digest, &route.terms.timeouts));
    }

    /// Shapes the head for the upstream.
    pub(crate) fn shape(&self, session: &mut Session, head: &mut RequestHeader, ctx: &mut Ctx) -> Result<()> {
        body::begin_request(session, ctx);
        forward::shape(session, ctx, head)
    }

    /// Looks at the upstream's head: it may be worth another try.
    pub(crate) fn responded(&self, session: &Session, head: &ResponseHeader, ctx: &mut Ctx) -> Result<()> {
        if !forward::is_final(head) {
            return Ok(());
        }
        ctx.outbound.responded(head);
        let failed = matches!(head.status.as_u16(), 502..=504);
        forward::observe(ctx, if failed { Observation::Failure } else { Observation::Success });
        if forward::try_again(session, head, ctx) { Err(forward::try_again_error()) } else { Ok(()) }
    }

    /// Shapes the head for the client.
    pub(crate) fn answer(
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

    /// A target that cannot be connected to: whether another is tried is in the error.
    pub(crate) fn unconnected(&self, session: &Session, mut error: Box<Error>, ctx: &mut Ctx) -> Box<Error> {
        forward::observe(ctx, Observation::Failure);
        error.as_up();
        error.set_retry(forward::retries(session, &error, false, ctx));
        forward::note_absent_sidecar(&error, ctx);
        error
    }

    /// A failure after the connection was made. A pooled connection that turns out to be closed is replaced at once, if
    /// the method allows it; that is no retry of ours.
    pub(crate) fn broken(
        &self,
        peer: &HttpPeer,
        session: &Session,
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

    /// Every failure ends here; nothing else turns an error into an answer. Gives the status that was answered, 0 if none.
    pub(crate) async fn failed(&self, session: &mut Session, error: &Error, ctx: &mut Ctx) -> u16 {
        let reply = fault::to_reply(error, ctx.fault.as_ref());
        let code = reply.as_ref().map_or(0, |reply| reply.status.as_u16());
        match reply {
            // An answer has begun already; cutting it off is the only way left to say that it is not whole.
            Some(_) if reply::sent(session).is_some() => session.shutdown().await,
            // A failure to send is one more sign that nobody listens.
            Some(reply) => drop(reply::send(session, ctx, reply).await),
            None => {}
        }
        code
    }

    /// The end: filters are told, metrics counted, the access log written.
    pub(crate) fn end(&self, session: &mut Session, error: Option<&Error>, ctx: &mut Ctx) {
        end::end(session, error, ctx, &self.state);
    }
}
