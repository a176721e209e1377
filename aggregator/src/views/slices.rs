//! Several values of a JSON text, cut out byte for byte in one pass. A tree is never built and no number is read, so that
//! one of 400 digits comes out as it went in.

use std::fmt;

use sallyport_condition::{FieldPath, Step};
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;
use smallvec::SmallVec;

/// Levels of objects and lists in a value that is kept.
const DEPTH_MAX: usize = 64;

/// Where wanted values stand.
#[derive(Debug, Default)]
pub(super) struct Slices {
    count: usize,
    /// Which of them is the member `type`.
    event_type: usize,
    root: Wanted,
}

/// The values of a text, by the number of their path.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Sliced<'a>(SmallVec<[Option<&'a str>; 16]>);

#[derive(Debug, Default)]
struct Wanted {
    /// The number of the path that ends here.
    here: Option<usize>,
    names: Vec<(Box<str>, Wanted)>,
    indices: Vec<(usize, Wanted)>,
}

/// Why a text could not be read. Says what, never what stands there.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum SliceError {
    /// It is not UTF-8.
    #[error("not UTF-8")]
    NotText,
    /// It is not one JSON value.
    #[error("not one JSON value: line {line}, column {column}")]
    Syntax {
        /// The line, from 1.
        line: usize,
        /// The column in bytes.
        column: usize,
    },
    /// A kept value is nested too deeply.
    #[error("nested deeper than {DEPTH_MAX} levels")]
    Depth,
    /// A kept text that no Unicode text can be (RFC 8259, section 8.2).
    #[error("a text with half of a surrogate pair")]
    Surrogate,
}

impl Slices {
    /// Wants these values.
    pub(super) fn new(paths: &[FieldPath], event_type: usize) -> Slices {
        let mut root = Wanted::default();
        for (number, path) in paths.iter().enumerate() {
            root.add(path.steps(), number);
        }
        Slices { count: paths.len(), event_type, root }
    }

    /// The values of a text without any.
    pub(super) fn nothing<'a>(&self) -> Sliced<'a> {
        Sliced(SmallVec::from_elem(None, self.count))
    }

    /// The number of the path `$.type`.
    pub(super) fn event_type(&self) -> usize {
        self.event_type
    }

    /// Cuts the wanted values out. All of the text is checked. Of a name that comes twice the last counts, as in
    /// JavaScript's `JSON.parse`.
    pub(super) fn read<'a>(&self, json: &'a [u8]) -> Result<Sliced<'a>, SliceError> {
        let json = std::str::from_utf8(json).map_err(|_| SliceError::NotText)?;
        let mut found = self.nothing();
        let syntax =
            |error: serde_json::Error| SliceError::Syntax { line: error.line(), column: error.column() };
        self.root.read(json, &mut found.0).map_err(syntax)?;
        for value in found.0.iter().flatten() {
            check(value)?;
        }
        Ok(found)
    }
}

impl<'a> Sliced<'a> {
    /// The value at a path.
    pub(super) fn find(&self, number: usize) -> Option<&'a str> {
        self.0.get(number).copied().flatten()
    }
}

impl Wanted {
    fn add(&mut self, steps: &[Step], number: usize) {
        match steps {
            [] => self.here = Some(number),
            [Step::Name(name), rest @ ..] => {
                let at = self.names.iter().position(|(known, _)| known == name).unwrap_or_else(|| {
                    self.names.push((name.clone(), Wanted::default()));
                    self.names.len() - 1
                });
                self.names[at].1.add(rest, number);
            }
            [Step::Index(index), rest @ ..] => {
                let at = self.indices.iter().position(|(known, _)| known == index).unwrap_or_else(|| {
                    self.indices.push((*index, Wanted::default()));
                    self.indices.len() - 1
                });
                self.indices[at].1.add(rest, number);
            }
        }
    }

    /// Reads one whole text.
    fn read<'a>(&self, json: &'a str, found: &mut [Option<&'a str>]) -> serde_json::Result<()> {
        let mut reader = serde_json::Deserializer::from_str(json);
        let first = json.trim_ascii_start().as_bytes().first();
        if self.here.is_none() && first == Some(&b'{') {
            reader.deserialize_map(Inside { wanted: self, found })?;
        } else if self.here.is_none() && first == Some(&b'[') {
            reader.deserialize_seq(Inside { wanted: self, found })?;
        } else {
            let raw: &'a RawValue = serde::Deserialize::deserialize(&mut reader)?;
            self.keep(raw, found)?;
        }
        reader.end()
    }

