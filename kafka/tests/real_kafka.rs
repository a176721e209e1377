//! Stories against a real Apache Kafka, whose address (`host:port`) is in `SALLYPORT_TEST_KAFKA`.
//!
//! Without it they are skipped, loudly; where `CI` is `true` they fail instead. Each makes topics of its own, so that
//! a broker can be used again.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use prometheus::Registry;
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewPartitions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::producer::{FutureProducer, FutureRecord, Producer as _};
use rdkafka::{Offset, TopicPartitionList};
use sallyport_config::kafka::Kafka;
use sallyport_config::{Located, Report};
use sallyport_kafka::{
    ClusterSettings, Metrics, Range, ReadError, Reader, Record, Sink, Timing, TopicPattern, read_ranges,
};

/// Nothing here takes so long unless it is broken; compaction takes longest.
const PATIENCE: Duration = Duration::from_secs(120);

/// A broker, and clients to prepare what a reader shall find.
struct Kafkas {
    address: String,
    admin: AdminClient<DefaultClientContext>,
    producer: FutureProducer,
    options: AdminOptions,
}

/// The broker, or `None` if there is none to test against.
fn broker(story: &str) -> Option<Kafkas> {
    let Ok(address) = std::env::var("SALLYPORT_TEST_KAFKA") else {
        let ci = std::env::var("CI").is_ok_and(|ci| ci == "true");
        assert!(!ci, "SALLYPORT_TEST_KAFKA is not set: in CI the stories against a real Kafka must run");
        eprintln!("SKIPPED, not passed: `{story}` needs a real Kafka; set SALLYPORT_TEST_KAFKA=host:port");
        return None;
    };
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", &address)
        .set("message.timeout.ms", "30000")
        .set("enable.idempotence", "true");
    let admin = config.create().unwrap();
    let options = AdminOptions::new().operation_timeout(Some(Duration::from_secs(30)));
    Some(Kafkas { admin, producer: config.create().unwrap(), options, address })
}

impl Kafkas {
    fn settings(&self) -> ClusterSettings {
        let kafka = Kafka {
            brokers: vec![Located::nowhere(self.address.clone())],
            settings: Default::default(),
            secrets: Default::default(),
        };
        let mut report = Report::default();
        ClusterSettings::compile(&Located::nowhere("real".to_owned()), &kafka, &mut report)
            .unwrap_or_else(|| panic!("{report}"))
    }

    async fn topic(&self, name: &str, partitions: i32, config: &[(&str, &str)]) {
        let mut topic = NewTopic::new(name, partitions, TopicReplication::Fixed(1));
        for (key, value) in config {
            topic = topic.set(key, value);
        }
        // A topic of this name may still be on its way out.
        let began = Instant::now();
        loop {
            let made = self.admin.create_topics([&topic], &self.options).await.unwrap().remove(0);
            match made {
                Ok(_) => return,
                Err((_, code)) => assert!(began.elapsed() < PATIENCE, "cannot make {name}: {code}"),
            }
        }
    }

    async fn delete(&self, name: &str) {
        self.admin.delete_topics(&[name], &self.options).await.unwrap().remove(0).unwrap();
    }

    async fn put(&self, topic: &str, partition: i32, value: &str) -> i64 {
        self.put_at(topic, partition, None, value, None).await
    }

    async fn put_at(
        &self,
        topic: &str,
        partition: i32,
        key: Option<&str>,
        value: &str,
        time: Option<i64>,
    ) -> i64 {
        let mut record = FutureRecord::to(topic).partition(partition).payload(value);
        record.key = key;
        record.timestamp = time;
        self.producer.send(record, PATIENCE).await.unwrap().offset
    }

