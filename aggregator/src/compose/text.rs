//! Texts with fields: compiled at load, filled in for a call.
//!
//! A field is `{id}` (a path parameter of the route), `{query.name}`, `{claims.sub}`, `{item}`, `{item.$.path}` or
//! `{branch.$.path}`; `{{` and `}}` stand for the braces themselves. How a value is written depends on where it goes: into a
//! path or a query it is percent-encoded, so that it never adds a segment, a parameter or a step upwards; into JSON it goes as
//! JSON. Where a text may stand and which fields it may hold is for who compiles it ([`Scope`]).

mod compile;
mod encode;
mod error;
mod value;

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use sallyport_condition::FieldPath;
use sallyport_config::{Located, Report};
use serde_json::Value;

pub use compile::Scope;
pub use error::{FieldError, FieldFault};

pub(crate) use compile::{Piece, claim, fragment, joined, pieces, result};
pub(crate) use encode::{is_segment_literal, parameter, parameters};

use crate::json::{Checked, Part};

/// A text with fields. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Text {
    parts: Arc<[Fragment]>,
}

/// A piece of a text: what it says itself, or a field.
#[derive(Debug, Clone)]
pub enum Fragment {
    /// This, as it stands.
    Literal(Box<str>),
    /// A value.
    Field(Field),
}

/// Where a value comes from.
#[derive(Debug, Clone)]
pub struct Field {
    written: Arc<str>,
    origin: Origin,
}

/// What a field reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// A path parameter of the route.
    Parameter(Box<str>),
    /// A parameter of the client's query; of several of the name the first.
    Query(Box<str>),
    /// A claim of the client's identity.
    Claim(FieldPath),
    /// The item of the list that this call is for, or a value in it.
    Item(FieldPath),
    /// A value of another branch's result.
    Result {
        /// The branch, by its place in the file.
        branch: usize,
        /// The way to the value; empty for the whole result.
        path: FieldPath,
    },
}

/// What is known when a text is filled in. Cheap to copy; nothing in it is decoded before a field asks.
#[derive(Debug, Clone, Copy)]
pub struct Known<'a> {
    /// The route's path parameters, decoded.
    pub params: &'a [(Box<str>, Box<str>)],
    /// The client's query as it came, without `?`.
    pub query: &'a str,
    /// The claims of the client's identity, an object.
    pub claims: Option<&'a Value>,
    /// Results by branch, in file order; `None` for one that has none (yet), or was left out. May be shorter than the branches.
    pub results: &'a [Option<Checked>],
    /// The item that this call is for.
    pub item: Option<Part<'a>>,
}

impl Text {
    /// Compiles a text. Faults are told at their place in it.
    pub fn compile(source: &Located<String>, scope: &Scope<'_>, report: &mut Report) -> Option<Text> {
        compile::text(source, scope, report)
    }

    /// A text of these pieces.
    pub fn new(parts: impl IntoIterator<Item = Fragment>) -> Text {
        Text { parts: parts.into_iter().collect() }
    }

    /// Its pieces, in order.
    pub fn fragments(&self) -> &[Fragment] {
        &self.parts
    }

    /// The field, if the text is one field and nothing else.
    pub fn lone(&self) -> Option<&Field> {
        match &*self.parts {
            [Fragment::Field(field)] => Some(field),
            _ => None,
        }
    }

    /// The text, if no field is in it.
    pub fn literal(&self) -> Option<&str> {
        match &*self.parts {
            [] => Some(""),
            [Fragment::Literal(text)] => Some(text),
            _ => None,
        }
    }

    /// Its fields, in order.
    pub fn fields(&self) -> impl Iterator<Item = &Field> {
        self.parts.iter().filter_map(|part| match part {
            Fragment::Field(field) => Some(field),
            Fragment::Literal(_) => None,
        })
    }

    /// Appends the text as it is read, as the key of a view's row for example.
    ///
    /// # Errors
    ///
    /// If a field has no value, or one that is no string, number or boolean.
    pub fn plain(&self, known: &Known<'_>, out: &mut String) -> Result<(), FieldError> {
        self.render(known, out, |value, out| {
            out.push_str(value);
            Ok(())
        })
    }

