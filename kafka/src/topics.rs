//! What the reader thread knows of each topic: how far it has read, and what that means for the sink.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use prometheus::{IntCounter, IntGauge};

use crate::Record;
use crate::lanes::Start;
use crate::metrics::Metrics;
use crate::scout::partition_number;
use crate::sink::{PartitionStatus, Sink};

/// A partition's figures, as other threads may ask for them.
type Board = Arc<Mutex<BTreeMap<(Arc<str>, i32), Arc<Figures>>>>;

#[derive(Debug)]
struct Figures {
    position: AtomicI64,
    high: AtomicI64,
    ready: AtomicBool,
    progress: Mutex<Instant>,
}

/// The state of all partitions, to be asked from any thread.
#[derive(Debug, Clone, Default)]
pub(crate) struct Status(Board);

impl Status {
    pub(crate) fn all(&self) -> Vec<PartitionStatus> {
        let board = locked(&self.0);
        let one = |((topic, partition), figures): (&(Arc<str>, i32), &Arc<Figures>)| {
            let position = figures.position.load(Ordering::Relaxed);
            let high = figures.high.load(Ordering::Relaxed);
            PartitionStatus {
                topic: topic.clone(),
                partition: *partition,
                position,
                high,
                ready: figures.ready.load(Ordering::Relaxed),
                lag: lag(position, high),
                since_progress: locked(&figures.progress).elapsed(),
            }
        };
        board.iter().map(one).collect()
    }
}

/// The topics that are read.
pub(crate) struct Topics {
    topics: HashMap<Arc<str>, Topic>,
    editions: HashMap<Arc<str>, u64>,
    status: Status,
    metrics: Metrics,
}

/// A topic.
pub(crate) struct Topic {
    pub(crate) edition: u64,
    pub(crate) partitions: Vec<Partition>,
    records: IntCounter,
    bytes: IntCounter,
}

/// A partition.
pub(crate) struct Partition {
    /// The next offset to be read; what is below was told, and is never told again.
    pub(crate) next: i64,
    /// Whether the offset to be read is not there.
    pub(crate) lost: bool,
    first: i64,
    ready_at: i64,
    ready: bool,
    behind: Option<Behind>,
    figures: Arc<Figures>,
    lag: IntGauge,
}

/// A partition has more than was read, and the position has not moved.
struct Behind {
    at: i64,
    since: Instant,
    heard: Instant,
}

impl Topics {
    pub(crate) fn new(status: Status, metrics: Metrics) -> Self {
        Topics { topics: HashMap::new(), editions: HashMap::new(), status, metrics }
    }

    /// The topic, if this is still its edition.
    pub(crate) fn edition(&mut self, topic: &str, edition: u64) -> Option<&mut Topic> {
        self.topics.get_mut(topic).filter(|known| known.edition == edition)
    }

    pub(crate) fn known(&self, topic: &str) -> Option<(&Arc<str>, &Topic)> {
        self.topics.get_key_value(topic)
    }

    /// Adds partitions from number `from` on, and gives where to begin to read them; nothing if the news is out of
    /// date.
    pub(crate) fn found(
        &mut self,
        (topic, edition): (&Arc<str>, u64),
        from: usize,
        starts: &[i64],
        highs: &[i64],
        sink: &dyn Sink,
    ) -> Vec<Start> {
        let current = self.editions.get(topic).copied().unwrap_or_default();
        let count = self.topics.get(topic).map_or(0, |known| known.partitions.len());
        if current != edition || count != from {
            return Vec::new();
        }
        let metrics = &self.metrics;
        let known = self.topics.entry(topic.clone()).or_insert_with(|| Topic {
            edition,
            partitions: Vec::new(),
            records: metrics.records.with_label_values(&[&*metrics.reader, topic]),
            bytes: metrics.bytes.with_label_values(&[&*metrics.reader, topic]),
        });
        for (number, (start, high)) in (from..).zip(starts.iter().zip(highs)) {
            let partition = partition_number(number);
            let figures = Arc::new(Figures {
                position: AtomicI64::new(*start),
                high: AtomicI64::new(*high),
                ready: AtomicBool::new(false),
                progress: Mutex::new(Instant::now()),
            });
            locked(&self.status.0).insert((topic.clone(), partition), figures.clone());
            known.partitions.push(Partition {
                next: *start,
                lost: false,
                first: *start,
                ready_at: *high,
                ready: false,
                behind: None,
                figures,
                lag: metrics.lag.with_label_values(&[&*metrics.reader, topic, &partition.to_string()]),
            });
        }
        let first: Vec<i64> = known.partitions.iter().map(|partition| partition.first).collect();
        sink.partitions(topic, &first);
        for (number, partition) in known.partitions.iter_mut().enumerate().skip(from) {
            partition.note(topic, partition_number(number), sink);
        }
        let new = known.partitions.iter().enumerate().skip(from);
        new.map(|(number, partition)| partition.start(topic, number)).collect()
    }

