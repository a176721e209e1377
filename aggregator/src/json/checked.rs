//! Bytes that are known to be one JSON value. What composes answers takes only these, so that nothing unchecked is spliced.

use std::fmt;

use bytes::Bytes;

use super::error::JsonError;
use super::run;
use super::scan::{Kind, Limits, scan};

/// One JSON value as it was written, without blanks around it. Cheap to clone; parts of it share its memory.
///
/// Only [`scan`](scan()) makes one from bytes that came from outside; what this module builds of such values is JSON by
/// construction. It prints as its kind and length, never as its content.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Checked {
    bytes: Bytes,
}

impl Checked {
    /// Checks a text: see [`scan`](scan()).
    ///
    /// # Errors
    ///
    /// If it is not one JSON value within the limits.
    pub fn new(text: Bytes, limits: &Limits) -> Result<Checked, JsonError> {
        let (_, span) = scan(&text, limits)?;
        let bytes = if span.len() == text.len() { text } else { text.slice(span) };
        Ok(Checked { bytes })
    }

    /// `null`.
    pub const fn null() -> Checked {
        Checked { bytes: Bytes::from_static(b"null") }
    }

    /// A text as a JSON string: the body of a `text/plain` answer, for example. `"`, `\` and control characters are
    /// escaped, nothing else.
    ///
    /// # Errors
    ///
    /// If it is not UTF-8.
    pub fn of_text(text: &[u8]) -> Result<Checked, JsonError> {
        let text = simdutf8::compat::from_utf8(text)
            .map_err(|error| JsonError { at: error.valid_up_to(), reason: super::Reason::NotUtf8 })?;
        Ok(Checked::built(quoted(text)))
    }

    /// A copy with memory of its own. A part keeps the whole in memory that it was cut from: what is kept for long, in a
    /// cache, should not.
    pub fn detached(&self) -> Checked {
        Checked { bytes: Bytes::copy_from_slice(&self.bytes) }
    }

    /// An array of values, in their order. They are copied.
    pub fn list<'a>(items: impl IntoIterator<Item = &'a Checked, IntoIter: Clone>) -> Checked {
        let items = items.into_iter();
        let mut out = Vec::with_capacity(items.clone().map(|item| item.bytes.len() + 1).sum::<usize>() + 2);
        out.push(b'[');
        for item in items {
            if out.len() > 1 {
                out.push(b',');
            }
            out.extend_from_slice(&item.bytes);
        }
        out.push(b']');
        Checked::built(out)
    }

    /// What this module has put together of checked parts.
    pub(super) fn built(bytes: impl Into<Bytes>) -> Checked {
        Checked { bytes: bytes.into() }
    }

    /// What it is.
    pub fn kind(&self) -> Kind {
        self.whole().kind()
    }

    /// The bytes.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// The bytes.
    pub fn into_bytes(self) -> Bytes {
        self.bytes
    }

    /// All of it, to be walked.
    pub fn whole(&self) -> Part<'_> {
        Part { of: self, start: 0, end: self.bytes.len() }
    }
}

impl fmt::Debug for Checked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Checked({}, {} bytes)", self.kind().name(), self.bytes.len())
    }
}

/// One value inside a checked one, or all of it.
#[derive(Clone, Copy)]
pub struct Part<'a> {
    of: &'a Checked,
    start: usize,
    end: usize,
}

impl<'a> Part<'a> {
    /// What it is.
    pub fn kind(self) -> Kind {
        Kind::of(self.bytes().first().copied().unwrap_or_default())
    }

    /// Its bytes, as they were written.
    pub fn bytes(self) -> &'a [u8] {
        self.of.bytes.get(self.start..self.end).unwrap_or_default()
    }

    /// The part as a value of its own, which shares the memory of the whole.
    pub fn to_checked(self) -> Checked {
        Checked { bytes: self.shared(self.start, self.end) }
    }

    /// What stands between the brackets of an object or array, without blanks at either end, sharing memory.
    pub(super) fn inside(self) -> Bytes {
        let (start, end) = (self.start + 1, self.end.saturating_sub(1));
        let inside = self.of.bytes.get(start..end).unwrap_or_default();
        let leading = inside.len() - inside.trim_ascii_start().len();
        self.shared(start + leading, start + leading + inside.trim_ascii().len())
    }

    /// The value that stands from `start` to `end` of this part's bytes.
    pub(super) fn inner(self, start: usize, end: usize) -> Part<'a> {
        Part { of: self.of, start: self.start + start, end: self.start + end }
    }

    fn shared(self, start: usize, end: usize) -> Bytes {
        let end = end.min(self.of.bytes.len());
        self.of.bytes.slice(start.min(end)..end)
    }
}

