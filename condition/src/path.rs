//! Paths into JSON values: object names and array indices.

use std::fmt;
use std::sync::Arc;

use serde_json::Value;

use crate::vars::{Found, Vars};

/// One step of a path.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Step {
    /// A member of an object.
    Name(Box<str>),
    /// An element of an array, from 0.
    Index(usize),
}

/// A path from a value to one inside it. The empty path is the value itself.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FieldPath {
    steps: Vec<Step>,
}

impl FieldPath {
    /// A path of these steps.
    pub fn new(steps: impl IntoIterator<Item = Step>) -> Self {
        FieldPath { steps: steps.into_iter().collect() }
    }

    /// A path of object names only.
    pub fn of_names<'a>(names: impl IntoIterator<Item = &'a str>) -> Self {
        FieldPath::new(names.into_iter().map(|name| Step::Name(name.into())))
    }

    /// The steps, from the outside in.
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// Whether it is the value itself.
    pub fn is_whole(&self) -> bool {
        self.steps.is_empty()
    }

    /// The path one step further in.
    pub fn then(&self, step: Step) -> Self {
        let mut steps = self.steps.clone();
        steps.push(step);
        FieldPath { steps }
    }

    /// The value at the path, or `None` where a step leads nowhere.
    pub fn find<'a>(&self, value: &'a Value) -> Option<&'a Value> {
        self.steps.iter().try_fold(value, |value, step| match step {
            Step::Name(name) => value.as_object()?.get(&**name),
            Step::Index(index) => value.as_array()?.get(*index),
        })
    }
}

/// `owner`, `user.id`, `items[0].sku`, `["odd name"]`; nothing for the whole.
impl fmt::Display for FieldPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, step) in self.steps.iter().enumerate() {
            match step {
                Step::Name(name) if is_identifier(name) && position == 0 => f.write_str(name)?,
                Step::Name(name) if is_identifier(name) => write!(f, ".{name}")?,
                Step::Name(name) => write!(f, "[{name:?}]")?,
                Step::Index(index) => write!(f, "[{index}]")?,
            }
        }
        Ok(())
    }
}

fn is_identifier(name: &str) -> bool {
    let mut letters = name.bytes();
    letters.next().is_some_and(|first| first.is_ascii_alphabetic() || first == b'_')
        && letters.all(|letter| letter.is_ascii_alphanumeric() || letter == b'_')
}

/// A path that begins at a variable: `claims.sub`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Place {
    /// The variable.
    pub variable: Arc<str>,
    /// The way from there; empty for the variable itself.
    pub path: FieldPath,
}

impl Place {
    /// What stands there, or `None` where nothing does.
    pub fn find<'a>(&self, vars: &Vars<'a>) -> Option<Found<'a>> {
        match vars.find(&self.variable)? {
            Found::Json(value) => Some(Found::of(self.path.find(value)?)),
            text @ Found::Text(_) => self.path.is_whole().then_some(text),
        }
    }
}

/// `claims.user.id`, `tags["x-y"]`, `channel`.
impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.variable)?;
        match self.path.steps.first() {
            Some(Step::Name(name)) if is_identifier(name) => write!(f, ".{}", self.path),
            _ => write!(f, "{}", self.path),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_path_finds_and_shows_itself() {
        let value = json!({"user": {"id": 7}, "items": [{"sku": "a"}, {"odd name": null}]});
        let id = FieldPath::of_names(["user", "id"]);
        assert_eq!((id.find(&value), id.to_string().as_str()), (Some(&json!(7)), "user.id"));
        let odd = FieldPath::new([Step::Name("items".into()), Step::Index(1), Step::Name("odd name".into())]);
        assert_eq!(
            (odd.find(&value), odd.to_string().as_str()),
            (Some(&Value::Null), "items[1][\"odd name\"]")
        );
        assert_eq!(FieldPath::default().find(&value), Some(&value));
        assert_eq!(id.then(Step::Index(0)).find(&value), None);
        assert_eq!(FieldPath::of_names(["items", "0"]).find(&value), None);
    }

    #[test]
    fn a_place_reads_texts_as_such() {
        let claims = json!({"sub": "u1", "level": 3});
        let vars = Vars::new().bind("claims", &claims).bind_text("channel", "batch:1");
        let place = |variable: &str, path: FieldPath| Place { variable: variable.into(), path };
        assert_eq!(place("claims", FieldPath::of_names(["sub"])).find(&vars), Some(Found::Text("u1")));
        assert_eq!(place("claims", FieldPath::of_names(["level"])).find(&vars), Some(Found::Json(&json!(3))));
        assert_eq!(place("channel", FieldPath::default()).find(&vars), Some(Found::Text("batch:1")));
        assert_eq!(place("channel", FieldPath::of_names(["x"])).find(&vars), None);
        assert_eq!(place("event", FieldPath::default()).find(&vars), None);
        assert_eq!(place("claims", FieldPath::of_names(["sub"])).to_string(), "claims.sub");
        assert_eq!(place("claims", FieldPath::new([Step::Index(0)])).to_string(), "claims[0]");
    }
}
