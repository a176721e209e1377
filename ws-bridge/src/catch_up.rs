//! Reading Kafka again for clients that have been away longer than the rings reach. Those who ask at the same time are
//! served by one reading, however many they are.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use sallyport_kafka::{ClusterSettings, Range, ReadError, Record};
use tokio::sync::{mpsc, oneshot};

use crate::event::Event;
use crate::feed::Feed;
use crate::hub::{CatchUpNeeded, CaughtUp, Stored};

/// How long others may join a reading before it begins.
const GATHER: Duration = Duration::from_millis(20);
/// Clients of one reading.
const CLIENTS_MAX: usize = 20_000;
/// Time for a reading.
const READ_MAX: Duration = Duration::from_secs(20);
/// Bytes of events that one reading may hold for its clients.
const BYTES_MAX: usize = 256 * 1024 * 1024;

/// Where to ask for a catch-up.
#[derive(Clone)]
pub(crate) struct CatchUp {
    requests: mpsc::Sender<Request>,
}

struct Request {
    channel: Arc<str>,
    ranges: Vec<Range>,
    answer: oneshot::Sender<CaughtUp>,
}

/// What readings need.
pub(crate) struct Sources {
    pub(crate) clusters: BTreeMap<Arc<str>, ClusterSettings>,
    pub(crate) feeds: BTreeMap<Arc<str>, Arc<Feed>>,
    pub(crate) records_max: u64,
}

impl CatchUp {
    /// Starts the task that reads, on the Tokio runtime this is called in. It ends with the last handle.
    pub(crate) fn start(sources: Sources) -> CatchUp {
        let (requests, mut asked) = mpsc::channel(CLIENTS_MAX);
        let sources = Arc::new(sources);
        tokio::spawn(async move {
            let mut batch = Vec::new();
            while asked.recv_many(&mut batch, CLIENTS_MAX).await > 0 {
                tokio::time::sleep(GATHER).await;
                while batch.len() < CLIENTS_MAX
                    && let Ok(request) = asked.try_recv()
                {
                    batch.push(request);
                }
                let (sources, batch) = (sources.clone(), std::mem::take(&mut batch));
                // A reading that panics answers nobody: its clients begin anew.
                let _ = tokio::task::spawn_blocking(move || sources.serve(batch)).await;
            }
        });
        CatchUp { requests }
    }

    /// Reads what a subscription has missed. `None`: it cannot be had.
    pub(crate) fn read(
        &self,
        channel: Arc<str>,
        needed: CatchUpNeeded,
    ) -> impl Future<Output = Option<CaughtUp>> + Send + 'static {
        let requests = self.requests.clone();
        async move {
            let (answer, answered) = oneshot::channel();
            requests.send(Request { channel, ranges: needed.ranges, answer }).await.ok()?;
            answered.await.ok()
        }
    }
}

impl Sources {
    /// Serves requests, leaving out those that ask for what is gone.
    fn serve(&self, mut batch: Vec<Request>) {
        while !batch.is_empty() {
            let mut collected = Collected::new(&batch);
            match self.read(&batch, &mut collected) {
                Ok(()) => return collected.answer(batch),
                Err(ReadError::Gone { topic, partition, low, .. }) => {
                    let before = batch.len();
                    batch.retain(|request| {
                        let of_this = |range: &&Range| {
                            *unqualified(&range.topic).1 == *topic && range.partition == partition
                        };
                        request.ranges.iter().filter(of_this).all(|range| range.from >= low)
                    });
                    if batch.len() == before {
                        return;
                    }
                }
                Err(error) => {
                    log::warn!("{} clients could not be caught up: {error}", batch.len());
                    return;
                }
            }
        }
    }

