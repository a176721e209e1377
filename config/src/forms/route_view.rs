//! `view: batches`, or `view: { name: batches, key: "{id}" }`.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::located::Located;
use crate::text_or_map::{Parts, TextOrMap};
use crate::view::RouteView;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Row {
    /// The view's name.
    name: Located<String>,
    /// One row instead of pages: its key, a text with path parameters of the route, `{id}`.
    key: Option<Located<String>>,
}

impl Parts for Row {
    const EXPECTED: &str = "a view's name, or a map such as `{ name: batches, key: \"{id}\" }`";
}

impl<'de> Deserialize<'de> for RouteView {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let written = Located::<TextOrMap<Row>>::deserialize(deserializer)?;
        Ok(match written.value {
            TextOrMap::Text(name) => {
                RouteView { name: Located::new(name, written.at).into_text(), key: None }
            }
            TextOrMap::Map(row) => RouteView { name: row.name, key: row.key },
        })
    }
}

impl Serialize for RouteView {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Some(key) = &self.key else { return self.name.serialize(serializer) };
        let mut map = serializer.serialize_map(Some(2))?;
        map.serialize_entry("name", &self.name)?;
        map.serialize_entry("key", key)?;
        map.end()
    }
}

impl JsonSchema for RouteView {
    fn schema_name() -> Cow<'static, str> {
        "RouteView".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let row = Row::json_schema(generator);
        json_schema!({
            "description": "A view whose rows the route answers with.",
            "oneOf": [{ "type": "string" }, row],
        })
    }
}
