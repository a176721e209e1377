//! What compositions count. Labels are names of the configuration and fixed words.

use std::sync::Arc;
use std::time::Duration;

use prometheus::{
    Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, Opts, Registry,
};

use super::failure::Failure;
use super::memory::MemoryGauges;

/// Branches beyond this many share the labels `_other`, so that a large configuration does not make a time series
/// for everything.
const BRANCH_LABELS_MAX: usize = 1_000;
const OTHER: &str = "_other";
const SECONDS: [f64; 12] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0];
/// The result of a branch that has one.
const OK: &str = "ok";
/// The result of a branch whose condition did not hold.
const LEFT_OUT: &str = "left-out";

/// The metrics of all compositions.
#[derive(Debug, Clone)]
pub struct ComposeMetrics {
    seconds: HistogramVec,
    results: IntCounterVec,
    answers: IntCounterVec,
    cache: IntCounterVec,
    pub(super) cache_bytes: IntGauge,
    pub(super) joined: IntCounter,
    pub(super) cancelled: IntCounter,
    pub(super) memory: MemoryGauges,
}

/// Those of one branch, resolved at load.
#[derive(Debug, Clone)]
pub(super) struct BranchMetrics {
    pub(super) seconds: Histogram,
    ok: IntCounter,
    results: IntCounterVec,
    labels: [Arc<str>; 2],
}

/// What a cache was good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum CacheUse {
    /// A fresh result.
    Hit,
    /// A stale one, while a new one is fetched.
    Stale,
    /// One that stands in for a failure.
    Error,
    /// Nothing.
    Miss,
}

impl ComposeMetrics {
    /// Registers every family.
    ///
    /// # Errors
    /// A name is taken in this registry.
    pub fn new(registry: &Registry) -> prometheus::Result<Self> {
        let gauge = |name: &str, help: &str| -> prometheus::Result<IntGauge> {
            let gauge = IntGauge::new(name, help)?;
            registry.register(Box::new(gauge.clone())).map(|()| gauge)
        };
        let counter = |name: &str, help: &str| -> prometheus::Result<IntCounter> {
            let counter = IntCounter::new(name, help)?;
            registry.register(Box::new(counter.clone())).map(|()| counter)
        };
        let counters = |name: &str, help: &str, labels: &[&str]| -> prometheus::Result<IntCounterVec> {
            let counters = IntCounterVec::new(Opts::new(name, help), labels)?;
            registry.register(Box::new(counters.clone())).map(|()| counters)
        };
        let seconds = HistogramVec::new(
            HistogramOpts::new(
                "sallyport_aggregate_branch_seconds",
                "Time of a branch, from its start to its result, retries and waits included.",
            )
            .buckets(SECONDS.to_vec()),
            &["route", "branch"],
        )?;
        registry.register(Box::new(seconds.clone()))?;
        Ok(ComposeMetrics {
            seconds,
            results: counters(
                "sallyport_aggregate_branches_total",
                "Branches ended, by result: ok, left-out, or why they failed.",
                &["route", "branch", "result"],
            )?,
            answers: counters(
                "sallyport_aggregate_answers_total",
                "Composed answers, by result: complete, incomplete, failed, or refused for lack of a place.",
                &["route", "result"],
            )?,
            cache: counters(
                "sallyport_aggregate_cache_total",
                "Calls of branches with a cache, by what it was good for: hit, stale, error (a failure was covered) or miss.",
                &["result"],
            )?,
            cache_bytes: gauge("sallyport_aggregate_cache_bytes", "Bytes of results that are kept.")?,
            joined: counter(
                "sallyport_aggregate_joined_total",
                "Calls that were not made because an equal one was under way.",
            )?,
            cancelled: counter(
                "sallyport_aggregate_cancelled_total",
                "Compositions that were given up because the client had left.",
            )?,
            memory: MemoryGauges {
                in_flight: gauge("sallyport_aggregate_in_flight", "Compositions under way.")?,
                held: gauge(
                    "sallyport_aggregate_memory_bytes",
                    "Bytes that large compositions have taken from the pool.",
                )?,
                waiting: gauge("sallyport_aggregate_memory_waiting", "Branches that wait for the pool.")?,
            },
        })
    }

    /// The metrics of a branch. `index` is its place among all branches of the configuration.
    pub(super) fn branch(&self, index: usize, route: &Arc<str>, branch: &Arc<str>) -> BranchMetrics {
        let labels = match index {
            0..BRANCH_LABELS_MAX => [route.clone(), branch.clone()],
            _ => [OTHER.into(), OTHER.into()],
        };
        BranchMetrics {
            seconds: self.seconds.with_label_values(&labels),
            ok: self.results.with_label_values(&[&*labels[0], &*labels[1], OK]),
            results: self.results.clone(),
            labels,
        }
    }

    /// Removes the series of a branch that is no longer there.
    pub fn forget(&self, route: &str, branch: &str) {
        let _ = self.seconds.remove_label_values(&[route, branch]);
        for result in Failure::REASONS.into_iter().chain([OK, LEFT_OUT]) {
            let _ = self.results.remove_label_values(&[route, branch, result]);
        }
    }

    /// Counts an answer.
    pub(super) fn answered(&self, route: &str, result: &'static str) {
        self.answers.with_label_values(&[route, result]).inc();
    }

    /// Counts what the cache was good for.
    pub(super) fn cached(&self, cache: CacheUse) {
        let result = match cache {
            CacheUse::Hit => "hit",
            CacheUse::Stale => "stale",
            CacheUse::Error => "error",
            CacheUse::Miss => "miss",
        };
        self.cache.with_label_values(&[result]).inc();
    }
}

impl BranchMetrics {
    /// Counts a branch that has a result.
    pub(super) fn ok(&self, took: Duration) {
        self.seconds.observe(took.as_secs_f64());
        self.ok.inc();
    }

    /// Counts a branch that failed.
    pub(super) fn failed(&self, took: Duration, failure: &Failure) {
        self.seconds.observe(took.as_secs_f64());
        self.other(failure.reason());
    }

    /// Counts a branch that was not asked.
    pub(super) fn left_out(&self) {
        self.other(LEFT_OUT);
    }

    fn other(&self, result: &'static str) {
        self.results.with_label_values(&[&*self.labels[0], &*self.labels[1], result]).inc();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_branch_that_is_gone_leaves_no_series() {
        let registry = Registry::new();
        let metrics = ComposeMetrics::new(&registry).unwrap();
        let branch = metrics.branch(0, &Arc::from("GET /a"), &Arc::from("one"));
        branch.ok(Duration::from_millis(3));
        branch.failed(Duration::from_millis(3), &Failure::Timeout);
        branch.left_out();
        let series = || registry.gather().iter().map(|family| family.get_metric().len()).sum::<usize>();
        let with = series();
        metrics.forget("GET /a", "one");
        assert_eq!(with - series(), 4, "a histogram and three results");
        assert!(ComposeMetrics::new(&registry).is_err(), "names are taken once");
    }

    #[test]
    fn a_large_configuration_shares_labels() {
        let registry = Registry::new();
        let metrics = ComposeMetrics::new(&registry).unwrap();
        for index in BRANCH_LABELS_MAX..BRANCH_LABELS_MAX + 3 {
            metrics.branch(index, &Arc::from(format!("r{index}")), &Arc::from("b")).ok(Duration::ZERO);
        }
        let families = registry.gather();
        let results =
            families.iter().find(|family| family.name() == "sallyport_aggregate_branches_total").unwrap();
        assert_eq!(results.get_metric().len(), 1);
    }
}
