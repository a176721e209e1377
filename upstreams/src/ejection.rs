//! Passive health: what failures of real requests do to a target.

use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use sallyport_config::upstream::Ejection;

use crate::balance::Board;
use crate::clock::millis;
use crate::target::Target;

/// What one try on a target came to. A client that went away says nothing about the target: do not report it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Observation {
    /// The target answered, with any status but 502, 503 and 504.
    Success,
    /// No connection, no answer in time, a broken answer, or 502, 503 or 504.
    Failure,
}

/// Decides when a target is left out.
pub(crate) struct Ejector {
    settings: Ejection,
    /// Held while one ejection is decided, so that two at a time do not exceed `max_percent`. Taken only when a
    /// target has failed often enough, never for a request that went well.
    deciding: Mutex<()>,
}

impl Ejector {
    pub(crate) fn new(settings: Ejection) -> Self {
        Ejector { settings, deciding: Mutex::new(()) }
    }

    /// Counts what was seen. Whether the target was ejected by it.
    ///
    /// The count of failures in a row is not reset by an ejection: a target that comes back is on probation, and its
    /// next failure ejects it again at once.
    pub(crate) fn observe(&self, board: &Board, target: &Target, seen: Observation, now: Instant) -> bool {
        match seen {
            Observation::Success => {
                // Reading first keeps the line shared between cores while all is well.
                if target.failures.load(Relaxed) != 0 {
                    target.failures.store(0, Relaxed);
                }
                false
            }
            Observation::Failure => {
                let failures = target.failures.fetch_add(1, Relaxed).saturating_add(1);
                self.settings.failures > 0
                    && failures >= self.settings.failures
                    && self.eject(board, target, now)
            }
        }
    }

    fn eject(&self, board: &Board, target: &Target, now: Instant) -> bool {
        let _one_at_a_time = self.deciding.lock().unwrap_or_else(PoisonError::into_inner);
        let now_millis = millis(now);
        if target.ejected(now_millis) {
            return false;
        }
        let out = board.targets.iter().filter(|other| other.ejected(now_millis)).count();
        if (out + 1) * 100 > board.targets.len() * self.settings.max_percent as usize {
            return false;
        }
        let period = u64::try_from(self.settings.period.as_millis()).unwrap_or(u64::MAX);
        target.ejected_until.store(now_millis.saturating_add(period), Relaxed);
        true
    }
}
