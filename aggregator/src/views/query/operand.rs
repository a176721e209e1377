//! What the text of a parameter is compared as. Clients write texts without quotes, and numbers as they are; rows know the
//! difference.
//!
//! | written | equal to | in a range |
//! |---|---|---|
//! | `open` | the text | texts |
//! | `5`, `-1.5e3` | the number, and the text that is spelt like this | numbers |
//! | `true`, `false` | the boolean, and the text | texts |
//! | `null` | a field that is null or not there (or a list or object, which columns do not keep), and the text | texts |
//! | `"5"` | only the text `5`: whatever begins with a quotation mark has to be a JSON string | texts |

use std::cmp::Ordering;

use smallvec::{SmallVec, smallvec};

use crate::views::column::ColumnValue;

/// What one parameter's value may be equal to.
pub(super) type Operands = SmallVec<[ColumnValue; 2]>;

/// It begins with a quotation mark, and is no JSON string.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct NotQuoted;

/// What a field has to equal, any of these.
pub(super) fn equals(text: &str) -> Result<Operands, NotQuoted> {
    if let Some(quoted) = quoted(text) {
        return Ok(smallvec![quoted?]);
    }
    let plain = ColumnValue::Text(text.into());
    Ok(match text {
        "true" | "false" | "null" => smallvec![ColumnValue::of_json(text), plain],
        _ if is_number(text) => smallvec![ColumnValue::of_json(text), plain],
        _ => smallvec![plain],
    })
}

/// What a field has to be below or above.
pub(super) fn bound(text: &str) -> Result<ColumnValue, NotQuoted> {
    match quoted(text) {
        Some(quoted) => quoted,
        None if is_number(text) => Ok(ColumnValue::of_json(text)),
        None => Ok(ColumnValue::Text(text.into())),
    }
}

fn quoted(text: &str) -> Option<Result<ColumnValue, NotQuoted>> {
    text.starts_with('"').then(|| serde_json::from_str(text).map(ColumnValue::Text).map_err(|_| NotQuoted))
}

/// Whether it is a number of JSON, with nothing around it.
fn is_number(text: &str) -> bool {
    let ends = text.starts_with(|first: char| first == '-' || first.is_ascii_digit())
        && text.ends_with(|last: char| last.is_ascii_digit());
    ends && serde_json::from_str::<&serde_json::value::RawValue>(text).is_ok()
}

/// Whether SQLite takes two values for equal.
pub(super) fn same(one: &ColumnValue, other: &ColumnValue) -> bool {
    match (one, other) {
        (ColumnValue::Null, ColumnValue::Null) => true,
        _ => order(one, other) == Some(Ordering::Equal),
    }
}

/// How SQLite orders two values of one kind; integers and doubles are compared exactly.
fn order(one: &ColumnValue, other: &ColumnValue) -> Option<Ordering> {
    use ColumnValue as C;
    match (one, other) {
        (C::Text(one), C::Text(other)) => Some(one.cmp(other)),
        (C::Bool(one), C::Bool(other)) => Some(one.cmp(other)),
        (C::Integer(one), C::Integer(other)) => Some(one.cmp(other)),
        (C::Real(one), C::Real(other)) => one.partial_cmp(other),
        (C::Integer(whole), C::Real(real)) => exact(*whole, *real),
        (C::Real(real), C::Integer(whole)) => exact(*whole, *real).map(Ordering::reverse),
        _ => None,
    }
}

fn exact(whole: i64, real: f64) -> Option<Ordering> {
    // `as` goes to the ends of the range, which i64 does not reach. A fraction counts after the whole part.
    let below = i128::from(whole).cmp(&(real.trunc() as i128));
    Some(below.then(0.0.partial_cmp(&real.fract())?)).filter(|_| !real.is_nan())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_compared_as_the_table_says() {
        let text = |text: &str| ColumnValue::Text(text.into());
        for (written, equal, range) in [
            ("open", vec![text("open")], text("open")),
            ("", vec![text("")], text("")),
            ("5", vec![ColumnValue::Integer(5), text("5")], ColumnValue::Integer(5)),
            ("-1.5e3", vec![ColumnValue::Real(-1500.0), text("-1.5e3")], ColumnValue::Real(-1500.0)),
            ("true", vec![ColumnValue::Bool(true), text("true")], text("true")),
            ("null", vec![ColumnValue::Null, text("null")], text("null")),
            ("\"5\"", vec![text("5")], text("5")),
            (r#""a\"""#, vec![text("a\"")], text("a\"")),
            ("05", vec![text("05")], text("05")),
            ("5 ", vec![text("5 ")], text("5 ")),
            ("-", vec![text("-")], text("-")),
            ("2026-01-02", vec![text("2026-01-02")], text("2026-01-02")),
            ("a\"", vec![text("a\"")], text("a\"")),
        ] {
            assert_eq!(equals(written).unwrap().to_vec(), equal, "{written}");
            assert_eq!(bound(written).unwrap(), range, "{written}");
        }
        for odd in ["\"", "\"a", "\"a\"b"] {
            assert_eq!((equals(odd), bound(odd)), (Err(NotQuoted), Err(NotQuoted)), "{odd}");
        }
    }

    proptest::proptest! {
        #[test]
        fn equality_is_that_of_sqlite(whole in proptest::num::i64::ANY, near in -2i64..3, real in proptest::num::f64::ANY) {
            let store = rusqlite::Connection::open_in_memory().unwrap();
            let whole = ColumnValue::Integer(whole);
            let ColumnValue::Integer(number) = whole else { unreachable!() };
            for real in [real, number as f64, (number / 2) as f64 + near as f64, number as f64 + 0.5] {
                if real.is_nan() { continue; }
                let real = ColumnValue::Real(real);
                let found: bool = store.query_row("SELECT ?1 = ?2", (&whole, &real), |row| row.get(0)).unwrap();
                proptest::prop_assert_eq!(same(&whole, &real), found, "{:?} {:?}", whole, real);
                proptest::prop_assert_eq!(same(&real, &whole), found, "{:?} {:?}", whole, real);
            }
        }
    }
}
