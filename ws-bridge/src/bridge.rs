//! A running bridge: readers feed the hub, clients come and go, a stop sends them away little by little.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use prometheus::Registry;
use sallyport_kafka::{DeadLetters, Producer, Reader};
use serde_json::{Value, json};
use thiserror::Error;

use crate::catch_up::{CatchUp, Sources};
use crate::changes::{self, Changes};
use crate::client::{Client, Kind};
use crate::clients::{Clients, Full, Place};
use crate::connection::{Connection, Ended, ping};
use crate::feed::{Feed, of_view};
use crate::hello::{Hello, Stream};
use crate::hub::Hub;
use crate::metrics::Metrics;
use crate::plan::Plan;
use crate::protocol::Close;
use crate::session::Session;
use crate::timers::Timers;

/// How often old events are dropped and gauges brought up to date.
const TIDY_EVERY: Duration = Duration::from_secs(1);
/// After so many turns it is told which families have no topic.
const TURNS_WITHOUT_TOPICS: u64 = 15;
/// How long a stop waits for records that clients have sent.
const FLUSH_MAX: Duration = Duration::from_secs(5);
/// Between two clients that are sent away: a few need not fill the drain.
const PAUSE_MAX: Duration = Duration::from_millis(50);
/// The part of a drain over which clients are sent away; the rest is for their Closes.
const SPREAD_PERCENT: u32 = 80;

/// Why a bridge does not start.
#[derive(Debug, Error)]
pub enum StartError {
    /// A Kafka client cannot be made.
    #[error(transparent)]
    Kafka(#[from] sallyport_kafka::StartError),
    /// Two metrics have the same name.
    #[error("cannot register metrics: {0}")]
    Metrics(#[from] prometheus::Error),
    /// There are sources of views, and nobody has said where the aggregator is.
    #[error("a source reads the view `{0}`, and no aggregator is there to ask for its changes")]
    NoAggregator(Arc<str>),
}

/// The metrics of bridges. Made once for a process: a bridge that follows another goes on counting in them.
#[derive(Clone)]
pub struct BridgeMetrics {
    bridge: Arc<Metrics>,
    kafka: sallyport_kafka::Metrics,
}

/// A running bridge.
pub struct Bridge {
    pub(crate) shared: Arc<Shared>,
    readers: Mutex<Vec<Reader>>,
    changes: Vec<Changes>,
}

/// A connection, and what is kept as long. No `async` block: its captures would take their room twice.
struct Carried<S> {
    connection: Connection<S>,
    _hold: Box<dyn Send>,
}

impl<S: Stream> Future for Carried<S> {
    type Output = Ended;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Ended> {
        Pin::new(&mut self.connection).poll(cx)
    }
}

/// What all sessions share.
pub(crate) struct Shared {
    pub(crate) plan: Arc<Plan>,
    pub(crate) hub: Arc<Hub>,
    pub(crate) timers: Arc<Timers>,
    pub(crate) clients: Arc<Clients>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) producers: BTreeMap<Arc<str>, Producer>,
    pub(crate) catch_up: CatchUp,
    /// Tells nodes apart.
    pub(crate) node: Box<str>,
    /// The protocol's ping in its frame.
    pub(crate) ping: Bytes,
    next_client: AtomicU64,
}

impl BridgeMetrics {
    /// Registers them. Those of Kafka the process has registered.
    ///
    /// # Errors
    /// They are registered already.
    pub fn register(
        registry: &Registry,
        kafka: &sallyport_kafka::Metrics,
    ) -> Result<Self, prometheus::Error> {
        Ok(BridgeMetrics { bridge: Arc::new(Metrics::new(registry)?), kafka: kafka.of_reader("bridge") })
    }
}

impl Bridge {
    /// Starts a bridge on the Tokio runtime this is called in. Kafka need not answer yet.
    ///
    /// # Errors
    /// A Kafka client cannot be made.
    pub fn start(plan: Arc<Plan>, metrics: &BridgeMetrics) -> Result<Bridge, StartError> {
        let replay_bytes = usize::try_from(plan.settings.limits.replay_bytes.0).unwrap_or(usize::MAX);
        let hub = Arc::new(Hub::new(plan.families.values().cloned(), replay_bytes, metrics.bridge.clone()));
        let mut producers = BTreeMap::new();
        for (name, cluster) in &plan.clusters {
            if plan.sends_to(name) {
                producers.insert(name.clone(), Producer::new(cluster, metrics.kafka.clone())?);
            }
        }
        let mut feeds = BTreeMap::new();
        let mut readers = Vec::new();
        for (name, cluster) in &plan.clusters {
            let sources: Vec<_> =
                plan.sources.iter().filter(|source| source.cluster == *name).cloned().collect();
            if sources.is_empty() {
                continue;
            }
            let topics = sources.iter().flat_map(|source| source.topics.iter().cloned()).collect();
            let with_letters = sources.into_iter().map(|source| {
                let letters = source.dead_letter.clone().zip(producers.get(name));
                let letters = letters.map(|(topic, producer)| DeadLetters::new(producer.clone(), topic));
                (source, letters)
            });
            let feed = Arc::new(Feed::new(name.clone(), with_letters, hub.clone()));
            feeds.insert(name.clone(), feed.clone());
            readers.push(Reader::start(cluster, topics, plan.window(), feed, metrics.kafka.clone())?);
        }
        let mut changes = Vec::new();
        for view in plan.views() {
            let Some(socket) = plan.aggregator.clone() else { return Err(StartError::NoAggregator(view)) };
            let of_this = plan.sources.iter().filter(|source| source.view.as_ref() == Some(&view));
            let sources = of_this.map(|source| (source.clone(), None));
            let feed = Arc::new(Feed::new(of_view(&view), sources, hub.clone()));
            let (metrics, timing) = (metrics.bridge.clone(), changes::Timing::default());
            changes.push(Changes::start(view, socket, feed, metrics, timing));
        }
        let records_max = plan.settings.limits.catch_up_records;
        let catch_up = CatchUp::start(Sources { clusters: plan.clusters.clone(), feeds, records_max });
        let shared = Arc::new(Shared {
            plan,
            hub,
            timers: Timers::new(),
            clients: Arc::default(),
            metrics: metrics.bridge.clone(),
            producers,
            catch_up,
            node: format!("{:08x}", fastrand::u32(..)).into(),
            ping: ping(),
            next_client: AtomicU64::new(1),
        });
        tokio::spawn(Timers::turn(Arc::downgrade(&shared.timers)));
        tokio::spawn(tidy(Arc::downgrade(&shared)));
        Ok(Bridge { shared, readers: Mutex::new(readers), changes })
    }

