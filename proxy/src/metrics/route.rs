//! What is counted of each route: one block of numbers a route, and the families that they are shown as.
//!
//! A family of `prometheus` has an allocation for each number, with its labels and its help beside it: a dozen of them a
//! route, of which an exchange would touch five or six. Where thousands of routes are asked for in turn, none of that is in the
//! processor's cache. Of a block an exchange touches two lines, and names and help are put to it when somebody asks.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use prometheus::core::{Collector, Desc};
use prometheus::proto::{Bucket, Counter, Histogram, LabelPair, Metric, MetricFamily, MetricType};
use prometheus::{IntCounter, IntGauge};

use crate::sidecar::{Ended, Reason};

const CLASSES: [&str; 6] = ["none", "1xx", "2xx", "3xx", "4xx", "5xx"];
const LATENCY_SECONDS: [f64; 12] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0];

/// What is counted of one route. Aligned to lines of the cache, so that no two routes share one.
#[derive(Default)]
#[repr(C, align(64))]
pub(crate) struct RouteMetrics {
    requests: [AtomicU64; CLASSES.len()],
    sent_bytes: AtomicU64,
    /// Enough for 584 years of exchanges.
    took_nanoseconds: AtomicU64,
    /// Exchanges by the first bound they are not above; the last is for those above all.
    took: [AtomicU64; LATENCY_SECONDS.len() + 1],
    received_bytes: AtomicU64,
    tunnels: OnceLock<Box<TunnelMetrics>>,
}

/// What a route that carries WebSockets has beside.
pub(super) struct TunnelMetrics {
    pub(super) open: IntGauge,
    pub(super) ended: [IntCounter; Reason::ALL.len()],
    pub(super) received: IntCounter,
    pub(super) sent: IntCounter,
}

/// Counts a tunnel as open while it lives.
pub(crate) struct OpenTunnel(IntGauge);

/// The routes that are counted, by the label `route`, and the families they are shown as.
#[derive(Clone)]
pub(super) struct RouteFamilies {
    requests: Desc,
    latency: Desc,
    received: Desc,
    sent: Desc,
    routes: Arc<Mutex<BTreeMap<String, Arc<RouteMetrics>>>>,
}

impl RouteMetrics {
    /// Counts one exchange.
    pub(crate) fn observe(&self, status: Option<u16>, took: Duration, received: u64, sent: u64) {
        let class = status.map_or(0, |status| usize::from(status / 100).min(CLASSES.len() - 1));
        self.requests[class].fetch_add(1, Relaxed);
        let seconds = took.as_secs_f64();
        let bound = LATENCY_SECONDS.iter().position(|bound| seconds <= *bound);
        self.took[bound.unwrap_or(LATENCY_SECONDS.len())].fetch_add(1, Relaxed);
        self.took_nanoseconds.fetch_add(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX), Relaxed);
        if received > 0 {
            self.received_bytes.fetch_add(received, Relaxed);
        }
        if sent > 0 {
            self.sent_bytes.fetch_add(sent, Relaxed);
        }
    }

    /// Counts an exchange that has become a tunnel; the time is that of the opening.
    pub(crate) fn opened(&self, took: Duration) {
        self.observe(Some(101), took, 0, 0);
    }

    /// From now on tunnels are counted, too.
    pub(super) fn count_tunnels(&self, metrics: impl FnOnce() -> TunnelMetrics) {
        self.tunnels.get_or_init(|| Box::new(metrics()));
    }

    /// A tunnel that begins.
    pub(crate) fn tunnel(&self) -> Option<OpenTunnel> {
        let open = &self.tunnels.get()?.open;
        open.inc();
        Some(OpenTunnel(open.clone()))
    }

    /// Counts a tunnel that has ended.
    pub(crate) fn tunnel_ended(&self, ended: &Ended) {
        let Some(tunnels) = self.tunnels.get() else { return };
        let words = Reason::ALL.iter().zip(&tunnels.ended);
        for (_, counter) in words.filter(|(reason, _)| **reason == ended.reason) {
            counter.inc();
        }
        tunnels.received.inc_by(ended.received_bytes);
        tunnels.sent.inc_by(ended.sent_bytes);
    }

    /// How long exchanges took. Their number is the sum of what the bounds hold, so the two never disagree, even if exchanges
    /// end meanwhile.
    fn histogram(&self) -> Histogram {
        let mut count = 0;
        let mut through = |at: usize| {
            count += self.took[at].load(Relaxed);
            count
        };
        let bucket = |(at, bound): (usize, &f64)| {
            let mut bucket = Bucket::default();
            bucket.set_cumulative_count(through(at));
            bucket.set_upper_bound(*bound);
            bucket
        };
        let mut histogram = Histogram::default();
        histogram.set_bucket(LATENCY_SECONDS.iter().enumerate().map(bucket).collect());
        histogram.set_sample_count(through(LATENCY_SECONDS.len()));
        let nanoseconds = self.took_nanoseconds.load(Relaxed);
        histogram.set_sample_sum(Duration::from_nanos(nanoseconds).as_secs_f64());
        histogram
    }
}

