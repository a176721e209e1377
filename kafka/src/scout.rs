//! The scout thread: asks the cluster what exists and how far it reaches, so that the reader thread need not wait.
//!
//! A topic has an *edition*, counted by the reader thread each time a topic turns out to be another one than before.
//! What the scout found out about an earlier edition is ignored.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, TryRecvError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use log::{info, warn};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::types::{RDKafkaErrorCode, RDKafkaRespErr};

use crate::context::Context;
use crate::error::reason;
use crate::metrics::Metrics;
use crate::news::{High, News, Request};
use crate::offsets::{Asked, ask, ask_all};
use crate::pattern::TopicPattern;
use crate::reader::{Begin, Timing};

/// Names asked for one by one; with more, or with a pattern, all topics are asked for at once.
const NAMES_ASKED_MAX: usize = 16;

/// Topics that are read at most; more are told once in the log and left.
const TOPICS_MAX: usize = 10_000;

/// A topic must be missing in so many answers before it is taken for deleted: a broker that has just started may
/// not know all topics yet.
const MISSING_ANSWERS_MIN: u32 = 3;

/// A topic in the cluster's own words.
struct Seen {
    partitions: usize,
    /// Whether each partition has a leader.
    led: Vec<bool>,
}

/// A topic that the reader thread knows.
struct Known {
    edition: u64,
    partitions: usize,
    missing: Option<(Instant, u32)>,
}

/// What the thread owns.
pub(crate) struct Scout {
    pub(crate) cluster: Arc<str>,
    pub(crate) client: BaseConsumer<Context>,
    pub(crate) patterns: Vec<TopicPattern>,
    pub(crate) finds_times: bool,
    pub(crate) begin: Begin,
    pub(crate) timing: Timing,
    pub(crate) metrics: Metrics,
    pub(crate) requests: Receiver<Request>,
    /// Tells the reader thread; `false` if it is too busy to take more now.
    pub(crate) tell: Box<dyn Fn(News) -> bool + Send>,
    pub(crate) state: State,
}

/// What the thread remembers.
#[derive(Default)]
pub(crate) struct State {
    known: HashMap<Arc<str>, Known>,
    editions: HashMap<Arc<str>, u64>,
    examine: HashMap<Arc<str>, u64>,
    /// The topics that the first answer named: they are read from the window's beginning, later ones from their own.
    first: Option<HashSet<String>>,
    answering: Option<bool>,
    unreadable: HashSet<String>,
    unsettled: bool,
    surveyed: bool,
    too_many: bool,
}

impl Scout {
    /// Runs until it is told to stop or nobody listens any more.
    pub(crate) fn run(mut self) {
        let mut looked: Option<Instant> = None;
        loop {
            let due = looked.is_none_or(|at| at.elapsed() >= self.timing.discovery) || self.state.unsettled;
            let done = if due { self.look() } else { self.measure(None) };
            if due && done.is_ok() {
                looked = Some(Instant::now());
            }
            self.note_answer(done);
            // Log lines of this client carry the reason why it cannot connect.
            while self.client.poll(Duration::ZERO).is_some() {}
            let pause =
                if self.state.unsettled { self.timing.watermarks / 4 } else { self.timing.watermarks };
            let mut request = self.requests.recv_timeout(pause);
            loop {
                match request {
                    Ok(Request::Stop) | Err(RecvTimeoutError::Disconnected) => return,
                    Ok(Request::Forget { topic, edition }) => {
                        self.state.known.remove(&topic);
                        self.state.examine.remove(&topic);
                        self.state.editions.insert(topic, edition);
                        looked = None;
                    }
                    Ok(Request::Examine { topic, edition }) => {
                        self.state.examine.insert(topic, edition);
                    }
                    Err(RecvTimeoutError::Timeout) => break,
                }
                request = self.requests.try_recv().map_err(|error| match error {
                    TryRecvError::Empty => RecvTimeoutError::Timeout,
                    TryRecvError::Disconnected => RecvTimeoutError::Disconnected,
                });
            }
        }
    }

    /// Logs a change of state, not each attempt.
    fn note_answer(&mut self, done: KafkaResult<()>) {
        let answering = done.is_ok();
        if let Err(error) = &done {
            self.metrics.errors.with_label_values(&[&*self.cluster, "unavailable"]).inc();
            if self.state.answering != Some(false) {
                let words = self.client.context().take_reason().unwrap_or_else(|| reason(error));
                warn!(
                    "Kafka cluster `{}` does not answer: {words}; trying again until it does",
                    self.cluster
                );
            }
        } else if self.state.answering != Some(true) {
            info!("Kafka cluster `{}` answers", self.cluster);
        }
        self.state.answering = Some(answering);
    }

