//! The lines of a stream of changes. Each is a JSON object:
//!
//! ```json
//! {"edition":"5f1c","partitions":[{"topic":"batches","partition":0,"next":42}]}
//! {"topic":"batches","partition":0,"offset":42,"timestamp":1700000000000,"key":"b1","row":{"owner":"ann"}}
//! {"topic":"batches","partition":0,"offset":43,"timestamp":1700000000000,"key":"b1","row":null,"was":{"owner":"ann"}}
//! {"positions":[{"topic":"batches","partition":0,"next":47}]}
//! {"gap":true}
//! {}
//! ```
//!
//! The first line says where the changes begin; it comes again where partitions are added, and after a gap. A position comes
//! behind all changes before it. An object with none of these members says only that the aggregator is there.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::record::Change;

/// Partitions of a view: as many as a client's position may name.
const PARTITIONS_MAX: usize = 4096;

/// The next offset of each partition of each topic.
pub(super) type Topics = BTreeMap<Arc<str>, Vec<i64>>;

/// A line that is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Malformed(pub(super) &'static str);

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

/// What a line says.
#[derive(Debug)]
pub(super) enum Line<'a> {
    /// Where the changes begin.
    Begin {
        edition: Box<str>,
        topics: Topics,
    },
    /// Up to where there are no more changes.
    Positions(Vec<Position<'a>>),
    Change {
        topic: &'a str,
        partition: i32,
        offset: i64,
        timestamp: i64,
        change: Change<'a>,
    },
    /// Changes were lost, or the view is built anew.
    Gap,
    Heartbeat,
}

/// The next offset of a partition.
#[derive(Debug, Deserialize)]
pub(super) struct Position<'a> {
    /// No name of a topic has a character that JSON would escape.
    #[serde(borrow)]
    pub(super) topic: &'a str,
    pub(super) partition: i32,
    pub(super) next: i64,
}

/// A line as it is written.
#[derive(Deserialize)]
struct Written<'a> {
    #[serde(borrow)]
    edition: Option<Cow<'a, str>>,
    #[serde(borrow)]
    partitions: Option<Vec<Position<'a>>>,
    #[serde(borrow)]
    positions: Option<Vec<Position<'a>>>,
    #[serde(default)]
    gap: bool,
    topic: Option<&'a str>,
    partition: Option<i32>,
    offset: Option<i64>,
    timestamp: Option<i64>,
    #[serde(borrow)]
    key: Option<&'a RawValue>,
    #[serde(borrow)]
    row: Option<&'a RawValue>,
    #[serde(borrow)]
    was: Option<&'a RawValue>,
}

