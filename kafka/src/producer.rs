//! Sending records: acknowledged by all in-sync replicas, each stored once, a bounded number under way.

use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use log::{debug, warn};
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::KafkaError;
use rdkafka::message::{DeliveryResult, Header, Message, OwnedHeaders};
use rdkafka::producer::{BaseRecord, Producer as _, ProducerContext, ThreadedProducer};
use rdkafka::types::RDKafkaErrorCode;
use rdkafka::{ClientConfig, ClientContext};
use tokio::sync::oneshot;

use crate::error::{SendError, StartError, reason};
use crate::metrics::Metrics;
use crate::settings::ClusterSettings;

/// Sends records to a cluster; clones share one client and its queue of at most 10,000 records or 16 MiB. A record
/// that is not acknowledged within `message.timeout.ms` (default here: 10 s) has failed.
#[derive(Clone)]
pub struct Producer {
    shared: Arc<Shared>,
}

struct Shared {
    cluster: Arc<str>,
    config: ClientConfig,
    client: RwLock<Arc<Client>>,
    metrics: Metrics,
}

type Client = ThreadedProducer<Outcomes>;

/// A record to be sent.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Outgoing<'a> {
    pub(crate) topic: &'a str,
    /// `None`: by the key, as librdkafka does it.
    pub(crate) partition: Option<i32>,
    pub(crate) key: Option<&'a [u8]>,
    pub(crate) value: Option<&'a [u8]>,
    pub(crate) timestamp: Option<i64>,
}

/// What became of a record: partition and offset.
pub(crate) type Outcome = Result<(i32, i64), SendError>;

/// Who wants to know what became of a record.
pub(crate) enum Concerned {
    /// Somebody waits.
    Caller(oneshot::Sender<Outcome>),
    /// Counted as a dead letter.
    DeadLetter,
}

impl fmt::Debug for Producer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Producer({})", self.shared.cluster)
    }
}

impl Producer {
    /// Makes a producer. The cluster need not answer yet.
    ///
    /// # Errors
    /// If librdkafka cannot make a client.
    pub fn new(cluster: &ClusterSettings, metrics: Metrics) -> Result<Self, StartError> {
        let config = cluster.producer();
        let client = open(&config, cluster.name(), &metrics)
            .map_err(|error| StartError::client(cluster.name(), &error))?;
        let shared = Shared {
            cluster: cluster.name().clone(),
            config,
            client: RwLock::new(Arc::new(client)),
            metrics,
        };
        Ok(Producer { shared: Arc::new(shared) })
    }

    /// Sends a record and waits until all in-sync replicas have it; gives its partition and offset. Without a value
    /// it is a tombstone. Dropping the future does not take the record back.
    ///
    /// # Errors
    /// [`SendError`] says whether it was never sent, refused, or may or may not have arrived.
    pub async fn send(
        &self,
        topic: &str,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: &[(&str, &[u8])],
    ) -> Outcome {
        let outgoing = Outgoing { topic, partition: None, key, value, timestamp: None };
        self.send_as(outgoing, owned_headers(headers.iter().copied())).await
    }

    pub(crate) async fn send_as(&self, outgoing: Outgoing<'_>, headers: OwnedHeaders) -> Outcome {
        let (tell, told) = oneshot::channel();
        if let Err(error) = self.post(outgoing, headers, Concerned::Caller(tell)) {
            self.shared.metrics.produced.with_label_values(&[&*self.shared.cluster, word(&error)]).inc();
            return Err(error);
        }
        told.await.unwrap_or_else(|_| Err(SendError::Unavailable("the producer was closed".to_owned())))
    }

    /// Puts a record into the queue; never waits.
    pub(crate) fn post(
        &self,
        outgoing: Outgoing<'_>,
        headers: OwnedHeaders,
        concerned: Concerned,
    ) -> Result<(), SendError> {
        let mut record = BaseRecord::with_opaque_to(outgoing.topic, Box::new(concerned)).headers(headers);
        record.partition = outgoing.partition;
        record.timestamp = outgoing.timestamp;
        record.key = outgoing.key;
        record.payload = outgoing.value;
        let client = self.shared.client.read().unwrap_or_else(PoisonError::into_inner).clone();
        client.send(record).map_err(|(error, _)| {
            if error.rdkafka_error_code() == Some(RDKafkaErrorCode::Fatal) {
                self.renew(&client);
            }
            judge(&error)
        })
    }

    /// The metrics that the producer counts in.
    pub(crate) fn metrics(&self) -> &Metrics {
        &self.shared.metrics
    }

