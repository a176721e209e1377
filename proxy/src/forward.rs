//! The request as the upstream gets it, and the tries it takes.

use std::time::Instant;

use bytes::Bytes;
use http::header::{CONNECTION, FORWARDED, HOST};
use http::{HeaderName, HeaderValue};
use pingora_core::upstreams::peer::HttpPeer;
use pingora_error::{Error, ErrorType, Result};
use pingora_http::{RequestHeader, ResponseHeader};
use pingora_proxy::Session;
use sallyport_filters::{Exchange, Fault, ProblemKind};
use sallyport_upstreams::Observation;
use smallvec::SmallVec;

use crate::ctx::{Begun, Ctx};
use crate::fault;
use crate::plan::Action;
use crate::reply;
use crate::sidecar::{self, Sidecar};
use crate::trace::{TRACEPARENT, TRACESTATE};

// As text: Pingora copies a `HeaderName` to keep its case, but not a static text.
const X_FORWARDED_FOR: &str = "X-Forwarded-For";
const X_FORWARDED_HOST: &str = "X-Forwarded-Host";
const X_FORWARDED_PROTO: &str = "X-Forwarded-Proto";
/// Options of `Connection` that name no field, and the framing, which is left alone.
const NO_FIELDS: [&str; 5] = ["", "close", "keep-alive", "content-length", "transfer-encoding"];

/// Picks a target for this try.
pub(crate) fn pick(ctx: &mut Ctx) -> Result<Box<HttpPeer>> {
    let now = Instant::now();
    if let (Some(route), Some(seat)) = (ctx.begun.as_ref().and_then(Begun::route), &ctx.outbound.sidecar) {
        return seat.peer(&route.terms.timeouts);
    }
    let (Some(begun), Some(destination)) = (&ctx.begun, &ctx.outbound.destination) else {
        return fail(ctx, Fault::new(ProblemKind::Internal, "no upstream was chosen"));
    };
    let Some(route) = begun.route() else {
        return fail(ctx, Fault::new(ProblemKind::Internal, "no route was chosen"));
    };
    let upstream = &destination.upstream;
    if ctx.outbound.tried.is_empty() {
        upstream.note_request(now);
    }
    match upstream.pick(&ctx.outbound.tried, now) {
        Ok(picked) => {
            let peer = upstream.peer(&picked, &route.terms.timeouts);
            if !ctx.outbound.tried.is_empty() {
                ctx.outbound.retries += 1;
            }
            ctx.outbound.tried.push(picked.address());
            ctx.outbound.picked = Some(picked);
            ctx.outbound.counted = false;
            Ok(peer)
        }
        Err(error) => fail(ctx, fault::unpicked(error)),
    }
}

/// Shapes the head for the upstream: where the request came from, its trace, its host, and what filters set.
pub(crate) fn shape(session: &mut Session, ctx: &mut Ctx, head: &mut RequestHeader) -> Result<()> {
    let Some(begun) = &mut ctx.begun else {
        return fail(ctx, Fault::new(ProblemKind::Internal, "the exchange has not begun"));
    };
    forwarded(head, begun)?;
    if let (Some(destination), Some(picked)) = (&ctx.outbound.destination, &ctx.outbound.picked)
        && let Some(host) = destination.upstream.host(picked)
    {
        head.insert_header(HOST, host)?;
    }
    let (chain, facts) = begun.split();
    let mut x = Exchange::new(session.req_header_mut(), facts);
    if let Err(fault) = chain.on_upstream_request(&mut x, head) {
        return fail(ctx, fault);
    }
    if ctx.outbound.sidecar.is_some() {
        sidecar::introduce(head, &begun.facts)?;
        if let Some(Action::Aggregator(told)) = begun.route().map(|route| &route.action) {
            sidecar::introduce_route(head, told, &begun.facts, session.req_header().uri.path())?;
        }
    }
    Ok(())
}

/// `X-Forwarded-*` and the trace. From an untrusted peer these were removed; a trusted peer's list goes on.
fn forwarded(head: &mut RequestHeader, begun: &Begun) -> Result<()> {
    let told = Told::of(head);
    let list =
        if told.list { longer_list(head, &begun.conn.peer_text) } else { begun.conn.peer_text.clone() };
    head.insert_header(X_FORWARDED_FOR, list)?;
    if !told.proto {
        let proto = if begun.facts.secure { "https" } else { "http" };
        head.insert_header(X_FORWARDED_PROTO, HeaderValue::from_static(proto))?;
    }
    if !told.host {
        let host = match (head.headers.get(HOST), head.uri.authority()) {
            (Some(host), _) => Some(host.clone()),
            (None, Some(authority)) => HeaderValue::from_str(authority.as_str()).ok(),
            (None, None) => None,
        };
        if let Some(host) = host {
            head.insert_header(X_FORWARDED_HOST, host)?;
        }
    }
    if told.forwarded {
        head.remove_header(&FORWARDED);
    }
    head.insert_header(TRACEPARENT, begun.trace.header())?;
    if told.trace_state && !begun.trace.continued {
        head.remove_header(TRACESTATE);
    }
    Ok(())
}

