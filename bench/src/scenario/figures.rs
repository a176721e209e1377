//! The figures that passing and the whole job have in common: CPU a request, requests a second, latency, memory.

use std::path::Path;

use anyhow::{Context, Result};

use crate::contest::{Calls, Round, Running, Samples, Settings};
use crate::data::{Better, Measure};

/// The parts of its own saturation at which a contestant's latency is measured, in per cent.
const LOADS: [u32; 3] = [30, 60, 80];
/// From this on, in per cent of its core, a contestant counts as saturated: pauses of the load cost it some.
const SATURATED: f64 = 85.0;
/// Rounds for latency; beyond, more of them say nothing new.
const LATENCY_ROUNDS_MAX: u32 = 3;

/// The measures while they are being made.
pub(super) struct Figures {
    scenario: &'static str,
    cpu: Samples,
    rate: Samples,
    p50: Samples,
    p99: Samples,
    p50_same: Samples,
    p99_same: Samples,
    busy: Samples,
    memory: Samples,
}

impl Figures {
    /// Without any value yet. Ratios are given over the contestant `over`.
    pub(super) fn new(scenario: &'static str, over: &str) -> Figures {
        let axis = "load, % of the contestant's own saturation";
        let latency = |name, title| Samples::new(name, title, "µs", Better::Lower);
        Figures {
            scenario,
            cpu: Samples::new("cpu", "CPU time a request", "µs", Better::Lower).over(over),
            rate: Samples::new("rate", "Requests a second at saturation", "1/s", Better::Higher).over(over),
            p50: latency("p50", "Latency, median").along(axis, false),
            p99: latency("p99", "Latency, 99th percentile").along(axis, false),
            p50_same: latency("p50_same", "Latency, median, all at the same rate").over(over),
            p99_same: latency("p99_same", "Latency, 99th percentile, all at the same rate").over(over),
            busy: Samples::new("busy", "Part of its core that it used at saturation", "%", Better::Higher),
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
        self.busy.add(round, &running.name, case, None, cpu * answered.rate / 1e4);
        self.cpu.add(round, &running.name, case, None, cpu);
        self.rate.add(round, &running.name, case, None, answered.rate);
        Ok(answered.answers)
    }

    /// Latencies of all, in turn: at parts of what each has reached in a case, and at one rate that is half of what the slowest
    /// has reached. How many answers each gave.
    pub(super) fn latencies(
        &mut self,
        settings: &Settings,
        case: &str,
        contestants: &[(&Running, Calls)],
    ) -> Result<Vec<u64>> {
        let reached: Vec<f64> = contestants
            .iter()
            .map(|(running, _)| self.rate.median(&running.name, case).context("its saturation is not known"))
            .collect::<Result<_>>()?;
        let same = reached.iter().copied().fold(f64::INFINITY, f64::min) / 2.0;
        let same_case = format!("{same:.0}/s");
        let mut answers = vec![0; contestants.len()];
        // No round to get warm: all have had load. Half as many, because each has as many turns as there are rates.
        let rounds = settings.rounds.div_ceil(2).min(LATENCY_ROUNDS_MAX);
        for round in (1..=rounds).map(|number| Round { number }) {
            for load in LOADS.map(Some).into_iter().chain([None]) {
                for (((running, calls), answers), reached) in
                    contestants.iter().zip(&mut answers).zip(&reached)
                {
                    let rate = load.map_or(same, |load| reached * f64::from(load) / 100.0);
                    let found = calls.at_rate(settings.connections, rate, settings.seconds);
                    let found = found.with_context(|| running.name.clone())?;
                    let (p50, p99) = (found.p50_us, found.p99_us);
                    settings.progress(
                        self.scenario,
                        &format!(
                            "{round}, {rate:.0}/s: {} p50 {p50:.0} µs, p99 {p99:.0} µs (99 % sent within {:.0} µs)",
                            running.name, found.late_p99_us
                        ),
                    );
                    *answers += found.answers;
                    if let Some(load) = load {
                        let (part, x) = (format!("{load} %"), Some(f64::from(load)));
                        self.p50.add(round, &running.name, &part, x, p50);
                        self.p99.add(round, &running.name, &part, x, p99);
                    } else {
                        self.p50_same.add(round, &running.name, &same_case, None, p50);
                        self.p99_same.add(round, &running.name, &same_case, None, p99);
                    }
                }
            }
        }
        Ok(answers)
    }

    /// Who was not at its limit in a case although the load was, and what that means.
    pub(super) fn not_saturated(&self, contestants: &[Running], case: &str) -> Option<String> {
        let part = |running: &Running| self.busy.median(&running.name, case).filter(|busy| *busy < SATURATED);
        let below: Vec<String> = contestants
            .iter()
            .filter_map(|running| part(running).map(|busy| format!("{} {busy:.0} %", running.name)))
            .collect();
        (!below.is_empty()).then(|| {
            format!(
                "{case}, the limit of these: the load core (or whatever else ran) gave out before they had used their own core, of \
                 which they used: {}. Their requests a second, and latencies at parts of these, are those of the load",
                below.join(", ")
            )
        })
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
        let all =
            [self.cpu, self.rate, self.busy, self.p50_same, self.p99_same, self.p50, self.p99, self.memory];
        all.map(Samples::measure).into()
    }
}
