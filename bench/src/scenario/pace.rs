//! Sending on time, whatever comes back: each item of a plan is handed over at its moment. Times are taken from these
//! moments, so that an answer that is late does not hide that the next request was late, too (coordinated omission).

use std::thread;
use std::time::{Duration, Instant};

use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

/// Hands over each item when its time has come, together with that time. `plan` is sorted by the times, which are
/// counted from `begin`. A thread of its own does it: timers of the runtime are exact to a millisecond only.
pub(crate) fn paced<T: Send + 'static>(
    begin: Instant,
    plan: impl IntoIterator<Item = (Duration, T), IntoIter: Send + 'static>,
) -> UnboundedReceiver<(Instant, T)> {
    let (hand_over, items) = unbounded_channel();
    let mut plan = plan.into_iter();
    thread::spawn(move || {
        plan.try_for_each(|(at, item)| {
            let due = begin + at;
            thread::sleep(due.saturating_duration_since(Instant::now()));
            hand_over.send((due, item)).ok()
        })
    });
    items
}

/// Times that were taken.
#[derive(Debug, Default, Clone)]
pub(crate) struct Times {
    micros: Vec<u64>,
}

impl Times {
    pub(crate) fn add(&mut self, took: Duration) {
        self.micros.push(u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
    }

    /// How many, and the time that a half, 95 % and 99 % of them do not exceed, and the longest, in microseconds.
    pub(crate) fn summary(mut self) -> serde_json::Value {
        self.micros.sort_unstable();
        serde_json::json!({
            "count": self.micros.len(), "p50_us": share(&self.micros, 0.5), "p95_us": share(&self.micros, 0.95),
            "p99_us": share(&self.micros, 0.99), "max_us": self.micros.last(),
        })
    }
}

/// The value that this share of the sorted ones does not exceed; `None` of none.
pub(crate) fn share<T: Copy>(sorted: &[T], of: f64) -> Option<T> {
    // The nearest rank, counted from one.
    let rank = (sorted.len() as f64 * of).ceil() as usize;
    sorted.get(rank.max(1) - 1).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn everything_is_handed_over_in_order_and_not_before_its_time() {
        let begin = Instant::now();
        let plan: Vec<_> = (0..20).map(|n| (Duration::from_micros(n * 300), n)).collect();
        let mut items = paced(begin, plan);
        for expected in 0..20 {
            let (due, n) = items.recv().await.unwrap();
            assert_eq!(n, expected);
            assert_eq!(due, begin + Duration::from_micros(n * 300));
            assert!(Instant::now() >= due);
        }
        assert!(items.recv().await.is_none());
    }

    #[test]
    fn a_share_is_a_value_that_was_there() {
        let sorted: Vec<u32> = (1..=100).collect();
        assert_eq!(
            (share(&sorted, 0.5), share(&sorted, 0.99), share(&sorted, 1.0)),
            (Some(50), Some(99), Some(100))
        );
        assert_eq!(share(&[7], 0.01), Some(7));
        assert_eq!(share::<u32>(&[], 0.5), None);
    }
}
