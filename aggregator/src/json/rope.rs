//! A JSON text in pieces that share the memory of the answers it was made of.

use bytes::Bytes;

use super::checked::Checked;

/// One JSON value in pieces, to be sent one after the other. Answers of branches are in it without having been copied.
/// Only this module makes one.
#[derive(Debug, Clone)]
pub struct Rope {
    pieces: Vec<Bytes>,
    bytes: usize,
}

impl Rope {
    pub(super) fn with_capacity(pieces: usize) -> Self {
        Rope { pieces: Vec::with_capacity(pieces), bytes: 0 }
    }

    pub(super) fn push(&mut self, piece: Bytes) {
        if !piece.is_empty() {
            self.bytes += piece.len();
            self.pieces.push(piece);
        }
    }

    /// Length of the whole in bytes.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The pieces in order; none is empty.
    pub fn pieces(&self) -> &[Bytes] {
        &self.pieces
    }

    /// The pieces in order; none is empty.
    pub fn into_pieces(self) -> Vec<Bytes> {
        self.pieces
    }

    /// All of it in one, copied.
    pub fn to_vec(&self) -> Vec<u8> {
        self.pieces.concat()
    }

    /// As one value, to be taken apart again or kept. Copies unless there is one piece only.
    pub fn into_checked(mut self) -> Checked {
        match self.pieces.pop() {
            Some(only) if self.pieces.is_empty() => Checked::built(only),
            Some(last) => {
                self.pieces.push(last);
                Checked::built(self.to_vec())
            }
            None => Checked::null(),
        }
    }
}

impl From<Checked> for Rope {
    fn from(checked: Checked) -> Self {
        let mut rope = Rope::with_capacity(1);
        rope.push(checked.into_bytes());
        rope
    }
}
