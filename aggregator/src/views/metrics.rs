//! What is counted about views. Labels are names of views and words from here.

use prometheus::{GaugeVec, HistogramOpts, HistogramVec, IntCounterVec, IntGaugeVec, Opts, Registry};

use super::batch::Outcome;
use super::poison::PoisonReason;

/// Why stores are built anew, as labels.
const REASONS: [&str; 3] = ["fold", "damage", "topic"];

/// The metrics of all views; clones count together.
#[derive(Debug, Clone)]
pub struct ViewMetrics {
    pub(super) rows: IntGaugeVec,
    pub(super) events: IntCounterVec,
    pub(super) commit: HistogramVec,
    pub(super) lag: IntGaugeVec,
    pub(super) progress: GaugeVec,
    pub(super) rebuilds: IntCounterVec,
    pub(super) errors: IntCounterVec,
}

impl ViewMetrics {
    /// Makes the metrics and registers them.
    ///
    /// # Errors
    ///
    /// If they are registered already.
    pub fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let of_view = ["view"];
        let opts = |name: &str, help: &str| Opts::new(format!("sallyport_view_{name}"), help);
        let buckets = vec![0.000_1, 0.000_3, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0];
        let commit =
            HistogramOpts::new("sallyport_view_commit_seconds", "Time to write a batch and commit it.");
        let metrics = ViewMetrics {
            rows: IntGaugeVec::new(opts("rows", "Rows, as of the last commit."), &of_view)?,
            events: IntCounterVec::new(
                opts(
                    "events_total",
                    "Records read, by what became of them; `poison_...` could not be folded.",
                ),
                &["view", "result"],
            )?,
            commit: HistogramVec::new(commit.buckets(buckets), &of_view)?,
            lag: IntGaugeVec::new(
                opts("lag", "Offsets between the last commit and the ends of the topics."),
                &of_view,
            )?,
            progress: GaugeVec::new(
                opts("rebuild_progress", "How much of what was there at the start is folded, 0 to 1."),
                &of_view,
            )?,
            rebuilds: IntCounterVec::new(
                opts("rebuilds_total", "Stores that were set aside and built anew, by reason."),
                &["view", "reason"],
            )?,
            errors: IntCounterVec::new(
                opts("store_errors_total", "Errors of a store after which it was opened again."),
                &of_view,
            )?,
        };
        registry.register(Box::new(metrics.rows.clone()))?;
        registry.register(Box::new(metrics.events.clone()))?;
        registry.register(Box::new(metrics.commit.clone()))?;
        registry.register(Box::new(metrics.lag.clone()))?;
        registry.register(Box::new(metrics.progress.clone()))?;
        registry.register(Box::new(metrics.rebuilds.clone()))?;
        registry.register(Box::new(metrics.errors.clone()))?;
        Ok(metrics)
    }
    /// Ends the series of a view that is kept no more.
    pub(super) fn forget(&self, view: &str) {
        // What was never counted is not there.
        let _ = self.rows.remove_label_values(&[view]);
        let _ = self.lag.remove_label_values(&[view]);
        let _ = self.progress.remove_label_values(&[view]);
        let _ = self.commit.remove_label_values(&[view]);
        let _ = self.errors.remove_label_values(&[view]);
        for reason in REASONS {
            let _ = self.rebuilds.remove_label_values(&[view, reason]);
        }
        let outcomes = Outcome::ALL.iter().map(|outcome| outcome.label().to_owned());
        let poison = PoisonReason::ALL.iter().map(|reason| format!("poison_{}", reason.label()));
        for result in outcomes.chain(poison) {
            let _ = self.events.remove_label_values(&[view, &*result]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_view_that_is_gone_leaves_no_series() {
        let registry = Registry::new();
        let metrics = ViewMetrics::register(&registry).unwrap();
        for view in ["gone", "stays"] {
            metrics.rows.with_label_values(&[view]).set(1);
            metrics.lag.with_label_values(&[view]).set(1);
            metrics.progress.with_label_values(&[view]).set(1.0);
            metrics.commit.with_label_values(&[view]).observe(1.0);
            metrics.errors.with_label_values(&[view]).inc();
            REASONS.iter().for_each(|reason| metrics.rebuilds.with_label_values(&[view, reason]).inc());
            metrics.events.with_label_values(&[view, "folded"]).inc();
            metrics.events.with_label_values(&[view, "poison_overflow"]).inc();
        }
        let series = || registry.gather().iter().map(|family| family.get_metric().len()).sum::<usize>();
        let both = series();
        metrics.forget("gone");
        assert_eq!(series() * 2, both);
        metrics.forget("never was");
        assert_eq!(series() * 2, both);
    }
}
