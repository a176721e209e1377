//! The reference of routes.yaml as Markdown, from its JSON Schema: a section for each part of the file, a table of its
//! keys, and the values that are written as text. Made from the schema, it cannot say anything else than the types do.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use serde_json::{Map, Value};

use crate::schema::FILTER_ENTRY;

/// Renders a schema made by [`schema`](crate::schema::schema).
pub fn reference(schema: &Value) -> String {
    let empty = Map::new();
    let definitions = schema.get("$defs").and_then(Value::as_object).unwrap_or(&empty);
    let mut book = Book { definitions, text: String::new(), queue: Vec::new(), seen: BTreeSet::new() };
    book.text
        .push_str("# Reference of routes.yaml\n\nMade from the types that read the file; do not edit.\n");
    book.section("The file", schema);
    let mut next = 0;
    while let Some(name) = book.queue.get(next).cloned() {
        next += 1;
        if let Some(definition) = definitions.get(&name).filter(|_| name != FILTER_ENTRY) {
            book.section(&title(&name), definition);
        }
    }
    book.filters(&mut next);
    book.text
}

struct Book<'a> {
    definitions: &'a Map<String, Value>,
    text: String,
    /// Definitions in the order they are first mentioned; each becomes a section.
    queue: Vec<String>,
    seen: BTreeSet<String>,
}

