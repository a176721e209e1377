//! The end of an exchange: filters are told, metrics counted, the access log written.

use std::borrow::Cow;
use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use http::{StatusCode, Version};
use pingora_error::{Error, ErrorSource};
use pingora_proxy::Session;
use sallyport_filters::reply::ReplyBody;
use sallyport_filters::{Exchange, ProblemKind, Reply};
use sallyport_upstreams::Picked;

use crate::access_log::Line;
use crate::begin;
use crate::ctx::Ctx;
use crate::fault;
use crate::listener::Conn;
use crate::metrics::Outcome;
use crate::reply;
use crate::state::State;
use crate::tunnel::Record;

/// Ends an exchange. Runs once for each, whether it was answered, broken or refused.
pub(crate) fn end(session: &mut Session, error: Option<&Error>, ctx: &mut Ctx, state: &State) {
    let Some(begun) = &mut ctx.begun else { return };
    let took = begun.facts.started.elapsed();
    let status = reply::sent(session).map(|head| head.status);
    let (chain, facts) = begun.split();
    chain.on_end(
        &mut Exchange::new(session.req_header_mut(), facts),
        &sallyport_filters::Outcome { status, took },
    );
    let metrics = begun.route().map_or(&begun.plan.unrouted, |route| &route.metrics);
    metrics.observe(
        status.map(|status| status.as_u16()),
        took,
        ctx.request_body.bytes,
        ctx.response_body.bytes,
    );
    count_upstream(ctx, error, state);
    if let Some(problem) = ctx.problem {
        state.metrics.problems.with_label_values(&[problem.slug()]).inc();
    }
    if state.access_log.is_on() {
        log(session, error, ctx, took, status, state);
    }
    // A connection goes back to the pool without a limit on it.
    ctx.outbound.pace = None;
}

/// Counts how it went with the upstream, retries included.
pub(crate) fn count_upstream(ctx: &Ctx, error: Option<&Error>, state: &State) {
    let Some(destination) = &ctx.outbound.destination else { return };
    let outcome = match (ctx.outbound.responded, error) {
        _ if ctx.outbound.picked.is_none() => Outcome::Unavailable,
        (Some(_), None) if ctx.outbound.server_error => Outcome::ServerError,
        (Some(_), None) => Outcome::Ok,
        (None, None) => return,
        _ if ctx.fault.as_ref().is_some_and(|fault| fault.kind == ProblemKind::GatewayTimeout) => {
            Outcome::Timeout
        }
        (_, Some(error)) if error.esource() != &ErrorSource::Upstream => Outcome::Abandoned,
        (_, Some(error)) => fault::outcome(error),
    };
    destination.count(&state.metrics, outcome, ctx.outbound.retries);
}

fn log(
    session: &Session,
    error: Option<&Error>,
    ctx: &Ctx,
    took: Duration,
    status: Option<StatusCode>,
    state: &State,
) {
    let Some(begun) = &ctx.begun else { return };
    let head = session.req_header();
    let reason = error.map(reason);
    state.access_log.write(&Line {
        time: begun.facts.started_at,
        request_id: begun.facts.request_id.to_str().unwrap_or_default(),
        trace_id: begun.trace.id(),
        listener: &begun.conn.listener.name,
        client: &client(begun.facts.client, &begun.conn),
        method: head.method.as_str(),
        host: &begin::host(head),
        path: head.uri.path(),
        protocol: protocol(head.version),
        route: begun.route().map(|route| &*route.facts.name),
        subject: begun.facts.identity.as_ref().map(|identity| &*identity.subject),
        status: status.map(|status| status.as_u16()),
        problem: ctx.problem.map(|problem| problem.slug()),
        upstream: match &ctx.outbound.sidecar {
            Some(seat) => Some(seat.sidecar.name()),
            None => ctx.outbound.destination.as_ref().map(|destination| &**destination.upstream.name()),
        },
        target: ctx.outbound.picked.as_ref().map(Picked::address_text),
        retries: ctx.outbound.retries,
        received_bytes: ctx.request_body.bytes,
        sent_bytes: ctx.response_body.bytes,
        took,
        upstream_took: upstream_took(ctx),
        tunnel: None,
        error: ctx.error.as_deref().or(reason.as_deref()),
    });
}

