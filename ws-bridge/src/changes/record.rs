//! A change of a view as a record, so that it is mapped like any other: its document as the value, the row's key as the key,
//! and the attributes of a CloudEvent.

use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use sallyport_kafka::Record;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::line::Malformed;

/// A row that has changed: its key, what it is now, and if it has gone, what it was last.
#[derive(Debug, Clone, Copy, Deserialize)]
pub(crate) struct Change<'a> {
    #[serde(borrow)]
    pub(super) key: &'a RawValue,
    #[serde(borrow)]
    pub(super) row: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) was: Option<&'a RawValue>,
}

impl<'a> Change<'a> {
    /// Reads a change as its document says it: `{"key": "b1", "row": {...}}`.
    ///
    /// # Errors
    /// It is no such object.
    pub(crate) fn read(document: &'a [u8]) -> Result<Change<'a>, String> {
        serde_json::from_slice(document).map_err(|error| format!("it is no change of a view: {error}"))
    }

    /// The change as a record at this place.
    ///
    /// # Errors
    /// The key is no text.
    pub(crate) fn record(
        &self,
        view: &str,
        topic: Arc<str>,
        partition: i32,
        offset: i64,
        timestamp: i64,
    ) -> Result<Record, Malformed> {
        let key: String =
            serde_json::from_str(self.key.get()).map_err(|_| Malformed("a key that is no text"))?;
        let key = Bytes::from(key);
        let kind: &'static [u8] = if self.row.is_some() { b"view.changed" } else { b"view.deleted" };
        let headers = [
            ("ce_specversion", Bytes::from_static(b"1.0")),
            ("ce_type", Bytes::from_static(kind)),
            ("ce_source", format!("/views/{view}").into()),
            ("ce_subject", key.clone()),
            // CloudEvents 1.0.2, section 3.1.1: source and id together are of this change alone.
            ("ce_id", format!("{topic}/{partition}/{offset}").into()),
        ];
        let headers = headers.into_iter().map(|(name, value)| (name.into(), value)).collect();
        let value = Some(self.document());
        Ok(Record { topic, partition, offset, timestamp, key: Some(key), headers, value })
    }

    /// `{"key": ..., "row": ...}`, and `was` if there is one.
    fn document(&self) -> Bytes {
        let row = self.row.map_or("null", RawValue::get);
        let was = self.was.map_or("", RawValue::get);
        let mut document = BytesMut::with_capacity(self.key.get().len() + row.len() + was.len() + 32);
        for part in ["{\"key\":", self.key.get(), ",\"row\":", row] {
            document.put_slice(part.as_bytes());
        }
        if self.was.is_some() {
            document.put_slice(b",\"was\":");
            document.put_slice(was.as_bytes());
        }
        document.put_u8(b'}');
        document.freeze()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(document: &str) -> Record {
        let change = Change::read(document.as_bytes()).unwrap();
        change.record("batches", "t".into(), 2, 7, 5).unwrap()
    }

    #[test]
    fn a_change_is_a_record_at_the_place_of_what_made_it() {
        let record = record(r#"{"row": {"owner": "ann"}, "key": "b\n1"}"#);
        assert_eq!((&*record.topic, record.partition, record.offset, record.timestamp), ("t", 2, 7, 5));
        assert_eq!(record.key.as_deref(), Some(&b"b\n1"[..]));
        assert_eq!(record.value.as_deref(), Some(&br#"{"key":"b\n1","row":{"owner": "ann"}}"#[..]));
        for (header, expected) in [
            ("ce_specversion", "1.0"),
            ("ce_type", "view.changed"),
            ("ce_source", "/views/batches"),
            ("ce_subject", "b\n1"),
            ("ce_id", "t/2/7"),
        ] {
            assert_eq!(record.header(header).map(|value| &value[..]), Some(expected.as_bytes()), "{header}");
        }
    }

    #[test]
    fn a_deletion_says_what_the_row_was() {
        let deleted = record(r#"{"key":"b1","row":null,"was":{"owner":"ann"}}"#);
        assert_eq!(deleted.header("ce_type").map(|value| &value[..]), Some(&b"view.deleted"[..]));
        assert_eq!(deleted.value.as_deref(), Some(&br#"{"key":"b1","row":null,"was":{"owner":"ann"}}"#[..]));
        assert_eq!(record(r#"{"key":"b1"}"#).value.as_deref(), Some(&br#"{"key":"b1","row":null}"#[..]));
    }

    #[test]
    fn a_change_has_a_key_that_is_a_text() {
        assert!(Change::read(br#"{"row":{}}"#).is_err());
        let change = Change::read(br#"{"key":1,"row":{}}"#).unwrap();
        assert!(change.record("v", "t".into(), 0, 0, 0).is_err());
    }
}
