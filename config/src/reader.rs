//! The serde side of decoding: one node, one list, one mapping, one enum, one key at a time.
//!
//! What to do about errors is decided in `decode.rs`; here they only get their place.

mod key;
mod variant;

use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};

use self::key::KeyReader;
use self::variant::Variant;
use crate::core_schema::{self, Plain};
use crate::decode::Context;
use crate::decode_error::{DecodeError, What};
use crate::fault::Fault;
use crate::located::{self, LOCATED, Location};
use crate::node::{self, Kind, NODE, Node};
use crate::secrets;
use crate::text_or_map::{TEXT_OR_MAP, WRITTEN};

/// Reads one node.
#[derive(Clone, Copy)]
pub(crate) struct Reader<'a> {
    node: &'a Node,
    context: &'a Context<'a>,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(node: &'a Node, context: &'a Context<'a>) -> Self {
        Reader { node, context }
    }

    fn plain(&self) -> Option<&'a str> {
        match self.node.kind() {
            Kind::Scalar { text, plain: true } => Some(text),
            _ => None,
        }
    }

    fn map<'de, V: Visitor<'de>>(
        self,
        fields: Option<&'static [&'static str]>,
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        visitor.visit_map(Entries { reader: self, fields, next: 0 })
    }

    fn items<'de, V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        visitor.visit_seq(Items { reader: self, next: 0 })
    }

    fn unsigned<'de, V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        match self.plain() {
            Some(text) => match (core_schema::unsigned(text), core_schema::signed(text)) {
                (Some(value), _) => visitor.visit_u64(value),
                (None, Some(value)) => visitor.visit_i64(value),
                (None, None) => Err(DecodeError::unlike(&visitor)),
            },
            None => Err(DecodeError::unlike(&visitor)),
        }
    }

    fn float<'de, V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        match self.plain().and_then(core_schema::float) {
            Some(value) => visitor.visit_f64(value),
            None => Err(DecodeError::unlike(&visitor)),
        }
    }
}

macro_rules! numbers {
    ($($method:ident $read:ident)*) => {
        $(fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
            self.$read(visitor)
        })*
    };
}

use numbers;

impl<'de> Deserializer<'de> for Reader<'_> {
    type Error = DecodeError;

    numbers! {
        deserialize_u8 unsigned deserialize_u16 unsigned deserialize_u32 unsigned deserialize_u64 unsigned
        deserialize_i8 unsigned deserialize_i16 unsigned deserialize_i32 unsigned deserialize_i64 unsigned
        deserialize_f32 float deserialize_f64 float
        deserialize_string deserialize_str deserialize_char deserialize_str deserialize_identifier deserialize_str
    }

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        match self.node.kind() {
            Kind::Sequence(_) => self.items(visitor),
            Kind::Mapping(_) => self.map(None, visitor),
            Kind::Scalar { text, plain } => match core_schema::read(text, *plain) {
                Plain::Null => visitor.visit_unit(),
                Plain::Bool(value) => visitor.visit_bool(value),
                Plain::Unsigned(value) => visitor.visit_u64(value),
                Plain::Signed(value) => visitor.visit_i64(value),
                Plain::Float(value) => visitor.visit_f64(value),
                Plain::Text => visitor.visit_str(text),
            },
        }
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        match self.plain() {
            Some("true") => visitor.visit_bool(true),
            Some("false") => visitor.visit_bool(false),
            _ => Err(DecodeError::unlike(&visitor)),
        }
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        match self.node.text() {
            Some(text) if secrets::variable(text).is_some() => {
                let fault =
                    Fault::new(Location::NOWHERE, format!("`{text}` stands for a secret, which this is not"));
                Err(DecodeError::new(What::Said(fault.hint("write the value itself"))))
            }
            Some(text) if !self.node.is_empty_scalar() => visitor.visit_str(text),
            _ => Err(DecodeError::unlike(&visitor)),
        }
    }

    fn deserialize_bytes<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        self.deserialize_any(visitor)
    }

    fn deserialize_byte_buf<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        self.deserialize_any(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        match self.plain() {
            Some("null" | "~") => visitor.visit_none(),
            // `tls:` and nothing behind it is a slip; taken for "no TLS" it would be a dangerous one.
            Some("") => Err(DecodeError::expected("a value")),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        match self.plain() {
            Some("null" | "~" | "") => visitor.visit_unit(),
            _ => Err(DecodeError::unlike(&visitor)),
        }
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        self.deserialize_unit(visitor)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        match name {
            LOCATED => located::hand_over(self.node.location()),
            NODE => node::hand_over(self.node.clone()),
            WRITTEN => node::hand_over(self.node.clone()),
            TEXT_OR_MAP if self.node.text().is_some() => {
                node::hand_over(self.node.clone());
                return self.deserialize_str(visitor);
            }
            _ => {}
        }
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        match self.node.kind() {
            Kind::Sequence(_) => self.items(visitor),
            _ => Err(DecodeError::unlike(&visitor)),
        }
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, DecodeError> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: usize,
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        match self.node.kind() {
            Kind::Mapping(_) => self.map(None, visitor),
            _ => Err(DecodeError::unlike(&visitor)),
        }
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        let Kind::Mapping(_) = self.node.kind() else {
            let some: Vec<String> = fields.iter().take(4).map(|name| format!("`{name}`")).collect();
            let more = if fields.len() > some.len() { ", ..." } else { "" };
            return Err(DecodeError::expected(format!("a mapping with {}{more}", some.join(", "))));
        };
        let result = self.map(Some(fields), visitor);
        result.map_err(|mut error| {
            if let What::Missing(name) = error.0.what {
                error.0.what = self.context.missing(name, self.node, fields);
            }
            error
        })
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        match self.node.kind() {
            Kind::Scalar { .. } if !self.node.is_empty_scalar() => {}
            Kind::Mapping(entries) if entries.len() == 1 => {}
            _ => {
                let names: Vec<String> = variants.iter().map(|name| format!("`{name}`")).collect();
                return Err(DecodeError::expected(format!("one of {}", names.join(", "))));
            }
        }
        visitor.visit_enum(Variant(self))
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        visitor.visit_unit()
    }
}

