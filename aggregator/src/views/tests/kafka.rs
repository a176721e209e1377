//! Views that are kept, with the broker inside librdkafka.

use std::fs;
use std::time::Duration;

use prometheus::Registry;
use sallyport_kafka::{DeadLetters, EmbeddedBroker, Metrics, Producer, Timing};

use super::super::changes::News;
use super::super::folder::{Folder, ViewParts};
use super::super::metrics::ViewMetrics;
use super::super::versions::{State, Versions};
use super::*;

/// Nothing here takes so long unless it is broken.
const PATIENCE: Duration = Duration::from_secs(60);

const VIEW: &str = r#"
topic: events
key: key
visible_to: "true"
indexes: [n]
dead_letter: letters
fold:
  - on: {}
    increment: { n: 1, sum: $.by }
"#;

/// A folder of stores, and what reads it.
struct Node {
    folder: tempfile::TempDir,
    registry: Registry,
    kafka: Metrics,
    metrics: ViewMetrics,
}

/// A view that runs.
struct Running {
    folder: Folder,
    versions: Arc<Versions>,
}

impl Node {
    fn new() -> Node {
        let registry = Registry::new();
        Node {
            folder: tempfile::tempdir().unwrap(),
            kafka: Metrics::register(&registry).unwrap(),
            metrics: ViewMetrics::register(&registry).unwrap(),
            registry,
        }
    }

    fn start(&self, broker: &EmbeddedBroker, view: &str) -> Running {
        let versions = Arc::new(Versions::new());
        let plan = compiled(view);
        let letters = Producer::new(&broker.settings(), self.kafka.clone()).unwrap();
        let folder = Folder::start(ViewParts {
            dead_letters: plan.dead_letter.as_ref().map(|topic| DeadLetters::new(letters, topic.clone())),
            plan,
            cluster: broker.settings(),
            folder: self.folder.path().to_owned(),
            versions: versions.clone(),
            kafka: self.kafka.clone(),
            metrics: self.metrics.clone(),
            timing: Timing {
                discovery: Duration::from_millis(200),
                watermarks: Duration::from_millis(100),
                gone: Duration::from_millis(500),
                stall: Duration::from_secs(30),
                timeout: Duration::from_secs(2),
            },
        });
        Running { folder: folder.unwrap(), versions }
    }

    fn path(&self, beside: &str) -> std::path::PathBuf {
        self.folder.path().join(format!("v.sqlite{beside}"))
    }

    fn events(&self, result: &str) -> u64 {
        self.metrics.events.with_label_values(&["v", result]).get()
    }

    fn rows(&self) -> Vec<(String, String)> {
        rows(&Connection::open(self.path("")).unwrap())
    }
}

impl Running {
    async fn until(&self, what: &str, enough: impl Fn(&State) -> bool) -> Arc<State> {
        let reached = self.versions.reached(PATIENCE, enough).await;
        reached.unwrap_or_else(|| panic!("{what}: {:?} {:?}", self.versions.state(), self.folder.status()))
    }

    /// Waits until the record before this offset of a partition is folded, into the store that is kept.
    async fn until_next(&self, partition: i32, next: i64) -> Arc<State> {
        self.until("an offset", |state| {
            let kept = state.store.as_ref().is_some_and(|store| store.path.ends_with("v.sqlite"));
            kept && (next == 0 || state.offsets.include("events", partition, next - 1))
        })
        .await
    }
}

async fn send(broker: &EmbeddedBroker, partition: i32, key: &str, value: &str) -> i64 {
    let sent =
        broker.produce("events", Some(partition), Some(key.as_bytes()), Some(value.as_bytes()), &[]).await;
    sent.unwrap().1
}

