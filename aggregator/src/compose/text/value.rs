//! The value of a field, wherever it comes from.

use std::borrow::Cow;

use bytes::Bytes;
use serde_json::Value;

use super::encode;
use super::error::FieldFault;
use crate::json::{Checked, DEPTH_CEILING, Kind, Limits, Part};

/// A value that was found.
pub(super) enum Found<'a> {
    /// A text.
    Text(Cow<'a, str>),
    /// A tree: a claim.
    Tree(&'a Value),
    /// JSON as it was written.
    Json(Part<'a>),
}

impl<'a> Found<'a> {
    /// The value as a text; numbers of JSON as they were written.
    pub(super) fn scalar(self) -> Result<Cow<'a, str>, FieldFault> {
        match self {
            Found::Text(text) => Ok(text),
            Found::Tree(Value::String(text)) => Ok(Cow::Borrowed(text)),
            Found::Tree(Value::Number(number)) => Ok(Cow::Owned(number.to_string())),
            Found::Tree(Value::Bool(value)) => Ok(Cow::Borrowed(if *value { "true" } else { "false" })),
            Found::Tree(Value::Null | Value::Array(_) | Value::Object(_)) => Err(FieldFault::NoScalar),
            Found::Json(part) => match part.kind() {
                Kind::String => {
                    let meaning = part.string().map(|string| string.meaning()).unwrap_or_default();
                    encode::text(meaning).ok_or(FieldFault::NoText)
                }
                Kind::Number | Kind::Bool => {
                    encode::text(Cow::Borrowed(part.bytes())).ok_or(FieldFault::NoText)
                }
                Kind::Null | Kind::Array | Kind::Object => Err(FieldFault::NoScalar),
            },
        }
    }

    /// The value as JSON; what is JSON already shares its memory.
    pub(super) fn json(self) -> Result<Checked, FieldFault> {
        match self {
            Found::Text(text) => Ok(encode::json_string(&text)),
            Found::Tree(value) => {
                let limits = Limits { depth_max: DEPTH_CEILING, bytes_max: usize::MAX };
                Checked::new(Bytes::from(value.to_string()), &limits).map_err(|_| FieldFault::NoText)
            }
            Found::Json(part) => Ok(part.to_checked()),
        }
    }
}
