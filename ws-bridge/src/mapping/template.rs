//! Text with fields of a record: `batch:{$.batch_id}`.

use std::borrow::Cow;

use sallyport_condition::{FieldPath, closing_brace, singular};
use sallyport_config::{Located, Report, nearest};
use sallyport_kafka::{CloudEvent, Record};
use serde_json::Value;

use super::poison::{Poison, PoisonReason};

/// Bytes of a template.
const TEMPLATE_BYTES_MAX: usize = 1024;

/// The fields there are, for hints.
const FIELDS: &str =
    "`{$.path}`, `{key}`, `{ce.type}`, `{header.name}`, `{topic}`; a brace is written `{{` or `}}`";

/// A compiled text with fields.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Template {
    parts: Vec<Part>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Literal(Box<str>),
    Json(FieldPath),
    Key,
    /// A CloudEvents attribute: its name, and its name as a header.
    Attribute(Box<str>, Box<str>),
    Header(Box<str>),
    Topic,
}

/// What a template is filled from.
pub(super) struct Filling<'a> {
    pub(super) record: &'a Record,
    pub(super) event: &'a CloudEvent<'a>,
    /// The fields of the data that are wanted.
    pub(super) fields: &'a Value,
}

impl Template {
    /// Compiles a text. Faults are told at their place; `None` after one.
    pub(super) fn compile(source: &Located<String>, report: &mut Report) -> Option<Template> {
        let text = source.value.as_str();
        if text.len() > TEMPLATE_BYTES_MAX {
            report.error(source.at, format!("a text with fields has at most {TEMPLATE_BYTES_MAX} bytes"));
            return None;
        }
        let mut parts = Vec::new();
        let mut literal = String::new();
        let mut rest = text;
        while let Some(found) = rest.find(['{', '}']) {
            literal.push_str(&rest[..found]);
            let from = &rest[found..];
            let offset = text.len() - from.len();
            let place = |report: &Report| report.inside(source.at, text, text[..offset].chars().count());
            if from.starts_with("{{") || from.starts_with("}}") {
                literal.push_str(&from[..1]);
                rest = &from[2..];
                continue;
            }
            let end = if from.starts_with('{') { closing_brace(from).ok() } else { None };
            let Some(end) = end else {
                let what = if from.starts_with('{') {
                    "this `{` is never closed"
                } else {
                    "this `}` closes nothing"
                };
                report.error(place(report), what).hint("a brace as such is written `{{` or `}}`");
                return None;
            };
            if !literal.is_empty() {
                parts.push(Part::Literal(std::mem::take(&mut literal).into()));
            }
            let at = place(report);
            parts.push(field(&Located::new(from[1..end].to_owned(), at), report)?);
            rest = &from[end + 1..];
        }
        literal.push_str(rest);
        if !literal.is_empty() {
            parts.push(Part::Literal(literal.into()));
        }
        Some(Template { parts })
    }

    /// The template of one field, `{key}`.
    pub(super) fn record_key() -> Template {
        Template { parts: vec![Part::Key] }
    }

    /// The text before the first field.
    pub(super) fn beginning(&self) -> &str {
        match self.parts.first() {
            Some(Part::Literal(text)) => text,
            _ => "",
        }
    }

    /// Whether it has no fields.
    pub(super) fn is_constant(&self) -> bool {
        self.parts.iter().all(|part| matches!(part, Part::Literal(_)))
    }

    /// The fields of the data that it reads.
    pub(super) fn paths(&self) -> impl Iterator<Item = &FieldPath> {
        self.parts.iter().filter_map(|part| match part {
            Part::Json(path) => Some(path),
            _ => None,
        })
    }

    /// Fills it. `Ok(None)` where a field is missing or null; what is missing then says [`Template::lacking`].
    pub(super) fn fill(&self, from: &Filling<'_>) -> Result<Option<String>, Poison> {
        let mut filled = String::new();
        for part in &self.parts {
            match part.value(from)? {
                Some(value) => filled.push_str(&value),
                None => return Ok(None),
            }
        }
        Ok(Some(filled))
    }

