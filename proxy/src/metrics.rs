//! The edge's own metrics: every family, its labels and their bounds, in one place.
//!
//! Labels hold names of the configuration and fixed words, never anything a client sends. Filters register theirs
//! themselves, in the same registry.

mod route;
mod upstream;

use std::sync::Arc;

use prometheus::core::Describer as _;
use prometheus::{
    Encoder, Gauge, GaugeVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry, TextEncoder,
};

pub(crate) use route::{OpenTunnel, RouteMetrics};
pub(crate) use upstream::{Outcome, UpstreamMetrics};

use crate::sidecar::Reason;
use route::{RouteFamilies, TunnelMetrics};

/// Routes beyond this many share the label `_other`, so that a configuration with 10,000 routes does not make
/// 200,000 time series.
const ROUTE_LABELS_MAX: usize = 1_000;

/// Every family of the edge.
pub(crate) struct Metrics {
    pub(crate) registry: Registry,
    /// What sidecars in this process read and send.
    pub(crate) kafka: sallyport_kafka::Metrics,
    routes: RouteFamilies,
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

impl Metrics {
    /// Registers every family.
    pub(crate) fn new() -> prometheus::Result<Arc<Metrics>> {
        let registry = Registry::new();
        let family = Families(&registry);
        let metrics = Metrics {
            routes: family.routes()?,
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

    /// The metrics of a route; those before under the same label go on. `index` is its place in the plan, `tunnels` whether
    /// it may carry WebSockets.
    pub(crate) fn route(&self, index: usize, name: &str, tunnels: bool) -> Arc<RouteMetrics> {
        let label = if index < ROUTE_LABELS_MAX { name } else { "_other" };
        let route = self.routes.route(label);
        if tunnels {
            route.count_tunnels(|| TunnelMetrics {
                open: self.tunnels_open.with_label_values(&[label]),
                ended: Reason::ALL.map(|reason| self.tunnels.with_label_values(&[label, reason.as_str()])),
                received: self.tunnel_bytes.with_label_values(&[label, "received"]),
                sent: self.tunnel_bytes.with_label_values(&[label, "sent"]),
            });
        }
        route
    }

    /// Removes the series of a route that is no longer there.
    pub(crate) fn forget_route(&self, name: &str) {
        self.routes.forget(name);
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

    fn routes(&self) -> prometheus::Result<RouteFamilies> {
        let routes = RouteFamilies::new(|name, help, labels| {
            let labels = labels.iter().map(|label| (*label).to_owned()).collect();
            Self::options(name, help).variable_labels(labels).describe()
        })?;
        self.0.register(Box::new(routes.clone()))?;
        Ok(routes)
    }
}
