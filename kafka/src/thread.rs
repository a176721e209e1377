//! The reader thread: takes records from the lanes, hands them to the sink, and makes the consumer anew when it must.
//!
//! The consumer is made anew, from the positions that were told, in four cases: a topic turned out to be another one
//! (librdkafka keeps leader epochs and positions of the one before), an offset is no longer there, a partition
//! stands still although there is more, or librdkafka gives up. Nothing is lost by it and nothing told twice.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

use log::{debug, info, warn};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::types::RDKafkaErrorCode;

use crate::error::reason;
use crate::lanes::{Lanes, Polled, Start, Wake};
use crate::metrics::Metrics;
use crate::news::{News, Request};
use crate::reader::Timing;
use crate::settings::ClusterSettings;
use crate::sink::Sink;
use crate::topics::{Status, Topics};

/// Records taken from one lane before the others have their turn.
const BATCH_MAX: usize = 256;

/// The least time between two consumers.
const REBUILD_PAUSE: Duration = Duration::from_millis(500);

/// Every lane is looked at this often, should a signal have been missed.
const SWEEP: Duration = Duration::from_secs(1);

/// What wakes the reader thread.
pub(crate) enum Signal {
    /// A lane has something, or the consumer itself; of the consumer with this number.
    Lane(u64, Option<usize>),
    News(News),
    Stop,
    #[cfg(test)]
    Hold(String, i32),
}

/// How the thread hears and speaks.
pub(crate) struct Channels {
    pub(crate) signals: Sender<Signal>,
    pub(crate) received: Receiver<Signal>,
    /// Messages of the scout under way.
    pub(crate) waiting: Arc<AtomicUsize>,
    pub(crate) requests: Sender<Request>,
}

/// What the thread owns.
pub(crate) struct Thread {
    cluster: ClusterSettings,
    topics: Topics,
    sink: Arc<dyn Sink>,
    metrics: Metrics,
    timing: Timing,
    /// None only until the next attempt, if librdkafka could not make a consumer.
    lanes: Option<Lanes>,
    /// The topic, its edition and the partition of each lane.
    lane_of: Vec<(Arc<str>, u64, i32)>,
    /// Counts the consumers, so that signals of one before are known.
    generation: u64,
    /// Lanes that have more.
    busy: VecDeque<usize>,
    /// The topics' ids, in librdkafka's words.
    ids: HashMap<String, String>,
    channels: Channels,
    /// Why the consumer is to be made anew.
    rebuild: Option<&'static str>,
    rebuilt: Instant,
    swept: Instant,
    /// Partitions' last errors, to log each once.
    failing: HashMap<(Arc<str>, i32), RDKafkaErrorCode>,
}

impl Thread {
    /// A thread that reads nothing yet.
    pub(crate) fn new(
        cluster: &ClusterSettings,
        status: Status,
        sink: Arc<dyn Sink>,
        metrics: Metrics,
        timing: Timing,
        channels: Channels,
    ) -> KafkaResult<Thread> {
        let lanes = Lanes::open(&cluster.consumer(), waker(channels.signals.clone(), 0))?;
        Ok(Thread {
            cluster: cluster.clone(),
            topics: Topics::new(status, metrics.clone()),
            sink,
            metrics,
            timing,
            lanes: Some(lanes),
            lane_of: Vec::new(),
            generation: 0,
            busy: VecDeque::new(),
            ids: HashMap::new(),
            channels,
            rebuild: None,
            rebuilt: Instant::now(),
            swept: Instant::now(),
            failing: HashMap::new(),
        })
    }

    /// Runs until it is told to stop.
    pub(crate) fn run(mut self) {
        loop {
            let pause = if self.busy.is_empty() { SWEEP / 4 } else { Duration::ZERO };
            let mut signal = self.channels.received.recv_timeout(pause);
            // Signals first, so that no lane waits for another; there is at most one a lane, and little news.
            while let Ok(next) = signal {
                if matches!(next, Signal::Stop) {
                    if let Some(lanes) = self.lanes.take() {
                        lanes.close_elsewhere();
                    }
                    return;
                }
                self.take(next);
                signal = self.channels.received.try_recv().map_err(|_| RecvTimeoutError::Timeout);
            }
            if let Some(lane) = self.busy.pop_front() {
                self.drain(lane);
            }
            if self.swept.elapsed() >= SWEEP {
                self.swept = Instant::now();
                self.serve();
                self.busy = (0..self.lane_of.len()).collect();
            }
            if self.rebuild.is_some() && (self.rebuilt.elapsed() >= REBUILD_PAUSE) {
                self.make_anew();
            }
        }
    }