    /// Forgets a topic that is another one now; gives the edition to come.
    pub(crate) fn forget(&mut self, topic: &Arc<str>, sink: &dyn Sink) -> u64 {
        let edition = self.editions.entry(topic.clone()).or_default();
        *edition += 1;
        let known = self.topics.remove(topic);
        for number in 0..known.map_or(0, |known| known.partitions.len()) {
            let partition = partition_number(number);
            locked(&self.status.0).remove(&(topic.clone(), partition));
            // It is there: the partition was found once.
            let labels = [&*self.metrics.reader, topic, &partition.to_string()];
            let _ = self.metrics.lag.remove_label_values(&labels);
        }
        sink.recreated(topic);
        *edition
    }

    /// Where to go on reading, for every partition.
    pub(crate) fn starts(&mut self) -> Vec<Start> {
        let mut starts = Vec::new();
        for (topic, known) in &mut self.topics {
            for (number, partition) in known.partitions.iter_mut().enumerate() {
                partition.lost = false;
                partition.behind = None;
                starts.push(partition.start(topic, number));
            }
        }
        starts
    }
}

impl Topic {
    /// Tells a record, unless it was told before.
    pub(crate) fn record(&mut self, record: Record, sink: &dyn Sink) {
        let number = record.partition;
        let Some(partition) = self.partition(number) else { return };
        if record.offset < partition.next {
            return;
        }
        partition.next = record.offset.saturating_add(1);
        let bytes =
            record.key.as_ref().map_or(0, |key| key.len()) + record.value.as_ref().map_or(0, |v| v.len());
        self.records.inc();
        self.bytes.inc_by(bytes as u64);
        let topic = record.topic.clone();
        sink.record(record);
        if let Some(partition) = self.partition(number) {
            partition.note(&topic, number, sink);
        }
    }

    /// The end of a partition was reached; `next` is the offset after it, if that is known.
    pub(crate) fn end(&mut self, topic: &Arc<str>, number: i32, next: Option<i64>, sink: &dyn Sink) {
        let Some(partition) = self.partition(number) else { return };
        if let Some(next) = next {
            partition.skip_to(topic, number, next, sink);
        }
        if !partition.ready {
            partition.ready_at = partition.next;
        }
        partition.note(topic, number, sink);
    }

    /// The end of a partition was heard of. Whether the position has stood still for `stall` although there is
    /// more; an answer that comes later than `gap` after the one before begins the count anew.
    pub(crate) fn high(&mut self, number: i32, high: i64, stall: Duration, gap: Duration) -> bool {
        let Some(partition) = self.partition(number) else { return false };
        partition.figures.high.store(high.max(partition.next), Ordering::Relaxed);
        partition.lag.set(i64::try_from(lag(partition.next, high)).unwrap_or(i64::MAX));
        let now = Instant::now();
        if high <= partition.next || partition.lost {
            partition.behind = None;
            return false;
        }
        match &mut partition.behind {
            Some(behind) if behind.at == partition.next && now - behind.heard < gap => {
                behind.heard = now;
                now - behind.since >= stall
            }
            behind => {
                *behind = Some(Behind { at: partition.next, since: now, heard: now });
                false
            }
        }
    }

    pub(crate) fn partition(&mut self, number: i32) -> Option<&mut Partition> {
        self.partitions.get_mut(usize::try_from(number).ok()?)
    }
}

impl Partition {
    /// Moves the position forward over offsets that hold nothing for us.
    pub(crate) fn skip_to(&mut self, topic: &Arc<str>, number: i32, next: i64, sink: &dyn Sink) {
        if next > self.next {
            self.next = next;
            sink.position(topic, number, next);
            self.note(topic, number, sink);
        }
    }

    /// Publishes the position, and tells once that the partition is ready.
    fn note(&mut self, topic: &Arc<str>, number: i32, sink: &dyn Sink) {
        if self.figures.position.swap(self.next, Ordering::Relaxed) != self.next {
            *locked(&self.figures.progress) = Instant::now();
            self.figures.high.fetch_max(self.next, Ordering::Relaxed);
        }
        if !self.ready && self.next >= self.ready_at {
            self.ready = true;
            sink.ready(topic, number);
            self.figures.ready.store(true, Ordering::Relaxed);
        }
    }

    fn start(&self, topic: &Arc<str>, number: usize) -> Start {
        Start { topic: topic.clone(), partition: partition_number(number), offset: self.next }
    }
}

fn lag(position: i64, high: i64) -> u64 {
    u64::try_from(high.saturating_sub(position)).unwrap_or_default()
}

/// No panic can leave these figures half changed.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
