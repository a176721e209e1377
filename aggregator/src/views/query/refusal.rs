//! Why a query gets no rows, and the problem document that says so (RFC 9457).

use http::{HeaderValue, StatusCode, header};
use thiserror::Error;

use crate::asked::Answer;

/// Why a query gets no rows. The detail is for the client; it names what it sent, and nothing of the store.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{detail}")]
pub struct Refusal {
    /// The answer's status.
    pub status: StatusCode,
    /// The problem's name, as in `urn:sallyport:problem:<code>`.
    pub code: &'static str,
    /// What is wrong and what would be right.
    pub detail: String,
    /// The parameter that is meant.
    pub parameter: Option<Box<str>>,
    /// Seconds after which it may go better.
    pub retry_after: Option<u32>,
}

impl Refusal {
    /// A parameter that cannot be meant: 400.
    pub(super) fn parameter(parameter: impl Into<Box<str>>, detail: impl Into<String>) -> Self {
        let parameter = Some(parameter.into());
        Refusal {
            status: StatusCode::BAD_REQUEST,
            code: "invalid-parameter",
            detail: detail.into(),
            parameter,
            retry_after: None,
        }
    }

    /// A query as a whole that cannot be meant: 400.
    pub(super) fn query(detail: impl Into<String>) -> Self {
        Refusal { parameter: None, code: "invalid-query", ..Refusal::parameter("", detail) }
    }

    /// No such row, or none that the client may see: 404.
    pub(super) fn no_row() -> Self {
        let detail = "there is no such row, or you may not see it".to_owned();
        Refusal {
            status: StatusCode::NOT_FOUND,
            code: "no-such-row",
            detail,
            parameter: None,
            retry_after: None,
        }
    }

    /// The view has not come as far as `min_offset` in time: 504.
    pub(super) fn not_there_yet() -> Self {
        Refusal {
            status: StatusCode::GATEWAY_TIMEOUT,
            code: "view-behind",
            detail: "the view has not come as far as `min_offset` in the time that a query may wait"
                .to_owned(),
            parameter: Some("min_offset".into()),
            retry_after: Some(1),
        }
    }

    /// 503.
    pub(super) fn unavailable(code: &'static str, detail: &str) -> Self {
        let status = StatusCode::SERVICE_UNAVAILABLE;
        Refusal { status, code, detail: detail.to_owned(), parameter: None, retry_after: Some(1) }
    }

    /// The view is not kept (yet) by this process: 503.
    pub fn not_kept() -> Self {
        Refusal::unavailable("view-away", "the view is not kept here yet")
    }

    /// The query took longer than it may: 503.
    pub(super) fn too_slow() -> Self {
        Refusal::unavailable(
            "query-timeout",
            "the query took longer than it may; filter and order by what one index has",
        )
    }

    /// The answer.
    pub fn answer(&self, request_id: &str) -> Answer {
        let refusal = sallyport_sidecar::Refusal::new(self.status, self.code, self.detail.clone());
        let mut document = sallyport_sidecar::document(&refusal, request_id);
        if let Some(parameter) = &self.parameter {
            document["parameter"] = (**parameter).into();
        }
        let mut headers = vec![
            (header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json")),
            (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
        ];
        headers.extend(self.retry_after.map(|seconds| (header::RETRY_AFTER, HeaderValue::from(seconds))));
        Answer { status: self.status, headers, body: vec![document.to_string().into()], hold: None }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_refusal_says_what_is_wrong_with_which_parameter() {
        let answer = Refusal::parameter("limit", "limit is a number").answer("r1");
        assert_eq!(answer.status, StatusCode::BAD_REQUEST);
        let document: serde_json::Value = serde_json::from_slice(&answer.body[0]).unwrap();
        assert_eq!(
            document,
            json!({
                "type": "urn:sallyport:problem:invalid-parameter", "title": "Bad Request", "status": 400,
                "detail": "limit is a number", "parameter": "limit", "instance": "urn:sallyport:request:r1",
            })
        );
        let slow = Refusal::too_slow().answer("");
        assert!(slow.headers.contains(&(header::RETRY_AFTER, HeaderValue::from(1))));
        assert!(!String::from_utf8_lossy(&slow.body[0]).contains("instance"));
    }
}