    fn take(&mut self, signal: Signal) {
        match signal {
            Signal::Lane(generation, _) if generation != self.generation => {}
            Signal::Lane(_, Some(lane)) => self.busy.push_back(lane),
            Signal::Lane(_, None) => self.serve(),
            Signal::News(news) => {
                self.channels.waiting.fetch_sub(1, Ordering::AcqRel);
                self.learn(news);
            }
            Signal::Stop => {}
            #[cfg(test)]
            Signal::Hold(topic, partition) => {
                if let Some(lanes) = &self.lanes {
                    lanes.hold(&topic, partition);
                }
            }
        }
    }

    /// Takes a batch from a lane and tells it.
    fn drain(&mut self, lane: usize) {
        let Some(lanes) = &self.lanes else { return };
        let Some((name, edition, number)) = self.lane_of.get(lane).cloned() else { return };
        lanes.hear(lane);
        let mut batch = Vec::new();
        while batch.len() < BATCH_MAX
            && let Some(polled) = lanes.poll(lane)
        {
            batch.push(polled);
        }
        if batch.is_empty() {
            return;
        }
        if batch.len() == BATCH_MAX {
            self.busy.push_back(lane);
        }
        // librdkafka tells of a topic's new id before it fetches by it. So if this batch is the new topic's, then the
        // line about it is in the other queue by now.
        self.serve();
        let Some(topic) = self.topics.edition(&name, edition) else { return };
        for polled in batch {
            match polled {
                Polled::Record(record) => {
                    if !self.failing.is_empty() {
                        self.failing.remove(&(name.clone(), number));
                    }
                    topic.record(record, &*self.sink);
                }
                Polled::End(next) => topic.end(&name, number, next, &*self.sink),
                Polled::OutOfRange => {
                    if let Some(partition) = topic.partition(number) {
                        partition.lost = true;
                    }
                    self.metrics.errors.with_label_values(&[&**self.cluster.name(), "out_of_range"]).inc();
                    let _ = self.channels.requests.send(Request::Examine { topic: name.clone(), edition });
                }
                Polled::Failed(code) => {
                    self.metrics.errors.with_label_values(&[&**self.cluster.name(), "partition"]).inc();
                    if self.failing.insert((name.clone(), number), code) != Some(code) {
                        warn!("reading {name}/{number} of Kafka cluster `{}`: {code}", self.cluster.name());
                    }
                }
            }
        }
    }

    /// Serves the consumer's own queue, and heeds what it says about topics.
    fn serve(&mut self) {
        let Some(lanes) = &self.lanes else { return };
        let errors = lanes.serve();
        let ids = lanes.context().take_ids();
        for error in errors {
            if matches!(error, KafkaError::MessageConsumptionFatal(_)) {
                self.rebuild = Some("librdkafka gave up");
            }
            self.metrics.errors.with_label_values(&[&**self.cluster.name(), "client"]).inc();
            debug!("Kafka cluster `{}`: {}", self.cluster.name(), reason(&error));
        }
        for found in ids {
            let before = self.ids.insert(found.topic.clone(), found.id.clone());
            let Some(topic) = self.topics.known(&found.topic).map(|(topic, _)| topic.clone()) else {
                continue;
            };
            if before.as_ref().is_some_and(|before| *before != found.id) {
                self.recreate(&topic, "it has a new id");
            }
            if before.is_none_or(|before| before != found.id) {
                self.sink.identity(&topic, &found.id);
            }
        }
    }

    fn recreate(&mut self, topic: &Arc<str>, why: &str) {
        warn!("topic `{topic}` of Kafka cluster `{}` was deleted or made again: {why}", self.cluster.name());
        self.metrics.recreated.with_label_values(&[&**self.cluster.name()]).inc();
        let edition = self.topics.forget(topic, &*self.sink);
        self.failing.retain(|(failing, _), _| failing != topic);
        let _ = self.channels.requests.send(Request::Forget { topic: topic.clone(), edition });
        self.rebuild = Some("a topic was deleted or made again");
    }

