//! What the client gets: the composed document, or a problem document (RFC 9457) that names branches and reasons.
//!
//! A complete answer may be kept by the client alone, and only if it asks each time before it uses it again; nothing here
//! says when it changes. (`no-store` would do as well, but keeps browsers from going back to a page at once.) An answer in which
//! something failed is not to be kept by anybody.

use std::fmt::Write as _;

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderName, HeaderValue, Method, StatusCode};
use serde_json::{Value, json};

use super::failure::Failure;
use super::fetch::Origin;
use super::plan::Composition;
use super::run::{Course, Fate};
use crate::asked::{Answer, Asked};
use crate::json::MergeError;

const COMPLETE: HeaderName = HeaderName::from_static("x-aggregate-complete");
/// W3C Server Timing.
const SERVER_TIMING: HeaderName = HeaderName::from_static("server-timing");
/// When a client that was turned away may come again: the shortest time that can be said. What it waits for are answers that
/// are being sent, and takes no longer as a rule.
const COME_AGAIN: HeaderValue = HeaderValue::from_static("1");

/// The answer to a composition, and its word for the metrics.
pub(super) fn answer(plan: &Composition, asked: &Asked, course: Course) -> (Answer, &'static str) {
    let timing = server_timing(plan, &course);
    let mut composed = match course.failed {
        Some(branch) => (failed(plan, asked, &course, branch), "failed"),
        None => match plan.merge.apply(&course.results) {
            Err(error) => (unmerged(asked, &error), "failed"),
            Ok(rope) => {
                let complete = course.records.iter().flatten().all(|record| is_whole(&record.fate));
                (document(complete, rope.into_pieces()), if complete { "complete" } else { "incomplete" })
            }
        },
    };
    composed.0.headers.extend(timing.map(|timing| (SERVER_TIMING, timing)));
    if asked.method == Method::HEAD {
        composed.0.body = Vec::new();
    }
    composed
}

/// There is no place for one more request.
pub(super) fn busy(asked: &Asked) -> Answer {
    let document = Problem {
        status: StatusCode::SERVICE_UNAVAILABLE,
        title: None,
        detail: Some("too many requests are under way; try again"),
        branches: Vec::new(),
        is_passed_on: false,
    };
    let mut answer = document.answer(asked);
    answer.headers.push((RETRY_AFTER, COME_AGAIN));
    if asked.method == Method::HEAD {
        answer.body = Vec::new();
    }
    answer
}

/// Whether a branch gave all that it could have given.
fn is_whole(fate: &Fate) -> bool {
    match fate {
        Fate::Good(_) | Fate::LeftOut => true,
        Fate::Partly(_) | Fate::Failed(_) => false,
    }
}

fn document(complete: bool, body: Vec<Bytes>) -> Answer {
    let (word, cache) = if complete { ("true", "private, no-cache") } else { ("false", "no-store") };
    let headers = vec![
        (CONTENT_TYPE, HeaderValue::from_static("application/json")),
        (CACHE_CONTROL, HeaderValue::from_static(cache)),
        (COMPLETE, HeaderValue::from_static(word)),
    ];
    Answer { status: StatusCode::OK, headers, body, hold: None }
}

/// A required branch has failed.
fn failed(plan: &Composition, asked: &Asked, course: &Course, branch: usize) -> Answer {
    let Some(Fate::Failed(failure)) = course.fate(branch) else {
        // Only a branch that failed is the one whose failure is that of the whole.
        return busy(asked);
    };
    let name = plan.branches.get(branch).map_or("", |branch| &branch.name);
    let passed = failure.status().filter(|status| {
        plan.branches.get(branch).is_some_and(|branch| branch.pass_statuses.contains(&status.as_u16()))
    });
    let branches = reasons(plan, course);
    if let Some(status) = passed {
        let said = failure.problem();
        let problem = Problem {
            status,
            title: said.and_then(|said| said.title.as_deref()),
            detail: said.and_then(|said| said.detail.as_deref()),
            branches,
            is_passed_on: true,
        };
        let mut answer = problem.answer(asked);
        answer.headers.extend(said.into_iter().flat_map(|said| said.headers.iter().cloned()));
        return answer;
    }
    let (status, detail) = match root(plan, course, branch).unwrap_or(failure) {
        Failure::Timeout => (StatusCode::GATEWAY_TIMEOUT, format!("the branch `{name}` did not end in time")),
        Failure::Memory => (
            StatusCode::SERVICE_UNAVAILABLE,
            format!("the branch `{name}` waited for memory for too long; try again"),
        ),
        Failure::AnswerTooLarge => {
            (StatusCode::BAD_GATEWAY, "the results together are larger than this answer may be".to_owned())
        }
        _ => (StatusCode::BAD_GATEWAY, format!("the branch `{name}` failed")),
    };
    let problem = Problem { status, title: None, detail: Some(&detail), branches, is_passed_on: false };
    let mut answer = problem.answer(asked);
    if status == StatusCode::SERVICE_UNAVAILABLE {
        answer.headers.push((RETRY_AFTER, COME_AGAIN));
    }
    answer
}

