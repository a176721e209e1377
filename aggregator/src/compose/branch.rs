//! One branch at work: its call, its calls for each item of a list, or its query of a view; and what takes its place if it
//! fails.

use std::sync::Arc;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use tokio::time::{Instant, timeout_at};

use super::composer::{Parts, RowsAsked};
use super::errand::{Carried, Errand};
use super::failure::Failure;
use super::fetch::{Fetched, Origin, Purpose, Times, hold, shaped};
use super::key::Key;
use super::memory::Room;
use super::plan::{Each, OnError, Source};
use super::text::Known;
use crate::asked::Asked;
use crate::json::{Checked, Kind, Part};

/// How a branch has ended.
#[derive(Debug)]
pub(super) enum Ended {
    /// With a result.
    Good(Checked, Origin),
    /// With a list in which some items are missing or replaced, and why the first of them is.
    Partly(Checked, Failure),
    /// Without. What takes its place, if anything does.
    Failed(Failure, Option<Checked>),
}

/// What a branch has to do, put together from what is known when it starts.
pub(super) enum Work {
    /// One call, or one query.
    One(Job),
    /// One for each item of the list that is in these results.
    Each(Arc<[Option<Checked>]>),
}

/// The place of an item, and what its call came to: if nothing, with what its last good result is kept under.
type ItemEnded = (usize, Result<Fetched, (Failure, Option<Key>)>);

/// One call, or one query of a view.
pub(super) enum Job {
    Call(Errand),
    Rows(RowsAsked),
}

/// What all branches of one request have in common.
pub(super) struct Table<'a> {
    pub(super) parts: &'a Arc<Parts>,
    pub(super) asked: &'a Asked,
    pub(super) carried: &'a Carried<'a>,
    pub(super) room: &'a Room,
}

