//! Reading a few fields of a JSON text in one pass, without building the rest.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;
use serde_json::{Map, Value};
use thiserror::Error;

use crate::path::{FieldPath, Step};

/// Why a text could not be read. Says where, never what stands there.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("not one JSON value: {kind} at line {line}, column {column}")]
pub struct ProjectionError {
    /// What kind of fault it is.
    pub kind: &'static str,
    /// The line, from 1.
    pub line: usize,
    /// The column in bytes, from 1; 0 at a line's beginning.
    pub column: usize,
}

impl From<serde_json::Error> for ProjectionError {
    fn from(error: serde_json::Error) -> Self {
        let kind = match error.classify() {
            serde_json::error::Category::Eof => "it ends too early",
            serde_json::error::Category::Syntax => "a syntax error, or nested deeper than 128 levels",
            _ => "a fault",
        };
        ProjectionError { kind, line: error.line(), column: error.column() }
    }
}

/// Which fields of a JSON text are wanted.
#[derive(Debug, Clone, Default)]
pub struct Projection {
    wanted: Wanted,
}

#[derive(Debug, Clone, Default)]
struct Wanted {
    whole: bool,
    names: Vec<(Box<str>, Wanted)>,
    indices: Vec<(usize, Wanted)>,
}

impl Projection {
    /// Wants these fields.
    pub fn new(paths: impl IntoIterator<Item = FieldPath>) -> Self {
        let mut wanted = Wanted::default();
        for path in paths {
            wanted.add(path.steps());
        }
        Projection { wanted }
    }

    /// Whether no field is wanted.
    pub fn is_empty(&self) -> bool {
        !self.wanted.whole && self.wanted.names.is_empty() && self.wanted.indices.is_empty()
    }

    /// Reads a text in one pass and keeps the wanted fields.
    ///
    /// What is kept has the shape of the text: objects on the way to a wanted field are there even if the field is not,
    /// and so are arrays, with `null` for elements that are not wanted, up to the last one that is. Every wanted path
    /// leads to the same value as in the whole text, or to none in both. Of a name that comes twice the last counts,
    /// as in JavaScript's `JSON.parse`. A text that is no object or array is `null` unless it is wanted itself.
    ///
    /// # Errors
    ///
    /// If the text is not one JSON value with nothing behind it, is not UTF-8, is nested deeper than 128 levels, or holds
    /// a number that no double can hold: all of it is checked, wanted or not.
    pub fn read(&self, json: &[u8]) -> Result<Value, ProjectionError> {
        let mut reader = serde_json::Deserializer::from_slice(json);
        let kept = (&self.wanted).deserialize(&mut reader)?;
        reader.end()?;
        Ok(kept.unwrap_or_default())
    }
}

impl Wanted {
    fn add(&mut self, steps: &[Step]) {
        match steps {
            [] => self.whole = true,
            [Step::Name(name), rest @ ..] => {
                let position = self.names.iter().position(|(known, _)| known == name).unwrap_or_else(|| {
                    self.names.push((name.clone(), Wanted::default()));
                    self.names.len() - 1
                });
                self.names[position].1.add(rest);
            }
            [Step::Index(index), rest @ ..] => {
                let position =
                    self.indices.iter().position(|(known, _)| known == index).unwrap_or_else(|| {
                        self.indices.push((*index, Wanted::default()));
                        self.indices.len() - 1
                    });
                self.indices[position].1.add(rest);
            }
        }
    }
}

/// Reads a value: all of it, the wanted parts of it, or nothing.
impl<'de> DeserializeSeed<'de> for &Wanted {
    type Value = Option<Value>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        if self.whole {
            return serde::Deserialize::deserialize(deserializer).map(Some);
        }
        deserializer.deserialize_any(WantedVisitor(self))
    }
}

struct WantedVisitor<'a>(&'a Wanted);

impl<'de> Visitor<'de> for WantedVisitor<'_> {
    type Value = Option<Value>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut kept = Map::new();
        while let Some(position) = map.next_key_seed(Name(&self.0.names))? {
            match position.map(|position| &self.0.names[position]) {
                Some((name, wanted)) => match map.next_value_seed(wanted)? {
                    Some(value) => {
                        kept.insert(String::from(&**name), value);
                    }
                    // The name came before with something that was wanted; now it has nothing.
                    None => {
                        kept.remove(&**name);
                    }
                },
                None => map.next_value_seed(Skipped)?,
            }
        }
        Ok(Some(Value::Object(kept)))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        let last = self.0.indices.iter().map(|(index, _)| *index).max();
        let mut kept = Vec::new();
        for at in 0usize.. {
            let read = match self.0.indices.iter().find(|(index, _)| *index == at) {
                Some((_, wanted)) => list.next_element_seed(wanted)?.map(Option::unwrap_or_default),
                None => list.next_element_seed(Skipped)?.map(|()| Value::Null),
            };
            let Some(value) = read else { break };
            if last.is_some_and(|last| at <= last) {
                kept.push(value);
            }
        }
        Ok(last.is_some().then_some(Value::Array(kept)))
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_str<E>(self, _: &str) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(None)
    }
}

