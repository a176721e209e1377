//! The agreement between a call that reads a body and those who wait for it: it holds no more bytes than one of them has
//! room for.
//!
//! A call may be shared by several compositions, so it belongs to none and takes no room itself. It asks; each of those
//! who wait makes room in its own composition; the first that has it lets the call go on. A call that nobody has room
//! for stands still, and so does its upstream.

use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use tokio::sync::Notify;

use super::memory::{Room, TooMuch};

/// Bytes of a body that a call reads before it asks.
pub(super) const UNASKED_BYTES: usize = 16 * 1024;

/// What one call asks for and has been granted, in bytes.
#[derive(Debug, Default)]
pub(super) struct Gate {
    asked: AtomicUsize,
    granted: AtomicUsize,
    has_asked: Notify,
    has_granted: Notify,
}

impl Gate {
    /// For the call: waits until somebody has room for so many bytes.
    pub(super) async fn pass(&self, bytes: usize) {
        if bytes <= UNASKED_BYTES || bytes <= self.granted.load(SeqCst) {
            return;
        }
        self.asked.fetch_max(bytes, SeqCst);
        self.has_asked.notify_waiters();
        self.until(&self.has_granted, || self.granted.load(SeqCst) >= bytes).await;
    }

    /// Whether the call stands still because nobody has room.
    pub(super) fn is_shut(&self) -> bool {
        self.asked.load(SeqCst) > self.granted.load(SeqCst)
    }

    async fn asks_beyond(&self, bytes: usize) -> usize {
        self.until(&self.has_asked, || self.asked.load(SeqCst) > bytes).await;
        self.asked.load(SeqCst)
    }

    fn grant(&self, bytes: usize) {
        self.granted.fetch_max(bytes, SeqCst);
        self.has_granted.notify_waiters();
    }

    async fn until(&self, notify: &Notify, holds: impl Fn() -> bool) {
        loop {
            let mut notified = std::pin::pin!(notify.notified());
            // Registered before the look, so that a change behind it is not missed.
            notified.as_mut().enable();
            if holds() {
                return;
            }
            notified.await;
        }
    }
}

/// Bytes that one branch counts in the room of its composition; counted no more on drop.
#[derive(Debug)]
pub(super) struct Counted<'a> {
    room: &'a Room,
    bytes: usize,
    /// Whether it waits for the pool, or did when it was given up.
    waits: bool,
}

impl<'a> Counted<'a> {
    /// Nothing yet.
    pub(super) fn new(room: &'a Room) -> Self {
        Counted { room, bytes: 0, waits: false }
    }

    /// Makes it so many bytes, which may wait.
    pub(super) async fn reach(&mut self, bytes: usize) -> Result<(), TooMuch> {
        let Some(more) = bytes.checked_sub(self.bytes) else {
            self.room.give_back(self.bytes - bytes);
            self.bytes = bytes;
            return Ok(());
        };
        // Counted first: if the wait is given up, drop gives back what the room has counted.
        self.bytes = bytes;
        self.waits = true;
        let grown = self.room.grow(more).await;
        self.waits = false;
        if grown.is_err() {
            self.bytes -= more;
        }
        grown
    }

    /// Whether it was waiting when it was given up: what is late then is not the service.
    pub(super) fn waits(&self) -> bool {
        self.waits
    }

    /// Bytes counted.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Leaves the bytes counted for as long as there is the room.
    pub(super) fn keep(mut self) {
        self.bytes = 0;
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.room.give_back(self.bytes);
    }
}

/// Waits for a call, and makes room for what it reads.
///
/// # Errors
/// The composition may not hold as much.
pub(super) async fn attend<F: Future + Unpin>(
    mut call: F,
    gate: &Gate,
    counted: &mut Counted<'_>,
) -> Result<F::Output, TooMuch> {
    loop {
        let asked = tokio::select! {
            biased;
            done = &mut call => return Ok(done),
            asked = gate.asks_beyond(counted.bytes()) => asked,
        };
        counted.reach(asked).await?;
        gate.grant(asked);
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::super::memory::tests::memory;
    use super::*;

    #[tokio::test]
    async fn a_call_reads_little_without_asking() {
        let gate = Gate::default();
        assert_eq!(gate.pass(UNASKED_BYTES).now_or_never(), Some(()));
        assert!(gate.pass(UNASKED_BYTES + 1).now_or_never().is_none());
        assert!(gate.is_shut());
    }

    #[tokio::test]
    async fn those_who_wait_make_room_and_the_first_that_has_it_lets_the_call_go_on() {
        let memory = memory(9, 1024 * 1024);
        let (full, free) = (memory.room(1024 * 1024), memory.room(1024 * 1024));
        let other = memory.room(1024 * 1024);
        other.grow(300 * 1024).await.unwrap();
        full.grow(250 * 1024).await.unwrap();
        let gate = Gate::default();
        let call = async {
            gate.pass(100 * 1024).await;
            7
        }
        .shared();
        let (mut one, mut two) = (Counted::new(&full), Counted::new(&free));
        {
            let mut waits = Box::pin(attend(call.clone(), &gate, &mut one));
            assert!(futures::poll!(&mut waits).is_pending(), "its composition has to wait for the pool");
            assert_eq!(attend(call, &gate, &mut two).await, Ok(7));
        }
        assert_eq!(two.bytes(), 100 * 1024);
        drop(one);
        full.grow(6 * 1024).now_or_never().unwrap().unwrap();
    }

    #[tokio::test]
    async fn what_is_given_up_is_counted_no_more() {
        let memory = memory(9, 1024 * 1024);
        let room = memory.room(300 * 1024);
        let mut counted = Counted::new(&room);
        counted.reach(200 * 1024).await.unwrap();
        assert_eq!(counted.reach(301 * 1024).await, Err(TooMuch));
        assert_eq!(counted.bytes(), 200 * 1024);
        counted.reach(100 * 1024).await.unwrap();
        counted.keep();
        let mut more = Counted::new(&room);
        assert_eq!(more.reach(200 * 1024).await, Ok(()));
        drop(more);
        let mut again = Counted::new(&room);
        assert_eq!(again.reach(200 * 1024).await, Ok(()));
    }
}
