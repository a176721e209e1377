//! A fast hash for keys that come from the configuration. Requests are looked up and never inserted, so nobody outside
//! can make keys collide; a keyed hash would cost more than the rest of a look-up.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

/// A map whose keys only the operator chooses.
pub(super) type Map<K, V> = HashMap<K, V, BuildHasherDefault<Mix>>;

/// Eight bytes at a time: mix in, multiply, rotate.
#[derive(Default)]
pub(super) struct Mix(u64);

const FACTOR: u64 = 0x9E37_79B9_7F4A_7C15;

impl Mix {
    fn add(&mut self, word: u64) {
        self.0 = (self.0 ^ word).wrapping_mul(FACTOR).rotate_left(26);
    }
}

impl Hasher for Mix {
    fn write(&mut self, bytes: &[u8]) {
        let (words, rest) = bytes.as_chunks::<8>();
        for word in words {
            self.add(u64::from_le_bytes(*word));
        }
        let mut last = [0; 8];
        last[..rest.len()].copy_from_slice(rest);
        self.add(u64::from_le_bytes(last) ^ (bytes.len() as u64) << 56);
    }

    fn write_u8(&mut self, byte: u8) {
        // The end mark of a string; its length is in the last word already.
        let _ = byte;
    }

    fn finish(&self) -> u64 {
        // The map takes its bucket from the low bits and its tag from the high ones: both must depend on everything.
        let hash = self.0 ^ (self.0 >> 32);
        hash.wrapping_mul(FACTOR) ^ (hash >> 29)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::hash::{BuildHasher, BuildHasherDefault};

    use super::*;

    #[test]
    fn similar_paths_spread() {
        let build = BuildHasherDefault::<Mix>::default();
        let paths = (0..10_000).map(|n| format!("/v1/service-{}/things/{n}", n % 97));
        let hashes: Vec<u64> = paths.map(|path| build.hash_one(path.as_str())).collect();
        assert_eq!(hashes.iter().collect::<HashSet<_>>().len(), hashes.len());
        let mut buckets = vec![0u32; 1 << 14];
        hashes.iter().for_each(|hash| buckets[usize::try_from(hash & 0x3FFF).unwrap()] += 1);
        assert!(buckets.iter().all(|&count| count <= 8), "{:?}", buckets.iter().max());
        let tags: HashSet<_> = hashes.iter().map(|hash| hash >> 57).collect();
        assert_eq!(tags.len(), 128);
    }
}
