//! What is counted about views. Labels are names of views and words from here.

use prometheus::{GaugeVec, HistogramOpts, HistogramVec, IntCounterVec, IntGaugeVec, Opts, Registry};

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
}
