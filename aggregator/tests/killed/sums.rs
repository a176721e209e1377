//! Events whose rows can be computed: what is sent, and what must come of it.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

/// Keys of rows.
const KEYS: u32 = 40;

/// Of so many events one deletes its row, and one is poison.
const SELDOM: u32 = 50;

/// The view of these events, as lines of the configuration; it knows duplicates if `unique`.
pub(crate) fn view(name: &str, topic: &str, unique: bool) -> String {
    let unique = if unique { "    unique: { by: ce.id, keep: 1000000 }\n" } else { "" };
    format!(
        r#"  {name}:
    topic: {topic}
    key: key
    fold:
      - {{ on: {{ type: added }}, increment: {{ sum: $.n, times: 1 }}, set: {{ last: $.n }}, max: {{ high: $.n }} }}
      - {{ on: {{ type: deleted }}, delete: true }}
    indexes: [last, "high, sum"]
    visible_to: "true"
{unique}"#
    )
}

/// An event.
#[derive(Debug, Clone)]
pub(crate) struct Event {
    pub(crate) id: String,
    pub(crate) key: String,
    pub(crate) event_type: &'static str,
    pub(crate) value: String,
    number: Option<i64>,
}

/// The rows that events come to.
#[derive(Default)]
pub(crate) struct Model {
    rows: BTreeMap<String, Value>,
    seen: BTreeSet<String>,
    unique: bool,
}

impl Event {
    /// The event of a number.
    pub(crate) fn random(number: usize, random: &mut fastrand::Rng) -> Event {
        let key = format!("k{}", random.u32(..KEYS));
        let id = format!("e{number}");
        let n = random.i64(-1000..1000);
        match random.u32(..SELDOM) {
            0 => Event { id, key, event_type: "deleted", value: "{}".into(), number: None },
            1 => Event { id, key, event_type: "added", value: "{\"n\":\"no number\"}".into(), number: None },
            _ => {
                Event { id, key, event_type: "added", value: json!({ "n": n }).to_string(), number: Some(n) }
            }
        }
    }

    /// The headers of its record.
    pub(crate) fn headers(&self) -> [(&'static str, &str); 4] {
        [("ce_specversion", "1.0"), ("ce_source", "/test"), ("ce_type", self.event_type), ("ce_id", &self.id)]
    }
}

impl Model {
    /// Rows of a view that knows duplicates, or of one that does not.
    pub(crate) fn new(unique: bool) -> Model {
        Model { unique, ..Model::default() }
    }

    /// Folds an event.
    pub(crate) fn fold(&mut self, event: &Event) {
        let is_poison = event.event_type == "added" && event.number.is_none();
        // What could not be folded is not remembered.
        if is_poison || (self.unique && self.seen.contains(&event.id)) {
            return;
        }
        match event.number {
            None if self.rows.remove(&event.key).is_none() => return,
            None => {}
            Some(n) => {
                let start = || json!({"key": event.key, "sum": 0, "times": 0, "high": i64::MIN});
                let row = self.rows.entry(event.key.clone()).or_insert_with(start);
                let number = |name: &str| row[name].as_i64().unwrap();
                let (sum, times, high) = (number("sum") + n, number("times") + 1, number("high").max(n));
                *row = json!({"key": event.key, "sum": sum, "times": times, "last": n, "high": high});
            }
        }
        self.seen.insert(event.id.clone());
    }

    /// Fails unless these are the rows.
    #[track_caller]
    pub(crate) fn compare(&self, rows: &BTreeMap<String, Value>) {
        let keys = |rows: &BTreeMap<String, Value>| rows.keys().cloned().collect::<Vec<_>>();
        assert_eq!(keys(rows), keys(&self.rows));
        let wrong: Vec<_> = self.rows.iter().filter(|(key, row)| rows[*key] != **row).collect();
        let found: Vec<_> = wrong.iter().map(|(key, _)| &rows[*key]).collect();
        assert!(wrong.is_empty(), "expected {wrong:#?}, found {found:#?}");
    }
}
