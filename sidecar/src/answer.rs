//! Whole answers, which no cache keeps.

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use http_body_util::Full;
use serde_json::{Value, json};

use crate::Refusal;

/// A problem document (RFC 9457). The id is that of the request; empty if there is none.
pub fn document(refusal: &Refusal, request_id: &str) -> Value {
    let mut document = json!({
        "type": format!("urn:sallyport:problem:{}", refusal.code),
        "title": refusal.status.canonical_reason().unwrap_or("Refused"),
        "status": refusal.status.as_u16(),
        "detail": refusal.detail,
    });
    if !request_id.is_empty() {
        document["instance"] = Value::from(format!("urn:sallyport:request:{request_id}"));
    }
    document
}

/// A problem document as a response. Headers that its status asks for are the caller's.
pub fn problem(refusal: &Refusal, request_id: &str) -> Response<Full<Bytes>> {
    full(refusal.status, "application/problem+json", document(refusal, request_id).to_string())
}

pub(crate) fn full(status: StatusCode, content_type: &'static str, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(body));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
