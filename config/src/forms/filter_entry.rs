//! `- cors: { ... }` or `- request_id`.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::Error;
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::file::FilterEntry;
use crate::node::Node;

impl<'de> Deserialize<'de> for FilterEntry {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let node = Node::deserialize(deserializer)?;
        let (name, settings) = node.as_single_entry().map_err(D::Error::custom)?;
        Ok(FilterEntry { name, settings })
    }
}

/// The settings as written: `${NAME}` stays `${NAME}`.
impl Serialize for FilterEntry {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(1))?;
        map.serialize_entry(&self.name, &self.settings)?;
        map.end()
    }
}

/// Any name with any settings; [`schema`](crate::schema::schema) puts the filters that there are in its place.
impl JsonSchema for FilterEntry {
    fn schema_name() -> Cow<'static, str> {
        crate::schema::FILTER_ENTRY.into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "One filter: its name, then its settings.",
            "oneOf": [
                { "type": "string" },
                { "type": "object", "minProperties": 1, "maxProperties": 1 },
            ],
        })
    }
}
