//! So many in such a time, with a burst: what one client may do. Other limits, over many clients, are the edge's filters'.

use sallyport_config::units::Rate;

/// How often something may be done.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Allowance {
    /// Microseconds that one costs.
    cost: u64,
    /// The most that may be saved up, likewise.
    burst: u64,
}

/// What one client has used of it: the time, in microseconds, at which all would be paid off.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Used(u64);

impl Allowance {
    pub(crate) fn new(rate: Rate, burst: u32) -> Self {
        let per = u64::try_from(rate.per.as_micros()).unwrap_or(u64::MAX);
        let cost = (per / u64::from(rate.count.max(1))).max(1);
        Allowance { cost, burst: cost.saturating_mul(u64::from(burst.max(1))) }
    }

    /// Takes one at a time in milliseconds. Whether it may be had.
    pub(crate) fn take(&self, used: &mut Used, now_ms: u64) -> bool {
        let now = now_ms.saturating_mul(1000);
        let next = used.0.max(now).saturating_add(self.cost);
        if next > now.saturating_add(self.burst) {
            return false;
        }
        used.0 = next;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_then_a_rate() {
        let allowance = Allowance::new("10/s".parse().unwrap(), 3);
        let mut used = Used::default();
        let taken: Vec<bool> = (0..4).map(|_| allowance.take(&mut used, 1000)).collect();
        assert_eq!(taken, [true, true, true, false]);
        assert!(!allowance.take(&mut used, 1099));
        assert!(allowance.take(&mut used, 1100));
        assert!(!allowance.take(&mut used, 1100));
        // A long rest gives the burst back, and no more.
        let taken = (0..5).filter(|_| allowance.take(&mut used, 100_000)).count();
        assert_eq!(taken, 3);
    }
}
