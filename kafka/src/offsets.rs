//! Questions about offsets, for many partitions in one request a broker.

use std::sync::Arc;
use std::time::Duration;

use rdkafka::TopicPartitionList;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::topic_partition_list::Offset;

use crate::context::Context;

/// Which offset is asked for.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Asked {
    /// The first that is there.
    Low,
    /// The one after the last committed record (ListOffsets with the consumer's isolation level).
    High,
    /// The first whose record is not older than this, in milliseconds since 1970.
    Since(i64),
}

/// Asks for one offset of each partition and waits. `Ok(None)` for a partition: no record is young enough.
///
/// # Errors
/// The outer error if nobody answers; the inner if a partition has none, such as without a leader.
pub(crate) fn ask(
    client: &BaseConsumer<Context>,
    partitions: &[(Arc<str>, i32)],
    asked: Asked,
    timeout: Duration,
) -> KafkaResult<Vec<KafkaResult<Option<i64>>>> {
    if partitions.is_empty() {
        return Ok(Vec::new());
    }
    // ListOffsets takes the two ends as negative times, with the same numbers as the logical offsets.
    let time = match asked {
        Asked::Low => Offset::Beginning,
        Asked::High => Offset::End,
        Asked::Since(time) => Offset::Offset(time),
    };
    let mut list = TopicPartitionList::with_capacity(partitions.len());
    for (topic, partition) in partitions {
        list.add_partition_offset(topic, *partition, time)?;
    }
    let answer = client.offsets_for_times(list, timeout)?;
    let found = partitions.iter().map(|(topic, partition)| {
        let element = answer
            .find_partition(topic, *partition)
            .ok_or(KafkaError::OffsetFetch(rdkafka::types::RDKafkaErrorCode::UnknownPartition))?;
        element.error()?;
        match element.offset() {
            Offset::Offset(offset) => Ok(Some(offset)),
            _ => Ok(None),
        }
    });
    Ok(found.collect())
}

/// The same for callers that need all or nothing; a partition without such an offset is an error.
pub(crate) fn ask_all(
    client: &BaseConsumer<Context>,
    partitions: &[(Arc<str>, i32)],
    asked: Asked,
    timeout: Duration,
) -> KafkaResult<Vec<i64>> {
    let missing = KafkaError::OffsetFetch(rdkafka::types::RDKafkaErrorCode::NoOffset);
    ask(client, partitions, asked, timeout)?
        .into_iter()
        .map(|offset| offset?.ok_or_else(|| missing.clone()))
        .collect()
}
