//! The beginning of an exchange: strict checks, hop-by-hop and managed headers removed, the canonical path, and the
//! facts that filters rely on. In the order of facts that cannot be swapped: nothing reads a header before it was
//! cleaned.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use http::header::HOST;
use http::uri::PathAndQuery;
use http::{Uri, Version};
use pingora_http::RequestHeader;
use pingora_proxy::Session;
use sallyport_filters::{Facts, ProblemKind, Reply, request_id};

use crate::client_address;
use crate::ctx::Begun;
use crate::head;
use crate::listener::Conn;
use crate::managed;
use crate::path;
use crate::state::State;
use crate::trace::Trace;
use crate::tunnel::{self, Asked};

const X_FORWARDED_FOR: &str = "x-forwarded-for";
const X_FORWARDED_PROTO: &str = "x-forwarded-proto";
const X_REQUEST_ID: &str = "x-request-id";

/// What a request target turned out to be.
pub(crate) struct Target {
    /// Whether the path has encoded slashes; the route decides whether it may.
    pub(crate) encoded_slashes: bool,
    /// Whether the request asks for a WebSocket.
    pub(crate) asked: Asked,
}

/// Accepts a request's head, or refuses it. The exchange has begun in both cases: the refusal has an id too.
pub(crate) fn begin(session: &mut Session, state: &State) -> (Option<Begun>, Result<Target, Reply>) {
    let started = Instant::now();
    let Some(conn) = Conn::of(session.digest()).cloned() else {
        let refusal = Reply::problem(ProblemKind::Internal, "the connection is not one of a listener");
        return (None, Err(refusal));
    };
    let plan = state.plan.load_full();
    let head = session.req_header_mut();
    let facts = facts(head, &conn, started);
    let trace = Trace::of(&head.headers, conn.peer_trusted);
    let target = clean(head, &conn, &plan.managed);
    (Some(Begun::new(plan, conn, facts, trace, &state.metrics.in_flight)), target)
}

fn facts(head: &RequestHeader, conn: &Arc<Conn>, started: Instant) -> Facts {
    let started_at = SystemTime::now();
    let mut client = conn.peer_address();
    let mut secure = conn.listener.tls.is_some();
    let mut given = None;
    // What nobody trusted has sent is not even looked for.
    if conn.peer_trusted {
        let forwarded = head.headers.get_all(X_FORWARDED_FOR).iter();
        client = client_address::client(client, forwarded, &conn.listener.trusted);
        secure |= head.headers.get(X_FORWARDED_PROTO).is_some_and(|proto| proto == "https");
        given = head.headers.get(X_REQUEST_ID).and_then(request_id::accept);
    }
    let id = given.unwrap_or_else(|| request_id::id_at(started_at));
    let mut facts = Facts::new(started, started_at, client, id);
    facts.peer_trusted = conn.peer_trusted;
    facts.secure = secure;
    facts.body_bytes_max = crate::plan::BODY_BYTES_MAX;
    facts
}

fn clean(head: &mut RequestHeader, conn: &Conn, managed: &managed::Managed) -> Result<Target, Reply> {
    if head.version == Version::HTTP_2 {
        let limits = head::HeadLimits {
            fields: conn.listener.limits.head_fields,
            allow_underscores: conn.listener.allow_underscores,
        };
        head::check_parsed(head, &limits).map_err(|error| Reply::problem(error.kind(), error.detail()))?;
    }
    // Both fields that say it are gone after this.
    let asked = tunnel::asked(head);
    managed.strip(head, conn.peer_trusted);
    managed.strip_hop_by_hop(head, false).map_err(|error| Reply::problem(error.kind(), error.to_string()))?;
    origin_form(head).map(|encoded_slashes| Target { encoded_slashes, asked })
}

/// Leaves the canonical path and the query as the target. An absolute form has the same authority as Host: the head
/// was checked for that. The answer is whether the path has encoded slashes.
fn origin_form(head: &mut RequestHeader) -> Result<bool, Reply> {
    let raw = head.uri.path();
    if raw == "*" {
        return Ok(false);
    }
    let canonical = path::canonical(raw).map_err(|error| Reply::problem(error.kind(), error.detail()))?;
    let encoded_slashes = canonical.encoded_slashes;
    let absolute = head.version != Version::HTTP_2 && head.uri.authority().is_some();
    if let (Cow::Borrowed(_), false) = (&canonical.path, absolute) {
        return Ok(encoded_slashes);
    }
    let target = match head.uri.query() {
        Some(query) => format!("{}?{query}", canonical.path),
        None => canonical.path.into_owned(),
    };
    let malformed = || Reply::problem(ProblemKind::BadRequest, "the request target is not a path");
    let target = PathAndQuery::try_from(target).map_err(|_| malformed())?;
    let mut parts = head.uri.clone().into_parts();
    parts.path_and_query = Some(target);
    if head.version != Version::HTTP_2 {
        (parts.scheme, parts.authority) = (None, None);
    }
    head.set_uri(Uri::from_parts(parts).map_err(|_| malformed())?);
    Ok(encoded_slashes)
}

/// The host asked for, without port, in lower case: borrowed unless the client wrote capitals.
pub(crate) fn host(head: &RequestHeader) -> Cow<'_, str> {
    let authority = match head.uri.authority() {
        Some(authority) => authority.as_str(),
        None => head.headers.get(HOST).and_then(|host| host.to_str().ok()).unwrap_or_default(),
    };
    let host = without_port(authority);
    if host.bytes().any(|byte| byte.is_ascii_uppercase()) {
        Cow::Owned(host.to_ascii_lowercase())
    } else {
        Cow::Borrowed(host)
    }
}

fn without_port(authority: &str) -> &str {
    if authority.starts_with('[') {
        return authority.find(']').map_or(authority, |end| &authority[..=end]);
    }
    authority.split_once(':').map_or(authority, |(host, _)| host)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(target: &str, host: &str) -> RequestHeader {
        let mut head = RequestHeader::build("GET", target.as_bytes(), None).unwrap();
        head.insert_header(HOST, host).unwrap();
        head
    }

    #[test]
    fn the_host_is_lower_case_and_has_no_port() {
        for (written, host) in [
            ("API.Example.com:8443", "api.example.com"),
            ("[2001:DB8::1]:80", "[2001:db8::1]"),
            ("a", "a"),
            ("", ""),
        ] {
            assert_eq!(super::host(&head("/", written)), host);
        }
    }

    #[test]
    fn an_absolute_form_becomes_origin_form_with_its_query() {
        let mut head = head("http://a.example/x//y/../z?q=//1", "a.example");
        assert!(origin_form(&mut head).is_ok());
        assert_eq!(head.uri.to_string(), "/x/z?q=//1");
    }

    #[test]
    fn a_path_above_the_root_is_refused() {
        let refusal = origin_form(&mut head("/a/../../b", "a")).err().unwrap();
        assert_eq!(refusal.status, 400);
    }
}
