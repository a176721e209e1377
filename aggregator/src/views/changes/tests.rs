//! Streams of changes by a fold that the test plays. Time stands still, and goes on when nothing else is to be done.

use http_body_util::BodyExt;
use sallyport_kafka::Record;

use super::*;
use crate::views::Views;
use crate::views::cache::Place;
use crate::views::store::Opened;
use crate::views::versions::{Store, Touched};

struct Fold {
    versions: Arc<Versions>,
    news: broadcast::Sender<News>,
    stop: watch::Sender<bool>,
}

/// What comes of a stream, line by line.
struct Heard {
    lines: Lines,
    waiting: std::collections::VecDeque<String>,
}

impl Fold {
    fn new() -> Fold {
        Fold { versions: Arc::default(), news: broadcast::Sender::new(4), stop: watch::Sender::new(false) }
    }

    /// A store of this number that has come to these offsets.
    fn state(&self, number: u64, offsets: &[(&str, i32, i64)]) -> Arc<State> {
        let path = std::path::Path::new("/store").into();
        let offsets = offsets.iter().map(|(topic, partition, next)| ((*topic).into(), *partition, *next));
        let store = Some(Store { path, number });
        self.versions.committed(
            &Touched::default(),
            State { store, offsets: Offsets(offsets.collect()), complete: true },
        );
        self.versions.state()
    }

    fn committed(&self, number: u64, offsets: &[(&str, i32, i64)], whole: bool) {
        let state = self.state(number, offsets);
        let _ = self.news.send(News::Committed { state, whole });
    }

    fn row(&self, partition: i32, offset: i64, doc: &str) {
        let place = Place { topic: "t".into(), partition, offset, timestamp: 9 };
        let change = RowChange { key: "b\"1".into(), doc: Some(doc.into()), was: None, place };
        let _ = self.news.send(News::Row(Arc::new(change)));
    }

    fn listen(&self) -> Heard {
        let changes =
            Changes { edition: "e".into(), versions: self.versions.clone(), news: self.news.subscribe() };
        Heard { lines: changes.stream(self.stop.subscribe()), waiting: Default::default() }
    }
}

impl Heard {
    async fn next(&mut self) -> Option<String> {
        while self.waiting.is_empty() {
            let frame = self.lines.frame().await?;
            let Ok(frame) = frame;
            let text = String::from_utf8(frame.into_data().unwrap().to_vec()).unwrap();
            assert!(text.ends_with('\n'), "{text}");
            self.waiting.extend(text.lines().map(str::to_owned));
        }
        self.waiting.pop_front()
    }

    async fn expect(&mut self, lines: &[&str]) {
        for line in lines {
            assert_eq!(self.next().await.as_deref(), Some(*line));
        }
    }
}

const BEGIN: &str = r#"{"edition":"e","partitions":[{"topic":"t","partition":0,"next":5},{"topic":"t","partition":1,"next":0}]}"#;
const AT: [(&str, i32, i64); 2] = [("t", 0, 5), ("t", 1, 0)];

