//! A body as it was read: its first part as bytes, the whole as a count and a digest, so that large uploads and
//! downloads can be compared without being kept.

use std::fmt::Write as _;

use aws_lc_rs::digest::{Context, SHA256};

/// The most bytes of a body that are kept; count and digest cover all of them.
pub const KEPT_BYTES_MAX: usize = 1024 * 1024;

/// A body that was read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Body {
    /// The first [`KEPT_BYTES_MAX`] bytes.
    pub kept: Vec<u8>,
    /// How many bytes there were.
    pub bytes: u64,
    /// SHA-256 of all of them, in lower-case hex.
    pub sha256: String,
    /// Trailer fields, in order.
    pub trailers: Vec<(String, String)>,
}

/// A body while it is read.
pub struct Reading {
    body: Body,
    digest: Context,
}

impl Default for Reading {
    fn default() -> Self {
        Reading { body: Body::default(), digest: Context::new(&SHA256) }
    }
}

impl Reading {
    /// Takes the next bytes.
    pub fn take(&mut self, bytes: &[u8]) {
        self.digest.update(bytes);
        self.body.bytes += bytes.len() as u64;
        let room = KEPT_BYTES_MAX.saturating_sub(self.body.kept.len());
        self.body.kept.extend_from_slice(&bytes[..bytes.len().min(room)]);
    }

    /// Takes a trailer field.
    pub fn trailer(&mut self, name: &str, value: &str) {
        self.body.trailers.push((name.to_owned(), value.to_owned()));
    }

    /// What was read so far.
    pub fn so_far(&self) -> Body {
        Body { sha256: hex(self.digest.clone().finish().as_ref()), ..self.body.clone() }
    }
}

impl Body {
    /// A body of these bytes.
    pub fn of(bytes: &[u8]) -> Self {
        let mut reading = Reading::default();
        reading.take(bytes);
        reading.so_far()
    }

    /// The bytes that a large download of `bytes` bytes has, see [`pattern`], without keeping them all.
    pub fn patterned(bytes: u64) -> Self {
        let mut reading = Reading::default();
        pattern(bytes, |chunk| reading.take(chunk));
        reading.so_far()
    }

    /// The kept part as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.kept).into_owned()
    }
}

/// The block that large bodies repeat. 251 is prime, so a block that is lost, doubled or shifted changes the digest.
pub fn pattern_block() -> Vec<u8> {
    (0..251_usize * 256).map(|i| (i % 251) as u8).collect()
}

/// Hands out `bytes` bytes of the repeated block, piece by piece.
pub fn pattern(bytes: u64, mut take: impl FnMut(&[u8])) {
    let block = pattern_block();
    let mut left = bytes;
    while left > 0 {
        let piece = block.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        take(&block[..piece]);
        left -= piece as u64;
    }
}

/// Lower-case hex.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut out, byte| {
        // Writing to a string cannot fail.
        let _ = write!(out, "{byte:02x}");
        out
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digest_of_the_empty_body_is_the_known_one() {
        assert_eq!(Body::of(b"").sha256, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    }

    #[test]
    fn keeps_the_first_part_and_counts_all() {
        let body = Body::patterned(KEPT_BYTES_MAX as u64 + 7);
        assert_eq!(body.kept.len(), KEPT_BYTES_MAX);
        assert_eq!(body.bytes, KEPT_BYTES_MAX as u64 + 7);
        assert_ne!(body.sha256, Body::patterned(KEPT_BYTES_MAX as u64 + 6).sha256);
    }
}