    /// The fault of a record that lacks one of its fields.
    pub(super) fn lacking(&self, from: &Filling<'_>) -> Poison {
        let missing = self.parts.iter().find(|part| matches!(part.value(from), Ok(None)));
        let name = missing.map_or_else(|| "a field".to_owned(), Part::name);
        Poison::new(PoisonReason::FieldMissing, format!("the record has no `{name}`"))
    }
}

impl Part {
    fn value<'a>(&'a self, from: &'a Filling<'_>) -> Result<Option<Cow<'a, str>>, Poison> {
        match self {
            Part::Literal(text) => Ok(Some(Cow::Borrowed(text))),
            Part::Json(path) => match path.find(from.fields) {
                None | Some(Value::Null) => Ok(None),
                Some(Value::String(text)) => Ok(Some(Cow::Borrowed(text))),
                Some(Value::Array(_) | Value::Object(_)) => {
                    let detail = format!("`{}` is not a text, a number or a boolean", self.name());
                    Err(Poison::new(PoisonReason::FieldType, detail))
                }
                Some(other) => Ok(Some(Cow::Owned(other.to_string()))),
            },
            Part::Key => {
                let key = from.record.key.as_ref().map(|key| text(key, "key")).transpose()?;
                Ok(key.map(Cow::Borrowed))
            }
            Part::Attribute(name, header) => Ok(from.event.attribute(name, header)?),
            Part::Header(name) => {
                let value = from.record.header(name).map(|value| text(value, name)).transpose()?;
                Ok(value.map(Cow::Borrowed))
            }
            Part::Topic => Ok(Some(Cow::Borrowed(&from.record.topic))),
        }
    }

    fn name(&self) -> String {
        match self {
            Part::Literal(_) => "text".to_owned(),
            Part::Json(path) if path.to_string().starts_with('[') => format!("${path}"),
            Part::Json(path) => format!("$.{path}"),
            Part::Key => "key".to_owned(),
            Part::Attribute(name, _) => format!("ce.{name}"),
            Part::Header(name) => format!("header.{name}"),
            Part::Topic => "topic".to_owned(),
        }
    }
}

fn field(name: &Located<String>, report: &mut Report) -> Option<Part> {
    let at = name.at;
    match name.value.as_str() {
        "key" => return Some(Part::Key),
        "topic" => return Some(Part::Topic),
        query if query.starts_with('$') => {
            // One further than the brace.
            let place = report.inside(at, &name.value, 0);
            return singular(&Located::new(name.value.clone(), place), report).map(Part::Json);
        }
        _ => {}
    }
    if let Some(attribute) = name.strip_prefix("ce.") {
        // CloudEvents 1.0.2, section 3.1: names of attributes are lower case letters and digits.
        if attribute.is_empty() || !attribute.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9')) {
            let message = format!("`{attribute}` is no name of a CloudEvents attribute");
            report
                .error(at, message)
                .hint("attributes are named with lower case letters and digits: `{ce.type}`");
            return None;
        }
        return Some(Part::Attribute(attribute.into(), format!("ce_{attribute}").into()));
    }
    if let Some(header) = name.strip_prefix("header.").filter(|header| !header.is_empty()) {
        return Some(Part::Header(header.into()));
    }
    let known = ["key", "topic", "ce.type", "ce.subject", "ce.source", "ce.id", "header.name"];
    let error = report.error(at, format!("unknown field `{{{}}}`", name.value));
    if let Some(meant) = nearest(&name.value, known) {
        error.hint(format!("did you mean `{{{meant}}}`?"));
    }
    error.hint(format!("there are: {FIELDS}"));
    None
}

/// A header or key as text.
fn text<'a>(bytes: &'a [u8], name: &str) -> Result<&'a str, Poison> {
    std::str::from_utf8(bytes)
        .map_err(|_| Poison::new(PoisonReason::NotText, format!("`{name}` is not UTF-8")))
}
