//! From a cluster's reader to the hub: each record becomes the events that its sources make of it.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use sallyport_kafka::{DeadLetters, Record, Sink};

use crate::event::{Event, Place};
use crate::hub::Hub;
use crate::mapping::Poison;
use crate::plan::SourcePlan;

/// Poison records of a source are told in the log at most so often.
const LOG_EVERY_SECONDS: u64 = 10;

/// What stands before a view's name where a cluster's would stand. No name has a colon.
const OF_VIEW: &str = "view:";

/// What a view's changes have in the place of a cluster's name.
pub(crate) fn of_view(view: &str) -> Arc<str> {
    format!("{OF_VIEW}{view}").into()
}

/// The view whose changes these are, by what they have in the place of a cluster, with or without a topic behind it.
pub(crate) fn view_of(cluster: &str) -> Option<&str> {
    let view = cluster.strip_prefix(OF_VIEW)?;
    Some(view.split_once('/').map_or(view, |(view, _)| view))
}

/// Feeds the hub with the records of one cluster, or the changes of one view.
pub(crate) struct Feed {
    cluster: Arc<str>,
    sources: Vec<Fed>,
    hub: Arc<Hub>,
    /// Topics with their cluster before them, as the hub knows them.
    names: Mutex<HashMap<Arc<str>, Arc<str>>>,
    start: Instant,
}

/// A source, and what became of records that it could not map.
struct Fed {
    plan: Arc<SourcePlan>,
    dead_letters: Option<DeadLetters>,
    poison: AtomicU64,
    /// When the log told of one, in seconds since the start, plus one.
    told: AtomicU64,
}

impl Feed {
    pub(crate) fn new(
        cluster: Arc<str>,
        sources: impl IntoIterator<Item = (Arc<SourcePlan>, Option<DeadLetters>)>,
        hub: Arc<Hub>,
    ) -> Feed {
        let fed = |(plan, dead_letters)| Fed {
            plan,
            dead_letters,
            poison: AtomicU64::new(0),
            told: AtomicU64::new(0),
        };
        let sources = sources.into_iter().map(fed).collect();
        Feed { cluster, sources, hub, names: Mutex::default(), start: Instant::now() }
    }

    /// The events of a record that is read again: those that could not be mapped were told the first time.
    pub(crate) fn events(&self, record: &Record) -> Vec<Event> {
        self.map(record, |_, _| {})
    }

    fn map(&self, record: &Record, mut poison: impl FnMut(&Fed, Poison)) -> Vec<Event> {
        let topic = self.qualified(&record.topic);
        let mut events = Vec::new();
        for source in self.sources.iter().filter(|source| source.plan.takes(&record.topic)) {
            match source.plan.mapping.apply(record) {
                Ok(Some(mut event)) => {
                    event.place.topic = topic.clone();
                    events.push(event);
                }
                Ok(None) => {}
                Err(reason) => poison(source, reason),
            }
        }
        events
    }

    /// A topic with its cluster before it: two clusters may have topics of one name.
    fn qualified(&self, topic: &Arc<str>) -> Arc<str> {
        let mut names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        names.entry(topic.clone()).or_insert_with(|| format!("{}/{topic}", self.cluster).into()).clone()
    }

    fn poisoned(&self, source: &Fed, record: &Record, poison: &Poison) {
        self.hub.metrics.poison.with_label_values(&[poison.reason.label()]).inc();
        let count = source.poison.fetch_add(1, Ordering::Relaxed) + 1;
        let now = self.start.elapsed().as_secs() + 1;
        let told = source.told.load(Ordering::Relaxed);
        if told == 0 || now >= told + LOG_EVERY_SECONDS {
            source.told.store(now, Ordering::Relaxed);
            let Record { topic, partition, offset, .. } = record;
            log::warn!(
                "record {topic}/{partition}/{offset} becomes no event: {poison}; {count} such records of this source so far"
            );
        }
        if let Some(letters) = &source.dead_letters {
            letters.put(record, &poison.to_string());
        }
    }
}

impl Sink for Feed {
    fn record(&self, record: Record) {
        let events = self.map(&record, |source, poison| self.poisoned(source, &record, &poison));
        let topic = self.qualified(&record.topic);
        let place = Place { topic, partition: record.partition, offset: record.offset };
        self.hub.publish(&place, events);
    }

    fn partitions(&self, topic: &Arc<str>, first: &[i64]) {
        self.hub.partitions(&self.qualified(topic), first);
    }

    fn position(&self, topic: &Arc<str>, partition: i32, next: i64) {
        self.hub.position(&self.qualified(topic), partition, next);
    }

    fn ready(&self, topic: &Arc<str>, partition: i32) {
        self.hub.ready(&self.qualified(topic), partition);
    }

    fn recreated(&self, topic: &Arc<str>) {
        match view_of(&self.cluster) {
            None => log::warn!(
                "topic {topic} of cluster {} was deleted or made again; its subscribers begin anew",
                self.cluster
            ),
            Some(view) => log::warn!(
                "changes of the view `{view}` by topic {topic} were missed, or the view was built anew; its subscribers \
                 begin anew"
            ),
        }
        self.hub.recreated(&self.qualified(topic));
    }
}
