//! A consumer whose partitions have a queue each.
//!
//! With one queue for all, librdkafka's errors and ends of partitions come without the topic they belong to. So each
//! assigned partition is a *lane* with its own queue; a lane that gets something signals once, until it is polled.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use rdkafka::consumer::base_consumer::PartitionQueue;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::message::{BorrowedHeaders, BorrowedMessage, Headers};
use rdkafka::topic_partition_list::Offset;
use rdkafka::types::RDKafkaErrorCode;
use rdkafka::{ClientConfig, Message, Timestamp, TopicPartitionList};

use crate::Record;
use crate::context::Context;

/// Receives signals on librdkafka's threads: `Some(lane)` has something, or the consumer itself (`None`).
pub(crate) type Wake = Arc<dyn Fn(Option<usize>) + Send + Sync>;

/// Where to begin to read a partition.
#[derive(Debug, Clone)]
pub(crate) struct Start {
    pub(crate) topic: Arc<str>,
    pub(crate) partition: i32,
    pub(crate) offset: i64,
}

/// What a lane had.
#[derive(Debug)]
pub(crate) enum Polled {
    /// A record.
    Record(Record),
    /// The partition's end: the next offset, if librdkafka told it.
    End(Option<i64>),
    /// The offset to read next is not there; the partition stands still until it is assigned anew.
    OutOfRange,
    /// Something else; librdkafka goes on by itself.
    Failed(RDKafkaErrorCode),
}

/// A consumer and its lanes. A lane keeps its number.
pub(crate) struct Lanes {
    lanes: Vec<Lane>,
    consumer: Arc<BaseConsumer<Context>>,
    wake: Wake,
    signalled: Arc<AtomicBool>,
}

struct Lane {
    queue: PartitionQueue<Context>,
    signalled: Arc<AtomicBool>,
    topic: Arc<str>,
    partition: i32,
}

impl Lanes {
    pub(crate) fn open(config: &ClientConfig, wake: Wake) -> KafkaResult<Lanes> {
        let mut consumer: BaseConsumer<Context> = config.create_with_context(Context::default())?;
        let signalled = Arc::new(AtomicBool::new(false));
        let (wake_main, signalled_main) = (wake.clone(), signalled.clone());
        consumer.set_nonempty_callback(move || {
            if !signalled_main.swap(true, Ordering::AcqRel) {
                wake_main(None);
            }
        });
        // What came before there was a callback signals nothing.
        wake(None);
        Ok(Lanes { lanes: Vec::new(), consumer: Arc::new(consumer), wake, signalled })
    }

    /// Adds a lane for each start, in order. A partition may come only once in the life of the lanes.
    pub(crate) fn assign(&mut self, starts: &[Start]) -> KafkaResult<()> {
        let mut list = TopicPartitionList::with_capacity(starts.len());
        for start in starts {
            // Before the assignment: librdkafka leaves a queue alone that was split from the others.
            let mut queue = self
                .consumer
                .split_partition_queue(&start.topic, start.partition)
                .ok_or(KafkaError::Global(RDKafkaErrorCode::UnknownPartition))?;
            let signalled = Arc::new(AtomicBool::new(false));
            let (wake, index, mark) = (self.wake.clone(), self.lanes.len(), signalled.clone());
            queue.set_nonempty_callback(move || {
                if !mark.swap(true, Ordering::AcqRel) {
                    wake(Some(index));
                }
            });
            self.lanes.push(Lane {
                queue,
                signalled,
                topic: start.topic.clone(),
                partition: start.partition,
            });
            list.add_partition_offset(&start.topic, start.partition, Offset::Offset(start.offset))?;
        }
        if starts.is_empty() { Ok(()) } else { self.consumer.incremental_assign(&list) }
    }

    pub(crate) fn len(&self) -> usize {
        self.lanes.len()
    }

    pub(crate) fn context(&self) -> &Context {
        self.consumer.client().context()
    }

    /// Takes what the lane has next. Before the first call after a signal, [`Lanes::hear`] must be called.
    pub(crate) fn poll(&self, lane: usize) -> Option<Polled> {
        let lane = self.lanes.get(lane)?;
        let polled = lane.queue.poll(Duration::ZERO)?;
        Some(match polled {
            Ok(message) => Polled::Record(owned(&message, lane)),
            Err(KafkaError::PartitionEOF(_)) => Polled::End(self.context().take_end()),
            Err(error) => match error.rdkafka_error_code() {
                Some(RDKafkaErrorCode::AutoOffsetReset | RDKafkaErrorCode::OffsetOutOfRange) => {
                    Polled::OutOfRange
                }
                code => Polled::Failed(code.unwrap_or(RDKafkaErrorCode::Unknown)),
            },
        })
    }

    /// Lets the lane signal again.
    pub(crate) fn hear(&self, lane: usize) {
        if let Some(lane) = self.lanes.get(lane) {
            lane.signalled.store(false, Ordering::Release);
        }
    }

    /// Serves the consumer's own queue until it is empty: log lines and errors, of which the context takes note.
    /// Gives the errors of the consumer as a whole.
    pub(crate) fn serve(&self) -> Vec<KafkaError> {
        self.signalled.store(false, Ordering::Release);
        let mut errors = Vec::new();
        loop {
            let told = self.context().told();
            match self.consumer.poll(Duration::ZERO) {
                Some(Err(error)) => errors.push(error),
                // No partition feeds this queue.
                Some(Ok(_)) => {}
                // A poll that served a log line gives nothing, as does one of an empty queue.
                None if self.context().told() == told => return errors,
                None => {}
            }
        }
    }

    /// Closes the consumer, which may take time, or never end if librdkafka is stuck: so not on this thread.
    pub(crate) fn close_elsewhere(self) {
        let closing = std::thread::Builder::new().name("kafka-close".to_owned()).spawn(move || drop(self));
        if let Err(error) = closing {
            log::warn!("a Kafka consumer was closed in place: cannot start a thread: {error}");
        }
    }

    /// Makes a partition stand still, as a stuck consumer would.
    #[cfg(test)]
    pub(crate) fn hold(&self, topic: &str, partition: i32) {
        let mut list = TopicPartitionList::new();
        list.add_partition(topic, partition);
        self.consumer.pause(&list).unwrap();
    }
}

fn owned(message: &BorrowedMessage<'_>, lane: &Lane) -> Record {
    let copy = |bytes: &[u8]| Bytes::copy_from_slice(bytes);
    Record {
        topic: lane.topic.clone(),
        partition: lane.partition,
        offset: message.offset(),
        timestamp: match message.timestamp() {
            Timestamp::CreateTime(time) | Timestamp::LogAppendTime(time) => time,
            Timestamp::NotAvailable => 0,
        },
        key: message.key().map(copy),
        headers: message.headers().map_or_else(Vec::new, owned_headers),
        value: message.payload().map(copy),
    }
}

/// Copies the headers whose names are UTF-8. rdkafka 0.39 panics on any other name, so that one record would end the
/// thread; there is no other way to the names, and the panic passes through no C code.
fn owned_headers(headers: &BorrowedHeaders) -> Vec<(Box<str>, Bytes)> {
    let copy = |index| {
        let header = headers.try_get(index)?;
        Some((Box::from(header.key), header.value.map_or_else(Bytes::new, Bytes::copy_from_slice)))
    };
    (0..headers.count())
        .filter_map(|index| catch_unwind(AssertUnwindSafe(|| copy(index))).unwrap_or_default())
        .collect()
}
