//! What a reader tells, and what can be asked about it.

use std::sync::Arc;
use std::time::Duration;

use crate::Record;

/// Receives what a [`Reader`](crate::Reader) reads. Called on the reader's own thread, in order; must be quick,
/// because all partitions of a cluster wait meanwhile.
pub trait Sink: Send + Sync + 'static {
    /// A committed record; in order within its partition, each once.
    fn record(&self, record: Record);

    /// The partitions of a topic, each with the offset where reading began. Told before any record of them, and
    /// again with the longer list when partitions are added. The first offset of a partition never changes unless
    /// [`Sink::recreated`] comes between.
    fn partitions(&self, topic: &Arc<str>, first: &[i64]);

    /// The position moved over offsets that hold no record for us (compaction, transactions, retention): `next` is
    /// the next offset to be read.
    fn position(&self, topic: &Arc<str>, partition: i32, next: i64);

    /// Everything that was there at the start has been told. Told once for each partition, also for an empty one.
    fn ready(&self, topic: &Arc<str>, partition: i32);

    /// The topic was deleted, or deleted and made again: everything known of it is void. [`Sink::partitions`]
    /// follows if it exists again.
    fn recreated(&self, topic: &Arc<str>);

    /// Records of a partition were deleted before they were read: the offsets from `from` up to `to`. Told before
    /// [`Sink::position`]. Nothing of the kind is told of what was gone when reading began: see [`Sink::partitions`].
    fn lost(&self, _topic: &Arc<str>, _partition: i32, _from: i64, _to: i64) {}

    /// The topic's id in the cluster's words, which another topic of the same name never has. Told before the records
    /// that come after it is heard; not told where the cluster knows no ids (before Kafka 2.8).
    fn identity(&self, _topic: &Arc<str>, _id: &str) {}

    /// Which topics there are is known: those whose partitions were not told do not exist yet. Told once.
    fn surveyed(&self) {}
}

/// How far a reader is in one partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartitionStatus {
    /// The topic.
    pub topic: Arc<str>,
    /// The partition.
    pub partition: i32,
    /// The next offset to be read.
    pub position: i64,
    /// The offset after the last committed record, as last heard (every few seconds).
    pub high: i64,
    /// Whether everything that was there at the start has been told.
    pub ready: bool,
    /// Offsets between the position and `high`; offsets without records count.
    pub lag: u64,
    /// How long ago the position moved last, or the partition was found.
    pub since_progress: Duration,
}