    /// Appends the text as (a part of) a path. Literals go as they are, they were checked at load. A value stays within the
    /// segment it stands in: all but unreserved characters are percent-encoded (RFC 3986, sections 2.3 and 3.3), `/` too.
    ///
    /// # Errors
    ///
    /// As [`plain`](Text::plain); and if a value is empty, `.` or `..`, which would be another path.
    pub fn path(&self, known: &Known<'_>, out: &mut String) -> Result<(), FieldError> {
        self.render(known, out, |value, out| match value {
            "" | "." | ".." => Err(FieldFault::NoSegment),
            value => {
                encode::component(value, out);
                Ok(())
            }
        })
    }

    /// Appends the text as (a part of) a query. Literals go as they are, they were checked at load. Of a value all but
    /// unreserved characters are percent-encoded.
    ///
    /// # Errors
    ///
    /// As [`plain`](Text::plain).
    pub fn query(&self, known: &Known<'_>, out: &mut String) -> Result<(), FieldError> {
        self.render(known, out, |value, out| {
            encode::component(value, out);
            Ok(())
        })
    }

    /// The text as a JSON value: a lone field as the value it stands for, byte for byte and without copying where that is
    /// JSON already; anything else as a string.
    ///
    /// # Errors
    ///
    /// If a field has no value; in a text that is more than one field, as [`plain`](Text::plain).
    pub fn json(&self, known: &Known<'_>) -> Result<Checked, FieldError> {
        if let Some(field) = self.lone() {
            return field.value(known).and_then(value::Found::json).map_err(|fault| field.error(fault));
        }
        let mut text = String::new();
        self.plain(known, &mut text)?;
        Ok(encode::json_string(&text))
    }

    fn render(
        &self,
        known: &Known<'_>,
        out: &mut String,
        write: impl Fn(&str, &mut String) -> Result<(), FieldFault>,
    ) -> Result<(), FieldError> {
        for part in &*self.parts {
            match part {
                Fragment::Literal(text) => out.push_str(text),
                Fragment::Field(field) => {
                    let value = field.value(known).and_then(value::Found::scalar);
                    value.and_then(|value| write(&value, out)).map_err(|fault| field.error(fault))?;
                }
            }
        }
        Ok(())
    }
}

impl Field {
    /// What it reads.
    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    /// As it was written, without the braces.
    pub fn written(&self) -> &str {
        &self.written
    }

    /// The branch whose result it reads.
    pub fn branch(&self) -> Option<usize> {
        match self.origin {
            Origin::Result { branch, .. } => Some(branch),
            _ => None,
        }
    }

    pub(crate) fn error(&self, fault: FieldFault) -> FieldError {
        FieldError { field: self.written.clone(), fault }
    }

    fn value<'a>(&self, known: &Known<'a>) -> Result<value::Found<'a>, FieldFault> {
        match &self.origin {
            Origin::Parameter(name) => {
                let found = known.params.iter().find(|(known, _)| known == name);
                found.map(|(_, value)| value::Found::Text(Cow::Borrowed(value))).ok_or(FieldFault::Missing)
            }
            Origin::Query(name) => parameter(known.query, name).map(value::Found::Text),
            Origin::Claim(path) => {
                let found = known.claims.and_then(|claims| path.find(claims));
                found.map(value::Found::Tree).ok_or(FieldFault::Missing)
            }
            Origin::Item(path) => {
                known.item.and_then(|item| item.find(path)).map(value::Found::Json).ok_or(FieldFault::Missing)
            }
            Origin::Result { branch, path } => {
                let result = known.results.get(*branch).and_then(Option::as_ref);
                let found = result.and_then(|result| result.whole().find(path));
                found.map(value::Found::Json).ok_or(FieldFault::Missing)
            }
        }
    }
}

/// As it was written.
impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.parts.iter().try_for_each(|part| match part {
            Fragment::Literal(text) => f.write_str(&text.replace('{', "{{").replace('}', "}}")),
            Fragment::Field(field) => write!(f, "{{{}}}", field.written),
        })
    }
}

/// A path as a query of JSONPath: `$.items[0].id`.
pub(crate) fn query(path: &FieldPath) -> String {
    let path = path.to_string();
    let dot = if path.is_empty() || path.starts_with('[') { "" } else { "." };
    format!("${dot}{path}")
}

#[cfg(test)]
mod tests;
