//! Reading ranges of offsets again, with a consumer of its own. Blocks.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use rdkafka::consumer::BaseConsumer;
use rdkafka::error::KafkaError;

use crate::Record;
use crate::context::Context;
use crate::error::{ReadError, reason};
use crate::lanes::{Lanes, Polled, Start};
use crate::offsets::{Asked, ask_all};
use crate::settings::ClusterSettings;

/// A range of a partition. A partition may come only once among the ranges of a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Range {
    /// The topic.
    pub topic: Arc<str>,
    /// The partition.
    pub partition: i32,
    /// The first offset.
    pub from: i64,
    /// The offset after the last.
    pub to: i64,
}

/// Reads the ranges and calls `each` for every record in them, in order within a partition. A range ends at its end
/// or at the last committed record, whichever comes first. Blocks for up to `timeout`, and a little more to close.
///
/// # Errors
/// [`ReadError::Gone`] if a range begins before what the partition holds, or after its end: before any record is
/// told. [`ReadError::TooMany`] once there are more than `records_max` in all.
pub fn read_ranges(
    cluster: &ClusterSettings,
    ranges: &[Range],
    records_max: u64,
    timeout: Duration,
    each: &mut dyn FnMut(Record),
) -> Result<(), ReadError> {
    let until = Instant::now() + timeout;
    let ranges: Vec<&Range> = ranges.iter().filter(|range| range.from < range.to).collect();
    if ranges.is_empty() {
        return Ok(());
    }
    let ends = ends(cluster, &ranges, until)?;
    // What is empty has nothing to wait for.
    let (starts, ends): (Vec<Start>, Vec<i64>) = ranges
        .iter()
        .zip(ends)
        .filter(|(range, end)| range.from < *end)
        .map(|(range, end)| {
            (Start { topic: range.topic.clone(), partition: range.partition, offset: range.from }, end)
        })
        .unzip();
    let (signal, signals) = channel();
    // The receiver lives as long as the lanes.
    let wake = Arc::new(move |lane| {
        let _ = signal.send(lane);
    });
    let unavailable = |error: KafkaError| ReadError::Unavailable(reason(&error));
    let mut lanes = Lanes::open(&cluster.consumer(), wake).map_err(unavailable)?;
    let read = lanes.assign(&starts).map_err(unavailable).and_then(|()| {
        Reading { lanes: &lanes, starts: &starts, ends: &ends, left: records_max, records_max }
            .run(&signals, until, each)
    });
    lanes.close_elsewhere();
    read
}

/// Where each range ends in truth: at its end or at the partition's.
fn ends(cluster: &ClusterSettings, ranges: &[&Range], until: Instant) -> Result<Vec<i64>, ReadError> {
    let unavailable = |error: KafkaError| ReadError::Unavailable(reason(&error));
    let client: BaseConsumer<Context> =
        cluster.scout().create_with_context(Context::default()).map_err(unavailable)?;
    let partitions: Vec<_> = ranges.iter().map(|range| (range.topic.clone(), range.partition)).collect();
    let left = || until.saturating_duration_since(Instant::now());
    let lows = ask_all(&client, &partitions, Asked::Low, left()).map_err(unavailable)?;
    let highs = ask_all(&client, &partitions, Asked::High, left()).map_err(unavailable)?;
    let bounds = lows.into_iter().zip(highs);
    ranges
        .iter()
        .zip(bounds)
        .map(|(range, (low, high))| {
            if range.from < low || range.from > high {
                let Range { topic, partition, from, .. } = (*range).clone();
                return Err(ReadError::Gone { topic, partition, from, low, high });
            }
            Ok(range.to.min(high))
        })
        .collect()
}

struct Reading<'a> {
    lanes: &'a Lanes,
    starts: &'a [Start],
    ends: &'a [i64],
    left: u64,
    records_max: u64,
}

impl Reading<'_> {
    fn run(
        &mut self,
        signals: &Receiver<Option<usize>>,
        until: Instant,
        each: &mut dyn FnMut(Record),
    ) -> Result<(), ReadError> {
        let mut open = vec![true; self.ends.len()];
        while open.contains(&true) {
            match signals.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok(Some(lane)) => {
                    if open.get(lane).copied().unwrap_or_default() {
                        open[lane] = !self.drain(lane, until, each)?;
                    }
                }
                Ok(None) => drop(self.lanes.serve()),
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                    return Err(ReadError::Timeout);
                }
            }
        }
        Ok(())
    }

    /// Takes what the lane has; whether its range is done.
    fn drain(
        &mut self,
        lane: usize,
        until: Instant,
        each: &mut dyn FnMut(Record),
    ) -> Result<bool, ReadError> {
        self.lanes.hear(lane);
        let end = self.ends[lane];
        while let Some(polled) = self.lanes.poll(lane) {
            match polled {
                Polled::Record(record) if record.offset >= end => return Ok(true),
                Polled::Record(record) => {
                    self.left = self.left.checked_sub(1).ok_or(ReadError::TooMany(self.records_max))?;
                    let last = record.offset + 1 >= end;
                    each(record);
                    if last {
                        return Ok(true);
                    }
                }
                Polled::End(_) => return Ok(true),
                Polled::OutOfRange => {
                    let Start { topic, partition, offset } = self.starts[lane].clone();
                    // Retention was quicker than we; where the partition begins now is not known here.
                    return Err(ReadError::Gone {
                        topic,
                        partition,
                        from: offset,
                        low: offset + 1,
                        high: end,
                    });
                }
                Polled::Failed(code) => return Err(ReadError::Unavailable(code.to_string())),
            }
            if Instant::now() >= until {
                return Err(ReadError::Timeout);
            }
        }
        Ok(false)
    }
}
