//! The edge's own metrics: every family, its labels and their bounds, in one place.
//!
//! Labels hold names of the configuration and fixed words, never anything a client sends. Filters register theirs
//! themselves, in the same registry.

mod upstream;

use std::sync::Arc;
use std::time::Duration;

use prometheus::{
    Encoder, Gauge, GaugeVec, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge,
    IntGaugeVec, Opts, Registry, TextEncoder,
};

pub(crate) use upstream::{Outcome, UpstreamMetrics};

use crate::sidecar::{Ended, Reason};

/// Routes beyond this many share the label `_other`, so that a configuration with 10,000 routes does not make
/// 200,000 time series.
const ROUTE_LABELS_MAX: usize = 1_000;
const CLASSES: [&str; 6] = ["none", "1xx", "2xx", "3xx", "4xx", "5xx"];
const LATENCY_SECONDS: [f64; 12] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0];

/// Every family of the edge.
pub(crate) struct Metrics {
    pub(crate) registry: Registry,
    /// What sidecars in this process read and send.
    pub(crate) kafka: sallyport_kafka::Metrics,
    requests: IntCounterVec,
    latency: HistogramVec,
    received: IntCounterVec,
    sent: IntCounterVec,
    tunnels_open: IntGaugeVec,
    tunnels: IntCounterVec,
    tunnel_bytes: IntCounterVec,
    pub(crate) in_flight: IntGauge,
    pub(crate) problems: IntCounterVec,
    pub(crate) decisions: IntCounterVec,
    upstream_outcomes: IntCounterVec,
    upstream_retries: IntCounterVec,
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
    tunnels: Option<TunnelMetrics>,
}

/// What a route that carries WebSockets has beside.
struct TunnelMetrics {
    open: IntGauge,
    ended: [IntCounter; Reason::ALL.len()],
    received: IntCounter,
    sent: IntCounter,
}

/// Counts a tunnel as open while it lives.
pub(crate) struct OpenTunnel(IntGauge);

impl Drop for OpenTunnel {
    fn drop(&mut self) {
        self.0.dec();
    }
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
            tunnels_open: family.gauges("tunnels", "Open WebSocket tunnels.", &["route"])?,
            tunnels: family.counters(
                "tunnels_total",
                "WebSocket tunnels that have ended, by how: client, upstream, idle, age, drain or error.",
                &["route", "ended"],
            )?,
            tunnel_bytes: family.counters(
                "tunnel_bytes_total",
                "Bytes of WebSocket tunnels that have ended: received from clients, sent to clients.",
                &["route", "direction"],
            )?,
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
            kafka: sallyport_kafka::Metrics::register(&registry)?,
            registry: registry.clone(),
        };
        Ok(Arc::new(metrics))
    }

    /// The metrics of a route. `index` is its place in the plan, `tunnels` whether it may carry WebSockets.
    pub(crate) fn route(&self, index: usize, name: &str, tunnels: bool) -> RouteMetrics {
        let label = if index < ROUTE_LABELS_MAX { name } else { "_other" };
        RouteMetrics {
            requests: CLASSES.map(|class| self.requests.with_label_values(&[label, class])),
            latency: self.latency.with_label_values(&[label]),
            received: self.received.with_label_values(&[label]),
            sent: self.sent.with_label_values(&[label]),
            tunnels: tunnels.then(|| TunnelMetrics {
                open: self.tunnels_open.with_label_values(&[label]),
                ended: Reason::ALL.map(|reason| self.tunnels.with_label_values(&[label, reason.as_str()])),
                received: self.tunnel_bytes.with_label_values(&[label, "received"]),
                sent: self.tunnel_bytes.with_label_values(&[label, "sent"]),
            }),
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
        let _ = self.tunnels_open.remove_label_values(&[name]);
        for reason in Reason::ALL {
            let _ = self.tunnels.remove_label_values(&[name, reason.as_str()]);
        }
        for direction in ["received", "sent"] {
            let _ = self.tunnel_bytes.remove_label_values(&[name, direction]);
        }
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

impl RouteMetrics {
    /// Counts an exchange that has become a tunnel; the time is that of the opening.
    pub(crate) fn opened(&self, took: Duration) {
        self.observe(Some(101), took, 0, 0);
    }

    /// A tunnel that begins.
    pub(crate) fn tunnel(&self) -> Option<OpenTunnel> {
        let open = &self.tunnels.as_ref()?.open;
        open.inc();
        Some(OpenTunnel(open.clone()))
    }

    /// Counts a tunnel that has ended.
    pub(crate) fn tunnel_ended(&self, ended: &Ended) {
        let Some(tunnels) = &self.tunnels else { return };
        let words = Reason::ALL.iter().zip(&tunnels.ended);
        for (_, counter) in words.filter(|(reason, _)| **reason == ended.reason) {
            counter.inc();
        }
        tunnels.received.inc_by(ended.received_bytes);
        tunnels.sent.inc_by(ended.sent_bytes);
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
