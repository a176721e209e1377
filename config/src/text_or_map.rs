//! A value that is written as one string or, where that does not suffice, in parts.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::de::value::MapAccessDeserializer;
use serde::de::{Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use crate::located::{Located, Location};
use crate::node;

/// The newtype name by which our deserializer recognises a [`TextOrMap`] and gives it the raw text of any scalar.
pub(crate) const TEXT_OR_MAP: &str = "$sallyport::TextOrMap";

/// The newtype name by which our deserializer recognises a [`Written`].
pub(crate) const WRITTEN: &str = "$sallyport::Written";

/// A string, and whether it stands in quotes: then its text begins one column further right.
pub(crate) struct Written {
    pub(crate) text: String,
    quoted: bool,
}

impl Written {
    fn new(text: &str) -> Self {
        let quoted = node::take_handed().is_some_and(|node| node.is_quoted());
        Written { text: text.to_owned(), quoted }
    }
}

impl Located<Written> {
    /// Where the text begins.
    pub(crate) fn start(&self) -> Location {
        self.at.right(usize::from(self.value.quoted))
    }

    /// The text at the place of the whole value.
    pub(crate) fn into_text(self) -> Located<String> {
        Located::new(self.value.text, self.at)
    }
}

impl<'de> Deserialize<'de> for Written {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_newtype_struct(WRITTEN, WrittenVisitor)
    }
}

struct WrittenVisitor;

impl<'de> Visitor<'de> for WrittenVisitor {
    type Value = Written;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, deserializer: D) -> Result<Written, D::Error> {
        deserializer.deserialize_str(self)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Written, E> {
        Ok(Written::new(text))
    }
}

impl JsonSchema for Written {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        String::schema_name()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        String::json_schema(generator)
    }
}

/// The parts of a value that may also be one string.
pub(crate) trait Parts {
    /// What is expected, for the error.
    const EXPECTED: &str;
}

/// One string, or parts.
pub(crate) enum TextOrMap<T> {
    Text(Written),
    Map(T),
}

impl<'de, T: Parts + Deserialize<'de>> Deserialize<'de> for TextOrMap<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_newtype_struct(TEXT_OR_MAP, Either(PhantomData))
    }
}

struct Either<T>(PhantomData<T>);

impl<'de, T: Parts + Deserialize<'de>> Visitor<'de> for Either<T> {
    type Value = TextOrMap<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(T::EXPECTED)
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
        Ok(TextOrMap::Text(Written::new(text)))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
        T::deserialize(MapAccessDeserializer::new(map)).map(TextOrMap::Map)
    }
}
