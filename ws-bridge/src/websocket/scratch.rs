//! One read buffer for each thread, lent to whichever connection has something to read. What makes idle connections
//! cheap: they own none.

use std::cell::Cell;
use std::ops::{Deref, DerefMut};

/// Bytes of the buffer: what one read takes at most, and the size of a TLS record.
pub(super) const SCRATCH_BYTES: usize = 16 * 1024;

thread_local! {
    static SCRATCH: Cell<Option<Box<[u8]>>> = const { Cell::new(None) };
}

/// The thread's buffer, until this is dropped. A second one at the same time is a new one.
pub(super) struct Scratch(Box<[u8]>);

impl Scratch {
    pub(super) fn lend() -> Self {
        // A thread that is about to end has no buffer any more.
        let kept = SCRATCH.try_with(Cell::take).ok().flatten();
        Scratch(kept.unwrap_or_else(|| vec![0; SCRATCH_BYTES].into_boxed_slice()))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let buffer = std::mem::take(&mut self.0);
        // As above: then it is freed.
        let _ = SCRATCH.try_with(|kept| kept.set(Some(buffer)));
    }
}

impl Deref for Scratch {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl DerefMut for Scratch {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_buffer_is_lent_again() {
        let first = Scratch::lend();
        let place = first.as_ptr();
        let second = Scratch::lend();
        assert_ne!(second.as_ptr(), place);
        assert_eq!((first.len(), second.len()), (SCRATCH_BYTES, SCRATCH_BYTES));
        drop(second);
        drop(first);
        assert_eq!(Scratch::lend().as_ptr(), place);
        assert_eq!(Scratch::lend().as_ptr(), place);
    }
}
