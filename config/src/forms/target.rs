//! `host:port`, or `{ address: host:port, weight: 3 }`.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::Error;
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::fault::Fault;
use crate::located::Located;
use crate::pattern;
use crate::text_or_map::{Parts, TextOrMap, Written};
use crate::upstream::Target;

const WEIGHT_MAX: u32 = 1000;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Weighted {
    /// `host:port`; IPv6 in brackets.
    address: Located<Written>,
    /// Its share among the targets, 1 to 1000. Default: 1.
    #[serde(default = "one")]
    #[schemars(range(min = 1, max = 1000))]
    weight: Located<u32>,
}

impl Parts for Weighted {
    const EXPECTED: &str =
        "a target such as `127.0.0.1:9101` or `{ address: files.internal:9101, weight: 3 }`";
}

fn one() -> Located<u32> {
    Located::nowhere(1)
}

impl<'de> Deserialize<'de> for Target {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let written = Located::<TextOrMap<Weighted>>::deserialize(deserializer)?;
        let (address, weight) = match written.value {
            TextOrMap::Text(text) => (Located::new(text, written.at), one()),
            TextOrMap::Map(parts) => (parts.address, parts.weight),
        };
        if !(1..=WEIGHT_MAX).contains(&weight.value) {
            let message = format!("a weight is 1 to {WEIGHT_MAX}, found `{}`", weight.value);
            return Err(D::Error::custom(Fault::new(weight.at, message)));
        }
        let address = pattern::address(&address.text, address.start()).map_err(D::Error::custom)?;
        Ok(Target { address, weight: weight.value })
    }
}

impl Serialize for Target {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.weight == 1 {
            return serializer.serialize_str(&self.address);
        }
        let mut map = serializer.serialize_map(Some(2))?;
        map.serialize_entry("address", &self.address)?;
        map.serialize_entry("weight", &self.weight)?;
        map.end()
    }
}

impl JsonSchema for Target {
    fn schema_name() -> Cow<'static, str> {
        "Target".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let parts = Weighted::json_schema(generator);
        json_schema!({
            "description": "A target of an upstream: `host:port`, or with a weight.",
            "oneOf": [{ "type": "string", "pattern": "^.+:[0-9]+$" }, parts],
        })
    }
}
