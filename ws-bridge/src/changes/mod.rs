//! Changes of views: read from this node's aggregator, over its Unix socket, and told to the hub as if they were records of
//! topics. A view's changes have the positions of the records that made them, which are the same on every node.
//!
//! Not here: what a change becomes for clients; that is a mapping's business, as for any record.

mod line;
mod record;
mod stream;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use sallyport_kafka::Sink;
use serde_json::{Value, json};
use tokio::task::JoinHandle;

pub(crate) use self::record::Change;
use crate::metrics::Metrics;
use line::{Line, Malformed, Topics};
use stream::{Away, Lines};

/// So many attempts in a row fail before the log tells: an aggregator that starts or reloads is back by then.
const QUIET_FAILURES: u32 = 4;

/// How often and how long; the default is meant for use, others for tests.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Timing {
    /// The pause after the first failure; it doubles with each further one.
    pub(crate) pause: Duration,
    /// The longest pause.
    pub(crate) pause_max: Duration,
    /// An aggregator that says nothing for so long is gone: it is expected to say something every ten seconds.
    pub(crate) silence: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Timing {
            pause: Duration::from_millis(100),
            pause_max: Duration::from_secs(5),
            silence: Duration::from_secs(30),
        }
    }
}

/// Reads the changes of one view, for as long as it is there.
pub(crate) struct Changes {
    view: Arc<str>,
    state: Arc<Mutex<State>>,
    task: JoinHandle<()>,
}

/// What is known of a view's changes.
struct State {
    /// Why they cannot be read; none while they are.
    away: Option<String>,
    /// When that began.
    since: Instant,
    /// The next offset of each partition.
    topics: Topics,
}

impl Changes {
    /// Starts to read, on the Tokio runtime this is called in. The aggregator need not be there yet.
    pub(crate) fn start(
        view: Arc<str>,
        socket: Arc<Path>,
        sink: Arc<dyn Sink>,
        metrics: Arc<Metrics>,
        timing: Timing,
    ) -> Changes {
        let away = Some("the aggregator was not reached yet".to_owned());
        let state = State { away, since: Instant::now(), topics: BTreeMap::new() };
        let state = Arc::new(Mutex::new(state));
        let reading = Reading {
            view: view.clone(),
            socket,
            sink,
            metrics,
            timing,
            state: state.clone(),
            edition: None,
            begun: false,
            failures: 0,
            told: None,
        };
        Changes { view, state, task: tokio::spawn(reading.run()) }
    }

    /// How it stands, for operators.
    pub(crate) fn status(&self) -> Value {
        let state = lock(&self.state);
        let partitions = state.topics.iter().flat_map(|(topic, nexts)| {
            nexts.iter().enumerate().map(
                move |(partition, next)| json!({"topic": &**topic, "partition": partition, "position": next}),
            )
        });
        json!({
            "view": &*self.view,
            "connected": state.away.is_none(),
            "away": state.away,
            "seconds": state.since.elapsed().as_secs(),
            "partitions": partitions.collect::<Vec<_>>(),
        })
    }

    /// Stops reading.
    pub(crate) fn stop(&self) {
        self.task.abort();
    }
}

impl Drop for Changes {
    fn drop(&mut self) {
        self.stop();
    }
}

/// The task that reads.
struct Reading {
    view: Arc<str>,
    socket: Arc<Path>,
    sink: Arc<dyn Sink>,
    metrics: Arc<Metrics>,
    timing: Timing,
    state: Arc<Mutex<State>>,
    /// What tells the view as it is from what it was before it was built anew; none: whatever comes next is another one.
    edition: Option<Box<str>>,
    /// Whether this connection has said where it begins.
    begun: bool,
    /// Attempts that failed in a row.
    failures: u32,
    /// What the log was told last.
    told: Option<String>,
}

impl Reading {
    async fn run(mut self) {
        loop {
            let away = self.follow().await;
            self.gone(&away);
            let doublings = self.failures.saturating_sub(1).min(16);
            let pause = (self.timing.pause * (1 << doublings)).min(self.timing.pause_max);
            // Half of it by chance, so that nodes that were cut off together do not come back together.
            tokio::time::sleep(pause.mul_f64(0.5 + fastrand::f64() / 2.0)).await;
        }
    }

    /// Reads one stream to its end; why it ended.
    async fn follow(&mut self) -> Away {
        self.begun = false;
        let silence = self.timing.silence;
        let opened = tokio::time::timeout(silence, Lines::open(&self.socket, &self.view)).await;
        let mut lines = match opened {
            Ok(Ok(lines)) => lines,
            Ok(Err(away)) => return away,
            Err(_) => return Away::Silent(silence),
        };
        loop {
            let line = match tokio::time::timeout(silence, lines.next()).await {
                Ok(Ok(line)) => line,
                Ok(Err(away)) => return away,
                Err(_) => return Away::Silent(silence),
            };
            if let Err(malformed) = Line::read(&line).and_then(|line| self.take(line)) {
                return Away::Malformed(malformed);
            }
        }
    }

