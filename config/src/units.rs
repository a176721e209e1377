//! Times, sizes, rates and secrets, as they are written: `300ms`, `10MiB`, `20/s`, `${NAME}`.
//!
//! A bare number is an error wherever a unit is needed: it would mean something else to everybody.

mod rate;
mod secret;
mod size;
mod timespan;

pub use rate::Rate;
pub use secret::Secret;
pub use size::ByteSize;
pub use timespan::Timespan;

/// Why a text is not a value of its unit: the message, then hints, a line each.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct UnitError(String);

impl UnitError {
    fn expected(what: &str, found: &str) -> Self {
        UnitError(format!("expected {what}, found {}", crate::node::found_text(found, true)))
    }

    fn hint(mut self, hint: impl AsRef<str>) -> Self {
        self.0.push('\n');
        self.0.push_str(hint.as_ref());
        self
    }
}

/// Reads a unit through `FromStr`, writes it through `Display`, and describes it for the schema.
macro_rules! as_written {
    ($type:ident, $expecting:expr, $pattern:expr, $description:expr) => {
        impl ::serde::Serialize for $type {
            fn serialize<S: ::serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> ::serde::Deserialize<'de> for $type {
            fn deserialize<D: ::serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct Text;

                impl ::serde::de::Visitor<'_> for Text {
                    type Value = $type;

                    fn expecting(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
                        f.write_str($expecting)
                    }

                    fn visit_str<E: ::serde::de::Error>(self, text: &str) -> Result<$type, E> {
                        text.parse().map_err(E::custom)
                    }
                }

                deserializer.deserialize_str(Text)
            }
        }

        impl ::schemars::JsonSchema for $type {
            fn schema_name() -> ::std::borrow::Cow<'static, str> {
                stringify!($type).into()
            }

            fn json_schema(_: &mut ::schemars::SchemaGenerator) -> ::schemars::Schema {
                ::schemars::json_schema!({ "type": "string", "pattern": $pattern, "description": $description })
            }
        }
    };
}
use as_written;

/// Splits `12ms` into `12` and `ms`.
fn number_and_unit(text: &str) -> (&str, &str) {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    text.split_at(end)
}