/// Which of the fields that the edge writes are there already: nearly always none, which one look at the names tells
/// cheaper than a look-up for each.
#[derive(Debug, Default, PartialEq, Eq)]
struct Told {
    list: bool,
    proto: bool,
    host: bool,
    forwarded: bool,
    trace_state: bool,
}

impl Told {
    fn of(head: &RequestHeader) -> Told {
        let mut told = Told::default();
        for name in head.headers.keys() {
            match name.as_str() {
                "x-forwarded-for" => told.list = true,
                "x-forwarded-proto" => told.proto = true,
                "x-forwarded-host" => told.host = true,
                "forwarded" => told.forwarded = true,
                TRACESTATE => told.trace_state = true,
                _ => {}
            }
        }
        told
    }
}

/// The list of `X-Forwarded-For` with the peer behind what is in it.
fn longer_list(head: &RequestHeader, peer: &HeaderValue) -> HeaderValue {
    let mut list = Vec::with_capacity(64);
    for value in head.headers.get_all(X_FORWARDED_FOR).iter().filter(|value| value.to_str().is_ok()) {
        list.extend_from_slice(value.as_bytes());
        list.extend_from_slice(b", ");
    }
    list.extend_from_slice(peer.as_bytes());
    // Values with a comma and a blank between them are a value.
    HeaderValue::from_maybe_shared(Bytes::from(list)).unwrap_or_else(|_| peer.clone())
}

/// Removes what a response says about the connection to the upstream: Pingora passes it on. What the client's
/// connection needs, Pingora sets itself. Framing is left alone.
pub(crate) fn strip_hop_by_hop(response: &mut ResponseHeader) {
    let mut connection = false;
    let mut present: SmallVec<[HeaderName; 4]> = SmallVec::new();
    for name in response.headers.keys() {
        match name.as_str() {
            "connection" => connection = true,
            // RFC 9110, section 7.6.1.
            "keep-alive" | "proxy-connection" | "te" | "upgrade" => present.push(name.clone()),
            _ => {}
        }
    }
    for name in &present {
        response.remove_header(name);
    }
    if !connection {
        return;
    }
    let nominated: SmallVec<[HeaderName; 4]> = response
        .headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(str::trim)
        .filter(|option| !NO_FIELDS.iter().any(|other| option.eq_ignore_ascii_case(other)))
        .filter_map(|option| HeaderName::from_bytes(option.as_bytes()).ok())
        .collect();
    for name in &nominated {
        response.remove_header(name);
    }
    response.remove_header(&CONNECTION);
}

/// Whether a response is worth another try instead: its status is one that the route names, and everything allows it.
pub(crate) fn try_again(session: &Session, response: &ResponseHeader, ctx: &Ctx) -> bool {
    let Some(retry) = ctx.begun.as_ref().and_then(Begun::route).and_then(|route| route.terms.retry.as_ref())
    else {
        return false;
    };
    retry.statuses.contains(&response.status.as_u16())
        && session.req_header().method.is_idempotent()
        && !session.retry_buffer_truncated()
        && allowed(ctx)
}

/// Whether a failed try is followed by another. `connected` tells whether the request may have reached the target.
pub(crate) fn retries(session: &Session, error: &Error, connected: bool, ctx: &Ctx) -> bool {
    let Some(retry) = ctx.begun.as_ref().and_then(Begun::route).and_then(|route| route.terms.retry.as_ref())
    else {
        return false;
    };
    let wanted = if connected {
        // Sent already: only what may be repeated is repeated (RFC 9110, section 9.2.2).
        retry.reset
            && session.req_header().method.is_idempotent()
            && !session.retry_buffer_truncated()
            && reply::sent(session).is_none()
    } else {
        retry.connect && fault::is_connect(error.etype())
    };
    wanted && allowed(ctx)
}

/// An aggregator that cannot be reached does not run, or not yet: a part of this service is away and comes back, so clients
/// are told what they are told of an upstream that cannot take a request now.
pub(crate) fn note_absent_sidecar(error: &Error, ctx: &mut Ctx) {
    let seat = ctx.outbound.sidecar.as_ref();
    if let Some(seat) = seat.filter(|seat| seat.sidecar == Sidecar::Aggregator) {
        let reason = format!("the {} cannot be reached: {}", seat.sidecar.name(), error.etype().as_str());
        ctx.error = Some(reason.clone().into());
        ctx.fault = Some(Fault::new(ProblemKind::Unavailable, reason));
    }
}

/// Attempts left, and the upstream's budget. Asked last: the budget counts the question as a retry.
fn allowed(ctx: &Ctx) -> bool {
    let attempts = ctx.begun.as_ref().and_then(Begun::route).and_then(|route| route.terms.retry.as_ref());
    attempts.is_some_and(|retry| ctx.outbound.retries < retry.attempts)
        && ctx.outbound.destination.as_ref().is_some_and(|to| to.upstream.may_retry(Instant::now()))
}

