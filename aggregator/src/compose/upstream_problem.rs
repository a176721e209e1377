//! What a service says of its own failure: the title and the detail of its problem document (RFC 9457), bounded.
//!
//! Nothing else of the document goes on: `instance` and extensions may name what is internal, `type` means something
//! within the service only.

use bytes::Bytes;
use http::header::{RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderName, HeaderValue};
use serde::Deserialize;

/// Bytes of a failed call's body that are read. A document that is longer is ignored.
pub(super) const PROBLEM_BYTES_MAX: usize = 64 * 1024;
/// The most characters of a title or a detail that go on.
const CHARACTERS_MAX: usize = 500;

/// The fields of a failed call that go on if its status does: without them 401 and 429 say too little (RFC 9110, sections
/// 11.6.1 and 10.2.3).
pub(super) const PASSED: [HeaderName; 2] = [RETRY_AFTER, WWW_AUTHENTICATE];

/// Title and detail of a problem document, and what goes with the status.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UpstreamProblem {
    /// A short summary.
    pub title: Option<Box<str>>,
    /// What went wrong in this case.
    pub detail: Option<Box<str>>,
    /// Fields of the head.
    pub headers: Vec<(HeaderName, HeaderValue)>,
}

impl UpstreamProblem {
    /// Reads what a failed call says; `None` if that is nothing. Of the body, which may be any, only a JSON object counts,
    /// and members of a wrong type are ignored, as section 3.1 of RFC 9457 has it.
    pub(super) fn read(body: Option<&Bytes>, headers: &[(HeaderName, HeaderValue)]) -> Option<Self> {
        #[derive(Default, Deserialize)]
        struct Document {
            #[serde(default)]
            title: serde_json::Value,
            #[serde(default)]
            detail: serde_json::Value,
        }
        // serde_json bounds the depth at 128, the caller the length.
        let document = body.and_then(|body| serde_json::from_slice::<serde_json::Value>(body).ok());
        let document = document.filter(serde_json::Value::is_object);
        let document: Document =
            document.and_then(|document| serde_json::from_value(document).ok()).unwrap_or_default();
        let headers = headers.iter().filter(|(name, _)| PASSED.contains(name)).cloned().collect();
        let problem =
            UpstreamProblem { title: text(&document.title), detail: text(&document.detail), headers };
        (problem != UpstreamProblem::default()).then_some(problem)
    }
}

/// A text without control characters, cut.
fn text(value: &serde_json::Value) -> Option<Box<str>> {
    let text = value.as_str()?;
    let text: String =
        text.chars().filter(|character| !character.is_control()).take(CHARACTERS_MAX).collect();
    (!text.is_empty()).then(|| text.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(body: &str) -> Option<UpstreamProblem> {
        UpstreamProblem::read(Some(&Bytes::from(body.to_owned())), &[])
    }

    #[test]
    fn title_and_detail_go_on_and_nothing_else() {
        let document = r#"{"type":"http://10.0.0.7/x","title":"No such batch","status":404,"detail":"batch 7\u0000","instance":"/i"}"#;
        let problem = read(document).unwrap();
        assert_eq!(problem.title.as_deref(), Some("No such batch"));
        assert_eq!(problem.detail.as_deref(), Some("batch 7"));
        assert!(!format!("{problem:?}").contains("10.0.0.7"));
    }

    /// RFC 9457, section 3.1: a member of a wrong type is ignored.
    #[test]
    fn what_is_no_problem_document_says_nothing() {
        for body in ["", "[]", "null", "{", "7", "{}", r#"{"title":7,"detail":""}"#, "<html>"] {
            assert_eq!(read(body), None, "{body}");
        }
        assert_eq!(read(r#"{"title":7,"detail":"x"}"#).unwrap().detail.as_deref(), Some("x"));
    }

    #[test]
    fn of_the_head_only_what_a_status_needs_goes_on() {
        let field = |name, value| (HeaderName::from_static(name), HeaderValue::from_static(value));
        let headers = [field("retry-after", "7"), field("content-type", "text/html")];
        let problem = UpstreamProblem::read(None, &headers).unwrap();
        assert_eq!(problem.headers, [field("retry-after", "7")]);
    }

    #[test]
    fn long_texts_are_cut_between_characters() {
        let problem = read(&format!(r#"{{"title":"{}"}}"#, "é".repeat(2000))).unwrap();
        assert_eq!(problem.title.unwrap().chars().count(), 500);
    }
}