fn row(key: &str, doc: &str) -> (String, String) {
    (key.to_owned(), doc.to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_view_goes_on_where_it_stopped() {
    let (broker, node) = (EmbeddedBroker::start(&[("events", 2), ("letters", 1)]).unwrap(), Node::new());
    for by in 0..100 {
        send(&broker, by % 2, &format!("k{}", by % 10), &format!(r#"{{"by": {by}}}"#)).await;
    }
    let view = node.start(&broker, VIEW);
    view.until_next(0, 50).await;
    view.until_next(1, 50).await;
    let mut changes = view.folder.changes();
    send(&broker, 0, "k0", r#"{"by": 1000}"#).await;
    let state = view.until_next(0, 51).await;
    assert!(state.complete);
    let News::Row(change) = changes.news.recv().await.unwrap() else { panic!("a commit of nothing") };
    assert_eq!((&*change.key, change.doc.as_deref()), ("k0", Some(r#"{"n":11,"sum":1450}"#)));
    assert_eq!((change.place.partition, change.place.offset), (0, 50));
    let News::Committed { state, whole } = changes.news.recv().await.unwrap() else { panic!("another row") };
    assert!(whole && state.offsets.include("events", 0, 50));
    assert_eq!((view.folder.status().rows, view.folder.status().building), (10, None));
    view.folder.stop();
    assert_eq!(view.versions.state().store, None);
    send(&broker, 1, "k1", r#"{"by": 7}"#).await;
    let again = node.start(&broker, VIEW);
    again.until_next(1, 51).await;
    assert_eq!(node.events("folded"), 102, "each event once");
    assert_eq!(node.rows()[..2], [row("k0", r#"{"n":11,"sum":1450}"#), row("k1", r#"{"n":11,"sum":467}"#)]);
    again.folder.stop();
    assert!(node.registry.gather().iter().any(|family| family.name() == "sallyport_view_rows"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_folded_is_sent_on_once() {
    let (broker, node) = (EmbeddedBroker::start(&[("events", 1), ("letters", 1)]).unwrap(), Node::new());
    send(&broker, 0, "a", "{").await;
    send(&broker, 0, "a", r#"{"by": "x"}"#).await;
    let next = send(&broker, 0, "a", r#"{"by": 1}"#).await + 1;
    let view = node.start(&broker, VIEW);
    view.until_next(0, next).await;
    view.folder.stop();
    // Other rules: all of it is folded again.
    let other = VIEW.replace("n: 1, sum", "m: 1, sum").replace("[n]", "[m]");
    let view = node.start(&broker, &other);
    let next = send(&broker, 0, "b", "[").await + 1;
    view.until_next(0, next).await;
    assert_eq!(node.rows(), [row("a", r#"{"m":1,"sum":1}"#)]);
    assert_eq!((node.events("poison_not_json"), node.events("poison_field_type")), (3, 2));
    view.folder.stop();
    let letters = node.start(
        &broker,
        &VIEW
            .replace("topic: events", "topic: letters")
            .replace("sum: $.by", "sum: 1")
            .replace("dead_letter: letters", ""),
    );
    let state = letters.until("the letters", |state| state.offsets.include("letters", 0, 2)).await;
    assert_eq!(
        state.offsets.0.iter().map(|(_, _, next)| *next).collect::<Vec<_>>(),
        [3],
        "two of the first, one of the second"
    );
    letters.folder.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn other_rules_build_anew_and_old_answers_serve_meanwhile() {
    let (broker, node) = (EmbeddedBroker::start(&[("events", 1), ("letters", 1)]).unwrap(), Node::new());
    let next = send(&broker, 0, "a", r#"{"by": 1}"#).await + 1;
    let view = node.start(&broker, VIEW);
    view.until_next(0, next).await;
    view.folder.stop();
    broker.down();
    let view = node.start(&broker, &VIEW.replace("n: 1, sum", "n: 2, sum"));
    let state = view.until("the old answers", |state| state.store.is_some()).await;
    assert!(state.store.as_ref().unwrap().path.ends_with("v.sqlite.old"));
    assert_eq!((state.complete, state.offsets.0.len()), (false, 1));
    assert_eq!(view.folder.status().building.unwrap().reason, "fold");
    // Others may see other rows now: nobody gets old answers.
    view.folder.stop();
    let view = node.start(&broker, &VIEW.replace("n: 1, sum", "n: 2, sum").replace("\"true\"", "row.n == 2"));
    assert_eq!(view.versions.state().store, None);
    broker.up();
    view.until_next(0, next).await;
    assert_eq!(node.rows(), [row("a", r#"{"n":2,"sum":1}"#)]);
    assert!(view.folder.status().building.is_none());
    view.folder.stop();
    assert!(!node.path(".old").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_store_is_set_aside_and_built_anew() {
    let (broker, node) = (EmbeddedBroker::start(&[("events", 1), ("letters", 1)]).unwrap(), Node::new());
    let next = send(&broker, 0, "a", r#"{"by": 1}"#).await + 1;
    fs::write(node.path(""), "no store at all".repeat(100)).unwrap();
    let view = node.start(&broker, VIEW);
    view.until_next(0, next).await;
    // While it runs, too.
    let db = Connection::open(node.path("")).unwrap();
    db.execute("UPDATE rows SET doc = 'x'", ()).unwrap();
    db.execute("INSERT INTO rows(key, doc) VALUES ('b', 'x')", ()).unwrap();
    drop(db);
    let next = send(&broker, 0, "b", r#"{"by": 1}"#).await + 1;
    view.until_next(0, next).await;
    assert_eq!(node.rows(), [row("a", r#"{"n":1,"sum":1}"#), row("b", r#"{"n":1,"sum":1}"#)]);
    assert!(node.path(".damaged").exists());
    assert_eq!(node.metrics.rebuilds.with_label_values(&["v", "damage"]).get(), 2);
    view.folder.stop();
}

/// The topic ends before what was read: it is another one.
#[tokio::test(flavor = "multi_thread")]
async fn another_topic_of_the_same_name_makes_another_store() {
    let node = Node::new();
    let broker = EmbeddedBroker::start(&[("events", 1), ("letters", 1)]).unwrap();
    for _ in 0..3 {
        send(&broker, 0, "a", r#"{"by": 1}"#).await;
    }
    let view = node.start(&broker, VIEW);
    view.until_next(0, 3).await;
    view.folder.stop();
    let broker = EmbeddedBroker::start(&[("events", 1), ("letters", 1)]).unwrap();
    send(&broker, 0, "z", r#"{"by": 1}"#).await;
    let view = node.start(&broker, VIEW);
    view.until("the store of the new topic", |state| {
        state.store.is_some() && state.offsets.0.iter().all(|(_, _, next)| *next == 1)
    })
    .await;
    assert_eq!(node.rows(), [row("z", r#"{"n":1,"sum":1}"#)]);
    view.folder.stop();
    assert!(!node.path(".old").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_is_not_there_yet_has_no_rows() {
    let (broker, node) = (EmbeddedBroker::start(&[("letters", 1), ("other", 1)]).unwrap(), Node::new());
    let view = node.start(&broker, &VIEW.replace("topic: events", "topic: [events, other]"));
    view.until_next(0, 0).await;
    broker.create_topic("events", 1).unwrap();
    let next = send(&broker, 0, "a", r#"{"by": 1}"#).await + 1;
    view.until_next(0, next).await;
    assert_eq!(node.rows(), [row("a", r#"{"n":1,"sum":1}"#)]);
    view.folder.stop();
}
