//! What happens on the platform, as records in Kafka: batches are registered, and a spell checker works on them for some
//! seconds. It checks a batch again when a client asks for it with a command.
//!
//! Kafka is the broker inside librdkafka, which speaks the real protocol on loopback and forgets everything at the end.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use prometheus::Registry;
use sallyport_kafka::{EmbeddedBroker, Metrics, Reader, Record, Sink, TopicPattern};
use serde_json::{Value, json};
use tokio::runtime::Handle;

const EVENTS: &str = "essay.batch.events";
const COMMANDS: &str = "essay.commands";
const EVENTS_PARTITIONS: i32 = 3;
/// Essays of a batch, and how long one takes.
const ESSAYS: u64 = 5;
const ESSAY_TIME: Duration = Duration::from_millis(700);
/// Batches that are checked at the same time; commands beyond are not carried out.
const CHECKS_MAX: u64 = 100;

/// The platform's Kafka.
pub(super) struct Events {
    broker: EmbeddedBroker,
    /// What the spell checker reads, once it runs.
    commands: Mutex<Option<Reader>>,
    checks: AtomicU64,
    ids: AtomicU64,
}

/// A batch, as its events tell of it.
#[derive(Debug, Clone)]
pub(super) struct Registered {
    pub(super) id: u64,
    pub(super) owner: String,
    pub(super) title: String,
}

impl Events {
    /// Starts the broker.
    pub(super) fn start() -> Result<Arc<Events>, String> {
        let broker = EmbeddedBroker::start(&[(EVENTS, EVENTS_PARTITIONS), (COMMANDS, 1)])
            .map_err(|error| error.to_string())?;
        let (commands, checks, ids) = (Mutex::default(), AtomicU64::new(0), AtomicU64::new(0));
        Ok(Arc::new(Events { broker, commands, checks, ids }))
    }

    /// Where the broker listens, `host:port`.
    pub(super) fn address(&self) -> &str {
        self.broker.address()
    }

    /// Carries out commands from now on; `batch` finds a batch by its id. Call it on a Tokio runtime.
    pub(super) fn obey(
        self: &Arc<Self>,
        batch: impl Fn(u64) -> Option<Registered> + Send + Sync + 'static,
    ) -> Result<(), String> {
        let metrics = Metrics::register(&Registry::new()).map_err(|error| error.to_string())?;
        let checker = Checker { events: Arc::downgrade(self), batch, runtime: Handle::current() };
        let topics = vec![TopicPattern::new(COMMANDS)];
        let settings = self.broker.settings();
        let reader = Reader::start(&settings, topics, Duration::ZERO, Arc::new(checker), metrics)
            .map_err(|error| error.to_string())?;
        *self.commands.lock().unwrap_or_else(PoisonError::into_inner) = Some(reader);
        Ok(())
    }

    /// Tells that a batch was registered, and has it checked.
    pub(super) async fn registered(self: &Arc<Self>, batch: &Registered) {
        self.tell("batch.registered", batch, json!({})).await;
        self.check(batch.clone(), &Handle::current());
    }

    /// Checks a batch, and tells of each essay.
    fn check(self: &Arc<Self>, batch: Registered, runtime: &Handle) {
        if self.checks.fetch_add(1, Ordering::Relaxed) >= CHECKS_MAX {
            self.checks.fetch_sub(1, Ordering::Relaxed);
            return;
        }
        let events = self.clone();
        runtime.spawn(async move {
            for checked in 1..=ESSAYS {
                tokio::time::sleep(ESSAY_TIME).await;
                // Made up from the number, but always the same for it.
                let mistakes = (batch.id * 7 + checked * 3) % 11;
                let more = json!({ "essay": checked, "essays": ESSAYS, "mistakes": mistakes });
                events.tell("essay.spellchecked", &batch, more).await;
            }
            events.tell("batch.checked", &batch, json!({ "essays": ESSAYS })).await;
            events.checks.fetch_sub(1, Ordering::Relaxed);
        });
    }

    /// Sends a CloudEvent in binary mode.
    async fn tell(&self, kind: &str, batch: &Registered, more: Value) {
        let mut data = json!({ "batch_id": batch.id, "owner": &batch.owner, "title": &batch.title });
        if let (Value::Object(data), Value::Object(more)) = (&mut data, more) {
            data.extend(more);
        }
        let (data, key) = (data.to_string(), batch.id.to_string());
        let id = self.ids.fetch_add(1, Ordering::Relaxed).to_string();
        let headers: [(&str, &[u8]); 5] = [
            ("ce_specversion", b"1.0"),
            ("ce_id", id.as_bytes()),
            ("ce_source", b"/demo/batches"),
            ("ce_type", kind.as_bytes()),
            ("content-type", b"application/json"),
        ];
        let sent = self.broker.produce(EVENTS, None, Some(key.as_bytes()), Some(data.as_bytes()), &headers);
        if let Err(error) = sent.await {
            log::warn!("an event of the demo was not sent: {error}");
        }
    }
}

/// Who carries out commands.
struct Checker<F> {
    events: std::sync::Weak<Events>,
    batch: F,
    runtime: Handle,
}

impl<F: Fn(u64) -> Option<Registered> + Send + Sync + 'static> Sink for Checker<F> {
    fn record(&self, record: Record) {
        let Some(events) = self.events.upgrade() else { return };
        let data: Option<Value> =
            record.value.as_deref().and_then(|value| serde_json::from_slice(value).ok());
        let id = data.as_ref().and_then(|data| data.get("batch_id")?.as_u64());
        // The bridge has written who it is; a client cannot.
        let user = record.header("ce_user");
        match id.and_then(&self.batch) {
            Some(batch) if user.is_some_and(|user| **user == *batch.owner.as_bytes()) => {
                events.check(batch, &self.runtime);
            }
            _ => log::info!("a command of the demo is about no batch of its sender"),
        }
    }

    fn partitions(&self, _: &Arc<str>, _: &[i64]) {}

    fn position(&self, _: &Arc<str>, _: i32, _: i64) {}

    fn ready(&self, _: &Arc<str>, _: i32) {}

    fn recreated(&self, _: &Arc<str>) {}
}
