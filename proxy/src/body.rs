//! Bodies as they pass: counted, limited in size and slowness, transformed.

use std::time::{Duration, Instant};

use bytes::Bytes;
use http::Version;
use http::header::{CONTENT_LENGTH, EXPECT};
use pingora_error::{Error, Result};
use pingora_http::ResponseHeader;
use pingora_proxy::Session;
use sallyport_filters::{Exchange, Fault, ProblemKind};

use crate::ctx::{Begun, Body, Ctx};
use crate::forward;

/// How long a body may take before its rate counts: a client needs some time to get going.
const RATE_GRACE: Duration = Duration::from_secs(5);

/// Sets up the request's body once the request may pass: how long one read or write may wait, and the word that a client
/// waits for before it sends.
///
/// # Errors
/// The client is gone.
pub(crate) async fn prepare_request(session: &mut Session, ctx: &mut Ctx) -> Result<()> {
    if let Some(route) = ctx.begun.as_ref().and_then(Begun::route) {
        let idle = *route.terms.timeouts.idle;
        let idle = (!idle.is_zero()).then_some(idle);
        session.set_read_timeout(idle);
        session.set_write_timeout(idle);
    }
    // RFC 9110, section 10.1.1: a proxy may answer it itself, and an upstream that does not know it would keep the client
    // waiting. From HTTP/1.0 it means nothing.
    let expects = session.req_header_mut().remove_header(&EXPECT).is_some();
    if expects && session.req_header().version > Version::HTTP_10 {
        // Pingora takes every head before the end of the body for an answer behind which the connection has to close.
        let keepalive = session.get_keepalive();
        session.write_continue_response().await?;
        session.set_keepalive(keepalive);
    }
    Ok(())
}

/// Sets the request's body to its beginning: each try gets it whole, and Pingora passes again what it has kept of it.
pub(crate) fn begin_request(session: &mut Session, ctx: &mut Ctx) {
    let Some(begun) = &mut ctx.begun else { return };
    let (chain, facts) = begun.split();
    ctx.request_body.bytes = 0;
    ctx.request_body.transforms = chain.request_body(&mut Exchange::new(session.req_header_mut(), facts));
}

/// Sees each chunk of the request's body.
pub(crate) fn request(body: &mut Option<Bytes>, end: bool, ctx: &mut Ctx) -> Result<()> {
    let Some(begun) = &ctx.begun else { return Ok(()) };
    ctx.request_body.bytes += body.as_ref().map_or(0, |chunk| chunk.len() as u64);
    if ctx.request_body.bytes > begun.facts.body_bytes_max {
        return forward::fail(
            ctx,
            Fault::new(ProblemKind::ContentTooLarge, "the body is larger than the limit"),
        );
    }
    if !end && too_slow(begun, ctx.request_body.bytes) {
        return forward::fail(
            ctx,
            Fault::new(ProblemKind::RequestTimeout, "the body came below `body_rate`"),
        );
    }
    transform(&mut ctx.request_body, body, end).or_else(|fault| forward::fail(ctx, fault))?;
    if end && let Some(pace) = &mut ctx.outbound.pace {
        pace.request_sent(Instant::now());
    }
    Ok(())
}

fn too_slow(begun: &Begun, bytes: u64) -> bool {
    let rate = begun.conn.listener.limits.body_rate.0;
    let took = begun.facts.started.elapsed();
    rate > 0 && took > RATE_GRACE && bytes < rate.saturating_mul((took - RATE_GRACE).as_secs())
}

/// Sets up the response's body: a transform may change its length, so the length is no longer promised.
pub(crate) fn prepare_response(ctx: &Ctx, head: &mut ResponseHeader) {
    if !ctx.response_body.transforms.is_empty() && head.remove_header(&CONTENT_LENGTH).is_some() {
        // Without a length HTTP/1.1 needs the other framing; over HTTP/2 Pingora drops this field.
        let _ = head.insert_header(http::header::TRANSFER_ENCODING, "chunked");
    }
}

/// Sees each chunk of the response's body.
pub(crate) fn response(body: &mut Option<Bytes>, end: bool, ctx: &mut Ctx) -> Result<()> {
    let had_bytes = body.as_ref().is_some_and(|chunk| !chunk.is_empty());
    if let Some(pace) = &mut ctx.outbound.pace {
        let now = Instant::now();
        // An answer without a length ends with its connection: cut short by a limit it would look whole.
        if let Some(late) = pace.late(now) {
            ctx.error = Some(late.to_string().into());
            return Err(Error::new_up(forward::LATE));
        }
        if had_bytes {
            pace.response_chunk(now);
        }
        if end {
            pace.finish();
        }
    }
    transform(&mut ctx.response_body, body, end).or_else(|fault| forward::fail(ctx, fault))?;
    ctx.response_body.bytes += body.as_ref().map_or(0, |chunk| chunk.len() as u64);
    Ok(())
}

fn transform(passing: &mut Body, body: &mut Option<Bytes>, end: bool) -> Result<(), Fault> {
    for transform in &mut passing.transforms {
        transform.chunk(body, end)?;
    }
    Ok(())
}
