//! What one branch of eight costs that fails, or is slow.

use anyhow::Result;

use super::latency::{most, pages};
use super::{Cpu, requests::Requests};
use crate::contest::{Round, Running, Samples, Settings};
use crate::data::{Better, Measure};
use crate::scenario::compose::is_ours;
use crate::scenario::own;

/// Eight branches of which the last fails, and is slow.
pub(crate) const FAILING: &str = "/fault/failing";
pub(crate) const SLOW: &str = "/fault/slow";

const CASES: [(&str, &str); 3] =
    [("all well", "/compose/8/32k"), ("one fails", FAILING), ("one is slow, cut at 100 ms", SLOW)];
/// Answers under way at a time; with a branch that takes 100 ms, some hundreds a second.
const CONNECTIONS: u32 = 64;
const REQUESTS_A_SECOND: u64 = 400;
/// Of what a contestant can reach without faults.
const LOAD: f64 = 0.3;

/// CPU time and latency with and without a fault.
pub(crate) struct Faults {
    cpu: Samples,
    p50: Samples,
    p99: Samples,
}

impl Faults {
    pub(crate) fn new() -> Faults {
        let samples = |name, title, unit| Samples::new(name, title, unit, Better::Lower);
        Faults {
            cpu: samples(
                "fault-cpu",
                "CPU time of an answer of 8 × 32 KiB while a branch fails or is slow",
                "µs",
            ),
            p50: samples("fault-p50", "Its time at 30 % of what each can answer without faults (p50)", "ms"),
            p99: samples("fault-p99", "Its time at 30 % of what each can answer without faults (p99)", "ms"),
        }
    }

    /// A turn of everybody.
    pub(crate) fn round(
        &mut self,
        settings: &Settings,
        round: Round,
        contestants: &[Running],
        cpu: &Cpu,
    ) -> Result<()> {
        for contestant in contestants {
            let ours = is_ours(contestant);
            for (case, path) in CASES.into_iter().filter(|(_, path)| ours || *path != SLOW) {
                let cost = cost(settings, contestant, path)?;
                self.cpu.add(round, &contestant.name, case, None, cost);
                if round.counts() {
                    let rate = most(contestant, cpu)? * LOAD;
                    let times = pages(settings, contestant, path, 1, "sequence", rate)?;
                    self.p50.add(round, &contestant.name, case, None, own::millis(&times, "p50_us")?);
                    self.p99.add(round, &contestant.name, case, None, own::millis(&times, "p99_us")?);
                }
            }
        }
        Ok(())
    }

    pub(crate) fn measures(self) -> Vec<Measure> {
        vec![self.cpu.measure(), self.p50.measure(), self.p99.measure()]
    }
}

fn cost(settings: &Settings, contestant: &Running, path: &str) -> Result<f64> {
    let count = REQUESTS_A_SECOND * u64::from(settings.seconds);
    let requests = Requests::new(contestant, path, count, CONNECTIONS)?;
    contestant.cpu_us_each(|| requests.send().map(|_| count))
}