    /// The cluster's name.
    pub(crate) fn cluster(&self) -> &Arc<str> {
        &self.shared.cluster
    }

    /// Waits until everything sent so far has an outcome, at most so long. Blocks: not on a runtime's thread.
    pub fn flush(&self, timeout: Duration) {
        let client = self.shared.client.read().unwrap_or_else(PoisonError::into_inner).clone();
        if let Err(error) = client.flush(timeout) {
            warn!(
                "Kafka cluster `{}`: {} records were not acknowledged in time: {}",
                self.shared.cluster,
                client.in_flight_count(),
                reason(&error)
            );
        }
    }

    /// An idempotent producer that lost its place cannot go on: another takes over.
    fn renew(&self, failed: &Arc<Client>) {
        let shared = &self.shared;
        let mut current = shared.client.write().unwrap_or_else(PoisonError::into_inner);
        if !Arc::ptr_eq(&current, failed) {
            return;
        }
        match open(&shared.config, &shared.cluster, &shared.metrics) {
            Ok(client) => {
                warn!("the producer of Kafka cluster `{}` gave up and was made anew", shared.cluster);
                *current = Arc::new(client);
            }
            Err(error) => warn!("Kafka cluster `{}`: no new producer: {}", shared.cluster, reason(&error)),
        }
    }
}

fn open(config: &ClientConfig, cluster: &Arc<str>, metrics: &Metrics) -> Result<Client, KafkaError> {
    config.create_with_context(Outcomes { cluster: cluster.clone(), metrics: metrics.clone() })
}

/// Headers in librdkafka's hands.
pub(crate) fn owned_headers<'a>(headers: impl Iterator<Item = (&'a str, &'a [u8])>) -> OwnedHeaders {
    headers.fold(OwnedHeaders::new(), |all, (key, value)| all.insert(Header { key, value: Some(value) }))
}

/// Counts outcomes and tells them.
pub(crate) struct Outcomes {
    cluster: Arc<str>,
    metrics: Metrics,
}

impl ClientContext for Outcomes {
    fn log(&self, _: RDKafkaLogLevel, facility: &str, line: &str) {
        debug!(target: "librdkafka", "{facility} {line}");
    }

    fn error(&self, error: KafkaError, reason: &str) {
        debug!(target: "librdkafka", "{error}: {reason}");
    }

    fn stats_raw(&self, _: &[u8]) {}
}

impl ProducerContext for Outcomes {
    type DeliveryOpaque = Box<Concerned>;

    fn delivery(&self, result: &DeliveryResult<'_>, concerned: Box<Concerned>) {
        let outcome = match result {
            Ok(message) => Ok((message.partition(), message.offset())),
            Err((error, _)) => Err(judge(error)),
        };
        let word = outcome.as_ref().map_or_else(word, |_| "ok");
        match *concerned {
            Concerned::Caller(tell) => {
                self.metrics.produced.with_label_values(&[&*self.cluster, word]).inc();
                // Whoever waited may have gone.
                let _ = tell.send(outcome);
            }
            Concerned::DeadLetter => {
                self.metrics.dead_letters.with_label_values(&[&*self.cluster, word]).inc();
            }
        }
    }
}

/// The metrics' word for an error.
pub(crate) fn word(error: &SendError) -> &'static str {
    match error {
        SendError::Full => "full",
        SendError::Unavailable(_) => "unavailable",
        SendError::Refused(_) => "refused",
    }
}

fn judge(error: &KafkaError) -> SendError {
    use RDKafkaErrorCode as Code;
    let words = || reason(error);
    match error.rdkafka_error_code() {
        Some(Code::QueueFull) => SendError::Full,
        Some(
            Code::MessageSizeTooLarge
            | Code::MessageBatchTooLarge
            | Code::InvalidMessage
            | Code::InvalidMessageSize
            | Code::InvalidRecord
            | Code::InvalidTimestamp
            | Code::InvalidTopic
            | Code::InvalidArgument
            | Code::PolicyViolation
            | Code::UnknownTopic
            | Code::UnknownTopicOrPartition
            | Code::UnknownPartition
            | Code::TopicAuthorizationFailed
            | Code::ClusterAuthorizationFailed
            | Code::UnsupportedForMessageFormat,
        ) => SendError::Refused(words()),
        _ => match error {
            // A topic's or a header's name with a NUL byte.
            KafkaError::Nul(_) => SendError::Refused(words()),
            _ => SendError::Unavailable(words()),
        },
    }
}
