//! What a request gets.

use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use hyper::body::Incoming;
use hyper::{Request, Response};

use super::answer::{self, Body};
use super::greeting::{self, CLIENT};
use super::{EventsRequest, Refusal, Service, events, query, upgrade};

/// Answers a request. Nothing here waits; what goes on behind the answer does so in a task, or as the answer's body.
pub(super) fn respond(service: &dyn Service, mut request: Request<Incoming>) -> Response<Body> {
    if !request.headers().contains_key(CLIENT) {
        return operational(service, &request);
    }
    let request_id = greeting::request_id(request.headers());
    answer_client(service, &mut request).unwrap_or_else(|refusal| answer::problem(&refusal, &request_id))
}

/// Answers a client.
fn answer_client(service: &dyn Service, request: &mut Request<Incoming>) -> Result<Response<Body>, Refusal> {
    let hello = greeting::hello(request.headers())?;
    if upgrade::is_wanted(request) {
        let response = upgrade::check(request)?;
        let carry = service.websocket(hello)?;
        upgrade::hand_over(hyper::upgrade::on(request), carry);
        return Ok(response);
    }
    if request.method() != Method::GET {
        let detail = "only GET is known here, to open a WebSocket or a stream of server-sent events";
        return Err(Refusal::new(StatusCode::METHOD_NOT_ALLOWED, "method-not-allowed", detail));
    }
    if !takes_events(request.headers()) {
        let detail =
            "here are WebSockets (Upgrade: websocket) and server-sent events (Accept: text/event-stream)";
        return Err(Refusal::new(StatusCode::NOT_ACCEPTABLE, "not-acceptable", detail));
    }
    let wish = query::wish(request.uri().query().unwrap_or_default(), request.headers())?;
    let stream = service.events(EventsRequest {
        hello,
        channels: wish.channels,
        last_event_id: wish.last_event_id,
    })?;
    Ok(events::response(stream))
}

/// Answers a request of this machine's operators.
fn operational(service: &dyn Service, request: &Request<Incoming>) -> Response<Body> {
    let known = matches!(request.uri().path(), "/healthz" | "/readyz" | "/metrics");
    let method_fits = matches!(*request.method(), Method::GET | Method::HEAD);
    match request.uri().path() {
        _ if known && !method_fits => {
            let detail = "only GET and HEAD are known here";
            let refusal = Refusal::new(StatusCode::METHOD_NOT_ALLOWED, "method-not-allowed", detail);
            let mut response = answer::problem(&refusal, "");
            response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
            response
        }
        "/healthz" => answer::report(service.healthy()),
        "/readyz" => answer::report(service.ready()),
        "/metrics" => answer::metrics(service.metrics()),
        _ => {
            let detail =
                "without Sallyport-Client, which the edge sets, there are /healthz, /readyz and /metrics";
            answer::problem(&Refusal::new(StatusCode::NOT_FOUND, "not-found", detail), "")
        }
    }
}

/// Whether the client takes `text/event-stream` (RFC 9110, section 12.5.1). The most specific range decides; without the
/// header it takes anything.
fn takes_events(headers: &HeaderMap) -> bool {
    if !headers.contains_key(header::ACCEPT) {
        return true;
    }
    let ranges = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let verdicts = ranges.flat_map(|value| value.split(',')).filter_map(|range| {
        let mut parts = range.split(';').map(str::trim);
        let name = parts.next().unwrap_or_default();
        let rank = [("text/event-stream", 3), ("text/*", 2), ("*/*", 1)]
            .into_iter()
            .find_map(|(known, rank)| name.eq_ignore_ascii_case(known).then_some(rank))?;
        let refused = parts.any(|parameter| {
            let quality = parameter.strip_prefix("q=").or_else(|| parameter.strip_prefix("Q="));
            quality.and_then(|quality| quality.parse::<f32>().ok()).is_some_and(|quality| quality <= 0.0)
        });
        Some((rank, !refused))
    });
    verdicts.max_by_key(|&(rank, _)| rank).is_some_and(|(_, takes)| takes)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 9110, section 12.5.1.
    #[test]
    fn accept_is_read() {
        let rows = [
            ("text/event-stream", true),
            ("Text/Event-Stream", true),
            ("application/json, text/event-stream;q=0.5", true),
            ("*/*", true),
            ("text/*;q=0.1", true),
            ("application/json", false),
            ("text/html", false),
            ("text/event-stream;q=0, */*", false),
            ("*/*;q=0, text/event-stream", true),
            ("text/*; q=0.0, */*", false),
            ("", false),
        ];
        for (accept, takes) in rows {
            let headers = HeaderMap::from_iter([(header::ACCEPT, HeaderValue::from_static(accept))]);
            assert_eq!(takes_events(&headers), takes, "{accept}");
        }
        assert!(takes_events(&HeaderMap::new()));
    }
}
