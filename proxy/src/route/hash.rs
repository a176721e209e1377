//! A fast hash for keys that come from the configuration. Requests are looked up and never inserted, so nobody outside
//! can make keys collide; a keyed hash would cost more than the rest of a look-up.

const FACTOR: u64 = 0x9E37_79B9_7F4A_7C15;

/// The hash of a key. Eight bytes at a time: mix in, multiply, rotate.
pub(super) fn hash(bytes: &[u8]) -> u64 {
    let mix = |state: u64, word: u64| (state ^ word).wrapping_mul(FACTOR).rotate_left(26);
    let (words, rest) = bytes.as_chunks::<8>();
    let state = words.iter().fold(0, |state, word| mix(state, u64::from_le_bytes(*word)));
    let mut last = [0; 8];
    last[..rest.len()].copy_from_slice(rest);
    let state = mix(state, u64::from_le_bytes(last) ^ (bytes.len() as u64) << 56);
    // A table takes its bucket from the low bits and its tag from the high ones: both must depend on everything.
    let folded = state ^ (state >> 32);
    folded.wrapping_mul(FACTOR) ^ (folded >> 29)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn similar_paths_spread() {
        let paths = (0..10_000).map(|n| format!("/v1/service-{}/things/{n}", n % 97));
        let hashes: Vec<u64> = paths.map(|path| hash(path.as_bytes())).collect();
        assert_eq!(hashes.iter().collect::<HashSet<_>>().len(), hashes.len());
        let mut buckets = vec![0u32; 1 << 14];
        hashes.iter().for_each(|hash| buckets[usize::try_from(hash & 0x3FFF).unwrap()] += 1);
        assert!(buckets.iter().all(|&count| count <= 8), "{:?}", buckets.iter().max());
        let tags: HashSet<_> = hashes.iter().map(|hash| hash >> 57).collect();
        assert_eq!(tags.len(), 128);
    }
}
