//! What the reader thread and the scout thread say to each other.

use std::sync::Arc;

/// What the reader thread asks for.
pub(crate) enum Request {
    /// The topic is another one now: find it anew, from its beginning.
    Forget {
        topic: Arc<str>,
        edition: u64,
    },
    /// Where do the partitions of this topic begin and end?
    Examine {
        topic: Arc<str>,
        edition: u64,
    },
    Stop,
}

/// What the scout found out.
#[derive(Debug)]
pub(crate) enum News {
    /// Partitions from number `from` on: where to begin to read each, and the end of each now.
    Found { topic: Arc<str>, edition: u64, from: usize, starts: Vec<i64>, highs: Vec<i64> },
    /// The ends of partitions.
    Highs(Vec<High>),
    /// The answer to [`Request::Examine`], for each partition.
    Bounds { topic: Arc<str>, edition: u64, lows: Vec<i64>, highs: Vec<i64> },
    /// The topic is no longer there, or has fewer partitions.
    Gone { topic: Arc<str>, edition: u64 },
    /// All topics that there are were told.
    Surveyed,
}

/// The end of one partition.
#[derive(Debug)]
pub(crate) struct High {
    pub(crate) topic: Arc<str>,
    pub(crate) edition: u64,
    pub(crate) partition: i32,
    pub(crate) high: i64,
}
