//! What is counted about Kafka. Labels are names from the configuration, topics, partitions, or words from here. What is
//! read is counted by reader: a topic may be read by the bridge, and by each view that is made of it.

use std::sync::Arc;

use prometheus::{IntCounterVec, IntGaugeVec, Opts, Registry};

/// The metrics of all clusters; clones count together.
#[derive(Debug, Clone)]
pub struct Metrics {
    /// For whom is read.
    pub(crate) reader: Arc<str>,
    pub(crate) records: IntCounterVec,
    pub(crate) bytes: IntCounterVec,
    pub(crate) lag: IntGaugeVec,
    pub(crate) stalls: IntCounterVec,
    pub(crate) recreated: IntCounterVec,
    pub(crate) errors: IntCounterVec,
    pub(crate) produced: IntCounterVec,
    pub(crate) dead_letters: IntCounterVec,
}

impl Metrics {
    /// Makes the metrics and registers them. Those of one process are registered once; see [`Metrics::of_reader`].
    ///
    /// # Errors
    /// If they are registered already.
    pub fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let counter = |name: &str, help: &str, labels: &[&str]| {
            let made = IntCounterVec::new(Opts::new(format!("sallyport_kafka_{name}"), help), labels)?;
            registry.register(Box::new(made.clone()))?;
            Ok::<_, prometheus::Error>(made)
        };
        let lag = IntGaugeVec::new(
            Opts::new(
                "sallyport_kafka_lag_records",
                "Offsets between what was read and the partition's end.",
            ),
            &["reader", "topic", "partition"],
        )?;
        registry.register(Box::new(lag.clone()))?;
        Ok(Metrics {
            reader: "".into(),
            records: counter("records_total", "Records read, by reader and topic.", &["reader", "topic"])?,
            bytes: counter(
                "record_bytes_total",
                "Bytes of keys and values read, by reader and topic.",
                &["reader", "topic"],
            )?,
            lag,
            stalls: counter("stalls_total", "Consumers made anew because they did not move.", &["cluster"])?,
            recreated: counter("topics_recreated_total", "Topics deleted or made again.", &["cluster"])?,
            errors: counter("reader_errors_total", "Errors while reading, by kind.", &["cluster", "kind"])?,
            produced: counter("produced_total", "Records sent, by outcome.", &["cluster", "outcome"])?,
            dead_letters: counter(
                "dead_letters_total",
                "Dead letters, by outcome.",
                &["cluster", "outcome"],
            )?,
        })
    }

    /// The same metrics for one who reads: `bridge`, or `view:` and a view's name.
    pub fn of_reader(&self, reader: &str) -> Metrics {
        Metrics { reader: reader.into(), ..self.clone() }
    }
}
