//! Is this one JSON text? Strict by RFC 8259, without recursion and without building anything.
//!
//! What is found inside is not kept: who wants a part of a checked text walks it (`walk.rs`).

use std::ops::Range;

use super::error::{JsonError, Reason};
use super::run;

/// The most levels that [`Limits::depth_max`] can allow. It bounds what walking and composing keep on their stacks.
pub const DEPTH_CEILING: u16 = 1024;

/// How much is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Limits {
    /// Levels of arrays and objects; `[[]]` has two. More than [`DEPTH_CEILING`] counts as that.
    pub depth_max: u16,
    /// Bytes of the text, with blanks around it.
    pub bytes_max: usize,
}

/// What a JSON value is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// `{…}`
    Object,
    /// `[…]`
    Array,
    /// `"…"`
    String,
    /// A number of any size and precision.
    Number,
    /// `true` or `false`
    Bool,
    /// `null`
    Null,
}

impl Kind {
    /// What a value is that begins with this byte.
    pub(super) fn of(first: u8) -> Kind {
        match first {
            b'{' => Kind::Object,
            b'[' => Kind::Array,
            b'"' => Kind::String,
            b't' | b'f' => Kind::Bool,
            b'n' => Kind::Null,
            _ => Kind::Number,
        }
    }

    /// The kind with its article, for messages: `an object`.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Object => "an object",
            Kind::Array => "an array",
            Kind::String => "a string",
            Kind::Number => "a number",
            Kind::Bool => "a boolean",
            Kind::Null => "null",
        }
    }
}

/// Checks that a text is one JSON value with nothing but blanks around it, and says what it is and where it stands.
///
/// All of RFC 8259 and no more: no byte order mark, comment, trailing comma or `NaN`. Numbers may be of any length and
/// size, names may come twice, and an escaped surrogate may stand alone, as section 8.2 has it: what the bytes mean is for
/// whoever reads them.
///
/// # Errors
///
/// The first fault and its place; faults of UTF-8 come before all others.
pub fn scan(text: &[u8], limits: &Limits) -> Result<(Kind, Range<usize>), JsonError> {
    if text.len() > limits.bytes_max {
        return Err(JsonError { at: limits.bytes_max, reason: Reason::TooLong });
    }
    if simdutf8::basic::from_utf8(text).is_err() {
        return Err(utf8_fault(text));
    }
    let start = run::blanks(text, 0);
    let Some(&first) = text.get(start) else {
        return Err(JsonError { at: start, reason: Reason::Empty });
    };
    let end = Scanner { text, levels: Levels::new(limits.depth_max) }.value(start)?;
    let rest = run::blanks(text, end);
    if rest < text.len() {
        return Err(JsonError { at: rest, reason: Reason::Trailing });
    }
    Ok((Kind::of(first), start..end))
}

#[cold]
fn utf8_fault(text: &[u8]) -> JsonError {
    match std::str::from_utf8(text) {
        Err(error) if error.error_len().is_none() => JsonError { at: text.len(), reason: Reason::EndsEarly },
        Err(error) => JsonError { at: error.valid_up_to(), reason: Reason::NotUtf8 },
        Ok(_) => JsonError { at: 0, reason: Reason::NotUtf8 },
    }
}

/// Which of the open levels are objects: one bit each, so that it needs no memory of its own.
struct Levels {
    objects: [u64; DEPTH_CEILING as usize / 64],
    depth: usize,
    depth_max: usize,
}

impl Levels {
    fn new(depth_max: u16) -> Self {
        let depth_max = usize::from(depth_max.min(DEPTH_CEILING));
        Levels { objects: [0; DEPTH_CEILING as usize / 64], depth: 0, depth_max }
    }

