//! What is measured of composed answers.

mod cpu;
mod faults;
mod latency;
mod memory;
mod requests;

pub(super) use self::cpu::Cpu;
pub(super) use self::faults::{FAILING, Faults, SLOW};
pub(super) use self::latency::Latency;
pub(super) use self::memory::memory;

/// How many services an answer is made of.
pub(super) const BRANCHES: [usize; 2] = [3, 8];
