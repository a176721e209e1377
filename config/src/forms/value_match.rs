//! A condition: `prod`, `{ regex: "v[12]" }` or `{ present: true }`.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::Error;
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::located::Located;
use crate::route::ValueMatch;
use crate::text_or_map::{Parts, TextOrMap};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Condition {
    #[serde(default)]
    regex: Option<Located<String>>,
    #[serde(default)]
    present: Option<bool>,
}

impl Parts for Condition {
    const EXPECTED: &str = "a value, `{ regex: ... }` or `{ present: true }`";
}

impl<'de> Deserialize<'de> for ValueMatch {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match TextOrMap::<Condition>::deserialize(deserializer)? {
            TextOrMap::Text(written) => Ok(ValueMatch::Exact(written.text)),
            TextOrMap::Map(Condition { regex: Some(regex), present: None }) => Ok(ValueMatch::Regex(regex)),
            TextOrMap::Map(Condition { regex: None, present: Some(present) }) => {
                Ok(ValueMatch::Present(present))
            }
            TextOrMap::Map(_) => Err(D::Error::custom("a condition has either `regex` or `present`")),
        }
    }
}

impl Serialize for ValueMatch {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = match self {
            ValueMatch::Exact(text) => return serializer.serialize_str(text),
            _ => serializer.serialize_map(Some(1))?,
        };
        match self {
            ValueMatch::Regex(regex) => map.serialize_entry("regex", regex)?,
            ValueMatch::Present(present) => map.serialize_entry("present", present)?,
            ValueMatch::Exact(_) => {}
        }
        map.end()
    }
}

impl JsonSchema for ValueMatch {
    fn schema_name() -> Cow<'static, str> {
        "ValueMatch".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let part = |name: &str, kind: &str, description: &str| {
            json_schema!({
                "type": "object",
                "properties": { name: { "type": kind, "description": description } },
                "required": [name],
                "additionalProperties": false,
            })
        };
        json_schema!({
            "description": "A condition on a value: what it must equal, a regular expression, or whether it is there.",
            "oneOf": [
                { "type": ["string", "number", "boolean"] },
                part("regex", "string", "The whole value matches this regular expression."),
                part("present", "boolean", "There, with any value; or not there."),
            ],
        })
    }
}
