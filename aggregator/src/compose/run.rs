//! One composition from its start to its end: which branch starts when, and what becomes of the others when one fails.
//!
//! All of it is one future, on one task. Branches that wait for nothing start together; one that waits for others starts as
//! soon as the last of those has ended. The first failure of a required branch ends all others at once. If the future is dropped,
//! because the client has left, every call ends with it.
//!
//! What the answer is depends on what the branches came to, never on the order in which they did.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use prometheus::IntCounter;
use tokio::time::Instant;

use super::branch::{Ended, Table, Work};
use super::composer::{Composer, Prepared};
use super::errand::Carried;
use super::failure::Failure;
use super::fetch::{Origin, Purpose, Times};
use super::outcome;
use crate::asked::{Answer, Asked};
use crate::json::Checked;

/// What a branch came to.
#[derive(Debug)]
pub(super) enum Fate {
    /// A result.
    Good(Origin),
    /// A list with items missing or replaced, and why the first of them is.
    Partly(Failure),
    /// Not asked: its condition did not hold, or a branch that it needs was left out.
    LeftOut,
    /// No result.
    Failed(Failure),
}

/// What a branch came to, and how long it took.
#[derive(Debug)]
pub(super) struct Record {
    pub(super) fate: Fate,
    pub(super) took: Duration,
}

/// A composition that has ended.
#[derive(Debug)]
pub(super) struct Course {
    /// By branch; `None` for one that had not ended when another failed.
    pub(super) records: Vec<Option<Record>>,
    /// By branch; `None` for what is left out.
    pub(super) results: Vec<Option<Checked>>,
    /// The branch whose failure is that of the whole.
    pub(super) failed: Option<usize>,
}

/// Counts a composition that is dropped before it ends.
struct UnderWay<'a>(Option<&'a IntCounter>);

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        if let Some(cancelled) = self.0 {
            cancelled.inc();
        }
    }
}

impl Composer {
    /// Composes an answer. Dropped before it is ready, it leaves no call running.
    pub async fn answer(&self, prepared: &Prepared, asked: &Asked) -> Answer {
        let parts = &self.parts;
        let Some(place) = parts.memory.admit() else {
            parts.metrics.answered(prepared.name(), "refused");
            return outcome::busy(asked);
        };
        let mut under_way = UnderWay(Some(&parts.metrics.cancelled));
        let room = parts.memory.room(prepared.plan.bytes_max);
        let course = {
            let carried = Carried::new(asked);
            let table = Table { parts, asked, carried: &carried, room: &room };
            run(&table, prepared).await
        };
        under_way.0 = None;
        let (mut answer, result) = outcome::answer(&prepared.plan, asked, course);
        parts.metrics.answered(prepared.name(), result);
        // A slow client holds what its answer needs until it has it.
        answer.hold = Some(Box::new((room.into_taken(), place)));
        answer
    }
}

async fn run(table: &Table<'_>, prepared: &Prepared) -> Course {
    let plan = &prepared.plan;
    let purposes: Vec<Purpose> =
        (0..plan.branches.len()).map(|index| Purpose { plan: plan.clone(), index }).collect();
    let mut running = FuturesUnordered::new();
    let mut scheduler = Scheduler::new(table, prepared);
    loop {
        while let Some(index) = scheduler.ready.pop_front() {
            let (purpose, prefix) = (&purposes[index], &prepared.branches[index].prefix);
            let go_on = match scheduler.begin(purpose) {
                Begun::Work(work, times) => {
                    running.push(async move { (index, table.work(purpose, prefix, *work, times).await) });
                    true
                }
                Begun::LeftOut => {
                    scheduler.left_out(index);
                    true
                }
                Begun::Failed(failure) => scheduler.end(index, table.failed(purpose, failure, None)),
            };
            if !go_on {
                return scheduler.course;
            }
        }
        match running.next().await {
            None => return scheduler.course,
            // To return drops those that are still running.
            Some((index, ended)) => {
                if !scheduler.end(index, ended) {
                    return scheduler.course;
                }
            }
        }
    }
}

/// What happens when it is a branch's turn.
enum Begun {
    Work(Box<Work>, Times),
    LeftOut,
    Failed(Failure),
}

