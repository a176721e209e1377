//! What compositions may hold: how many requests are under way, and how many bytes of results they keep.
//!
//! A composition whose results stay small ([`FREE_BYTES`]) takes nothing from anybody. One that outgrows this waits,
//! in turn, for the most it could ever need, all at once, and never asks again. So whoever waits holds nothing that
//! others wait for: there can be no deadlock, whatever the limits are. What is taken is given back when the
//! answer has been sent or is not wanted any more.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use prometheus::IntGauge;
use sallyport_config::aggregator::AggregatorLimits;
use tokio::sync::{OnceCell, OwnedSemaphorePermit, Semaphore};

/// Bytes of results that a composition may hold without asking.
pub(super) const FREE_BYTES: usize = 256 * 1024;
/// The pool is counted in pieces of this many bytes.
const PIECE_BYTES: usize = 1024;

/// The limits that all compositions share.
#[derive(Debug)]
pub(super) struct Memory {
    places: Arc<Semaphore>,
    pool: Arc<Semaphore>,
    pool_pieces: u32,
    gauges: MemoryGauges,
}

/// What is held, for the operator.
#[derive(Debug, Clone)]
pub(super) struct MemoryGauges {
    /// Requests under way.
    pub(super) in_flight: IntGauge,
    /// Bytes taken from the pool.
    pub(super) held: IntGauge,
    /// Compositions that wait for the pool.
    pub(super) waiting: IntGauge,
}

/// One place among the requests under way; given back on drop.
#[derive(Debug)]
pub(super) struct Place {
    _permit: OwnedSemaphorePermit,
    gauge: IntGauge,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.gauge.dec();
    }
}

/// A part of the pool; given back on drop.
#[derive(Debug)]
pub(super) struct Taken {
    _permit: OwnedSemaphorePermit,
    bytes: i64,
    gauge: IntGauge,
}

impl Drop for Taken {
    fn drop(&mut self) {
        self.gauge.sub(self.bytes);
    }
}

impl Memory {
    /// The limits of `aggregator.limits`. A pool smaller than what a composition has free is as large as that.
    pub(super) fn new(limits: &AggregatorLimits, gauges: MemoryGauges) -> Self {
        let pieces =
            usize::try_from(limits.memory.0).unwrap_or(usize::MAX).max(FREE_BYTES).div_ceil(PIECE_BYTES);
        let pool_pieces = u32::try_from(pieces.min(Semaphore::MAX_PERMITS)).unwrap_or(u32::MAX);
        Memory {
            places: Arc::new(Semaphore::new(limits.in_flight.min(Semaphore::MAX_PERMITS))),
            pool: Arc::new(Semaphore::new(pool_pieces as usize)),
            pool_pieces,
            gauges,
        }
    }

    /// A place for one more request; `None` if there are `limits.in_flight`.
    pub(super) fn admit(&self) -> Option<Place> {
        let permit = self.places.clone().try_acquire_owned().ok()?;
        self.gauges.in_flight.inc();
        Some(Place { _permit: permit, gauge: self.gauges.in_flight.clone() })
    }

    /// Room for one composition's results, at most so many bytes, and never more than the whole pool.
    pub(super) fn room(&self, bytes_max: usize) -> Room {
        let bytes_max = bytes_max.min(self.pool_pieces as usize * PIECE_BYTES);
        Room {
            pool: self.pool.clone(),
            bytes_max,
            held: AtomicUsize::new(0),
            taken: OnceCell::new(),
            gauges: self.gauges.clone(),
        }
    }
}

/// The results of one composition would be larger than its `answer.bytes`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TooMuch;

/// Room for the results of one composition. Its branches share it.
#[derive(Debug)]
pub(super) struct Room {
    pool: Arc<Semaphore>,
    bytes_max: usize,
    held: AtomicUsize,
    taken: OnceCell<Taken>,
    gauges: MemoryGauges,
}

/// Counts a wait while it lasts, and no longer if it is given up.
struct Waiting<'a>(&'a IntGauge);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.dec();
    }
}

impl Room {
    /// Makes room for so many bytes more; waits in turn if that needs the pool. Given up, it has changed nothing but
    /// the count, which [`Room::give_back`] corrects.
    ///
    /// # Errors
    /// [`TooMuch`] if all results together would be more than `answer.bytes`. They are then not counted.
    pub(super) async fn grow(&self, bytes: usize) -> Result<(), TooMuch> {
        let held = self.held.fetch_add(bytes, Relaxed).saturating_add(bytes);
        if held > self.bytes_max {
            self.give_back(bytes);
            return Err(TooMuch);
        }
        if held > FREE_BYTES && !self.taken.initialized() {
            self.gauges.waiting.inc();
            let _waiting = Waiting(&self.gauges.waiting);
            // One branch asks, the others wait for it; if that one is cancelled, the next asks.
            self.taken.get_or_try_init(|| self.take()).await?;
        }
        Ok(())
    }

    /// Counts so many bytes less.
    pub(super) fn give_back(&self, bytes: usize) {
        self.held.fetch_sub(bytes, Relaxed);
    }

    /// The part of the pool that this room took, to be kept until the answer has been sent.
    pub(super) fn into_taken(self) -> Option<Taken> {
        self.taken.into_inner()
    }

