//! Percent-encoding (RFC 3986) and strings of JSON: how values are written where they go, and how queries are read.

use std::borrow::Cow;

use super::error::FieldFault;
use crate::json::Checked;

/// RFC 3986, section 2.3: what means the same encoded or not.
const fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

/// Whether a character may stand in a literal segment (RFC 3986, section 3.3, `pchar`), `%` aside.
pub(crate) fn is_segment_literal(c: char) -> bool {
    c.is_ascii_alphanumeric() || "-._~!$&'()*+,;=:@".contains(c)
}

/// Appends a value with everything percent-encoded that is not unreserved.
pub(super) fn component(value: &str, out: &mut String) {
    const HEX: [u8; 16] = *b"0123456789ABCDEF";
    out.reserve(value.len());
    for byte in value.bytes() {
        if is_unreserved(byte) {
            out.push(char::from(byte));
        } else {
            let digit = |half: u8| char::from(HEX[usize::from(half)]);
            out.extend(['%', digit(byte >> 4), digit(byte & 15)]);
        }
    }
}

/// A text as a string of JSON.
pub(super) fn json_string(text: &str) -> Checked {
    // What is refused is only what is not UTF-8.
    Checked::of_text(text.as_bytes()).unwrap_or_else(|_| Checked::null())
}

/// Bytes as a text.
pub(super) fn text(bytes: Cow<'_, [u8]>) -> Option<Cow<'_, str>> {
    match bytes {
        Cow::Borrowed(bytes) => std::str::from_utf8(bytes).ok().map(Cow::Borrowed),
        Cow::Owned(bytes) => String::from_utf8(bytes).ok().map(Cow::Owned),
    }
}

/// The first parameter of this name in a query, decoded as forms are (URL standard, section 5.1).
pub(crate) fn parameter<'a>(query: &'a str, name: &str) -> Result<Cow<'a, str>, FieldFault> {
    let (_, value) =
        pairs(query).find(|(known, _)| *decoded(known) == *name.as_bytes()).ok_or(FieldFault::Missing)?;
    text(decoded(value)).ok_or(FieldFault::NoText)
}

/// The parameters of a query that are texts, decoded, in order.
pub(crate) fn parameters(query: &str) -> impl Iterator<Item = (Cow<'_, str>, Cow<'_, str>)> {
    pairs(query).filter_map(|(name, value)| Some((text(decoded(name))?, text(decoded(value))?)))
}

fn pairs(query: &str) -> impl Iterator<Item = (&str, &str)> {
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    pairs.map(|pair| pair.split_once('=').unwrap_or((pair, "")))
}

/// A name or value of a query: `+` is a space; a `%` without two hexadecimal digits behind it stands for itself.
fn decoded(raw: &str) -> Cow<'_, [u8]> {
    if !raw.bytes().any(|byte| byte == b'%' || byte == b'+') {
        return Cow::Borrowed(raw.as_bytes());
    }
    let mut out = Vec::with_capacity(raw.len());
    let mut rest = raw.as_bytes();
    while let [first, after @ ..] = rest {
        let escaped = match after {
            [high, low, ..] if *first == b'%' => digit(*high).zip(digit(*low)),
            _ => None,
        };
        rest = after;
        match (escaped, *first) {
            (Some((high, low)), _) => {
                out.push(high << 4 | low);
                rest = after.get(2..).unwrap_or_default();
            }
            (None, b'+') => out.push(b' '),
            (None, byte) => out.push(byte),
        }
    }
    Cow::Owned(out)
}

fn digit(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}