    fn take(&mut self, line: Line<'_>) -> Result<(), Malformed> {
        match line {
            Line::Begin { edition, topics } => self.begin(edition, topics),
            Line::Positions(positions) => {
                for position in positions {
                    if let Some((topic, next)) =
                        self.advance(position.topic, position.partition, position.next)?
                    {
                        self.sink.position(&topic, position.partition, next);
                    }
                }
            }
            Line::Change { topic, partition, offset, timestamp, change } => {
                // What is behind the position was told before.
                if let Some((topic, next)) = self.advance(topic, partition, offset.saturating_add(1))? {
                    self.sink.record(change.record(&self.view, topic, partition, next - 1, timestamp)?);
                }
            }
            Line::Gap => {
                self.edition = None;
                self.begun = false;
            }
            Line::Heartbeat => {}
        }
        Ok(())
    }

    /// Notes where the stream begins, or goes on with more partitions. Where that is not where this reader stands, changes
    /// were missed: those who saw the ones before have to begin anew.
    fn begin(&mut self, edition: Box<str>, topics: Topics) {
        let same = self.edition.as_ref() == Some(&edition);
        let before = std::mem::replace(&mut lock(&self.state).topics, topics.clone());
        let mut lost = false;
        for topic in before.keys().filter(|topic| !topics.contains_key(*topic)) {
            lost = true;
            self.sink.recreated(topic);
        }
        for (topic, nexts) in &topics {
            let known = before.get(topic).map_or(&[][..], Vec::as_slice);
            // What came on this connection before is whole up to here.
            let follows = |(known, next): (&i64, &i64)| known == next || (self.begun && known < next);
            let goes_on = same && known.len() <= nexts.len() && known.iter().zip(nexts).all(follows);
            let from = if goes_on { known.len() } else { 0 };
            if !goes_on && before.contains_key(topic) {
                lost = true;
                self.sink.recreated(topic);
            }
            self.sink.partitions(topic, nexts);
            for (partition, next) in (0..).zip(nexts) {
                if usize::try_from(partition).is_ok_and(|partition| partition < from) {
                    self.sink.position(topic, partition, *next);
                } else {
                    self.sink.ready(topic, partition);
                }
            }
        }
        if lost {
            self.metrics.view_gaps.with_label_values(&[&*self.view]).inc();
        }
        self.edition = Some(edition);
        self.begun = true;
        self.back();
    }

    /// Moves the position of a partition on, to `next`. `None`: it has been there before.
    fn advance(&self, topic: &str, partition: i32, next: i64) -> Result<Option<(Arc<str>, i64)>, Malformed> {
        if !self.begun {
            return Err(Malformed("a change before it was said where the changes begin"));
        }
        let mut state = lock(&self.state);
        let of_topic = state.topics.iter_mut().find(|(known, _)| ***known == *topic);
        let place = of_topic
            .and_then(|(topic, nexts)| Some((topic, nexts.get_mut(usize::try_from(partition).ok()?)?)));
        let (topic, known) = place.ok_or(Malformed("a partition that was not named before"))?;
        if next <= *known {
            return Ok(None);
        }
        *known = next;
        Ok(Some((topic.clone(), next)))
    }

    /// Notes that the stream is there.
    fn back(&mut self) {
        self.failures = 0;
        self.metrics.view_connected.with_label_values(&[&*self.view]).set(1);
        let mut state = lock(&self.state);
        if state.away.take().is_some() {
            state.since = Instant::now();
        }
        if self.told.take().is_some() {
            log::info!("the changes of the view `{}` are read again", self.view);
        }
    }

    /// Whether the log is told of this: once, until it is another reason, or good again.
    fn is_news(&mut self, reason: &str) -> bool {
        let news = self.failures >= QUIET_FAILURES && self.told.as_deref() != Some(reason);
        if news {
            self.told = Some(reason.to_owned());
        }
        news
    }

    /// Notes that the stream is not there.
    fn gone(&mut self, away: &Away) {
        self.failures = self.failures.saturating_add(1);
        self.metrics.view_connected.with_label_values(&[&*self.view]).set(0);
        let reason = away.to_string();
        if self.is_news(&reason) {
            log::warn!(
                "the changes of the view `{}` cannot be read from {}: {reason}; its subscribers wait",
                self.view,
                self.socket.display()
            );
        }
        let mut state = lock(&self.state);
        if state.away.replace(reason).is_none() {
            state.since = Instant::now();
        }
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}
