//! What a filter is given while it is built from its configuration.

use std::any::Any;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use prometheus::Registry as MetricRegistry;
use sallyport_config::{Diagnostic, Location, Report};

use sallyport_identity::Issuers;

/// The surroundings of a filter that is being built. Errors go to `report`; `None` from a build means that at
/// least one was reported.
pub struct Build<'a> {
    /// Where errors go.
    pub report: &'a mut Report,
    /// Where the filter stands in its file.
    pub at: Location,
    /// The chain or route that lists the filter, such as `chain user` or `route GET /v1/batches`.
    pub scope: &'a str,
    /// The issuers of the configuration.
    pub issuers: &'a Issuers,
    /// State that outlives a reload.
    pub kept: &'a Kept,
    /// Where a filter registers metrics of its own; do it through `kept`, so that it is done once.
    pub metrics: &'a MetricRegistry,
}

impl Build<'_> {
    /// Reports what is wrong at this place, to which a hint can be added. The build then answers `None`.
    pub fn error(&mut self, at: Location, message: impl Into<String>) -> &mut Diagnostic {
        self.report.error(at, message)
    }
}

/// State that outlives a reload: limits, caches, metrics. A plan is built with the [next](Kept::next) of the running
/// one's, and then told so with [`Kept::built`]; what it did not ask for is dropped with the old plan, except what is
/// there [once](Kept::once).
#[derive(Default)]
pub struct Kept {
    before: States,
    now: Mutex<States>,
    once: Arc<Mutex<States>>,
}

type States = HashMap<String, Arc<dyn Any + Send + Sync>>;

impl Kept {
    /// The state to build the next plan with, knowing what this one kept.
    pub fn next(&self) -> Kept {
        let now = self.now.lock().unwrap_or_else(PoisonError::into_inner);
        Kept { before: now.clone(), now: Mutex::default(), once: self.once.clone() }
    }

    /// Ends the building of a plan: what it did not ask for is dropped with the plan before it.
    pub fn built(&mut self) {
        self.before.clear();
    }

    /// The state under `key`: the running plan's if it has one of this type, else a new one. Put everything in the
    /// key that makes two states differ: the kind, the name, and the settings under which it may not be shared.
    pub fn keep<T: Send + Sync + 'static>(&self, key: &str, make: impl FnOnce() -> T) -> Arc<T> {
        let mut now = self.now.lock().unwrap_or_else(PoisonError::into_inner);
        let found = now.get(key).or_else(|| self.before.get(key)).cloned();
        let state = found.and_then(|any| any.downcast::<T>().ok()).unwrap_or_else(|| Arc::new(make()));
        now.insert(key.to_owned(), state.clone());
        state
    }

    /// The state under `key`, made at most once in the life of the process, even when a plan in between does not ask
    /// for it or is refused. For metric families: registering one a second time fails.
    pub fn once<T: Send + Sync + 'static>(&self, key: &str, make: impl FnOnce() -> T) -> Arc<T> {
        let mut once = self.once.lock().unwrap_or_else(PoisonError::into_inner);
        let found = once.get(key).cloned().and_then(|any| any.downcast::<T>().ok());
        let state = found.unwrap_or_else(|| Arc::new(make()));
        once.insert(key.to_owned(), state.clone());
        state
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn state_survives_only_while_every_plan_asks_for_it() {
        let first = Kept::default();
        let state = first.keep("a", || 1);
        let second = first.next();
        assert!(Arc::ptr_eq(&state, &second.keep("a", || 2)));
        let mut third = second.next();
        third.built();
        drop((first, second));
        assert_eq!(Arc::strong_count(&state), 1, "nothing else holds it");
        assert_eq!(*third.next().keep("a", || 3), 3);
    }

    #[test]
    fn what_is_there_once_survives_plans_that_do_not_ask_and_plans_that_are_refused() {
        let running = Kept::default();
        let refused = running.next();
        let metrics = refused.once("metrics", || 1);
        drop(refused);
        assert!(Arc::ptr_eq(&metrics, &running.next().next().once("metrics", || 2)));
    }

    #[test]
    fn another_type_under_the_same_key_is_another_state() {
        let kept = Kept::default();
        assert_eq!(*kept.keep("a", || 1u8), 1);
        assert_eq!(*kept.keep("a", || 2u16), 2);
    }
}
