//! What outlives a process: the stores of views, and the folder that they are in.

use std::path::{Path, PathBuf};

use sallyport_kafka::EmbeddedBroker;
use sallyport_testkit::{ComposedEdge, Mode};
use serde_json::json;
use tempfile::TempDir;

use super::{broker, configuration, document, folded, happened, keys, register};

stories!(
    a_process_goes_on_where_the_one_before_has_stopped,
    a_damaged_store_is_set_aside_and_built_anew,
    damage_that_only_a_query_finds_is_mended_too,
    a_file_that_is_no_store_is_set_aside_too,
    two_processes_do_not_share_a_folder,
    a_folder_that_cannot_be_written_is_told_at_start,
);

/// Bytes of a page of SQLite.
const PAGE_BYTES: usize = 4096;

fn folder() -> TempDir {
    tempfile::tempdir().expect("a temporary folder")
}

fn settings(folder: &Path) -> String {
    format!("  state: \"{}\"\n", folder.display())
}

async fn start_in(mode: Mode, folder: &Path, broker: &EmbeddedBroker) -> ComposedEdge {
    ComposedEdge::start(mode, &settings(folder), &configuration(broker, "")).await
}

async fn records_read(composed: &ComposedEdge) -> f64 {
    composed.metric("sallyport_kafka_records_total", &[("reader", "view:batches")]).await
}

async fn a_process_goes_on_where_the_one_before_has_stopped(mode: Mode) {
    let (folder, broker) = (folder(), broker("batches", 2));
    for id in ["b1", "b2", "b3", "b4"] {
        register(&broker, id, "ann", "t").await;
    }
    for round in 1..=4 {
        let place = happened(&broker, "b1", "checked").await;
        let composed = start_in(mode, folder.path(), &broker).await;
        folded(&composed, "/batches", &[&place]).await;
        assert_eq!(document(&composed, "ann", "/batches/b1").await["checked"], round);
        assert_eq!(keys(&composed, "ann", "/batches").await, "b1 b2 b3 b4");
        if round > 1 {
            assert_eq!(records_read(&composed).await, 1.0, "nothing is read a second time");
        }
        composed.stop().await;
    }
    // Kafka is away: the rows are there all the same, at once.
    broker.down();
    let composed = start_in(mode, folder.path(), &broker).await;
    super::until_answered(&composed, "/batches/b1?fields=checked", &json!({"checked": 4})).await;
    assert_eq!(records_read(&composed).await, 0.0);
}

async fn a_damaged_store_is_set_aside_and_built_anew(mode: Mode) {
    // Its head is whole, and what is behind it is not: seen when it is opened.
    damaged(mode, |bytes| {
        let half = bytes.len() / 2;
        bytes[PAGE_BYTES..half].iter_mut().for_each(|byte| *byte ^= 0x5a);
    })
    .await;
}

/// The fold itself need not come by there for long.
async fn damage_that_only_a_query_finds_is_mended_too(mode: Mode) {
    damaged(mode, |bytes| {
        for page in bytes.chunks_mut(PAGE_BYTES) {
            if page.windows(9).any(|bytes| bytes == b"\"b007\",\"o") {
                page[..8].fill(0x5a);
            }
        }
    })
    .await;
}

async fn damaged(mode: Mode, damage: impl Fn(&mut Vec<u8>)) {
    let (folder, broker) = (folder(), broker("batches", 1));
    for number in 0..200 {
        register(&broker, &format!("b{number:03}"), "ann", &"t".repeat(100)).await;
    }
    let last = happened(&broker, "b007", "checked").await;
    let composed = start_in(mode, folder.path(), &broker).await;
    folded(&composed, "/batches", &[&last]).await;
    composed.stop().await;
    let store = store(folder.path());
    let whole = std::fs::read(&store).expect("the store");
    let mut bytes = whole.clone();
    damage(&mut bytes);
    assert_ne!(bytes, whole, "the store is as it was");
    std::fs::write(&store, bytes).expect("the store");
    rebuilt(mode, folder.path(), &broker, &last).await;
}

async fn a_file_that_is_no_store_is_set_aside_too(mode: Mode) {
    let (folder, broker) = (folder(), broker("batches", 1));
    let last = register(&broker, "b007", "ann", "t").await;
    let last = happened(&broker, "b007", "checked").await.max(last);
    std::fs::write(store(folder.path()), "something else".repeat(1000)).expect("a file");
    rebuilt(mode, folder.path(), &broker, &last).await;
}

/// The view has its rows again, and the file that was there is kept for who wants to look into it.
async fn rebuilt(mode: Mode, folder: &Path, broker: &EmbeddedBroker, last: &str) {
    let composed = start_in(mode, folder, broker).await;
    super::until_answered(&composed, "/batches/b007?fields=checked", &json!({"checked": 1})).await;
    folded(&composed, "/batches", &[last]).await;
    assert!(folder.join("batches.sqlite.damaged").exists());
    let labels = [("view", "batches"), ("reason", "damage")];
    assert_eq!(composed.metric("sallyport_view_rebuilds_total", &labels).await, 1.0);
}

fn store(folder: &Path) -> PathBuf {
    folder.join("batches.sqlite")
}

async fn two_processes_do_not_share_a_folder(mode: Mode) {
    let (folder, broker) = (folder(), broker("batches", 1));
    let composed = start_in(mode, folder.path(), &broker).await;
    let last = register(&broker, "b1", "ann", "t").await;
    folded(&composed, "/batches", &[&last]).await;
    let second = ComposedEdge::try_start(mode, &settings(folder.path()), &configuration(&broker, "")).await;
    let told = second.err().expect("a refusal");
    for words in ["view `batches`", "is kept by another process", "each needs a state folder of its own"] {
        assert!(told.contains(words), "{told}");
    }
    // The first one goes on, and when it has gone there is room.
    let last = happened(&broker, "b1", "checked").await;
    folded(&composed, "/batches", &[&last]).await;
    composed.stop().await;
    let composed = start_in(mode, folder.path(), &broker).await;
    folded(&composed, "/batches", &[&last]).await;
}

/// The tests may run as root, who may write everywhere: but not where a file stands in the way.
async fn a_folder_that_cannot_be_written_is_told_at_start(mode: Mode) {
    let (folder, broker) = (folder(), broker("batches", 1));
    let path = folder.path().join("file");
    std::fs::write(&path, "").expect("a file");
    for state in [path.clone(), path.join("below")] {
        let started = ComposedEdge::try_start(mode, &settings(&state), &configuration(&broker, "")).await;
        let told = started.err().expect("a refusal");
        assert!(told.contains("view `batches`") && told.contains(&*state.display().to_string()), "{told}");
    }
}
