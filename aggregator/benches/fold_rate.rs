//! How many events a second one view folds, durably: with records that are made beforehand, and with a broker.
//!
//! `cargo bench -p sallyport-aggregator --bench fold_rate`. A number behind it is that of events; default 500000.

#![allow(clippy::unwrap_used, reason = "a measurement that cannot go on ends")]

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use prometheus::Registry;
use sallyport_aggregator::views::folder::{Folder, ViewParts};
use sallyport_aggregator::views::metrics::ViewMetrics;
use sallyport_aggregator::views::versions::Versions;
use sallyport_aggregator::views::{Offline, ViewPlan, Views};
use sallyport_config::{Report, load_text};
use sallyport_kafka::{EmbeddedBroker, Metrics, Record, Timing};

const CONFIGURATION: &str = r#"
version: 1
listeners: { main: { address: "127.0.0.1:8080" } }
kafka: { main: { brokers: ["k:9092"] } }
views:
  plain:
    topic: events
    key: $.batch_id
    visible_to: row.owner == claims.sub
    indexes: [owner, status, "owner, created_at"]
    fold:
      - on: { type: batch.registered }
        set: { owner: $.user_id, title: $.title, status: '"registered"', created_at: $.time }
      - on: { type: essay.spellchecked }
        increment: { checked: 1 }
        max: { updated_at: $.time }
      - on: { type: batch.closed }
        set: { status: '"closed"' }
  unique:
    topic: events
    key: $.batch_id
    visible_to: row.owner == claims.sub
    indexes: [owner, status, "owner, created_at"]
    unique: { by: ce.id }
    fold:
      - on: { type: batch.registered }
        set: { owner: $.user_id, title: $.title, status: '"registered"', created_at: $.time }
      - on: { type: essay.spellchecked }
        increment: { checked: 1 }
        max: { updated_at: $.time }
      - on: { type: batch.closed }
        set: { status: '"closed"' }
routes: [{ match: /, respond: { status: 204 } }]
"#;

/// Of ten events of a batch one makes it, one closes it, and eight count.
fn event(number: usize, keys: usize) -> (String, &'static str, String) {
    let what = ["batch.registered", "batch.closed"].get(number % 10).copied().unwrap_or("essay.spellchecked");
    // Events of one key are spread over the topic.
    let key = number.wrapping_mul(2_654_435_761) % keys;
    let value = format!(
        r#"{{"batch_id":"batch-{key:08}","user_id":"user-{:05}","title":"Essays of class {}","time":"2026-03-01T10:{:02}:{:02}Z","course":{{"id":{key},"name":"Writing"}},"words":[120,340,560]}}"#,
        key % 5000,
        key % 97,
        number / 60 % 60,
        number % 60
    );
    (format!("batch-{key:08}"), what, value)
}

fn record(number: usize, keys: usize) -> Record {
    let (key, event_type, value) = event(number, keys);
    let header = |name: &str, value: String| (Box::from(name), Bytes::from(value));
    Record {
        topic: "events".into(),
        partition: 0,
        offset: number as i64,
        timestamp: 1_700_000_000_000,
        key: Some(key.into()),
        headers: vec![
            header("ce_specversion", "1.0".to_owned()),
            header("ce_type", event_type.to_owned()),
            header("ce_id", format!("0190b2c4-{number:012x}")),
        ],
        value: Some(value.into()),
    }
}

fn views() -> Views {
    let (loaded, mut report) = load_text("routes.yaml", CONFIGURATION, Path::new("."), &|_| None)
        .map_err(|report| report.to_string())
        .unwrap();
    Views::compile(&loaded.config, &mut report).ok_or_else(|| Report::to_string(&report)).unwrap()
}

/// The processor time of this thread, where the system tells it.
fn processor_time() -> Option<Duration> {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    stat.split(' ').next()?.parse().ok().map(Duration::from_nanos)
}

fn told(what: &str, events: usize, began: Instant, processor: Option<Duration>) {
    let seconds = began.elapsed().as_secs_f64();
    let processor = processor.map_or_else(String::new, |time| {
        format!(", {:.2} µs of processor each", time.as_secs_f64() * 1e6 / events as f64)
    });
    println!("{what}: {events} events in {seconds:.2} s, {:.0} a second{processor}", events as f64 / seconds);
}

