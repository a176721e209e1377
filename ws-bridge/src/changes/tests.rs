//! The reader against an aggregator that the test plays: it accepts connections, and sends what lines it likes.

use std::path::PathBuf;
use std::sync::Condvar;

use prometheus::Registry;
use sallyport_config::Report;
use sallyport_identity::Issuers;
use sallyport_kafka::Record;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::*;
use crate::bridge::{Bridge, BridgeMetrics};
use crate::hub::{ClassKey, Most};
use crate::plan::Plan;

/// Nothing here takes longer unless it hangs.
const PATIENCE: Duration = Duration::from_secs(20);

const QUICK: Timing =
    Timing { pause: Duration::from_millis(1), pause_max: Duration::from_millis(4), silence: PATIENCE };

const BEGIN: &str = r#"{"edition":"e1","partitions":[{"topic":"t","partition":0,"next":5},{"topic":"t","partition":1,"next":0}]}"#;

/// What the hub would be told.
#[derive(Debug, PartialEq)]
enum Told {
    Record(i32, i64, String),
    Partitions(Vec<i64>),
    Position(i32, i64),
    Ready(i32),
    Recreated,
}

struct Teller(mpsc::UnboundedSender<Told>);

impl Teller {
    fn tell(&self, told: Told) {
        // A test that has ended needs not be told.
        let _ = self.0.send(told);
    }
}

impl Sink for Teller {
    fn record(&self, record: Record) {
        let value = String::from_utf8(record.value.unwrap().to_vec()).unwrap();
        self.tell(Told::Record(record.partition, record.offset, value));
    }

    fn partitions(&self, _: &Arc<str>, first: &[i64]) {
        self.tell(Told::Partitions(first.to_vec()));
    }

    fn position(&self, _: &Arc<str>, partition: i32, next: i64) {
        self.tell(Told::Position(partition, next));
    }

    fn ready(&self, _: &Arc<str>, partition: i32) {
        self.tell(Told::Ready(partition));
    }

    fn recreated(&self, _: &Arc<str>) {
        self.tell(Told::Recreated);
    }
}

/// The aggregator.
struct Aggregator {
    listener: UnixListener,
    path: PathBuf,
    _folder: tempfile::TempDir,
}

/// A connection of the reader's.
struct Asked {
    stream: UnixStream,
    head: String,
}

impl Aggregator {
    fn new() -> Aggregator {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.sock");
        Aggregator { listener: UnixListener::bind(&path).unwrap(), path, _folder: folder }
    }

    async fn asked(&self) -> Asked {
        let (mut stream, _) = timeout(PATIENCE, self.listener.accept()).await.expect("nobody asks").unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let read = timeout(PATIENCE, stream.read_u8()).await.expect("no whole head").unwrap();
            head.push(read);
        }
        Asked { stream, head: String::from_utf8(head).unwrap() }
    }

    /// The next connection, with a stream that begins with these lines.
    async fn streams(&self, lines: &[&str]) -> Asked {
        let mut asked = self.asked().await;
        asked.write("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").await;
        asked.lines(lines).await;
        asked
    }
}

impl Asked {
    async fn write(&mut self, text: &str) {
        timeout(PATIENCE, self.stream.write_all(text.as_bytes())).await.expect("it does not read").unwrap();
    }

    async fn lines(&mut self, lines: &[&str]) {
        for line in lines {
            self.write(&chunk(&format!("{line}\n"))).await;
        }
    }
}

fn chunk(text: &str) -> String {
    format!("{:x}\r\n{text}\r\n", text.len())
}

