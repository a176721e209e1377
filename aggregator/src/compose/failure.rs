//! Why a branch failed: what the client is told of it, what it does to the whole answer, and what is kept in spite of it.
//!
//! Nothing in a failure is an address, a URL or an error text of a library: what clients see is made of these words only,
//! and of what a service says about itself in a problem document.

use std::sync::Arc;

use http::StatusCode;

use super::upstream_problem::UpstreamProblem;

/// Why a branch has no result. Cheap to clone: calls are shared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// It took longer than the branch or the whole answer may.
    Timeout,
    /// No connection to the upstream.
    Connect,
    /// The connection broke before the answer was complete, or what came was not HTTP.
    Broken,
    /// No target of the upstream can take the request now.
    Unavailable,
    /// The results had to wait for memory for too long.
    Memory,
    /// A status that is no success, and what the service says of it.
    Status(StatusCode, Option<Arc<UpstreamProblem>>),
    /// The service answers with a redirect; none is followed.
    Redirect(StatusCode),
    /// The body is larger than the branch's `bytes`.
    TooLarge,
    /// The results together are larger than `answer.bytes`.
    AnswerTooLarge,
    /// A content coding that nobody asked for.
    ContentCoding,
    /// A media type that is neither JSON nor text.
    ContentType,
    /// The body is not the JSON or the text that its media type promises.
    InvalidBody,
    /// A value that the call or the shape of the result needs is not there.
    MissingValue,
    /// The result does not have the form that `pick` or `rename` needs.
    Shape,
    /// What `each` runs over is no list.
    NotAList,
    /// The list of `each` has more items than `max`.
    TooManyItems,
    /// The condition in `when` could not be decided.
    Condition,
    /// A branch that this one needs has failed.
    Needs,
    /// The view could not answer.
    View,
    /// The request could not be put together: a header or a target that HTTP does not allow.
    Request,
}

impl Failure {
    /// Every word of [`Failure::reason`].
    pub const REASONS: [&'static str; 20] = [
        "timeout",
        "connect",
        "broken",
        "unavailable",
        "memory",
        "status",
        "redirect",
        "too-large",
        "answer-too-large",
        "content-coding",
        "content-type",
        "invalid-body",
        "missing-value",
        "shape",
        "not-a-list",
        "too-many-items",
        "condition",
        "needs",
        "view",
        "request",
    ];

    /// The word for it in problem documents, `Server-Timing` and metrics.
    pub fn reason(&self) -> &'static str {
        Self::REASONS[self.index()]
    }

    /// The place of its word in [`Failure::REASONS`].
    pub(super) fn index(&self) -> usize {
        match self {
            Failure::Timeout => 0,
            Failure::Connect => 1,
            Failure::Broken => 2,
            Failure::Unavailable => 3,
            Failure::Memory => 4,
            Failure::Status(..) => 5,
            Failure::Redirect(_) => 6,
            Failure::TooLarge => 7,
            Failure::AnswerTooLarge => 8,
            Failure::ContentCoding => 9,
            Failure::ContentType => 10,
            Failure::InvalidBody => 11,
            Failure::MissingValue => 12,
            Failure::Shape => 13,
            Failure::NotAList => 14,
            Failure::TooManyItems => 15,
            Failure::Condition => 16,
            Failure::Needs => 17,
            Failure::View => 18,
            Failure::Request => 19,
        }
    }

    /// The status that a service answered with, if it is why.
    pub fn status(&self) -> Option<StatusCode> {
        match self {
            Failure::Status(status, _) | Failure::Redirect(status) => Some(*status),
            _ => None,
        }
    }

    /// What the service says of it.
    pub fn problem(&self) -> Option<&UpstreamProblem> {
        match self {
            Failure::Status(_, problem) => problem.as_deref(),
            _ => None,
        }
    }

    /// Whether nothing was learnt about what was asked for: the service, the way to it or this program had trouble. An
    /// older result may then stand in (RFC 5861, section 4). A status such as 403 or 404 is an answer, and what it says
    /// is that the older result no longer holds: whoever has lost the right to see something must not go on seeing it.
    pub fn is_trouble(&self) -> bool {
        match self {
            Failure::Status(status, _) => {
                status.is_server_error() || matches!(status.as_u16(), 408 | 425 | 429)
            }
            Failure::MissingValue | Failure::NotAList | Failure::TooManyItems | Failure::Condition => false,
            Failure::Needs | Failure::Request | Failure::AnswerTooLarge => false,
            _ => true,
        }
    }

    /// Whether the whole answer fails, whatever the branch's `on_error` says.
    pub fn is_fatal(&self) -> bool {
        matches!(self, Failure::AnswerTooLarge)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_failure_has_a_word_of_its_own() {
        let all = [
            Failure::Timeout,
            Failure::Connect,
            Failure::Broken,
            Failure::Unavailable,
            Failure::Memory,
            Failure::Status(StatusCode::NOT_FOUND, None),
            Failure::Redirect(StatusCode::FOUND),
            Failure::TooLarge,
            Failure::AnswerTooLarge,
            Failure::ContentCoding,
            Failure::ContentType,
            Failure::InvalidBody,
            Failure::MissingValue,
            Failure::Shape,
            Failure::NotAList,
            Failure::TooManyItems,
            Failure::Condition,
            Failure::Needs,
            Failure::View,
            Failure::Request,
        ];
        let words: Vec<&str> = all.iter().map(Failure::reason).collect();
        assert_eq!(words, Failure::REASONS);
    }

    /// RFC 5861, section 4, names 500, 502, 503 and 504; what a client may not see any more is no trouble.
    #[test]
    fn a_refusal_is_no_trouble() {
        for (status, trouble) in [
            (400, false),
            (401, false),
            (403, false),
            (404, false),
            (410, false),
            (408, true),
            (429, true),
            (500, true),
            (503, true),
        ] {
            let failure = Failure::Status(StatusCode::from_u16(status).unwrap(), None);
            assert_eq!(failure.is_trouble(), trouble, "{status}");
        }
        assert!(
            Failure::Timeout.is_trouble()
                && Failure::InvalidBody.is_trouble()
                && !Failure::Needs.is_trouble()
        );
    }
}
