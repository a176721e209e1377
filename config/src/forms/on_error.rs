//! `null`, `omit`, `stale`, or `{ value: ... }`.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::Error;
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::aggregate::OnError;
use crate::node::Node;

impl OnError {
    /// Whether the branch is required.
    pub fn is_fail(&self) -> bool {
        matches!(self, OnError::Fail)
    }
}

impl<'de> Deserialize<'de> for OnError {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let node = Node::deserialize(deserializer)?;
        match (node.text(), node.entries()) {
            (Some("null" | "~"), _) => Ok(OnError::Null),
            (Some("omit"), _) => Ok(OnError::Omit),
            (Some("stale"), _) => Ok(OnError::Stale),
            (None, [(key, value)]) if key.as_str() == "value" => Ok(OnError::Value(value.clone())),
            _ => Err(D::Error::custom(
                "expected `null`, `omit`, `stale` or `{ value: ... }`; without `on_error` the branch is required",
            )),
        }
    }
}

impl Serialize for OnError {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            OnError::Fail | OnError::Null => serializer.serialize_unit(),
            OnError::Omit => serializer.serialize_str("omit"),
            OnError::Stale => serializer.serialize_str("stale"),
            OnError::Value(value) => {
                let mut map = serializer.serialize_map(Some(1))?;
                map.serialize_entry("value", value)?;
                map.end()
            }
        }
    }
}

impl JsonSchema for OnError {
    fn schema_name() -> Cow<'static, str> {
        "OnError".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "What becomes of the answer if a branch fails.",
            "oneOf": [
                { "type": "null" },
                { "enum": ["omit", "stale"] },
                {
                    "type": "object",
                    "properties": { "value": { "description": "The value that the slot gets." } },
                    "required": ["value"],
                    "additionalProperties": false,
                },
            ],
        })
    }
}