fn change(partition: i32, offset: i64) -> String {
    let place = format!(r#""topic":"t","partition":{partition},"offset":{offset},"timestamp":1"#);
    format!(r#"{{{place},"key":"b1","row":{{"n":{offset}}}}}"#)
}

fn record(partition: i32, offset: i64) -> Told {
    Told::Record(partition, offset, format!(r#"{{"key":"b1","row":{{"n":{offset}}}}}"#))
}

fn bridge_metrics() -> BridgeMetrics {
    let registry = Registry::new();
    BridgeMetrics::register(&registry, &sallyport_kafka::Metrics::register(&registry).unwrap()).unwrap()
}

fn metrics() -> Arc<Metrics> {
    Arc::new(Metrics::new(&Registry::new()).unwrap())
}

fn start(aggregator: &Aggregator, timing: Timing) -> (Changes, mpsc::UnboundedReceiver<Told>) {
    let (tell, told) = mpsc::unbounded_channel();
    let socket = aggregator.path.as_path().into();
    (Changes::start("batches".into(), socket, Arc::new(Teller(tell)), metrics(), timing), told)
}

async fn expect(told: &mut mpsc::UnboundedReceiver<Told>, expected: impl IntoIterator<Item = Told>) {
    for expected in expected {
        let next =
            timeout(PATIENCE, told.recv()).await.unwrap_or_else(|_| panic!("never told: {expected:?}"));
        assert_eq!(next, Some(expected));
    }
}

fn begun() -> [Told; 3] {
    [Told::Partitions(vec![5, 0]), Told::Ready(0), Told::Ready(1)]
}

/// Waits until the status fits.
async fn status(changes: &Changes, fits: impl Fn(&Value) -> bool) -> Value {
    let looked = async {
        loop {
            let status = changes.status();
            if fits(&status) {
                return status;
            }
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, looked).await.unwrap_or_else(|_| panic!("{}", changes.status()))
}

#[tokio::test]
async fn changes_are_records_at_their_places() {
    let aggregator = Aggregator::new();
    let (changes, mut told) = start(&aggregator, QUICK);
    let mut asked = aggregator.streams(&[BEGIN, &change(0, 5), &change(1, 3), "{}"]).await;
    assert!(asked.head.starts_with("GET /views/batches/changes HTTP/1.1\r\n"), "{}", asked.head);
    assert!(
        !asked.head.to_ascii_lowercase().contains("sallyport-"),
        "an operation of the machine: {}",
        asked.head
    );
    expect(&mut told, begun()).await;
    expect(&mut told, [record(0, 5), record(1, 3)]).await;
    // What is behind a position was told before.
    let position =
        r#"{"positions":[{"topic":"t","partition":0,"next":9},{"topic":"t","partition":1,"next":2}]}"#;
    asked.lines(&[position, &change(0, 8), &change(0, 9)]).await;
    expect(&mut told, [Told::Position(0, 9), record(0, 9)]).await;
    // A partition more.
    let more = r#"{"edition":"e1","partitions":[{"topic":"t","partition":0,"next":12},{"topic":"t","partition":1,"next":4},{"topic":"t","partition":2,"next":0}]}"#;
    asked.lines(&[more, &change(2, 0)]).await;
    expect(&mut told, [Told::Partitions(vec![12, 4, 0]), Told::Position(0, 12), Told::Position(1, 4)]).await;
    expect(&mut told, [Told::Ready(2), record(2, 0)]).await;
    let status = changes.status();
    assert_eq!(
        (&status["view"], &status["connected"], &status["away"]),
        (&json!("batches"), &json!(true), &Value::Null)
    );
    assert_eq!(status["partitions"][2], json!({"topic": "t", "partition": 2, "position": 1}));
}

#[tokio::test]
async fn a_line_may_come_in_pieces() {
    let aggregator = Aggregator::new();
    let (_changes, mut told) = start(&aggregator, QUICK);
    let mut asked = aggregator.streams(&[]).await;
    for byte in format!("{BEGIN}\n{}\n", change(0, 5)).chars() {
        asked.write(&chunk(&byte.to_string())).await;
    }
    expect(&mut told, begun()).await;
    expect(&mut told, [record(0, 5)]).await;
}

#[tokio::test]
async fn an_aggregator_that_was_away_goes_on_where_it_was() {
    let aggregator = Aggregator::new();
    let (changes, mut told) = start(&aggregator, QUICK);
    let asked = aggregator.streams(&[BEGIN]).await;
    expect(&mut told, begun()).await;
    drop(asked);
    status(&changes, |status| status["connected"] == false).await;
    let _asked = aggregator.streams(&[BEGIN, &change(0, 5)]).await;
    expect(
        &mut told,
        [Told::Partitions(vec![5, 0]), Told::Position(0, 5), Told::Position(1, 0), record(0, 5)],
    )
    .await;
}

#[tokio::test]
async fn what_was_missed_makes_subscribers_begin_anew() {
    let further = BEGIN.replace("\"next\":5", "\"next\":6");
    let back = BEGIN.replace("\"next\":5", "\"next\":4");
    let another = BEGIN.replace("e1", "e2");
    for (begin, first) in [(further, 6), (back, 4), (another, 5)] {
        let aggregator = Aggregator::new();
        let (_changes, mut told) = start(&aggregator, QUICK);
        let asked = aggregator.streams(&[BEGIN]).await;
        expect(&mut told, begun()).await;
        drop(asked);
        let _asked = aggregator.streams(&[&begin, &change(0, first)]).await;
        let partitions = Told::Partitions(vec![first, 0]);
        expect(&mut told, [Told::Recreated, partitions, Told::Ready(0), Told::Ready(1), record(0, first)])
            .await;
    }
}

#[tokio::test]
async fn a_gap_makes_subscribers_begin_anew_even_where_nothing_has_moved() {
    let aggregator = Aggregator::new();
    let (_changes, mut told) = start(&aggregator, QUICK);
    let mut asked = aggregator.streams(&[BEGIN, "{\"gap\":true}", "{}", BEGIN]).await;
    expect(&mut told, begun()).await;
    expect(&mut told, [Told::Recreated]).await;
    expect(&mut told, begun()).await;
    // A topic that the view reads no more.
    asked.lines(&["{\"gap\":true}", r#"{"edition":"e1","partitions":[]}"#]).await;
    expect(&mut told, [Told::Recreated]).await;
}

#[tokio::test]
async fn lines_that_are_none_end_the_connection_and_another_is_made() {
    let aggregator = Aggregator::new();
    let (changes, mut told) = start(&aggregator, QUICK);
    let unnamed = change(2, 5);
    for (lines, reason) in [
        (vec!["nonsense"], "sends a line is not as expected"),
        (vec!["{\"gap\":1}"], "sends a line is not as expected"),
        (vec![BEGIN, unnamed.as_str()], "a partition that was not named before"),
        (
            vec![BEGIN, "{\"gap\":true}", unnamed.as_str()],
            "a change before it was said where the changes begin",
        ),
    ] {
        let _asked = aggregator.streams(&lines).await;
        status(&changes, |status| status["away"].as_str().is_some_and(|away| away.contains(reason))).await;
    }
    let _asked = aggregator.streams(&[BEGIN, &change(0, 5)]).await;
    while told.recv().await.expect("the reader has ended") != record(0, 5) {}
}

#[tokio::test]
async fn a_refusal_is_told_and_asked_about_again() {
    let aggregator = Aggregator::new();
    let (changes, mut told) = start(&aggregator, QUICK);
    for (answer, reason) in [
        ("HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n", "does not know the view"),
        ("HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n", "answers with 503"),
        ("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", "has ended the stream"),
        ("not HTTP\r\n\r\n", "the connection broke"),
    ] {
        aggregator.asked().await.write(answer).await;
        status(&changes, |status| status["away"].as_str().is_some_and(|away| away.contains(reason))).await;
    }
    let _asked = aggregator.streams(&[BEGIN]).await;
    expect(&mut told, begun()).await;
    assert_eq!(changes.status()["connected"], true);
}

#[tokio::test]
async fn the_log_is_told_once_until_it_is_another_reason() {
    let (tell, _told) = mpsc::unbounded_channel();
    let state = State { away: None, since: Instant::now(), topics: BTreeMap::new() };
    let mut reading = Reading {
        view: "v".into(),
        socket: Path::new("/nowhere").into(),
        sink: Arc::new(Teller(tell)),
        metrics: metrics(),
        timing: QUICK,
        state: Arc::new(Mutex::new(state)),
        edition: None,
        begun: false,
        failures: 0,
        told: None,
    };
    let mut news = |failures: std::ops::Range<u32>, reason: &str| -> usize {
        failures
            .filter(|failures| {
                reading.failures = *failures;
                reading.is_news(reason)
            })
            .count()
    };
    assert_eq!(news(1..QUIET_FAILURES, "unknown"), 0, "it may be about to start");
    assert_eq!(news(QUIET_FAILURES..100, "unknown"), 1);
    assert_eq!(news(100..200, "broken"), 1);
    reading.back();
    assert_eq!((reading.told, reading.failures), (None, 0));
}

#[tokio::test]
async fn an_aggregator_that_is_silent_is_gone() {
    let aggregator = Aggregator::new();
    let timing = Timing { silence: Duration::from_millis(20), ..QUICK };
    let (_changes, _told) = start(&aggregator, timing);
    let _first = aggregator.streams(&[BEGIN]).await;
    let _second = aggregator.asked().await;
    let _third = aggregator.asked().await;
}

#[tokio::test]
async fn nothing_is_there_to_connect_to() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.sock");
    let (tell, mut told) = mpsc::unbounded_channel();
    let changes =
        Changes::start("batches".into(), path.as_path().into(), Arc::new(Teller(tell)), metrics(), QUICK);
    status(&changes, |status| status["away"].as_str().is_some_and(|away| away.contains("No such file")))
        .await;
    let aggregator = Aggregator { listener: UnixListener::bind(&path).unwrap(), path, _folder: folder };
    let _asked = aggregator.streams(&[BEGIN]).await;
    expect(&mut told, begun()).await;
}

/// Holds the reader up at each record, until it is opened.
struct Gate {
    open: Mutex<bool>,
    opened: Condvar,
    tell: mpsc::UnboundedSender<i64>,
}

impl Sink for Gate {
    fn record(&self, record: Record) {
        let mut open = self.open.lock().unwrap();
        while !*open {
            open = self.opened.wait(open).unwrap();
        }
        let _ = self.tell.send(record.offset);
    }

    fn partitions(&self, _: &Arc<str>, _: &[i64]) {}

    fn position(&self, _: &Arc<str>, _: i32, _: i64) {}

    fn ready(&self, _: &Arc<str>, _: i32) {}

    fn recreated(&self, _: &Arc<str>) {
        panic!("nothing was lost");
    }
}

/// What a bridge has no time for stays with the aggregator, which has a bounded queue and tells of a gap.
#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn a_slow_bridge_does_not_read_on() {
    const TAKEN_MAX: usize = 64 * 1024 * 1024;
    let aggregator = Aggregator::new();
    let (tell, mut told) = mpsc::unbounded_channel();
    let gate = Arc::new(Gate { open: Mutex::new(false), opened: Condvar::new(), tell });
    let socket = aggregator.path.as_path().into();
    let _changes = Changes::start("batches".into(), socket, gate.clone(), metrics(), QUICK);
    let mut asked = aggregator.streams(&[BEGIN]).await;
    let (mut taken, mut refused, mut offset, mut rest) = (0, 0, 5, Vec::new());
    while refused < 10_000 {
        if rest.is_empty() {
            let padding = " ".repeat(10_000);
            rest = chunk(&format!("{}{padding}\n", change(0, offset))).into_bytes();
            offset += 1;
        }
        match asked.stream.try_write(&rest) {
            Ok(written) => {
                rest.drain(..written);
                taken += written;
                refused = 0;
            }
            Err(_) => {
                refused += 1;
                tokio::task::yield_now().await;
            }
        }
        assert!(taken < TAKEN_MAX, "all is taken although nobody wants it");
    }
    *gate.open.lock().unwrap() = true;
    gate.opened.notify_all();
    timeout(PATIENCE, asked.stream.write_all(&rest)).await.expect("it does not read on").unwrap();
    for expected in 5..offset {
        assert_eq!(timeout(PATIENCE, told.recv()).await.expect("a change is lost"), Some(expected));
    }
}

const ROUTES: &str = r#"
version: 1
listeners: { public: { address: 127.0.0.1:8080 } }
kafka: { main: { brokers: ["127.0.0.1:9"] } }
views:
  batches:
    topic: batch.events
    key: key
    fold: [{ on: { type: a }, set: { owner: $.owner } }]
    visible_to: "true"
ws_bridge:
  sources:
    - { view: batches, channel: "batch:{key}", tags: { type: "{ce.type}", topic: "{topic}" } }
    - { view: batches, channel: "user:{$.row.owner}", data: $.row, when: "!has(event.was)" }
    - { view: batches, channel: "user:{$.was.owner}", data: $.was, when: has(event.was) }
  channels:
    batch: { visible_to: event.row.owner == claims.sub || event.was.owner == claims.sub }
    user: { visible_to: claims.sub == id }
routes: []
"#;

fn plan() -> Plan {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("routes.yaml");
    std::fs::write(&path, ROUTES).unwrap();
    let (loaded, _) = sallyport_config::load(&path, &|_| None).unwrap_or_else(|report| panic!("{report}"));
    let mut report = Report::default();
    Plan::compile(&loaded.config, &Issuers::default(), &mut report).unwrap_or_else(|| panic!("{report}"))
}

#[tokio::test]
async fn changes_become_events_of_channels_for_those_who_may_see_them() {
    let aggregator = Aggregator::new();
    let plan = Arc::new(plan().with_aggregator(aggregator.path.clone()));
    let bridge = Bridge::start(plan, &bridge_metrics()).unwrap();
    assert!(!bridge.is_ready(), "the aggregator has said nothing yet");
    let of_ann = r#""key":"b1","row":{"owner":"ann"}"#;
    let gone = r#""key":"b1","row":null,"was":{"owner":"ann"}"#;
    let place = |offset| format!(r#"{{"topic":"t","partition":0,"offset":{offset},"timestamp":1,"#);
    let lines = [place(5) + of_ann + "}", place(6) + gone + "}"];
    let _asked = aggregator.streams(&[BEGIN, &lines[0], &lines[1]]).await;
    let view = &bridge.changes()[0];
    let status = status(view, |status| status["partitions"][0]["position"] == 7).await;
    assert_eq!(bridge.status()["views"][0]["partitions"], status["partitions"]);
    let history = |channel: &str, sub: &str| {
        let family = bridge.shared.plan.families.get(crate::hub::family_of(channel)).unwrap();
        let (text, read) = family.subject(&json!({"sub": sub}));
        let key = ClassKey { claims: text, filter: None };
        let most = Most { events: 10, bytes: 1 << 20 };
        let history = bridge.shared.hub.history(channel, &key, &read, None, most, false).unwrap();
        let events =
            history.publications.iter().map(|event| serde_json::from_str::<Value>(event.get()).unwrap());
        events.map(|event| json!([event["data"], event["tags"]])).collect::<Vec<_>>()
    };
    let changed = json!([{"key": "b1", "row": {"owner": "ann"}}, {"topic": "t", "type": "view.changed"}]);
    let deleted =
        json!([{"key": "b1", "row": null, "was": {"owner": "ann"}}, {"topic": "t", "type": "view.deleted"}]);
    // The position is noted before the hub has the change of it.
    while history("user:ann", "ann").len() < 2 {
        tokio::task::yield_now().await;
    }
    assert_eq!(history("batch:b1", "ann"), [changed, deleted]);
    assert_eq!(history("batch:b1", "ben"), Vec::<Value>::new());
    assert_eq!(
        history("user:ann", "ann"),
        [json!([{"owner": "ann"}, null]), json!([{"owner": "ann"}, null])]
    );
    assert!(bridge.is_ready());
}

#[tokio::test]
async fn without_an_aggregator_a_bridge_that_reads_views_does_not_start() {
    let refused = Bridge::start(Arc::new(plan()), &bridge_metrics());
    let Err(error) = refused else { panic!("it starts") };
    assert_eq!(
        error.to_string(),
        "a source reads the view `batches`, and no aggregator is there to ask for its changes"
    );
}