impl Book<'_> {
    /// One part of the file: what it is, and its keys or the forms it may have.
    fn section(&mut self, title: &str, schema: &Value) {
        let _ = write!(self.text, "\n## {title}\n");
        self.paragraph(schema);
        self.body(schema);
    }

    fn paragraph(&mut self, schema: &Value) {
        if let Some(description) = schema.get("description").and_then(Value::as_str) {
            let _ = write!(self.text, "\n{}\n", words(description));
        }
    }

    fn body(&mut self, schema: &Value) {
        if schema.get("properties").is_some() {
            self.table(schema);
        }
        if schema.get("enum").is_some() {
            let values = self.kind(schema);
            let _ = write!(self.text, "\nOne of {values}.\n");
        }
        let forms = schema.get("oneOf").or_else(|| schema.get("anyOf")).and_then(Value::as_array);
        for form in forms.into_iter().flatten() {
            let described = form.get("description").and_then(Value::as_str).map(words);
            let name = match form.get("const") {
                Some(constant) => format!("`{}`", shown(constant)),
                None => self.kind(form),
            };
            let _ = match described {
                Some(text) => write!(self.text, "\n- {name}: {text}"),
                None => write!(self.text, "\n- {name}"),
            };
        }
        if forms.is_some() {
            self.text.push('\n');
        }
        // A form in parts has keys of its own; where nothing is said of them, the list above says it all.
        for form in forms.into_iter().flatten().filter(|form| explains_keys(form)) {
            self.table(form);
        }
    }

    /// The keys, those that are required first.
    fn table(&mut self, schema: &Value) {
        let Some(properties) = schema.get("properties").and_then(Value::as_object) else { return };
        let required: Vec<&str> = strings(schema.get("required")).collect();
        self.text.push_str("\n| key | type | default | what it is |\n|---|---|---|---|\n");
        let mut keys: Vec<&String> = properties.keys().collect();
        keys.sort_by_key(|key| !required.contains(&key.as_str()));
        for key in keys {
            let property = &properties[key];
            let default = match property.get("default") {
                _ if required.contains(&key.as_str()) => "required".to_owned(),
                None | Some(Value::Null | Value::Object(_)) => String::new(),
                Some(Value::Array(list)) if list.is_empty() => String::new(),
                Some(Value::String(text)) if text.is_empty() => String::new(),
                Some(value) => format!("`{}`", shown(value)),
            };
            let kind = self.kind(property);
            let description =
                property.get("description").and_then(Value::as_str).map(words).unwrap_or_default();
            let description = without_default(&description, property.get("default")).replace('|', "\\|");
            let _ =
                writeln!(self.text, "| `{key}` | {} | {default} | {description} |", kind.replace('|', "\\|"));
        }
    }

    /// A schema in a few words; a definition becomes a link.
    fn kind(&mut self, schema: &Value) -> String {
        if let Some(name) =
            schema.get("$ref").and_then(Value::as_str).and_then(|path| path.rsplit('/').next())
        {
            if self.seen.insert(name.to_owned()) {
                self.queue.push(name.to_owned());
            }
            let title = if name == FILTER_ENTRY { "Filters".to_owned() } else { title(name) };
            return format!("[{title}](#{})", title.to_ascii_lowercase().replace(' ', "-"));
        }
        if let Some(list) = schema.get("enum").and_then(Value::as_array) {
            return list.iter().map(|value| format!("`{}`", shown(value))).collect::<Vec<_>>().join(", ");
        }
        if let Some(constant) = schema.get("const") {
            return format!("`{}`", shown(constant));
        }
        let forms = schema.get("anyOf").or_else(|| schema.get("oneOf")).and_then(Value::as_array);
        if let Some(forms) = forms {
            let real = forms.iter().filter(|form| form.get("type") != Some(&Value::from("null")));
            return real.map(|form| self.kind(form)).collect::<Vec<_>>().join(" or ");
        }
        let names: Vec<&str> = match schema.get("type") {
            Some(Value::String(name)) => vec![name],
            list => strings(list).filter(|name| *name != "null").collect(),
        };
        let kinds: Vec<String> = names.iter().map(|name| self.simple(name, schema)).collect();
        if kinds.is_empty() { "anything".to_owned() } else { kinds.join(" or ") }
    }

    fn simple(&mut self, name: &str, schema: &Value) -> String {
        match name {
            "array" => match schema.get("items") {
                Some(items) => format!("list of {}", self.kind(items)),
                None => "list".to_owned(),
            },
            "object" => match schema.get("additionalProperties") {
                Some(values @ Value::Object(_)) => format!("mapping from names to {}", self.kind(values)),
                _ => self.parts(schema),
            },
            "boolean" => "`true` or `false`".to_owned(),
            "integer" => "whole number".to_owned(),
            other => other.to_owned(),
        }
    }

    /// A mapping by its keys, and by what its one key holds where nothing else says so.
    fn parts(&mut self, schema: &Value) -> String {
        let Some(properties) = schema.get("properties").and_then(Value::as_object) else {
            return "mapping".to_owned();
        };
        let keys: Vec<String> = properties.keys().map(|key| format!("{key}: ...")).collect();
        let shape = format!("`{{ {} }}`", keys.join(", "));
        match properties.values().next() {
            Some(value) if properties.len() == 1 && !explains_keys(schema) => {
                format!("{shape} with {}", self.kind(value))
            }
            _ => shape,
        }
    }

    /// A section for each filter, and for what its settings mention.
    fn filters(&mut self, next: &mut usize) {
        let forms = self.definitions.get(FILTER_ENTRY).and_then(|entry| entry.get("oneOf"));
        let forms = forms.and_then(Value::as_array).cloned().unwrap_or_default();
        self.text.push_str("\n## Filters\n\nEntries of a chain, each `- name: settings`, or `- name` where every setting has a default.\n");
        for form in forms {
            let Some(properties) = form.get("properties").and_then(Value::as_object) else { continue };
            for (name, settings) in properties {
                let target =
                    settings.get("$ref").and_then(Value::as_str).and_then(|path| path.rsplit('/').next());
                let settings = target.and_then(|target| self.definitions.get(target)).unwrap_or(settings);
                let _ = write!(self.text, "\n### `{name}`\n");
                self.seen.extend(target.map(str::to_owned));
                self.paragraph(settings);
                self.body(settings);
            }
        }
        while let Some(name) = self.queue.get(*next).cloned() {
            *next += 1;
            if let Some(definition) = self.definitions.get(&name).filter(|_| name != FILTER_ENTRY) {
                self.section(&title(&name), definition);
            }
        }
    }
}

