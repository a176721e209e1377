//! A reader as its owner sees it: started, asked, stopped. What its thread does is in `thread`.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use log::warn;
use rdkafka::error::KafkaError;

use crate::context::Context;
use crate::error::StartError;
use crate::metrics::Metrics;
use crate::news::{News, Request};
use crate::pattern::TopicPattern;
use crate::scout::{Scout, State};
use crate::settings::ClusterSettings;
use crate::sink::{PartitionStatus, Sink};
use crate::thread::{Channels, Signal, Thread};
use crate::topics::Status;

/// Messages of the scout that may wait for the reader thread.
const NEWS_MAX: usize = 64;

/// How long [`Reader::stop`] waits for the threads.
const STOP_WAIT: Duration = Duration::from_secs(5);

/// How often and how long; the default is meant for use, others for tests.
#[derive(Debug, Clone, Copy)]
pub struct Timing {
    /// New topics and partitions are found after at most this. Default 5 s.
    pub discovery: Duration,
    /// The partitions' ends are asked for this often. Default 1 s.
    pub watermarks: Duration,
    /// A topic that is missing from all answers for so long was deleted. Default 5 s.
    pub gone: Duration,
    /// A position that stands still for so long although there is more is stuck. Default 30 s.
    pub stall: Duration,
    /// How long a question may take. Default 5 s.
    pub timeout: Duration,
}

/// Gives the offset where reading a topic's partition begins, if it is known.
pub type Offsets = Arc<dyn Fn(&str, i32) -> Option<i64> + Send + Sync>;

/// Where reading begins.
#[derive(Clone)]
pub enum Begin {
    /// With the records that are not older than this, where the cluster finds offsets by time. Topics that appear later
    /// are read from their first record.
    Window(Duration),
    /// At the offset that is given for a topic's partition. Where none is given, and where the partition does not have
    /// it, because it begins later or ends before: with the first record that there is. Called on a thread of the reader.
    At(Offsets),
}

impl From<Duration> for Begin {
    fn from(window: Duration) -> Self {
        Begin::Window(window)
    }
}

impl Default for Timing {
    fn default() -> Self {
        Timing {
            discovery: Duration::from_secs(5),
            watermarks: Duration::from_secs(1),
            gone: Duration::from_secs(5),
            stall: Duration::from_secs(30),
            timeout: Duration::from_secs(5),
        }
    }
}

/// Reads all partitions of all topics that match, without a group. Stops when it is dropped, in the background; see
/// [`Reader::stop`].
pub struct Reader {
    signals: Sender<Signal>,
    requests: Sender<Request>,
    threads: Vec<JoinHandle<()>>,
    finished: Receiver<()>,
    status: Status,
}

impl Reader {
    /// Starts the two threads. The cluster need not answer: they try until it does.
    ///
    /// # Errors
    /// If librdkafka cannot make a client, or a thread cannot be started.
    pub fn start(
        cluster: &ClusterSettings,
        topics: Vec<TopicPattern>,
        begin: impl Into<Begin>,
        sink: Arc<dyn Sink>,
        metrics: Metrics,
    ) -> Result<Reader, StartError> {
        Self::start_timed(cluster, topics, begin, sink, metrics, Timing::default())
    }

    /// [`Reader::start`] with other times.
    ///
    /// # Errors
    /// As above.
    pub fn start_timed(
        cluster: &ClusterSettings,
        topics: Vec<TopicPattern>,
        begin: impl Into<Begin>,
        sink: Arc<dyn Sink>,
        metrics: Metrics,
        timing: Timing,
    ) -> Result<Reader, StartError> {
        let failed = |error: &KafkaError| StartError::client(cluster.name(), error);
        let (signals, received) = channel();
        let (requests, requested) = channel();
        let (finish, finished) = channel();
        let status = Status::default();
        let waiting = Arc::new(AtomicUsize::new(0));
        let client = cluster.scout().create_with_context(Context::default());
        let scout = Scout {
            cluster: cluster.name().clone(),
            client: client.map_err(|error| failed(&error))?,
            patterns: topics,
            finds_times: cluster.finds_times(),
            begin: begin.into(),
            timing,
            metrics: metrics.clone(),
            requests: requested,
            tell: teller(signals.clone(), waiting.clone()),
            state: State::default(),
        };
        let channels = Channels { signals: signals.clone(), received, waiting, requests: requests.clone() };
        let thread = Thread::new(cluster, status.clone(), sink, metrics, timing, channels)
            .map_err(|error| failed(&error))?;
        let done = finish.clone();
        let first = spawn("kafka", cluster, move || {
            thread.run();
            drop(done);
        })?;
        let second = spawn("kafka-scout", cluster, move || {
            scout.run();
            drop(finish);
        });
        let mut reader = Reader { signals, requests, threads: vec![first], finished, status };
        // Should this fail, then dropping the reader ends the first thread.
        reader.threads.push(second?);
        Ok(reader)
    }

    /// How far each partition is.
    pub fn status(&self) -> Vec<PartitionStatus> {
        self.status.all()
    }

    /// Stops reading; the sink is told nothing more once this returns. Waits for the threads, up to five seconds:
    /// a question to a broker that does not answer may be under way.
    pub fn stop(mut self) {
        self.tell_stop();
        // Nothing is ever sent: the channel closes with the second thread.
        if self.finished.recv_timeout(STOP_WAIT) == Err(RecvTimeoutError::Timeout) {
            warn!("a Kafka reader did not stop within {STOP_WAIT:?}; it ends in the background");
            return;
        }
        for thread in self.threads.drain(..) {
            // A panic was told by the thread itself.
            let _ = thread.join();
        }
    }

    fn tell_stop(&self) {
        // A thread that has ended needs not be told.
        let _ = self.signals.send(Signal::Stop);
        let _ = self.requests.send(Request::Stop);
    }

    /// Makes a partition stand still, as a stuck consumer would.
    #[cfg(test)]
    pub(crate) fn hold(&self, topic: &str, partition: i32) {
        self.signals.send(Signal::Hold(topic.to_owned(), partition)).unwrap();
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.tell_stop();
    }
}

fn spawn(
    name: &str,
    cluster: &ClusterSettings,
    body: impl FnOnce() + Send + 'static,
) -> Result<JoinHandle<()>, StartError> {
    let spawned = std::thread::Builder::new().name(format!("{name}-{}", cluster.name())).spawn(body);
    spawned.map_err(|source| StartError::Thread { cluster: cluster.name().clone(), source })
}

fn teller(signals: Sender<Signal>, waiting: Arc<AtomicUsize>) -> Box<dyn Fn(News) -> bool + Send> {
    Box::new(move |news| {
        if waiting.load(Ordering::Acquire) >= NEWS_MAX {
            return false;
        }
        waiting.fetch_add(1, Ordering::AcqRel);
        signals.send(Signal::News(news)).is_ok()
    })
}
