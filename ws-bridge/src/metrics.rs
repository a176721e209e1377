//! What the bridge counts. Labels are names of the configuration and fixed words.

use prometheus::{
    Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
};

/// The bridge's metrics.
pub(crate) struct Metrics {
    /// Open connections by kind: `websocket`, `events`.
    pub(crate) connections: IntGaugeVec,
    /// Ended connections by close code.
    pub(crate) closed: IntCounterVec,
    pub(crate) subscriptions: IntGauge,
    pub(crate) channels: IntGauge,
    pub(crate) events: IntCounter,
    pub(crate) deliveries: IntCounter,
    pub(crate) dropped_slow: IntCounter,
    pub(crate) dropped_closed: IntCounter,
    pub(crate) dropped_withheld: IntCounter,
    /// Records that could not be mapped, by reason.
    pub(crate) poison: IntCounterVec,
    /// Subscriptions that asked to recover, by result: `recovered`, `caught_up`, `lost`.
    pub(crate) recoveries: IntCounterVec,
    pub(crate) replay_bytes: IntGauge,
    pub(crate) queue_bytes: IntGauge,
    /// Commands by name and result.
    pub(crate) commands: IntCounterVec,
    /// Whether the changes of each view are being read: 1 or 0.
    pub(crate) view_connected: IntGaugeVec,
    /// How often changes of each view were missed.
    pub(crate) view_gaps: IntCounterVec,
    /// From the record's time to the write into the socket.
    pub(crate) age: Histogram,
}

impl Metrics {
    pub(crate) fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let gauge = |name: &str, help: &str| -> Result<IntGauge, prometheus::Error> {
            let gauge = IntGauge::new(name, help)?;
            registry.register(Box::new(gauge.clone())).map(|()| gauge)
        };
        let counters = |name: &str, help: &str, label: &[&str]| -> Result<IntCounterVec, prometheus::Error> {
            let counters = IntCounterVec::new(Opts::new(name, help), label)?;
            registry.register(Box::new(counters.clone())).map(|()| counters)
        };
        let counter = |name: &str, help: &str| -> Result<IntCounter, prometheus::Error> {
            let counter = IntCounter::new(name, help)?;
            registry.register(Box::new(counter.clone())).map(|()| counter)
        };
        let connections = IntGaugeVec::new(
            Opts::new("sallyport_live_connections", "Open connections by kind."),
            &["kind"],
        )?;
        registry.register(Box::new(connections.clone()))?;
        let buckets = vec![0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0];
        let age = Histogram::with_opts(
            HistogramOpts::new(
                "sallyport_live_event_age_seconds",
                "Time from a record's timestamp to the write into a client's socket; of the newest event in a write.",
            )
            .buckets(buckets),
        )?;
        registry.register(Box::new(age.clone()))?;
        let view_connected = IntGaugeVec::new(
            Opts::new("sallyport_live_view_connected", "Whether the changes of a view are being read."),
            &["view"],
        )?;
        registry.register(Box::new(view_connected.clone()))?;
        let dropped = counters(
            "sallyport_live_dropped_total",
            "Deliveries that were not made, by reason: slow (older events gave way), closed (the client was closed for not \
             reading), withheld (its token had expired, or it was closing).",
            &["reason"],
        )?;
        Ok(Metrics {
            connections,
            closed: counters(
                "sallyport_live_closed_total",
                "Ended connections by our close code, or `client` where the client closed.",
                &["code"],
            )?,
            subscriptions: gauge("sallyport_live_subscriptions", "Subscriptions.")?,
            channels: gauge("sallyport_live_channels", "Channels with subscribers or kept events.")?,
            events: counter("sallyport_live_events_total", "Events of channels.")?,
            deliveries: counter("sallyport_live_deliveries_total", "Events queued for a client.")?,
            dropped_slow: dropped.with_label_values(&["slow"]),
            dropped_closed: dropped.with_label_values(&["closed"]),
            dropped_withheld: dropped.with_label_values(&["withheld"]),
            poison: counters(
                "sallyport_live_poison_records_total",
                "Records that could not be mapped, by reason.",
                &["reason"],
            )?,
            recoveries: counters(
                "sallyport_live_recoveries_total",
                "Subscriptions that asked to recover, by result.",
                &["result"],
            )?,
            replay_bytes: gauge("sallyport_live_replay_bytes", "Bytes of events kept for replay.")?,
            queue_bytes: gauge("sallyport_live_queue_bytes", "Bytes that wait for clients.")?,
            commands: counters(
                "sallyport_live_commands_total",
                "Commands of clients by name and result.",
                &["command", "result"],
            )?,
            view_connected,
            view_gaps: counters(
                "sallyport_live_view_gaps_total",
                "How often changes of a view were missed, or it was built anew, so that subscribers began anew.",
                &["view"],
            )?,
            age,
        })
    }
}