    /// Asks which topics there are, and tells what changed.
    fn look(&mut self) -> KafkaResult<()> {
        let seen = self.seen()?;
        self.state.unsettled = false;
        for (name, topic) in &seen {
            self.compare(name, topic)?;
        }
        if self.state.first.is_none() {
            self.state.first = Some(seen.keys().cloned().collect());
        }
        if !self.state.surveyed && !self.state.unsettled && self.state.unreadable.is_empty() {
            self.state.surveyed = (self.tell)(News::Surveyed);
        }
        let mut gone = Vec::new();
        for (topic, known) in &mut self.state.known {
            if seen.contains_key(&**topic) {
                known.missing = None;
                continue;
            }
            let (since, answers) = known.missing.get_or_insert((Instant::now(), 0));
            *answers += 1;
            self.state.unsettled = true;
            if *answers >= MISSING_ANSWERS_MIN && since.elapsed() >= self.timing.gone {
                gone.push(News::Gone { topic: topic.clone(), edition: known.edition });
            }
        }
        for news in gone {
            (self.tell)(news);
        }
        self.measure(Some(&seen))
    }

    /// The topics that are meant and can be read.
    fn seen(&mut self) -> KafkaResult<HashMap<String, Seen>> {
        let names: Vec<&str> = self.patterns.iter().filter_map(TopicPattern::name).collect();
        let mut seen = HashMap::new();
        let mut unreadable = HashMap::new();
        let mut note = |metadata: rdkafka::metadata::Metadata, patterns: &[TopicPattern]| {
            for topic in
                metadata.topics().iter().filter(|topic| patterns.iter().any(|p| p.matches(topic.name())))
            {
                match topic.error() {
                    None => {
                        let mut led = vec![false; topic.partitions().len()];
                        for partition in topic.partitions() {
                            let slot = usize::try_from(partition.id()).ok().and_then(|id| led.get_mut(id));
                            if let Some(slot) = slot {
                                *slot = partition.leader() >= 0;
                            }
                        }
                        seen.insert(topic.name().to_owned(), Seen { partitions: led.len(), led });
                    }
                    Some(
                        RDKafkaRespErr::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART
                        | RDKafkaRespErr::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_ID
                        | RDKafkaRespErr::RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC,
                    ) => {}
                    Some(error) => {
                        // Known to exist, so not missing; without partitions there is nothing to compare.
                        seen.insert(topic.name().to_owned(), Seen { partitions: 0, led: Vec::new() });
                        unreadable.insert(topic.name().to_owned(), RDKafkaErrorCode::from(error));
                    }
                }
            }
        };
        if names.len() == self.patterns.len() && names.len() <= NAMES_ASKED_MAX {
            for name in names {
                note(self.client.fetch_metadata(Some(name), self.timing.timeout)?, &self.patterns);
            }
        } else {
            note(self.client.fetch_metadata(None, self.timing.timeout)?, &self.patterns);
        }
        self.note_unreadable(unreadable);
        Ok(seen)
    }

    fn note_unreadable(&mut self, now: HashMap<String, RDKafkaErrorCode>) {
        let mut names = HashSet::new();
        for (topic, code) in now {
            if !self.state.unreadable.contains(&topic) {
                self.metrics.errors.with_label_values(&[&*self.cluster, "topic"]).inc();
                warn!("topic `{topic}` of Kafka cluster `{}` cannot be read: {code}", self.cluster);
            }
            names.insert(topic);
        }
        self.state.unreadable = names;
    }

