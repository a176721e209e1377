//! Carrying a query out on a connection: one read transaction, so that rows, counts, groups and offsets are of one state.
//! The answer's body is put together of the rows' bytes as they are read.

use std::fmt;
use std::io::Write as _;
use std::sync::Arc;

use rusqlite::types::ValueRef;
use rusqlite::{CachedStatement, Connection};
use serde::de::{Deserializer as _, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::cursor::{self, Place};
use super::parameters::{OfEach, Wanted};
use super::refusal::Refusal;
use super::shape::Shape;
use super::statement::{GROUPS_MAX, Statements};
use crate::views::column::ColumnValue;
use crate::views::table::read_offsets;
use crate::views::versions::Offsets;

/// What a query has found.
#[derive(Debug)]
pub(super) struct Found {
    /// The document; `None` if there is no such row.
    pub(super) body: Option<Vec<u8>>,
    /// What the rows are made of.
    pub(super) offsets: Offsets,
}

/// Why a query came to nothing.
#[derive(Debug)]
pub(super) enum Fault {
    /// The client is told.
    Refused(Refusal),
    /// SQLite's, also for having been interrupted.
    Store(rusqlite::Error),
    /// A row is not what the fold writes.
    Row,
}

impl From<rusqlite::Error> for Fault {
    fn from(error: rusqlite::Error) -> Self {
        Fault::Store(error)
    }
}

/// A page of rows, with what goes with it.
pub(super) fn page(
    store: &Connection,
    statements: &Statements,
    wanted: &Wanted,
    shape: &Shape,
) -> Result<Found, Fault> {
    let transaction = store.unchecked_transaction()?;
    let offsets = offsets(store, shape)?;
    let mut body = Vec::with_capacity(64 + wanted.limit * 256);
    body.extend(b"{\"items\":[");
    let next = items(store, statements, wanted, shape, &mut body)?;
    body.push(b']');
    if let Some(place) = next {
        let cursor = cursor::write(wanted.fingerprint(shape), &place).ok_or_else(|| {
            let detail = "the last row of this page is ordered by a value that is too long to go on from";
            Fault::Refused(Refusal::parameter("order", detail))
        })?;
        body.extend(b",\"next\":\"");
        body.extend(cursor.as_bytes());
        body.push(b'"');
    }
    if let Some(count) = &statements.count {
        let mut statement = bound(store, count, &statements.values)?;
        let count: i64 = statement.raw_query().next()?.ok_or(Fault::Row)?.get(0)?;
        write!(body, ",\"count\":{count}").map_err(|_| Fault::Row)?;
    }
    if let Some(sql) = &statements.groups {
        groups(&mut bound(store, sql, &statements.values)?, &mut body)?;
    }
    body.push(b'}');
    transaction.commit()?;
    Ok(Found { body: Some(body), offsets })
}

/// One row.
pub(super) fn row(
    store: &Connection,
    statements: &Statements,
    of_each: &OfEach,
    shape: &Shape,
) -> Result<Found, Fault> {
    let transaction = store.unchecked_transaction()?;
    let offsets = offsets(store, shape)?;
    let mut body = None;
    for sql in &statements.page {
        let mut statement = bound(store, sql, &statements.values)?;
        let mut rows = statement.raw_query();
        if let Some(row) = rows.next()? {
            let mut found = Vec::new();
            item(row.get_ref(0)?, row.get_ref(1)?, &of_each.fields, shape, &mut found)?;
            body = Some(found);
        }
    }
    transaction.commit()?;
    Ok(Found { body, offsets })
}

fn offsets(store: &Connection, shape: &Shape) -> Result<Offsets, Fault> {
    let named = |topic: String| match shape.topics.iter().find(|known| ***known == *topic) {
        Some(known) => known.clone(),
        None => Arc::from(topic),
    };
    let all = read_offsets(store)?.into_iter();
    Ok(Offsets(all.map(|(topic, partition, next)| (named(topic), partition, next)).collect()))
}

fn bound<'a>(store: &'a Connection, sql: &str, values: &[ColumnValue]) -> Result<CachedStatement<'a>, Fault> {
    let mut statement = store.prepare_cached(sql)?;
    // Statements share their numbers; the highest one that this statement has is how many there are.
    for number in 1..=statement.parameter_count() {
        if let Some(value) = values.get(number - 1) {
            statement.raw_bind_parameter(number, value)?;
        }
    }
    Ok(statement)
}