/// Reads a member's name: its position among the wanted ones.
struct Name<'a>(&'a [(Box<str>, Wanted)]);

impl<'de> DeserializeSeed<'de> for Name<'_> {
    type Value = Option<usize>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Name<'_> {
    type Value = Option<usize>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_str<E>(self, name: &str) -> Result<Self::Value, E> {
        Ok(self.0.iter().position(|(wanted, _)| **wanted == *name))
    }
}

/// Reads a value and keeps nothing, but checks it like one that is kept: `IgnoredAny` would neither look at UTF-8 nor
/// count levels.
struct Skipped;

impl<'de> DeserializeSeed<'de> for Skipped {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        static NOTHING: Wanted = Wanted { whole: false, names: Vec::new(), indices: Vec::new() };
        deserializer.deserialize_any(WantedVisitor(&NOTHING)).map(|_| ())
    }
}

/// The part of a JSON text that is the value at a path, byte for byte, or `None` where the path leads nowhere. Of a name
/// that comes twice the last counts.
///
/// # Errors
///
/// If what was looked at on the way is not JSON. Parts that the path does not touch are only skimmed; read the text with
/// a [`Projection`] first.
pub fn slice<'a>(json: &'a [u8], path: &FieldPath) -> Result<Option<&'a str>, ProjectionError> {
    let mut reader = serde_json::Deserializer::from_slice(json);
    let found = Sliced(path.steps()).deserialize(&mut reader)?;
    reader.end()?;
    Ok(found.map(RawValue::get))
}

struct Sliced<'a>(&'a [Step]);

impl<'de> DeserializeSeed<'de> for Sliced<'_> {
    type Value = Option<&'de RawValue>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        if self.0.is_empty() {
            return serde::Deserialize::deserialize(deserializer).map(Some);
        }
        deserializer.deserialize_any(SlicedVisitor(self.0))
    }
}

struct SlicedVisitor<'a>(&'a [Step]);

impl<'de> Visitor<'de> for SlicedVisitor<'_> {
    type Value = Option<&'de RawValue>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let [Step::Name(wanted), rest @ ..] = self.0 else {
            while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
            return Ok(None);
        };
        let mut found = None;
        while let Some(is_wanted) = map.next_key_seed(Is(wanted))? {
            if is_wanted {
                found = map.next_value_seed(Sliced(rest))?;
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(found)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        let mut found = None;
        let wanted = match self.0 {
            [Step::Index(index), ..] => Some(*index),
            _ => None,
        };
        for at in 0usize.. {
            if wanted == Some(at) {
                let rest = self.0.get(1..).ok_or_else(|| A::Error::custom("no step"))?;
                match list.next_element_seed(Sliced(rest))? {
                    Some(value) => found = value,
                    None => break,
                }
            } else if list.next_element::<IgnoredAny>()?.is_none() {
                break;
            }
        }
        Ok(found)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_str<E>(self, _: &str) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(None)
    }
}

/// Reads a member's name: whether it is this one.
struct Is<'a>(&'a str);