impl Table<'_> {
    /// What is known when a text is filled in.
    pub(super) fn known<'k>(&'k self, results: &'k [Option<Checked>], item: Option<Part<'k>>) -> Known<'k> {
        Known {
            params: &self.asked.params,
            query: &self.asked.query,
            claims: self.asked.claims.as_deref(),
            results,
            item,
        }
    }

    /// Puts together what a branch asks.
    ///
    /// # Errors
    /// A value that it needs is not there.
    pub(super) fn job(&self, purpose: &Purpose, prefix: &[u8], known: &Known<'_>) -> Result<Job, Failure> {
        let branch = purpose.branch();
        match &branch.source {
            Source::Call(call) => self.carried.errand(branch, call, prefix, known).map(Job::Call),
            Source::View(view) => {
                let key = view.key.as_ref().map(|key| {
                    let mut text = String::new();
                    key.plain(known, &mut text).map(|()| text)
                });
                let key = key.transpose().map_err(|_| Failure::MissingValue)?;
                let parameters = view.parameters(known).map_err(|_| Failure::MissingValue)?;
                let parameters = parameters.into_iter().map(|(name, value)| (name.to_owned(), value));
                Ok(Job::Rows(RowsAsked { view: view.view.clone(), key, parameters: parameters.collect() }))
            }
        }
    }

    /// Does what a branch has to do.
    pub(super) async fn work(&self, purpose: &Purpose, prefix: &[u8], work: Work, times: Times) -> Ended {
        match work {
            Work::One(job) => {
                let key = self.key_for_last(purpose, &job);
                match self.one(purpose, job, times).await {
                    Ok(fetched) => Ended::Good(fetched.value, fetched.origin),
                    Err(failure) => self.failed(purpose, failure, key.as_ref()),
                }
            }
            Work::Each(results) => match &purpose.branch().each {
                Some(each) => match self.each(purpose, prefix, each, &results, times.answer).await {
                    Ok(ended) => ended,
                    Err(failure) => self.failed(purpose, failure, None),
                },
                None => self.failed(purpose, Failure::NotAList, None),
            },
        }
    }

    /// A branch that failed, and what takes its place.
    pub(super) fn failed(&self, purpose: &Purpose, failure: Failure, key: Option<&Key>) -> Ended {
        let instead = self.instead(purpose, &failure, key);
        Ended::Failed(failure, instead)
    }

    fn instead(&self, purpose: &Purpose, failure: &Failure, key: Option<&Key>) -> Option<Checked> {
        match &purpose.branch().on_error {
            OnError::Fail | OnError::Omit => None,
            OnError::Null => Some(Checked::null()),
            OnError::Value(value) => Some(value.clone()),
            OnError::Stale => {
                // What the service refuses to this client is not shown to it all the same: see `Failure::is_trouble`.
                let last = key.filter(|_| failure.is_trouble()).and_then(|key| self.parts.cache.last(key));
                Some(last.unwrap_or_else(Checked::null))
            }
        }
    }

    fn key_for_last(&self, purpose: &Purpose, job: &Job) -> Option<Key> {
        match job {
            Job::Call(errand) if purpose.branch().on_error == OnError::Stale => errand.kept.clone(),
            Job::Call(_) | Job::Rows(_) => None,
        }
    }

    async fn one(&self, purpose: &Purpose, job: Job, times: Times) -> Result<Fetched, Failure> {
        match job {
            Job::Call(errand) => self.parts.fetch(purpose, errand, self.room, times).await,
            Job::Rows(rows) => {
                let source = self.parts.rows.as_ref().ok_or(Failure::View)?;
                let asked = timeout_at(times.ends(), source.rows(self.asked, rows));
                let value = asked.await.map_err(|_| Failure::Timeout)??;
                if value.bytes().len() > purpose.branch().bytes_max {
                    return Err(Failure::TooLarge);
                }
                hold(&value, self.room, times).await?;
                let value = shaped(purpose.branch().shape.as_ref(), &value)?;
                Ok(Fetched { value, origin: Origin::Service })
            }
        }
    }

    /// One call for each item, some at a time; results in the order of the items.
    async fn each(
        &self,
        purpose: &Purpose,
        prefix: &[u8],
        each: &Each,
        results: &[Option<Checked>],
        answer_ends: Instant,
    ) -> Result<Ended, Failure> {
        let list = results.get(each.of).and_then(Option::as_ref);
        let list = list.and_then(|result| result.whole().find(&each.path)).ok_or(Failure::MissingValue)?;
        let items: Vec<Part<'_>> = match list.kind() {
            Kind::Array => list.elements().take(each.max + 1).collect(),
            // As many services write a list without items.
            Kind::Null => Vec::new(),
            _ => return Err(Failure::NotAList),
        };
        let mut first_failure = None;
        if items.len() > each.max {
            if !each.cut {
                return Err(Failure::TooManyItems);
            }
            first_failure = Some((each.max, Failure::TooManyItems));
        }
        let mut values: Vec<Option<Checked>> = vec![None; items.len().min(each.max)];
        let mut waiting = items.iter().take(each.max).copied().enumerate();
        let mut under_way = FuturesUnordered::new();
        loop {
            while under_way.len() < each.concurrency
                && let Some((place, item)) = waiting.next()
            {
                under_way.push(self.item(purpose, prefix, results, place, item, answer_ends));
            }
            let Some((place, done)) = under_way.next().await else { break };
            let value = match done {
                Ok(fetched) => Some(fetched.value),
                Err((failure, _)) if failure.is_fatal() || purpose.branch().is_required() => {
                    return Err(failure);
                }
                Err((failure, key)) => {
                    let instead = self.instead(purpose, &failure, key.as_ref());
                    if first_failure.as_ref().is_none_or(|(first, _)| place < *first) {
                        first_failure = Some((place, failure));
                    }
                    instead
                }
            };
            if let Some(slot) = values.get_mut(place) {
                *slot = value;
            }
        }
        let list = Checked::list(values.iter().flatten());
        Ok(match first_failure {
            None => Ended::Good(list, Origin::Service),
            Some((_, failure)) => Ended::Partly(list, failure),
        })
    }

    /// The call for one item. It has the branch's whole time for itself.
    async fn item(
        &self,
        purpose: &Purpose,
        prefix: &[u8],
        results: &[Option<Checked>],
        place: usize,
        item: Part<'_>,
        answer_ends: Instant,
    ) -> ItemEnded {
        let known = self.known(results, Some(item));
        let job = match self.job(purpose, prefix, &known) {
            Ok(job) => job,
            Err(failure) => return (place, Err((failure, None))),
        };
        let key = self.key_for_last(purpose, &job);
        let times = Times { branch: Instant::now() + purpose.branch().timeout, answer: answer_ends };
        (place, self.one(purpose, job, times).await.map_err(|failure| (failure, key)))
    }
}
