//! Route, chain, action: what happens to a request whose head was accepted.

use std::sync::Arc;

use http::header::{ALLOW, CONTENT_LENGTH};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use pingora_http::RequestHeader;
use sallyport_config::route::EncodedSlashes;
use sallyport_filters::{Exchange, ProblemKind, Reply};

use crate::begin::{self, Target};
use crate::ctx::{Begun, Outbound};
use crate::plan::{Action, Plan};
use crate::route::{Found, Query};
use crate::sidecar::Seat;

/// Decides about a request: `Some` is the answer, `None` sends it to `outbound.destination`, or to a sidecar.
pub(crate) async fn decide(
    head: &mut RequestHeader,
    begun: &mut Begun,
    target: &Target,
    outbound: &mut Outbound,
) -> Option<Reply> {
    if let Err(reply) = choose_route(head, begun, target) {
        return Some(reply);
    }
    let preflight = begun.facts.preflight;
    let (chain, facts) = begun.split();
    if let Some(reply) = chain.on_request(&mut Exchange::new(head, facts)).await {
        return Some(reply);
    }
    if preflight {
        return Some(Reply::problem(ProblemKind::Forbidden, "this cross-origin request is not allowed"));
    }
    if declared_length(&head.headers).is_some_and(|length| length > begun.facts.body_bytes_max) {
        return Some(Reply::problem(
            ProblemKind::ContentTooLarge,
            "the body is larger than this route allows",
        ));
    }
    act(head, begun, outbound)
}

fn choose_route(head: &RequestHeader, begun: &mut Begun, target: &Target) -> Result<(), Reply> {
    if head.method == Method::TRACE {
        // RFC 9110, section 9.3.8: it would echo credentials that filters have added.
        return Err(not_allowed(&[]));
    }
    let host = begin::host(head);
    if let Some(listener) = &begun.conn.listener.redirect_to {
        return Err(redirect(head, &host, listener, &begun.plan));
    }
    let query = Query {
        method: &head.method,
        host: &host,
        path: head.uri.path(),
        headers: &head.headers,
        query: head.uri.query(),
    };
    let looked_up = begun.plan.look_up(&query);
    let index = match looked_up.found {
        Found::Route(index) => index,
        Found::MethodNotAllowed(allowed) => return Err(not_allowed(&allowed)),
        Found::NotFound => return Err(Reply::problem(ProblemKind::NotFound, "no route leads to this path")),
        Found::UnknownHost => {
            return Err(Reply::problem(
                ProblemKind::MisdirectedRequest,
                "this edge does not serve that host",
            ));
        }
    };
    let route = &begun.plan.routes[index];
    if target.encoded_slashes && route.terms.encoded_slashes == EncodedSlashes::Refuse {
        let detail = "an encoded slash or backslash is not allowed in this path";
        return Err(Reply::problem(ProblemKind::BadRequest, detail));
    }
    begun.facts.preflight = looked_up.preflight;
    begun.facts.route = Some(route.facts.clone());
    begun.facts.params = looked_up.params;
    begun.route = Some(index);
    Ok(())
}

fn act(head: &mut RequestHeader, begun: &mut Begun, outbound: &mut Outbound) -> Option<Reply> {
    let route = begun.plan.routes.get(begun.route?)?;
    match &route.action {
        Action::Upstream(destination) => outbound.destination = Some(destination.clone()),
        Action::Split(split) => outbound.destination = split.choose().cloned(),
        Action::Bridge => return lead(begun.plan.bridge.as_ref(), outbound),
        Action::Aggregator(_) => return lead(begun.plan.aggregator.as_ref(), outbound),
        Action::Redirect(redirect) => return Some(redirect.reply(&Exchange::new(head, &mut begun.facts))),
        Action::Respond(reply) => return Some((**reply).clone()),
    }
    None
}

/// To a sidecar, if it runs.
fn lead(seat: Option<&Arc<Seat>>, outbound: &mut Outbound) -> Option<Reply> {
    match seat {
        Some(seat) => outbound.sidecar = Some(seat.clone()),
        None => {
            let detail = "the service behind this path is not running";
            return Some(Reply::problem(ProblemKind::Unavailable, detail));
        }
    }
    None
}

fn not_allowed(allowed: &[Method]) -> Reply {
    let names: Vec<&str> = allowed.iter().map(Method::as_str).collect();
    let reply = Reply::problem(ProblemKind::MethodNotAllowed, "this path does not take that method");
    match HeaderValue::from_str(&names.join(", ")) {
        Ok(allow) => reply.header(ALLOW, allow),
        Err(_) => reply,
    }
}

/// To the same URL on another listener. Only for hosts that routes know: else anybody's link would be redirected.
fn redirect(head: &RequestHeader, host: &str, listener: &str, plan: &Plan) -> Reply {
    let port = plan.listeners.iter().find(|other| *other.name == *listener).map(|other| other.port());
    if host.is_empty() || !plan.table.knows_host(host) {
        return Reply::problem(ProblemKind::MisdirectedRequest, "this edge does not serve that host");
    }
    let path = head.uri.path_and_query().map_or("/", |path| path.as_str());
    let to = match port {
        None | Some(443) => format!("https://{host}{path}"),
        Some(port) => format!("https://{host}:{port}{path}"),
    };
    crate::plan::location(StatusCode::PERMANENT_REDIRECT, &to)
}

/// The length a request declares for its body.
pub(crate) fn declared_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}
