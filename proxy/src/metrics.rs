//! The edge's own metrics: every family, its labels and their bounds, in one place.
//!
//! Labels hold names of the configuration and fixed words, never anything a client sends. Filters register theirs
//! themselves, in the same registry.

use std::sync::Arc;
use std::time::Duration;

use prometheus::{
    Encoder, Gauge, GaugeVec, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge,
    IntGaugeVec, Opts, Registry, TextEncoder,
};

/// Routes beyond this many share the label `_other`, so that a configuration with 10,000 routes does not make
/// 200,000 time series.
const ROUTE_LABELS_MAX: usize = 1_000;
const CLASSES: [&str; 6] = ["none", "1xx", "2xx", "3xx", "4xx", "5xx"];
const LATENCY_SECONDS: [f64; 12] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0];

/// Every family of the edge.
pub(crate) struct Metrics {
    pub(crate) registry: Registry,
    requests: IntCounterVec,
    latency: HistogramVec,
    received: IntCounterVec,
    sent: IntCounterVec,
    pub(crate) in_flight: IntGauge,
    pub(crate) problems: IntCounterVec,
    pub(crate) decisions: IntCounterVec,
    pub(crate) upstream_outcomes: IntCounterVec,
    pub(crate) upstream_retries: IntCounterVec,
    pub(crate) connections: IntGaugeVec,
    pub(crate) connections_refused: IntCounterVec,
    pub(crate) handshakes_failed: IntCounterVec,
    pub(crate) plan_generation: IntGauge,
    pub(crate) plan_loaded: Gauge,
    pub(crate) reloads: IntCounterVec,
    pub(crate) certificate_expiry: GaugeVec,
    pub(crate) log_dropped: IntCounter,
}

/// The metrics of one route, resolved at load.
pub(crate) struct RouteMetrics {
    requests: [IntCounter; CLASSES.len()],
    latency: Histogram,
    received: IntCounter,
    sent: IntCounter,
}

impl Metrics {
    /// Registers every family.
    pub(crate) fn new() -> prometheus::Result<Arc<Metrics>> {
        let registry = Registry::new();
        let family = Families(&registry);
        let metrics = Metrics {
            requests: family.counters(
                "requests_total",
                "Exchanges ended, by route and class of status.",
                &["route", "class"],
            )?,
            latency: family.histograms(
                "request_seconds",
                "Time from the complete head of a request to the end of its exchange.",
                &["route"],
            )?,
            received: family.counters("request_body_bytes_total", "Bytes of request bodies.", &["route"])?,
            sent: family.counters("response_body_bytes_total", "Bytes of response bodies.", &["route"])?,
            in_flight: family.gauge("requests_in_flight", "Exchanges under way.")?,
            problems: family.counters(
                "problems_total",
                "Answers the edge made because something was wrong, by type.",
                &["problem"],
            )?,
            decisions: family.counters(
                "filter_decisions_total",
                "What filters decided.",
                &["filter", "decision"],
            )?,
            upstream_outcomes: family.counters(
                "upstream_outcomes_total",
                "How exchanges with upstreams ended: ok, server_error, connect, timeout, broken, unavailable, or abandoned by client or edge.",
                &["upstream", "outcome"],
            )?,
            upstream_retries: family.counters(
                "upstream_retries_total",
                "Tries after the first.",
                &["upstream"],
            )?,
            connections: family.gauges("connections", "Open client connections.", &["listener"])?,
            connections_refused: family.counters(
                "connections_refused_total",
                "Connections closed at once because a cap was reached: the listener's or the client's.",
                &["listener", "cap"],
            )?,
            handshakes_failed: family.counters(
                "tls_handshakes_failed_total",
                "TLS handshakes that failed.",
                &["listener"],
            )?,
            plan_generation: family.gauge(
                "plan_generation",
                "How often a configuration was put into force, this start included.",
            )?,
            plan_loaded: family.gauge_f64(
                "plan_loaded_timestamp_seconds",
                "When the running configuration was put into force.",
            )?,
            reloads: family.counters(
                "reloads_total",
                "Attempts to load the configuration again.",
                &["result"],
            )?,
            certificate_expiry: family.gauges_f64(
                "certificate_expiry_timestamp_seconds",
                "When a certificate ends.",
                &["listener", "name"],
            )?,
            log_dropped: family.counter(
                "access_log_dropped_total",
                "Access log lines dropped because the disk or pipe was too slow.",
            )?,
            registry: registry.clone(),
        };
        Ok(Arc::new(metrics))
    }

