//! What librdkafka tells besides records: its log lines and errors, of which some carry facts that its interface
//! does not give.
//!
//! Two facts are read from texts of the librdkafka that is built into this program (2.12): the offset at which a
//! partition ended, and that a topic's id changed. Tests against brokers hold both; see `tests/real_kafka.rs`.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use log::{debug, info};
use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::KafkaError;

/// The id that librdkafka prints for a topic whose id it does not know.
const NO_ID: &str = "AAAAAAAAAAAAAAAAAAAAAA";

/// Topic ids that wait to be taken; a taker comes after each log line, so that this is never reached.
const TOPIC_IDS_MAX: usize = 10_000;

/// Receives librdkafka's log lines and errors; called by whoever polls.
#[derive(Debug, Default)]
pub(crate) struct Context {
    told: AtomicU64,
    facts: Mutex<Facts>,
}

#[derive(Debug, Default)]
struct Facts {
    reason: Option<String>,
    end: Option<i64>,
    ids: Vec<TopicId>,
}

/// A topic has this id now.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct TopicId {
    pub(crate) topic: String,
    pub(crate) id: String,
}

impl Context {
    /// How many log lines and errors came so far. A poll that served one and a poll that found nothing look alike
    /// from outside.
    pub(crate) fn told(&self) -> u64 {
        self.told.load(Ordering::Relaxed)
    }

    /// Why the cluster does not answer, in librdkafka's last words.
    pub(crate) fn take_reason(&self) -> Option<String> {
        self.facts().reason.take()
    }

    /// The offset of the partition's end that was reported last.
    pub(crate) fn take_end(&self) -> Option<i64> {
        self.facts().end.take()
    }

    /// The topics that were given an id.
    pub(crate) fn take_ids(&self) -> Vec<TopicId> {
        std::mem::take(&mut self.facts().ids)
    }

    fn facts(&self) -> MutexGuard<'_, Facts> {
        self.facts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, line: &str) {
        self.told.fetch_add(1, Ordering::Relaxed);
        match level {
            // Debug lines are on for this one alone.
            RDKafkaLogLevel::Debug => {
                if let Some(id) = topic_id(line) {
                    let mut facts = self.facts();
                    if facts.ids.len() < TOPIC_IDS_MAX {
                        facts.ids.push(id);
                    }
                }
            }
            RDKafkaLogLevel::Notice | RDKafkaLogLevel::Info => {
                info!(target: "librdkafka", "{facility} {line}");
            }
            // About a consumer's settings in a producer and the other way round; both come from one section.
            _ if facility == "CONFWARN" => {}
            // Lost connections are told once a change of state by the scout, not once an attempt.
            _ => {
                debug!(target: "librdkafka", "{facility} {line}");
                self.facts().reason = Some(without_thread(line).to_owned());
            }
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.told.fetch_add(1, Ordering::Relaxed);
        match end_of_partition(reason) {
            Some(offset) => self.facts().end = Some(offset),
            None => {
                debug!(target: "librdkafka", "{error}: {reason}");
                self.facts().reason = Some(reason.to_owned());
            }
        }
    }

    fn stats_raw(&self, _: &[u8]) {}
}

impl ConsumerContext for Context {}

/// Reads `[thrd:main]: Topic orders changed id from <id> to <id>`.
fn topic_id(line: &str) -> Option<TopicId> {
    let (topic, change) = line.split_once("Topic ")?.1.split_once(" changed id from ")?;
    let (_, id) = change.split_once(" to ")?;
    (id != NO_ID && !topic.contains(' ')).then(|| TopicId { topic: topic.to_owned(), id: id.to_owned() })
}

/// Reads `Fetch from broker 1 reached end of partition at offset 12 (HighwaterMark 14)`.
fn end_of_partition(reason: &str) -> Option<i64> {
    let (_, rest) = reason.split_once(" reached end of partition at offset ")?;
    rest.split_once(' ')?.0.parse().ok()
}

fn without_thread(line: &str) -> &str {
    match line.strip_prefix("[thrd:").and_then(|rest| rest.split_once("]: ")) {
        Some((_, rest)) => rest,
        None => line,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_librdkafka_writes() {
        let line = "[thrd:main]: Topic a.b changed id from AAAAAAAAAAAAAAAAAAAAAA to 3Vq1d_x-Tk2oYy0l3g";
        assert_eq!(topic_id(line), Some(TopicId { topic: "a.b".into(), id: "3Vq1d_x-Tk2oYy0l3g".into() }));
        assert_eq!(topic_id(&format!("Topic a changed id from x to {NO_ID}")), None);
        assert_eq!(topic_id("Topic a [0] Leader 1 Epoch 0"), None);
        let reason = "Fetch from broker 1 reached end of partition at offset 12 (HighwaterMark 14)";
        assert_eq!(end_of_partition(reason), Some(12));
        assert_eq!(end_of_partition("Connection refused"), None);
        assert_eq!(without_thread("[thrd:localhost:9/1]: refused"), "refused");
    }
}
