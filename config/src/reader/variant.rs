//! Enums: a bare name, or a mapping of one entry.

use serde::de::value::StrDeserializer;
use serde::de::{DeserializeSeed, Deserializer, EnumAccess, VariantAccess, Visitor};

use super::Reader;
use crate::decode_error::{DecodeError, What};
use crate::fault::Fault;
use crate::located::Location;

/// An enum: a bare name, or `name: settings`.
pub(super) struct Variant<'a>(pub(super) Reader<'a>);

impl<'de, 'a> EnumAccess<'de> for Variant<'a> {
    type Error = DecodeError;
    type Variant = Payload<'a>;

    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, Payload<'a>), DecodeError> {
        let reader = self.0;
        let (name, at, value) = match reader.node.entries().first() {
            Some((key, value)) => (key.as_str(), key.at, Some(value)),
            None => (reader.node.text().unwrap_or_default(), reader.node.location(), None),
        };
        let value = value.map(|node| Reader { node, context: reader.context });
        match seed.deserialize(StrDeserializer::<DecodeError>::new(name)) {
            Ok(variant) => Ok((variant, Payload { name: name.to_owned(), value })),
            Err(mut error) => {
                if let What::Said(fault) = &mut error.0.what {
                    fault.at = at;
                }
                Err(error)
            }
        }
    }
}

/// What follows the name of a variant.
pub(super) struct Payload<'a> {
    name: String,
    value: Option<Reader<'a>>,
}

impl<'a> Payload<'a> {
    fn read<T>(self, read: impl FnOnce(Reader<'a>) -> Result<T, DecodeError>) -> Result<T, DecodeError> {
        let Some(reader) = self.value else {
            let fault = Fault::new(Location::NOWHERE, format!("`{}` needs a value", self.name));
            return Err(DecodeError::new(What::Said(fault.hint(format!("write `{}: ...`", self.name)))));
        };
        reader.context.variant(|| read(reader).map_err(|error| error.place(reader.node, None)))
    }
}

impl<'de> VariantAccess<'de> for Payload<'_> {
    type Error = DecodeError;

    fn unit_variant(self) -> Result<(), DecodeError> {
        match self.value {
            None => Ok(()),
            Some(_) => {
                let fault = Fault::new(Location::NOWHERE, format!("`{}` takes no settings", self.name));
                Err(DecodeError::new(What::Said(fault.hint(format!("write `{}` alone", self.name)))))
            }
        }
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, DecodeError> {
        self.read(|reader| seed.deserialize(reader))
    }

    fn tuple_variant<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, DecodeError> {
        self.read(|reader| reader.deserialize_seq(visitor))
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        self.read(|reader| reader.deserialize_struct("", fields, visitor))
    }
}
