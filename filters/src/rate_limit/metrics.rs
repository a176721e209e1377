//! What an operator can watch of limits. One family for the process, a series for each limit's name.

use prometheus::{IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry};

use crate::build::Build;

/// The families, made once in the life of the process.
struct Families {
    decisions: IntCounterVec,
    keys: IntGaugeVec,
    evictions: IntCounterVec,
}

/// The series of one limit.
pub(super) struct Metrics {
    /// Requests that the limit let pass.
    pub(super) allowed: IntCounter,
    /// Requests that it refused.
    pub(super) refused: IntCounter,
    /// Requests that it would have refused if it were not in shadow mode.
    pub(super) shadow: IntCounter,
    /// Keys that are remembered.
    pub(super) keys: IntGauge,
    /// Keys that were forgotten while in use, because `keys_max` was reached.
    pub(super) evictions: IntCounter,
}

impl Metrics {
    /// The series of the limit of this name. `None` has been reported.
    pub(super) fn of(limit: &str, context: &mut Build<'_>) -> Option<Metrics> {
        let registry = context.metrics;
        let families = context.kept.once("rate_limit metrics", || Families::register(registry));
        let Some(families) = families.as_ref() else {
            context.report.error(context.at, "the metrics of `rate_limit` could not be registered");
            return None;
        };
        Some(Metrics {
            allowed: families.decisions.with_label_values(&[limit, "allow"]),
            refused: families.decisions.with_label_values(&[limit, "refuse"]),
            shadow: families.decisions.with_label_values(&[limit, "shadow"]),
            keys: families.keys.with_label_values(&[limit]),
            evictions: families.evictions.with_label_values(&[limit]),
        })
    }
}

impl Families {
    fn register(registry: &Registry) -> Option<Families> {
        let decisions = Opts::new(
            "sallyport_rate_limit_decisions_total",
            "Decisions of rate limits: allow, refuse, or shadow (would have refused, but only counts)",
        );
        let keys = Opts::new("sallyport_rate_limit_keys", "Keys that rate limits remember");
        let evictions = Opts::new(
            "sallyport_rate_limit_evictions_total",
            "Keys that rate limits forgot while in use, because keys_max was reached",
        );
        let families = Families {
            decisions: IntCounterVec::new(decisions, &["limit", "decision"]).ok()?,
            keys: IntGaugeVec::new(keys, &["limit"]).ok()?,
            evictions: IntCounterVec::new(evictions, &["limit"]).ok()?,
        };
        registry.register(Box::new(families.decisions.clone())).ok()?;
        registry.register(Box::new(families.keys.clone())).ok()?;
        registry.register(Box::new(families.evictions.clone())).ok()?;
        Some(families)
    }
}

#[cfg(test)]
pub(super) fn decisions(kept: &crate::build::Kept, limit: &str, decision: &str) -> u64 {
    let families = kept.once("rate_limit metrics", || None::<Families>);
    families.as_ref().as_ref().unwrap().decisions.with_label_values(&[limit, decision]).get()
}

#[cfg(test)]
pub(super) fn keys(kept: &crate::build::Kept, limit: &str) -> i64 {
    let families = kept.once("rate_limit metrics", || None::<Families>);
    families.as_ref().as_ref().unwrap().keys.with_label_values(&[limit]).get()
}
