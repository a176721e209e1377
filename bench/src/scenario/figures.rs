//! The figures that passing and the whole job have in common: CPU a request, requests a second, latency, memory.

use std::path::Path;

use anyhow::{Context, Result};

use crate::contest::{Calls, Round, Running, Samples, Settings};
use crate::data::{Better, Measure};

/// The parts of its own saturation at which a contestant's latency is measured, in per cent.
const LOADS: [u32; 3] = [30, 60, 80];
/// Rounds for latency; beyond, more of them say nothing new.
const LATENCY_ROUNDS_MAX: u32 = 3;

/// The measures while they are being made.
pub(super) struct Figures {
    scenario: &'static str,
    cpu: Samples,
    rate: Samples,
    p50: Samples,
    p99: Samples,
    memory: Samples,
}

impl Figures {
    /// Without any value yet. Ratios are given over the contestant `over`.
    pub(super) fn new(scenario: &'static str, over: &str) -> Figures {
        let axis = "load, % of the contestant's own saturation";
        let latency = |name, title| Samples::new(name, title, "µs", Better::Lower).along(axis, false);
        Figures {
            scenario,
            cpu: Samples::new("cpu", "CPU time a request", "µs", Better::Lower).over(over),
            rate: Samples::new("rate", "Requests a second at saturation", "1/s", Better::Higher).over(over),
            p50: latency("p50", "Latency, median"),
            p99: latency("p99", "Latency, 99th percentile"),
            memory: Samples::new("memory", "Resident memory after load", "MiB", Better::Lower).over(over),
        }
    }

    /// One contestant's turn in a round: as much as it can take. How many answers there were.
    pub(super) fn turn(
        &mut self,
        settings: &Settings,
        folder: &Path,
        round: Round,
        running: &Running,
        case: &str,
        calls: &Calls,
    ) -> Result<u64> {
        let mut answered = None;
        let cpu = running.cpu_us_each(|| {
            let found = calls.saturate(settings, folder)?;
            answered = Some(found);
            Ok(found.answers)
        })?;
        let answered = answered.context("no load was put on")?;
        settings.progress(
            self.scenario,
            &format!("{round}, {case}: {} {cpu:.1} µs CPU, {:.0}/s", running.name, answered.rate),
        );
        self.cpu.add(round, &running.name, case, None, cpu);
        self.rate.add(round, &running.name, case, None, answered.rate);
        Ok(answered.answers)
    }

    /// Latencies of all at parts of what each has reached in a case, in turn. How many answers each gave.
    pub(super) fn latencies(
        &mut self,
        settings: &Settings,
        case: &str,
        contestants: &[(&Running, Calls)],
    ) -> Result<Vec<u64>> {
        let mut answers = vec![0; contestants.len()];
        for round in settings.rounds().filter(|round| (1..=LATENCY_ROUNDS_MAX).contains(&round.number)) {
            for load in LOADS {
                for (index, (running, calls)) in contestants.iter().enumerate() {
                    let most =
                        self.rate.median(&running.name, case).context("its saturation is not known")?;
                    let rate = most * f64::from(load) / 100.0;
                    let found = calls.at_rate(settings.connections, rate, settings.seconds);
                    let found = found.with_context(|| running.name.clone())?;
                    settings.progress(
                        self.scenario,
                        &format!(
                            "{round}, {load} % of saturation: {} p50 {:.0} µs, p99 {:.0} µs (sent up to {:.0} µs late)",
                            running.name, found.p50_us, found.p99_us, found.late_p99_us
                        ),
                    );
                    let (case, x) = (format!("{load} %"), Some(f64::from(load)));
                    self.p50.add(round, &running.name, &case, x, found.p50_us);
                    self.p99.add(round, &running.name, &case, x, found.p99_us);
                    answers[index] += found.answers;
                }
            }
        }
        Ok(answers)
    }

    /// What each has in memory now.
    pub(super) fn memory(&mut self, running: &Running) -> Result<()> {
        let mib = running.process.resident_kib()? as f64 / 1024.0;
        self.memory.add(Round { number: 1 }, &running.name, "after load", None, mib);
        Ok(())
    }

    /// The median CPU time, in µs.
    pub(super) fn cpu_median(&self, contestant: &str, case: &str) -> Option<f64> {
        self.cpu.median(contestant, case)
    }

    /// All of them.
    pub(super) fn measures(self) -> Vec<Measure> {
        [self.cpu, self.rate, self.p50, self.p99, self.memory].map(Samples::measure).into()
    }
}
