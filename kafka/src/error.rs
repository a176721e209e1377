//! What can go wrong between us and Kafka. No message holds a setting's value.

use std::sync::Arc;

use rdkafka::error::KafkaError;

/// Why a client could not be made.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// librdkafka refused; its settings were checked at load, so this is mostly a lack of threads or memory.
    #[error("Kafka cluster `{cluster}`: {reason}")]
    Client {
        /// The cluster's name in the configuration.
        cluster: Arc<str>,
        /// librdkafka's words.
        reason: String,
    },
    /// A thread could not be started.
    #[error("Kafka cluster `{cluster}`: cannot start a thread: {source}")]
    Thread {
        /// The cluster's name in the configuration.
        cluster: Arc<str>,
        /// What the system says.
        source: std::io::Error,
    },
}

impl StartError {
    pub(crate) fn client(cluster: &Arc<str>, error: &KafkaError) -> Self {
        StartError::Client { cluster: cluster.clone(), reason: reason(error) }
    }
}

/// Why ranges could not be read again.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// There are more records than the caller allows; those before were told.
    #[error("more than {0} records")]
    TooMany(u64),
    /// The offset is no longer there: retention took it, or the topic was made anew.
    #[error("{topic}/{partition}: offset {from} is not there: the partition holds {low} up to {high}")]
    Gone {
        /// The topic.
        topic: Arc<str>,
        /// The partition.
        partition: i32,
        /// The offset that was asked for.
        from: i64,
        /// The first offset that is there.
        low: i64,
        /// The offset after the last.
        high: i64,
    },
    /// The cluster does not answer, or not for this partition.
    #[error("Kafka does not answer: {0}")]
    Unavailable(String),
    /// It took longer than the caller allows; some records may have been told.
    #[error("reading took too long")]
    Timeout,
}

/// Why a record was not accepted by Kafka.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// Too many records wait already; nothing was sent.
    #[error("too many records wait to be sent")]
    Full,
    /// The cluster did not acknowledge in time. The record may still be there.
    #[error("Kafka did not acknowledge: {0}")]
    Unavailable(String),
    /// The broker or librdkafka refused it for good: too large, no such topic, not authorised.
    #[error("Kafka refused the record: {0}")]
    Refused(String),
}

/// librdkafka's words, without the settings' values that some of its errors carry.
pub(crate) fn reason(error: &KafkaError) -> String {
    match error {
        KafkaError::ClientConfig(_, _, key, _) => format!("the setting `{key}` is refused"),
        KafkaError::ClientCreation(reason) => reason.clone(),
        error => match error.rdkafka_error_code() {
            Some(code) => code.to_string(),
            None => error.to_string(),
        },
    }
}