    async fn take(&self) -> Result<Taken, TooMuch> {
        let pieces = u32::try_from(self.bytes_max.div_ceil(PIECE_BYTES)).unwrap_or(u32::MAX);
        // The pool is never closed, and never smaller than one room: see `Memory::room`.
        let permit = self.pool.clone().acquire_many_owned(pieces).await.map_err(|_| TooMuch)?;
        let bytes = i64::from(pieces) * PIECE_BYTES as i64;
        self.gauges.held.add(bytes);
        Ok(Taken { _permit: permit, bytes, gauge: self.gauges.held.clone() })
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use futures::FutureExt;
    use sallyport_config::units::ByteSize;

    use super::*;

    pub(crate) fn gauges() -> MemoryGauges {
        let gauge = |name: &str| IntGauge::new(name, "for a test").unwrap();
        MemoryGauges { in_flight: gauge("in_flight"), held: gauge("held"), waiting: gauge("waiting") }
    }

    pub(crate) fn memory(in_flight: usize, memory: usize) -> Memory {
        let limits =
            AggregatorLimits { in_flight, memory: ByteSize(memory as u64), ..AggregatorLimits::default() };
        Memory::new(&limits, gauges())
    }

    #[test]
    fn one_request_more_than_allowed_is_not_admitted() {
        let memory = memory(2, 0);
        let first = memory.admit().unwrap();
        let _second = memory.admit().unwrap();
        assert!(memory.admit().is_none());
        drop(first);
        assert!(memory.admit().is_some());
        assert_eq!(memory.gauges.in_flight.get(), 1);
    }

    #[test]
    fn small_results_take_nothing() {
        let memory = memory(1, 1024 * 1024);
        let room = memory.room(1024 * 1024);
        assert_eq!(room.grow(FREE_BYTES).now_or_never(), Some(Ok(())));
        assert_eq!(memory.gauges.held.get(), 0);
        assert!(room.into_taken().is_none());
    }

    #[test]
    fn more_than_the_answer_may_hold_is_refused_and_not_counted() {
        let memory = memory(1, 1024 * 1024);
        let room = memory.room(300 * 1024);
        assert_eq!(room.grow(300 * 1024 + 1).now_or_never(), Some(Err(TooMuch)));
        assert_eq!(room.grow(300 * 1024).now_or_never(), Some(Ok(())));
        assert_eq!(room.grow(1).now_or_never(), Some(Err(TooMuch)));
    }

    #[test]
    fn a_room_is_never_larger_than_the_pool() {
        let memory = memory(1, 1024 * 1024);
        let room = memory.room(usize::MAX);
        assert_eq!(room.grow(1024 * 1024).now_or_never(), Some(Ok(())));
        assert_eq!(room.grow(1).now_or_never(), Some(Err(TooMuch)));
    }

    #[tokio::test]
    async fn those_that_outgrow_the_free_part_wait_in_turn_and_take_all_they_may_need() {
        let memory = memory(9, 1024 * 1024);
        let rooms: Vec<Room> = (0..3).map(|_| memory.room(600 * 1024)).collect();
        assert_eq!(rooms[0].grow(FREE_BYTES + 1).now_or_never(), Some(Ok(())));
        assert_eq!(memory.gauges.held.get(), 600 * 1024);
        let mut second = Box::pin(rooms[1].grow(FREE_BYTES + 1));
        let mut third = Box::pin(rooms[2].grow(FREE_BYTES + 1));
        assert!(futures::poll!(&mut second).is_pending());
        assert!(futures::poll!(&mut third).is_pending());
        assert_eq!(memory.gauges.waiting.get(), 2);
        // Whoever has taken its part needs nobody's leave for the rest.
        assert_eq!(rooms[0].grow(300 * 1024).now_or_never(), Some(Ok(())));
        drop((second, third));
        assert_eq!(memory.gauges.waiting.get(), 0, "a wait that is given up is none");
    }

    #[tokio::test]
    async fn what_was_taken_is_given_back_with_the_answer() {
        let memory = memory(9, 1024 * 1024);
        let (first, second) = (memory.room(1024 * 1024), memory.room(1024 * 1024));
        first.grow(FREE_BYTES + 1).await.unwrap();
        let mut waiting = Box::pin(second.grow(FREE_BYTES + 1));
        assert!(futures::poll!(&mut waiting).is_pending());
        let hold = first.into_taken();
        assert!(futures::poll!(&mut waiting).is_pending(), "the answer is still being sent");
        drop(hold);
        assert_eq!(waiting.await, Ok(()));
    }

    #[tokio::test]
    async fn another_branch_asks_if_the_one_that_asked_is_cancelled() {
        let memory = memory(9, 1024 * 1024);
        let (first, second) = (memory.room(1024 * 1024), memory.room(1024 * 1024));
        first.grow(FREE_BYTES + 1).await.unwrap();
        let mut asks = Box::pin(second.grow(FREE_BYTES + 1));
        let mut waits = Box::pin(second.grow(1));
        assert!(futures::poll!(&mut asks).is_pending());
        assert!(futures::poll!(&mut waits).is_pending());
        drop(asks);
        drop(first);
        assert_eq!(waits.await, Ok(()));
    }
}