    /// Tells of new partitions, or that a topic is not the one it was.
    fn compare(&mut self, name: &str, seen: &Seen) -> KafkaResult<()> {
        let known = self.state.known.get_key_value(name);
        let (topic, edition, from) = match known {
            Some((topic, known)) => (topic.clone(), known.edition, known.partitions),
            None => {
                let topic: Arc<str> = name.into();
                let edition = self.state.editions.get(&topic).copied().unwrap_or_default();
                (topic, edition, 0)
            }
        };
        if seen.partitions == 0 || seen.partitions == from {
            return Ok(());
        }
        if seen.partitions < from {
            (self.tell)(News::Gone { topic, edition });
            return Ok(());
        }
        if known.is_none() && self.state.known.len() >= TOPICS_MAX {
            if !std::mem::replace(&mut self.state.too_many, true) {
                warn!(
                    "Kafka cluster `{}`: more than {TOPICS_MAX} topics match; the others are left",
                    self.cluster
                );
            }
            return Ok(());
        }
        if !seen.led[from..].iter().all(|led| *led) {
            self.state.unsettled = true;
            return Ok(());
        }
        let new: Vec<_> =
            (from..seen.partitions).map(|number| (topic.clone(), partition_number(number))).collect();
        let old =
            from == 0 && edition == 0 && self.state.first.as_ref().is_none_or(|first| first.contains(name));
        let found = self.starts(&new, old, edition == 0);
        let (starts, highs) = match found {
            Ok(found) => found,
            // One topic's trouble is not the others'; the next look tries again.
            Err(error) if !is_transport(&error) => {
                self.state.unsettled = true;
                self.metrics.errors.with_label_values(&[&*self.cluster, "offsets"]).inc();
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        if (self.tell)(News::Found { topic: topic.clone(), edition, from, starts, highs }) {
            self.state.known.insert(topic, Known { edition, partitions: seen.partitions, missing: None });
        } else {
            self.state.unsettled = true;
        }
        Ok(())
    }

    /// Where to begin, and where the partitions end now. Partitions that are `old` begin with the window, where the
    /// broker knows about times, or, where a topic is the `same` as at the
    /// start, at the offsets that were given; others at their first record.
    fn starts(
        &self,
        partitions: &[(Arc<str>, i32)],
        old: bool,
        same: bool,
    ) -> KafkaResult<(Vec<i64>, Vec<i64>)> {
        let timeout = self.timing.timeout;
        let lows = ask_all(&self.client, partitions, Asked::Low, timeout)?;
        let starts = match &self.begin {
            Begin::Window(window) if old && self.finds_times => {
                let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
                let since = i64::try_from(now.saturating_sub(*window).as_millis()).unwrap_or(i64::MAX);
                let times = ask(&self.client, partitions, Asked::Since(since), timeout)?;
                times.into_iter().collect::<KafkaResult<Vec<_>>>()?
            }
            _ => lows.iter().copied().map(Some).collect(),
        };
        // Asked last: what comes after this is new.
        let highs = ask_all(&self.client, partitions, Asked::High, timeout)?;
        if let (Begin::At(stored), true) = (&self.begin, same) {
            let at = |((topic, partition), (low, high)): (&(Arc<str>, i32), (&i64, &i64))| {
                stored(topic, *partition).filter(|stored| (*low..=*high).contains(stored)).unwrap_or(*low)
            };
            let starts = partitions.iter().zip(lows.iter().zip(&highs)).map(at);
            return Ok((starts.collect(), highs));
        }
        let starts = starts
            .into_iter()
            .zip(lows.iter().zip(&highs))
            .map(|(start, (low, high))| start.unwrap_or(*high).clamp(*low, (*high).max(*low)))
            .collect();
        Ok((starts, highs))
    }

    /// Asks how far the known partitions reach; those without a leader are left out, if that is known.
    fn measure(&mut self, seen: Option<&HashMap<String, Seen>>) -> KafkaResult<()> {
        let mut asked = Vec::new();
        let mut editions = Vec::new();
        for (topic, known) in &self.state.known {
            let led = seen.and_then(|seen| seen.get(&**topic)).map(|seen| seen.led.as_slice());
            for number in 0..known.partitions {
                if known.missing.is_none()
                    && led.is_none_or(|led| led.get(number).copied().unwrap_or_default())
                {
                    asked.push((topic.clone(), partition_number(number)));
                    editions.push(known.edition);
                }
            }
        }
        let highs = match ask(&self.client, &asked, Asked::High, self.timing.timeout) {
            Ok(highs) => highs,
            Err(error) if is_transport(&error) => return Err(error),
            // A partition lost its leader or its topic: the next look will tell.
            Err(_) => {
                self.state.unsettled = true;
                return Ok(());
            }
        };
        let highs = asked
            .into_iter()
            .zip(editions)
            .zip(highs)
            .filter_map(|(((topic, partition), edition), high)| {
                Some(High { topic, edition, partition, high: high.ok()?? })
            })
            .collect();
        (self.tell)(News::Highs(highs));
        self.examine()
    }

    fn examine(&mut self) -> KafkaResult<()> {
        let wanted: Vec<_> =
            self.state.examine.iter().map(|(topic, edition)| (topic.clone(), *edition)).collect();
        for (topic, edition) in wanted {
            let count = self.state.known.get(&topic).map_or(0, |known| known.partitions);
            let partitions: Vec<_> =
                (0..count).map(|number| (topic.clone(), partition_number(number))).collect();
            let bounds =
                ask_all(&self.client, &partitions, Asked::Low, self.timing.timeout).and_then(|lows| {
                    let highs = ask_all(&self.client, &partitions, Asked::High, self.timing.timeout)?;
                    Ok((lows, highs))
                });
            match bounds {
                Ok((lows, highs)) => {
                    if (self.tell)(News::Bounds { topic: topic.clone(), edition, lows, highs }) {
                        self.state.examine.remove(&topic);
                    }
                }
                Err(error) if is_transport(&error) => return Err(error),
                Err(_) => self.state.unsettled = true,
            }
        }
        Ok(())
    }
}

/// A partition's number as Kafka has it.
pub(crate) fn partition_number(number: usize) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}

/// Whether nobody answered, in contrast to an answer that says no.
fn is_transport(error: &KafkaError) -> bool {
    matches!(
        error.rdkafka_error_code(),
        Some(
            RDKafkaErrorCode::BrokerTransportFailure
                | RDKafkaErrorCode::AllBrokersDown
                | RDKafkaErrorCode::OperationTimedOut
                | RDKafkaErrorCode::Authentication
                | RDKafkaErrorCode::Resolve
                | RDKafkaErrorCode::SSL
        )
    )
}