/// Whether a mapping says what its keys are.
fn explains_keys(schema: &Value) -> bool {
    let properties = schema.get("properties").and_then(Value::as_object);
    properties.is_some_and(|all| all.values().any(|property| property.get("description").is_some()))
}

/// A description without its last sentence, if that says no more than the column of defaults.
fn without_default<'a>(description: &'a str, default: Option<&Value>) -> &'a str {
    let said = default.map(|default| format!("Default: {}.", shown(default)));
    said.and_then(|said| description.strip_suffix(&said)).map_or(description, str::trim_end)
}

/// `UpstreamTls` becomes `Upstream tls`.
fn title(name: &str) -> String {
    let mut title = String::new();
    for (index, c) in name.chars().enumerate() {
        match c {
            '_' => title.push(' '),
            c if c.is_ascii_uppercase() && index > 0 => {
                title.push(' ');
                title.push(c.to_ascii_lowercase());
            }
            c => title.push(c),
        }
    }
    title
}

fn words(description: &str) -> String {
    description.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn shown(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn strings(value: Option<&Value>) -> impl Iterator<Item = &str> {
    value.and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str)
}

#[cfg(test)]
mod tests {
    use schemars::JsonSchema;

    use super::*;
    use crate::schema::schema;
    use crate::units::Timespan;

    /// Delays every request.
    #[derive(JsonSchema)]
    #[allow(dead_code, reason = "only its schema matters")]
    struct DelayConfig {
        /// For how long.
        time: Timespan,
        /// As many. Default: 500.
        #[schemars(default = "five_hundred")]
        count: u32,
        place: Place,
    }

    /// Where to look.
    #[derive(JsonSchema)]
    #[schemars(rename_all = "snake_case")]
    #[allow(dead_code, reason = "only its schema matters")]
    enum Place {
        /// Nowhere else.
        Header,
        /// One of this name.
        Cookie(String),
    }

    fn five_hundred() -> u32 {
        500
    }

    fn all() -> String {
        reference(&schema(|generator| vec![("delay", generator.subschema_for::<DelayConfig>())]))
    }

    #[test]
    fn every_definition_has_a_section_and_every_link_a_target() {
        let text = all();
        let sections: Vec<String> = text
            .lines()
            .filter_map(|line| line.strip_prefix("## "))
            .map(|title| title.to_ascii_lowercase().replace(' ', "-"))
            .collect();
        for link in text.split("](#").skip(1).filter_map(|rest| rest.split(')').next()) {
            assert_eq!(sections.iter().filter(|section| *section == link).count(), 1, "{link}");
        }
        assert!(sections.len() > 15, "{sections:?}");
    }

    #[test]
    fn tells_keys_defaults_and_filters() {
        let text = all();
        assert!(text.contains("| `address` | string | required |"), "{text}");
        assert!(text.contains("| `head_timeout` | [Timespan](#timespan) | `10s` |"), "{text}");
        assert!(text.contains("One of `RS256`, `RS384`,"), "{text}");
        assert!(text.contains("### `delay`\n\nDelays every request.\n"), "{text}");
        assert!(text.contains("`METHOD[|METHOD...] [host]/path`"), "{text}");
    }

    #[test]
    fn says_no_default_twice() {
        let text = all();
        assert!(text.contains("| `500` | As many. |"), "{text}");
        assert!(text.contains("| `240B` | The slowest"), "{text}");
        assert!(text.contains("Default: 240B; 0 turns it off. |"), "{text}");
        assert!(!text.contains("``"), "an empty default is none: {text}");
    }

    /// Two forms of one key, as of the places where a credential may be.
    #[test]
    fn a_form_is_told_by_its_keys() {
        let text = all();
        assert!(text.contains("- `{ cookie: ... }` with string: One of this name.\n"), "{text}");
        assert!(text.contains("- `{ address: ..., weight: ... }`\n"), "{text}");
        assert!(!text.contains("| `cookie` |"), "{text}");
    }
}
