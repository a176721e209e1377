//! One life of a view: from an open store until it is stopped, fails, or has to be built anew.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use log::{info, warn};
use prometheus::{Gauge, Histogram, IntGauge};
use sallyport_kafka::{Begin, Reader, TopicPattern};

use super::changes::{News, in_order};
use super::files::{Fate, remove};
use super::folder::{Shared, ViewParts};
use super::queue::{Queue, Told};
use super::status::{Building, Tally};
use super::store::{Lettered, Store, StoreError};
use super::versions::{Offsets, State, Store as Served, Touched};

/// The least time from one commit to the next. An event that comes after a pause is committed at once.
const COMMIT_INTERVAL: Duration = Duration::from_millis(5);

/// Folding gets so many times what the last commit has taken: commits that grow costly become fewer, and each the larger.
const COMMIT_SHARE: u32 = 4;

/// The longest that events wait for their commit, however costly commits are.
const COMMIT_INTERVAL_MAX: Duration = Duration::from_millis(200);

/// The same while what was there at the start is still being read: nobody waits for single events then. The more rows
/// are in a commit, the more of them are on the same page.
const CATCH_UP_INTERVAL: Duration = Duration::from_secs(1);

/// Bytes of changed rows after which they are committed anyway.
const COMMIT_BYTES: usize = 32 * 1024 * 1024;

/// How often the ends of the topics are looked at.
const LOOK_INTERVAL: Duration = Duration::from_millis(500);

/// The least time from one check of a store to the next. All of it is read, and the fold waits.
const CHECK_INTERVAL: Duration = Duration::from_secs(60);

/// How often the progress of a store that is being built is logged.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(10);

/// How a life ends.
pub(super) enum End {
    /// Somebody wants it so.
    Stopped,
    /// The store has to be built anew.
    Anew {
        /// Why, in a word for a metric.
        reason: &'static str,
        /// Why, for the log.
        why: String,
        /// Up to where poison records were told.
        lettered: Lettered,
        /// What becomes of this one.
        fate: Fate,
    },
}

/// A view while its store is open and Kafka is read.
pub(super) struct Life<'a> {
    shared: &'a Shared,
    parts: &'a ViewParts,
    store: Store,
    number: u64,
    queue: Arc<Queue>,
    reader: Reader,
    tally: Tally,
    /// Partitions of each topic that were compared with the store.
    compared: BTreeMap<Arc<str>, usize>,
    ready: BTreeSet<(Arc<str>, i32)>,
    /// Where reading began in each partition, and where it ended then.
    targets: BTreeMap<(Arc<str>, i32), (i64, i64)>,
    surveyed: Option<Instant>,
    told_progress: Instant,
    /// When the store was checked because a query found it damaged.
    checked: Option<Instant>,
    gauges: Gauges,
}

struct Gauges {
    rows: IntGauge,
    lag: IntGauge,
    progress: Gauge,
    commit: Histogram,
}

