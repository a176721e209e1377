//! Keys of what is shared between requests: results that are kept, and calls under way.
//!
//! That no request gets what belongs to another rests on these: a key is a list of parts, each with its length in
//! front, so that two lists are the same bytes only if they are the same list.

use std::hash::{Hash, Hasher};

use http::{HeaderMap, HeaderName};

/// The key of a call or of a kept result. It prints as its length: its parts may be secrets.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Key(Box<[u8]>);

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write(&self.0);
    }
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Key({} bytes)", self.0.len())
    }
}

impl Key {
    /// Bytes it takes.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Its bytes, to be a part of others.
    pub(super) fn into_bytes(self) -> std::sync::Arc<[u8]> {
        self.0.into()
    }
}

/// Puts a key together. The same calls in the same order with the same parts make the same key, and nothing else does.
#[derive(Debug, Default)]
pub(super) struct KeyBuilder(Vec<u8>);

impl KeyBuilder {
    /// A key without parts, with room for a usual one.
    pub(super) fn new() -> Self {
        KeyBuilder(Vec::with_capacity(256))
    }

    /// A part.
    pub(super) fn part(&mut self, part: &[u8]) -> &mut Self {
        self.count(part.len());
        self.0.extend_from_slice(part);
        self
    }

    /// A part that may be missing, which is not the same as an empty one.
    pub(super) fn maybe(&mut self, part: Option<&[u8]>) -> &mut Self {
        self.count(usize::from(part.is_some()));
        match part {
            Some(part) => self.part(part),
            None => self,
        }
    }

    /// All values of a header, in their order, with their number.
    pub(super) fn header(&mut self, headers: &HeaderMap, name: &HeaderName) -> &mut Self {
        let values = headers.get_all(name);
        self.count(values.iter().count());
        for value in values {
            self.part(value.as_bytes());
        }
        self
    }

    /// The key.
    pub(super) fn build(self) -> Key {
        Key(self.0.into_boxed_slice())
    }

    fn count(&mut self, count: usize) {
        // Nothing in a request is as long as 4 GiB: heads and values are limited before.
        self.0.extend_from_slice(&u32::try_from(count).unwrap_or(u32::MAX).to_le_bytes());
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    fn of(parts: &[Option<Vec<u8>>]) -> Key {
        let mut key = KeyBuilder::new();
        for part in parts {
            key.maybe(part.as_deref());
        }
        key.build()
    }

    /// CVE-2026-2836 (a cache key that two hosts shared): what belongs to one must never be another's.
    #[test]
    fn parts_do_not_run_into_each_other() {
        let some = |text: &str| Some(text.as_bytes().to_vec());
        assert_ne!(of(&[some("ab"), some("c")]), of(&[some("a"), some("bc")]));
        assert_ne!(of(&[some(""), None]), of(&[None, some("")]));
        assert_ne!(of(&[None]), of(&[some("")]));
        assert_ne!(of(&[]), of(&[None]));
    }

    #[test]
    fn a_header_sent_twice_is_not_one_with_both_values() {
        let name = HeaderName::from_static("x-user");
        let key = |values: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(&name, HeaderValue::from_static(value));
            }
            let mut key = KeyBuilder::new();
            key.header(&headers, &name).part(b"end");
            key.build()
        };
        assert_ne!(key(&["a", "b"]), key(&["a,b"]));
        assert_ne!(key(&["a", "b"]), key(&["b", "a"]));
        assert_ne!(key(&[""]), key(&[]));
        assert_eq!(key(&["a"]), key(&["a"]));
    }

    #[test]
    fn a_key_does_not_print_its_parts() {
        assert_eq!(format!("{:?}", of(&[Some(b"secret".to_vec())])), "Key(14 bytes)");
    }

    proptest! {
        #[test]
        fn only_equal_lists_have_equal_keys(
            one in prop::collection::vec(prop::option::of(prop::collection::vec(0u8..3, 0..6)), 0..5),
            other in prop::collection::vec(prop::option::of(prop::collection::vec(0u8..3, 0..6)), 0..5),
        ) {
            prop_assert_eq!(of(&one) == of(&other), one == other);
        }
    }
}