    fn read(&self, batch: &[Request], collected: &mut Collected) -> Result<(), ReadError> {
        let mut left = self.records_max;
        for (name, cluster) in &self.clusters {
            let Some(feed) = self.feeds.get(name) else { continue };
            let ranges = union(batch, name);
            sallyport_kafka::read_ranges(cluster, &ranges, left, READ_MAX, &mut |record: Record| {
                left = left.saturating_sub(1);
                for event in feed.events(&record) {
                    collected.take(event);
                }
            })?;
        }
        Ok(())
    }
}

/// The ranges of all requests in one cluster, each partition once, from the first offset that anybody wants.
fn union(batch: &[Request], cluster: &str) -> Vec<Range> {
    let mut union: BTreeMap<(&str, i32), (i64, i64)> = BTreeMap::new();
    for range in batch.iter().flat_map(|request| &request.ranges) {
        let (of, topic) = unqualified(&range.topic);
        if of == cluster {
            let known = union.entry((topic, range.partition)).or_insert((range.from, range.to));
            *known = (known.0.min(range.from), known.1.max(range.to));
        }
    }
    let range = |((topic, partition), (from, to)): ((&str, i32), (i64, i64))| Range {
        topic: topic.into(),
        partition,
        from,
        to,
    };
    union.into_iter().map(range).collect()
}

/// A topic's cluster and its name there.
pub(crate) fn unqualified(topic: &str) -> (&str, &str) {
    topic.split_once('/').unwrap_or(("", topic))
}

/// The events that somebody asked for, by channel.
struct Collected {
    channels: HashMap<Arc<str>, Vec<Arc<Stored>>>,
    /// What stands before the `*` of patterns.
    prefixes: Vec<Box<str>>,
    bytes: usize,
    count: u64,
}

impl Collected {
    fn new(batch: &[Request]) -> Self {
        let mut channels = HashMap::new();
        let mut prefixes: Vec<Box<str>> = Vec::new();
        for request in batch {
            match request.channel.strip_suffix('*') {
                Some(prefix) => prefixes.push(prefix.into()),
                None => drop(channels.insert(request.channel.clone(), Vec::new())),
            }
        }
        prefixes.sort();
        prefixes.dedup();
        Collected { channels, prefixes, bytes: 0, count: 0 }
    }

    fn take(&mut self, event: Event) {
        let wanted = self.prefixes.iter().any(|prefix| event.channel.starts_with(&**prefix));
        if !wanted && !self.channels.contains_key(&event.channel) {
            return;
        }
        self.count += 1;
        // The stream's offsets of this node do not reach back here; Kafka's own are below them.
        let offset = u64::try_from(event.place.offset + 1).unwrap_or(0);
        let channel = event.channel.clone();
        let stored = Arc::new(Stored::new(event, self.count, offset));
        self.bytes += stored.cost();
        if self.bytes <= BYTES_MAX {
            self.channels.entry(channel).or_default().push(stored);
        }
    }

    /// Gives each request its events. If they were too many to hold, nobody gets any.
    fn answer(self, batch: Vec<Request>) {
        if self.bytes > BYTES_MAX {
            log::warn!(
                "{} clients could not be caught up: their events have {} bytes",
                batch.len(),
                self.bytes
            );
            return;
        }
        for request in batch {
            let mut events: Vec<Arc<Stored>> = match request.channel.strip_suffix('*') {
                None => self.channels.get(&request.channel).cloned().unwrap_or_default(),
                Some(prefix) => {
                    let of_pattern = self.channels.iter().filter(|(channel, _)| channel.starts_with(prefix));
                    of_pattern.flat_map(|(_, events)| events.iter().cloned()).collect()
                }
            };
            events.retain(|event| {
                let place = event.place();
                let within = |range: &Range| {
                    range.topic == place.topic
                        && range.partition == place.partition
                        && (range.from..range.to).contains(&place.offset)
                };
                request.ranges.iter().any(within)
            });
            events.sort_by_key(|event| event.sequence);
            // The client may have gone.
            let _ = request.answer.send(CaughtUp { ranges: request.ranges, events });
        }
    }
}
