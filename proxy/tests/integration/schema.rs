//! `schema`: a JSON Schema that editors can use. What it accepts and refuses is tried on the files of the repository.

use std::fs;
use std::path::Path;

use sallyport::filters::Registry;
use sallyport::filters::config::{Node, Report};
use serde_json::{Map, Value};
use tempfile::TempDir;

use crate::sallyport;

fn schema() -> Value {
    sallyport(TempDir::new().unwrap().path(), &["schema"]).expect(0).json()
}

/// A YAML text as an editor's schema sees it.
fn value(yaml: &str) -> Value {
    let mut report = Report::default();
    let node = Node::parse("test.yaml", yaml, &mut report);
    node.and_then(|node| node.decode(&mut report)).unwrap_or_else(|| panic!("{report}"))
}

/// What the schema has against a YAML text, with places.
fn complaints(schema: &Value, yaml: &str) -> Vec<String> {
    let mut found = Vec::new();
    validate(schema, schema, &value(yaml), "", &mut found);
    found
}

/// Validates with the keywords that our schema uses (JSON Schema 2020-12). Panics on any other, so that no rule of the
/// schema goes unnoticed.
fn validate(root: &Value, schema: &Value, value: &Value, at: &str, found: &mut Vec<String>) {
    let Some(rules) = schema.as_object() else {
        if schema == &Value::Bool(false) {
            found.push(format!("{at}: not allowed"));
        }
        return;
    };
    let mut object_rules = Map::new();
    for (keyword, rule) in rules {
        let fits = match keyword.as_str() {
            "$schema" | "$defs" | "title" | "description" | "default" | "format" | "examples" => true,
            "$ref" => {
                let target = rule.as_str().and_then(|text| root.pointer(text.strip_prefix('#')?));
                validate(root, target.unwrap_or_else(|| panic!("{rule} leads nowhere")), value, at, found);
                true
            }
            "type" => match rule {
                Value::Array(types) => types.iter().any(|kind| is_of(kind, value)),
                kind => is_of(kind, value),
            },
            "const" => rule == value,
            "enum" => rule.as_array().unwrap().contains(value),
            "minimum" => value.as_f64().is_none_or(|number| number >= rule.as_f64().unwrap()),
            "maximum" => value.as_f64().is_none_or(|number| number <= rule.as_f64().unwrap()),
            "minItems" => value.as_array().is_none_or(|items| items.len() as u64 >= rule.as_u64().unwrap()),
            "minLength" => value.as_str().is_none_or(|text| text.len() as u64 >= rule.as_u64().unwrap()),
            "minProperties" => value.as_object().is_none_or(|map| map.len() as u64 >= rule.as_u64().unwrap()),
            "maxProperties" => value.as_object().is_none_or(|map| map.len() as u64 <= rule.as_u64().unwrap()),
            "pattern" => {
                // A duration, for which the schema needs a look-ahead that the crate does not have.
                let duration = "(?=.)([0-9]+h)?([0-9]+m)?([0-9]+s)?([0-9]+ms)?";
                let pattern = rule.as_str().unwrap().replace(duration, "([0-9]+(h|m|s|ms))+");
                let pattern = regex::Regex::new(&pattern).unwrap();
                value.as_str().is_none_or(|text| pattern.is_match(text))
            }
            "items" => {
                for (index, item) in value.as_array().into_iter().flatten().enumerate() {
                    validate(root, rule, item, &format!("{at}/{index}"), found);
                }
                true
            }
            "anyOf" => fitting(root, rule, value) >= 1,
            "oneOf" => fitting(root, rule, value) == 1,
            "properties" | "required" | "additionalProperties" => {
                object_rules.insert(keyword.clone(), rule.clone());
                true
            }
            other => panic!("the schema has a keyword that this test does not know: {other}"),
        };
        if !fits {
            found.push(format!("{at}: not `{keyword}: {rule}`: {value}"));
        }
    }
    if let Value::Object(map) = value {
        validate_object(root, &object_rules, map, at, found);
    }
}

fn validate_object(
    root: &Value,
    rules: &Map<String, Value>,
    map: &Map<String, Value>,
    at: &str,
    found: &mut Vec<String>,
) {
    let required = rules.get("required").and_then(Value::as_array).into_iter().flatten();
    for name in required.filter_map(Value::as_str).filter(|name| !map.contains_key(*name)) {
        found.push(format!("{at}: no `{name}`"));
    }
    for (name, value) in map {
        let own = rules.get("properties").and_then(|properties| properties.get(name));
        if let Some(rule) = own.or(rules.get("additionalProperties")) {
            validate(root, rule, value, &format!("{at}/{name}"), found);
        }
    }
}

