//! An upstream that answers a handshake with anything but 101: the answer is passed on like any other.

use std::time::Duration;

use pingora_core::protocols::http::v1::client::HttpSession;
use pingora_error::{Error, ErrorType, Result};
use pingora_proxy::Session;
use pingora_timeout::timeout;
use sallyport_filters::{Exchange, Fault, ProblemKind};

use crate::ctx::Ctx;
use crate::{body, forward};

/// The most bytes of such an answer; beyond, it is cut off. Nobody serves files to a handshake.
const BODY_BYTES_MAX: u64 = 1024 * 1024;
/// How long it may take where the route sets no limit.
const WHOLE: Duration = Duration::from_secs(30);

/// Passes an answer on, head and body.
///
/// # Errors
/// The upstream or the client has broken off, or the answer is too long or too slow.
pub(super) async fn pass_on(session: &mut Session, ctx: &mut Ctx, upstream: &mut HttpSession) -> Result<()> {
    let Some(mut head) = upstream.resp_header().cloned() else {
        return Error::e_explain(ErrorType::InternalError, "no head was read");
    };
    let Some(begun) = &mut ctx.begun else {
        return Error::e_explain(ErrorType::InternalError, "the exchange has not begun");
    };
    let whole = begun.route().map(|route| *route.terms.timeouts.whole).filter(|whole| !whole.is_zero());
    forward::strip_hop_by_hop(&mut head);
    let (chain, facts) = begun.split();
    let mut x = Exchange::new(session.req_header_mut(), facts);
    if let Err(fault) = chain.on_response(&mut x, &mut head) {
        return forward::fail(ctx, fault);
    }
    ctx.response_body.transforms = chain.response_body(&mut x, &head);
    body::prepare_response(ctx, &mut head);
    match timeout(whole.unwrap_or(WHOLE), send(session, ctx, upstream, Box::new(head))).await {
        Ok(sent) => sent,
        Err(_) => {
            let late = "the upstream's answer to a handshake took too long";
            forward::fail(ctx, Fault::new(ProblemKind::GatewayTimeout, late))
        }
    }
}

async fn send(
    session: &mut Session,
    ctx: &mut Ctx,
    upstream: &mut HttpSession,
    head: Box<pingora_http::ResponseHeader>,
) -> Result<()> {
    let mut end = upstream.is_body_done();
    session.write_response_header(head, end).await?;
    while !end {
        let mut chunk = upstream.read_body_bytes().await.map_err(Error::into_up)?;
        end = chunk.is_none() || upstream.is_body_done();
        if upstream.body_bytes_received() as u64 > BODY_BYTES_MAX {
            let long = "the upstream's answer to a handshake is longer than 1 MiB";
            return forward::fail(ctx, Fault::new(ProblemKind::BadGateway, long));
        }
        body::response(&mut chunk, end, ctx)?;
        if chunk.is_some() || end {
            session.write_response_body(chunk, end).await?;
        }
    }
    Ok(())
}
