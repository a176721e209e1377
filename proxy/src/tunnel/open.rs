//! From a request that may pass to a tunnel: the handshake with the client is checked, the one with the upstream made.
//!
//! This runs inside Pingora's exchange, so that a refusal is answered like any other. The tunnel itself begins when the
//! exchange has ended and the connection has come back: see `listener/http1.rs`.

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use http::header::{
    CONNECTION, CONTENT_LENGTH, EXPECT, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_PROTOCOL, UPGRADE,
};
use http::{HeaderValue, StatusCode, Version};
use pingora_core::protocols::Stream;
use pingora_core::protocols::http::v1::client::HttpSession;
use pingora_error::{Error, ErrorType, Result};
use pingora_http::{RequestHeader, ResponseHeader};
use pingora_proxy::Session;
use pingora_timeout::timeout;
use sallyport_filters::{Exchange, Fault, ProblemKind, Reply};
use sallyport_upstreams::Observation;

use super::connect::connect;
use super::handshake::{self, Accept, Asked};
use super::life::Limits;
use super::record::Record;
use super::refusal;
use crate::ctx::{Begun, Ctx};
use crate::listener::Conn;
use crate::sidecar::Carrier;
use crate::state::State;
use crate::{end, forward};

/// Heads before the final one (RFC 9110, section 15.2) that an upstream may send.
const INTERIM_MAX: usize = 8;
/// Keeps the connection past the end of the exchange. It carries no further request.
const KEPT_SECONDS: u64 = 60;

/// What became of a request.
pub(crate) enum Opening {
    /// It opens no WebSocket: it goes on as ever.
    Ordinary,
    /// It is refused with this.
    Refused(Reply),
    /// Nothing is left to do: a tunnel begins, or the upstream's refusal was passed on.
    Done,
}

/// A tunnel that begins as soon as the client's connection is free.
pub(crate) struct Opened {
    pub(super) to: To,
    /// Ahead of all else for the client: the head of the 101, so many bytes, and what the upstream sent right behind it.
    pub(super) to_client: Vec<u8>,
    pub(super) head_bytes: usize,
    pub(super) limits: Limits,
    pub(super) record: Box<Record>,
}

/// Where a tunnel leads.
pub(super) enum To {
    Upstream(Stream),
    Carrier(Arc<dyn Carrier>),
}

/// Opens a WebSocket if the request asks for one and its route may carry it.
///
/// # Errors
/// What `Phases::failed` turns into an answer.
pub(crate) async fn open(
    session: &mut Session,
    ctx: &mut Ctx,
    state: &Arc<State>,
    asked: Asked,
) -> Result<Opening> {
    let Asked::WebSocket { nominated } = asked else { return Ok(Opening::Ordinary) };
    let Some(begun) = &ctx.begun else { return Ok(Opening::Ordinary) };
    let Some(rule) = begun.route().and_then(|route| route.web_socket.as_ref()) else {
        return Ok(Opening::Ordinary);
    };
    let accept = match handshake::check(session.req_header(), nominated) {
        Ok(accept) => accept,
        Err(reply) => return Ok(Opening::Refused(reply)),
    };
    if !rule.origins.allow(session.req_header(), begun.facts.secure) {
        let detail = "pages of this origin may not open a WebSocket here";
        return Ok(Opening::Refused(Reply::problem(ProblemKind::Forbidden, detail)));
    }
    let limits = rule.limits;
    if let Some(carrier) = ctx.outbound.sidecar.as_ref().and_then(|seat| seat.carrier.clone()) {
        let head = answer(session.req_header(), &*carrier, &accept)?;
        return begin(session, ctx, state, head, To::Carrier(carrier), &[], limits).map(|()| Opening::Done);
    }
    // Boxed: the room it takes is given back before the tunnel begins.
    Box::pin(lead(session, ctx, state, &accept, limits)).await.map(|()| Opening::Done)
}

/// The edge's own 101, for a bridge in this process.
fn answer(request: &RequestHeader, carrier: &dyn Carrier, accept: &Accept) -> Result<ResponseHeader> {
    let mut head = ResponseHeader::build(StatusCode::SWITCHING_PROTOCOLS, Some(8))?;
    if let Some(accept) = accept.value() {
        head.insert_header(SEC_WEBSOCKET_ACCEPT, accept)?;
    }
    let spoken = carrier.subprotocols().iter();
    if let Some(chosen) = spoken.copied().find(|name| handshake::offers(&request.headers, name.as_bytes())) {
        head.insert_header(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(chosen))?;
    }
    Ok(head)
}

