//! Which target a request gets. A [`Board`] is a snapshot of an upstream's targets; their state is in atomics, so
//! choosing takes no lock and allocates nothing.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use sallyport_config::upstream::Balance;

use crate::target::{Picked, Target};

/// The most turns in one round of `round_robin`. Weights whose sum is higher are scaled down to it.
const TURNS_MAX: u64 = 8192;

/// Why no target was chosen. The client gets 503 for each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PickError {
    /// No address is known: the names have not been resolved yet, or never could be.
    #[error("no address of the upstream is known yet")]
    Unresolved,
    /// Every target that is well has as many exchanges in flight as it may have.
    #[error("every target of the upstream has as many requests in flight as `in_flight` allows")]
    AllBusy,
    /// The health checks of every target fail.
    #[error("no target of the upstream passes its health check")]
    NoneHealthy,
}

/// The targets of an upstream at one time.
pub(crate) struct Board {
    pub(crate) targets: Box<[Arc<Target>]>,
    /// One round of smooth weighted round robin, as indices of `targets`.
    turns: Box<[u16]>,
}

impl Board {
    /// A board of at most 65,535 targets; the caller's limit is far below.
    pub(crate) fn new(targets: Vec<Arc<Target>>) -> Self {
        let weights: Vec<u32> = targets.iter().map(|target| target.weight).collect();
        Board { targets: targets.into(), turns: turns(&weights) }
    }

    /// Chooses a target and claims a place on it. `ticket` is a number that grows by one with each call.
    ///
    /// Left out are targets that fail their health check, that are ejected, that were already tried, and that have
    /// no place. If every healthy target was tried, one may be tried again. If every healthy target is ejected,
    /// ejection does not count: it is a guess from single failures, and refusing everything would be worse. The
    /// health check is the operator's word: if it fails for all, so does the choice.
    pub(crate) fn pick(
        &self,
        balance: Balance,
        tried: &[SocketAddr],
        now_millis: u64,
        ticket: u64,
    ) -> Result<Picked, PickError> {
        let fresh = |target: &Target| !tried.contains(&target.address);
        let well = |target: &Target| target.healthy() && !target.ejected(now_millis);
        if let Some(picked) = self.choose(balance, ticket, |target| well(target) && fresh(target)) {
            return Ok(picked);
        }
        if let Some(picked) = self.choose(balance, ticket, well) {
            return Ok(picked);
        }
        if self.targets.iter().any(|target| well(target)) {
            return Err(PickError::AllBusy);
        }
        let last = self
            .choose(balance, ticket, |target| target.healthy() && fresh(target))
            .or_else(|| self.choose(balance, ticket, Target::healthy));
        last.ok_or_else(|| {
            if self.targets.is_empty() {
                PickError::Unresolved
            } else if self.targets.iter().any(|target| target.healthy()) {
                PickError::AllBusy
            } else {
                PickError::NoneHealthy
            }
        })
    }

    fn choose(&self, balance: Balance, ticket: u64, admit: impl Fn(&Target) -> bool) -> Option<Picked> {
        if self.turns.is_empty() {
            return None;
        }
        let chosen = match balance {
            Balance::RoundRobin => self.in_turn(ticket, &admit),
            Balance::LeastRequests => self.less_busy(mix(ticket), &admit),
        };
        chosen.or_else(|| {
            let start = self.turn(ticket);
            let (before, after) = self.targets.split_at(start);
            after.iter().chain(before).find_map(|target| admit(target).then(|| target.claim()).flatten())
        })
    }

    /// The next in turn, looking two rounds of targets ahead at most.
    fn in_turn(&self, ticket: u64, admit: &impl Fn(&Target) -> bool) -> Option<Picked> {
        let ahead = (self.targets.len() as u64) * 2;
        (0..ahead.min(self.turns.len() as u64)).find_map(|step| {
            let target = &self.targets[self.turn(ticket.wrapping_add(step))];
            admit(target).then(|| target.claim()).flatten()
        })
    }

    /// The less busy of two, drawn by weight. Busy is what is in flight over weight; when both are as busy, the
    /// first drawn wins, so that idle targets share by weight.
    fn less_busy(&self, random: u64, admit: &impl Fn(&Target) -> bool) -> Option<Picked> {
        let first = self.turn(random & 0xffff_ffff);
        let mut second = self.turn(random >> 32);
        if second == first {
            second =
                (first + 1 + (random >> 16) as usize % (self.targets.len() - 1).max(1)) % self.targets.len();
        }
        let (first, second) = (&self.targets[first], &self.targets[second]);
        match (admit(first), admit(second)) {
            (true, true) => {
                let load = |a: &Target, b: &Target| a.in_flight.load(Relaxed) as u64 * u64::from(b.weight);
                let (less, more) = if load(first, second) <= load(second, first) {
                    (first, second)
                } else {
                    (second, first)
                };
                less.claim().or_else(|| more.claim())
            }
            (true, false) => first.claim(),
            (false, true) => second.claim(),
            (false, false) => None,
        }
    }

    fn turn(&self, ticket: u64) -> usize {
        usize::from(self.turns[(ticket % self.turns.len() as u64) as usize])
    }
}

/// One round of smooth weighted round robin: each index as often as its weight, spread as evenly as can be. Computed
/// at load, because the classic way changes a weight of every target on each request and so needs a lock.
fn turns(weights: &[u32]) -> Box<[u16]> {
    let divisor = weights.iter().copied().fold(0, greatest_common_divisor).max(1);
    let mut weights: Vec<u64> = weights.iter().map(|weight| u64::from(weight / divisor)).collect();
    let sum: u64 = weights.iter().sum();
    if sum > TURNS_MAX {
        for weight in &mut weights {
            *weight = (*weight * TURNS_MAX / sum).max(1);
        }
    }
    let sum: i64 = weights.iter().sum::<u64>() as i64;
    let mut current = vec![0_i64; weights.len()];
    let next = |_| {
        for (current, weight) in current.iter_mut().zip(&weights) {
            *current += *weight as i64;
        }
        // The first of the highest.
        let best = (0..current.len()).rev().max_by_key(|&index| current[index]).unwrap_or(0);
        current[best] -= sum;
        best as u16
    };
    (0..sum).map(next).collect()
}

fn greatest_common_divisor(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { greatest_common_divisor(b, a % b) }
}

/// A number that looks random for each ticket (SplitMix64). Fair, not secret.
pub(crate) fn mix(ticket: u64) -> u64 {
    let mut word = ticket.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}
