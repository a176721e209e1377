//! Shapes that settings of several filters share. What they mean is the filters' affair.

use std::fmt;
use std::marker::PhantomData;

use schemars::JsonSchema;
use serde::de::{SeqAccess, Unexpected, Visitor};
use serde::{Deserialize, Deserializer};

/// A string, or a list.
#[derive(Debug, Clone, PartialEq, Eq, JsonSchema)]
#[schemars(untagged, inline)]
pub enum TextOrList<T> {
    /// A string that stands alone.
    Text(String),
    /// A list, even of one.
    List(Vec<T>),
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for TextOrList<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for Either<T> {
            type Value = TextOrList<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string or a list")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Self::Value, E> {
                Ok(TextOrList::Text(text.to_owned()))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
                let mut list = Vec::new();
                while let Some(item) = seq.next_element()? {
                    list.push(item);
                }
                Ok(TextOrList::List(list))
            }
        }

        deserializer.deserialize_any(Either(PhantomData))
    }
}

/// What to do with something that has a value of its own when the setting is left out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Choice {
    /// The setting is left out.
    #[default]
    Usual,
    /// `off`, `false` or null: nothing of the kind.
    Off,
    /// This.
    Value(String),
}

impl<'de> Deserialize<'de> for Choice {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ValueOrOff;

        impl<'de> Visitor<'de> for ValueOrOff {
            type Value = Choice;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string or `off`")
            }

            fn visit_unit<E: serde::de::Error>(self) -> Result<Choice, E> {
                Ok(Choice::Off)
            }

            fn visit_none<E: serde::de::Error>(self) -> Result<Choice, E> {
                Ok(Choice::Off)
            }

            fn visit_bool<E: serde::de::Error>(self, on: bool) -> Result<Choice, E> {
                if on { Err(E::invalid_value(Unexpected::Bool(true), &self)) } else { Ok(Choice::Off) }
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Choice, E> {
                Ok(if text == "off" { Choice::Off } else { Choice::Value(text.to_owned()) })
            }
        }

        deserializer.deserialize_any(ValueOrOff)
    }
}

impl JsonSchema for Choice {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Choice".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "anyOf": [{ "type": "string" }, { "const": false }, { "type": "null" }] })
    }
}
