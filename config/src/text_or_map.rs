//! A value that is written as one string or, where that does not suffice, in parts.

use std::fmt;
use std::marker::PhantomData;

use serde::de::value::MapAccessDeserializer;
use serde::de::{Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

/// The newtype name by which our deserializer recognises a [`TextOrMap`] and gives it the raw text of any scalar.
pub(crate) const TEXT_OR_MAP: &str = "$sallyport::TextOrMap";

/// The parts of a value that may also be one string.
pub(crate) trait Parts {
    /// What is expected, for the error.
    const EXPECTED: &str;
}

/// One string, or parts.
pub(crate) enum TextOrMap<T> {
    Text(String),
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
        Ok(TextOrMap::Text(text.to_owned()))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
        T::deserialize(MapAccessDeserializer::new(map)).map(TextOrMap::Map)
    }
}
