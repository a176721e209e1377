//! An event: what a record becomes for the clients of a channel.

use std::sync::Arc;

use bytes::Bytes;
use serde_json::Value;

/// An event of a channel.
#[derive(Debug, Clone)]
pub struct Event {
    /// The channel.
    pub channel: Arc<str>,
    /// One JSON value without line breaks, otherwise byte for byte as in the record.
    pub data: Bytes,
    /// The tags that the mapping gave it, in the order of the file.
    pub tags: Vec<(Arc<str>, Box<str>)>,
    /// What conflation compares.
    pub key: Option<Box<str>>,
    /// Milliseconds since 1970, of the record.
    pub time: i64,
    /// What conditions may ask: an object with `event`, `ce`, `key`, `tags`, `topic`, as far as any condition of the
    /// configuration reads them.
    pub facts: Value,
    /// Where the record stands.
    pub place: Place,
}

/// Where a record stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The topic.
    pub topic: Arc<str>,
    /// The partition.
    pub partition: i32,
    /// The record's offset.
    pub offset: i64,
}
