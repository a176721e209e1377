//! A record as it came from Kafka: owned, so that librdkafka's buffer is free again at once.

use std::sync::Arc;

use bytes::Bytes;

/// A record of a topic.
#[derive(Debug, Clone)]
pub struct Record {
    /// The topic; the same `Arc` for all of its records.
    pub topic: Arc<str>,
    /// The partition.
    pub partition: i32,
    /// The record's offset. Offsets have gaps: compaction and transactions leave them.
    pub offset: i64,
    /// Milliseconds since 1970 as Kafka has them; 0 if it has none.
    pub timestamp: i64,
    /// The key.
    pub key: Option<Bytes>,
    /// Headers in order; a name may come twice. A header without a value is empty.
    pub headers: Vec<(Box<str>, Bytes)>,
    /// The value; `None` is a tombstone.
    pub value: Option<Bytes>,
}

impl Record {
    /// The last header of this name (ASCII case is ignored).
    pub fn header(&self, name: &str) -> Option<&Bytes> {
        self.headers.iter().rev().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }
}