    fn learn(&mut self, news: News) {
        match news {
            News::Found { topic, edition, from, starts, highs } => {
                let starts = self.topics.found((&topic, edition), from, &starts, &highs, &*self.sink);
                if !starts.is_empty() {
                    // It may have been heard of before its partitions were.
                    if let Some(id) = self.ids.get(&*topic).filter(|_| from == 0) {
                        self.sink.identity(&topic, id);
                    }
                    info!(
                        "reading {} partitions of topic `{topic}` of Kafka cluster `{}`",
                        starts.len(),
                        self.cluster.name()
                    );
                }
                // A consumer that is to be made anew will have them then.
                if self.rebuild.is_none() {
                    self.assign(&starts);
                }
            }
            News::Highs(highs) => {
                let gap = self.timing.watermarks * 4 + self.timing.timeout;
                let mut stuck = None;
                for high in highs {
                    if let Some(topic) = self.topics.edition(&high.topic, high.edition)
                        && topic.high(high.partition, high.high, self.timing.stall, gap)
                    {
                        stuck = Some((high.topic, high.partition));
                    }
                }
                if let Some((topic, partition)) = stuck.filter(|_| self.rebuild.is_none()) {
                    self.metrics.stalls.with_label_values(&[&**self.cluster.name()]).inc();
                    warn!(
                        "reading {topic}/{partition} of Kafka cluster `{}` stands still",
                        self.cluster.name()
                    );
                    self.rebuild = Some("a partition stood still");
                }
            }
            News::Bounds { topic, edition, lows, highs } => self.settle(&topic, edition, &lows, &highs),
            News::Surveyed => self.sink.surveyed(),
            News::Gone { topic, edition } => {
                if self.topics.edition(&topic, edition).is_some() {
                    self.ids.remove(&*topic);
                    self.recreate(&topic, "it is gone, or has fewer partitions");
                }
            }
        }
    }

    /// Decides what it means that an offset was not there.
    fn settle(&mut self, name: &Arc<str>, edition: u64, lows: &[i64], highs: &[i64]) {
        let sink = self.sink.clone();
        let Some(topic) = self.topics.edition(name, edition) else { return };
        if !topic.partitions.iter().any(|partition| partition.lost) {
            return;
        }
        let mut beyond = false;
        for (number, (low, high)) in (0..).zip(lows.iter().zip(highs)) {
            let Some(partition) = topic.partition(number).filter(|partition| partition.lost) else {
                continue;
            };
            if partition.next > *high {
                beyond = true;
            } else if partition.next < *low {
                let cluster = self.cluster.name();
                warn!(
                    "{name}/{number} of Kafka cluster `{cluster}`: offsets {} up to {low} were deleted unread",
                    partition.next
                );
                self.metrics.errors.with_label_values(&[&**cluster, "overtaken"]).inc();
                sink.lost(name, number, partition.next, *low);
                partition.skip_to(name, number, *low, &*sink);
            }
        }
        self.rebuild = Some("an offset was not there");
        if beyond {
            self.recreate(name, "it ends before what was read");
        }
    }

    fn assign(&mut self, starts: &[Start]) {
        let Some(lanes) = &mut self.lanes else { return };
        for start in starts {
            let edition = self.topics.known(&start.topic).map_or(0, |(_, topic)| topic.edition);
            self.lane_of.push((start.topic.clone(), edition, start.partition));
        }
        if let Err(error) = lanes.assign(starts) {
            warn!("Kafka cluster `{}`: cannot read more partitions: {}", self.cluster.name(), reason(&error));
            self.rebuild = Some("partitions could not be added");
        }
        debug_assert!(self.rebuild.is_some() || lanes.len() == self.lane_of.len());
    }

    /// Makes the consumer anew, from the positions that were told.
    fn make_anew(&mut self) {
        self.rebuilt = Instant::now();
        let why = self.rebuild.take().unwrap_or_default();
        if let Some(lanes) = self.lanes.take() {
            lanes.close_elsewhere();
        }
        self.generation += 1;
        self.busy.clear();
        self.lane_of.clear();
        match Lanes::open(&self.cluster.consumer(), waker(self.channels.signals.clone(), self.generation)) {
            Ok(lanes) => {
                info!("the consumer of Kafka cluster `{}` was made anew: {why}", self.cluster.name());
                self.lanes = Some(lanes);
                let starts = self.topics.starts();
                self.assign(&starts);
            }
            Err(error) => {
                warn!("Kafka cluster `{}`: no new consumer: {}", self.cluster.name(), reason(&error));
                self.rebuild = Some(why);
            }
        }
    }
}

fn waker(signals: Sender<Signal>, generation: u64) -> Wake {
    // A reader thread that has ended needs not be woken.
    Arc::new(move |lane| {
        let _ = signals.send(Signal::Lane(generation, lane));
    })
}