/// Without Kafka. `built`: into a store that queries ask, with commits as they come; else a store is built, with the
/// commits of one that catches up, and gets its indexes at the end.
fn folded(plan: &Arc<ViewPlan>, events: usize, keys: usize, batch: usize, built: bool) {
    let folder = tempfile::tempdir().unwrap();
    let mut store = Offline::open(&folder.path().join("v.sqlite"), plan).unwrap();
    if built {
        store.finish().unwrap();
    }
    let (began, before) = (Instant::now(), processor_time());
    let mut making = (Duration::ZERO, Duration::ZERO);
    for first in (0..events).step_by(batch) {
        let (at, of) = (Instant::now(), processor_time());
        let records: Vec<Record> =
            (first..(first + batch).min(events)).map(|number| record(number, keys)).collect();
        making.0 += at.elapsed();
        making.1 += processor_time().zip(of).map_or(Duration::ZERO, |(now, of)| now - of);
        for record in &records {
            store.fold(record).unwrap().unwrap();
        }
        store.commit().unwrap();
    }
    if !built {
        store.finish().unwrap();
    }
    let processor = processor_time().zip(before).map(|(now, before)| now - before - making.1);
    let how = if built { "kept" } else { "built" };
    told(
        &format!("{} {how}, {keys} keys, batches of {batch}", plan.name),
        events,
        began + making.0,
        processor,
    );
}

/// With a broker in this process, which takes part of the processor's time.
fn read(plan: &Arc<ViewPlan>, events: usize, keys: usize) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let broker = EmbeddedBroker::start(&[("events", 1)]).unwrap();
    // The broker keeps about 5 MiB of a partition: so the view reads while they are sent.
    let (folder, registry) = (tempfile::tempdir().unwrap(), Registry::new());
    let versions = Arc::new(Versions::new());
    let view = Folder::start(ViewParts {
        plan: plan.clone(),
        cluster: broker.settings(),
        folder: folder.path().to_owned(),
        versions: versions.clone(),
        dead_letters: None,
        kafka: Metrics::register(&registry).unwrap(),
        metrics: ViewMetrics::register(&registry).unwrap(),
        timing: Timing::default(),
    })
    .unwrap();
    let reached = runtime.block_on(async {
        versions.reached(Duration::from_secs(30), |state| state.store.is_some()).await.unwrap();
        let began = Instant::now();
        let broker = &broker;
        for first in (0..events).step_by(1000) {
            let sent = (first..(first + 1000).min(events)).map(|number| async move {
                let (key, event_type, value) = event(number, keys);
                let headers: [(&str, &[u8]); 1] = [("ce_type", event_type.as_bytes())];
                broker
                    .produce("events", None, Some(key.as_bytes()), Some(value.as_bytes()), &headers)
                    .await
                    .unwrap();
            });
            futures::future::join_all(sent).await;
        }
        let last = events as i64 - 1;
        let reached = versions
            .reached(Duration::from_secs(120), |state| state.offsets.include("events", 0, last))
            .await;
        reached.is_some().then_some(began)
    });
    match reached {
        Some(began) => told(
            &format!("{} with the embedded broker, {keys} keys, producing included", plan.name),
            events,
            began,
            None,
        ),
        None => println!("{}: not all events came in time", plan.name),
    }
    view.stop();
}

fn main() {
    let events = std::env::args().filter_map(|argument| argument.parse().ok()).next().unwrap_or(500_000);
    let views = views();
    let plan = |name: &str| views.find(name).unwrap();
    for keys in [1000, 50_000, 1_000_000] {
        folded(plan("plain"), events, keys, 50_000, false);
    }
    for (keys, batch) in [(1000, 500), (50_000, 500), (50_000, 10_000), (1_000_000, 10_000)] {
        folded(plan("plain"), events, keys, batch, true);
    }
    folded(plan("unique"), events, 50_000, 50_000, false);
    folded(plan("unique"), events, 50_000, 10_000, true);
    read(plan("plain"), events / 10, 50_000);
}
