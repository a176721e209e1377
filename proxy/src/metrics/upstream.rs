//! The metrics of one upstream.

use std::sync::{Arc, OnceLock};

use prometheus::IntCounter;

use super::Metrics;

/// How an exchange with an upstream ended, for the label `outcome`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It answered.
    Ok,
    /// It answered with a status of 5xx.
    ServerError,
    /// No connection was made.
    Connect,
    /// A time limit ran out.
    Timeout,
    /// The connection broke, or what came was not HTTP.
    Broken,
    /// No target could be picked.
    Unavailable,
    /// The client or a limit of the edge broke it off.
    Abandoned,
}

impl Outcome {
    const COUNT: usize = Outcome::Abandoned as usize + 1;

    fn as_str(self) -> &'static str {
        match self {
            Outcome::Ok => "ok",
            Outcome::ServerError => "server_error",
            Outcome::Connect => "connect",
            Outcome::Timeout => "timeout",
            Outcome::Broken => "broken",
            Outcome::Unavailable => "unavailable",
            Outcome::Abandoned => "abandoned",
        }
    }
}

/// Counters of an upstream, looked up by their labels once. Not before they are needed: what has never happened has no
/// series.
pub(crate) struct UpstreamMetrics {
    name: Arc<str>,
    outcomes: [OnceLock<IntCounter>; Outcome::COUNT],
    retries: OnceLock<IntCounter>,
}

impl UpstreamMetrics {
    /// The counters of the upstream of this name.
    pub(crate) fn new(name: &Arc<str>) -> Self {
        UpstreamMetrics { name: name.clone(), outcomes: Default::default(), retries: OnceLock::new() }
    }

    /// Counts the end of an exchange.
    pub(crate) fn observe(&self, families: &Metrics, outcome: Outcome, retries: u32) {
        let name = &*self.name;
        let counter = &self.outcomes[outcome as usize];
        counter.get_or_init(|| families.upstream_outcomes.with_label_values(&[name, outcome.as_str()])).inc();
        if retries > 0 {
            self.retries
                .get_or_init(|| families.upstream_retries.with_label_values(&[name]))
                .inc_by(u64::from(retries));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_has_happened_has_a_series() {
        let families = Metrics::new().unwrap();
        // Of two plans, one after the other.
        let (before, after) = (UpstreamMetrics::new(&"api".into()), UpstreamMetrics::new(&"api".into()));
        before.observe(&families, Outcome::Ok, 0);
        before.observe(&families, Outcome::Ok, 0);
        after.observe(&families, Outcome::Ok, 2);
        after.observe(&families, Outcome::ServerError, 0);
        UpstreamMetrics::new(&"web".into()).observe(&families, Outcome::Abandoned, 1);
        let exposition = families.exposition();
        let of_upstreams = |line: &&str| line.starts_with("sallyport_upstream_");
        let lines: Vec<&str> = exposition.lines().filter(of_upstreams).collect();
        assert_eq!(
            lines,
            [
                r#"sallyport_upstream_outcomes_total{outcome="abandoned",upstream="web"} 1"#,
                r#"sallyport_upstream_outcomes_total{outcome="ok",upstream="api"} 3"#,
                r#"sallyport_upstream_outcomes_total{outcome="server_error",upstream="api"} 1"#,
                r#"sallyport_upstream_retries_total{upstream="api"} 2"#,
                r#"sallyport_upstream_retries_total{upstream="web"} 1"#,
            ]
        );
    }
}