    /// Opens a level, if there may be one more.
    #[inline(always)]
    fn open(&mut self, object: bool) -> bool {
        if self.depth >= self.depth_max {
            return false;
        }
        let word = &mut self.objects[self.depth / 64];
        let bit = 1 << (self.depth % 64);
        *word = if object { *word | bit } else { *word & !bit };
        self.depth += 1;
        true
    }

    /// Closes the innermost level and says whether the one around it is an object, or `None` if there is none.
    #[inline(always)]
    fn close(&mut self) -> Option<bool> {
        self.depth -= 1;
        let around = self.depth.checked_sub(1)?;
        Some(self.objects[around / 64] & (1 << (around % 64)) != 0)
    }
}

/// Its parts are put into one loop by force: a call for each name and number would cost a third of the whole.
struct Scanner<'a> {
    text: &'a [u8],
    levels: Levels,
}

impl Scanner<'_> {
    /// Reads one value with all that is in it; returns where it ends.
    fn value(&mut self, start: usize) -> Result<usize, JsonError> {
        let text = self.text;
        let mut at = start;
        // Whether the innermost open level is an object; `None` at the root.
        let mut inside: Option<bool> = None;
        loop {
            // A value begins here.
            match text.get(at) {
                Some(b'"') => at = self.string(at + 1)?,
                Some(b'{') => {
                    self.open(at, true)?;
                    at = run::blanks(text, at + 1);
                    if text.get(at) != Some(&b'}') {
                        at = self.name(at)?;
                        inside = Some(true);
                        continue;
                    }
                    at += 1;
                    inside = self.levels.close();
                }
                Some(b'[') => {
                    self.open(at, false)?;
                    at = run::blanks(text, at + 1);
                    if text.get(at) != Some(&b']') {
                        inside = Some(false);
                        continue;
                    }
                    at += 1;
                    inside = self.levels.close();
                }
                Some(b'-' | b'0'..=b'9') => at = self.number(at)?,
                Some(b't') => at = self.word(at, b"true")?,
                Some(b'f') => at = self.word(at, b"false")?,
                Some(b'n') => at = self.word(at, b"null")?,
                _ => return Err(self.no_value(at)),
            }
            // A value has ended here: close what ends with it, up to the next comma.
            loop {
                let Some(object) = inside else { return Ok(at) };
                at = run::blanks(text, at);
                match text.get(at) {
                    Some(b',') => {
                        at = run::blanks(text, at + 1);
                        if object {
                            at = self.name(at)?;
                        }
                        break;
                    }
                    Some(b'}') if object => at += 1,
                    Some(b']') if !object => at += 1,
                    _ => return Err(self.fault(at, Reason::CommaOrEnd)),
                }
                inside = self.levels.close();
            }
        }
    }

    #[inline(always)]
    fn open(&mut self, at: usize, object: bool) -> Result<(), JsonError> {
        if self.levels.open(object) { Ok(()) } else { Err(JsonError { at, reason: Reason::TooDeep }) }
    }

    /// Reads a name and its colon; returns where the value begins.
    #[inline(always)]
    fn name(&self, at: usize) -> Result<usize, JsonError> {
        if self.text.get(at) != Some(&b'"') {
            return Err(self.fault(at, Reason::Name));
        }
        let at = run::blanks(self.text, self.string(at + 1)?);
        if self.text.get(at) != Some(&b':') {
            return Err(self.fault(at, Reason::Colon));
        }
        Ok(run::blanks(self.text, at + 1))
    }

    /// Reads a string from behind its first quotation mark; returns where it ends.
    #[inline(always)]
    fn string(&self, at: usize) -> Result<usize, JsonError> {
        let at = run::plain(self.text, at);
        if self.text.get(at) == Some(&b'"') { Ok(at + 1) } else { self.string_with_escapes(at) }
    }

    #[inline(never)]
    fn string_with_escapes(&self, mut at: usize) -> Result<usize, JsonError> {
        loop {
            at = match (self.text.get(at), self.text.get(at + 1)) {
                (Some(b'"'), _) => return Ok(at + 1),
                (Some(b'\\'), Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't')) => at + 2,
                (Some(b'\\'), Some(b'u')) => {
                    let digits = self.text.get(at + 2..).unwrap_or_default();
                    let valid = digits.iter().take(4).take_while(|digit| digit.is_ascii_hexdigit()).count();
                    if valid < 4 {
                        return Err(self.fault(at + 2 + valid, Reason::Escape));
                    }
                    at + 6
                }
                (Some(b'\\'), _) => return Err(self.fault(at + 1, Reason::Escape)),
                _ => return Err(self.fault(at, Reason::Control)),
            };
            at = run::plain(self.text, at);
        }
    }

    /// Reads a number: `[ minus ] int [ frac ] [ exp ]`.
    #[inline(always)]
    fn number(&self, start: usize) -> Result<usize, JsonError> {
        let text = self.text;
        let mut at = start + usize::from(text.get(start) == Some(&b'-'));
        if text.get(at) == Some(&b'0') {
            at += 1;
            if text.get(at).is_some_and(u8::is_ascii_digit) {
                return Err(self.fault(at, Reason::Number));
            }
        } else {
            at = self.digits(at)?;
        }
        if text.get(at) == Some(&b'.') {
            at = self.digits(at + 1)?;
        }
        if let Some(b'e' | b'E') = text.get(at) {
            at += 1;
            if let Some(b'+' | b'-') = text.get(at) {
                at += 1;
            }
            at = self.digits(at)?;
        }
        Ok(at)
    }

    /// Reads one digit or more.
    #[inline(always)]
    fn digits(&self, start: usize) -> Result<usize, JsonError> {
        let at = run::digits(self.text, start);
        if at == start { Err(self.fault(at, Reason::Number)) } else { Ok(at) }
    }

    #[inline(always)]
    fn word(&self, at: usize, word: &'static [u8]) -> Result<usize, JsonError> {
        let rest = self.text.get(at..).unwrap_or_default();
        if rest.starts_with(word) {
            return Ok(at + word.len());
        }
        let same = rest.iter().zip(word).take_while(|(found, wanted)| found == wanted).count();
        Err(self.fault(at + same, Reason::Value))
    }

    #[cold]
    fn no_value(&self, at: usize) -> JsonError {
        let mark = at == 0 && self.text.starts_with("\u{feff}".as_bytes());
        self.fault(at, if mark { Reason::ByteOrderMark } else { Reason::Value })
    }

    /// The fault at a place; if the text ends there, that is the fault.
    #[cold]
    fn fault(&self, at: usize, reason: Reason) -> JsonError {
        JsonError { at, reason: if at >= self.text.len() { Reason::EndsEarly } else { reason } }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde::de::IgnoredAny;

    use super::super::generate::{LIMITS, document};
    use super::*;

    fn read(text: &[u8]) -> Result<(Kind, Range<usize>), JsonError> {
        scan(text, &LIMITS)
    }

    /// serde_json takes as `IgnoredAny` what the grammar of RFC 8259 allows, whatever numbers and surrogates mean and
    /// however deep; it does not look at UTF-8 then.
    fn is_json(text: &[u8]) -> bool {
        std::str::from_utf8(text).is_ok() && serde_json::from_slice::<IgnoredAny>(text).is_ok()
    }

    /// RFC 8259, sections 2 to 7; most of these are cases of the JSONTestSuite (`y_…`).
    #[test]
    fn json_is_taken() {
        for (text, kind) in [
            ("{}", Kind::Object),
            (" [ ] ", Kind::Array),
            ("\t\r\n 1", Kind::Number),
            ("-0", Kind::Number),
            ("-0.0e-0", Kind::Number),
            ("1E+400", Kind::Number),
            ("123.456e78", Kind::Number),
            ("true", Kind::Bool),
            ("false ", Kind::Bool),
            ("null", Kind::Null),
            (r#""""#, Kind::String),
            (r#""\"\\\/\b\f\n\r\t\u00e9\uD834\uDd1e""#, Kind::String),
            (r#""\ud800""#, Kind::String),
            (r#""\udd1e\ud834x""#, Kind::String),
            ("\"\u{7f}\u{2028}\u{feff}\u{10ffff}\"", Kind::String),
            (r#"{"a":1,"a":2,"":[{},[],"",null]}"#, Kind::Object),
            (r#"[[[[]]],{"a":{"b":[1 , 2]}}]"#, Kind::Array),
        ] {
            let start = text.len() - text.trim_start().len();
            assert_eq!(read(text.as_bytes()), Ok((kind, start..text.trim_end().len())), "{text}");
            assert!(is_json(text.as_bytes()), "{text}");
        }
    }

    /// Most of these are cases of the JSONTestSuite (`n_…`).
    #[test]
    fn what_is_not_json_is_refused_at_its_place() {
        use Reason::*;
        let cases: [(&[u8], usize, Reason); 52] = [
            (b"", 0, Empty),
            (b" \n", 2, Empty),
            (b"\xef\xbb\xbf{}", 0, ByteOrderMark),
            (b"[\xef\xbb\xbf]", 1, Value),
            (b"{} {}", 3, Trailing),
            (b"1 2", 2, Trailing),
            (b"[]]", 2, Trailing),
            (b"nullx", 4, Trailing),
            (b"1\0", 1, Trailing),
            (b"\x0c1", 0, Value),
            (b"\xc2\xa01", 0, Value),
            (b"[1,]", 3, Value),
            (b"[,1]", 1, Value),
            (b"[1 2]", 3, CommaOrEnd),
            (b"[1}", 2, CommaOrEnd),
            (b"{\"a\":1]", 6, CommaOrEnd),
            (b"{\"a\":1,}", 7, Name),
            (b"{,}", 1, Name),
            (b"{a:1}", 1, Name),
            (b"{'a':1}", 1, Name),
            (b"{1:1}", 1, Name),
            (b"{\"a\" 1}", 5, Colon),
            (b"{\"a\":}", 5, Value),
            (b"{\"a\"::1}", 5, Value),
            (b"[1", 2, EndsEarly),
            (b"[", 1, EndsEarly),
            (b"[1,", 3, EndsEarly),
            (b"{\"a", 3, EndsEarly),
            (b"{\"a\":", 5, EndsEarly),
            (b"\"", 1, EndsEarly),
            (b"\"\\", 2, EndsEarly),
            (b"\"\\u12", 5, EndsEarly),
            (b"tru", 3, EndsEarly),
            (b"-", 1, EndsEarly),
            (b"1.", 2, EndsEarly),
            (b"1e+", 3, EndsEarly),
            (b"\"\xe2\x82", 3, EndsEarly),
            (b"True", 0, Value),
            (b"trux", 3, Value),
            (b"NaN", 0, Value),
            (b"+1", 0, Value),
            (b".5", 0, Value),
            (b"// 1", 0, Value),
            (b"01", 1, Number),
            (b"-x", 1, Number),
            (b"[1.e1]", 3, Number),
            (b"1ee1", 2, Number),
            (b"\"a\nb\"", 2, Control),
            (b"\"\\u00e\"", 6, Escape),
            (b"\"\\x\"", 2, Escape),
            (b"\"\xff\"", 1, NotUtf8),
            // A surrogate in UTF-8: RFC 3629, section 3.
            (b"\"\xed\xa0\x80\"", 1, NotUtf8),
        ];
        for (text, at, reason) in cases {
            assert_eq!(read(text), Err(JsonError { at, reason }), "{:?}", text.escape_ascii().to_string());
            assert!(!is_json(text), "{:?}", text.escape_ascii().to_string());
        }
    }

    #[test]
    fn refusals_show_nothing_of_the_text() {
        let error = read(br#"{"secret": secret}"#).unwrap_err();
        assert_eq!(error.to_string(), "not JSON: no value begins so, at byte 11");
    }

    #[test]
    fn limits_hold_exactly() {
        let limits = Limits { depth_max: 2, bytes_max: 8 };
        assert!(scan(br#"[{"a":1}"#, &Limits { depth_max: 2, bytes_max: 7 }).is_err());
        assert!(scan(br#"[{},[] ]"#, &limits).is_ok());
        assert_eq!(scan(b"[{}, [] ]", &limits), Err(JsonError { at: 8, reason: Reason::TooLong }));
        assert_eq!(scan(b"[[],[[]]", &limits), Err(JsonError { at: 5, reason: Reason::TooDeep }));
        let none = Limits { depth_max: 0, bytes_max: 8 };
        assert!(scan(b"1", &none).is_ok());
        assert_eq!(scan(b"[]", &none), Err(JsonError { at: 0, reason: Reason::TooDeep }));
    }

    /// Deep nesting overflowed the stack of many a parser: CVE-2020-36518 (jackson-databind), CVE-2024-8176 (expat).
    #[test]
    fn nesting_is_bounded_by_the_limit_alone() {
        let most = usize::from(DEPTH_CEILING);
        let limits = Limits { depth_max: u16::MAX, bytes_max: usize::MAX };
        let nested = |depth: usize| {
            let open: String =
                (0..depth).map(|level| if level % 3 == 0 { r#"{"a":"# } else { "[" }).collect();
            let close: String =
                (0..depth).rev().map(|level| if level % 3 == 0 { '}' } else { ']' }).collect();
            open + "7" + &close
        };
        assert!(scan(nested(most).as_bytes(), &limits).is_ok());
        assert_eq!(scan(nested(most + 1).as_bytes(), &limits).unwrap_err().reason, Reason::TooDeep);
        assert_eq!(scan("[".repeat(1 << 20).as_bytes(), &limits).unwrap_err().at, most);
    }

    proptest! {
        #[test]
        fn every_json_text_is_taken_and_every_truncation_refused(text in document()) {
            let (_, span) = read(text.as_bytes()).unwrap();
            prop_assert!(is_json(text.as_bytes()));
            prop_assert_eq!(&text[span.clone()], text.trim_matches([' ', '\t', '\r', '\n']));
            for end in 0..span.end {
                let part = &text.as_bytes()[..end];
                match read(part) {
                    Err(error) => prop_assert!(matches!(error.reason, Reason::EndsEarly | Reason::Empty), "{error}"),
                    // The beginning of a number may be one.
                    Ok((kind, _)) => prop_assert!(kind == Kind::Number && is_json(part)),
                }
            }
        }

        #[test]
        fn one_byte_changed_is_judged_like_by_serde_json(
            text in document(),
            at in any::<prop::sample::Index>(),
            byte in prop_oneof![any::<u8>(), prop::sample::select(&br#"[]{},:"\ 0-.eu"#[..])],
            how in 0..3,
        ) {
            let mut text = text.into_bytes();
            let at = at.index(text.len());
            match how {
                0 => text[at] = byte,
                1 => text.insert(at, byte),
                _ => drop(text.remove(at)),
            }
            prop_assert_eq!(read(&text).is_ok(), is_json(&text));
        }

        #[test]
        fn any_bytes_are_judged_like_by_serde_json(text in prop::collection::vec(any::<u8>(), 0..64)) {
            prop_assert_eq!(read(&text).is_ok(), is_json(&text));
        }

        #[test]
        fn texts_like_json_are_judged_like_by_serde_json(text in r#"[\[\]{}:,"a1e.\-\\u\x00-\x20]{0,24}"#) {
            prop_assert_eq!(read(text.as_bytes()).is_ok(), is_json(text.as_bytes()));
        }
    }
}
