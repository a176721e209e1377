//! The floor: a server of WebSockets that somebody writes in an afternoon with fastwebsockets. It reads Kafka and sends
//! each event to all connections that asked for its channel. No tokens, no rules of who sees what, no positions to come
//! back with, no bounds but of its queues, no TLS. What the bridge costs more is the price of these.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use bytes::Bytes;
use clap::Args;
use fastwebsockets::{Frame, Payload, Role, WebSocket};
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::{ClientConfig, Message as _, Offset, TopicPartitionList};
use sallyport_testkit::websocket::{KEY, switching};
use serde::Deserialize;
use serde_json::Value;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;

use crate::scenario::connect::head;
use crate::scenario::own;

/// Events that may wait for a connection; one that is further behind loses some.
const QUEUE_EVENTS: usize = 256;
/// How long a client may take to say what it wants.
const HELLO_WAIT: Duration = Duration::from_secs(30);
/// How long a wait for records lasts at most, and how long the topic may take to be found.
const POLL: Duration = Duration::from_millis(100);
const METADATA_WAIT: Duration = Duration::from_secs(10);

/// Options of `serve floor`.
#[derive(Debug, Args)]
pub struct Floor {
    /// The port on loopback.
    #[arg(long)]
    port: u16,
    /// The Kafka cluster.
    #[arg(long)]
    kafka: String,
    /// The topic that is read.
    #[arg(long)]
    topic: String,
}

type Channels = Arc<Mutex<HashMap<String, broadcast::Sender<Bytes>>>>;

/// What of an event says where it goes.
#[derive(Deserialize)]
struct Event {
    to: String,
}

impl Floor {
    /// Serves until the process ends.
    ///
    /// # Errors
    /// The port is taken, or the topic cannot be read.
    pub fn run(&self) -> Result<()> {
        let channels = Channels::default();
        let consumer = self.consumer()?;
        let of_reader = channels.clone();
        std::thread::spawn(move || read(&consumer, &of_reader));
        // A client that goes is not this server's affair.
        own::accept(self.port, move |stream| serve(stream, channels.clone()))
    }

    /// Reads all partitions from their ends.
    fn consumer(&self) -> Result<BaseConsumer> {
        let consumer: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", &self.kafka)
            .set("group.id", "floor")
            .set("enable.auto.commit", "false")
            .set("fetch.wait.max.ms", "50")
            .create()?;
        let metadata = consumer.fetch_metadata(Some(&self.topic), METADATA_WAIT)?;
        let mut partitions = TopicPartitionList::new();
        for partition in metadata.topics().iter().flat_map(|topic| topic.partitions()) {
            partitions.add_partition_offset(&self.topic, partition.id(), Offset::End)?;
        }
        consumer.assign(&partitions)?;
        Ok(consumer)
    }
}

/// Reads records as long as the process lives.
fn read(consumer: &BaseConsumer, channels: &Channels) {
    loop {
        let Some(Ok(record)) = consumer.poll(POLL) else { continue };
        let Some(value) = record.payload() else { continue };
        let (Ok(event), Ok(text)) = (serde_json::from_slice::<Event>(value), std::str::from_utf8(value))
        else {
            continue;
        };
        let channel = format!("room:{}", event.to);
        let push = format!(r#"{{"push":{{"channel":"{channel}","pub":{{"data":{text}}}}}}}"#);
        if let Some(sender) = channels.lock().unwrap_or_else(PoisonError::into_inner).get(&channel) {
            // Nobody may be there any more.
            let _ = sender.send(Bytes::from(push));
        }
    }
}

async fn serve(mut stream: TcpStream, channels: Channels) -> Result<()> {
    let _ = head(&mut stream).await?;
    stream.write_all(&switching(KEY, "")).await?;
    let mut socket = WebSocket::after_handshake(stream, Role::Server);
    let hello = tokio::time::timeout(HELLO_WAIT, socket.read_frame()).await??;
    let commands = std::str::from_utf8(&hello.payload)?.lines().map(serde_json::from_str::<Value>);
    let channel = commands
        .filter_map(Result::ok)
        .find_map(|command| Some(command["subscribe"]["channel"].as_str()?.to_owned()))
        .context("no channel was asked for")?;
    let mut events = channels
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .entry(channel)
        .or_insert_with(|| broadcast::channel(QUEUE_EVENTS).0)
        .subscribe();
    let replies = b"{\"id\":1,\"connect\":{}}\n{\"id\":2,\"subscribe\":{}}";
    socket.write_frame(Frame::text(Payload::Borrowed(replies))).await?;
    loop {
        match events.recv().await {
            Ok(push) => socket.write_frame(Frame::text(Payload::Borrowed(&push))).await?,
            Err(RecvError::Lagged(_)) => {}
            Err(RecvError::Closed) => return Ok(()),
        }
    }
}
