//! What the operators of this machine may ask a sidecar for.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use prometheus::{Encoder, Registry, TextEncoder};
use serde_json::Value;

use crate::Refusal;
use crate::answer::{full, problem};

/// What a sidecar tells its operators.
pub trait Operations: Send + Sync + 'static {
    /// Whether the process works, and what there is to say about it.
    fn healthy(&self) -> (bool, Value);

    /// Whether clients should be sent here, and what there is to say about it.
    fn ready(&self) -> (bool, Value);

    /// Metrics in Prometheus' text format.
    fn metrics(&self) -> String;
}

impl<T: Operations + ?Sized> Operations for Arc<T> {
    fn healthy(&self) -> (bool, Value) {
        (**self).healthy()
    }

    fn ready(&self) -> (bool, Value) {
        (**self).ready()
    }

    fn metrics(&self) -> String {
        (**self).metrics()
    }
}

/// All metrics of a registry in Prometheus' text format.
pub fn exposition(registry: &Registry) -> String {
    let mut text = Vec::new();
    if let Err(error) = TextEncoder::new().encode(&registry.gather(), &mut text) {
        log::error!("metrics cannot be written: {error}");
    }
    String::from_utf8(text).unwrap_or_default()
}

/// Answers a request of this machine's operators: one without [`CLIENT`](crate::CLIENT).
pub fn operational<B>(
    operations: &(impl Operations + ?Sized),
    request: &Request<B>,
) -> Response<Full<Bytes>> {
    let known = matches!(request.uri().path(), "/healthz" | "/readyz" | "/metrics");
    let method_fits = matches!(*request.method(), Method::GET | Method::HEAD);
    match request.uri().path() {
        _ if known && !method_fits => {
            let detail = "only GET and HEAD are known here";
            let refusal = Refusal::new(StatusCode::METHOD_NOT_ALLOWED, "method-not-allowed", detail);
            let mut response = problem(&refusal, "");
            response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
            response
        }
        "/healthz" => report(operations.healthy()),
        "/readyz" => report(operations.ready()),
        "/metrics" => full(StatusCode::OK, "text/plain; version=0.0.4", operations.metrics()),
        _ => {
            let detail =
                "without Sallyport-Client, which the edge sets, there are /healthz, /readyz and /metrics";
            problem(&Refusal::new(StatusCode::NOT_FOUND, "not-found", detail), "")
        }
    }
}

/// Health: 200 or 503, with what there is to say.
fn report((good, report): (bool, Value)) -> Response<Full<Bytes>> {
    let status = if good { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    full(status, "application/json", report.to_string())
}
