//! One result of a branch: from the cache, from a call that is under way, or from a call of its own; and what stands in if
//! that fails.

use std::sync::Arc;

use bytes::Bytes;
use futures::FutureExt;
use tokio::time::{Instant, timeout_at};

use super::cache::Found;
use super::composer::Parts;
use super::errand::Errand;
use super::failure::Failure;
use super::freshness::freshness;
use super::gate::{Counted, attend};
use super::key::Key;
use super::memory::{Room, TooMuch};
use super::metrics::CacheUse;
use super::plan::{Branch, Composition};
use super::received::{Received, received};
use crate::json::{Checked, Shape, ShapeError};

/// Where a result comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Origin {
    /// The service, or the view.
    Service,
    /// The cache, fresh or while a new one is fetched.
    Cache,
    /// The cache, in place of a failure.
    Stale,
}

/// A result, and where it comes from.
#[derive(Debug)]
pub(super) struct Fetched {
    pub(super) value: Checked,
    pub(super) origin: Origin,
}

/// Until when things have to be done.
#[derive(Debug, Clone, Copy)]
pub(super) struct Times {
    /// The branch's own limit.
    pub(super) branch: Instant,
    /// That of the whole answer.
    pub(super) answer: Instant,
}

impl Times {
    /// Whichever is first.
    pub(super) fn ends(&self) -> Instant {
        self.branch.min(self.answer)
    }
}

/// The branch that something is fetched for.
#[derive(Clone)]
pub(super) struct Purpose {
    pub(super) plan: Arc<Composition>,
    pub(super) index: usize,
}

impl Purpose {
    pub(super) fn branch(&self) -> &Branch {
        // An index is made by going through the branches of this very plan.
        &self.plan.branches[self.index]
    }
}

impl Parts {
    /// The result of one call of a branch. Its bytes stay counted in `room`.
    ///
    /// # Errors
    /// The call failed, and nothing that is kept may stand in.
    pub(super) async fn fetch(
        self: &Arc<Self>,
        purpose: &Purpose,
        errand: Errand,
        room: &Room,
        times: Times,
    ) -> Result<Fetched, Failure> {
        let Some(key) = errand.kept.clone() else {
            let value = self.ask(purpose, errand, room, times).await?;
            return Ok(Fetched { value, origin: Origin::Service });
        };
        let found = match self.cache.find(&key, Instant::now()) {
            Found::Fresh(value) => Some((value, CacheUse::Hit)),
            Found::Stale { value, renew } => {
                if renew {
                    self.renew(purpose.clone(), errand.again(), key.clone());
                }
                Some((value, CacheUse::Stale))
            }
            Found::Old | Found::Nothing => None,
        };
        if let Some((value, used)) = found {
            self.metrics.cached(used);
            hold(&value, room, times).await?;
            return Ok(Fetched { value, origin: Origin::Cache });
        }
        let failure = match self.ask(purpose, errand, room, times).await {
            Ok(value) => {
                self.metrics.cached(CacheUse::Miss);
                return Ok(Fetched { value, origin: Origin::Service });
            }
            Err(failure) => failure,
        };
        match self.in_place_of(&failure, &key) {
            Some(value) => {
                self.metrics.cached(CacheUse::Error);
                hold(&value, room, times).await?;
                Ok(Fetched { value, origin: Origin::Stale })
            }
            None => {
                self.metrics.cached(CacheUse::Miss);
                Err(failure)
            }
        }
    }

    /// What may stand in for a failure. What a service has taken back is forgotten.
    fn in_place_of(&self, failure: &Failure, key: &Key) -> Option<Checked> {
        if failure.is_trouble() {
            return self.cache.for_error(key, Instant::now());
        }
        if failure.status().is_some() {
            self.cache.forget(key);
        }
        None
    }