    /// Serves a client's WebSocket, the handshake of which is done, to its end. `early` are bytes that were read
    /// with the handshake.
    pub fn carry<S: Stream>(
        &self,
        stream: S,
        early: &[u8],
        hello: Hello,
    ) -> impl Future<Output = Ended> + Send + use<S> {
        let shared = self.shared.clone();
        let (client, place) = match shared.enter(hello.client, Kind::WebSocket) {
            Ok((client, place)) => (client, Some(place)),
            Err((client, full)) => {
                client.close(match full {
                    Full::Bridge => Close::SHUTDOWN,
                    Full::Address => Close::CONNECTION_LIMIT,
                });
                (client, None)
            }
        };
        let session = Session::new(shared.clone(), client, place, hello.claims);
        Carried { connection: Connection::new(stream, early, session, shared), _hold: hello.hold }
    }

    /// Whether it was started with a plan that says the same.
    pub(crate) fn has_plan(&self, plan: &Plan) -> bool {
        self.shared.plan.fingerprint == plan.fingerprint
    }

    /// Whether there are as many connections as there may be.
    pub fn is_full(&self) -> bool {
        self.shared.clients.count() >= self.shared.plan.settings.limits.connections
    }

    /// How far Kafka and views were read, for operators.
    pub fn status(&self) -> Value {
        let readers = self.readers.lock().unwrap_or_else(PoisonError::into_inner);
        let partitions = readers.iter().flat_map(Reader::status).map(|partition| {
            json!({
                "topic": &*partition.topic,
                "partition": partition.partition,
                "position": partition.position,
                "end": partition.high,
                "lag": partition.lag,
                "ready": partition.ready,
                "seconds_since_progress": partition.since_progress.as_secs(),
            })
        });
        let partitions: Vec<Value> = partitions.collect();
        json!({
            "ready": self.is_ready(),
            "clients": self.shared.clients.count(),
            "partitions": partitions,
            "views": self.changes.iter().map(Changes::status).collect::<Vec<_>>(),
        })
    }