    /// Notes a value, and what is wanted inside it.
    fn keep<'a>(&self, raw: &'a RawValue, found: &mut [Option<&'a str>]) -> serde_json::Result<()> {
        if let Some(number) = self.here {
            found[number] = Some(raw.get());
        }
        if self.names.is_empty() && self.indices.is_empty() {
            return Ok(());
        }
        let inside = Inside { wanted: self, found };
        let mut reader = serde_json::Deserializer::from_str(raw.get());
        match raw.get().as_bytes().first() {
            Some(b'{') => reader.deserialize_map(inside),
            Some(b'[') => reader.deserialize_seq(inside),
            _ => Ok(()),
        }
    }

    /// Takes back what was noted here: the name comes again.
    fn forget(&self, found: &mut [Option<&str>]) {
        if let Some(number) = self.here {
            found[number] = None;
        }
        let inside = self.names.iter().map(|(_, wanted)| wanted);
        inside.chain(self.indices.iter().map(|(_, wanted)| wanted)).for_each(|wanted| wanted.forget(found));
    }
}

/// Reads the members of an object or the elements of a list.
struct Inside<'w, 'f, 'a> {
    wanted: &'w Wanted,
    found: &'f mut [Option<&'a str>],
}

impl<'de> Visitor<'de> for Inside<'_, '_, 'de> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object or a list")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(position) = map.next_key_seed(Name(&self.wanted.names))? {
            let Some(position) = position else {
                map.next_value::<IgnoredAny>()?;
                continue;
            };
            let wanted = &self.wanted.names[position].1;
            let raw: &'de RawValue = map.next_value()?;
            wanted.forget(self.found);
            wanted.keep(raw, self.found).map_err(serde::de::Error::custom)?;
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        for at in 0usize.. {
            let Some((_, wanted)) = self.wanted.indices.iter().find(|(index, _)| *index == at) else {
                if list.next_element::<IgnoredAny>()?.is_none() {
                    break;
                }
                continue;
            };
            let Some(raw) = list.next_element::<&'de RawValue>()? else { break };
            wanted.keep(raw, self.found).map_err(serde::de::Error::custom)?;
        }
        Ok(())
    }
}

/// Reads a member's name: its position among the wanted ones.
struct Name<'a>(&'a [(Box<str>, Wanted)]);

impl<'de> DeserializeSeed<'de> for Name<'_> {
    type Value = Option<usize>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Name<'_> {
    type Value = Option<usize>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_str<E>(self, name: &str) -> Result<Self::Value, E> {
        Ok(self.0.iter().position(|(wanted, _)| **wanted == *name))
    }
}