fn row(partition: i32, offset: i64, doc: &str) -> String {
    let place = format!(r#""topic":"t","partition":{partition},"offset":{offset},"timestamp":9"#);
    format!(r#"{{{place},"key":"b\"1","row":{doc}}}"#)
}

#[tokio::test(start_paused = true)]
async fn rows_come_behind_where_they_begin() {
    let fold = Fold::new();
    fold.state(1, &AT);
    let mut heard = fold.listen();
    heard.expect(&[BEGIN]).await;
    // Of the commit that it begins with.
    fold.row(0, 4, "{}");
    fold.row(0, 5, "{\"a\":\r\n1}");
    fold.row(1, 0, "{}");
    heard.expect(&[&row(0, 5, "{\"a\":  1}"), &row(1, 0, "{}")]).await;
    let place = Place { topic: "t".into(), partition: 1, offset: 3, timestamp: 0 };
    let change = RowChange { key: "k".into(), doc: None, was: Some("{\"a\":1}".into()), place };
    fold.news.send(News::Row(Arc::new(change))).unwrap();
    heard
        .expect(&[
            r#"{"topic":"t","partition":1,"offset":3,"timestamp":0,"key":"k","row":null,"was":{"a":1}}"#,
        ])
        .await;
}

#[tokio::test(start_paused = true)]
async fn positions_come_behind_the_rows_before_them_and_else_something_does() {
    let fold = Fold::new();
    fold.state(1, &AT);
    let mut heard = fold.listen();
    heard.expect(&[BEGIN]).await;
    // Published, but its rows were not told yet: nothing says that they are.
    fold.state(1, &[("t", 0, 8), ("t", 1, 0)]);
    heard.expect(&["{}"]).await;
    fold.row(0, 6, "{}");
    fold.committed(1, &[("t", 0, 8), ("t", 1, 0)], true);
    let positions = r#"{"positions":[{"topic":"t","partition":0,"next":8}]}"#;
    heard.expect(&[&row(0, 6, "{}"), positions, "{}", "{}"]).await;
}

#[tokio::test(start_paused = true)]
async fn a_stream_waits_for_a_store() {
    let fold = Fold::new();
    let mut heard = fold.listen();
    heard.expect(&["{}", "{}"]).await;
    fold.row(0, 4, "{}");
    fold.state(1, &AT);
    heard.expect(&[BEGIN, "{}"]).await;
}

#[tokio::test(start_paused = true)]
async fn who_is_too_slow_is_told_of_a_gap() {
    let fold = Fold::new();
    fold.state(1, &AT);
    let mut heard = fold.listen();
    heard.expect(&[BEGIN]).await;
    (5..11).for_each(|offset| fold.row(0, offset, "{}"));
    fold.state(1, &[("t", 0, 11), ("t", 1, 0)]);
    let on = BEGIN.replace("\"next\":5", "\"next\":11");
    heard.expect(&["{\"gap\":true}", &on]).await;
    fold.row(0, 11, "{}");
    heard.expect(&[&row(0, 11, "{}")]).await;
}

#[tokio::test(start_paused = true)]
async fn another_store_is_a_gap() {
    let fold = Fold::new();
    fold.state(1, &AT);
    let mut heard = fold.listen();
    heard.expect(&[BEGIN]).await;
    fold.versions.committed(&Touched::default(), State::default());
    heard.expect(&["{\"gap\":true}", "{}"]).await;
    fold.state(2, &AT);
    heard.expect(&[BEGIN]).await;
    // Rows of the store before, which nobody has heard yet, are no rows of the one that takes over, whatever their place.
    fold.row(0, 50, "{}");
    fold.state(3, &AT);
    fold.row(0, 5, "{}");
    heard.expect(&["{\"gap\":true}", BEGIN, "{}"]).await;
}

#[tokio::test(start_paused = true)]
async fn a_commit_that_was_begun_before_anybody_listened_is_a_gap() {
    let fold = Fold::new();
    fold.state(1, &AT);
    let mut heard = fold.listen();
    heard.expect(&[BEGIN]).await;
    // What the stream begins with has it.
    fold.committed(1, &AT, false);
    heard.expect(&["{}"]).await;
    fold.committed(1, &[("t", 0, 6), ("t", 1, 0)], false);
    heard.expect(&["{\"gap\":true}", &BEGIN.replace("\"next\":5", "\"next\":6")]).await;
}

#[tokio::test(start_paused = true)]
async fn a_partition_more_is_told_before_its_rows() {
    let fold = Fold::new();
    fold.state(1, &[]);
    let mut heard = fold.listen();
    heard.expect(&[r#"{"edition":"e","partitions":[]}"#]).await;
    fold.committed(1, &AT[..1], true);
    let first = r#"{"edition":"e","partitions":[{"topic":"t","partition":0,"next":5}]}"#;
    heard.expect(&[first]).await;
    fold.row(1, 0, "{}");
    heard.expect(&[BEGIN, &row(1, 0, "{}")]).await;
}

#[tokio::test(start_paused = true)]
async fn a_stream_ends_with_the_fold_and_when_it_is_told_to() {
    let fold = Fold::new();
    fold.state(1, &AT);
    let mut heard = fold.listen();
    heard.expect(&[BEGIN]).await;
    fold.stop.send_replace(true);
    assert_eq!(heard.next().await, None);
    assert_eq!(fold.listen().next().await, None);

    let fold = Fold::new();
    fold.state(1, &AT);
    let mut heard = fold.listen();
    heard.expect(&[BEGIN]).await;
    fold.row(0, 5, "{}");
    drop(fold.news);
    heard.expect(&[&row(0, 5, "{}")]).await;
    assert_eq!(heard.next().await, None);
}

#[test]
fn a_path_names_a_view() {
    assert_eq!(asked_view("/views/batches/changes"), Some("batches"));
    for path in
        ["/views//changes", "/views/changes", "/views/a/b/changes", "/views/a/changes/", "/metrics", "/"]
    {
        assert_eq!(asked_view(path), None, "{path}");
    }
}

const VIEW: &str = r#"
version: 1
listeners: { main: { address: "127.0.0.1:8080" } }
kafka: { main: { brokers: ["k:9092"] } }
views:
  v:
    topic: t
    key: key
    visible_to: "true"
    fold:
      - { on: { type: gone }, delete: true }
      - { on: { type: there }, set: { n: $.n } }
routes: [{ match: /, public: true, respond: { status: 204 } }]
"#;

/// What a commit tells of two rows that three records have changed, and of one that was there for a moment only.
#[test]
fn a_commit_tells_each_row_once_in_the_order_of_the_records() {
    let folder = tempfile::tempdir().unwrap();
    let (loaded, mut report) =
        sallyport_config::load_text("routes.yaml", VIEW, folder.path(), &|_| None).unwrap();
    let plan = Views::compile(&loaded.config, &mut report).unwrap().find("v").cloned().unwrap();
    let opened = crate::views::store::Store::open(&folder.path().join("v.sqlite"), &plan, &[]).unwrap();
    let Opened::Ready(mut store) = opened else { panic!("a new store is of these rules") };
    let mut offset = 0;
    let mut commit = |records: &[(&str, &str)]| {
        for (key, kind) in records {
            let value = format!("{{\"type\":\"{kind}\",\"n\":{offset}}}").into();
            let (key, topic, timestamp) = (Bytes::copy_from_slice(key.as_bytes()), "t".into(), 100 + offset);
            let (key, value) = (Some(key), Some(value));
            let record = Record { topic, partition: 0, offset, timestamp, key, headers: Vec::new(), value };
            store.fold(&record).unwrap().unwrap();
            offset += 1;
        }
        let mut changed = Vec::new();
        store.commit(|change| changed.push(Arc::new(change))).unwrap();
        in_order(&mut changed);
        let told = changed.into_iter().map(|change| {
            let RowChange { key, doc, was, place } = &*change;
            (
                key.to_string(),
                place.offset,
                place.timestamp,
                doc.as_deref().map(str::to_owned),
                was.as_deref().map(str::to_owned),
            )
        });
        told.collect::<Vec<_>>()
    };
    let some = |doc: &str| Some(doc.to_owned());
    assert_eq!(
        commit(&[("a", "there"), ("b", "there"), ("a", "there")]),
        [("b".into(), 1, 101, some("{\"n\":1}"), None), ("a".into(), 2, 102, some("{\"n\":2}"), None)]
    );
    assert_eq!(
        commit(&[("a", "there"), ("a", "gone"), ("c", "there"), ("c", "gone")]),
        [("a".into(), 4, 104, None, some("{\"n\":2}"))]
    );
}