    /// Sends through a new producer, which knows nothing of the topic as it was before.
    async fn put_anew(&self, topic: &str, partition: i32, value: &str, count: usize, time: Option<i64>) {
        let producer: FutureProducer = ClientConfig::new()
            .set("bootstrap.servers", &self.address)
            .set("enable.idempotence", "true")
            .create()
            .unwrap();
        let sending: Vec<_> = (0..count)
            .map(|_| {
                let mut record: FutureRecord<'_, str, str> =
                    FutureRecord::to(topic).partition(partition).payload(value);
                record.timestamp = time;
                producer.send_result(record).unwrap()
            })
            .collect();
        for sent in sending {
            sent.await.unwrap().unwrap();
        }
    }

    fn read(&self, topic: &str, timing: Timing, notes: &Arc<Notes>) -> (Reader, Registry) {
        let registry = Registry::new();
        let metrics = Metrics::register(&registry).unwrap();
        let patterns = vec![TopicPattern::new(topic)];
        let window = Duration::from_secs(300);
        let reader =
            Reader::start_timed(&self.settings(), patterns, window, notes.clone(), metrics, timing).unwrap();
        (reader, registry)
    }
}

/// The sum of a counter over the rows that have this label, if one is asked for.
fn count(registry: &Registry, name: &str, label: Option<&str>) -> f64 {
    let families = registry.gather();
    let family = families.iter().find(|family| family.name() == name).expect(name);
    let meant = |row: &&prometheus::proto::Metric| {
        label.is_none_or(|label| row.get_label().iter().any(|pair| pair.value() == label))
    };
    family.get_metric().iter().filter(meant).map(|row| row.get_counter().get_value()).sum()
}

/// A name that no other run has used.
fn fresh(name: &str) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    format!("sallyport-test.{name}.{}", now.as_nanos())
}

/// Before the window, and not so old that the broker would delete it. Milliseconds since 1970.
fn hour_ago() -> i64 {
    i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap() - 3_600_000
}

fn brisk() -> Timing {
    Timing {
        discovery: Duration::from_millis(300),
        watermarks: Duration::from_millis(200),
        gone: Duration::from_millis(600),
        ..Timing::default()
    }
}

/// What a sink was told, as words.
#[derive(Default)]
struct Notes {
    told: Mutex<Vec<String>>,
    /// While set, the first record is not taken.
    shut: AtomicBool,
}

impl Notes {
    fn add(&self, told: String) {
        self.told.lock().unwrap().push(told);
    }

    fn all(&self) -> Vec<String> {
        self.told.lock().unwrap().clone()
    }

    fn has(&self, told: &str) -> bool {
        self.all().iter().any(|known| known == told)
    }

    fn records(&self) -> Vec<String> {
        self.all().into_iter().filter(|told| told.starts_with("record ")).collect()
    }

    fn until(&self, what: &str, holds: impl Fn(&Self) -> bool) {
        let began = Instant::now();
        while !holds(self) {
            assert!(began.elapsed() < PATIENCE, "never happened: {what}; told: {:#?}", self.all());
            std::thread::park_timeout(Duration::from_millis(10));
        }
    }
}

impl Sink for Notes {
    fn record(&self, record: Record) {
        let value = record.value.as_deref().map(String::from_utf8_lossy).unwrap_or_default();
        let value = &value[..value.len().min(20)];
        self.add(format!("record {}@{} {value}", record.partition, record.offset));
        while self.shut.load(Ordering::Acquire) {
            std::thread::park_timeout(Duration::from_millis(5));
        }
    }

    fn partitions(&self, _: &Arc<str>, first: &[i64]) {
        self.add(format!("partitions {first:?}"));
    }

    fn position(&self, _: &Arc<str>, partition: i32, next: i64) {
        self.add(format!("position {partition}@{next}"));
    }

    fn ready(&self, _: &Arc<str>, partition: i32) {
        self.add(format!("ready {partition}"));
    }