/// Whether a value can be put into a row, which others parse: its depth and its escapes. It is JSON already.
fn check(json: &str) -> Result<(), SliceError> {
    let bytes = json.as_bytes();
    if !matches!(bytes.first(), Some(b'"' | b'{' | b'[')) {
        return Ok(());
    }
    let (mut at, mut depth, mut in_text) = (0, 0, false);
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'"' => in_text = !in_text,
            b'\\' if bytes.get(at + 1) == Some(&b'u') => {
                let unit = |at: usize| {
                    json.get(at + 2..at + 6).and_then(|digits| u16::from_str_radix(digits, 16).ok())
                };
                match unit(at) {
                    Some(0xD800..=0xDBFF) => {
                        let low = json.get(at + 6..at + 8) == Some("\\u")
                            && matches!(unit(at + 6), Some(0xDC00..=0xDFFF));
                        if !low {
                            return Err(SliceError::Surrogate);
                        }
                        at += 6;
                    }
                    Some(0xDC00..=0xDFFF) => return Err(SliceError::Surrogate),
                    _ => {}
                }
                at += 5;
            }
            b'\\' => at += 1,
            b'{' | b'[' if !in_text => {
                depth += 1;
                if depth > DEPTH_MAX {
                    return Err(SliceError::Depth);
                }
            }
            b'}' | b']' if !in_text => depth -= 1,
            _ => {}
        }
        at += 1;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use sallyport_condition::slice;

    use super::*;

    fn path(names: &str) -> FieldPath {
        FieldPath::new(names.split('.').filter(|name| !name.is_empty()).map(|name| match name.parse() {
            Ok(index) => Step::Index(index),
            Err(_) => Step::Name(name.into()),
        }))
    }

    fn read<'a>(paths: &[&str], json: &'a str) -> Result<Vec<Option<&'a str>>, SliceError> {
        let paths: Vec<FieldPath> = paths.iter().map(|names| path(names)).collect();
        Slices::new(&paths, 0).read(json.as_bytes()).map(|found| found.0.to_vec())
    }

    #[test]
    fn values_are_cut_out_as_they_stand() {
        let digits = "7".repeat(400);
        let text =
            format!(r#" {{"a": {digits}, "b": {{"c": 1.50, "d": [1, {{"e" : "\u0041"}}]}}, "f": 1e999}} "#);
        assert_eq!(
            read(&["a", "b.c", "b.d.1.e", "b.d.1", "b.d.7", "f", "f.x", "x"], &text).unwrap(),
            [
                Some(&*digits),
                Some("1.50"),
                Some(r#""\u0041""#),
                Some(r#"{"e" : "\u0041"}"#),
                None,
                Some("1e999"),
                None,
                None
            ]
        );
        assert_eq!(read(&["", "a"], r#"{"a": 1}"#).unwrap(), [Some(r#"{"a": 1}"#), Some("1")]);
        assert_eq!(read(&[""], " 7 ").unwrap(), [Some("7")]);
        assert_eq!(read(&["1", "0"], "[1, 2]").unwrap(), [Some("2"), Some("1")]);
        assert_eq!(read(&["a"], "[1]").unwrap(), [None]);
    }

    /// RFC 8259, section 4, leaves it open.
    #[test]
    fn of_a_name_that_comes_twice_the_last_counts() {
        assert_eq!(read(&["a"], r#"{"a": 1, "\u0061": 2}"#).unwrap(), [Some("2")]);
        assert_eq!(read(&["a.b"], r#"{"a": {"b": 1}, "a": {"c": 2}}"#).unwrap(), [None]);
        assert_eq!(read(&["a.b"], r#"{"a": {"b": 1}, "a": 2}"#).unwrap(), [None]);
    }

    #[test]
    fn what_is_not_one_json_value_is_refused_even_where_nothing_is_wanted() {
        for json in [
            "",
            "{",
            "{} {}",
            "{} x",
            r#"{"x": 01}"#,
            "{'a': 1}",
            "{\"x\": \"a\nb\"}",
            r#"{"x": 1,}"#,
            "\u{feff}{}",
        ] {
            assert!(matches!(read(&["a"], json), Err(SliceError::Syntax { .. })), "{json:?}");
            assert!(read(&[], json).is_err(), "{json:?}");
        }
        assert_eq!(Slices::new(&[], 0).read(b"{\"x\": \"\xff\"}"), Err(SliceError::NotText));
    }

    #[test]
    fn a_kept_value_can_be_read_by_others() {
        let deep =
            |levels: usize| format!(r#"{{"a": {}{}, "b": "]["}}"#, "[".repeat(levels), "]".repeat(levels));
        assert!(read(&["a"], &deep(64)).is_ok());
        assert_eq!(read(&["a"], &deep(65)), Err(SliceError::Depth));
        assert!(read(&["b"], &deep(65)).is_ok());
        for half in [r#""\ud800""#, r#""\udc00""#, r#""\ud800x""#, r#""\ud800\u0041""#, r#"[{"\udfff": 1}]"#]
        {
            assert_eq!(read(&[""], half), Err(SliceError::Surrogate), "{half}");
        }
        for whole in [r#""\ud83d\ude00""#, r#""\\ud800""#, r#""\"\\""#] {
            assert!(read(&[""], whole).is_ok(), "{whole}");
        }
    }

    proptest! {
        #[test]
        fn agrees_with_reading_one_at_a_time(
            json in "[\\[\\]{}\":, 0-9abu\\\\]{0,24}|(\\{\"a\": ?(1|\\[1,\\{\"b\":2\\}\\]|\\{\"b\":[0-9]{1,30}\\}),\"b\":\"(x|\\\\n)\"\\})"
        ) {
            let names = ["a", "b", "a.b", "a.1.b", ""];
            let found = read(&names, &json);
            for (number, name) in names.iter().enumerate() {
                match (&found, slice(json.as_bytes(), &path(name))) {
                    (Ok(found), Ok(one)) => prop_assert_eq!(found[number], one),
                    (Err(SliceError::Syntax { .. }), Ok(_)) => prop_assert!(false, "{} was refused", json),
                    (Ok(_), Err(error)) => {
                        // Only what a double cannot hold is no reason here.
                        prop_assert!(error.to_string().contains("fault") || error.to_string().contains("syntax"));
                        prop_assert!(serde_json::from_str::<IgnoredAny>(&json).is_ok());
                    }
                    _ => {}
                }
            }
        }
    }
}
