//! What a composition does, drawn: who waits for whom, and how long it may take at most.

mod draw;

use std::time::Duration;

use serde::Serialize;

use super::plan::{Branch, Composition, OnError, Source, Vary, levels};

/// What there is to say of a composition. Prints as a drawing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Explained {
    /// The route's name.
    pub route: Box<str>,
    /// Whether the route asks for an identity.
    pub authenticated: bool,
    /// Time for the whole answer.
    pub timeout_ms: u64,
    /// Bytes of all results together.
    pub bytes_max: usize,
    /// The branches in file order.
    pub branches: Vec<ExplainedBranch>,
    /// How long it may take.
    pub worst: Worst,
}

/// What there is to say of a branch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ExplainedBranch {
    /// Its name.
    pub name: Box<str>,
    /// What it asks: `GET users/v1/users/{claims.sub}`, `view batches`.
    pub asks: String,
    /// How many branches run in a row until it has ended, itself counted: those of 1 start at once.
    pub level: usize,
    /// The branches it waits for.
    pub after: Vec<Box<str>>,
    /// The condition under which it runs.
    pub when: Option<String>,
    /// The list that it makes a call for each item of.
    pub each: Option<ExplainedEach>,
    /// Time for it, with `each` for each call.
    pub timeout_ms: u64,
    /// What becomes of the answer if it fails: `fail`, `null`, `omit`, `stale`, `value`.
    pub on_error: &'static str,
    /// Statuses that the client gets where this branch gets them.
    pub pass_statuses: Vec<u16>,
    /// Tries after the first.
    pub retries: u32,
    /// On what it is tried again: `connect`, `reset`, or a status.
    pub retry_on: Vec<String>,
    /// How long answers are kept.
    pub cache: Option<ExplainedCache>,
}

/// One call for each item of a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ExplainedEach {
    /// Where the list is: `batches.$.items`.
    #[serde(rename = "in")]
    pub list: String,
    /// The most items.
    pub max: usize,
    /// Calls at a time.
    pub concurrency: usize,
    /// What becomes of a longer list: `fail` or `cut`.
    pub beyond: &'static str,
}

/// How long answers are kept, and for whom.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ExplainedCache {
    /// How long they are fresh.
    pub ttl_ms: u64,
    /// How long after that they are given while a new one is fetched.
    pub stale_while_revalidate_ms: u64,
    /// How long after that they are given if the call fails.
    pub stale_if_error_ms: u64,
    /// What tells them apart beside URL and headers.
    pub vary: Vec<String>,
    /// Whether they are the same for everybody.
    pub shared: bool,
}

/// The longest that an answer may take, if every branch on the longest way takes all its time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Worst {
    /// The time.
    pub ms: u64,
    /// Whether the answer's own timeout ends it before the branches would.
    pub cut_by_timeout: bool,
    /// The branches on the way, in the order they run.
    pub path: Vec<Leg>,
}

/// A branch on the longest way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Leg {
    /// The branch.
    pub branch: Box<str>,
    /// Its calls one behind the other: 1 but for `each`.
    pub rounds: usize,
    /// Time for each of them.
    pub timeout_ms: u64,
}

impl Composition {
    /// Says what it does.
    pub fn explain(&self) -> Explained {
        let levels = levels(self);
        let branches = self.branches.iter().zip(&levels).map(|(branch, level)| explain(branch, *level, self));
        Explained {
            route: (&*self.name).into(),
            authenticated: self.authenticated,
            timeout_ms: milliseconds(self.timeout),
            bytes_max: self.bytes_max,
            branches: branches.collect(),
            worst: worst(self, &levels),
        }
    }
}

fn explain(branch: &Branch, level: usize, whole: &Composition) -> ExplainedBranch {
    let name = |index: &usize| whole.branches.get(*index).map(|branch| Box::from(&*branch.name));
    let asks = match &branch.source {
        Source::Call(call) => call.to_string(),
        Source::View(view) => view.to_string(),
    };
    let each = branch.each.as_ref().map(|each| ExplainedEach {
        list: format!("{}.{}", name(&each.of).unwrap_or_default(), super::text::query(&each.path)),
        max: each.max,
        concurrency: each.concurrency,
        beyond: if each.cut { "cut" } else { "fail" },
    });
    let mut retry_on = Vec::new();
    if let Some(retry) = &branch.retry {
        retry_on.extend(retry.connect.then(|| "connect".to_owned()));
        retry_on.extend(retry.reset.then(|| "reset".to_owned()));
        retry_on.extend(retry.statuses.iter().map(u16::to_string));
    }
    ExplainedBranch {
        name: (&*branch.name).into(),
        asks,
        level,
        after: branch.after.iter().filter_map(name).collect(),
        when: branch.when.as_ref().map(|when| when.source().to_owned()),
        each,
        timeout_ms: milliseconds(branch.timeout),
        on_error: match &branch.on_error {
            OnError::Fail => "fail",
            OnError::Null => "null",
            OnError::Omit => "omit",
            OnError::Stale => "stale",
            OnError::Value(_) => "value",
        },
        pass_statuses: branch.pass_statuses.to_vec(),
        retries: branch.retry.as_ref().map_or(0, |retry| retry.attempts),
        retry_on,
        cache: branch.cache.as_ref().map(|cache| ExplainedCache {
            ttl_ms: milliseconds(cache.ttl),
            stale_while_revalidate_ms: milliseconds(cache.stale_while_revalidate),
            stale_if_error_ms: milliseconds(cache.stale_if_error),
            vary: cache.vary.iter().map(Vary::to_string).collect(),
            shared: cache.shared,
        }),
    }
}

/// The longest way through the graph. Of two that are equally long the one whose last branch comes first in the file.
fn worst(whole: &Composition, levels: &[usize]) -> Worst {
    let rounds =
        |branch: &Branch| branch.each.as_ref().map_or(1, |each| each.max.div_ceil(each.concurrency.max(1)));
    let cost = |branch: &Branch| milliseconds(branch.timeout).saturating_mul(rounds(branch) as u64);
    // Of each branch when it has ended, and which it waited for last.
    let mut ends: Vec<(u64, Option<usize>)> = vec![(0, None); whole.branches.len()];
    let mut order: Vec<usize> = (0..whole.branches.len()).collect();
    order.sort_by_key(|branch| levels.get(*branch));
    for index in order {
        let Some(branch) = whole.branches.get(index) else { continue };
        let last = branch.after.iter().copied().rev().max_by_key(|before| ends.get(*before).map(|end| end.0));
        let start = last.and_then(|last| ends.get(last)).map_or(0, |end| end.0);
        ends[index] = (start.saturating_add(cost(branch)), last);
    }
    let mut next = (0..ends.len()).rev().max_by_key(|index| ends[*index].0);
    let sum = next.and_then(|last| ends.get(last)).map_or(0, |end| end.0);
    let mut path = Vec::new();
    while let Some(branch) = next.and_then(|index| whole.branches.get(index)) {
        let timeout_ms = milliseconds(branch.timeout);
        path.push(Leg { branch: (&*branch.name).into(), rounds: rounds(branch), timeout_ms });
        next = next.and_then(|index| ends.get(index)).and_then(|end| end.1);
    }
    path.reverse();
    let limit = milliseconds(whole.timeout);
    Worst { ms: sum.min(limit), cut_by_timeout: sum > limit, path }
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