    fn recreated(&self, _: &Arc<str>) {
        self.add("recreated".to_owned());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn partitions_that_are_added_are_read_from_their_beginning() {
    let Some(kafka) = broker("partitions added") else { return };
    let topic = fresh("added");
    kafka.topic(&topic, 1, &[]).await;
    kafka.put(&topic, 0, "a").await;
    let notes = Arc::new(Notes::default());
    let (reader, _) = kafka.read(&topic, brisk(), &notes);
    notes.until("the first partition", |notes| notes.has("record 0@0 a") && notes.has("ready 0"));
    kafka
        .admin
        .create_partitions([&NewPartitions::new(&topic, 3)], &kafka.options)
        .await
        .unwrap()
        .remove(0)
        .unwrap();
    // Records with an old timestamp come too: what is new is not cut off by the window.
    kafka.put_anew(&topic, 2, "b", 1, Some(hour_ago())).await;
    notes.until("the new partitions", |notes| {
        notes.has("partitions [0, 0, 0]")
            && notes.has("record 2@0 b")
            && notes.has("ready 1")
            && notes.has("ready 2")
    });
    kafka.put(&topic, 0, "c").await;
    notes.until("the old partition goes on", |notes| notes.has("record 0@1 c"));
    assert_eq!(notes.records().len(), 3);
    assert!(!notes.has("recreated"));
    reader.stop();
}

/// No offset is out of range and no look at the topics comes in time: librdkafka's word about the id alone tells.
#[tokio::test(flavor = "multi_thread")]
async fn an_empty_topic_made_again_is_known_by_its_id() {
    let Some(kafka) = broker("empty topic made again") else { return };
    let topic = fresh("empty");
    kafka.topic(&topic, 1, &[]).await;
    let notes = Arc::new(Notes::default());
    let never = Duration::from_secs(3600);
    let (reader, _) = kafka.read(&topic, Timing { discovery: never, gone: never, ..brisk() }, &notes);
    notes.until("ready", |notes| notes.has("ready 0"));
    // What the consumer has not yet heard of cannot change for it: in the first round it may be too early.
    for _ in 0..5 {
        kafka.delete(&topic).await;
        kafka.topic(&topic, 1, &[]).await;
        let began = Instant::now();
        while !notes.has("recreated") && began.elapsed() < Duration::from_secs(6) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        if notes.has("recreated") {
            break;
        }
    }
    kafka.put_anew(&topic, 0, "new", 1, None).await;
    notes.until("the new record", |notes| notes.has("record 0@0 new"));
    assert_eq!(notes.all().iter().filter(|told| *told == "recreated").count(), 1, "{:?}", notes.all());
    reader.stop();
}

/// The new topic is longer than the old one was, and the reader's own look at the topics is far away.
#[tokio::test(flavor = "multi_thread")]
async fn a_topic_made_again_between_two_looks_is_another_topic() {
    let Some(kafka) = broker("topic made again between two looks") else { return };
    let topic = fresh("again");
    kafka.topic(&topic, 1, &[]).await;
    for _ in 0..20 {
        kafka.put(&topic, 0, "old").await;
    }
    let notes = Arc::new(Notes::default());
    let timing = Timing { discovery: Duration::from_secs(3600), ..brisk() };
    let (reader, registry) = kafka.read(&topic, timing, &notes);
    notes.until("the old records", |notes| notes.records().len() == 20);
    for round in 1..=3 {
        kafka.delete(&topic).await;
        kafka.topic(&topic, 1, &[]).await;
        let value = format!("new{round}");
        kafka.put_anew(&topic, 0, &value, 100, None).await;
        let last = format!("record 0@99 {value}");
        notes.until(&last, |notes| notes.has(&last));
        let all = notes.all();
        let after = all.iter().rposition(|told| told == "recreated").unwrap();
        let records: Vec<_> =
            all[after..].iter().filter(|told| told.starts_with("record")).cloned().collect();
        let wanted: Vec<_> = (0..100).map(|offset| format!("record 0@{offset} {value}")).collect();
        assert_eq!(records, wanted, "the whole new topic, and nothing of it before");
        let before = all[..after].iter().filter(|told| told.contains(&value)).count();
        assert_eq!(before, 0, "nothing of the new topic is told as the old one's");
    }
    assert_eq!(count(&registry, "sallyport_kafka_topics_recreated_total", None), 3.0);
    reader.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_is_deleted_is_void_and_its_successor_is_found() {
    let Some(kafka) = broker("topic deleted") else { return };
    let topic = fresh("deleted");
    kafka.topic(&topic, 2, &[]).await;
    kafka.put(&topic, 1, "old").await;
    let notes = Arc::new(Notes::default());
    let (reader, _) = kafka.read(&topic, brisk(), &notes);
    notes.until("the old record", |notes| notes.has("record 1@0 old") && notes.has("ready 0"));
    kafka.delete(&topic).await;
    notes.until("the topic is gone", |notes| notes.has("recreated"));
    notes.until("and has no state", |_| reader.status().is_empty());
    kafka.topic(&topic, 1, &[]).await;
    kafka.put_anew(&topic, 0, "new", 1, None).await;
    notes.until("the new record", |notes| notes.has("record 0@0 new"));
    assert_eq!(notes.all().iter().filter(|told| *told == "recreated").count(), 1, "{:?}", notes.all());
    assert!(notes.has("partitions [0]"));
    reader.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_transaction_aborted_is_never_told_and_never_waited_for() {
    let Some(kafka) = broker("aborted transactions") else { return };
    let topic = fresh("transactions");
    kafka.topic(&topic, 1, &[]).await;
    let sender: FutureProducer = ClientConfig::new()
        .set("bootstrap.servers", &kafka.address)
        .set("transactional.id", &topic)
        .create()
        .unwrap();
    sender.init_transactions(PATIENCE).unwrap();
    let in_one = async |value: &str, commit: bool| {
        sender.begin_transaction().unwrap();
        for _ in 0..3 {
            let record: FutureRecord<'_, str, str> = FutureRecord::to(&topic).partition(0).payload(value);
            sender.send(record, PATIENCE).await.unwrap();
        }
        if commit {
            sender.commit_transaction(PATIENCE).unwrap();
        } else {
            sender.abort_transaction(PATIENCE).unwrap();
        }
    };
    // Each transaction ends with a marker: offsets 0-2 and 3, 4-6 and 7, and so on.
    in_one("good", true).await;
    in_one("bad", false).await;
    let notes = Arc::new(Notes::default());
    let (reader, _) = kafka.read(&topic, brisk(), &notes);
    notes.until("ready although the last offsets hold nothing", |notes| notes.has("ready 0"));
    in_one("good", true).await;
    in_one("bad", false).await;
    notes.until("the position passes the last marker", |notes| notes.has("position 0@16"));
    let wanted = ["0@0", "0@1", "0@2", "0@8", "0@9", "0@10"].map(|place| format!("record {place} good"));
    assert_eq!(notes.records(), wanted);
    notes.until("no lag is left", |_| reader.status().iter().all(|partition| partition.lag == 0));
    reader.stop();
    let settings = kafka.settings();
    let ranges = [Range { topic: topic.as_str().into(), partition: 0, from: 2, to: 16 }];
    let told = tokio::task::spawn_blocking(move || {
        let mut told = Vec::new();
        read_ranges(&settings, &ranges, 100, PATIENCE, &mut |record| told.push(record.offset)).map(|()| told)
    });
    assert_eq!(told.await.unwrap(), Ok(vec![2, 8, 9, 10]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_compacted_topic_has_gaps_and_nothing_waits_for_them() {
    let Some(kafka) = broker("compacted topic") else { return };
    let topic = fresh("compacted");
    let config = [
        ("cleanup.policy", "compact"),
        ("segment.ms", "100"),
        ("min.cleanable.dirty.ratio", "0.001"),
        ("min.compaction.lag.ms", "0"),
    ];
    kafka.topic(&topic, 1, &config).await;
    for round in 0..10 {
        kafka.put_at(&topic, 0, Some("same"), &round.to_string(), None).await;
    }
    // The cleaner works in the background, on segments that are closed: each record may close one.
    let settings = kafka.settings();
    let name: Arc<str> = topic.as_str().into();
    let began = Instant::now();
    let left = loop {
        let last = kafka.put_at(&topic, 0, Some("other"), "x", None).await;
        let (settings, range) =
            (settings.clone(), Range { topic: name.clone(), partition: 0, from: 0, to: last + 1 });
        let read = tokio::task::spawn_blocking(move || {
            let mut offsets = Vec::new();
            read_ranges(&settings, &[range], 10_000, PATIENCE, &mut |record| offsets.push(record.offset))
                .unwrap();
            offsets
        });
        let offsets = read.await.unwrap();
        assert_eq!(offsets.last(), Some(&last));
        if !offsets.contains(&0) {
            break offsets;
        }
        assert!(began.elapsed() < PATIENCE, "the broker never compacted: {offsets:?}");
    };
    assert!(left.windows(2).any(|pair| pair[1] > pair[0] + 1) || left[0] > 0, "{left:?}");
    let notes = Arc::new(Notes::default());
    let (reader, _) = kafka.read(&topic, brisk(), &notes);
    notes.until("ready", |notes| notes.has("ready 0"));
    kafka.put_at(&topic, 0, Some("last"), "end", None).await;
    notes.until("the last record", |notes| notes.records().iter().any(|told| told.ends_with("end")));
    let records = notes.records();
    let unique: HashSet<_> = records.iter().collect();
    assert_eq!(unique.len(), records.len(), "nothing twice");
    assert!(!notes.has("recreated"));
    reader.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn reading_begins_with_the_window() {
    let Some(kafka) = broker("window") else { return };
    let topic = fresh("window");
    kafka.topic(&topic, 3, &[]).await;
    let hour_ago = hour_ago();
    let now = hour_ago + 3_600_000;
    for (partition, time) in [(0, hour_ago), (0, hour_ago + 1), (0, now), (1, hour_ago), (1, hour_ago)] {
        kafka.put_at(&topic, partition, None, "x", Some(time)).await;
    }
    let notes = Arc::new(Notes::default());
    let (reader, _) = kafka.read(&topic, brisk(), &notes);
    notes.until("ready", |notes| (0..3).all(|partition| notes.has(&format!("ready {partition}"))));
    assert!(notes.has("partitions [2, 2, 0]"), "{:?}", notes.all());
    assert_eq!(notes.records(), ["record 0@2 x"]);
    reader.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_retention_overtook_goes_on_at_what_is_left() {
    let Some(kafka) = broker("retention") else { return };
    let topic = fresh("retention");
    kafka.topic(&topic, 1, &[]).await;
    // More than is fetched ahead, so that the reader has still to ask for the rest.
    let large = "v".repeat(900_000);
    for _ in 0..60 {
        kafka.put(&topic, 0, &large).await;
    }
    let notes = Arc::new(Notes::default());
    notes.shut.store(true, Ordering::Release);
    let (reader, registry) = kafka.read(&topic, brisk(), &notes);
    notes.until("the first record", |notes| notes.records().len() == 1);
    let mut before = TopicPartitionList::new();
    before.add_partition_offset(&topic, 0, Offset::Offset(58)).unwrap();
    let deleted = kafka.admin.delete_records(&before, &kafka.options).await.unwrap();
    assert!(deleted.elements().iter().all(|element| element.error().is_ok()));
    notes.shut.store(false, Ordering::Release);
    notes
        .until("the last record", |notes| notes.records().iter().any(|told| told.starts_with("record 0@59")));
    assert!(notes.has("position 0@58"), "{:?}", notes.all());
    assert!(!notes.has("recreated"), "{:?}", notes.all());
    assert_eq!(count(&registry, "sallyport_kafka_reader_errors_total", Some("overtaken")), 1.0);
    reader.stop();
    let settings = kafka.settings();
    let name: Arc<str> = topic.as_str().into();
    let ranges = [Range { topic: name.clone(), partition: 0, from: 3, to: 5 }];
    let read = tokio::task::spawn_blocking(move || read_ranges(&settings, &ranges, 9, PATIENCE, &mut |_| {}));
    let gone = ReadError::Gone { topic: name, partition: 0, from: 3, low: 58, high: 60 };
    assert_eq!(read.await.unwrap(), Err(gone));
}
