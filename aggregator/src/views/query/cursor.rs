//! Where a page ended, as an opaque text: the last row's place in the order, and a fingerprint of the query that it belongs
//! to. It says nothing that the client has not seen. It is not signed and need not be: whoever forges one sees rows that a
//! query of his own would show.

use std::hash::Hasher;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use siphasher::sip::SipHasher24;

use crate::views::column::ColumnValue;

/// Characters of a cursor. A row whose place in the order would need more cannot be the last of a page.
pub(super) const CURSOR_BYTES_MAX: usize = 8192;

/// The form of all this.
const FORM: u8 = 1;

/// Where a page ended.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Place {
    /// What the last row is ordered by; null where only keys order.
    pub(super) value: ColumnValue,
    /// Its key.
    pub(super) key: String,
}

/// What a cursor belongs to: the view, the filters and the order.
pub(super) fn fingerprint(view: &str, query: &[u8]) -> u64 {
    let mut hasher = SipHasher24::new_with_keys(0, u64::from(FORM));
    hasher.write(view.as_bytes());
    hasher.write_u8(0xff);
    hasher.write(query);
    hasher.finish()
}

/// The text of a place; `None` if it would be too long.
pub(super) fn write(fingerprint: u64, place: &Place) -> Option<String> {
    let mut bytes = vec![FORM];
    bytes.extend(fingerprint.to_be_bytes());
    match &place.value {
        ColumnValue::Null => bytes.push(b'0'),
        ColumnValue::Bool(value) => bytes.extend([b'b', u8::from(*value)]),
        ColumnValue::Integer(value) => {
            bytes.push(b'i');
            bytes.extend(value.to_be_bytes());
        }
        ColumnValue::Real(value) => {
            bytes.push(b'r');
            bytes.extend(value.to_bits().to_be_bytes());
        }
        ColumnValue::Text(text) => {
            bytes.push(b't');
            bytes.extend(u32::try_from(text.len()).ok()?.to_be_bytes());
            bytes.extend(text.as_bytes());
        }
    }
    bytes.extend(place.key.as_bytes());
    let text = (bytes.len() <= CURSOR_BYTES_MAX / 4 * 3).then(|| URL_SAFE_NO_PAD.encode(bytes))?;
    (text.len() <= CURSOR_BYTES_MAX).then_some(text)
}

/// Why a text is no cursor for a query.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Odd {
    /// It is none at all.
    Malformed,
    /// It is one of another query.
    Foreign,
}

/// The place that a text says.
pub(super) fn read(fingerprint: u64, text: &str) -> Result<Place, Odd> {
    if text.len() > CURSOR_BYTES_MAX {
        return Err(Odd::Malformed);
    }
    let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| Odd::Malformed)?;
    let (form, rest) = bytes.split_first().ok_or(Odd::Malformed)?;
    let (found, rest) = rest.split_first_chunk().ok_or(Odd::Malformed)?;
    if *form != FORM {
        return Err(Odd::Malformed);
    }
    if u64::from_be_bytes(*found) != fingerprint {
        return Err(Odd::Foreign);
    }
    let (value, key) = value(rest).ok_or(Odd::Malformed)?;
    let key = std::str::from_utf8(key).map_err(|_| Odd::Malformed)?.to_owned();
    Ok(Place { value, key })
}

fn value(bytes: &[u8]) -> Option<(ColumnValue, &[u8])> {
    let (kind, rest) = bytes.split_first()?;
    Some(match kind {
        b'0' => (ColumnValue::Null, rest),
        b'b' => match rest.split_first()? {
            (value @ 0..=1, rest) => (ColumnValue::Bool(*value == 1), rest),
            _ => return None,
        },
        b'i' => {
            let (value, rest) = rest.split_first_chunk()?;
            (ColumnValue::Integer(i64::from_be_bytes(*value)), rest)
        }
        b'r' => {
            let (value, rest) = rest.split_first_chunk()?;
            let value = f64::from_bits(u64::from_be_bytes(*value));
            // SQLite would make null of it.
            (!value.is_nan()).then_some((ColumnValue::Real(value), rest))?
        }
        b't' => {
            let (length, rest) = rest.split_first_chunk()?;
            let (text, rest) = rest.split_at_checked(u32::from_be_bytes(*length) as usize)?;
            (ColumnValue::Text(std::str::from_utf8(text).ok()?.into()), rest)
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn any_value() -> impl Strategy<Value = ColumnValue> {
        prop_oneof![
            Just(ColumnValue::Null),
            any::<bool>().prop_map(ColumnValue::Bool),
            any::<i64>().prop_map(ColumnValue::Integer),
            any::<f64>().prop_filter("NaN is none", |real| !real.is_nan()).prop_map(ColumnValue::Real),
            ".{0,20}".prop_map(|text| ColumnValue::Text(text.into())),
        ]
    }

    proptest! {
        #[test]
        fn a_place_comes_back_for_its_query_only(value in any_value(), key in ".{0,20}", of: u64, other: u64) {
            let place = Place { value, key };
            let text = write(of, &place).unwrap();
            prop_assert!(text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte)));
            prop_assert_eq!(read(of, &text), Ok(place));
            prop_assert!(of == other || read(other, &text) == Err(Odd::Foreign));
        }

        #[test]
        fn any_text_is_taken_or_refused(text in "[A-Za-z0-9_=+/-]{0,60}", bytes in prop::collection::vec(any::<u8>(), 0..40)) {
            let _ = read(7, &text);
            let mut own = vec![FORM];
            own.extend(7u64.to_be_bytes());
            own.extend(bytes);
            if let Ok(place) = read(7, &URL_SAFE_NO_PAD.encode(&own)) {
                prop_assert_eq!(URL_SAFE_NO_PAD.decode(write(7, &place).unwrap()).unwrap(), own);
            }
        }
    }

    #[test]
    fn a_cursor_has_an_end() {
        let place = |length: usize| Place {
            value: ColumnValue::Text("a".repeat(length).into()),
            key: "k".to_owned(),
        };
        assert!(write(1, &place(6000)).is_some_and(|text| text.len() <= CURSOR_BYTES_MAX));
        assert_eq!(write(1, &place(6144)), None);
        assert_eq!(read(1, &"A".repeat(CURSOR_BYTES_MAX + 1)), Err(Odd::Malformed));
    }
}
