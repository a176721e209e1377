//! Stories against the embedded broker. What it cannot do is in `tests/real_kafka.rs`.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use prometheus::Registry;
use sallyport_config::kafka::Kafka;
use sallyport_config::{Located, Node, Report};

use super::*;

/// Nothing here takes so long unless it is broken.
const PATIENCE: Duration = Duration::from_secs(60);

/// What a sink was told, in order.
#[derive(Debug, Clone)]
enum Told {
    Record(Record),
    Partitions(String, Vec<i64>),
    Position,
    Ready(String, i32),
    Recreated,
    Surveyed,
}

#[derive(Default)]
struct Notes(Mutex<Vec<Told>>);

impl Notes {
    fn add(&self, told: Told) {
        self.0.lock().unwrap().push(told);
    }

    fn all(&self) -> Vec<Told> {
        self.0.lock().unwrap().clone()
    }

    fn records(&self) -> Vec<Record> {
        self.all()
            .into_iter()
            .filter_map(|told| if let Told::Record(r) = told { Some(r) } else { None })
            .collect()
    }

    fn readies(&self) -> usize {
        self.all().iter().filter(|told| matches!(told, Told::Ready(..))).count()
    }

    /// Waits until it holds.
    fn until(&self, what: &str, holds: impl Fn(&Self) -> bool) {
        let began = Instant::now();
        while !holds(self) {
            assert!(began.elapsed() < PATIENCE, "never happened: {what}; told: {:#?}", self.all());
            std::thread::park_timeout(Duration::from_millis(5));
        }
    }
}

impl Sink for Notes {
    fn record(&self, record: Record) {
        self.add(Told::Record(record));
    }

    fn partitions(&self, topic: &Arc<str>, first: &[i64]) {
        self.add(Told::Partitions(topic.to_string(), first.to_vec()));
    }

    fn position(&self, _: &Arc<str>, _: i32, _: i64) {
        self.add(Told::Position);
    }

    fn ready(&self, topic: &Arc<str>, partition: i32) {
        self.add(Told::Ready(topic.to_string(), partition));
    }

    fn recreated(&self, _: &Arc<str>) {
        self.add(Told::Recreated);
    }

    fn surveyed(&self) {
        self.add(Told::Surveyed);
    }
}

fn metrics() -> Metrics {
    Metrics::register(&Registry::new()).unwrap()
}

fn brisk() -> Timing {
    Timing {
        discovery: Duration::from_millis(200),
        watermarks: Duration::from_millis(100),
        gone: Duration::from_millis(500),
        stall: Duration::from_secs(30),
        timeout: Duration::from_secs(2),
    }
}

fn read(
    broker: &EmbeddedBroker,
    patterns: &[&str],
    timing: Timing,
    metrics: &Metrics,
) -> (Reader, Arc<Notes>) {
    let notes = Arc::new(Notes::default());
    let patterns = patterns.iter().map(|pattern| TopicPattern::new(*pattern)).collect();
    let window = Duration::from_secs(300);
    let reader =
        Reader::start_timed(&broker.settings(), patterns, window, notes.clone(), metrics.clone(), timing)
            .unwrap();
    (reader, notes)
}

async fn fill(broker: &EmbeddedBroker, topic: &str, partition: i32, values: std::ops::Range<usize>) {
    for value in values {
        let value = value.to_string();
        broker.produce(topic, Some(partition), None, Some(value.as_bytes()), &[]).await.unwrap();
    }
}

/// The values of a partition in the order they were told, which must be 0, 1, 2 and so on.
fn assert_counts(notes: &Notes, topic: &str, partition: i32, count: usize) {
    let values: Vec<String> = notes
        .records()
        .into_iter()
        .filter(|record| &*record.topic == topic && record.partition == partition)
        .map(|record| String::from_utf8(record.value.unwrap().to_vec()).unwrap())
        .collect();
    let wanted: Vec<String> = (0..count).map(|value| value.to_string()).collect();
    assert_eq!(values, wanted, "{topic}/{partition}");
}

