//! One topic, or a list of topics.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::located::Located;
use crate::node::Node;
use crate::view::Topics;

impl<'de> Deserialize<'de> for Topics {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let node = Node::deserialize(deserializer)?;
        let topic = |node: &Node| {
            let text = node.text().filter(|text| !text.is_empty());
            text.map(|text| Located::new(text.to_owned(), node.location()))
        };
        let one = topic(&node).map(|topic| vec![topic]);
        let topics = one.or_else(|| node.items().iter().map(topic).collect::<Option<Vec<_>>>());
        match topics {
            Some(topics) if !topics.is_empty() => Ok(Topics(topics)),
            _ => Err(D::Error::custom("expected a topic, or a list of topics")),
        }
    }
}

impl Serialize for Topics {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0.as_slice() {
            [one] => one.serialize(serializer),
            several => several.serialize(serializer),
        }
    }
}

impl JsonSchema for Topics {
    fn schema_name() -> Cow<'static, str> {
        "Topics".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "One topic, or a list of topics.",
            "oneOf": [{ "type": "string" }, { "type": "array", "items": { "type": "string" }, "minItems": 1 }],
        })
    }
}
