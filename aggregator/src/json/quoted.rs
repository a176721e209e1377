//! Strings as they were written: names of members, above all. Compared by what they mean, copied as they are.

use std::borrow::Cow;
use std::fmt;

use memchr::memchr;

/// A string as it was written, the name of a member for example. It prints as its length, never as its content.
#[derive(Clone, Copy)]
pub struct Quoted<'a> {
    /// With its quotation marks.
    written: &'a [u8],
}

impl<'a> Quoted<'a> {
    pub(super) fn new(written: &'a [u8]) -> Self {
        Quoted { written }
    }

    /// It with its quotation marks and escapes.
    pub fn written(self) -> &'a [u8] {
        self.written
    }

    /// It with its escapes, without quotation marks.
    pub fn raw(self) -> &'a [u8] {
        self.written.get(1..self.written.len().saturating_sub(1)).unwrap_or_default()
    }

    /// Whether it means this text: `"\u0061"` is `a`. A lone surrogate is no character, so nothing equals it.
    pub fn is(self, name: &str) -> bool {
        let raw = self.raw();
        // Every escape is longer than what it means.
        raw.len() >= name.len() && *self.meaning() == *name.as_bytes()
    }

    /// What it means, in UTF-8; a lone surrogate as the three bytes that it would have there if it were a character,
    /// so that two strings mean the same exactly if these bytes are the same.
    pub fn meaning(self) -> Cow<'a, [u8]> {
        let raw = self.raw();
        match memchr(b'\\', raw) {
            None => Cow::Borrowed(raw),
            Some(first) => Cow::Owned(unescaped(raw, first)),
        }
    }
}

impl fmt::Debug for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Quoted({} bytes)", self.written.len())
    }
}

fn unescaped(raw: &[u8], first: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(raw.len());
    let (plain, mut rest) = raw.split_at(first);
    out.extend_from_slice(plain);
    while let [b'\\', escape, after @ ..] = rest {
        rest = after;
        match escape {
            b'b' => out.push(0x08),
            b'f' => out.push(0x0c),
            b'n' => out.push(b'\n'),
            b'r' => out.push(b'\r'),
            b't' => out.push(b'\t'),
            b'u' => {
                let unit = unit(rest).unwrap_or_default();
                rest = rest.get(4..).unwrap_or_default();
                let low = match unit {
                    0xd800..0xdc00 => low_surrogate(rest),
                    _ => None,
                };
                match low {
                    Some(low) => {
                        rest = rest.get(6..).unwrap_or_default();
                        push_point(0x1_0000 + ((unit - 0xd800) << 10) + (low - 0xdc00), &mut out);
                    }
                    None => push_point(unit, &mut out),
                }
            }
            itself => out.push(*itself),
        }
        let plain = memchr(b'\\', rest).unwrap_or(rest.len());
        let (plain, escaped) = rest.split_at(plain);
        out.extend_from_slice(plain);
        rest = escaped;
    }
    out
}

/// The second half of a pair, if that is what comes next.
fn low_surrogate(rest: &[u8]) -> Option<u32> {
    unit(rest.strip_prefix(b"\\u")?).filter(|unit| (0xdc00..0xe000).contains(unit))
}

/// Four hexadecimal digits.
fn unit(digits: &[u8]) -> Option<u32> {
    let digits = digits.first_chunk::<4>()?;
    digits.iter().try_fold(0, |unit, digit| Some(unit << 4 | char::from(*digit).to_digit(16)?))
}

fn push_point(point: u32, out: &mut Vec<u8>) {
    match char::from_u32(point) {
        Some(character) => out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes()),
        // A lone surrogate: three bytes in the pattern of UTF-8.
        None => out.extend([0xed, 0x80 | (point >> 6 & 0x3f) as u8, 0x80 | (point & 0x3f) as u8]),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::checked::quoted;
    use super::*;

    fn key(quoted: &str) -> Quoted<'_> {
        Quoted::new(quoted.as_bytes())
    }

    #[test]
    fn names_are_compared_by_what_they_mean() {
        for (written, name) in [
            (r#""a""#, "a"),
            (r#""\u0061""#, "a"),
            (r#""""#, ""),
            (r#""\u00e9t\u00E9""#, "été"),
            (r#""\"\\\/\b\f\n\r\t""#, "\"\\/\u{8}\u{c}\n\r\t"),
            (r#""x\ud834\udd1ey""#, "x𝄞y"),
            (r#""\u0000""#, "\0"),
        ] {
            assert!(key(written).is(name), "{written}");
            assert_eq!(&*key(written).meaning(), name.as_bytes());
            assert!(!key(written).is("b") && !key(written).is(&format!("{name}x")), "{written}");
        }
        assert_eq!((key("\"a\"").raw(), key("\"a\"").written()), (&b"a"[..], &b"\"a\""[..]));
        assert_eq!(format!("{:?}", key("\"secret\"")), "Quoted(8 bytes)");
    }

    /// RFC 8259, section 8.2: such names are JSON, and what they mean is not agreed on.
    #[test]
    fn lone_surrogates_equal_themselves_only() {
        let high = key(r#""\ud834""#).meaning();
        assert_eq!(high, key(r#""\uD834""#).meaning());
        for other in [
            r#""\udd1e""#,
            r#""\ud835""#,
            r#""\ud834\ud834""#,
            r#""\ud834\udd1e""#,
            r#""\ud834x""#,
            r#""\ufffd""#,
        ] {
            assert_ne!(high, key(other).meaning(), "{other}");
        }
        assert!(!key(r#""\ud834""#).is("\u{fffd}") && !key(r#""\ud834""#).is("?"));
        assert_eq!(key(r#""\ud834\u0061""#).meaning(), [&high[..], b"a"].concat());
    }

    proptest! {
        #[test]
        fn a_name_means_what_serde_json_reads(name in r#"[ab"\\/\x00-\x20é€𝄞]{0,12}"#, escaped in any::<u16>()) {
            let mut units = [0; 2];
            let each = name.chars().enumerate().map(|(at, character)| match escaped >> (at % 16) & 1 {
                0 => {
                    let one = String::from_utf8(quoted(&character.to_string())).unwrap();
                    one[1..one.len() - 1].to_owned()
                }
                _ => character.encode_utf16(&mut units).iter().map(|unit| format!("\\u{unit:04x}")).collect(),
            });
            let written = format!("\"{}\"", each.collect::<String>());
            prop_assert_eq!(serde_json::from_str::<String>(&written).unwrap(), name.clone());
            prop_assert!(key(&written).is(&name));
        }
    }
}
