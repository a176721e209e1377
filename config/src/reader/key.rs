//! Keys of mappings.

use serde::de::{Deserializer, IntoDeserializer, Visitor};

use super::numbers;
use crate::core_schema;
use crate::decode_error::DecodeError;
use crate::located::{self, LOCATED, Located};

/// Reads a key: text, or whatever parses from it.
pub(super) struct KeyReader<'a>(pub(super) &'a Located<String>);

impl<'a> KeyReader<'a> {
    fn number<'de, V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        match core_schema::unsigned(self.0) {
            Some(value) => visitor.visit_u64(value),
            None => visitor.visit_str(self.0),
        }
    }
}

impl<'de> Deserializer<'de> for KeyReader<'_> {
    type Error = DecodeError;

    numbers! {
        deserialize_u8 number deserialize_u16 number deserialize_u32 number deserialize_u64 number
        deserialize_i8 number deserialize_i16 number deserialize_i32 number deserialize_i64 number
    }

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        visitor.visit_str(self.0)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        if name == LOCATED {
            located::hand_over(self.0.at);
        }
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        IntoDeserializer::<DecodeError>::into_deserializer(self.0.as_str())
            .deserialize_enum(name, variants, visitor)
    }

    serde::forward_to_deserialize_any! {
        bool f32 f64 char str string bytes byte_buf option unit unit_struct seq tuple tuple_struct map struct
        identifier ignored_any
    }
}