impl<'de> DeserializeSeed<'de> for Is<'_> {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<bool, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Is<'_> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_str<E>(self, name: &str) -> Result<bool, E> {
        Ok(name == self.0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn path(names: &str) -> FieldPath {
        FieldPath::new(names.split('.').filter(|name| !name.is_empty()).map(|name| match name.parse() {
            Ok(index) => Step::Index(index),
            Err(_) => Step::Name(name.into()),
        }))
    }

    fn read(paths: &[&str], json: &str) -> Value {
        Projection::new(paths.iter().map(|names| path(names))).read(json.as_bytes()).unwrap()
    }

    #[test]
    fn only_wanted_fields_are_kept() {
        let text = r#" {"owner": "u1", "user": {"id": 7, "name": "x"}, "items": [{"a": 1, "b": 2}, {"a": 3}], "z": [1]} "#;
        assert_eq!(read(&["owner"], text), json!({"owner": "u1"}));
        assert_eq!(read(&["user.id", "missing.deeper"], text), json!({"user": {"id": 7}}));
        assert_eq!(read(&["user.missing"], text), json!({"user": {}}));
        assert_eq!(read(&["items.1.a"], text), json!({"items": [null, {"a": 3}]}));
        assert_eq!(read(&["items.7.a", "z"], text), json!({"items": [null, null], "z": [1]}));
        assert_eq!(read(&["owner.deeper", "z.name"], text), json!({}));
        assert_eq!(read(&["user", "user.id"], text), json!({"user": {"id": 7, "name": "x"}}));
        assert_eq!(read(&[], text), json!({}));
        assert_eq!(read(&[""], "7"), json!(7));
        assert_eq!(read(&["a"], "7"), Value::Null);
    }

    /// RFC 8259, section 4, leaves names that come twice open; browsers take the last, and so must a rule about who may
    /// see what they show.
    #[test]
    fn of_a_name_that_comes_twice_the_last_counts() {
        assert_eq!(read(&["a"], r#"{"a": 1, "b": 0, "a": 2}"#), json!({"a": 2}));
        assert_eq!(read(&["a"], r#"{"a": 1, "\u0061": 2}"#), json!({"a": 2}));
        assert_eq!(read(&["a.b"], r#"{"a": {"b": 1}, "a": {"c": 2}}"#), json!({"a": {}}));
        assert_eq!(read(&["a.b"], r#"{"a": {"b": 1}, "a": 2}"#), json!({}));
        assert_eq!(slice(br#"{"a": 1, "a": {"b": 2}}"#, &path("a.b")), Ok(Some("2")));
        assert_eq!(slice(br#"{"a": {"b": 2}, "a": 1}"#, &path("a.b")), Ok(None));
    }

    #[test]
    fn what_is_not_one_json_value_is_refused_even_where_nothing_is_wanted() {
        let deep = format!("{}{}", "[".repeat(200), "]".repeat(200));
        let cases: [&[u8]; 12] = [
            b"",
            b"{",
            b"{} {}",
            b"{} x",
            b"{\"a\": 01}",
            b"{'a': 1}",
            b"{\"x\": \"\xff\"}",
            b"{\"x\": \"a\nb\"}",
            b"{\"x\": 1e999}",
            b"{\"a\": 1,}",
            b"\xef\xbb\xbf{}",
            deep.as_bytes(),
        ];
        for json in cases {
            assert!(Projection::new([path("a")]).read(json).is_err(), "{json:?}");
        }
        let error = Projection::default().read(b"{\"secret\": secret}").unwrap_err().to_string();
        assert!(!error.contains("secret") && error.contains("column 12"), "{error}");
    }

    #[test]
    fn a_slice_is_the_text_as_it_stands() {
        let text = br#"{"id": 1, "data": { "b" : [1.0, 1e2 , "\u0041"] }, "x": null}"#;
        assert_eq!(slice(text, &path("data")), Ok(Some(r#"{ "b" : [1.0, 1e2 , "\u0041"] }"#)));
        assert_eq!(slice(text, &path("data.b.1")), Ok(Some("1e2")));
        assert_eq!(slice(text, &path("x")), Ok(Some("null")));
        assert_eq!(slice(text, &path("data.b.3")), Ok(None));
        assert_eq!(slice(text, &path("id.x")), Ok(None));
        assert_eq!(slice(b" [1] ", &path("")), Ok(Some("[1]")));
        assert!(slice(b"{\"a\": }", &path("a")).is_err());
    }

    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            ".{0,6}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 40, 5, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
                prop::collection::vec(("[abc]", inner), 0..5)
                    .prop_map(|all| all.into_iter().collect::<Value>()),
            ]
        })
    }

    fn any_path() -> impl Strategy<Value = FieldPath> {
        let step = prop_oneof![
            "[abcd]".prop_map(|name| Step::Name(name.into())),
            (0usize..4).prop_map(Step::Index),
        ];
        prop::collection::vec(step, 0..4).prop_map(FieldPath::new)
    }

    proptest! {
        #[test]
        fn wanted_paths_lead_to_the_same_as_in_the_whole(
            value in any_json(),
            paths in prop::collection::vec(any_path(), 0..4),
        ) {
            let text = value.to_string();
            // serde_json does not read every double back as it was written.
            let value: Value = serde_json::from_str(&text).unwrap();
            let kept = Projection::new(paths.clone()).read(text.as_bytes()).unwrap();
            for path in &paths {
                prop_assert_eq!(path.find(&kept), path.find(&value));
                let sliced = slice(text.as_bytes(), path).unwrap();
                let found = sliced.map(|part| serde_json::from_str::<Value>(part).unwrap());
                prop_assert_eq!(found.as_ref(), path.find(&value));
            }
        }

        #[test]
        fn any_bytes_are_taken_or_refused_like_by_serde_json(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            let whole = serde_json::from_slice::<Value>(&bytes);
            let read = Projection::new([path("a.b")]).read(&bytes);
            prop_assert_eq!(read.is_ok(), whole.is_ok());
        }

        #[test]
        fn texts_like_json_are_taken_or_refused_like_by_serde_json(text in r#"[\[\]{}:,"a1e.\-\\u\x00-\x20]{0,24}"#) {
            let whole = serde_json::from_str::<Value>(&text);
            let read = Projection::new([path("a")]).read(text.as_bytes());
            prop_assert_eq!(read.is_ok(), whole.is_ok());
            let _ = slice(text.as_bytes(), &path("a"));
        }
    }
}