/// Why the first of those failed that a branch waited for in vain, however many stand between them.
fn root<'a>(plan: &Composition, course: &'a Course, mut branch: usize) -> Option<&'a Failure> {
    // The graph has no cycle, so each step leads to a branch that was not met before.
    for _ in 0..plan.branches.len() {
        let Some(Fate::Failed(failure)) = course.fate(branch) else { return None };
        if *failure != Failure::Needs {
            return Some(failure);
        }
        let failed = |before: &&usize| matches!(course.fate(**before), Some(Fate::Failed(_)));
        branch = *plan.branches.get(branch)?.after.iter().find(failed)?;
    }
    None
}

/// Results that do not fit together.
fn unmerged(asked: &Asked, error: &MergeError) -> Answer {
    let branches = match error {
        MergeError::Collision { first, second, .. } => {
            [first, second].map(|name| json!({ "name": name, "reason": "collision" })).into()
        }
        MergeError::NoObject { branch, .. } => vec![json!({ "name": branch, "reason": "no-object" })],
    };
    let detail = error.to_string();
    let status = StatusCode::BAD_GATEWAY;
    Problem { status, title: None, detail: Some(&detail), branches, is_passed_on: false }.answer(asked)
}

/// Each branch that failed, in file order, and why.
fn reasons(plan: &Composition, course: &Course) -> Vec<Value> {
    let fates = plan.branches.iter().zip(&course.records);
    let failures = fates.filter_map(|(branch, record)| match &record.as_ref()?.fate {
        Fate::Partly(failure) | Fate::Failed(failure) => Some((branch, failure)),
        Fate::Good(_) | Fate::LeftOut => None,
    });
    let reasons = failures.map(|(branch, failure)| {
        let mut reason = json!({ "name": &*branch.name, "reason": failure.reason() });
        if let Some(status) = failure.status() {
            reason["status"] = status.as_u16().into();
        }
        if let Some(said) = failure.problem() {
            for (name, text) in [("title", &said.title), ("detail", &said.detail)] {
                if let Some(text) = text {
                    reason[name] = Value::from(&**text);
                }
            }
        }
        reason
    });
    reasons.collect()
}

/// A problem document to be.
struct Problem<'a> {
    status: StatusCode,
    title: Option<&'a str>,
    detail: Option<&'a str>,
    branches: Vec<Value>,
    /// Whether the status is the service's own: then its meaning is the service's affair, too.
    is_passed_on: bool,
}

impl Problem<'_> {
    fn answer(self, asked: &Asked) -> Answer {
        let (kind, title) = match self.status {
            // RFC 9457, section 4.2.1.
            status if self.is_passed_on => ("about:blank", status.canonical_reason().unwrap_or("Refused")),
            StatusCode::GATEWAY_TIMEOUT => ("urn:sallyport:problem:gateway-timeout", "Gateway timeout"),
            StatusCode::SERVICE_UNAVAILABLE => ("urn:sallyport:problem:unavailable", "Service unavailable"),
            _ => ("urn:sallyport:problem:bad-gateway", "Bad gateway"),
        };
        let mut document = json!({
            "type": kind,
            "title": self.title.unwrap_or(title),
            "status": self.status.as_u16(),
        });
        if let Some(detail) = self.detail {
            document["detail"] = detail.into();
        }
        if !asked.request_id.is_empty() {
            document["instance"] = format!("urn:sallyport:request:{}", asked.request_id).into();
        }
        if !self.branches.is_empty() {
            document["branches"] = self.branches.into();
        }
        let headers = vec![
            (CONTENT_TYPE, HeaderValue::from_static("application/problem+json")),
            (CACHE_CONTROL, HeaderValue::from_static("no-store")),
        ];
        Answer { status: self.status, headers, body: vec![Bytes::from(document.to_string())], hold: None }
    }
}

/// How long each branch took that was asked, and what is to be said of it: `profile;dur=12.3, tags;dur=0.1;desc="cache"`.
fn server_timing(plan: &Composition, course: &Course) -> Option<HeaderValue> {
    let mut text = String::with_capacity(plan.branches.len() * 32);
    for (branch, record) in plan.branches.iter().zip(&course.records) {
        let Some(record) = record else { continue };
        let note = match &record.fate {
            Fate::Good(Origin::Service) => None,
            Fate::Good(Origin::Cache) => Some("cache"),
            Fate::Good(Origin::Stale) => Some("stale"),
            Fate::Partly(failure) | Fate::Failed(failure) => Some(failure.reason()),
            Fate::LeftOut => continue,
        };
        if !text.is_empty() {
            text.push_str(", ");
        }
        // Writing to a string cannot fail. A branch's name is a token, as the metric's has to be.
        let _ = write!(text, "{};dur={:.1}", branch.name, record.took.as_secs_f64() * 1000.0);
        if let Some(note) = note {
            let _ = write!(text, ";desc=\"{note}\"");
        }
    }
    if text.is_empty() { None } else { HeaderValue::try_from(text).ok() }
}
