//! With a real Apache Kafka: transactions, some of them aborted, duplicates, and a topic that is compacted.
//!
//! Without a broker the test is skipped, loudly; where `CI` is `true` it fails instead. Its topics are its own, so that a
//! broker can be used again.

use std::collections::BTreeMap;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaError;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{FutureProducer, FutureRecord, Producer as _};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use serde_json::{Value, json};

use crate::program::Program;
use crate::sums::{Event, Model, view};
use crate::{KILLS, PATIENCE, random, until};

/// Records of a transaction, the most.
const RECORDS_MAX: usize = 60;

/// Keys of the compacted topic; each of its records replaces the one before.
const KEYS: usize = 7;

/// Its partitions.
const PARTITIONS: i32 = 2;

/// A cluster, and what was sent to it.
struct Kafka {
    producer: FutureProducer,
    sums: String,
    latest: String,
    /// Events that were committed, in their order.
    events: Vec<Event>,
    /// The compacted topic's rows.
    rows: BTreeMap<String, Value>,
    /// The last offset of each partition that was committed.
    last: BTreeMap<(String, i32), i64>,
    sent: usize,
    /// Records of the compacted topic that were committed.
    of_latest: usize,
}

fn address() -> Option<String> {
    let address = std::env::var("SALLYPORT_TEST_KAFKA").ok();
    if address.is_none() {
        let ci = std::env::var("CI").is_ok_and(|ci| ci == "true");
        assert!(!ci, "SALLYPORT_TEST_KAFKA is not set: in CI the tests against a real Kafka must run");
        eprintln!("SKIPPED, not passed: kills with a real Kafka; set SALLYPORT_TEST_KAFKA=host:port");
    }
    address
}

impl Kafka {
    async fn new(address: &str) -> Kafka {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos();
        let (sums, latest) = (format!("sallyport-test.sums.{now}"), format!("sallyport-test.latest.{now}"));
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", address);
        let admin: AdminClient<DefaultClientContext> = config.create().unwrap();
        let options = AdminOptions::new().operation_timeout(Some(Duration::from_secs(30)));
        let compacted = [
            ("cleanup.policy", "compact"),
            ("segment.ms", "100"),
            ("min.cleanable.dirty.ratio", "0.001"),
            ("min.compaction.lag.ms", "0"),
        ];
        let compacted = compacted
            .iter()
            .fold(NewTopic::new(&latest, PARTITIONS, TopicReplication::Fixed(1)), |topic, (key, value)| {
                topic.set(key, value)
            });
        let topics = [NewTopic::new(&sums, 3, TopicReplication::Fixed(1)), compacted];
        for made in admin.create_topics(&topics, &options).await.unwrap() {
            made.unwrap();
        }
        let producer: FutureProducer = config.set("transactional.id", &sums).create().unwrap();
        let of_start = producer.clone();
        tokio::task::spawn_blocking(move || of_start.init_transactions(PATIENCE)).await.unwrap().unwrap();
        let (events, rows, last) = Default::default();
        Kafka { producer, sums, latest, events, rows, last, sent: 0, of_latest: 0 }
    }

    /// Sends a transaction of both topics; of seven some two are aborted.
    async fn transaction(&mut self, random: &mut fastrand::Rng) {
        let commit = random.u32(..7) > 1;
        let mut events = Vec::new();
        for _ in 0..random.usize(1..=RECORDS_MAX) {
            self.sent += 1;
            let again = (!self.events.is_empty() && random.u32(..10) == 0).then(|| {
                self.events[random.usize(self.events.len().saturating_sub(100)..self.events.len())].clone()
            });
            events.push(again.unwrap_or_else(|| Event::random(self.sent, random)));
        }
        let latest: Vec<(String, Option<String>)> = (0..random.usize(1..5))
            .map(|_| {
                let value = (random.u32(..10) > 0).then(|| json!({ "value": self.sent }).to_string());
                self.sent += 1;
                (format!("l{}", random.usize(..KEYS)), value)
            })
            .collect();
        self.producer.begin_transaction().unwrap();
        let mut sending = Vec::new();
        for event in &events {
            let headers = event.headers().iter().fold(OwnedHeaders::new(), |headers, (key, value)| {
                headers.insert(Header { key, value: Some(*value) })
            });
            let record = FutureRecord::to(&self.sums).key(&event.key).payload(&event.value).headers(headers);
            sending.push(self.producer.send_result(record).unwrap_or_else(|(error, _)| panic!("{error}")));
        }
        for (key, value) in &latest {
            let mut record: FutureRecord<'_, str, str> = FutureRecord::to(&self.latest).key(key);
            record.payload = value.as_deref();
            sending.push(self.producer.send_result(record).unwrap_or_else(|(error, _)| panic!("{error}")));
        }
        let mut places = Vec::new();
        for (number, sent) in sending.into_iter().enumerate() {
            let place = sent.await.unwrap().unwrap();
            let topic = if number < events.len() { &self.sums } else { &self.latest };
            places.push(((topic.clone(), place.partition), place.offset));
        }
        let producer = self.producer.clone();
        let end = move || {
            if commit { producer.commit_transaction(PATIENCE) } else { producer.abort_transaction(PATIENCE) }
        };
        tokio::task::spawn_blocking(end).await.unwrap().unwrap();
        if commit {
            self.last.extend(places);
            self.events.extend(events);
            self.of_latest += latest.len();
            for (key, value) in latest {
                let value = value.map(|value| serde_json::from_str::<Value>(&value).unwrap());
                match value {
                    Some(value) => {
                        drop(self.rows.insert(key.clone(), json!({"key": key, "value": value["value"]})));
                    }
                    None => drop(self.rows.remove(&key)),
                }
            }
        }
    }

