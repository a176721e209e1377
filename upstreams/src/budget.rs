//! The retry budget: how many of an upstream's requests may be second tries. Whether one request may be sent again
//! at all is not decided here.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Instant;

use crate::clock::millis;

/// Seconds that the budget looks back.
const WINDOW_SECONDS: u64 = 10;
/// One request in this many may be a retry.
const REQUESTS_PER_RETRY: u64 = 5;
/// Retries that are always allowed within the window, so that an upstream with little traffic may retry too.
const RETRIES_FREE: u64 = 10;

const RETRY_BITS: u32 = 20;
const REQUEST_BITS: u32 = 28;
const ONE_REQUEST: u64 = 1 << RETRY_BITS;
const STAMP_SHIFT: u32 = RETRY_BITS + REQUEST_BITS;
const STAMP_MASK: u64 = 0xffff;

/// Counts requests and retries of the last ten seconds, a slot a second.
///
/// A slot is one word: the second it counts (16 bits), its requests (28 bits), its retries (20 bits). No lock: two
/// threads that turn a slot over at the same moment may lose a count, and retries decided at the same moment may
/// exceed the budget by the number of threads.
#[derive(Debug, Default)]
pub(crate) struct RetryBudget {
    slots: [AtomicU64; WINDOW_SECONDS as usize],
}

impl RetryBudget {
    /// Counts a request; first tries only.
    pub(crate) fn note_request(&self, now: Instant) {
        self.count(now, ONE_REQUEST);
    }

    /// Whether one more retry fits into the budget. If so, it is counted.
    pub(crate) fn take(&self, now: Instant) -> bool {
        let second = second(now);
        let (mut requests, mut retries) = (0, 0);
        for slot in &self.slots {
            let word = slot.load(Relaxed);
            let age = (second & STAMP_MASK).wrapping_sub(word >> STAMP_SHIFT) & STAMP_MASK;
            if age < WINDOW_SECONDS {
                requests += (word >> RETRY_BITS) & ((1 << REQUEST_BITS) - 1);
                retries += word & (ONE_REQUEST - 1);
            }
        }
        let allowed = retries < (requests / REQUESTS_PER_RETRY).max(RETRIES_FREE);
        if allowed {
            self.count(now, 1);
        }
        allowed
    }

    fn count(&self, now: Instant, amount: u64) {
        let second = second(now);
        let stamp = (second & STAMP_MASK) << STAMP_SHIFT;
        let slot = &self.slots[(second % WINDOW_SECONDS) as usize];
        let word = slot.load(Relaxed);
        let turned = word >> STAMP_SHIFT != stamp >> STAMP_SHIFT
            && slot.compare_exchange(word, stamp | amount, Relaxed, Relaxed).is_ok();
        if !turned {
            slot.fetch_add(amount, Relaxed);
        }
    }
}

fn second(now: Instant) -> u64 {
    millis(now) / 1000
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn taken(budget: &RetryBudget, now: Instant, tries: usize) -> usize {
        (0..tries).filter(|_| budget.take(now)).count()
    }

    #[test]
    fn a_fifth_of_the_requests_may_be_retries() {
        let budget = RetryBudget::default();
        let now = Instant::now();
        for _ in 0..1000 {
            budget.note_request(now);
        }
        assert_eq!(taken(&budget, now, 1000), 200);
    }

    #[test]
    fn little_traffic_may_retry_ten_times() {
        let budget = RetryBudget::default();
        let now = Instant::now();
        budget.note_request(now);
        assert_eq!(taken(&budget, now, 100), 10);
    }

    #[test]
    fn the_window_slides() {
        let budget = RetryBudget::default();
        let start = Instant::now();
        for _ in 0..1000 {
            budget.note_request(start);
        }
        assert_eq!(taken(&budget, start, 1000), 200);
        let later = start + Duration::from_secs(5);
        assert_eq!(taken(&budget, later, 100), 0, "still within the window");
        let after = start + Duration::from_secs(11);
        assert_eq!(taken(&budget, after, 100), 10, "requests and retries are both forgotten");
    }

    #[test]
    fn a_slot_is_turned_over_not_added_to() {
        let budget = RetryBudget::default();
        let start = Instant::now();
        for lap in 0..5 {
            let now = start + Duration::from_secs(10 * lap);
            for _ in 0..100 {
                budget.note_request(now);
            }
            assert_eq!(taken(&budget, now, 100), 20);
        }
    }
}
