//! What is counted about queries, for Prometheus: read where it is counted, when somebody asks.

use std::sync::Arc;

use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{Counter, CounterVec, IntGauge, Opts};

use super::query::Queries;

/// The figures of the queries of all views.
pub(super) struct QueryFigures {
    queries: Arc<Queries>,
    answered: CounterVec,
    hot_bytes: IntGauge,
}

impl QueryFigures {
    /// Figures of these queries; not registered yet.
    ///
    /// # Errors
    /// If a name cannot be one.
    pub(super) fn new(queries: Arc<Queries>) -> Result<QueryFigures, prometheus::Error> {
        let answered = Opts::new(
            "sallyport_view_queries_total",
            "Queries that could be meant, by where the answer was looked for in the end: `memory` or `store`.",
        );
        Ok(QueryFigures {
            queries,
            answered: CounterVec::new(answered, &["from"])?,
            hot_bytes: IntGauge::new(
                "sallyport_view_hot_bytes",
                "Bytes of answers that are kept in memory.",
            )?,
        })
    }

    fn answered(&self, from: &str, count: u64) {
        let counter: Counter = self.answered.with_label_values(&[from]);
        // A counter cannot be set. Whoever else collects meanwhile may see less, which the next time makes up for.
        counter.reset();
        counter.inc_by(count as f64);
    }
}

impl Collector for QueryFigures {
    fn desc(&self) -> Vec<&Desc> {
        self.answered.desc().into_iter().chain(self.hot_bytes.desc()).collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let (asked, from_memory) = self.queries.counts();
        self.answered("memory", from_memory);
        self.answered("store", asked.saturating_sub(from_memory));
        self.hot_bytes.set(i64::try_from(self.queries.hot_bytes()).unwrap_or(i64::MAX));
        self.answered.collect().into_iter().chain(self.hot_bytes.collect()).collect()
    }
}
