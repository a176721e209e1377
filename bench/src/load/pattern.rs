//! What large bodies are made of: bytes that tell their place, so that neither a lost nor a repeated piece goes unnoticed.

/// Bytes that are handed over or looked at in one go.
pub(super) const PIECE_BYTES: usize = 64 * 1024;
/// The pattern begins anew after so many: a prime, which divides no buffer's size.
const PERIOD: usize = 251;

/// The pattern, as long as a piece from any place needs it.
#[derive(Debug)]
pub(super) struct Pattern(Vec<u8>);

impl Pattern {
    /// Lays it out.
    #[allow(clippy::new_without_default, reason = "laying out 64 KiB is no default")]
    pub(super) fn new() -> Pattern {
        // Of the numbers below 251 none is cut off.
        Pattern((0..PERIOD + PIECE_BYTES).map(|place| (place % PERIOD) as u8).collect())
    }

    /// What stands from byte `place` of a body that has `left` bytes from there: at most [`PIECE_BYTES`].
    pub(super) fn piece(&self, place: u64, left: u64) -> &[u8] {
        let start = (place % PERIOD as u64) as usize;
        &self.0[start..start + left.min(PIECE_BYTES as u64) as usize]
    }

    /// Whether these are the bytes from `place` on; at most [`PIECE_BYTES`].
    pub(super) fn is(&self, place: u64, bytes: &[u8]) -> bool {
        bytes.len() <= PIECE_BYTES && self.piece(place, bytes.len() as u64) == bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_piece_is_what_stands_at_its_place_and_nowhere_near() {
        let pattern = Pattern::new();
        let mut body = Vec::new();
        while body.len() < 200_000 {
            let place = body.len() as u64;
            body.extend_from_slice(pattern.piece(place, 200_000 - place));
        }
        assert_eq!(body.len(), 200_000);
        assert!(body.iter().enumerate().all(|(place, byte)| usize::from(*byte) == place % 251));
        assert!(pattern.is(70_000, &body[70_000..90_000]));
        assert!(!pattern.is(70_001, &body[70_000..90_000]));
        assert!(!pattern.is(70_000 + 65_536, &body[70_000..90_000]));
    }
}
