//! A set of header names, in which `_` and `-` are the same and so are upper and lower case.

/// Names, compiled for looking up. A name that is not in the set is nearly always told from one bit.
#[derive(Debug, Clone)]
pub(super) struct NameSet {
    /// A bit for each value of [`fingerprint`] that a name of the set has.
    bits: [u64; 4],
    /// Folded, sorted by length and then by bytes.
    names: Box<[Box<[u8]>]>,
}

impl NameSet {
    pub(super) fn new<'a>(names: impl Iterator<Item = &'a str>) -> Self {
        let mut names: Vec<Box<[u8]>> =
            names.filter(|name| !name.is_empty()).map(|name| name.bytes().map(fold).collect()).collect();
        names.sort_by(|a, b| a.len().cmp(&b.len()).then_with(|| a.cmp(b)));
        names.dedup();
        let mut bits = [0; 4];
        for name in &names {
            let print = fingerprint(name);
            bits[usize::from(print >> 6)] |= 1 << (print & 63);
        }
        NameSet { bits, names: names.into_boxed_slice() }
    }

    #[cfg(test)]
    fn contains(&self, name: &[u8]) -> bool {
        self.has(name, fingerprint(name))
    }

    /// Whether the set has a name, whose fingerprint the caller knows.
    pub(super) fn has(&self, name: &[u8], print: u8) -> bool {
        if self.bits[usize::from(print >> 6)] >> (print & 63) & 1 == 0 {
            return false;
        }
        let folded = || name.iter().copied().map(fold);
        let found = self.names.binary_search_by(|known| {
            known.len().cmp(&name.len()).then_with(|| known.iter().copied().cmp(folded()))
        });
        found.is_ok()
    }
}

/// Whether a name starts with a prefix that is folded already.
pub(super) fn starts_with(name: &[u8], prefix: &[u8]) -> bool {
    name.len() >= prefix.len() && name.iter().zip(prefix).all(|(&byte, &wanted)| fold(byte) == wanted)
}

/// Mixes the length with three bytes; the same for every spelling of a name.
pub(super) fn fingerprint(name: &[u8]) -> u8 {
    let at = |index: usize| name.get(index).copied().map_or(0, fold);
    let length = name.len().to_le_bytes()[0];
    let last = at(name.len().wrapping_sub(1));
    let middle = at(name.len() / 2);
    at(0).wrapping_mul(7) ^ middle.wrapping_mul(31) ^ last.wrapping_mul(73) ^ length.wrapping_mul(151)
}

fn fold(byte: u8) -> u8 {
    if byte == b'_' { b'-' } else { byte.to_ascii_lowercase() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_are_one_name() {
        let set = NameSet::new(["X-User-Id", "x_user_id", "Proxy", ""].into_iter());
        assert_eq!(set.names.len(), 2);
        for name in ["x-user-id", "X_USER-id", "proxy", "PROXY"] {
            assert!(set.contains(name.as_bytes()), "{name}");
        }
        for name in ["", "x", "x-user-i", "x-user-idx", "x.user.id", "proxi"] {
            assert!(!set.contains(name.as_bytes()), "{name}");
        }
    }

    #[test]
    fn many_names_are_all_found() {
        let names: Vec<String> = (0..500).map(|n| format!("X-Claim-{n}")).collect();
        let set = NameSet::new(names.iter().map(String::as_str));
        assert!(names.iter().all(|name| set.contains(name.to_lowercase().as_bytes())));
        assert!((500..1000).all(|n| !set.contains(format!("x-claim-{n}").as_bytes())));
    }

    #[test]
    fn a_prefix_is_folded_too() {
        assert!(starts_with(b"X_Forwarded-For", b"x-forwarded-"));
        assert!(!starts_with(b"X-Forwarded", b"x-forwarded-"));
    }
}
