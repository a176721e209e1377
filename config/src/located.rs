//! Values that know where they were written, and maps that keep the order of the file.

use std::borrow::Cow;
use std::cell::Cell;
use std::fmt;
use std::marker::PhantomData;
use std::ops::Deref;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{MapAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The newtype name by which our deserializer recognises a [`Located`].
pub(crate) const LOCATED: &str = "$sallyport::Located";

thread_local! {
    /// Where the value stands that our deserializer is about to hand to a [`Located`]. Set and taken within one
    /// call; any other deserializer leaves it empty.
    static PLACE: Cell<Option<Location>> = const { Cell::new(None) };
}

/// Tells the [`Located`] that is visited next where it stands.
pub(crate) fn hand_over(at: Location) {
    PLACE.set(Some(at));
}

/// A place in a file. Lines and columns count from 1, columns in characters.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Location {
    /// The file, as numbered by the [`Report`](crate::Report) that it was added to.
    pub file: u16,
    /// The line, from 1; 0 means that the place is unknown.
    pub line: u32,
    /// The column, from 1.
    pub column: u32,
}

impl Location {
    /// No place: a default, or something that was not read from a file.
    pub const NOWHERE: Location = Location { file: 0, line: 0, column: 0 };

    /// Whether this is a place in a file.
    pub fn is_known(self) -> bool {
        self.line > 0
    }

    /// The place this many characters further on the same line.
    pub(crate) fn right(self, characters: usize) -> Location {
        if !self.is_known() {
            return self;
        }
        Location { column: self.column.saturating_add(u32::try_from(characters).unwrap_or(u32::MAX)), ..self }
    }
}

/// A value and where it was written. Compares, prints and serialises as the value alone.
#[derive(Clone, Default)]
pub struct Located<T> {
    /// The value.
    pub value: T,
    /// Where it was written; [`Location::NOWHERE`] for a default.
    pub at: Location,
}

impl<T> Located<T> {
    /// A value with its place.
    pub fn new(value: T, at: Location) -> Self {
        Located { value, at }
    }

    /// A value that no file holds, such as a default.
    pub fn nowhere(value: T) -> Self {
        Located { value, at: Location::NOWHERE }
    }
}

impl<T> Deref for Located<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T: PartialEq> PartialEq for Located<T> {
    fn eq(&self, other: &Self) -> bool {
        self.value == other.value
    }
}

impl<T: Eq> Eq for Located<T> {}

impl<T: fmt::Debug> fmt::Debug for Located<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.value.fmt(f)
    }
}

impl<T: fmt::Display> fmt::Display for Located<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.value.fmt(f)
    }
}

impl<T: Serialize> Serialize for Located<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.value.serialize(serializer)
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Located<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_newtype_struct(LOCATED, LocatedVisitor(PhantomData))
    }
}

struct LocatedVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for LocatedVisitor<T> {
    type Value = Located<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        let at = PLACE.take().unwrap_or_default();
        Ok(Located { value: T::deserialize(deserializer)?, at })
    }
}

impl<T: JsonSchema> JsonSchema for Located<T> {
    fn inline_schema() -> bool {
        T::inline_schema()
    }

    fn schema_name() -> Cow<'static, str> {
        T::schema_name()
    }

    fn schema_id() -> Cow<'static, str> {
        T::schema_id()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        T::json_schema(generator)
    }
}

/// A map from names to values, in the order of the file. Names are unique: the parser refuses a second one.
#[derive(Clone)]
pub struct Named<T> {
    entries: Vec<(Located<String>, T)>,
}

impl<T> Named<T> {
    /// The entries, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&Located<String>, &T)> {
        self.entries.iter().map(|(name, value)| (name, value))
    }

    /// The value of this name. Walks the list: for load, not for the request path.
    pub fn find(&self, name: &str) -> Option<&T> {
        self.entries.iter().find(|(known, _)| known.as_str() == name).map(|(_, value)| value)
    }

    /// The names, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.entries.iter().map(|(name, _)| name.as_str())
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Adds an entry at the end. That the name is new is the caller's care.
    pub fn push(&mut self, name: Located<String>, value: T) {
        self.entries.push((name, value));
    }
}

impl<T> IntoIterator for Named<T> {
    type Item = (Located<String>, T);
    type IntoIter = std::vec::IntoIter<Self::Item>;

    fn into_iter(self) -> Self::IntoIter {
        self.entries.into_iter()
    }
}

impl<T> Default for Named<T> {
    fn default() -> Self {
        Named { entries: Vec::new() }
    }
}

impl<T: PartialEq> PartialEq for Named<T> {
    fn eq(&self, other: &Self) -> bool {
        self.entries == other.entries
    }
}

impl<T: fmt::Debug> fmt::Debug for Named<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

impl<T: Serialize> Serialize for Named<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.len()))?;
        for (name, value) in self.iter() {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Named<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(NamedVisitor(PhantomData))
    }
}

struct NamedVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for NamedVisitor<T> {
    type Value = Named<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a mapping from names to settings")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut named = Named::default();
        while let Some((name, value)) = map.next_entry()? {
            named.push(name, value);
        }
        Ok(named)
    }
}

impl<T: JsonSchema> JsonSchema for Named<T> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        format!("Named_{}", T::schema_name()).into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "object", "additionalProperties": generator.subschema_for::<T>() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_deserializer_gives_no_place() {
        let located: Located<u32> = serde_json::from_str("7").unwrap();
        assert_eq!((located.value, located.at), (7, Location::NOWHERE));
        let named: Named<Located<u32>> = serde_json::from_str(r#"{"b": 1, "a": 2}"#).unwrap();
        assert_eq!(named.names().collect::<Vec<_>>(), ["b", "a"]);
        assert_eq!(serde_json::to_string(&named).unwrap(), r#"{"b":1,"a":2}"#);
    }

    #[test]
    fn equality_ignores_the_place() {
        let at = Location { file: 1, line: 2, column: 3 };
        assert_eq!(Located::new(1, at), Located::nowhere(1));
        assert_ne!(Located::new(1, at), Located::new(2, at));
        assert_eq!(Located::nowhere("x".to_owned()).to_string(), "x");
    }

    #[test]
    fn a_step_to_the_right_stays_unknown_when_unknown() {
        assert_eq!(Location::NOWHERE.right(4), Location::NOWHERE);
        assert_eq!(Location { file: 0, line: 1, column: 2 }.right(4).column, 6);
    }
}
