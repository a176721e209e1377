//! A broker inside this process, for the demo and for tests: librdkafka's own, which speaks Kafka's protocol on
//! loopback.
//!
//! It keeps about 5 MiB a partition, finds no offsets by time, knows no security, no transactions' isolation, no
//! compaction, and forgets everything when it is dropped.

use std::fmt;

use rdkafka::ClientConfig;
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::mocking::MockCluster;
use rdkafka::producer::{DefaultProducerContext, Producer as _, ThreadedProducer};
use rdkafka::types::RDKafkaErrorCode;

use crate::error::{SendError, StartError, reason};
use crate::metrics::Metrics;
use crate::producer::{Outgoing, Producer, owned_headers};
use crate::settings::ClusterSettings;

/// The name of the embedded cluster.
const NAME: &str = "embedded";

/// A broker that lives as long as this.
pub struct EmbeddedBroker {
    /// The client that the broker belongs to; it sends nothing.
    owner: ThreadedProducer<DefaultProducerContext>,
    address: String,
    producer: Producer,
}

impl fmt::Debug for EmbeddedBroker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EmbeddedBroker({})", self.address)
    }
}

impl EmbeddedBroker {
    /// Starts a broker with these topics and their numbers of partitions.
    ///
    /// # Errors
    /// If librdkafka cannot start one, or a topic's name or number cannot be.
    pub fn start(topics: &[(&str, i32)]) -> Result<Self, StartError> {
        let failed = |error: &KafkaError| StartError::Client { cluster: NAME.into(), reason: reason(error) };
        let owner: ThreadedProducer<DefaultProducerContext> =
            ClientConfig::new().set("test.mock.num.brokers", "1").create().map_err(|error| failed(&error))?;
        let address =
            cluster(&owner).map(|cluster| cluster.bootstrap_servers()).map_err(|error| failed(&error))?;
        for (topic, partitions) in topics {
            cluster(&owner)
                .and_then(|cluster| cluster.create_topic(topic, *partitions, 1))
                .map_err(|error| failed(&error))?;
        }
        // The broker's own producer counts for nobody.
        let metrics = Metrics::register(&prometheus::Registry::new())
            .map_err(|error| StartError::Client { cluster: NAME.into(), reason: error.to_string() })?;
        let producer = Producer::new(&ClusterSettings::plain(NAME, &address), metrics)?;
        Ok(EmbeddedBroker { owner, address, producer })
    }

    /// Where it listens: `host:port`.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// The settings with which clients of this program reach it.
    pub fn settings(&self) -> ClusterSettings {
        ClusterSettings::plain(NAME, &self.address).without_times()
    }

    /// Makes a topic.
    ///
    /// # Errors
    /// If there is one of this name, or the name or the number cannot be.
    pub fn create_topic(&self, topic: &str, partitions: i32) -> Result<(), StartError> {
        cluster(&self.owner)
            .and_then(|cluster| cluster.create_topic(topic, partitions, 1))
            .map_err(|error| StartError::Client { cluster: NAME.into(), reason: reason(&error) })
    }

    /// Sends a record, to a certain partition if one is given; gives its partition and offset.
    ///
    /// # Errors
    /// As [`Producer::send`].
    pub async fn produce(
        &self,
        topic: &str,
        partition: Option<i32>,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: &[(&str, &[u8])],
    ) -> Result<(i32, i64), SendError> {
        let outgoing = Outgoing { topic, partition, key, value, timestamp: None };
        self.producer.send_as(outgoing, owned_headers(headers.iter().copied())).await
    }

    /// Cuts all connections and takes no new ones.
    pub fn down(&self) {
        self.switch(|cluster| cluster.broker_down(-1));
    }

    /// Takes connections again.
    pub fn up(&self) {
        self.switch(|cluster| cluster.broker_up(-1));
    }

    fn switch(&self, act: impl Fn(&MockCluster<'_, DefaultProducerContext>) -> KafkaResult<()>) {
        if let Err(error) = cluster(&self.owner).and_then(|cluster| act(&cluster)) {
            log::warn!("the embedded broker did not obey: {}", reason(&error));
        }
    }
}

fn cluster(
    owner: &ThreadedProducer<DefaultProducerContext>,
) -> KafkaResult<MockCluster<'_, DefaultProducerContext>> {
    owner.client().mock_cluster().ok_or(KafkaError::MockCluster(RDKafkaErrorCode::NotConfigured))
}
