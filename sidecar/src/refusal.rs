//! Why a client gets no answer but this.

use std::borrow::Cow;

use http::StatusCode;

/// Why a client gets a problem document (RFC 9457) and nothing else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The status.
    pub status: StatusCode,
    /// The last part of the problem's `type`, such as `too-many-requests`.
    pub code: &'static str,
    /// What went wrong in this case, for the client.
    pub detail: Cow<'static, str>,
}

impl Refusal {
    /// A refusal.
    pub fn new(status: StatusCode, code: &'static str, detail: impl Into<Cow<'static, str>>) -> Self {
        Refusal { status, code, detail: detail.into() }
    }

    /// 400.
    pub fn bad_request(detail: impl Into<Cow<'static, str>>) -> Self {
        Refusal::new(StatusCode::BAD_REQUEST, "bad-request", detail)
    }
}