fn fitting(root: &Value, schemas: &Value, value: &Value) -> usize {
    let fits = |schema: &&Value| {
        let mut found = Vec::new();
        validate(root, schema, value, "", &mut found);
        found.is_empty()
    };
    schemas.as_array().unwrap().iter().filter(fits).count()
}

fn is_of(kind: &Value, value: &Value) -> bool {
    match kind.as_str().unwrap() {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "number" => value.is_number(),
        "integer" => value.is_i64() || value.is_u64(),
        other => panic!("unknown type {other}"),
    }
}

#[test]
fn every_good_file_of_the_repository_fits() {
    let schema = schema();
    let top = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut files = vec![top.join("routes.yaml"), top.join("examples/include/routes.yaml")];
    files.extend(fs::read_dir(top.join("examples")).unwrap().map(|entry| entry.unwrap().path()));
    let yaml = files.iter().filter(|file| file.extension().is_some_and(|end| end == "yaml"));
    assert!(yaml.clone().count() >= 12);
    for file in yaml {
        let found = complaints(&schema, &fs::read_to_string(file).unwrap());
        assert!(found.is_empty(), "{}: {found:#?}", file.display());
    }
}

#[test]
fn what_an_editor_should_underline_does_not_fit() {
    let schema = schema();
    let good = "version: 1\nlisteners: { public: { address: 127.0.0.1:8080 } }\n\
                upstreams: { app: { targets: [\"127.0.0.1:3000\"] } }\n\
                chains: { user: [{ jwt: { issuer: main } }, request_id] }\n\
                routes: [{ match: GET /v1, chains: [user], upstream: app, timeouts: { whole: 5s } }]\n";
    assert_eq!(complaints(&schema, good), [""; 0]);
    for (from, to) in [
        ("version: 1", "version: 2"),
        ("version: 1", "verison: 1"),
        ("address: 127.0.0.1:8080", "adress: 127.0.0.1:8080"),
        ("targets: [\"127.0.0.1:3000\"]", "targets: 127.0.0.1"),
        ("{ jwt: { issuer: main } }", "{ jtw: { issuer: main } }"),
        ("{ jwt: { issuer: main } }", "{ jwt: { isuer: main } }"),
        ("{ jwt: { issuer: main } }", "{ rate_limit: { rate: 20 } }"),
        ("{ jwt: { issuer: main } }", "{ jwt: { issuer: main }, cors: { origins: \"*\" } }"),
        ("match: GET /v1", "match: GET v1"),
        ("match: GET /v1, ", ""),
        ("whole: 5s", "whole: soon"),
        ("upstream: app", "upstream: [app]"),
    ] {
        assert!(good.contains(from));
        let bad = good.replace(from, to);
        assert!(!complaints(&schema, &bad).is_empty(), "the schema has nothing against `{to}`");
    }
}

#[test]
fn every_filter_and_every_key_is_described() {
    let schema = schema();
    let text = schema.to_string();
    for kind in Registry::standard().kinds() {
        assert!(text.contains(&format!("\"{}\"", kind.name)), "no `{}`", kind.name);
    }
    let mut silent = Vec::new();
    undescribed(&schema, &schema, "", &mut silent);
    assert!(silent.is_empty(), "keys without a description: {silent:#?}");
}

/// Properties that an editor would show without a word: none of their own, of what they refer to, or of the variant that
/// they make.
fn undescribed(root: &Value, schema: &Value, at: &str, silent: &mut Vec<String>) {
    let described = |schema: &Value| schema.get("description").is_some();
    match schema {
        Value::Object(map) => {
            for (name, property) in map.get("properties").and_then(Value::as_object).into_iter().flatten() {
                let target =
                    property.get("$ref").and_then(Value::as_str).and_then(|to| root.pointer(&to[1..]));
                if !described(property) && !target.is_some_and(described) && !described(schema) {
                    silent.push(format!("{at}/{name}"));
                }
            }
            map.iter().for_each(|(name, inner)| undescribed(root, inner, &format!("{at}/{name}"), silent));
        }
        Value::Array(items) => items.iter().for_each(|inner| undescribed(root, inner, at, silent)),
        _ => {}
    }
}

#[test]
fn the_reference_is_made_from_it() {
    let ran = sallyport(TempDir::new().unwrap().path(), &["schema", "--markdown"]).expect(0);
    for word in ["`listeners`", "`rate_limit`", "`burst`", "`timeouts`"] {
        assert!(ran.stdout.contains(word), "the reference does not mention {word}");
    }
}
