//! The JSON Schema of the file, for editors.

use schemars::generate::SchemaSettings;
use schemars::{Schema, SchemaGenerator};
use serde_json::{Map, Value, json};

use crate::file::Config;

/// The name under which the schema defines a filter entry.
pub(crate) const FILTER_ENTRY: &str = "FilterEntry";

/// The JSON Schema (draft 2020-12) of the file. `filters` yields the name and the schema of every kind of filter.
pub fn schema(filters: impl FnOnce(&mut SchemaGenerator) -> Vec<(&'static str, Schema)>) -> Value {
    let mut generator = SchemaSettings::draft2020_12().into_generator();
    let kinds = filters(&mut generator);
    let mut root = generator.into_root_schema_for::<Config>().to_value();
    let definitions = root.get("$defs").and_then(Value::as_object).cloned().unwrap_or_default();
    let entry = filter_entry(&kinds, &definitions);
    if let Some(slot) = root.pointer_mut(&format!("/$defs/{FILTER_ENTRY}")) {
        *slot = entry;
    }
    root["title"] = json!("routes.yaml of Sallyport");
    root
}

/// One of the filters that there are: its bare name where no setting is required, or its name and settings.
fn filter_entry(kinds: &[(&'static str, Schema)], definitions: &Map<String, Value>) -> Value {
    let mut forms = Vec::new();
    let mut bare = Vec::new();
    for (name, schema) in kinds {
        let schema = schema.as_value();
        if required(schema, definitions).is_none() {
            bare.push(json!(name));
        }
        forms.push(json!({
            "type": "object",
            "properties": { *name: schema },
            "required": [name],
            "additionalProperties": false,
        }));
    }
    if !bare.is_empty() {
        forms.insert(0, json!({ "enum": bare }));
    }
    json!({ "description": "One filter: its name, then its settings.", "oneOf": forms })
}

/// The keys that a schema requires, if any.
fn required<'a>(schema: &'a Value, definitions: &'a Map<String, Value>) -> Option<&'a Vec<Value>> {
    let target = schema.get("$ref").and_then(Value::as_str).and_then(|name| name.rsplit('/').next());
    let schema = target.and_then(|name| definitions.get(name)).unwrap_or(schema);
    schema.get("required").and_then(Value::as_array).filter(|names| !names.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_take_the_place_of_the_entry() {
        let free: Schema = schemars::json_schema!({ "type": "object" });
        let strict: Schema = schemars::json_schema!({ "type": "object", "required": ["x"] });
        let schema = schema(|_| vec![("free", free), ("strict", strict)]);
        let entry = &schema["$defs"][FILTER_ENTRY]["oneOf"];
        assert_eq!(entry[0], json!({ "enum": ["free"] }));
        assert_eq!(entry[1]["required"], json!(["free"]));
        assert_eq!(entry[2]["required"], json!(["strict"]));
        assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema");
        assert_eq!(schema["additionalProperties"], false);
        assert_eq!(schema["$defs"]["Limits"]["properties"]["head_bytes"]["default"], "60KiB");
    }
}
