//! Events into Kafka, at a steady rate.

use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer, ThreadedProducer};
use serde_json::{Value, json};

use crate::client::now_us;
use crate::{number, text};

pub(crate) struct Publisher(ThreadedProducer<DefaultProducerContext>);

impl Publisher {
    pub(crate) fn new(brokers: &str) -> Self {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", brokers).set("linger.ms", "0");
        Publisher(config.create().expect("a producer"))
    }

    /// Sends `events` to `topic`, `rate` a second, over `channels` in turn and for `owners` in turn, with `bytes` of
    /// padding; `first` is the number of the first of each channel, or owner.
    pub(crate) async fn send(&self, command: &Value) {
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
            self.0.send(BaseRecord::to(&topic).key(&key).payload(&value)).expect("room in the queue");
        }
        let producer = self.0.clone();
        tokio::task::spawn_blocking(move || producer.flush(Duration::from_secs(30)))
            .await
            .unwrap()
            .expect("acks");
    }
}