/// Writes the rows of the page. Gives the last one's place if there are more.
fn items(
    store: &Connection,
    statements: &Statements,
    wanted: &Wanted,
    shape: &Shape,
    body: &mut Vec<u8>,
) -> Result<Option<Place>, Fault> {
    let mut written = 0;
    let mut last = None;
    for sql in statements.page.iter().filter(|_| wanted.limit > 0) {
        let mut statement = bound(store, sql, &statements.values)?;
        statement.raw_bind_parameter(1, (wanted.limit + 1 - written) as i64)?;
        let mut rows = statement.raw_query();
        while let Some(row) = rows.next()? {
            if written == wanted.limit {
                return Ok(last);
            }
            if written > 0 {
                body.push(b',');
            }
            item(row.get_ref(0)?, row.get_ref(1)?, &wanted.of_each.fields, shape, body)?;
            written += 1;
            if written == wanted.limit {
                let key = text(row.get_ref(0)?)?.to_owned();
                last = Some(Place { value: column_value(row.get_ref(2)?)?, key });
            }
        }
    }
    Ok(None)
}

/// Writes a row as a member of a list: its own bytes, or the members that are asked for.
fn item(
    key: ValueRef<'_>,
    doc: ValueRef<'_>,
    fields: &[Box<str>],
    shape: &Shape,
    body: &mut Vec<u8>,
) -> Result<(), Fault> {
    let doc = match doc {
        ValueRef::Blob(doc) | ValueRef::Text(doc) => doc,
        _ => return Err(Fault::Row),
    };
    let with_key = shape.adds_key() && (fields.is_empty() || fields.iter().any(|field| **field == *"key"));
    body.push(b'{');
    let first = body.len();
    if with_key {
        body.extend(b"\"key\":");
        serde_json::to_writer(&mut *body, text(key)?).map_err(|_| Fault::Row)?;
    }
    if fields.is_empty() {
        let members = doc.trim_ascii().strip_prefix(b"{").and_then(|doc| doc.strip_suffix(b"}"));
        let members = members.ok_or(Fault::Row)?.trim_ascii();
        if !members.is_empty() && body.len() > first {
            body.push(b',');
        }
        body.extend(members);
    } else {
        let mut reader = serde_json::Deserializer::from_slice(doc);
        reader.deserialize_map(Chosen { fields, body, first }).map_err(|_| Fault::Row)?;
    }
    body.push(b'}');
    Ok(())
}

/// Writes the members that are asked for, byte for byte and in the order of the row.
struct Chosen<'a> {
    fields: &'a [Box<str>],
    body: &'a mut Vec<u8>,
    /// Where the first member stands.
    first: usize,
}

impl<'de> Visitor<'de> for Chosen<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a row")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<(), A::Error> {
        // Names of fields are letters, digits and `_`: none is escaped.
        while let Some((name, value)) = members.next_entry::<&str, &RawValue>()? {
            if !self.fields.iter().any(|field| **field == *name) {
                continue;
            }
            if self.body.len() > self.first {
                self.body.push(b',');
            }
            self.body.push(b'"');
            self.body.extend(name.as_bytes());
            self.body.extend(b"\":");
            self.body.extend(value.get().as_bytes());
        }
        Ok(())
    }
}

fn groups(statement: &mut CachedStatement<'_>, body: &mut Vec<u8>) -> Result<(), Fault> {
    body.extend(b",\"groups\":[");
    let mut rows = statement.raw_query();
    let mut written = 0;
    while let Some(row) = rows.next()? {
        if written == GROUPS_MAX {
            body.extend(b"],\"groups_cut\":true");
            return Ok(());
        }
        if written > 0 {
            body.push(b',');
        }
        body.extend(b"{\"value\":");
        write_json(&column_value(row.get_ref(0)?)?, body).map_err(|_| Fault::Row)?;
        let count: i64 = row.get(1)?;
        write!(body, ",\"n\":{count}}}").map_err(|_| Fault::Row)?;
        written += 1;
    }
    body.push(b']');
    Ok(())
}

fn write_json(value: &ColumnValue, body: &mut Vec<u8>) -> std::io::Result<()> {
    match value {
        ColumnValue::Null => body.write_all(b"null"),
        ColumnValue::Bool(value) => write!(body, "{value}"),
        ColumnValue::Integer(value) => write!(body, "{value}"),
        // JSON has no infinity, but it has numbers that no double holds.
        ColumnValue::Real(value) if value.is_infinite() => {
            body.write_all(if *value > 0.0 { b"1e999" } else { b"-1e999" })
        }
        ColumnValue::Real(value) => Ok(serde_json::to_writer(body, value)?),
        ColumnValue::Text(text) => Ok(serde_json::to_writer(body, text)?),
    }
}

fn text(value: ValueRef<'_>) -> Result<&str, Fault> {
    value.as_str().map_err(|_| Fault::Row)
}

/// A column's value as the fold has written it.
fn column_value(value: ValueRef<'_>) -> Result<ColumnValue, Fault> {
    Ok(match value {
        ValueRef::Null => ColumnValue::Null,
        ValueRef::Integer(value) => ColumnValue::Integer(value),
        ValueRef::Real(value) => ColumnValue::Real(value),
        ValueRef::Blob([value @ 0..=1]) => ColumnValue::Bool(*value == 1),
        text @ ValueRef::Text(_) => ColumnValue::Text(self::text(text)?.into()),
        ValueRef::Blob(_) => return Err(Fault::Row),
    })
}
