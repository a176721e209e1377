//! `diff`: what changes between two configurations, by the names of things rather than by lines of text.

use std::collections::BTreeMap;
use std::fmt;

use sallyport_config::Loaded;
use serde::Serialize;
use serde_json::Value;

/// One thing that differs.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Difference {
    /// `route GET /v1/batches`, `upstream files`, ...
    pub thing: String,
    /// What happens to it.
    #[serde(flatten)]
    pub change: Change,
}

/// What happens to a thing.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "change", rename_all = "snake_case")]
pub enum Change {
    /// It is new.
    Added,
    /// It is gone.
    Removed,
    /// One value of it is another now; `null` where there was or is none.
    Changed {
        /// The value's path, `timeouts.whole` for instance.
        path: String,
        /// Before.
        old: Value,
        /// After.
        new: Value,
    },
}

/// Everything that differs, sorted by thing. Secrets compare as equal: they are never shown, not even as a digest.
pub fn diff(old: &Loaded, new: &Loaded) -> Vec<Difference> {
    let (old, new) = (things(old), things(new));
    let mut differences = Vec::new();
    for (thing, before) in &old {
        match new.get(thing) {
            Some(after) => compare(thing, "", before, after, &mut differences),
            None => differences.push(Difference { thing: thing.clone(), change: Change::Removed }),
        }
    }
    for thing in new.keys().filter(|thing| !old.contains_key(*thing)) {
        differences.push(Difference { thing: thing.clone(), change: Change::Added });
    }
    differences.sort_by(|a, b| a.thing.cmp(&b.thing));
    differences
}

fn things(loaded: &Loaded) -> BTreeMap<String, Value> {
    let mut things = BTreeMap::new();
    let config = serde_json::to_value(&loaded.config).unwrap_or_default();
    for section in ["listeners", "issuers", "chains", "upstreams"] {
        let kind = section.trim_end_matches('s');
        for (name, value) in config.get(section).and_then(Value::as_object).into_iter().flatten() {
            things.insert(format!("{kind} {name}"), value.clone());
        }
    }
    for section in ["admin", "process"] {
        if let Some(value) = config.get(section).filter(|value| !value.is_null()) {
            things.insert(section.to_owned(), value.clone());
        }
    }
    let routes = config.get("routes").and_then(Value::as_array).into_iter().flatten();
    for (route, value) in loaded.config.routes.iter().zip(routes) {
        things.insert(format!("route {}", route.name()), value.clone());
    }
    things
}

fn compare(thing: &str, path: &str, old: &Value, new: &Value, differences: &mut Vec<Difference>) {
    match (old, new) {
        (Value::Object(before), Value::Object(after)) => {
            let mut keys: Vec<&String> = before.keys().chain(after.keys()).collect();
            keys.sort();
            keys.dedup();
            for key in keys {
                let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                let (old, new) =
                    (before.get(key).unwrap_or(&Value::Null), after.get(key).unwrap_or(&Value::Null));
                compare(thing, &path, old, new, differences);
            }
        }
        (old, new) if old != new => differences.push(Difference {
            thing: thing.to_owned(),
            change: Change::Changed { path: path.to_owned(), old: old.clone(), new: new.clone() },
        }),
        _ => {}
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.change {
            Change::Added => write!(f, "+ {}", self.thing),
            Change::Removed => write!(f, "- {}", self.thing),
            Change::Changed { path, old, new } if path.is_empty() => {
                write!(f, "~ {}: {old} → {new}", self.thing)
            }
            Change::Changed { path, old, new } => write!(f, "~ {}: {path}: {old} → {new}", self.thing),
        }
    }
}
