//! Events into Kafka, at a steady rate.

use std::time::Duration;

use anyhow::Result;
use rdkafka::ClientConfig;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer, ThreadedProducer};
use serde_json::{Value, json};

use super::client::now_us;
use super::load::{number, text};

pub(super) struct Publisher {
    producer: ThreadedProducer<DefaultProducerContext>,
    /// The field of a record's head that names the channel.
    channels_header: Option<String>,
}

impl Publisher {
    pub(super) fn new(brokers: &str, channels_header: Option<String>) -> Result<Self> {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", brokers).set("linger.ms", "0");
        // Else a broker that stands still for a moment gets batches again, or one before another, and the server seems to have
        // done it.
        config.set("enable.idempotence", "true");
        Ok(Publisher { producer: config.create()?, channels_header })
    }

    /// Sends `events` to `topic`, `rate` a second, over `channels` in turn and for `owners` in turn, with `bytes` of
    /// padding; `first` is the number of the first of each channel, or owner.
    pub(super) async fn send(&self, command: &Value) -> Result<()> {
        let (topic, padding) = (text(command, "topic"), "x".repeat(number(command, "bytes")));
        let (channels, owners) = (number(command, "channels").max(1), number(command, "owners").max(1));
        let (events, rate, first) =
            (number(command, "events"), number(command, "rate"), number(command, "first"));
        let start = tokio::time::Instant::now();
        for event in 0..events {
            tokio::time::sleep_until(start + Duration::from_secs_f64(event as f64 / rate as f64)).await;
            let key = (event % channels).to_string();
            let value = json!({
                "to": key, "owner": format!("u{}", event % owners), "n": first + event / channels.max(owners), "sent": now_us(),
                "padding": padding,
            })
            .to_string();
            let mut record = BaseRecord::to(&topic).key(&key).payload(&value);
            if let Some(name) = &self.channels_header {
                let channel = format!("room:{key}");
                record =
                    record.headers(OwnedHeaders::new().insert(Header { key: name, value: Some(&channel) }));
            }
            self.producer.send(record).map_err(|(error, _)| error)?;
        }
        let producer = self.producer.clone();
        Ok(tokio::task::spawn_blocking(move || producer.flush(Duration::from_secs(30))).await??)
    }
}