/// Who has ended, who may start.
struct Scheduler<'a> {
    table: &'a Table<'a>,
    prepared: &'a Prepared,
    ends: Instant,
    /// By branch: how many it still waits for.
    waits_for: Vec<usize>,
    started: Vec<Instant>,
    ready: VecDeque<usize>,
    course: Course,
}

impl<'a> Scheduler<'a> {
    fn new(table: &'a Table<'a>, prepared: &'a Prepared) -> Self {
        let branches = &prepared.plan.branches;
        let now = Instant::now();
        let waits_for: Vec<usize> = branches.iter().map(|branch| branch.after.len()).collect();
        Scheduler {
            table,
            prepared,
            ends: now + prepared.plan.timeout,
            ready: (0..branches.len()).filter(|index| waits_for[*index] == 0).collect(),
            waits_for,
            started: vec![now; branches.len()],
            course: Course {
                records: branches.iter().map(|_| None).collect(),
                results: vec![None; branches.len()],
                failed: None,
            },
        }
    }

    /// Looks what a branch has to do, now that all it waits for have ended.
    fn begin(&mut self, purpose: &Purpose) -> Begun {
        let branch = purpose.branch();
        let now = Instant::now();
        if let Some(started) = self.started.get_mut(purpose.index) {
            *started = now;
        }
        let fates = || branch.after.iter().filter_map(|before| self.course.fate(*before));
        if fates().any(|fate| matches!(fate, Fate::Failed(_))) {
            return Begun::Failed(Failure::Needs);
        }
        if fates().any(|fate| matches!(fate, Fate::LeftOut)) {
            return Begun::LeftOut;
        }
        let results = &self.course.results;
        let known = self.table.known(results, None);
        match branch.when.as_ref().map(|when| when.holds(&known)) {
            None | Some(Ok(true)) => {}
            Some(Ok(false)) => return Begun::LeftOut,
            Some(Err(_)) => return Begun::Failed(Failure::Condition),
        }
        let times = Times { branch: now + branch.timeout, answer: self.ends };
        if branch.each.is_some() {
            // Its calls are put together one by one, so it takes along what they are made of.
            return Begun::Work(Box::new(Work::Each(Arc::from(results.as_slice()))), times);
        }
        let prefix = &self.prepared.branches[purpose.index].prefix;
        match self.table.job(purpose, prefix, &known) {
            Ok(job) => Begun::Work(Box::new(Work::One(job)), times),
            Err(failure) => Begun::Failed(failure),
        }
    }

    /// Notes what a branch came to. Whether the composition goes on.
    fn end(&mut self, index: usize, ended: Ended) -> bool {
        let metrics = &self.prepared.branches[index].metrics;
        let took = self.started[index].elapsed();
        let (fate, result) = match ended {
            Ended::Good(value, origin) => {
                metrics.ok(took);
                (Fate::Good(origin), Some(value))
            }
            Ended::Partly(value, failure) => {
                metrics.failed(took, &failure);
                (Fate::Partly(failure), Some(value))
            }
            Ended::Failed(failure, instead) => {
                metrics.failed(took, &failure);
                if failure.is_fatal() || self.prepared.plan.branches[index].is_required() {
                    self.course.failed = Some(index);
                }
                (Fate::Failed(failure), instead)
            }
        };
        self.note(index, Record { fate, took }, result);
        self.course.failed.is_none()
    }

    fn left_out(&mut self, index: usize) {
        self.prepared.branches[index].metrics.left_out();
        self.note(index, Record { fate: Fate::LeftOut, took: Duration::ZERO }, None);
    }

    fn note(&mut self, index: usize, record: Record, result: Option<Checked>) {
        self.course.records[index] = Some(record);
        self.course.results[index] = result;
        for (other, branch) in self.prepared.plan.branches.iter().enumerate() {
            if branch.after.contains(&index) {
                self.waits_for[other] -= 1;
                if self.waits_for[other] == 0 {
                    self.ready.push_back(other);
                }
            }
        }
    }
}

impl Course {
    /// What a branch came to; `None` if it has not ended.
    pub(super) fn fate(&self, index: usize) -> Option<&Fate> {
        self.records.get(index)?.as_ref().map(|record| &record.fate)
    }
}
