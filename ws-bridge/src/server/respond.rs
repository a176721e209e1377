//! What a request gets.

use std::sync::Arc;

use http::{HeaderMap, Method, StatusCode, header};
use hyper::body::Incoming;
use hyper::{Request, Response};
use sallyport_sidecar::{CLIENT, Introduction, Refusal, operational};
use tokio::net::UnixListener;
use tokio::sync::watch;

use super::answer::{self, Body};
use super::{EventsRequest, Service, events, query, upgrade};
use crate::hello::Hello;

/// Serves `service` on `listener` until `stop` says true, see [`sallyport_sidecar::serve`]: streams of events end when
/// the service ends them, and WebSockets are not its business once they are open.
pub async fn serve(listener: UnixListener, service: Arc<dyn Service>, stop: watch::Receiver<bool>) {
    let answer = move |request| std::future::ready(respond(&*service, request));
    sallyport_sidecar::serve(listener, answer, stop).await;
}

/// Answers a request. Nothing here waits; what goes on behind the answer does so in a task, or as the answer's body.
fn respond(service: &dyn Service, mut request: Request<Incoming>) -> Response<Body> {
    if !request.headers().contains_key(CLIENT) {
        return operational(service, &request).map(Body::Full);
    }
    let request_id = sallyport_sidecar::request_id(request.headers());
    answer_client(service, &mut request).unwrap_or_else(|refusal| answer::problem(&refusal, &request_id))
}

/// Answers a client.
fn answer_client(service: &dyn Service, request: &mut Request<Incoming>) -> Result<Response<Body>, Refusal> {
    let hello = Hello::from(Introduction::read(request.headers())?);
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
    use http::HeaderValue;

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