    /// Calls the service, or waits for an equal call that is under way.
    async fn ask(
        self: &Arc<Self>,
        purpose: &Purpose,
        errand: Errand,
        room: &Room,
        times: Times,
    ) -> Result<Checked, Failure> {
        let now = Instant::now();
        if now >= times.ends() {
            return Err(Failure::Timeout);
        }
        let Errand { kept, .. } = &errand;
        let kept = kept.clone();
        let caller = self.caller.clone();
        let mut flight = self.flights.call(errand.flight_key(), times.ends() - now, move |gate| {
            // The branch's own limit counts here, not that of the answer: it is the service's failure if this one is
            // missed, and others may have joined who have more time.
            async move { caller.call(&errand.call, &gate, times).await.and_then(received) }.boxed()
        });
        if flight.joined {
            self.metrics.joined.inc();
        }
        let gate = flight.gate.clone();
        let mut counted = Counted::new(room);
        let waited = timeout_at(times.ends(), async {
            let landed = attend(flight.landing(), &gate, &mut counted).await?;
            if let Ok(received) = &landed {
                counted.reach(received.value.bytes().len()).await?;
            }
            Ok::<_, TooMuch>(landed)
        });
        let received = match waited.await {
            Ok(Ok(landed)) => landed?,
            Ok(Err(TooMuch)) => return Err(Failure::AnswerTooLarge),
            Err(_) if counted.waits() => return Err(Failure::Memory),
            Err(_) => return Err(Failure::Timeout),
        };
        let value = shaped(purpose.branch().shape.as_ref(), &received.value)?;
        counted.keep();
        if let Some(key) = kept.filter(|_| !flight.joined) {
            self.keep(purpose.branch(), key, &received, &value);
        }
        Ok(value)
    }

    fn keep(&self, branch: &Branch, key: Key, received: &Received, value: &Checked) {
        let settings = branch.cache.as_ref();
        let Some(freshness) = settings.and_then(|settings| freshness(settings, &received.headers)) else {
            return;
        };
        let value = compact(value, received.value.bytes());
        self.cache.keep(key, value, freshness, Instant::now());
        self.metrics.cache_bytes.set(i64::try_from(self.cache.bytes()).unwrap_or(i64::MAX));
    }

    /// Fetches a result anew while the stale one is used (RFC 5861, section 3). Goes on if the client leaves; it has the
    /// branch's whole time, and room of its own.
    fn renew(self: &Arc<Self>, purpose: Purpose, errand: Errand, key: Key) {
        let Ok(permit) = self.renewals.clone().try_acquire_owned() else {
            self.cache.not_renewed(&key);
            return;
        };
        let parts = self.clone();
        tokio::spawn(async move {
            let room = parts.memory.room(purpose.plan.bytes_max);
            let ends = Instant::now() + purpose.branch().timeout;
            let times = Times { branch: ends, answer: ends };
            if let Err(failure) = parts.ask(&purpose, errand, &room, times).await {
                parts.in_place_of(&failure, &key);
            }
            // Also after a success that may not be kept: the old one stays, and is tried again.
            parts.cache.not_renewed(&key);
            drop(permit);
        });
    }
}

/// Counts a value that was not fetched, as far as there is time for that.
pub(super) async fn hold(value: &Checked, room: &Room, times: Times) -> Result<(), Failure> {
    let mut counted = Counted::new(room);
    match timeout_at(times.ends(), counted.reach(value.bytes().len())).await {
        Ok(Ok(())) => {
            counted.keep();
            Ok(())
        }
        Ok(Err(TooMuch)) => Err(Failure::AnswerTooLarge),
        Err(_) => Err(Failure::Memory),
    }
}

/// What the branch makes of a result.
pub(super) fn shaped(shape: Option<&Shape>, value: &Checked) -> Result<Checked, Failure> {
    let Some(shape) = shape else { return Ok(value.clone()) };
    shape.apply(value).map_err(|error| match error {
        ShapeError::Missing(_) => Failure::MissingValue,
        ShapeError::NoMembers(_) | ShapeError::Taken(_) => Failure::Shape,
    })
}

/// A value to keep: a small part of a large body is copied, so that it does not keep all of it.
fn compact(value: &Checked, body: &Bytes) -> Checked {
    let bytes = value.bytes();
    let shares = body.as_ptr_range().contains(&bytes.as_ptr());
    if shares && bytes.len() < body.len() / 4 * 3 { value.detached() } else { value.clone() }
}