/// The entries of a mapping that are not left out; with `fields`, those that the struct knows.
struct Entries<'a> {
    reader: Reader<'a>,
    fields: Option<&'static [&'static str]>,
    next: u32,
}

impl<'de> MapAccess<'de> for Entries<'_> {
    type Error = DecodeError;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, DecodeError> {
        let Reader { node, context } = self.reader;
        while let Some((key, value)) = node.entries().get(self.next as usize) {
            let index = self.next;
            self.next += 1;
            if context.is_pruned(index) {
                continue;
            }
            if let Some(fields) = self.fields.filter(|fields| !fields.contains(&key.as_str())) {
                context.unknown_key(key, fields);
                continue;
            }
            let read = || {
                seed.deserialize(KeyReader(key)).map_err(|mut error| {
                    match &mut error.0.what {
                        What::Said(fault) => fault.at = key.at,
                        What::Expected(expected) => {
                            let message = format!("expected {expected}, found `{}`", key.value);
                            error.0.what = What::Said(Fault::new(key.at, message));
                        }
                        _ => {}
                    }
                    error
                })
            };
            return context.child(index, value, Some(key.at), read).map(Some);
        }
        Ok(None)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, DecodeError> {
        let Reader { node: parent, context } = self.reader;
        let index = self.next.saturating_sub(1);
        let Some((key, node)) = parent.entries().get(index as usize) else {
            return Err(DecodeError::expected("a value"));
        };
        context.child(index, node, Some(key.at), || seed.deserialize(Reader { node, context }))
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.reader.node.entries().len().saturating_sub(self.next as usize))
    }
}

/// The items of a list that are not left out.
struct Items<'a> {
    reader: Reader<'a>,
    next: u32,
}

impl<'de> SeqAccess<'de> for Items<'_> {
    type Error = DecodeError;

    fn next_element_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, DecodeError> {
        let Reader { node: parent, context } = self.reader;
        while let Some(node) = parent.items().get(self.next as usize) {
            let index = self.next;
            self.next += 1;
            if !context.is_pruned(index) {
                return context
                    .child(index, node, None, || seed.deserialize(Reader { node, context }))
                    .map(Some);
            }
        }
        Ok(None)
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.reader.node.items().len().saturating_sub(self.next as usize))
    }
}
