//! What a reader has told and the fold has not yet taken. It is bounded: a reader that is too fast waits, and Kafka with it.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use sallyport_kafka::{Record, Sink};

/// Records that may wait.
const RECORDS_MAX: usize = 8192;

/// Bytes of keys and values that may wait; one record more may always.
const BYTES_MAX: usize = 16 * 1024 * 1024;

/// What a reader tells.
#[derive(Debug)]
pub(super) enum Told {
    Record(Record),
    Partitions(Arc<str>, Vec<i64>),
    Position(Arc<str>, i32, i64),
    Ready(Arc<str>, i32),
    Recreated(Arc<str>),
    Lost(Arc<str>, i32, i64, i64),
    Identity(Arc<str>, String),
    Surveyed,
}

/// A queue between a reader and a fold. Once it is closed nobody waits, and what is told is dropped.
#[derive(Debug, Default)]
pub(super) struct Queue {
    waiting: Mutex<Waiting>,
    /// Something came, or somebody wants the fold to look up.
    came: Condvar,
    /// There is room again.
    room: Condvar,
}

#[derive(Debug, Default)]
struct Waiting {
    told: VecDeque<Told>,
    bytes: usize,
    closed: bool,
    woken: bool,
}

impl Queue {
    /// Takes all that waits, into `into`, which is empty; waits until there is something, somebody wakes it, or until then.
    pub(super) fn take(&self, into: &mut VecDeque<Told>, until: Option<Instant>) {
        let mut waiting = self.locked();
        while waiting.told.is_empty() && !waiting.woken && !waiting.closed {
            let Some(until) = until else {
                waiting = self.came.wait(waiting).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            let left = until.saturating_duration_since(Instant::now());
            if left == Duration::ZERO {
                break;
            }
            waiting = self.came.wait_timeout(waiting, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        waiting.woken = false;
        waiting.bytes = 0;
        std::mem::swap(&mut waiting.told, into);
        self.room.notify_all();
    }

    /// Makes the fold look up, whether or not something was told.
    pub(super) fn wake(&self) {
        self.locked().woken = true;
        self.came.notify_all();
    }

    /// From now on nobody waits, and what is told is dropped.
    pub(super) fn close(&self) {
        let mut waiting = self.locked();
        waiting.closed = true;
        waiting.told.clear();
        self.room.notify_all();
        self.came.notify_all();
    }

    fn put(&self, told: Told) {
        let bytes = match &told {
            Told::Record(record) => {
                record.key.as_ref().map_or(0, |key| key.len())
                    + record.value.as_ref().map_or(0, |value| value.len())
            }
            _ => 0,
        };
        let mut waiting = self.locked();
        while !waiting.closed && (waiting.told.len() >= RECORDS_MAX || waiting.bytes >= BYTES_MAX) {
            waiting = self.room.wait(waiting).unwrap_or_else(PoisonError::into_inner);
        }
        if waiting.closed {
            return;
        }
        waiting.bytes += bytes;
        waiting.told.push_back(told);
        // The fold only sleeps over an empty queue.
        if waiting.told.len() == 1 {
            self.came.notify_all();
        }
    }

    /// No panic can leave it half changed.
    fn locked(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// All partitions of the reader wait when the fold does not keep up; it is the reader of one view alone.
impl Sink for Queue {
    fn record(&self, record: Record) {
        self.put(Told::Record(record));
    }

    fn partitions(&self, topic: &Arc<str>, first: &[i64]) {
        self.put(Told::Partitions(topic.clone(), first.to_vec()));
    }

    fn position(&self, topic: &Arc<str>, partition: i32, next: i64) {
        self.put(Told::Position(topic.clone(), partition, next));
    }

    fn ready(&self, topic: &Arc<str>, partition: i32) {
        self.put(Told::Ready(topic.clone(), partition));
    }

    fn recreated(&self, topic: &Arc<str>) {
        self.put(Told::Recreated(topic.clone()));
    }

    fn lost(&self, topic: &Arc<str>, partition: i32, from: i64, to: i64) {
        self.put(Told::Lost(topic.clone(), partition, from, to));
    }

    fn identity(&self, topic: &Arc<str>, id: &str) {
        self.put(Told::Identity(topic.clone(), id.to_owned()));
    }

    fn surveyed(&self) {
        self.put(Told::Surveyed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(offset: i64, bytes: usize) -> Record {
        Record {
            topic: "t".into(),
            partition: 0,
            offset,
            timestamp: 0,
            key: None,
            headers: Vec::new(),
            value: Some(vec![b'x'; bytes].into()),
        }
    }

    #[test]
    fn a_full_queue_makes_the_reader_wait_until_it_is_taken_or_closed() {
        for (bytes, count) in [(1, RECORDS_MAX as i64 + 5), (128 * 1024, 300)] {
            let queue = Arc::new(Queue::default());
            let reader = queue.clone();
            let reading = std::thread::spawn(move || {
                (0..count).for_each(|offset| reader.record(record(offset, bytes)));
            });
            let (mut taken, mut batch) = (0, VecDeque::new());
            while taken < count {
                queue.take(&mut batch, None);
                assert!(batch.len() <= RECORDS_MAX && (batch.len() - 1) * bytes < BYTES_MAX);
                for told in batch.drain(..) {
                    let Told::Record(record) = told else { panic!("{told:?}") };
                    assert_eq!(record.offset, taken);
                    taken += 1;
                }
            }
            reading.join().unwrap();
        }
        let queue = Arc::new(Queue::default());
        let reader = queue.clone();
        let reading = std::thread::spawn(move || {
            (0..).take(RECORDS_MAX * 2).for_each(|offset| reader.record(record(offset, 1)));
        });
        queue.close();
        reading.join().unwrap();
    }

    #[test]
    fn an_empty_queue_waits_until_it_is_time_or_somebody_wakes_it() {
        let queue = Queue::default();
        let mut batch = VecDeque::new();
        queue.take(&mut batch, Some(Instant::now()));
        queue.wake();
        queue.take(&mut batch, None);
        queue.close();
        queue.take(&mut batch, None);
        assert!(batch.is_empty());
    }
}