/// The end of a tunnel, which [`end`] never sees: the exchange that opened it was over for Pingora long before.
pub(crate) fn tunnel(record: &Record, took: Duration) {
    let state = &record.state;
    if !state.access_log.is_on() {
        return;
    }
    state.access_log.write(&Line {
        time: record.facts.started_at,
        request_id: record.facts.request_id.to_str().unwrap_or_default(),
        trace_id: record.trace.id(),
        listener: &record.listener.name,
        client: &record.facts.client.to_string(),
        method: record.head.method.as_str(),
        host: &begin::host(&record.head),
        path: record.head.uri.path(),
        protocol: protocol(record.head.version),
        route: record.facts.route.as_ref().map(|route| &*route.name),
        subject: record.facts.identity.as_ref().map(|identity| &*identity.subject),
        status: Some(StatusCode::SWITCHING_PROTOCOLS.as_u16()),
        problem: None,
        upstream: record.destination(),
        target: record.picked.as_ref().map(Picked::address_text),
        retries: record.retries,
        received_bytes: record.ended.received_bytes,
        sent_bytes: record.ended.sent_bytes,
        took,
        upstream_took: record.upstream_took,
        tunnel: Some(record.ended.reason.as_str()),
        error: record.ended.error.as_deref(),
    });
}

/// From the complete head to the upstream's.
pub(crate) fn upstream_took(ctx: &Ctx) -> Option<Duration> {
    let begun = ctx.begun.as_ref()?;
    ctx.outbound.responded.map(|at| at.saturating_duration_since(begun.facts.started))
}

/// A request whose head was refused before it became an exchange.
pub(crate) fn refused_head(state: &State, conn: &Conn, reply: &Reply, request_id: &str, sent_bytes: usize) {
    let problem = match &reply.body {
        ReplyBody::Problem(problem) => Some(problem),
        _ => None,
    };
    let sent_bytes = sent_bytes as u64;
    state.plan.load().unrouted.observe(Some(reply.status.as_u16()), Duration::ZERO, 0, sent_bytes);
    if let Some(problem) = problem {
        state.metrics.problems.with_label_values(&[problem.kind.slug()]).inc();
    }
    state.access_log.write(&Line {
        time: SystemTime::now(),
        request_id,
        trace_id: "",
        listener: &conn.listener.name,
        client: &client(conn.peer_address(), conn),
        method: "",
        host: "",
        path: "",
        protocol: protocol(Version::HTTP_11),
        route: None,
        subject: None,
        status: Some(reply.status.as_u16()),
        problem: problem.map(|problem| problem.kind.slug()),
        upstream: None,
        target: None,
        retries: 0,
        received_bytes: 0,
        sent_bytes,
        took: Duration::ZERO,
        upstream_took: None,
        tunnel: None,
        error: problem.map(|problem| &*problem.detail),
    });
}

/// The client as the log names it: the text of the peer, which was written once for the connection, or its own.
fn client(client: IpAddr, conn: &Conn) -> Cow<'_, str> {
    match conn.peer_text.to_str() {
        Ok(peer) if client == conn.peer_address() => Cow::Borrowed(peer),
        _ => Cow::Owned(client.to_string()),
    }
}

/// What Pingora says went wrong. Its contexts name peers and causes, never headers or bodies.
fn reason(error: &Error) -> String {
    match &error.context {
        Some(context) => {
            format!("{}: {}: {}", error.esource().as_str(), error.etype().as_str(), context.as_str())
        }
        None => format!("{}: {}", error.esource().as_str(), error.etype().as_str()),
    }
}

fn protocol(version: Version) -> &'static str {
    match version {
        Version::HTTP_10 => "HTTP/1.0",
        Version::HTTP_2 => "HTTP/2",
        _ => "HTTP/1.1",
    }
}