#[tokio::test(flavor = "multi_thread")]
async fn reads_every_partition_once_and_tells_when_it_is_ready() {
    let broker = EmbeddedBroker::start(&[("a", 3), ("b", 1), ("other", 1), ("__own", 1)]).unwrap();
    for partition in 0..2 {
        fill(&broker, "a", partition, 0..100).await;
    }
    fill(&broker, "other", 0, 0..1).await;
    let metrics = metrics();
    let (reader, notes) = read(&broker, &["a", "b*"], brisk(), &metrics);
    notes.until("all four partitions ready, two of them empty", |notes| notes.readies() == 4);
    fill(&broker, "a", 0, 100..150).await;
    fill(&broker, "b", 0, 0..5).await;
    notes.until("all records", |notes| notes.records().len() == 255);
    for (topic, partition, count) in [("a", 0, 150), ("a", 1, 100), ("a", 2, 0), ("b", 0, 5)] {
        assert_counts(&notes, topic, partition, count);
    }
    let all = notes.all();
    let place = |wanted: fn(&Told) -> bool| all.iter().position(wanted).unwrap();
    assert!(
        place(|told| matches!(told, Told::Partitions(topic, first) if topic == "a" && first == &[0, 0, 0]))
            < place(|told| matches!(told, Told::Record(record) if &*record.topic == "a"))
    );
    // Ready comes after what was there, and before what came later.
    let ready = place(|told| matches!(told, Told::Ready(topic, 0) if topic == "a"));
    let before = all[..ready]
        .iter()
        .filter(|told| matches!(told, Told::Record(r) if &*r.topic == "a" && r.partition == 0));
    assert_eq!(before.count(), 100);
    let status = reader.status();
    assert_eq!(status.len(), 4);
    assert!(status.iter().all(|partition| partition.ready));
    assert_eq!(metrics.records.with_label_values(&["", "a"]).get(), 250);
    reader.stop();
    let told = notes.all().len();
    fill(&broker, "a", 0, 150..151).await;
    assert_eq!(notes.all().len(), told, "nothing is told after stop");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_appears_later_is_read_from_its_beginning() {
    let broker = EmbeddedBroker::start(&[("a.1", 1)]).unwrap();
    let (reader, notes) = read(&broker, &["a.*"], brisk(), &metrics());
    notes.until("the first topic", |notes| notes.readies() == 1);
    broker.create_topic("a.2", 2).unwrap();
    fill(&broker, "a.2", 1, 0..10).await;
    notes.until("the second topic's records", |notes| notes.records().len() == 10);
    notes.until("both topics ready", |notes| notes.readies() == 3);
    assert_counts(&notes, "a.2", 1, 10);
    assert!(!notes.all().iter().any(|told| matches!(told, Told::Recreated)));
    reader.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_was_away_costs_and_doubles_nothing() {
    let broker = EmbeddedBroker::start(&[("a", 2)]).unwrap();
    fill(&broker, "a", 0, 0..50).await;
    let metrics = metrics();
    let (reader, notes) = read(&broker, &["a"], brisk(), &metrics);
    notes.until("the first records", |notes| notes.records().len() == 50);
    broker.down();
    let failed = || metrics.errors.with_label_values(&["embedded", "unavailable"]).get();
    notes.until("the scout noticed", |_| failed() > 0);
    broker.up();
    fill(&broker, "a", 0, 50..80).await;
    fill(&broker, "a", 1, 0..20).await;
    notes.until("the other records", |notes| notes.records().len() >= 100);
    assert_counts(&notes, "a", 0, 80);
    assert_counts(&notes, "a", 1, 20);
    assert_eq!(metrics.recreated.with_label_values(&["embedded"]).get(), 0);
    reader.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_consumer_that_stands_still_is_made_anew_from_where_it_was() {
    let broker = EmbeddedBroker::start(&[("a", 2)]).unwrap();
    fill(&broker, "a", 0, 0..10).await;
    let metrics = metrics();
    let timing = Timing { stall: Duration::from_millis(300), ..brisk() };
    let (reader, notes) = read(&broker, &["a"], timing, &metrics);
    notes.until("ready", |notes| notes.readies() == 2 && notes.records().len() == 10);
    assert_eq!(metrics.stalls.with_label_values(&["embedded"]).get(), 0);
    reader.hold("a", 0);
    fill(&broker, "a", 1, 0..10).await;
    notes.until("the other partition goes on", |notes| notes.records().len() == 20);
    fill(&broker, "a", 0, 10..30).await;
    notes.until("the rest of the partition that stood still", |notes| notes.records().len() >= 40);
    assert_counts(&notes, "a", 0, 30);
    assert_counts(&notes, "a", 1, 10);
    assert!(metrics.stalls.with_label_values(&["embedded"]).get() >= 1);
    reader.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_producer_sends_is_what_a_reader_tells() {
    let broker = EmbeddedBroker::start(&[("a", 1), ("dead", 1)]).unwrap();
    let metrics = metrics();
    let (reader, notes) = read(&broker, &["a", "dead"], brisk(), &metrics);
    let producer = Producer::new(&broker.settings(), metrics.clone()).unwrap();
    let headers: [(&str, &[u8]); 3] = [("ce_type", b"x"), ("ce_type", b"y"), ("empty", b"")];
    let sent = producer.send("a", Some(b"k"), Some(b"\0\xffv"), &headers).await.unwrap();
    assert_eq!(sent, (0, 0));
    assert_eq!(producer.send("a", Some(b"k"), None, &[]).await.unwrap(), (0, 1));
    assert_eq!(producer.send("a", None, Some(b""), &[]).await.unwrap(), (0, 2));
    notes.until("three records", |notes| notes.records().len() == 3);
    let records = notes.records();
    assert_eq!(records[0].key.as_deref(), Some(&b"k"[..]));
    assert_eq!(records[0].value.as_deref(), Some(&b"\0\xffv"[..]));
    let told: Vec<(&str, &[u8])> =
        records[0].headers.iter().map(|(name, value)| (&**name, &**value)).collect();
    assert_eq!(told, headers);
    assert_eq!(records[0].header("CE_TYPE").map(|value| &**value), Some(&b"y"[..]));
    assert!(records[0].timestamp > 1_600_000_000_000);
    assert!(records[1].value.is_none(), "a tombstone");
    assert_eq!((records[2].key.as_deref(), records[2].value.as_deref()), (None, Some(&b""[..])));

    let letters = DeadLetters::new(producer.clone(), "dead");
    letters.put(&records[0], &"é".repeat(400));
    notes.until("the dead letter", |notes| notes.records().len() == 4);
    let letter = notes.records().pop().unwrap();
    assert_eq!((letter.key.as_deref(), letter.value.as_deref()), (Some(&b"k"[..]), Some(&b"\0\xffv"[..])));
    let header = |name: &str| String::from_utf8(letter.header(name).unwrap().to_vec()).unwrap();
    assert_eq!(header("ce_type"), "y");
    assert_eq!(
        (header("sallyport-origin-topic"), header("sallyport-origin-partition")),
        ("a".into(), "0".into())
    );
    assert_eq!(header("sallyport-origin-offset"), "0");
    assert_eq!(header("sallyport-origin-timestamp"), records[0].timestamp.to_string());
    assert_eq!(header("sallyport-error"), "é".repeat(256));
    letters.put(&letter, "again");
    assert_eq!(metrics.dead_letters.with_label_values(&["embedded", "own_topic"]).get(), 1);
    notes.until("the letter is counted", |_| {
        metrics.dead_letters.with_label_values(&["embedded", "ok"]).get() == 1
    });
    assert_eq!(metrics.produced.with_label_values(&["embedded", "ok"]).get(), 3);
    reader.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_sent_is_refused() {
    let broker = EmbeddedBroker::start(&[("a", 1)]).unwrap();
    let metrics = metrics();
    let producer = Producer::new(&broker.settings(), metrics.clone()).unwrap();
    let large = vec![0; 2_000_000];
    assert!(matches!(producer.send("a", None, Some(&large), &[]).await, Err(SendError::Refused(_))));
    assert!(matches!(producer.send("a\0b", None, Some(b""), &[]).await, Err(SendError::Refused(_))));
    assert_eq!(metrics.produced.with_label_values(&["embedded", "refused"]).get(), 2);
    broker.down();
    let million = vec![0; 900_000];
    let mut waiting = Vec::new();
    let full = loop {
        let mut sending = Box::pin(producer.send("a", None, Some(&million), &[]));
        // The first poll puts the record into the queue, or says that it is full.
        match std::future::poll_fn(|context| std::task::Poll::Ready(sending.as_mut().poll(context))).await {
            std::task::Poll::Ready(outcome) => break outcome,
            std::task::Poll::Pending => waiting.push(sending),
        }
        assert!(waiting.len() < 100, "the queue has no end");
    };
    assert_eq!(full, Err(SendError::Full));
}

#[tokio::test(flavor = "multi_thread")]
async fn ranges_are_read_again_in_order_and_within_limits() {
    let broker = EmbeddedBroker::start(&[("a", 3)]).unwrap();
    fill(&broker, "a", 0, 0..100).await;
    fill(&broker, "a", 1, 0..10).await;
    let settings = broker.settings();
    let range = |partition, from, to| Range { topic: "a".into(), partition, from, to };
    let ranges = [range(0, 20, 60), range(1, 5, 1000), range(2, 0, 10), range(0, 70, 70)];
    let outcome = tokio::task::spawn_blocking(move || {
        let mut told = Vec::new();
        let read = |ranges: &[Range], most, told: &mut Vec<(i32, i64)>| {
            read_ranges(&settings, ranges, most, PATIENCE, &mut |record| {
                told.push((record.partition, record.offset));
            })
        };
        assert_eq!(read(&ranges, 45, &mut told), Ok(()));
        let of =
            |partition| told.iter().filter(|told| told.0 == partition).map(|told| told.1).collect::<Vec<_>>();
        assert_eq!(of(0), (20..60).collect::<Vec<_>>());
        assert_eq!(of(1), (5..10).collect::<Vec<_>>());
        assert_eq!(told.len(), 45);
        let mut some = Vec::new();
        assert_eq!(read(&ranges, 44, &mut some), Err(ReadError::TooMany(44)));
        assert_eq!(some.len(), 44);
        let gone = read(&[range(1, 11, 12)], 10, &mut some);
        assert_eq!(
            gone,
            Err(ReadError::Gone { topic: "a".into(), partition: 1, from: 11, low: 0, high: 10 })
        );
        assert!(matches!(read(&[range(9, 0, 1)], 10, &mut some), Err(ReadError::Unavailable(_))));
    });
    outcome.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_that_does_not_answer_stops_no_caller_for_good() {
    let broker = EmbeddedBroker::start(&[("a", 1)]).unwrap();
    broker.down();
    let (reader, _) = read(&broker, &["a"], brisk(), &metrics());
    reader.stop();
    let settings = broker.settings();
    let ranges = [Range { topic: "a".into(), partition: 0, from: 0, to: 1 }];
    let read = tokio::task::spawn_blocking(move || {
        read_ranges(&settings, &ranges, 1, Duration::from_millis(300), &mut |_| panic!("no record"))
    });
    assert!(matches!(read.await.unwrap(), Err(ReadError::Unavailable(_))));
}

/// Sends one record with a header of this name, by hand: rdkafka takes none that is not UTF-8. Produce v3, record
/// batch v2; its checksum is left out, which neither the embedded broker nor a consumer looks at.
async fn produce_with_header(broker: &EmbeddedBroker, topic: &str, header: &[u8]) {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    // Zigzag: these numbers fit into one byte.
    let small = |number: usize| u8::try_from(number * 2).unwrap();
    let length = |bytes: &[u8]| i32::try_from(bytes.len()).unwrap().to_be_bytes();
    // Attributes, both deltas, no key, value, two headers.
    let mut record = vec![0, 0, 0, 1, small(1), b'v', small(2), small(header.len())];
    record.extend_from_slice(header);
    record.extend([small(1), b'x', small(4), b'g', b'o', b'o', b'd', small(1), b'y']);
    // Leader epoch, magic, checksum, attributes, last delta, times, producer's id, epoch and sequence, one record.
    let mut batch = vec![0xff, 0xff, 0xff, 0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    batch.extend(1_700_000_000_000_i64.to_be_bytes().repeat(2));
    batch.extend([0xff; 14]);
    batch.extend([0, 0, 0, 1, small(record.len())]);
    batch.extend(record);
    let records = [&[0; 8], &length(&batch)[..], &batch].concat();
    let name = [&length(topic.as_bytes())[2..], topic.as_bytes()].concat();
    // Produce, version, correlation, no client id, no transaction, acks, timeout, one topic, one partition: 0.
    let request = [
        &[0, 0, 0, 3, 0, 0, 0, 7, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0, 0x27, 0x10, 0, 0, 0, 1][..],
        &name,
        &[0, 0, 0, 1, 0, 0, 0, 0],
        &length(&records),
        &records,
    ]
    .concat();
    let mut stream = tokio::net::TcpStream::connect(broker.address()).await.unwrap();
    stream.write_all(&[&length(&request)[..], &request].concat()).await.unwrap();
    let mut answer = vec![0; 4];
    stream.read_exact(&mut answer).await.unwrap();
}

/// rdkafka 0.39 panics on a header whose name is not UTF-8 (`BorrowedHeaders::try_get`).
#[tokio::test(flavor = "multi_thread")]
async fn a_header_with_a_wrong_name_ends_nothing() {
    let broker = EmbeddedBroker::start(&[("a", 1)]).unwrap();
    let (reader, notes) = read(&broker, &["a"], brisk(), &metrics());
    produce_with_header(&broker, "a", b"fine").await;
    produce_with_header(&broker, "a", b"wr\xffng").await;
    fill(&broker, "a", 0, 0..1).await;
    notes.until("all three records", |notes| notes.records().len() == 3);
    let names: Vec<Vec<String>> = notes
        .records()
        .iter()
        .map(|record| record.headers.iter().map(|(name, _)| name.to_string()).collect())
        .collect();
    assert_eq!(names, [vec!["fine", "good"], vec!["good"], vec![]]);
    reader.stop();
}

fn compile(yaml: &str) -> (Option<ClusterSettings>, Report) {
    let mut report = Report::default();
    let node = Node::parse("/etc/sallyport/routes.yaml", yaml, &mut report).unwrap();
    let kafka: Kafka = node.decode(&mut report).unwrap_or_else(|| panic!("{report}"));
    let settings = ClusterSettings::compile(&Located::nowhere("events".to_owned()), &kafka, &mut report);
    (settings, report)
}

#[test]
fn settings_are_checked_at_their_place() {
    let (settings, report) =
        compile("brokers: [\"k1:9092\"]\nsettings: { client.id: edge, fetch.max.bytes: \"1000000\" }\n");
    assert!(settings.is_some() && report.is_empty(), "{report}");
    for (yaml, place, message) in [
        ("brokers: []", None, "no brokers"),
        ("brokers: [k1]", Some((1, 11)), "no broker's address"),
        ("brokers: [\"SSL://k1:9092\"]", Some((1, 11)), "no broker's address"),
        (
            "brokers: [\"k1:9092\"]\nsettings:\n  sasl.mechansim: PLAIN",
            Some((3, 3)),
            "no setting `sasl.mechansim`",
        ),
        (
            "brokers: [\"k1:9092\"]\nsettings:\n  security.protocol: TLS",
            Some((3, 22)),
            "`TLS` for `security.protocol`",
        ),
        ("brokers: [\"k1:9092\"]\nsettings:\n  group.id: mine", Some((3, 3)), "`group.id` cannot be set"),
        ("brokers: [\"k1:9092\"]\nsettings:\n  plugin.library.paths: x", Some((3, 3)), "cannot be set"),
        ("brokers: [\"k1:9092\"]\nsettings:\n  error_cb: x", Some((3, 3)), "cannot be set"),
        (
            "brokers: [\"k1:9092\"]\nsettings:\n  security.protocol: SSL\n  ssl.ca.location: none.pem",
            Some((4, 20)),
            "`/etc/sallyport/none.pem` of `ssl.ca.location` cannot be read",
        ),
    ] {
        let (settings, report) = compile(yaml);
        assert!(settings.is_none(), "{yaml}");
        let error = report.errors().next().unwrap_or_else(|| panic!("{yaml}"));
        assert!(error.message.contains(message), "{yaml}: {}", error.message);
        let at = error.at.is_known().then_some((error.at.line, error.at.column));
        assert_eq!(at, place, "{yaml}: {report}");
    }
    let (_, report) = compile("brokers: [\"k1:9092\"]\nsettings:\n  sasl.mechansim: PLAIN");
    assert!(report.to_string().contains("did you mean `sasl.mechanism`?"), "{report}");
}

/// Cargo sets the variable; its value is no number, no protocol, and no property may show it.
#[test]
fn a_secret_is_in_no_message() {
    for key in ["linger.ms", "security.protocol", "sasl.oauthbearer.config", "no.such.key", "group.id"] {
        let (settings, report) =
            compile(&format!("brokers: [\"k1:9092\"]\nsecrets:\n  {key}: ${{CARGO_PKG_NAME}}\n"));
        let text = format!("{report} {settings:?}");
        assert!(!text.contains("sallyport-ws-bridge"), "{text}");
        if let Some(error) = report.errors().next() {
            assert!(settings.is_none());
            let at = error.at;
            assert!(!at.is_known() || at.line == 3, "{text}");
        }
    }
    let (settings, report) =
        compile("brokers: [\"k1:9092\"]\nsecrets: { sasl.password: \"${CARGO_PKG_NAME}\" }\n");
    assert!(report.is_empty(), "{report}");
    assert_eq!(format!("{settings:?}"), "Some(ClusterSettings(events))");
}

/// Where a partition does not have the offset, reading begins with its first record.
#[tokio::test(flavor = "multi_thread")]
async fn reading_begins_where_it_was_said() {
    let broker = EmbeddedBroker::start(&[("a", 4)]).unwrap();
    for partition in 0..4 {
        fill(&broker, "a", partition, 0..10).await;
    }
    let notes = Arc::new(Notes::default());
    let begin = Begin::At(Arc::new(|topic, partition| {
        (topic == "a").then_some([7, 10, 11])?.get(partition as usize).copied()
    }));
    let patterns = vec![TopicPattern::new("a")];
    let reader =
        Reader::start_timed(&broker.settings(), patterns, begin, notes.clone(), metrics(), brisk()).unwrap();
    notes.until("all partitions", |notes| notes.readies() == 4);
    let first = notes
        .all()
        .into_iter()
        .find_map(|told| if let Told::Partitions(_, first) = told { Some(first) } else { None });
    assert_eq!(first.unwrap(), [7, 10, 0, 0]);
    let counts =
        (0..4).map(|partition| notes.records().iter().filter(|record| record.partition == partition).count());
    assert_eq!(counts.collect::<Vec<_>>(), [3, 0, 10, 10]);
    assert_eq!(notes.records().iter().find(|record| record.partition == 0).unwrap().offset, 7);
    notes.until("the survey", |notes| notes.all().iter().any(|told| matches!(told, Told::Surveyed)));
    reader.stop();
}
