//! What a route with `aggregate:` may have beside it, and what its `answer:` may say.

use sallyport_config::aggregate::Answer;
use sallyport_config::route::Route;
use sallyport_config::{Config, Located, Report};

use super::BRANCHES_MAX;
use super::when::RESERVED;

/// The methods of routes that are composed.
const METHODS: [&str; 3] = ["GET", "HEAD", "POST"];

/// The longest name of a branch: it goes into headers and metrics.
const NAME_BYTES_MAX: usize = 64;

/// `answer` says nothing where nothing is composed.
pub(super) fn without_aggregate(route: &Route, report: &mut Report) {
    if let Some(answer) = &route.answer {
        report
            .error(answer.at, "`answer` without `aggregate`")
            .hint("it says what becomes of the results of branches; name these in `aggregate`");
    }
}

/// Checks what has to do with no branch in particular.
pub(super) fn check(route: &Located<Route>, answer: &Located<Answer>, config: &Config, report: &mut Report) {
    methods(route, report);
    names(route, report);
    limits(route, answer, config, report);
    edge_limits(route, answer, report);
}

fn methods(route: &Route, report: &mut Report) {
    let methods = &route.matches.methods;
    let other = methods.iter().find(|method| !METHODS.contains(&method.as_str()));
    let hint = "a composed answer is for GET, HEAD and POST; GET takes HEAD along";
    if methods.is_empty() {
        report
            .error(route.matches.at, "a route with `aggregate` takes every method")
            .hint(hint)
            .hint("name the methods in `match`, such as `GET /v1/overview`");
    } else if let Some(other) = other {
        report.error(route.matches.at, format!("a route with `aggregate` takes {other}")).hint(hint);
    }
}

fn names(route: &Route, report: &mut Report) {
    let Some(branches) = &route.aggregate else { return };
    if branches.is_empty() {
        report
            .error(branches.at, "`aggregate` has no branches")
            .hint("write `name: { call: GET upstream/path }`");
    }
    if let Some((name, _)) = branches.iter().nth(BRANCHES_MAX) {
        report
            .error(
                name.at,
                format!("a route has at most {BRANCHES_MAX} branches, this has {}", branches.len()),
            )
            .hint("several calls of one kind are one branch with `each`");
    }
    for (name, _) in branches.iter() {
        let letter = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        let begins = name.bytes().next().is_some_and(|first| letter(first) && !first.is_ascii_digit());
        if RESERVED.contains(&name.as_str()) {
            report
                .error(
                    name.at,
                    format!("a branch cannot be called `{}`: that is something else in fields", name.value),
                )
                .hint("in a `template` its result can have any name");
        } else if !begins || !name.bytes().all(letter) || name.len() > NAME_BYTES_MAX {
            report
                .error(name.at, format!("`{}` cannot be the name of a branch", name.value))
                .hint("conditions use it as a name: letters, digits and `_`, no digit first, at most 64")
                .hint("in a `template` its result can have any name");
        }
    }
}

fn limits(route: &Located<Route>, answer: &Located<Answer>, config: &Config, report: &mut Report) {
    let at = if answer.at.is_known() { answer.at } else { route.matches.at };
    if answer.timeout.is_zero() {
        report.error(at, "`answer.timeout: 0s` leaves no time at all");
    }
    let limits = config.aggregator.as_ref().map(|settings| settings.limits.clone()).unwrap_or_default();
    let memory = limits.memory;
    if answer.bytes.0 == 0 {
        report.error(at, "`answer.bytes: 0` leaves no room for results");
    } else if answer.bytes > memory {
        report
            .error(
                at,
                format!(
                    "`answer.bytes` is {}, more than all answers together may hold, {memory}",
                    answer.bytes
                ),
            )
            .hint(
                "such an answer would wait for room for ever; lower it, or raise `aggregator.limits.memory`",
            );
    }
}

/// The edge waits for a composed answer as for any other, and its own 504 does not say which branch is slow.
fn edge_limits(route: &Located<Route>, answer: &Located<Answer>, report: &mut Report) {
    let limits =
        [("timeouts.first_byte", route.timeouts.first_byte), ("timeouts.whole", route.timeouts.whole)];
    let shorter = limits.into_iter().find(|(_, limit)| !limit.is_zero() && *limit <= answer.timeout);
    if let Some((name, limit)) = shorter {
        let at = if answer.at.is_known() { answer.at } else { route.matches.at };
        report
            .warning(
                at,
                format!("`answer.timeout` is {}, but the route's `{name}` is {limit}", answer.timeout),
            )
            .hint(
                "the edge would give up first, without saying which branch was slow; give `answer` less time",
            );
    }
}