    /// Goes on sending until the compacted topic has lost records: the cleaner works in the background, on segments that are
    /// closed, and each record may close one.
    async fn until_compacted(&mut self, address: &str, random: &mut fastrand::Rng) {
        let began = Instant::now();
        while self.left(address) >= self.of_latest {
            assert!(began.elapsed() < PATIENCE, "the broker never compacted");
            self.transaction(random).await;
        }
    }

    /// How many records of the compacted topic are left.
    fn left(&self, address: &str) -> usize {
        let consumer: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", address)
            .set("group.id", "nobody")
            .set("enable.auto.commit", "false")
            .set("enable.partition.eof", "true")
            .create()
            .unwrap();
        let mut list = TopicPartitionList::new();
        for partition in 0..PARTITIONS {
            list.add_partition_offset(&self.latest, partition, Offset::Beginning).unwrap();
        }
        consumer.assign(&list).unwrap();
        let (mut left, mut ended) = (0, 0);
        let began = Instant::now();
        while ended < PARTITIONS {
            assert!(began.elapsed() < PATIENCE, "the compacted topic cannot be read");
            match consumer.poll(Duration::from_millis(100)) {
                None => {}
                Some(Ok(_)) => left += 1,
                Some(Err(KafkaError::PartitionEOF(_))) => ended += 1,
                Some(Err(error)) => panic!("{error}"),
            }
        }
        left
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_committed_event_counts_once_with_a_real_kafka() {
    let Some(address) = address() else { return };
    let mut random = random();
    let mut kafka = Kafka::new(&address).await;
    let latest = format!(
        "  latest:\n    topic: {}\n    key: key\n    fold:\n      - {{ on: {{ tombstone: true }}, delete: true }}\n      \
         - {{ on: {{}}, set: {{ value: $.value }} }}\n    visible_to: \"true\"\n",
        kafka.latest
    );
    let views = view("sums", &kafka.sums, true) + &view("plain", &kafka.sums, false) + &latest;
    let mut program = Program::new(&address, &views, &["sums", "plain", "latest"]);
    let mut amid = 0;
    for round in 0..KILLS {
        program.start();
        if round % 3 != 0 {
            until("the view moves", || program.ask("sums", "limit=0").filter(|answer| answer.status == 200));
        }
        for _ in 0..random.usize(..8) {
            kafka.transaction(&mut random).await;
        }
        let answer = program.ask("sums", "limit=0").filter(|answer| answer.status == 200);
        amid += usize::from(answer.is_some_and(|answer| !answer.offsets.is_empty()));
        program.kill();
        for _ in 0..random.usize(..3) {
            kafka.transaction(&mut random).await;
        }
        // What is between where the program was and where it will go on has gaps then.
        if round == KILLS / 2 {
            kafka.until_compacted(&address, &mut random).await;
        }
    }
    assert!(amid >= KILLS / 3, "it was killed amid its work {amid} times only");
    // Something new in each partition: the last word is not a transaction that nobody is told of.
    while kafka.last.len() < 5 {
        kafka.transaction(&mut random).await;
    }
    let left = kafka.left(&address);
    eprintln!(
        "{} events, {KILLS} kills; of {} compacted records {left} are left",
        kafka.events.len(),
        kafka.of_latest
    );

    program.start();
    let of = |topic: &str| {
        kafka
            .last
            .iter()
            .filter(|((known, _), _)| known == topic)
            .map(|(place, offset)| (place.clone(), *offset))
            .collect()
    };
    for (name, unique) in [("sums", true), ("plain", false)] {
        let rows = program.rows(name, &of(&kafka.sums));
        let mut model = Model::new(unique);
        kafka.events.iter().for_each(|event| model.fold(event));
        model.compare(&rows);
    }
    assert_eq!(program.rows("latest", &of(&kafka.latest)), kafka.rows);
    for name in ["sums", "plain", "latest"] {
        assert_eq!(
            program.metric("sallyport_view_rebuilds_total", name),
            0.0,
            "{name} goes on with its store"
        );
    }
    program.kill();

    // A new folder: the same rows from what Kafka has left.
    let mut anew = Program::new(&address, &views, &["sums", "plain", "latest"]);
    anew.start();
    assert_eq!(anew.rows("latest", &of(&kafka.latest)), kafka.rows);
    let mut model = Model::new(true);
    kafka.events.iter().for_each(|event| model.fold(event));
    model.compare(&anew.rows("sums", &of(&kafka.sums)));
    anew.kill();
}