impl<'a> Line<'a> {
    /// Reads a line, without its end.
    pub(super) fn read(line: &'a [u8]) -> Result<Line<'a>, Malformed> {
        let line = line.trim_ascii();
        if line.is_empty() {
            return Ok(Line::Heartbeat);
        }
        let written: Written<'a> =
            serde_json::from_slice(line).map_err(|_| Malformed("a line is not as expected"))?;
        if written.gap {
            return Ok(Line::Gap);
        }
        if let Some(partitions) = &written.partitions {
            let edition = written.edition.unwrap_or_default().into_owned().into();
            return Ok(Line::Begin { edition, topics: by_topic(partitions)? });
        }
        if let Some(positions) = written.positions {
            return Ok(Line::Positions(positions));
        }
        let Some(topic) = written.topic else { return Ok(Line::Heartbeat) };
        let place = written.partition.zip(written.offset.filter(|offset| *offset >= 0));
        let (Some((partition, offset)), Some(key)) = (place, written.key) else {
            return Err(Malformed("a change without its place or key"));
        };
        let change = Change { key, row: written.row, was: written.was };
        Ok(Line::Change { topic, partition, offset, timestamp: written.timestamp.unwrap_or(0), change })
    }
}

/// Partitions by topic: each topic's in order, numbered from 0.
fn by_topic(partitions: &[Position<'_>]) -> Result<Topics, Malformed> {
    if partitions.len() > PARTITIONS_MAX {
        return Err(Malformed("more than 4096 partitions"));
    }
    let mut topics: BTreeMap<&str, Vec<i64>> = BTreeMap::new();
    for position in partitions {
        let nexts = topics.entry(position.topic).or_default();
        if usize::try_from(position.partition) != Ok(nexts.len()) || position.next < 0 {
            return Err(Malformed("partitions that are not numbered from 0"));
        }
        nexts.push(position.next);
    }
    Ok(topics.into_iter().map(|(topic, nexts)| (topic.into(), nexts)).collect())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn refused(line: &str) -> String {
        Line::read(line.as_bytes()).map_or_else(|malformed| malformed.to_string(), |line| panic!("{line:?}"))
    }

    #[test]
    fn each_kind_of_line_is_known() {
        let line = br#"{"edition":"e","partitions":[{"topic":"b","partition":0,"next":4},{"topic":"a","partition":0,"next":0},{"topic":"b","partition":1,"next":9}]}"#;
        let Ok(Line::Begin { edition, topics }) = Line::read(line) else { panic!() };
        assert_eq!(&*edition, "e");
        assert_eq!(topics, BTreeMap::from([("a".into(), vec![0]), ("b".into(), vec![4, 9])]));
        let Ok(Line::Positions(positions)) =
            Line::read(br#"{"positions":[{"topic":"b","partition":1,"next":12}]}"#)
        else {
            panic!()
        };
        assert_eq!((positions[0].topic, positions[0].partition, positions[0].next), ("b", 1, 12));
        assert!(matches!(Line::read(b"{\"gap\":true}"), Ok(Line::Gap)));
        for beat in ["", " ", "{}", "{\"gap\":false}", "{\"later\":[1]}"] {
            assert!(matches!(Line::read(beat.as_bytes()), Ok(Line::Heartbeat)), "{beat}");
        }
        let line =
            br#"{"topic":"b","partition":1,"offset":7,"timestamp":5,"key":"k","row":null,"was":{"a":1}}"#;
        let Ok(Line::Change { topic, partition, offset, timestamp, change }) = Line::read(line) else {
            panic!()
        };
        assert_eq!((topic, partition, offset, timestamp), ("b", 1, 7, 5));
        assert_eq!(change.key.get(), "\"k\"");
        assert!(change.row.is_none());
        assert_eq!(change.was.map(RawValue::get), Some("{\"a\":1}"));
    }

    #[test]
    fn what_is_no_line_is_refused() {
        for line in ["[]", "1", "{", "{\"topic\":1}", "\u{1}", "{\"topic\":\"a\",\"topic\":\"b\"}"] {
            assert_eq!(refused(line), "a line is not as expected", "{line}");
        }
        for line in [
            r#"{"topic":"a"}"#,
            r#"{"topic":"a","partition":0,"offset":1}"#,
            r#"{"topic":"a","partition":0,"key":"k","row":{}}"#,
            r#"{"topic":"a","partition":0,"offset":-1,"key":"k","row":{}}"#,
        ] {
            assert_eq!(refused(line), "a change without its place or key", "{line}");
        }
        for partitions in [
            r#"{"topic":"a","partition":1,"next":0}"#,
            r#"{"topic":"a","partition":0,"next":0},{"topic":"a","partition":0,"next":0}"#,
            r#"{"topic":"a","partition":-1,"next":0}"#,
            r#"{"topic":"a","partition":0,"next":-1}"#,
        ] {
            let line = format!("{{\"partitions\":[{partitions}]}}");
            assert_eq!(refused(&line), "partitions that are not numbered from 0", "{line}");
        }
        let many: Vec<String> =
            (0..=PARTITIONS_MAX).map(|n| format!(r#"{{"topic":"a","partition":{n},"next":0}}"#)).collect();
        let line = format!("{{\"partitions\":[{}]}}", many.join(","));
        assert_eq!(refused(&line), "more than 4096 partitions");
    }

    proptest! {
        #[test]
        fn anything_may_come(line in proptest::collection::vec(any::<u8>(), 0..100)) {
            let _ = Line::read(&line);
        }
    }
}
