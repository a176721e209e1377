//! Whether WebSockets may be opened: `true`, `false` or `{ idle: 5m }`.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::route::{WebSocket, WebSocketLife};
use crate::text_or_map::{Parts, TextOrMap};

impl Parts for WebSocketLife {
    const EXPECTED: &str = "`true`, `false` or a map such as `{ idle: 5m }`";
}

impl<'de> Deserialize<'de> for WebSocket {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match TextOrMap::<WebSocketLife>::deserialize(deserializer)? {
            TextOrMap::Map(life) => Ok(WebSocket::On(life)),
            TextOrMap::Text(written) => match written.text.as_str() {
                "true" => Ok(WebSocket::On(WebSocketLife::default())),
                "false" => Ok(WebSocket::Off),
                _ => Err(D::Error::custom(format!("expected {}", WebSocketLife::EXPECTED))),
            },
        }
    }
}

impl Serialize for WebSocket {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            WebSocket::Off => serializer.serialize_bool(false),
            WebSocket::On(life) => life.serialize(serializer),
        }
    }
}

impl JsonSchema for WebSocket {
    fn schema_name() -> Cow<'static, str> {
        "WebSocket".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let life = generator.subschema_for::<WebSocketLife>();
        json_schema!({
            "description": "Whether WebSockets may be opened, and how they live.",
            "oneOf": [{ "type": "boolean" }, life],
        })
    }
}
