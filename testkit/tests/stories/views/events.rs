//! Events that are not as they should be: poison, duplicates, those that come late, those that are too much.

use std::time::Duration;

use sallyport_kafka::{EmbeddedBroker, Range, Record, read_ranges};
use sallyport_testkit::wait::{until, within};
use sallyport_testkit::{ComposedEdge, Mode};
use serde_json::json;

use super::{document, folded, keys, send, send_as, things};

stories!(
    poison_records_do_not_stop_a_view_and_become_dead_letters,
    an_event_that_comes_twice_counts_once,
    a_late_event_changes_nothing,
);

async fn poison_records_do_not_stop_a_view_and_become_dead_letters(mode: Mode) {
    let broker = EmbeddedBroker::start(&[("things", 1), ("letters", 1)]).expect("a broker");
    let view = "
    key: $.id
    dead_letter: letters
    row_bytes: 1KiB
    fold:
      - { on: { type: t }, set: { text: $.text }, increment: { n: $.n } }
      - { on: { type: many }, increment: { n: $.n } }
";
    let composed = ComposedEdge::start(mode, "", &things(&broker, view)).await;
    let long = format!(r#"{{"id":"a","text":"{}"}}"#, "x".repeat(2000));
    let poison: [(&str, &str, &str); 8] = [
        ("t", "no JSON", "not_json"),
        ("t", "{\"id\":\"a\"", "not_json"),
        ("t", r#"{"text":"no key"}"#, "field_missing"),
        ("t", r#"{"id":null}"#, "field_missing"),
        ("t", r#"{"id":["a"]}"#, "field_type"),
        ("t", r#"{"id":""}"#, "length"),
        ("t", r#"{"id":"a","n":"many"}"#, "field_type"),
        ("t", &long, "row_bytes"),
    ];
    let good = r#"{"id":"a","text":"good","n":1}"#;
    for (event_type, value, _) in poison {
        send_as(&broker, "things", &[("ce_type", event_type)], "k", value).await;
        send_as(&broker, "things", &[("ce_type", "t")], "k", good).await;
    }
    // What no rule is for is no poison, whatever it is.
    let last = send_as(&broker, "things", &[("ce_type", "other")], "k", "no JSON").await;
    folded(&composed, "/things", &[&last]).await;
    assert_eq!(
        document(&composed, "root", "/things").await["items"],
        json!([{"key": "a", "text": "good", "n": 8}])
    );
    for reason in ["not_json", "field_missing", "field_type", "length", "row_bytes"] {
        let count = poison.iter().filter(|(.., known)| *known == reason).count();
        let labels = [("view", "things"), ("result", &*format!("poison_{reason}"))];
        composed.wait_for_metric("sallyport_view_events_total", &labels, count as f64).await;
    }
    let letters = records(&broker, "letters", poison.len()).await;
    for (position, (letter, (_, value, _))) in letters.iter().zip(poison).enumerate() {
        let header = |name: &str| {
            String::from_utf8_lossy(letter.header(name).map_or(&[][..], |value| value)).into_owned()
        };
        assert_eq!(letter.value.as_deref(), Some(value.as_bytes()));
        assert_eq!(header("sallyport-origin-topic"), "things");
        assert_eq!(header("sallyport-origin-offset"), (2 * position).to_string());
        assert!(!header("sallyport-error").is_empty());
        assert_eq!(header("ce_type"), "t");
    }
}

/// The first records of a topic's only partition.
async fn records(broker: &EmbeddedBroker, topic: &str, count: usize) -> Vec<Record> {
    let (settings, topic) = (broker.settings(), std::sync::Arc::<str>::from(topic));
    until(&format!("{count} records in {topic}"), || async {
        let (settings, range) =
            (settings.clone(), Range { topic: topic.clone(), partition: 0, from: 0, to: count as i64 });
        let read = tokio::task::spawn_blocking(move || {
            let mut records = Vec::new();
            read_ranges(&settings, &[range], 1000, Duration::from_secs(20), &mut |record| {
                records.push(record);
            })
            .is_ok()
            .then_some(records)
        });
        within("reading Kafka", read).await.expect("a thread").filter(|records| records.len() == count)
    })
    .await
}

async fn an_event_that_comes_twice_counts_once(mode: Mode) {
    let broker = broker_of_things();
    let view = "
    key: key
    unique: { by: ce.id, keep: 3 }
    fold: [{ on: { type: t }, increment: { n: 1 } }]
";
    let composed = ComposedEdge::start(mode, "", &things(&broker, view)).await;
    let mut last = String::new();
    for id in ["1", "1", "2", "1", "3", "2", "1"] {
        last = send_as(&broker, "things", &[("ce_type", "t"), ("ce_id", id)], "a", "{}").await;
    }
    folded(&composed, "/things", &[&last]).await;
    assert_eq!(document(&composed, "root", "/things/a").await, json!({"key": "a", "n": 3}));
    composed.wait_for_metric("sallyport_view_events_total", &[("result", "duplicate")], 4.0).await;
    // An id is one in the whole view, whatever the row; those that are older than the last three are forgotten.
    send_as(&broker, "things", &[("ce_type", "t"), ("ce_id", "3")], "b", "{}").await;
    send_as(&broker, "things", &[("ce_type", "t"), ("ce_id", "4")], "a", "{}").await;
    let last = send_as(&broker, "things", &[("ce_type", "t"), ("ce_id", "1")], "a", "{}").await;
    folded(&composed, "/things", &[&last]).await;
    assert_eq!(document(&composed, "root", "/things").await["items"], json!([{"key": "a", "n": 5}]));
    // Without an id there is nothing to tell it by.
    let last = send_as(&broker, "things", &[("ce_type", "t")], "a", "{}").await;
    folded(&composed, "/things", &[&last]).await;
    composed.wait_for_metric("sallyport_view_events_total", &[("result", "poison_field_missing")], 1.0).await;
    assert_eq!(document(&composed, "root", "/things/a").await["n"], 5);
}

async fn a_late_event_changes_nothing(mode: Mode) {
    let broker = broker_of_things();
    let view = "
    key: key
    ordered_by: $.version
    fold:
      - { on: { type: t }, set: { name: $.name } }
      - { on: { type: gone }, delete: true }
";
    let composed = ComposedEdge::start(mode, "", &things(&broker, view)).await;
    for (version, name) in [(2, "two"), (1, "one"), (10, "ten"), (9, "nine")] {
        send(&broker, "things", "t", "a", &json!({"version": version, "name": name})).await;
    }
    let late = send(&broker, "things", "gone", "a", &json!({"version": 3})).await;
    folded(&composed, "/things", &[&late]).await;
    assert_eq!(document(&composed, "root", "/things/a").await, json!({"key": "a", "name": "ten"}));
    composed.wait_for_metric("sallyport_view_events_total", &[("result", "late")], 3.0).await;
    // One with the same version is not late: the order of the topic counts.
    let same = send(&broker, "things", "t", "a", &json!({"version": 10, "name": "ten again"})).await;
    folded(&composed, "/things", &[&same]).await;
    assert_eq!(document(&composed, "root", "/things/a").await["name"], "ten again");
    let last = send(&broker, "things", "gone", "a", &json!({"version": 11})).await;
    folded(&composed, "/things", &[&last]).await;
    assert_eq!(keys(&composed, "root", "/things").await, "");
}

fn broker_of_things() -> EmbeddedBroker {
    super::broker("things", 1)
}
