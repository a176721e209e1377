//! Expressions of a view: `$.path`, `key`, `ce.attribute`, `header.name`, `timestamp`, or a JSON literal.

use sallyport_condition::{FieldPath, singular};
use sallyport_config::{Located, Report, nearest};
use serde_json::value::RawValue;

/// Bytes of an expression.
const EXPRESSION_BYTES_MAX: usize = 4096;

/// The expressions there are, for hints.
const EXPRESSIONS: &str =
    "`$.path`, `key`, `ce.attribute`, `header.name`, `timestamp`, or JSON: `1`, `true`, `'\"a text\"'`";

/// Where a value comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expression {
    /// The value at a path of the data: which of the view's [`Paths`] it is.
    Data(usize),
    /// The record's key.
    Key,
    /// An attribute of a CloudEvent, by its name, and by its name as a header.
    Attribute(Box<str>, Box<str>),
    /// A header of the record.
    Header(Box<str>),
    /// The record's time, milliseconds since 1970.
    Timestamp,
    /// Always this JSON text.
    Literal(Box<str>),
}

/// The paths that a view reads of its events' data, each once.
#[derive(Debug, Clone, Default)]
pub struct Paths(Vec<FieldPath>);

impl Paths {
    /// The number of a path; it is added if it is new.
    pub(super) fn number(&mut self, path: FieldPath) -> usize {
        self.0.iter().position(|known| *known == path).unwrap_or_else(|| {
            self.0.push(path);
            self.0.len() - 1
        })
    }

    /// All of them, in order.
    pub(super) fn all(&self) -> &[FieldPath] {
        &self.0
    }
}

impl Expression {
    /// Compiles an expression. A fault is told at its place.
    pub(super) fn compile(
        source: &Located<String>,
        paths: &mut Paths,
        report: &mut Report,
    ) -> Option<Expression> {
        let text = source.trim();
        if text.len() > EXPRESSION_BYTES_MAX {
            report.error(source.at, format!("an expression has at most {EXPRESSION_BYTES_MAX} bytes"));
            return None;
        }
        match text {
            "key" => return Some(Expression::Key),
            "timestamp" => return Some(Expression::Timestamp),
            _ if text.starts_with('$') => {
                let path = singular(&Located::new(text.to_owned(), source.at), report)?;
                return Some(Expression::Data(paths.number(path)));
            }
            _ => {}
        }
        if let Some(name) = text.strip_prefix("ce.") {
            return attribute(name, source, report);
        }
        if let Some(name) = text.strip_prefix("header.").filter(|name| !name.is_empty()) {
            return Some(Expression::Header(name.into()));
        }
        match serde_json::from_str::<&RawValue>(text) {
            Ok(_) => Some(Expression::Literal(text.into())),
            Err(_) => {
                refuse(source, text, report);
                None
            }
        }
    }

    /// Whether it reads the record's value, which a tombstone does not have.
    pub(super) fn reads_data(&self) -> bool {
        matches!(self, Expression::Data(_))
    }
}

/// CloudEvents 1.0.2, section 3.1: names of attributes are lower case letters and digits.
fn attribute(name: &str, source: &Located<String>, report: &mut Report) -> Option<Expression> {
    if name.is_empty() || !name.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9')) {
        report
            .error(source.at, format!("`{name}` is no name of a CloudEvents attribute"))
            .hint("attributes are named with lower case letters and digits: `ce.type`");
        return None;
    }
    Some(Expression::Attribute(name.into(), format!("ce_{name}").into()))
}

fn refuse(source: &Located<String>, text: &str, report: &mut Report) {
    let error = report.error(source.at, format!("`{text}` is no expression"));
    let word =
        !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte));
    let known = ["key", "timestamp", "ce.type", "ce.id", "ce.time", "ce.source", "ce.subject"];
    if let Some(meant) = nearest(text, known) {
        error.hint(format!("did you mean `{meant}`?"));
    } else if word && !text.contains('.') {
        error.hint(format!("the field of the data is `$.{text}`, the text is `'\"{text}\"'`"));
    }
    error.hint(format!("there are: {EXPRESSIONS}"));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compile(text: &str) -> Result<(Expression, Paths), String> {
        let (mut paths, mut report) = (Paths::default(), Report::default());
        let compiled = Expression::compile(&Located::nowhere(text.to_owned()), &mut paths, &mut report);
        compiled.map(|compiled| (compiled, paths)).ok_or_else(|| report.to_string())
    }

    #[test]
    fn expressions_are_told_apart() {
        for (text, expected) in [
            ("key", Expression::Key),
            ("timestamp", Expression::Timestamp),
            ("ce.id", Expression::Attribute("id".into(), "ce_id".into())),
            ("header.X-Kind", Expression::Header("X-Kind".into())),
            ("$.a['b'][0]", Expression::Data(0)),
            ("1", Expression::Literal("1".into())),
            (" -1.5e3 ", Expression::Literal("-1.5e3".into())),
            ("\"key\"", Expression::Literal("\"key\"".into())),
            ("null", Expression::Literal("null".into())),
            ("{\"a\": [1]}", Expression::Literal("{\"a\": [1]}".into())),
        ] {
            assert_eq!(compile(text).map(|(compiled, _)| compiled), Ok(expected), "{text}");
        }
        let digits = "9".repeat(400);
        assert_eq!(compile(&digits).unwrap().0, Expression::Literal(digits.as_str().into()));
    }

    #[test]
    fn a_path_that_comes_twice_is_read_once() {
        let (mut paths, mut report) = (Paths::default(), Report::default());
        let mut number = |text: &str| {
            Expression::compile(&Located::nowhere(text.to_owned()), &mut paths, &mut report).unwrap()
        };
        assert_eq!(
            (number("$.a"), number("$.b"), number("$['a']")),
            (Expression::Data(0), Expression::Data(1), Expression::Data(0))
        );
    }

    #[test]
    fn what_is_none_is_refused_with_a_way_out() {
        for (text, hint) in [
            ("registered", "the field of the data is `$.registered`, the text is `'\"registered\"'`"),
            ("timestmp", "did you mean `timestamp`?"),
            ("ce.Type", "lower case letters"),
            ("ce.", "lower case letters"),
            ("header.", "there are:"),
            ("$..a", "$.items[0].id"),
            ("", "there are:"),
            ("1 2", "there are:"),
            ("01", "there are:"),
            ("nul", "there are:"),
        ] {
            let error = compile(text).expect_err(text);
            assert!(error.contains(hint), "{text}: {error}");
        }
        assert!(compile(&"1".repeat(5000)).is_err());
    }
}
