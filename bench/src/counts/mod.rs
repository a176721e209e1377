//! The regression guard: how many instructions and heap allocations a piece of work costs, beside what it cost before.
//!
//! What is counted is in `benches/counts`; here is how it is counted ([`callgrind`]), what is known of it ([`Baselines`],
//! kept in `bench/counts.json`) and when a difference is a failure ([`compare`]). `make counts` runs it.
//!
//! Counts, unlike times, are the same on a busy machine and on an idle one, so that 5 % can be told from noise.

mod baselines;
pub mod callgrind;
mod comparison;
mod made_with;

use std::collections::BTreeMap;

use serde::Serialize;

pub use baselines::{Baseline, Baselines};
pub use comparison::{Comparison, Row, Verdict, compare};
pub use made_with::MadeWith;

/// What one turn of a case costs.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Count {
    /// Instructions of the thread that does the work, calls included.
    pub instructions: u64,
    /// Heap allocations of the same thread, on average, to one decimal. Growing an allocation in place is one, too.
    pub allocations: f64,
}

/// Counts by the names of their cases.
pub type Counts = BTreeMap<String, Count>;

/// Instructions may grow by so much before it is a failure. Of the same program they differ by less than a hundredth, mostly not
/// at all: seeds of hash tables and keys are new in each run.
const GROWTH_MAX: f64 = 0.05;
/// Of a small count, by this many: in another folder the compiler cuts crates into units elsewhere, and inlines elsewhere.
const INSTRUCTIONS_MAX: f64 = 100.0;
/// Allocations may not grow by a whole one: each is some hundred instructions in the end.
const ALLOCATIONS_MAX: f64 = 0.5;
/// Where there are many, by this part of them: a whole edge has timers and buffers that depend on how long a run takes.
const ALLOCATIONS_GROWTH_MAX: f64 = 0.02;

impl Count {
    /// Whether this is more than what was, by more than is let pass.
    pub fn grown_from(&self, before: &Count) -> bool {
        self.instructions as f64 > before.instructions as f64 + before.instructions_let_pass()
            || self.allocations > before.allocations + before.allocations_let_pass()
    }

    /// Whether this is so much less that what was would hide the next growth.
    pub fn shrunk_from(&self, before: &Count) -> bool {
        (self.instructions as f64) < before.instructions as f64 - before.instructions_let_pass()
            || self.allocations < before.allocations - before.allocations_let_pass()
    }

    fn instructions_let_pass(&self) -> f64 {
        (self.instructions as f64 * GROWTH_MAX).max(INSTRUCTIONS_MAX)
    }

    fn allocations_let_pass(&self) -> f64 {
        (self.allocations * ALLOCATIONS_GROWTH_MAX).max(ALLOCATIONS_MAX)
    }
}