impl Drop for OpenTunnel {
    fn drop(&mut self) {
        self.0.dec();
    }
}

impl RouteFamilies {
    /// Families without a route; `desc` makes one of a name, a help and labels.
    ///
    /// # Errors
    /// Those of `desc`.
    pub(super) fn new(
        desc: impl Fn(&str, &str, &[&str]) -> prometheus::Result<Desc>,
    ) -> prometheus::Result<Self> {
        Ok(RouteFamilies {
            requests: desc(
                "requests_total",
                "Exchanges ended, by route and class of status.",
                &["route", "class"],
            )?,
            latency: desc(
                "request_seconds",
                "Time from the complete head of a request to the end of its exchange.",
                &["route"],
            )?,
            received: desc("request_body_bytes_total", "Bytes of request bodies.", &["route"])?,
            sent: desc("response_body_bytes_total", "Bytes of response bodies.", &["route"])?,
            routes: Arc::default(),
        })
    }

    /// What is counted under this label; begins at 0 if it is new.
    pub(super) fn route(&self, label: &str) -> Arc<RouteMetrics> {
        let mut routes = self.routes();
        if let Some(route) = routes.get(label) {
            return route.clone();
        }
        routes.entry(label.to_owned()).or_default().clone()
    }

    /// Shows this label no longer. Whoever counts under it still does so unseen.
    pub(super) fn forget(&self, label: &str) {
        self.routes().remove(label);
    }

