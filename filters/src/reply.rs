//! What the edge answers by itself: problem documents (RFC 9457) and small plain replies.
//!
//! Only the shape is decided here. How a reply is written, and as JSON or HTML, is the proxy's `reply.rs`.

use std::borrow::Cow;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, StatusCode};

/// An answer made by the edge itself.
#[derive(Debug, Clone)]
pub struct Reply {
    /// The status line.
    pub status: StatusCode,
    /// Headers of this reply; those that every reply carries are added when it is sent.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// What follows the head.
    pub body: ReplyBody,
}

/// The body of a reply.
#[derive(Debug, Clone)]
pub enum ReplyBody {
    /// No body.
    Empty,
    /// These bytes; the filter has set the content type.
    Bytes(Bytes),
    /// A problem document, rendered as JSON or, for a browser that asks for it, HTML.
    Problem(Problem),
}

/// A problem as RFC 9457 has it. `type`, `title` and status follow from the kind.
#[derive(Debug, Clone)]
pub struct Problem {
    /// What kind of problem.
    pub kind: ProblemKind,
    /// What went wrong in this case, for the client: no internal address, no secret, no body.
    pub detail: Cow<'static, str>,
}

macro_rules! problem_kinds {
    ($($(#[$doc:meta])* $name:ident $status:literal $slug:literal $title:literal;)*) => {
        /// The kinds of problem the edge reports; each has one status and a stable `type`.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum ProblemKind { $($(#[$doc])* $name,)* }

        impl ProblemKind {
            /// Every kind, for documentation and tests.
            pub const ALL: &'static [ProblemKind] = &[$(ProblemKind::$name,)*];

            /// The status code of this kind.
            pub fn status(self) -> StatusCode {
                let code = match self { $(ProblemKind::$name => $status,)* };
                StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
            }

            /// The last part of the `type`, also used in logs.
            pub fn slug(self) -> &'static str {
                match self { $(ProblemKind::$name => $slug,)* }
            }

            /// The stable `type` URI (RFC 9457, section 3.1.1).
            pub fn type_uri(self) -> &'static str {
                match self { $(ProblemKind::$name => concat!("urn:sallyport:problem:", $slug),)* }
            }

            /// The short title, the same for every case of the kind.
            pub fn title(self) -> &'static str {
                match self { $(ProblemKind::$name => $title,)* }
            }
        }
    };
}

problem_kinds! {
    /// The request breaks the rules of HTTP or of this edge.
    BadRequest 400 "bad-request" "Bad request";
    /// No valid credentials.
    Unauthorized 401 "unauthorized" "Authentication required";
    /// Valid credentials that do not suffice.
    Forbidden 403 "forbidden" "Forbidden";
    /// No route or resource.
    NotFound 404 "not-found" "Not found";
    /// The path exists, the method does not; `Allow` lists those that do.
    MethodNotAllowed 405 "method-not-allowed" "Method not allowed";
    /// The client sends too slowly.
    RequestTimeout 408 "request-timeout" "Request timeout";
    /// The body is larger than the route allows.
    ContentTooLarge 413 "content-too-large" "Content too large";
    /// The request target is longer than the edge reads.
    UriTooLong 414 "uri-too-long" "URI too long";
    /// This edge does not serve the host asked for on this connection.
    MisdirectedRequest 421 "misdirected-request" "Misdirected request";
    /// Another version of the protocol that was asked for is spoken.
    UpgradeRequired 426 "upgrade-required" "Upgrade required";
    /// A rate limit is exhausted.
    TooManyRequests 429 "too-many-requests" "Too many requests";
    /// The head is larger than the edge reads.
    HeadersTooLarge 431 "headers-too-large" "Request header fields too large";
    /// The edge itself failed.
    Internal 500 "internal" "Internal error";
    /// The upstream failed, or answered with something that is not HTTP.
    BadGateway 502 "bad-gateway" "Bad gateway";
    /// No upstream can take the request now.
    Unavailable 503 "unavailable" "Service unavailable";
    /// The upstream did not answer in time.
    GatewayTimeout 504 "gateway-timeout" "Gateway timeout";
}

impl Reply {
    /// A reply without a body.
    pub fn empty(status: StatusCode) -> Self {
        Reply { status, headers: Vec::new(), body: ReplyBody::Empty }
    }

    /// A problem document.
    pub fn problem(kind: ProblemKind, detail: impl Into<Cow<'static, str>>) -> Self {
        let problem = Problem { kind, detail: detail.into() };
        Reply { status: kind.status(), headers: Vec::new(), body: ReplyBody::Problem(problem) }
    }

    /// Adds a header.
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }
}