    /// The readers of views' changes.
    #[cfg(test)]
    pub(crate) fn changes(&self) -> &[Changes] {
        &self.changes
    }

    /// Whether all that was in Kafka at the start has been read.
    pub fn is_ready(&self) -> bool {
        self.shared.hub.is_ready()
    }

    /// Lets nobody in any more, sends every client away within `drain`, spread evenly so that they do not all come back
    /// at once, and stops reading. SDKs connect again by themselves, to another node if there is one.
    pub async fn stop(&self, drain: Duration) {
        let shared = &self.shared;
        shared.clients.close();
        let clients = shared.clients.all();
        if !clients.is_empty() {
            let pause = drain * SPREAD_PERCENT / 100 / u32::try_from(clients.len()).unwrap_or(u32::MAX);
            let mut ticks = tokio::time::interval(pause.clamp(Duration::from_micros(1), PAUSE_MAX));
            for client in clients {
                ticks.tick().await;
                client.close(Close::SHUTDOWN);
            }
        }
        self.changes.iter().for_each(Changes::stop);
        let readers = std::mem::take(&mut *self.readers.lock().unwrap_or_else(PoisonError::into_inner));
        let producers: Vec<Producer> = shared.producers.values().cloned().collect();
        let stopped = tokio::task::spawn_blocking(move || {
            readers.into_iter().for_each(Reader::stop);
            producers.iter().for_each(|producer| producer.flush(FLUSH_MAX));
        });
        // A thread that panicked has said so itself.
        let _ = stopped.await;
    }
}

impl Shared {
    /// Lets a client in.
    pub(crate) fn enter(
        &self,
        address: IpAddr,
        kind: Kind,
    ) -> Result<(Arc<Client>, Place), (Arc<Client>, Full)> {
        let limits = &self.plan.settings.limits;
        let id = self.next_client.fetch_add(1, Ordering::Relaxed);
        let queue_bytes = usize::try_from(limits.queue_bytes.0).unwrap_or(usize::MAX);
        let client = Client::new(id, kind, queue_bytes);
        let limits = (limits.connections, limits.connections_per_address);
        match self.clients.enter(address, limits.0, limits.1, || client.clone()) {
            Ok(place) => Ok((client, place)),
            Err(full) => Err((client, full)),
        }
    }

    /// Counts how a subscription that asked to recover went.
    pub(crate) fn note_recovery(&self, recovered: Option<bool>, caught_up: bool) {
        let result = match (recovered, caught_up) {
            (None, _) => return,
            (Some(true), false) => "recovered",
            (Some(true), true) => "caught_up",
            (Some(false), _) => "lost",
        };
        self.metrics.recoveries.with_label_values(&[result]).inc();
    }
}

/// Drops what is old and brings gauges up to date, until the bridge is gone.
async fn tidy(shared: std::sync::Weak<Shared>) {
    let mut ticks = tokio::time::interval(TIDY_EVERY);
    for turn in 0u64.. {
        ticks.tick().await;
        let Some(shared) = shared.upgrade() else { return };
        if turn == TURNS_WITHOUT_TOPICS {
            for family in shared.hub.without_topics() {
                log::warn!(
                    "channels `{family}`: none of its topics exists, or Kafka, or for a view the aggregator, cannot be \
                     reached; subscribers wait"
                );
            }
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis());
        shared.hub.expire(i64::try_from(now).unwrap_or(i64::MAX));
        let clients = shared.clients.all();
        let of = |kind| clients.iter().filter(|client| client.kind == kind).count();
        for (kind, label) in [(Kind::WebSocket, "websocket"), (Kind::Events, "events")] {
            let count = i64::try_from(of(kind)).unwrap_or(i64::MAX);
            shared.metrics.connections.with_label_values(&[label]).set(count);
        }
        let queued: usize = clients.iter().map(|client| client.queued_bytes()).sum();
        shared.metrics.queue_bytes.set(i64::try_from(queued).unwrap_or(i64::MAX));
    }
}