    fn routes(&self) -> MutexGuard<'_, BTreeMap<String, Arc<RouteMetrics>>> {
        self.routes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Collector for RouteFamilies {
    fn desc(&self) -> Vec<&Desc> {
        vec![&self.requests, &self.latency, &self.received, &self.sent]
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let routes = self.routes();
        let requests = routes.iter().flat_map(|(name, route)| {
            let of_class = move |(class, count): (&&str, &AtomicU64)| {
                counter(&[("class", class), ("route", name)], count)
            };
            CLASSES.iter().zip(&route.requests).map(of_class)
        });
        let latency = routes.iter().map(|(name, route)| {
            let mut metric = labelled(&[("route", name)]);
            metric.set_histogram(route.histogram());
            metric
        });
        let received = routes.iter().map(|(name, route)| counter(&[("route", name)], &route.received_bytes));
        let sent = routes.iter().map(|(name, route)| counter(&[("route", name)], &route.sent_bytes));
        vec![
            family(&self.requests, MetricType::COUNTER, requests),
            family(&self.latency, MetricType::HISTOGRAM, latency),
            family(&self.received, MetricType::COUNTER, received),
            family(&self.sent, MetricType::COUNTER, sent),
        ]
    }
}

fn family(desc: &Desc, kind: MetricType, metrics: impl Iterator<Item = Metric>) -> MetricFamily {
    let mut family = MetricFamily::default();
    family.set_name(desc.fq_name.clone());
    family.set_help(desc.help.clone());
    family.set_field_type(kind);
    family.set_metric(metrics.collect());
    family
}

fn counter(labels: &[(&str, &str)], count: &AtomicU64) -> Metric {
    let mut counter = Counter::default();
    // As everywhere in Prometheus: exact up to 2^53.
    counter.set_value(count.load(Relaxed) as f64);
    let mut metric = labelled(labels);
    metric.set_counter(counter);
    metric
}

/// A metric with these labels, which are in the order of their names.
fn labelled(labels: &[(&str, &str)]) -> Metric {
    let pair = |(name, value): &(&str, &str)| {
        let mut pair = LabelPair::default();
        pair.set_name((*name).to_owned());
        pair.set_value((*value).to_owned());
        pair
    };
    Metric::from_label(labels.iter().map(pair).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Metrics;

    /// The lines of the routes' families that are not 0.
    fn shown(metrics: &Metrics) -> Vec<String> {
        let exposition = metrics.exposition();
        let of_routes = |line: &&str| line.contains("route=") && !line.ends_with(" 0");
        exposition.lines().filter(of_routes).map(str::to_owned).collect()
    }

    #[test]
    fn an_exchange_is_shown_in_every_family() {
        let metrics = Metrics::new().unwrap();
        let route = metrics.route(0, "a", false);
        route.observe(Some(200), Duration::from_micros(1500), 0, 7);
        route.observe(None, Duration::from_secs(11), 5, 0);
        let mut expected = vec![
            r#"sallyport_request_body_bytes_total{route="a"} 5"#.to_owned(),
            r#"sallyport_request_seconds_bucket{route="a",le="+Inf"} 2"#.to_owned(),
            r#"sallyport_request_seconds_sum{route="a"} 11.0015"#.to_owned(),
            r#"sallyport_request_seconds_count{route="a"} 2"#.to_owned(),
            r#"sallyport_requests_total{class="2xx",route="a"} 1"#.to_owned(),
            r#"sallyport_requests_total{class="none",route="a"} 1"#.to_owned(),
            r#"sallyport_response_body_bytes_total{route="a"} 7"#.to_owned(),
        ];
        let bound = |bound: &f64| format!(r#"sallyport_request_seconds_bucket{{route="a",le="{bound}"}} 1"#);
        expected.splice(1..1, LATENCY_SECONDS[1..].iter().map(bound));
        assert_eq!(shown(&metrics), expected);
    }

    #[test]
    fn a_time_on_a_bound_is_within_it() {
        let route = RouteMetrics::default();
        LATENCY_SECONDS.iter().for_each(|bound| route.observe(None, Duration::from_secs_f64(*bound), 0, 0));
        let counts: Vec<u64> = route.took.iter().map(|count| count.load(Relaxed)).collect();
        assert_eq!(counts, [1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0]);
    }

    #[test]
    fn a_route_counts_on_under_its_name_until_it_is_forgotten() {
        let metrics = Metrics::new().unwrap();
        let before = metrics.route(0, "a", false);
        before.observe(Some(200), Duration::ZERO, 0, 1);
        metrics.route(3, "a", false).observe(Some(200), Duration::ZERO, 0, 1);
        let sent = |metrics: &Metrics| shown(metrics).into_iter().find(|line| line.contains("response_body"));
        assert_eq!(sent(&metrics).unwrap(), r#"sallyport_response_body_bytes_total{route="a"} 2"#);
        metrics.forget_route("a");
        before.observe(Some(200), Duration::ZERO, 0, 1);
        assert_eq!(sent(&metrics), None);
        metrics.route(0, "a", false).observe(Some(200), Duration::ZERO, 0, 1);
        assert_eq!(sent(&metrics).unwrap(), r#"sallyport_response_body_bytes_total{route="a"} 1"#);
    }

    #[test]
    fn routes_beyond_those_with_labels_share_one_block() {
        let metrics = Metrics::new().unwrap();
        let [first, last] = [999, 1_000].map(|index| metrics.route(index, &format!("r{index}"), false));
        let beyond = metrics.route(5_000, "r5000", false);
        assert!(Arc::ptr_eq(&last, &beyond) && !Arc::ptr_eq(&first, &last));
        assert!(metrics.exposition().contains(r#"sallyport_requests_total{class="none",route="_other"} 0"#));
    }

    /// An exchange without a body counts in the first 128 bytes.
    #[test]
    fn an_exchange_touches_two_lines_of_the_cache() {
        assert_eq!(align_of::<RouteMetrics>(), 64);
        assert_eq!(std::mem::offset_of!(RouteMetrics, took), 64);
    }
}
