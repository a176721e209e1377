//! JSON texts for tests: made of text, not of values, so that they hold what no writer of JSON would write.

use bytes::Bytes;
use proptest::prelude::*;

use super::{Checked, Limits};

/// What the texts of [`document`] stay within.
pub(super) const LIMITS: Limits = Limits { depth_max: 32, bytes_max: 1 << 20 };

/// A text that is known to be JSON.
pub(super) fn checked(text: &str) -> Checked {
    Checked::new(Bytes::copy_from_slice(text.as_bytes()), &LIMITS).unwrap()
}

/// Any JSON text: odd blanks, escapes, names that come twice, numbers of 400 digits, lone surrogates.
pub(super) fn document() -> impl Strategy<Value = String> {
    let value = scalar().prop_recursive(5, 48, 6, |inner| {
        let element = (blanks(), inner.clone(), blanks())
            .prop_map(|(before, value, after)| before + &value + &after)
            .boxed();
        let member = (blanks(), name(), blanks(), element.clone())
            .prop_map(|(before, name, after, value)| format!("{before}{name}{after}:{value}"));
        prop_oneof![
            (blanks(), prop::collection::vec(element, 0..5))
                .prop_map(|(blanks, all)| bracketed('[', all, ']', blanks)),
            (blanks(), prop::collection::vec(member, 0..6))
                .prop_map(|(blanks, all)| bracketed('{', all, '}', blanks)),
        ]
    });
    (blanks(), value, blanks()).prop_map(|(before, value, after)| before + &value + &after)
}

fn bracketed(open: char, all: Vec<String>, close: char, blanks: String) -> String {
    if all.is_empty() { format!("{open}{blanks}{close}") } else { format!("{open}{}{close}", all.join(",")) }
}

fn blanks() -> impl Strategy<Value = String> {
    prop_oneof![6 => Just(String::new()), 2 => "[ \t\r\n]{1,3}", 1 => " {7,20}"]
}

fn scalar() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("null".to_owned()),
        "true|false",
        "-?(0|[1-9][0-9]{0,20})(\\.[0-9]{1,20})?([eE][+-]?[0-9]{1,4})?",
        "-?[1-9][0-9]{399}",
        "0\\.[0-9]{400}",
        string(),
    ]
}

/// Names are few, so that they come twice and paths meet them.
fn name() -> impl Strategy<Value = String> {
    prop_oneof![8 => "\"(a|b|c|\\\\u0061|\\\\u006[23])\"", 1 => string()]
}

fn string() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        4 => "[ !#-\\[\\]-~]{1,12}",
        1 => "[a-z ]{30,80}",
        2 => "[é€𝄞\u{7f}\u{2028}\u{feff}]{1,3}",
        2 => "\\\\[\"\\\\/bfnrt]",
        2 => "\\\\u[0-9a-fA-F]{4}",
        1 => "\\\\u[dD][89abAB][0-9a-f]{2}",
        1 => "\\\\ud8[0-9a-f]{2}\\\\udc[0-9A-F]{2}",
    ];
    prop::collection::vec(piece, 0..5).prop_map(|pieces| format!("\"{}\"", pieces.concat()))
}

/// The text without blanks between values.
pub(super) fn without_blanks(json: &str) -> String {
    let mut quoted = false;
    let mut escaped = false;
    let kept = json.chars().filter(|character| {
        quoted ^= *character == '"' && !escaped;
        escaped = *character == '\\' && !escaped;
        quoted || !" \t\r\n".contains(*character)
    });
    kept.collect()
}