    /// The metrics of a route. `index` is its place in the plan.
    pub(crate) fn route(&self, index: usize, name: &str) -> RouteMetrics {
        let label = if index < ROUTE_LABELS_MAX { name } else { "_other" };
        RouteMetrics {
            requests: CLASSES.map(|class| self.requests.with_label_values(&[label, class])),
            latency: self.latency.with_label_values(&[label]),
            received: self.received.with_label_values(&[label]),
            sent: self.sent.with_label_values(&[label]),
        }
    }

    /// Removes the series of a route that is no longer there.
    pub(crate) fn forget_route(&self, name: &str) {
        for class in CLASSES {
            let _ = self.requests.remove_label_values(&[name, class]);
        }
        for family in [&self.received, &self.sent] {
            let _ = family.remove_label_values(&[name]);
        }
        let _ = self.latency.remove_label_values(&[name]);
    }

    /// The exposition in Prometheus' text format.
    pub(crate) fn exposition(&self) -> String {
        let mut text = Vec::new();
        // Writing to memory fails only on a family without metrics, which `gather` leaves out.
        let _ = TextEncoder::new().encode(&self.registry.gather(), &mut text);
        String::from_utf8(text).unwrap_or_default()
    }
}

impl RouteMetrics {
    /// Counts one exchange.
    pub(crate) fn observe(&self, status: Option<u16>, took: Duration, received: u64, sent: u64) {
        let class = status.map_or(0, |status| usize::from(status / 100).min(CLASSES.len() - 1));
        self.requests[class].inc();
        self.latency.observe(took.as_secs_f64());
        if received > 0 {
            self.received.inc_by(received);
        }
        if sent > 0 {
            self.sent.inc_by(sent);
        }
    }
}

/// Makes families under the common prefix.
struct Families<'a>(&'a Registry);

impl Families<'_> {
    fn options(name: &str, help: &str) -> Opts {
        Opts::new(format!("sallyport_{name}"), help)
    }

    fn counter(&self, name: &str, help: &str) -> prometheus::Result<IntCounter> {
        let counter = IntCounter::with_opts(Self::options(name, help))?;
        self.0.register(Box::new(counter.clone()))?;
        Ok(counter)
    }

    fn counters(&self, name: &str, help: &str, labels: &[&str]) -> prometheus::Result<IntCounterVec> {
        let counters = IntCounterVec::new(Self::options(name, help), labels)?;
        self.0.register(Box::new(counters.clone()))?;
        Ok(counters)
    }

    fn gauge(&self, name: &str, help: &str) -> prometheus::Result<IntGauge> {
        let gauge = IntGauge::with_opts(Self::options(name, help))?;
        self.0.register(Box::new(gauge.clone()))?;
        Ok(gauge)
    }

    fn gauge_f64(&self, name: &str, help: &str) -> prometheus::Result<Gauge> {
        let gauge = Gauge::with_opts(Self::options(name, help))?;
        self.0.register(Box::new(gauge.clone()))?;
        Ok(gauge)
    }

    fn gauges(&self, name: &str, help: &str, labels: &[&str]) -> prometheus::Result<IntGaugeVec> {
        let gauges = IntGaugeVec::new(Self::options(name, help), labels)?;
        self.0.register(Box::new(gauges.clone()))?;
        Ok(gauges)
    }

    fn gauges_f64(&self, name: &str, help: &str, labels: &[&str]) -> prometheus::Result<GaugeVec> {
        let gauges = GaugeVec::new(Self::options(name, help), labels)?;
        self.0.register(Box::new(gauges.clone()))?;
        Ok(gauges)
    }

    fn histograms(&self, name: &str, help: &str, labels: &[&str]) -> prometheus::Result<HistogramVec> {
        let options = HistogramOpts::from(Self::options(name, help)).buckets(LATENCY_SECONDS.to_vec());
        let histograms = HistogramVec::new(options, labels)?;
        self.0.register(Box::new(histograms.clone()))?;
        Ok(histograms)
    }
}
