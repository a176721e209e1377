//! Places in topics as clients write and read them: `topic/partition@offset`, several with commas. The record there is
//! included.
//!
//! `min_offset` takes what `View-Offsets` gives, so that a client that goes on at another node sees at least what it has
//! seen. It also takes `partition@offset` where the view reads one topic: a producer, and the bridge's `rpc`, answer with
//! `partition` and `offset`.

use std::sync::Arc;

use http::HeaderValue;

use crate::views::versions::Offsets;

/// Bytes of the header `View-Offsets`. One that would be larger, of a view with hundreds of partitions, is left out.
const HEADER_BYTES_MAX: usize = 4096;

/// Partitions that `min_offset` may name.
pub(super) const PLACES_MAX: usize = 256;

/// Reads places; the detail of a refusal if it cannot.
pub(super) fn read(text: &str, topics: &[Arc<str>], into: &mut Offsets) -> Result<(), String> {
    const FORM: &str =
        "`min_offset` is `topic/partition@offset`, several with commas, as `View-Offsets` says them";
    for place in text.split(',') {
        let place = place.trim_matches(' ');
        let (before, offset) = place.rsplit_once('@').ok_or(FORM)?;
        let (topic, partition) = match before.rsplit_once('/') {
            Some((topic, partition)) => {
                let known = topics.iter().find(|known| ***known == *topic);
                (known.ok_or("`min_offset` names a topic that this view does not read")?, partition)
            }
            None => match topics {
                [only] => (only, before),
                _ => return Err("this view reads several topics: write `topic/partition@offset`".to_owned()),
            },
        };
        let partition = digits(partition).and_then(|digits| digits.parse().ok()).ok_or(FORM)?;
        let offset: i64 = digits(offset).and_then(|digits| digits.parse().ok()).ok_or(FORM)?;
        if into.0.len() == PLACES_MAX {
            return Err(format!("`min_offset` names more than {PLACES_MAX} partitions"));
        }
        into.0.push((topic.clone(), partition, offset.saturating_add(1)));
    }
    Ok(())
}

fn digits(text: &str) -> Option<&str> {
    (!text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())).then_some(text)
}

/// The header `View-Offsets`: the last record of each partition that is in the answer. Partitions of which none was read
/// are left out; `None` if that leaves nothing, or too much.
pub(super) fn header(offsets: &Offsets) -> Option<HeaderValue> {
    use std::fmt::Write as _;
    let mut text = String::new();
    for (topic, partition, next) in offsets.0.iter().filter(|(.., next)| *next > 0) {
        let comma = if text.is_empty() { "" } else { ", " };
        // Writing to a string cannot fail.
        let _ = write!(text, "{comma}{topic}/{partition}@{}", next - 1);
        if text.len() > HEADER_BYTES_MAX {
            return None;
        }
    }
    // Names of topics are letters, digits, `.`, `_` and `-`.
    HeaderValue::try_from(text).ok().filter(|value| !value.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str, topics: &[&str]) -> Result<Vec<(String, i32, i64)>, String> {
        let topics: Vec<Arc<str>> = topics.iter().map(|topic| (*topic).into()).collect();
        let mut offsets = Offsets::default();
        read(text, &topics, &mut offsets)?;
        Ok(offsets
            .0
            .into_iter()
            .map(|(topic, partition, next)| (topic.to_string(), partition, next))
            .collect())
    }

    #[test]
    fn places_are_read_as_they_are_told() {
        let offsets = Offsets(vec![("a".into(), 0, 8), ("a".into(), 1, 0), ("b.c".into(), 12, 42)]);
        let header = header(&offsets).unwrap();
        assert_eq!(header, "a/0@7, b.c/12@41");
        let read = of(header.to_str().unwrap(), &["a", "b.c"]).unwrap();
        assert_eq!(read, [("a".to_owned(), 0, 8), ("b.c".to_owned(), 12, 42)]);
        assert_eq!(of("3@41", &["a"]).unwrap(), [("a".to_owned(), 3, 42)]);
        assert_eq!(of("0@9223372036854775807", &["a"]).unwrap()[0].2, i64::MAX);
    }

    #[test]
    fn odd_places_are_refused() {
        for text in [
            "",
            "a",
            "a/0",
            "a/0@",
            "a/@1",
            "0@-1",
            "a/-1@1",
            "a/0@1,",
            "b/0@1",
            "a/99999999999@1",
            "a/0@1e3",
            "+1@1",
        ] {
            assert!(of(text, &["a"]).is_err(), "{text}");
        }
        assert!(of("0@1", &["a", "b"]).is_err());
        assert!(of(&vec!["0@1"; PLACES_MAX + 1].join(","), &["a"]).is_err());
    }

    #[test]
    fn a_header_has_an_end() {
        assert_eq!(header(&Offsets::default()), None);
        assert_eq!(header(&Offsets((0..1000).map(|number| ("topic".into(), number, 7)).collect())), None);
    }
}
