//! Uploads and downloads: what a GiB costs, and what is in memory meanwhile.

use anyhow::{Context, Result, ensure};

use super::{NAME, SPOOLING};
use crate::contest::{Client, NGINX, Running, Samples, Settings};
use crate::data::{Better, Check};
use crate::load::transfer::Transferred;

/// Bodies at a time.
const AT_A_TIME: u64 = 4;
/// The clock of processes ticks every 10 ms; so many bytes make some tens of them.
const QUICK: Load = Load { mb: 20, times: 3 };
const FULL: Load = Load { mb: 100, times: 2 };

#[derive(Debug, Clone, Copy)]
struct Load {
    /// MB of a body.
    mb: u64,
    /// Bodies one after another on each connection.
    times: u64,
}

/// The measures of all.
pub(super) fn measure(
    settings: &Settings,
    contestants: &[Running],
    checks: &mut Vec<Check>,
) -> Result<[Samples; 2]> {
    let load = if settings.quick { QUICK } else { FULL };
    let mut cpu = Samples::new("cpu", "CPU time a GiB", "s", Better::Lower).over(NGINX.name);
    let mut peak = Samples::new("peak", "Memory at most during transfers", "MiB", Better::Lower);
    for round in settings.rounds() {
        for direction in ["up", "down"] {
            for running in contestants {
                let case = format!("{} MB {direction}", load.mb);
                let turn = turn(running, direction, load);
                let (seconds, mib) = turn.with_context(|| format!("{}, {case}", running.name))?;
                settings.progress(
                    NAME,
                    &format!(
                        "{round}, {case}: {} {seconds:.2} s CPU a GiB, {mib:.0} MiB at most",
                        running.name
                    ),
                );
                cpu.add(round, &running.name, &case, None, seconds);
                peak.add(round, &running.name, &case, None, mib);
            }
        }
    }
    for running in contestants {
        let how = if running.name == SPOOLING { "whole, after a file" } else { "whole" };
        checks.push(Check {
            contestant: running.name.clone(),
            what: format!("uploads and downloads come {how}, every byte as it was sent"),
        });
    }
    Ok([cpu, peak])
}

/// CPU time a GiB in seconds, and the most memory in MiB.
fn turn(running: &Running, direction: &str, load: Load) -> Result<(f64, f64)> {
    let bytes = load.mb * 1_000_000;
    let expected = bytes * AT_A_TIME * load.times;
    running.process.forget_peak()?;
    let us_a_byte = running.cpu_us_each(|| {
        let options = [
            ("--port", running.port.to_string()),
            ("--direction", direction.to_owned()),
            ("--bytes", bytes.to_string()),
            ("--at-a-time", AT_A_TIME.to_string()),
            ("--times", load.times.to_string()),
        ];
        let found: Transferred = Client::start("transfer", &options)?.found()?;
        ensure!(found.bytes == expected, "{} bytes went over, not {expected}", found.bytes);
        Ok(found.bytes)
    })?;
    let gib = f64::from(1 << 30);
    Ok((us_a_byte / 1e6 * gib, running.process.peak_kib()? as f64 / 1024.0))
}
