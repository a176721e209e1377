//! Numbers and texts of JSON, compared and added as they stand: exactly, however many digits they have.

use std::borrow::Cow;
use std::cmp::Ordering;

use super::poison::{Poison, PoisonReason};

/// How two JSON values stand to each other: numbers by value, texts byte by byte. `None` for anything else.
pub(super) fn compare(one: &str, other: &str) -> Option<Ordering> {
    match (one.as_bytes().first()?, other.as_bytes().first()?) {
        (b'"', b'"') => Some(unquoted(one)?.cmp(&unquoted(other)?)),
        (b'-' | b'0'..=b'9', b'-' | b'0'..=b'9') => Some(compare_numbers(one, other)),
        _ => None,
    }
}

/// The text of a JSON string.
pub(super) fn unquoted(json: &str) -> Option<Cow<'_, str>> {
    let inner = json.strip_prefix('"')?.strip_suffix('"')?;
    if inner.contains('\\') {
        return serde_json::from_str(json).ok().map(Cow::Owned);
    }
    Some(Cow::Borrowed(inner))
}

fn compare_numbers(one: &str, other: &str) -> Ordering {
    if let (Ok(one), Ok(other)) = (one.parse::<i64>(), other.parse::<i64>()) {
        return one.cmp(&other);
    }
    let (one, other) = (Decimal::of(one), Decimal::of(other));
    one.sign().cmp(&other.sign()).then_with(|| {
        let size = one.compare_size(&other);
        if one.negative { size.reverse() } else { size }
    })
}

/// A number: 0.d₁d₂d₃… × 10^magnitude, with d₁ ≠ 0, or no digits for zero.
struct Decimal {
    negative: bool,
    magnitude: i64,
    digits: Vec<u8>,
}

impl Decimal {
    fn of(number: &str) -> Decimal {
        let (negative, number) = number.strip_prefix('-').map_or((false, number), |number| (true, number));
        let (mantissa, exponent) = number.split_once(['e', 'E']).unwrap_or((number, "0"));
        // An exponent beyond 64 bits is as good as endless: no text has so many digits to make up for it.
        let endless = if exponent.starts_with('-') { i64::MIN / 2 } else { i64::MAX / 2 };
        let exponent = exponent.parse().unwrap_or(endless).clamp(i64::MIN / 2, i64::MAX / 2);
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let all = whole.bytes().chain(fraction.bytes());
        let zeros = all.clone().take_while(|digit| *digit == b'0').count();
        let mut digits: Vec<u8> = all.skip(zeros).collect();
        digits.truncate(digits.iter().rposition(|digit| *digit != b'0').map_or(0, |last| last + 1));
        let length = |count: usize| i64::try_from(count).unwrap_or(i64::MAX / 4);
        Decimal { negative, magnitude: exponent + length(whole.len()) - length(zeros), digits }
    }

    fn sign(&self) -> i8 {
        match (self.digits.is_empty(), self.negative) {
            (true, _) => 0,
            (false, true) => -1,
            (false, false) => 1,
        }
    }

    fn compare_size(&self, other: &Decimal) -> Ordering {
        match (self.digits.is_empty(), other.digits.is_empty()) {
            (true, true) => Ordering::Equal,
            _ => self.magnitude.cmp(&other.magnitude).then_with(|| self.digits.cmp(&other.digits)),
        }
    }
}

/// Adds two numbers of JSON. Whole numbers are added exactly; as soon as one has a point or an exponent, as doubles.
pub(super) fn add(one: &str, other: &str) -> Result<String, Poison> {
    let out_of_range =
        || Poison::new(PoisonReason::Overflow, "a sum is beyond 64 bits, or beyond what doubles hold");
    let whole = |number: &str| !number.contains(['.', 'e', 'E']);
    if whole(one) && whole(other) {
        let (one, other): (Result<i64, _>, Result<i64, _>) = (one.parse(), other.parse());
        let sum = one.ok().zip(other.ok()).and_then(|(one, other)| one.checked_add(other));
        return sum.map(|sum| sum.to_string()).ok_or_else(out_of_range);
    }
    let sum = one.parse::<f64>().unwrap_or(f64::NAN) + other.parse::<f64>().unwrap_or(f64::NAN);
    // The shortest text that is this double: the same on every machine.
    let text = serde_json::Number::from_f64(sum).map(|sum| sum.to_string());
    text.ok_or_else(out_of_range)
}

/// Whether a JSON value is a number.
pub(super) fn is_number(json: &str) -> bool {
    matches!(json.as_bytes().first(), Some(b'-' | b'0'..=b'9'))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn numbers_are_compared_by_value_and_texts_by_bytes() {
        let (long, longer) = ("9".repeat(400), format!("{}8", "9".repeat(400)));
        for (one, other, expected) in [
            ("1", "2", Some(Ordering::Less)),
            ("-1", "-2", Some(Ordering::Greater)),
            ("1", "1.0", Some(Ordering::Equal)),
            ("10", "1e1", Some(Ordering::Equal)),
            ("0.1e2", "10.00", Some(Ordering::Equal)),
            ("-0", "0.0", Some(Ordering::Equal)),
            ("-0.5", "0", Some(Ordering::Less)),
            ("0", "1e-99999999999999999999", Some(Ordering::Less)),
            ("1e99999999999999999999", &long, Some(Ordering::Greater)),
            ("9007199254740993", "9007199254740992.0", Some(Ordering::Greater)),
            (&long, &longer, Some(Ordering::Less)),
            ("\"2026-01-01\"", "\"2026-01-02\"", Some(Ordering::Less)),
            ("\"\\u0041\"", "\"A\"", Some(Ordering::Equal)),
            ("\"Z\"", "\"a\"", Some(Ordering::Less)),
            ("\"1\"", "1", None),
            ("null", "null", None),
            ("true", "false", None),
            ("[1]", "[1]", None),
        ] {
            assert_eq!(compare(one, other), expected, "{one} {other}");
            assert_eq!(compare(other, one), expected.map(Ordering::reverse), "{other} {one}");
        }
    }

    #[test]
    fn whole_numbers_are_added_exactly() {
        assert_eq!(add("9007199254740993", "1").unwrap(), "9007199254740994");
        assert_eq!(add("9223372036854775807", "-1").unwrap(), "9223372036854775806");
        assert_eq!(add("0.1", "0.2").unwrap(), "0.30000000000000004");
        assert_eq!(add("1", "1.0").unwrap(), "2.0");
        assert_eq!(add("-0", "5").unwrap(), "5");
        let digits = "9".repeat(400);
        for (one, other) in
            [("9223372036854775807", "1"), (&*digits, "1"), ("1e308", "1e308"), ("1e999", "1")]
        {
            assert_eq!(add(one, other).unwrap_err().reason, PoisonReason::Overflow, "{one} {other}");
        }
    }

    proptest! {
        #[test]
        fn agrees_with_machine_numbers(one in any::<i64>(), other in any::<i64>(), scale in 0i32..6) {
            let scaled = |number: i64| format!("{number}e-{scale}");
            prop_assert_eq!(compare(&scaled(one), &scaled(other)), Some(one.cmp(&other)));
            prop_assert_eq!(compare(&format!("{one}.0"), &other.to_string()), Some(one.cmp(&other)));
        }
    }
}
