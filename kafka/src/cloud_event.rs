//! CloudEvents 1.0 in Kafka records: binary mode, structured mode in JSON, or no CloudEvent at all.
//!
//! Kafka protocol binding, <https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/bindings/kafka-protocol-binding.md>,
//! section 3; JSON event format, section 3.1.

use std::borrow::Cow;
use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use crate::Record;

/// The prefix of attributes among a record's headers, binary mode.
const PREFIX: &str = "ce_";

/// Why a record cannot be read as the CloudEvent that it claims to be. Nothing of the record's value is in it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CloudEventError {
    /// The value is not a CloudEvent although its content type says so, or of a format that is not read.
    #[error("{0}")]
    Malformed(String),
    /// An envelope without data.
    #[error("the CloudEvent has no `data`")]
    NoData,
    /// The attribute of this name is an object or a list.
    #[error("the attribute `{0}` is not a text, a number or a boolean")]
    AttributeType(String),
    /// The header of this name is not UTF-8.
    #[error("`{0}` is not UTF-8")]
    NotText(String),
}

/// A record's value, seen as a CloudEvent where it is one.
pub struct CloudEvent<'a> {
    /// The data: the record's value, or what an envelope holds.
    pub data: Bytes,
    attributes: Attributes<'a>,
}

enum Attributes<'a> {
    /// Binary mode, or no CloudEvent: the headers that begin with `ce_`, if there are any.
    Headers(&'a Record),
    /// Structured mode: the members of the envelope.
    Envelope(BTreeMap<Cow<'a, str>, &'a RawValue>),
}

impl<'a> CloudEvent<'a> {
    /// Tells the mode by the content type, as section 3 of the binding has it, and finds the data. `value` is the record's.
    ///
    /// # Errors
    /// The content type promises a CloudEvent, and there is none that can be read.
    pub fn of(record: &'a Record, value: &'a Bytes) -> Result<Self, CloudEventError> {
        let content_type = record.header("content-type").map_or(&[][..], |value| value.as_ref());
        let content_type = content_type.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
        let format = b"application/cloudevents";
        let is_structured =
            content_type.get(..format.len()).is_some_and(|kind| kind.eq_ignore_ascii_case(format));
        if !is_structured {
            return Ok(CloudEvent { data: value.clone(), attributes: Attributes::Headers(record) });
        }
        if !content_type[format.len()..].eq_ignore_ascii_case(b"+json") {
            return Err(CloudEventError::Malformed(
                "of the formats of structured mode only `application/cloudevents+json` is read".to_owned(),
            ));
        }
        let envelope: BTreeMap<Cow<'a, str>, &'a RawValue> =
            serde_json::from_slice(value).map_err(|error| {
                let (line, column) = (error.line(), error.column());
                CloudEventError::Malformed(format!(
                    "the envelope of the CloudEvent is not a JSON object: line {line}, column {column}"
                ))
            })?;
        let data = enveloped(&envelope, value)?;
        Ok(CloudEvent { data, attributes: Attributes::Envelope(envelope) })
    }

    /// A record without a value, seen as one: it can only have attributes in headers, and its data is empty.
    pub fn of_headers(record: &'a Record) -> Self {
        CloudEvent { data: Bytes::new(), attributes: Attributes::Headers(record) }
    }

    /// An attribute by its name, and by its name as a header (`ce_` before it); `None` where it is missing or null.
    ///
    /// # Errors
    /// It is there and is no text, number or boolean.
    pub fn attribute(&self, name: &str, header: &str) -> Result<Option<Cow<'_, str>>, CloudEventError> {
        match &self.attributes {
            Attributes::Headers(record) => {
                // The content type of binary mode is this attribute.
                let header = if name == "datacontenttype" { "content-type" } else { header };
                record
                    .header(header)
                    .map(|value| text(value, header))
                    .transpose()
                    .map(|text| text.map(Cow::Borrowed))
            }
            Attributes::Envelope(envelope) => match attribute_value(envelope, name)? {
                None | Some(Value::Null) => Ok(None),
                Some(Value::String(text)) => Ok(Some(Cow::Owned(text))),
                Some(Value::Array(_) | Value::Object(_)) => {
                    Err(CloudEventError::AttributeType(name.to_owned()))
                }
                Some(other) => Ok(Some(Cow::Owned(other.to_string()))),
            },
        }
    }

    /// Attributes as an object, those of these names, or all of them.
    ///
    /// # Errors
    /// One of them cannot be read.
    pub fn facts(&self, names: Option<&[Box<str>]>) -> Result<Value, CloudEventError> {
        let wanted = |name: &str| names.is_none_or(|names| names.iter().any(|wanted| **wanted == *name));
        let mut facts = Map::new();
        match &self.attributes {
            Attributes::Headers(record) => {
                for (name, value) in &record.headers {
                    let prefix =
                        name.get(..PREFIX.len()).is_some_and(|prefix| prefix.eq_ignore_ascii_case(PREFIX));
                    if prefix {
                        let attribute = name[PREFIX.len()..].to_ascii_lowercase();
                        if wanted(&attribute) {
                            facts.insert(attribute, Value::from(text(value, name)?));
                        }
                    }
                }
                // A content type alone makes no CloudEvent.
                let is_event = record.header("ce_specversion").is_some();
                if let Some(value) =
                    record.header("content-type").filter(|_| is_event && wanted("datacontenttype"))
                {
                    facts.insert("datacontenttype".to_owned(), Value::from(text(value, "content-type")?));
                }
            }
            Attributes::Envelope(envelope) => {
                for name in envelope.keys().filter(|name| is_attribute(name) && wanted(name)) {
                    facts.extend(attribute_value(envelope, name)?.map(|value| (name.to_string(), value)));
                }
            }
        }
        Ok(Value::Object(facts))
    }
}

fn is_attribute(name: &str) -> bool {
    !matches!(name, "data" | "data_base64")
}

fn attribute_value(
    envelope: &BTreeMap<Cow<'_, str>, &RawValue>,
    name: &str,
) -> Result<Option<Value>, CloudEventError> {
    let Some(raw) = envelope.get(name).filter(|_| is_attribute(name)) else { return Ok(None) };
    let read = serde_json::from_str(raw.get());
    read.map(Some).map_err(|_| CloudEventError::Malformed(format!("the attribute `{name}` cannot be read")))
}

/// The data of an envelope: JSON in `data`, or JSON in Base64 in `data_base64` (JSON event format, section 3.1.1).
fn enveloped(envelope: &BTreeMap<Cow<'_, str>, &RawValue>, value: &Bytes) -> Result<Bytes, CloudEventError> {
    match (envelope.get("data"), envelope.get("data_base64")) {
        (Some(_), Some(_)) => {
            Err(CloudEventError::Malformed("the CloudEvent has both `data` and `data_base64`".to_owned()))
        }
        (Some(data), None) => Ok(value.slice_ref(data.get().as_bytes())),
        (None, Some(data)) => {
            let text: Option<Cow<'_, str>> = serde_json::from_str(data.get()).ok();
            let decoded = text.and_then(|text| STANDARD.decode(text.as_bytes()).ok());
            decoded.map(Bytes::from).ok_or_else(|| {
                CloudEventError::Malformed("`data_base64` of the CloudEvent is not Base64".to_owned())
            })
        }
        (None, None) => Err(CloudEventError::NoData),
    }
}

/// A header as text.
fn text<'a>(bytes: &'a [u8], name: &str) -> Result<&'a str, CloudEventError> {
    std::str::from_utf8(bytes).map_err(|_| CloudEventError::NotText(name.to_owned()))
}
