//! A row in memory: its JSON text, and where in it each field stands. A changed row is written anew from the pieces of the
//! old one, so that values keep their bytes and a fault halfway leaves the old row as it was.

use std::fmt::Write as _;

use serde_json::value::RawValue;
use smallvec::SmallVec;

use super::column::ColumnValue;
use super::rule::Fields;

/// A row.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Row {
    doc: String,
    spans: SmallVec<[Span; 8]>,
}

/// Where a field's value stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Span {
    field: u8,
    start: u32,
    end: u32,
}

impl Span {
    fn is(&self, field: usize) -> bool {
        usize::from(self.field) == field
    }

    fn of<'a>(&self, doc: &'a str) -> &'a str {
        &doc[self.start as usize..self.end as usize]
    }
}

/// Values of a row that change: fields with what they become, or `None` where they go. A field comes once at most.
#[derive(Debug, Default)]
pub(super) struct Edits<'a>(SmallVec<[(usize, Option<std::borrow::Cow<'a, str>>); 8]>);

impl<'a> Edits<'a> {
    /// What a field becomes; the outer `None` if it stays as it is.
    pub(super) fn find(&self, field: usize) -> Option<Option<&str>> {
        self.0.iter().find(|(known, _)| *known == field).map(|(_, value)| value.as_deref())
    }

    pub(super) fn put(&mut self, field: usize, value: Option<std::borrow::Cow<'a, str>>) {
        match self.0.iter_mut().find(|(known, _)| *known == field) {
            Some((_, known)) => *known = value,
            None => self.0.push((field, value)),
        }
    }
}

impl Row {
    /// A row as the store has it. `None` if it is not one of this view.
    pub(super) fn parse(doc: &[u8], fields: &Fields) -> Option<Row> {
        struct Members<'f>(&'f Fields, Row);
        impl<'de> serde::de::Visitor<'de> for &mut Members<'_> {
            type Value = ();

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a row")
            }

            fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
                while let Some((name, value)) = map.next_entry::<&str, &RawValue>()? {
                    let field = self.0.number(name);
                    let field = field.ok_or_else(|| serde::de::Error::custom("an unknown field"))?;
                    self.1.push(field, self.0, value.get());
                }
                Ok(())
            }
        }
        let mut members = Members(fields, Row::begin(doc.len()));
        let mut reader = serde_json::Deserializer::from_slice(doc);
        serde::Deserializer::deserialize_map(&mut reader, &mut members).ok()?;
        reader.end().ok()?;
        Some(members.1.finish())
    }

    /// The row with changes, fields in the order in which they came first. Without a row before it is a new one.
    pub(super) fn edited(before: Option<&Row>, edits: &Edits<'_>, fields: &Fields) -> Row {
        let added: usize =
            edits.0.iter().map(|(_, value)| value.as_ref().map_or(0, |value| value.len() + 24)).sum();
        let mut row = Row::begin(before.map_or(2, |row| row.doc.len()) + added);
        for span in before.iter().flat_map(|row| &row.spans) {
            let kept = before.map_or("", |row| span.of(&row.doc));
            if let Some(value) = edits.find(span.field.into()).unwrap_or(Some(kept)) {
                row.push(span.field.into(), fields, value);
            }
        }
        for (field, value) in &edits.0 {
            if let Some(value) = value
                && before.is_none_or(|row| row.find(*field).is_none())
            {
                row.push(*field, fields, value);
            }
        }
        row.finish()
    }

    /// The row as a JSON object.
    pub(super) fn doc(&self) -> &str {
        &self.doc
    }

    /// The value of a field, as JSON.
    pub(super) fn find(&self, field: usize) -> Option<&str> {
        let span = self.spans.iter().find(|span| span.is(field))?;
        Some(span.of(&self.doc))
    }

    /// The column of a field.
    pub(super) fn column(&self, field: usize) -> ColumnValue {
        ColumnValue::of_field(self.find(field))
    }

    fn begin(bytes: usize) -> Row {
        let mut doc = String::with_capacity(bytes);
        doc.push('{');
        Row { doc, spans: SmallVec::new() }
    }

    fn push(&mut self, field: usize, fields: &Fields, value: &str) {
        let comma = if self.spans.is_empty() { "" } else { "," };
        // Names have letters that need no escapes. Writing to a string cannot fail.
        let _ = write!(self.doc, "{comma}\"{}\":", fields.names()[field]);
        // There are at most 64 fields, and a row has at most 16 MiB: an edited one that is larger is refused at once.
        let at = |bytes: usize| u32::try_from(bytes).unwrap_or(u32::MAX);
        let start = at(self.doc.len());
        self.doc.push_str(value);
        self.spans.push(Span { field: field as u8, start, end: at(self.doc.len()) });
    }

    fn finish(mut self) -> Row {
        self.doc.push('}');
        self
    }
}