impl<'a> Life<'a> {
    /// Begins to read from where the store is.
    pub(super) fn begin(
        shared: &'a Shared,
        parts: &'a ViewParts,
        store: Store,
    ) -> Result<Life<'a>, StoreError> {
        let queue = Arc::new(Queue::default());
        let mut at: BTreeMap<String, BTreeMap<i32, i64>> = BTreeMap::new();
        for ((topic, partition), (next, _)) in &store.offsets {
            at.entry(topic.to_string()).or_default().insert(*partition, *next);
        }
        let begin = Begin::At(Arc::new(move |topic, partition| at.get(topic)?.get(&partition).copied()));
        let topics = shared.plan.topics.iter().map(|topic| TopicPattern::new(&**topic)).collect();
        let reader = Reader::start_timed(
            &parts.cluster,
            topics,
            begin,
            queue.clone(),
            parts.kafka.clone(),
            parts.timing,
        )
        .map_err(|error| StoreError::Kafka(error.to_string()))?;
        shared.set_queue(Some(queue.clone()));
        let name = [&*shared.plan.name];
        let gauges = Gauges {
            rows: parts.metrics.rows.with_label_values(&name),
            lag: parts.metrics.lag.with_label_values(&name),
            progress: parts.metrics.progress.with_label_values(&name),
            commit: parts.metrics.commit.with_label_values(&name),
        };
        Ok(Life {
            shared,
            parts,
            store,
            number: Served::next_number(),
            queue,
            reader,
            tally: Tally::new(&shared.plan.name, &parts.metrics),
            compared: BTreeMap::new(),
            ready: BTreeSet::new(),
            targets: BTreeMap::new(),
            surveyed: None,
            told_progress: Instant::now(),
            checked: None,
            gauges,
        })
    }

    /// Reads and folds until the end.
    pub(super) fn run(mut self) -> Result<End, StoreError> {
        let ended = self.lead();
        // First: a reader that waits for room would not hear that it is to stop.
        self.queue.close();
        self.shared.set_queue(None);
        self.shared.versions.set_lag(None);
        drop(self.reader);
        if let Ok(End::Stopped | End::Anew { .. }) = &ended {
            self.store.close()?;
        }
        ended
    }

    fn lead(&mut self) -> Result<End, StoreError> {
        self.note_status();
        if self.store.facts.built {
            self.publish(&everything());
        }
        let mut told = VecDeque::new();
        let (mut due, mut caught_up) = (Instant::now(), false);
        let mut looked = Instant::now();
        loop {
            let until = if self.store.has_uncommitted() { due } else { Instant::now() + LOOK_INTERVAL };
            self.queue.take(&mut told, Some(until));
            if self.shared.is_stopped() {
                self.commit()?;
                return Ok(End::Stopped);
            }
            for told in told.drain(..) {
                if let Some(end) = self.heed(told)? {
                    return Ok(end);
                }
            }
            if !caught_up && self.is_ready() {
                caught_up = true;
                due = Instant::now();
            }
            let begun = Instant::now();
            let full = self.store.changed_bytes >= COMMIT_BYTES;
            if self.store.has_uncommitted() && (begun >= due || full) {
                self.commit()?;
                let pause = (begun.elapsed() * COMMIT_SHARE).clamp(COMMIT_INTERVAL, COMMIT_INTERVAL_MAX);
                due = Instant::now() + if caught_up { pause } else { CATCH_UP_INTERVAL };
            }
            if caught_up && !self.store.facts.built && !self.store.has_uncommitted() {
                self.finish()?;
            }
            if looked.elapsed() >= LOOK_INTERVAL {
                self.settle_doubt()?;
                self.look();
                looked = Instant::now();
            }
        }
    }

    /// Checks the store if a query has found it damaged: the fold itself may not come by there for long.
    fn settle_doubt(&mut self) -> Result<(), StoreError> {
        if self.checked.is_some_and(|at| at.elapsed() < CHECK_INTERVAL) || !self.shared.versions.take_doubt()
        {
            return Ok(());
        }
        warn!("view `{}`: a query cannot read the store; it is checked", self.shared.plan.name);
        self.store.check_rows()?;
        self.checked = Some(Instant::now());
        Ok(())
    }

    /// What the reader told.
    fn heed(&mut self, told: Told) -> Result<Option<End>, StoreError> {
        match told {
            Told::Record(record) => {
                match self.store.fold(&record)? {
                    Ok(outcome) => self.tally.count(outcome),
                    Err(poison) => {
                        self.tally.poison(&record, &poison);
                        let place = (record.topic.clone(), record.partition);
                        let was_told =
                            self.store.lettered.get(&place).is_some_and(|next| record.offset < *next);
                        if let Some(letters) = self.parts.dead_letters.as_ref().filter(|_| !was_told) {
                            letters.put(&record, &poison.detail);
                        }
                    }
                }
                Ok(None)
            }
            Told::Position(topic, partition, next) => {
                self.store.position(&topic, partition, next);
                Ok(None)
            }
            Told::Ready(topic, partition) => {
                self.ready.insert((topic, partition));
                Ok(None)
            }
            Told::Partitions(topic, first) => self.compare(&topic, &first),
            Told::Identity(topic, id) => {
                let same = self.store.know(&topic, &id)?;
                Ok((!same).then(|| self.anew(format!("the topic `{topic}` is another one than before"))))
            }
            Told::Recreated(topic) => {
                Ok(Some(self.anew(format!("the topic `{topic}` was deleted or made again"))))
            }
            Told::Lost(topic, partition, from, to) => self.miss(&topic, partition, from, to).map(|()| None),
            Told::Surveyed => {
                self.surveyed = Some(Instant::now());
                for topic in
                    self.shared.plan.topics.iter().filter(|topic| !self.compared.contains_key(*topic))
                {
                    warn!("view `{}`: there is no topic `{topic}` yet", self.shared.plan.name);
                }
                Ok(None)
            }
        }
    }

    /// Compares where reading began with where the store is.
    fn compare(&mut self, topic: &Arc<str>, first: &[i64]) -> Result<Option<End>, StoreError> {
        let before = self.compared.insert(topic.clone(), first.len()).unwrap_or_default();
        let beyond = self.store.offsets.keys().any(|(known, number)| {
            known == topic && usize::try_from(*number).is_ok_and(|number| number >= first.len())
        });
        if beyond {
            return Ok(Some(self.anew(format!("the topic `{topic}` has fewer partitions than before"))));
        }
        for (partition, first) in (0i32..).zip(first).skip(before) {
            match self.store.next(topic, partition) {
                Some(next) if next > *first => {
                    let why = format!("{topic}/{partition} ends before offset {next}, which was read");
                    return Ok(Some(self.anew(why)));
                }
                Some(next) if next < *first => self.miss(topic, partition, next, *first)?,
                _ => {}
            }
            self.store.position(topic, partition, *first);
        }
        for status in self.reader.status().into_iter().filter(|status| status.topic == *topic) {
            let place = (topic.clone(), status.partition);
            let first = usize::try_from(status.partition).ok().and_then(|number| first.get(number));
            self.targets.entry(place).or_insert((first.copied().unwrap_or_default(), status.high));
        }
        Ok(None)
    }

    /// Events are gone that were not read; those that come are folded all the same.
    fn miss(&mut self, topic: &str, partition: i32, from: i64, to: i64) -> Result<(), StoreError> {
        warn!(
            "view `{}` is not complete: Kafka deleted {topic}/{partition} from offset {from} up to {to} before it was \
             read; let the topic keep its records for longer, or bring in a copy of the store",
            self.shared.plan.name
        );
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        self.store.set_incomplete(i64::try_from(now.as_millis()).unwrap_or(i64::MAX))
    }

    /// The end of this store: its topics are not those that it was made of, so its rows are void.
    fn anew(&self, why: String) -> End {
        End::Anew { reason: "topic", why, lettered: Vec::new(), fate: Fate::Void }
    }

    fn commit(&mut self) -> Result<(), StoreError> {
        let timer = self.gauges.commit.start_timer();
        let whole = self.store.facts.built && self.shared.changes.receiver_count() > 0;
        let changes = &self.shared.changes;
        let mut changed = Vec::new();
        let touched = self.store.commit(|change| {
            if whole {
                changed.push(Arc::new(change));
            }
        })?;
        timer.observe_duration();
        self.note_status();
        if self.store.facts.built {
            self.publish(&touched);
            in_order(&mut changed);
            let state = self.shared.versions.state();
            for news in changed.into_iter().map(News::Row).chain([News::Committed { state, whole }]) {
                // Nobody may be left to hear it.
                let _ = changes.send(news);
            }
        }
        Ok(())
    }

    /// Tells queries of the store as it is.
    fn publish(&self, touched: &Touched) {
        let offsets = self.store.offsets.iter();
        let offsets =
            offsets.map(|((topic, partition), (next, _))| (topic.clone(), *partition, *next)).collect();
        let state = State {
            store: Some(Served { path: self.store.path.as_path().into(), number: self.number }),
            offsets: Offsets(offsets),
            complete: self.store.left_out == 0 && self.store.facts.incomplete_since.is_none(),
        };
        self.shared.versions.committed(touched, state);
    }

    /// Tells status and metrics of the store as it is. Before [`Life::publish`]: whoever has an answer finds neither of
    /// them older than it.
    fn note_status(&self) {
        self.gauges.rows.set(i64::try_from(self.store.rows).unwrap_or(i64::MAX));
        let mut status = self.shared.status();
        status.rows = self.store.rows;
        status.left_out = self.store.left_out;
        status.incomplete_since = self.store.facts.incomplete_since;
    }

    /// Whether everything that was there at the start is folded.
    fn is_ready(&self) -> bool {
        // A broker that has just started may not know all of its topics yet.
        let settled = self.surveyed.is_some_and(|at| at.elapsed() >= self.parts.timing.gone);
        let all_told = self.shared.plan.topics.iter().all(|topic| self.compared.contains_key(topic));
        let all_ready = self.compared.iter().all(|(topic, count)| {
            (0i32..).take(*count).all(|partition| self.ready.contains(&(topic.clone(), partition)))
        });
        (all_told || settled) && all_ready
    }

    /// The store is built: from now on queries see it.
    fn finish(&mut self) -> Result<(), StoreError> {
        self.store.set_built()?;
        info!("view `{}` is built: {} rows", self.shared.plan.name, self.store.rows);
        self.gauges.progress.set(1.0);
        self.shared.status().building = None;
        self.publish(&everything());
        // Nobody is sent there any more; who has it open may finish.
        if let Err(error) = remove(&self.shared.files.old()) {
            warn!("view `{}`: the store before cannot be removed: {error}", self.shared.plan.name);
        }
        Ok(())
    }

    /// Looks how far the view is behind.
    fn look(&mut self) {
        let status = self.reader.status();
        let behind = |status: &sallyport_kafka::PartitionStatus| {
            let next = self.store.next(&status.topic, status.partition).unwrap_or_default();
            u64::try_from(status.high - next).unwrap_or_default()
        };
        let lag = (!status.is_empty()).then(|| status.iter().map(behind).sum::<u64>());
        self.gauges.lag.set(i64::try_from(lag.unwrap_or_default()).unwrap_or(i64::MAX));
        if self.store.facts.built {
            self.shared.versions.set_lag(lag);
            return;
        }
        let (mut done, mut whole) = (0, 0);
        for ((topic, partition), (first, target)) in &self.targets {
            whole += target - first;
            let next = self.store.next(topic, *partition).unwrap_or(*first);
            done += (next - first).clamp(0, target - first);
        }
        let part = if whole == 0 { 0.0 } else { done as f64 / whole as f64 };
        self.gauges.progress.set(part);
        if let Some(Building { thousandths, .. }) = &mut self.shared.status().building {
            *thousandths = (part * 1000.0) as u16;
        }
        if self.told_progress.elapsed() >= PROGRESS_INTERVAL {
            self.told_progress = Instant::now();
            info!(
                "view `{}` is being built: {:.1} %, {} rows",
                self.shared.plan.name,
                part * 100.0,
                self.store.rows
            );
        }
    }
}

fn everything() -> Touched {
    let mut touched = Touched::default();
    touched.everything();
    touched
}