/// The way to an upstream, or to a bridge in another process.
async fn lead(
    session: &mut Session,
    ctx: &mut Ctx,
    state: &Arc<State>,
    accept: &Accept,
    limits: Limits,
) -> Result<()> {
    let stream = reach(session, ctx).await?;
    let mut head = session.req_header().clone();
    forward::shape(session, ctx, &mut head)?;
    ask_for_upgrade(&mut head)?;
    let first_byte = ctx.begun.as_ref().and_then(Begun::route).map(|route| *route.terms.timeouts.first_byte);
    let mut upstream = HttpSession::new(stream);
    match within(first_byte, converse(&mut upstream, head)).await {
        Some(Ok(())) => {}
        Some(Err(error)) => {
            forward::observe(ctx, Observation::Failure);
            return Err(error.into_up());
        }
        None => {
            forward::observe(ctx, Observation::Failure);
            let late = "the upstream did not answer a handshake within `timeouts.first_byte`";
            return forward::fail(ctx, Fault::new(ProblemKind::GatewayTimeout, late));
        }
    }
    let Some(answer) = upstream.resp_header().cloned() else {
        return Error::e_explain(ErrorType::InternalError, "no head was read");
    };
    ctx.outbound.responded(&answer);
    if answer.status != StatusCode::SWITCHING_PROTOCOLS {
        let failed = matches!(answer.status.as_u16(), 502..=504);
        forward::observe(ctx, if failed { Observation::Failure } else { Observation::Success });
        return refusal::pass_on(session, ctx, &mut upstream).await;
    }
    if let Err(wrong) = handshake::confirm(&answer, session.req_header(), accept) {
        forward::observe(ctx, Observation::Failure);
        return forward::fail(ctx, Fault::new(ProblemKind::BadGateway, wrong));
    }
    forward::observe(ctx, Observation::Success);
    // What came in the same read as the head; only that, or what has come since, and without waiting for more.
    let early = match tokio::task::unconstrained(upstream.read_body_bytes()).now_or_never() {
        Some(Ok(Some(early))) => early,
        // An end or an error is seen again by the tunnel, which then passes it on.
        _ => bytes::Bytes::new(),
    };
    begin(session, ctx, state, answer, To::Upstream(upstream.into_inner()), &early, limits)
}

/// Connects to a target, and after a failure to another one if the route tries again.
async fn reach(session: &mut Session, ctx: &mut Ctx) -> Result<Stream> {
    loop {
        let peer = forward::pick(ctx)?;
        match connect(peer).await {
            Ok(stream) => return Ok(stream),
            Err(error) => {
                forward::observe(ctx, Observation::Failure);
                let error = error.into_up();
                if !forward::retries(session, &error, false, ctx) {
                    return Err(error);
                }
            }
        }
    }
}

/// The head was cleaned of all that belongs to the client's connection; this puts in what belongs to the next.
fn ask_for_upgrade(head: &mut RequestHeader) -> Result<()> {
    head.set_version(Version::HTTP_11);
    for name in [EXPECT, CONTENT_LENGTH] {
        head.remove_header(&name);
    }
    head.insert_header(UPGRADE, HeaderValue::from_static("websocket"))?;
    head.insert_header(CONNECTION, HeaderValue::from_static("Upgrade"))?;
    Ok(())
}

/// Sends the head and reads answers up to the final one.
async fn converse(upstream: &mut HttpSession, head: RequestHeader) -> Result<()> {
    upstream.write_request_header(Box::new(head)).await?;
    for _ in 0..=INTERIM_MAX {
        upstream.read_response().await?;
        let status = upstream.get_status().unwrap_or_default();
        if status == StatusCode::SWITCHING_PROTOCOLS || !status.is_informational() {
            return Ok(());
        }
    }
    Error::e_explain(ErrorType::InvalidHTTPHeader, "the upstream sent too many informational answers")
}

/// Has filters shape the 101 and leaves the tunnel where the connection finds it.
fn begin(
    session: &mut Session,
    ctx: &mut Ctx,
    state: &Arc<State>,
    mut head: ResponseHeader,
    to: To,
    early: &[u8],
    limits: Limits,
) -> Result<()> {
    forward::strip_hop_by_hop(&mut head);
    let conn = Conn::of(session.digest()).cloned();
    let (Some(begun), Some(conn)) = (&mut ctx.begun, conn) else {
        return Error::e_explain(ErrorType::InternalError, "the exchange has not begun");
    };
    let (chain, facts) = begun.split();
    if let Err(fault) = chain.on_response(&mut Exchange::new(session.req_header_mut(), facts), &mut head) {
        return forward::fail(ctx, fault);
    }
    end::count_upstream(ctx, None, state);
    let Some(record) = Record::take(ctx, state, session.req_header()) else {
        return Error::e_explain(ErrorType::InternalError, "no route was chosen");
    };
    let mut to_client = handshake::wire(&mut head);
    let head_bytes = to_client.len();
    to_client.extend_from_slice(early);
    conn.leave(Opened { to, to_client, head_bytes, limits, record });
    // Else Pingora would close it at the end of the exchange.
    session.set_keepalive(Some(KEPT_SECONDS));
    session.set_keepalive_reuses_remaining(None);
    Ok(())
}

/// `None` when the time is over; no limit is for ever.
async fn within<T>(limit: Option<Duration>, future: impl Future<Output = T>) -> Option<T> {
    match limit.filter(|limit| !limit.is_zero()) {
        Some(limit) => timeout(limit, future).await.ok(),
        None => Some(future.await),
    }
}
