//! What the admin page shows of an upstream.

use std::sync::PoisonError;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

use serde::Serialize;

use crate::Upstream;
use crate::clock::millis;

/// An upstream at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Snapshot {
    /// Its name.
    pub name: String,
    /// Whether at least one address is known.
    pub ready: bool,
    /// How often a target was left out because of its failures, since the upstream is there.
    pub ejections: u64,
    /// Its targets, in the order of the configuration.
    pub targets: Vec<TargetSnapshot>,
    /// Names that could not be resolved, each with the reason.
    pub resolve_errors: Vec<String>,
}

/// A target at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TargetSnapshot {
    /// As written in the configuration.
    pub name: String,
    /// Its address and port.
    pub address: String,
    /// Its share among the targets.
    pub weight: u32,
    /// Exchanges under way to it.
    pub in_flight: usize,
    /// Exchanges that were given to it, since it is there.
    pub requests: u64,
    /// Failures of requests in a row.
    pub failures: u32,
    /// Whether it gets requests.
    #[serde(flatten)]
    pub state: TargetState,
}

/// Whether a target gets requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "state")]
pub enum TargetState {
    /// It does.
    Healthy,
    /// Its health check fails.
    Unhealthy,
    /// Its requests failed, and it is left out for a while.
    Ejected {
        /// For how long from now, in milliseconds.
        left_ms: u64,
    },
}

impl Upstream {
    /// The upstream at this moment, for the admin page.
    pub fn snapshot(&self, now: Instant) -> Snapshot {
        let now = millis(now);
        let board = self.board.load();
        let targets = board.targets.iter().map(|target| {
            let state = if !target.healthy() {
                TargetState::Unhealthy
            } else if target.ejected(now) {
                TargetState::Ejected { left_ms: target.ejected_until.load(Relaxed).saturating_sub(now) }
            } else {
                TargetState::Healthy
            };
            TargetSnapshot {
                name: target.name.to_string(),
                address: target.address.to_string(),
                weight: target.weight,
                in_flight: target.in_flight.load(Relaxed),
                requests: target.requests.load(Relaxed),
                failures: target.failures.load(Relaxed),
                state,
            }
        });
        let names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        let error = |known: &crate::resolve::Known| {
            known.error.as_ref().map(|error| format!("{}: {error}", known.source.written))
        };
        Snapshot {
            name: self.name().to_string(),
            ready: self.ready(),
            ejections: self.ejections.load(Relaxed),
            targets: targets.collect(),
            resolve_errors: names.known.iter().filter_map(error).collect(),
        }
    }
}
