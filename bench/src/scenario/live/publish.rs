//! Events into Kafka, at a steady rate.

use std::time::Duration;

use anyhow::Result;
use rdkafka::ClientConfig;
use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer, ThreadedProducer};
use serde_json::{Value, json};

use super::client::now_us;
use super::load::{number, text};

pub(super) struct Publisher(ThreadedProducer<DefaultProducerContext>);

impl Publisher {
    pub(super) fn new(brokers: &str) -> Result<Self> {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", brokers).set("linger.ms", "0");
        Ok(Publisher(config.create()?))
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
            let record = BaseRecord::to(&topic).key(&key).payload(&value);
            self.0.send(record).map_err(|(error, _)| error)?;
        }
        let producer = self.0.clone();
        Ok(tokio::task::spawn_blocking(move || producer.flush(Duration::from_secs(30))).await??)
    }
}