/// Tells the upstream how this try went, once.
pub(crate) fn observe(ctx: &mut Ctx, seen: Observation) {
    if let (false, Some(destination), Some(picked)) =
        (ctx.outbound.counted, &ctx.outbound.destination, &ctx.outbound.picked)
    {
        destination.upstream.observe(picked, seen, ctx.outbound.responded.unwrap_or_else(Instant::now));
        ctx.outbound.counted = true;
    }
}

/// Puts a fault on its way to `Phases::failed`.
pub(crate) fn fail<T>(ctx: &mut Ctx, fault: Fault) -> Result<T> {
    ctx.error = Some(fault.reason.clone());
    ctx.fault = Some(fault);
    Err(Error::new(fault::OURS))
}

/// Whether the head belongs to a final response. Upgrades are not passed on, so 101 is never final here.
pub(crate) fn is_final(response: &ResponseHeader) -> bool {
    !response.status.is_informational()
}

/// The error that makes Pingora try again in place of the response.
pub(crate) fn try_again_error() -> Box<Error> {
    let mut error = Error::new_up(fault::TRY_AGAIN);
    error.set_retry(true);
    error
}

/// The type Pingora gives an error that a limit of ours caused.
pub(crate) const LATE: ErrorType = ErrorType::ReadTimedout;

#[cfg(test)]
mod tests {
    use http::StatusCode;

    use super::*;

    fn request(fields: &[(&'static str, &str)]) -> RequestHeader {
        let mut head = RequestHeader::build("GET", b"/", None).unwrap();
        for (name, value) in fields {
            head.append_header(*name, *value).unwrap();
        }
        head
    }

    fn answer(fields: &[(&'static str, &str)]) -> ResponseHeader {
        let mut head = ResponseHeader::build(StatusCode::OK, None).unwrap();
        for (name, value) in fields {
            head.append_header(*name, *value).unwrap();
        }
        head
    }

    fn left(mut head: ResponseHeader) -> Vec<String> {
        strip_hop_by_hop(&mut head);
        let mut wire = Vec::new();
        head.header_to_h1_wire(&mut wire);
        String::from_utf8(wire).unwrap().lines().map(str::to_owned).collect()
    }

    #[test]
    fn what_is_told_already_is_seen_in_any_case() {
        assert_eq!(Told::of(&request(&[("Host", "a"), ("Accept", "*/*")])), Told::default());
        let all = request(&[
            ("X-Forwarded-FOR", "192.0.2.1"),
            ("x-forwarded-proto", "https"),
            ("X-Forwarded-Host", "a"),
            ("Forwarded", "for=a"),
            ("TraceState", "a=b"),
        ]);
        let told = Told { list: true, proto: true, host: true, forwarded: true, trace_state: true };
        assert_eq!(Told::of(&all), told);
    }

    #[test]
    fn the_peer_stands_behind_the_list() {
        let head = request(&[("x-forwarded-for", "192.0.2.1, 192.0.2.2"), ("X-Forwarded-For", "192.0.2.3")]);
        let list = longer_list(&head, &HeaderValue::from_static("10.0.0.1"));
        assert_eq!(list, "192.0.2.1, 192.0.2.2, 192.0.2.3, 10.0.0.1");
        let mut odd = request(&[]);
        odd.append_header(X_FORWARDED_FOR, HeaderValue::from_bytes(b"\xff").unwrap()).unwrap();
        assert_eq!(longer_list(&odd, &HeaderValue::from_static("::1")), "::1");
    }

    /// RFC 9110, section 7.6.1.
    #[test]
    fn an_answers_hop_by_hop_fields_end_here() {
        let head = answer(&[
            ("Content-Type", "text/plain"),
            ("Keep-Alive", "timeout=5"),
            ("Proxy-Connection", "close"),
            ("TE", "trailers"),
            ("Upgrade", "h2c"),
            ("Connection", "Keep-Alive, X-Inner"),
            ("connection", "x-OTHER,, not a name"),
            ("X-Inner", "1"),
            ("X-Inner", "2"),
            ("X-Other", "3"),
            ("X-Kept", "4"),
        ]);
        assert_eq!(left(head), ["Content-Type: text/plain", "X-Kept: 4"]);
    }

    /// RFC 9112, section 6: without them the end of the body would be somewhere else.
    #[test]
    fn an_answer_cannot_nominate_its_framing() {
        let head = answer(&[("Content-Length", "3"), ("Connection", "Content-Length, transfer-encoding")]);
        assert_eq!(left(head), ["Content-Length: 3"]);
        let head = answer(&[("Transfer-Encoding", "chunked"), ("Connection", "TRANSFER-encoding")]);
        assert_eq!(left(head), ["Transfer-Encoding: chunked"]);
        assert_eq!(left(answer(&[("X-Kept", "1")])), ["X-Kept: 1"]);
    }
}