impl fmt::Debug for Part<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Part({}, {} bytes)", self.kind().name(), self.end - self.start)
    }
}

/// A text in quotation marks, with the escapes that RFC 8259, section 7, demands.
pub(super) fn quoted(text: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len() + text.len() / 16 + 2);
    out.push(b'"');
    quote_into(text.as_bytes(), &mut out);
    out.push(b'"');
    out
}

fn quote_into(text: &[u8], out: &mut Vec<u8>) {
    let mut at = 0;
    loop {
        let end = run::plain(text, at);
        out.extend_from_slice(text.get(at..end).unwrap_or_default());
        let Some(&byte) = text.get(end) else { return };
        match byte {
            b'"' | b'\\' => out.extend([b'\\', byte]),
            b'\n' => out.extend(b"\\n"),
            b'\r' => out.extend(b"\\r"),
            b'\t' => out.extend(b"\\t"),
            0x08 => out.extend(b"\\b"),
            0x0c => out.extend(b"\\f"),
            _ => {
                const HEX: [u8; 16] = *b"0123456789abcdef";
                out.extend([
                    b'\\',
                    b'u',
                    b'0',
                    b'0',
                    HEX[usize::from(byte >> 4)],
                    HEX[usize::from(byte & 15)],
                ]);
            }
        }
        at = end + 1;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::Reason;
    use super::*;

    const LIMITS: Limits = Limits { depth_max: 4, bytes_max: 4096 };

    #[test]
    fn blanks_around_are_left_out_and_nothing_else() {
        let checked = Checked::new(Bytes::from_static(b" \t{ \"a\" : 1.0 }\r\n"), &LIMITS).unwrap();
        assert_eq!((checked.kind(), &checked.bytes()[..]), (Kind::Object, &b"{ \"a\" : 1.0 }"[..]));
        assert_eq!(&checked.whole().inside()[..], b"\"a\" : 1.0");
        assert_eq!(
            format!("{checked:?} {:?}", checked.whole()),
            "Checked(an object, 13 bytes) Part(an object, 13 bytes)"
        );
        assert!(
            Checked::null().whole().to_checked()
                == Checked::new(Bytes::from_static(b" null"), &LIMITS).unwrap()
        );
    }

    #[test]
    fn parts_share_memory() {
        let text = Bytes::from(b"[ {} ]".to_vec());
        let checked = Checked::new(text.clone(), &LIMITS).unwrap();
        let part = checked.whole().inner(2, 4).to_checked();
        assert_eq!((part.bytes().as_ptr(), part.kind()), (text[2..].as_ptr(), Kind::Object));
        assert!(part.whole().inside().is_empty());
        let copy = part.detached();
        assert_ne!(copy.bytes().as_ptr(), part.bytes().as_ptr());
        assert_eq!(copy, part);
    }

    #[test]
    fn a_text_must_be_utf8() {
        let error = JsonError { at: 1, reason: Reason::NotUtf8 };
        assert_eq!(Checked::of_text(b"a\xff"), Err(error));
        assert_eq!(Checked::of_text(b"a\xe2\x82"), Err(error));
        assert_eq!(&Checked::of_text(b"").unwrap().bytes()[..], b"\"\"");
    }

    proptest! {
        #[test]
        fn a_text_comes_out_as_it_went_in(text in r#"[\x00-\x1fa-f"\\é€𝄞\u2028\x7f]{0,60}"#) {
            let checked = Checked::of_text(text.as_bytes()).unwrap();
            prop_assert_eq!(Checked::new(checked.bytes().clone(), &LIMITS), Ok(checked.clone()));
            prop_assert_eq!(serde_json::from_slice::<String>(checked.bytes()).unwrap(), text);
        }
    }
}
