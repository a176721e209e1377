//! Kafka: reading every partition without a group, reading ranges again, producing.
//!
//! A [`Reader`] has two threads. The *reader thread* owns the consumer and calls the [`Sink`]; it never asks the
//! broker anything it would have to wait for. The *scout thread* has a client of its own for such questions: which
//! topics and partitions exist, where reading begins, how far the partitions reach. It tells the reader thread in
//! messages. What a record means is not known here, but for the attributes of a [`CloudEvent`].

mod record;
mod error;
mod settings;
mod pattern;
mod metrics;
mod sink;
mod context;
mod offsets;
mod lanes;
mod news;
mod scout;
mod topics;
mod thread;
mod reader;
mod ranges;
mod producer;
mod dead_letters;
mod embedded;
mod cloud_event;

#[cfg(test)]
mod tests;

pub use cloud_event::{CloudEvent, CloudEventError};
pub use dead_letters::DeadLetters;
pub use embedded::EmbeddedBroker;
pub use error::{ReadError, SendError, StartError};
pub use metrics::Metrics;
pub use pattern::TopicPattern;
pub use producer::Producer;
pub use ranges::{Range, read_ranges};
pub use reader::{Begin, Offsets, Reader, Timing};
pub use record::Record;
pub use settings::ClusterSettings;
pub use sink::{PartitionStatus, Sink};
