//! `view`: a copy of the store of a node that runs, brought in at another one.

use std::fs;
use std::path::Path;

use sallyport_kafka::EmbeddedBroker;
use sallyport_testkit::Client;
use sallyport_testkit::wait::{until, within};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::run::Process;
use crate::sallyport;

/// A node's file; rows hold what `set` says.
fn write_node(folder: &Path, broker: &EmbeddedBroker, set: &str) {
    let routes = format!(
        r#"version: 1
listeners: {{ public: {{ address: "127.0.0.1:0" }} }}
kafka: {{ main: {{ brokers: ["{}"] }} }}
views:
  rows:
    topic: events
    key: key
    fold: [{{ on: {{ when: "true" }}, set: {{ n: {set} }} }}]
    visible_to: "true"
routes:
  - {{ match: GET /rows, public: true, view: rows }}
"#,
        broker.address()
    );
    fs::write(folder.join("routes.yaml"), routes).unwrap();
}

async fn send(broker: &EmbeddedBroker, n: u32) {
    let (key, value) = (format!("k{n}"), json!({ "n": n }).to_string());
    let sent = broker.produce("events", None, Some(key.as_bytes()), Some(value.as_bytes()), &[]);
    within("a record in Kafka", sent).await.unwrap();
}

/// The rows of a node, once there are so many.
async fn rows(node: &Process, count: usize) -> Value {
    until("the rows", || async {
        let page = Client::plain(node.address("public")).await.get("/rows").send().await;
        let page = if page.status == 200 { page.json() } else { json!(null) };
        (page["items"].as_array().map(Vec::len) == Some(count)).then_some(page)
    })
    .await
}

async fn ended(node: Process) {
    node.signal("TERM");
    assert_eq!(node.end().await, Some(0));
}

#[tokio::test]
async fn a_new_node_goes_on_from_the_copy_of_another() {
    let broker = EmbeddedBroker::start(&[("events", 1)]).unwrap();
    let (old, new) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    for folder in [&old, &new] {
        write_node(folder.path(), &broker, "$.n");
    }
    let copy = new.path().join("rows.copy");
    let copy = copy.to_str().unwrap();
    let export = ["view", "export", "rows", copy];
    let import = ["view", "import", "rows", copy];

    let ran = sallyport(old.path(), &export).expect(2);
    assert!(ran.stderr.contains("view `rows` has no store"), "{}", ran.stderr);

    let node = Process::start(old.path(), &["run"]).await;
    for n in 0..3 {
        send(&broker, n).await;
    }
    let seen = rows(&node, 3).await;
    // While it is kept. A copy is not overwritten, and a store that is kept is not replaced.
    let ran = sallyport(old.path(), &export).expect(0);
    assert!(ran.stdout.contains("view `rows` is copied to"), "{}", ran.stdout);
    let ran = sallyport(old.path(), &export).expect(2);
    assert!(ran.stderr.contains("is there already; move it away first"), "{}", ran.stderr);
    let ran = sallyport(old.path(), &import).expect(2);
    assert!(ran.stderr.contains("is kept by another process, process "), "{}", ran.stderr);
    assert!(ran.stderr.contains("Stop whoever keeps the view"), "{}", ran.stderr);
    ended(node).await;
    let ran = sallyport(old.path(), &import).expect(2);
    assert!(ran.stderr.contains("rows.sqlite` is there already"), "{}", ran.stderr);

    let ran = sallyport(new.path(), &import).expect(0);
    assert!(ran.stdout.contains("view `rows` goes on from"), "{}", ran.stdout);
    send(&broker, 3).await;
    let node = Process::start(new.path(), &["run"]).await;
    let page = rows(&node, 4).await;
    assert_eq!(page["items"].as_array().unwrap()[..3], *seen["items"].as_array().unwrap());
    ended(node).await;
    let log = fs::read_to_string(new.path().join("log")).unwrap();
    assert!(!log.contains("is built"), "the topic was read from its beginning: {log}");
}

#[tokio::test]
async fn a_copy_that_does_not_fit_is_refused() {
    let broker = EmbeddedBroker::start(&[("events", 1)]).unwrap();
    let folder = TempDir::new().unwrap();
    write_node(folder.path(), &broker, "$.n");
    let node = Process::start(folder.path(), &["run"]).await;
    send(&broker, 0).await;
    rows(&node, 1).await;
    sallyport(folder.path(), &["view", "export", "rows", "copy"]).expect(0);
    let ran = sallyport(folder.path(), &["view", "export", "rows", "nowhere/copy"]).expect(2);
    assert!(ran.stderr.contains("`nowhere/copy`: "), "{}", ran.stderr);
    let ran = sallyport(folder.path(), &["view", "export", "row", "other"]).expect(2);
    assert!(ran.stderr.contains("`routes.yaml` has no view `row`; did you mean `rows`?"), "{}", ran.stderr);
    ended(node).await;

    fs::rename(folder.path().join("state"), folder.path().join("before")).unwrap();
    write_node(folder.path(), &broker, "timestamp");
    for (file, why) in [
        ("copy", "it was folded by other rules than the configuration has now"),
        ("routes.yaml", "is no copy of this view"),
        ("nothing", "No such file"),
    ] {
        let ran = sallyport(folder.path(), &["view", "import", "rows", file]).expect(2);
        assert!(ran.stderr.contains(why), "{file}: {}", ran.stderr);
        assert!(!folder.path().join("state/rows.sqlite").exists(), "{file} was taken");
    }
    fs::write(folder.path().join("routes.yaml"), "version: 2\n").unwrap();
    sallyport(folder.path(), &["view", "import", "rows", "copy"]).expect(2);
}
