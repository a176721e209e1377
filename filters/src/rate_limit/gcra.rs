//! The arithmetic of one bucket, exact: no state, no clock.
//!
//! The generic cell rate algorithm (ITU-T I.371, annex A) remembers of a bucket only the moment at which it will be
//! full again. That is the same as a bucket that holds `burst` tokens and gets `count` of them back every `per`,
//! without a second number to update.

use std::time::Duration;

use sallyport_config::units::Rate;

/// The rate and the depth of a bucket.
///
/// Moments and spans are counted in ticks of a `count`th of a nanosecond, so that the time between two requests,
/// `per / count`, is a whole number whatever the rate: nothing is rounded, so nothing adds up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Gcra {
    count: u128,
    /// Ticks that one request costs: `per` in nanoseconds.
    cost: u128,
    /// Ticks from empty to full: `burst` requests.
    depth: u128,
}

/// A moment, in ticks since the epoch of a table.
pub(super) type Ticks = u128;

impl Gcra {
    /// `rate` has a count and a time that are not 0; `burst` is not 0.
    pub(super) fn new(rate: Rate, burst: u32) -> Gcra {
        let cost = rate.per.as_nanos().max(1);
        Gcra { count: u128::from(rate.count.max(1)), cost, depth: cost * u128::from(burst.max(1)) }
    }

    /// A moment.
    pub(super) fn ticks(&self, since_epoch: Duration) -> Ticks {
        since_epoch.as_nanos() * self.count
    }

    /// One request at `now` from a bucket that is full again at `full`: when it will then be full, or how many ticks
    /// are missing until the request could pass.
    pub(super) fn take(&self, full: Ticks, now: Ticks) -> Result<Ticks, Ticks> {
        let after = full.max(now) + self.cost;
        match after.checked_sub(now + self.depth) {
            None | Some(0) => Ok(after),
            Some(missing) => Err(missing),
        }
    }

    /// How many requests could pass at `now`.
    pub(super) fn left(&self, full: Ticks, now: Ticks) -> u32 {
        let room = (now + self.depth).saturating_sub(full.max(now));
        u32::try_from(room / self.cost).unwrap_or(u32::MAX)
    }

    /// Ticks as whole seconds, rounded up.
    pub(super) fn seconds(&self, ticks: Ticks) -> u32 {
        u32::try_from(ticks.div_ceil(self.count * 1_000_000_000)).unwrap_or(u32::MAX)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn gcra(count: u32, per: Duration, burst: u32) -> Gcra {
        Gcra::new(Rate { count, per }, burst)
    }

    /// A bucket as everybody would write it, in the same exact units.
    struct Bucket {
        level: u128,
        at: Ticks,
    }

    impl Bucket {
        fn take(&mut self, of: &Gcra, now: Ticks) -> bool {
            self.level = (self.level + (now - self.at)).min(of.depth);
            self.at = now;
            let enough = self.level >= of.cost;
            if enough {
                self.level -= of.cost;
            }
            enough
        }
    }

    #[test]
    fn a_full_bucket_gives_its_burst_and_then_the_rate() {
        let limit = gcra(3, Duration::from_secs(1), 2);
        let mut full = 0;
        let mut passes = |nanoseconds| match limit.take(full, limit.ticks(Duration::from_nanos(nanoseconds)))
        {
            Ok(after) => {
                full = after;
                true
            }
            Err(_) => false,
        };
        assert!(passes(0) && passes(0) && !passes(0));
        // A third of a second is not a whole number of nanoseconds: one too early, the next in time.
        assert!(!passes(333_333_333) && passes(333_333_334));
        assert!(!passes(666_666_666) && passes(666_666_667));
        assert!(!passes(999_999_999) && passes(1_000_000_000));
    }

    #[test]
    fn extremes_do_not_overflow() {
        let limit = gcra(u32::MAX, Duration::from_secs(366 * 86_400), u32::MAX);
        let now = limit.ticks(Duration::from_secs(1 << 40));
        let full = limit.take(0, now).unwrap();
        assert_eq!(limit.left(full, now), u32::MAX - 1);
        assert_eq!(limit.seconds(Ticks::MAX / 2), u32::MAX);
    }

    proptest! {
        /// Every decision is the same as that of the reference bucket; what is left and the time to wait are true.
        #[test]
        fn decisions_equal_those_of_a_token_bucket(
            count in 1u32..50,
            per in 1u64..5_000_000_000,
            burst in 1u32..20,
            gaps in prop::collection::vec(prop_oneof![Just(0u64), 1u64..1_000_000_000], 1..200),
        ) {
            let limit = gcra(count, Duration::from_nanos(per), burst);
            let mut reference = Bucket { level: limit.depth, at: 0 };
            let (mut full, mut elapsed) = (0, 0);
            for gap in gaps {
                elapsed += gap;
                let now = limit.ticks(Duration::from_nanos(elapsed));
                let left = limit.left(full, now);
                match limit.take(full, now) {
                    Ok(after) => {
                        prop_assert!(reference.take(&limit, now));
                        prop_assert_eq!(limit.left(after, now) + 1, left);
                        full = after;
                    }
                    Err(missing) => {
                        prop_assert!(!reference.take(&limit, now));
                        prop_assert_eq!(left, 0);
                        prop_assert!(limit.take(full, now + missing).is_ok());
                        prop_assert!(limit.take(full, now + missing - 1).is_err());
                    }
                }
            }
        }

        /// In no window of any length do more than `burst + rate * length` requests pass, even if they are decided in
        /// another order than they came in; and a client below the rate is never refused.
        #[test]
        fn no_window_has_too_many_and_a_slow_client_always_passes(
            count in 1u32..50,
            per in 1u64..1_000_000_000,
            burst in 1u32..10,
            moments in prop::collection::vec(0u64..3_000_000_000, 1..120),
        ) {
            let limit = gcra(count, Duration::from_nanos(per), burst);
            let mut full = 0;
            let mut passed: Vec<Ticks> = Vec::new();
            for moment in moments {
                let now = limit.ticks(Duration::from_nanos(moment));
                if let Ok(after) = limit.take(full, now) {
                    full = after;
                    passed.push(now);
                }
            }
            passed.sort_unstable();
            for (first, from) in passed.iter().enumerate() {
                for (last, to) in passed.iter().enumerate().skip(first) {
                    let in_window = (last - first + 1) as u128;
                    prop_assert!(in_window * limit.cost <= limit.depth + (to - from));
                }
            }
            let mut full = 0;
            for request in 0..100 {
                let step = limit.cost.div_ceil(limit.count) as u64;
                let taken = limit.take(full, limit.ticks(Duration::from_nanos(request * step)));
                prop_assert!(taken.is_ok());
                full = taken.unwrap();
            }
        }
    }
}
