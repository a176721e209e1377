//! Records that could not be used, sent to a topic of their own. Never waits and never fails; counts.

use std::sync::Arc;

use log::warn;

use crate::Record;
use crate::producer::{Concerned, Outgoing, Producer, owned_headers, word};

/// Bytes of the error's text that go along.
const ERROR_BYTES_MAX: usize = 512;

/// Sends records to a dead-letter topic.
#[derive(Debug, Clone)]
pub struct DeadLetters {
    producer: Producer,
    topic: Arc<str>,
}

impl DeadLetters {
    /// Letters go to `topic`, through the queue of `producer`.
    pub fn new(producer: Producer, topic: impl Into<Arc<str>>) -> Self {
        DeadLetters { producer, topic: topic.into() }
    }

    /// Sends the record with its own key, value and headers, and with headers that say where it came from and what
    /// was wrong: `sallyport-origin-topic`, `-partition`, `-offset`, `-timestamp`, and `sallyport-error`. What does
    /// not fit into the queue is dropped and counted. A letter that itself came from the dead-letter topic is not
    /// sent again.
    pub fn put(&self, record: &Record, error: &str) {
        if *record.topic == *self.topic {
            self.count("own_topic");
            return;
        }
        let [partition, offset, timestamp] =
            [i64::from(record.partition), record.offset, record.timestamp].map(|number| number.to_string());
        let origin: [(&str, &[u8]); 5] = [
            ("sallyport-origin-topic", record.topic.as_bytes()),
            ("sallyport-origin-partition", partition.as_bytes()),
            ("sallyport-origin-offset", offset.as_bytes()),
            ("sallyport-origin-timestamp", timestamp.as_bytes()),
            ("sallyport-error", &error.as_bytes()[..error.floor_char_boundary(ERROR_BYTES_MAX)]),
        ];
        let own = record.headers.iter().map(|(name, value)| (&**name, &**value));
        let outgoing = Outgoing {
            topic: &self.topic,
            partition: None,
            key: record.key.as_deref(),
            value: record.value.as_deref(),
            timestamp: None,
        };
        if let Err(error) =
            self.producer.post(outgoing, owned_headers(own.chain(origin)), Concerned::DeadLetter)
        {
            self.count(word(&error));
        }
    }

    fn count(&self, outcome: &str) {
        let counter =
            self.producer.metrics().dead_letters.with_label_values(&[&**self.producer.cluster(), outcome]);
        counter.inc();
        // The first of its kind is worth a line; the metric tells of the others.
        if counter.get() == 1 {
            warn!("a dead letter of Kafka cluster `{}` was dropped: {outcome}", self.producer.cluster());
        }
    }
}
