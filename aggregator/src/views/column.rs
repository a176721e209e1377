//! A value of a row as a column of the store: how JSON becomes what SQLite filters and orders by. The fold writes columns
//! with it and queries compare with it, so that both mean the same.

use rusqlite::ToSql;
use rusqlite::types::{ToSqlOutput, Value as SqlValue, ValueRef};

/// A value as the store compares it. Texts and numbers keep their order; `true` is never equal to `1`.
#[derive(Debug, Clone, PartialEq, PartialOrd)]
pub enum ColumnValue {
    /// `null`, an object, a list, or no value at all.
    Null,
    /// `false` and `true`: BLOBs, x'00' and x'01'.
    Bool(bool),
    /// A whole number within 64 bits.
    Integer(i64),
    /// Any other number, as near as a double comes.
    Real(f64),
    /// A text, unescaped.
    Text(Box<str>),
}

impl ColumnValue {
    /// The column of a JSON text of one value. What is not JSON is [`ColumnValue::Null`].
    pub fn of_json(json: &str) -> ColumnValue {
        match json.as_bytes().first() {
            Some(b'"') => serde_json::from_str(json).map_or(ColumnValue::Null, ColumnValue::Text),
            Some(b't') => ColumnValue::Bool(true),
            Some(b'f') => ColumnValue::Bool(false),
            Some(b'-' | b'0'..=b'9') => number(json),
            _ => ColumnValue::Null,
        }
    }

    /// The column of a field that a row may not have.
    pub fn of_field(json: Option<&str>) -> ColumnValue {
        json.map_or(ColumnValue::Null, ColumnValue::of_json)
    }
}

fn number(json: &str) -> ColumnValue {
    match json.parse() {
        Ok(whole) => ColumnValue::Integer(whole),
        // What no double can hold becomes an infinity, which is in its right place among the others.
        Err(_) => json.parse().map_or(ColumnValue::Null, ColumnValue::Real),
    }
}

impl ToSql for ColumnValue {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(match self {
            ColumnValue::Null => ToSqlOutput::Owned(SqlValue::Null),
            ColumnValue::Bool(value) => {
                ToSqlOutput::Borrowed(ValueRef::Blob(if *value { &[1] } else { &[0] }))
            }
            ColumnValue::Integer(value) => ToSqlOutput::Owned(SqlValue::Integer(*value)),
            ColumnValue::Real(value) => ToSqlOutput::Owned(SqlValue::Real(*value)),
            ColumnValue::Text(text) => ToSqlOutput::Borrowed(ValueRef::Text(text.as_bytes())),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_becomes_what_sqlite_compares() {
        let text = |text: &str| ColumnValue::Text(text.into());
        for (json, expected) in [
            ("null", ColumnValue::Null),
            ("[1]", ColumnValue::Null),
            ("{}", ColumnValue::Null),
            ("true", ColumnValue::Bool(true)),
            ("false", ColumnValue::Bool(false)),
            ("0", ColumnValue::Integer(0)),
            ("-0", ColumnValue::Integer(0)),
            ("9223372036854775807", ColumnValue::Integer(i64::MAX)),
            ("9223372036854775808", ColumnValue::Real(9_223_372_036_854_775_808.0)),
            ("1.0", ColumnValue::Real(1.0)),
            ("1e999", ColumnValue::Real(f64::INFINITY)),
            (r#""a\u0041\n""#, text("aA\n")),
            (r#""""#, text("")),
            ("", ColumnValue::Null),
        ] {
            assert_eq!(ColumnValue::of_json(json), expected, "{json}");
        }
        assert_eq!(ColumnValue::of_field(None), ColumnValue::Null);
    }

    #[test]
    fn true_is_not_one_and_null_is_nothing() {
        let store = rusqlite::Connection::open_in_memory().unwrap();
        let equal = |one: ColumnValue, other: ColumnValue| {
            store.query_row("SELECT ?1 = ?2", (one, other), |row| row.get::<_, Option<bool>>(0)).unwrap()
        };
        assert_eq!(equal(ColumnValue::Bool(true), ColumnValue::Integer(1)), Some(false));
        assert_eq!(equal(ColumnValue::Bool(true), ColumnValue::Bool(true)), Some(true));
        assert_eq!(equal(ColumnValue::Integer(1), ColumnValue::Real(1.0)), Some(true));
        assert_eq!(equal(ColumnValue::Integer(1), ColumnValue::Text("1".into())), Some(false));
        assert_eq!(equal(ColumnValue::Null, ColumnValue::Null), None);
    }
}
