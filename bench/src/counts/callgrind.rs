//! Counting the instructions of one case: a process of its own under `valgrind --tool=callgrind`.
//!
//! A process a case, so that what one leaves behind in the heap changes no other's count. The process has a fixed
//! environment, and valgrind lays out its memory, so that neither variables nor address randomisation reach the counts.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Serialize};

use super::Count;

/// Calls of functions with this in their name are counted, with all that they call on the same thread.
pub const REGION: &str = "counted_region";

/// What a case says of itself: one JSON line on stdout.
#[derive(Debug, Serialize, Deserialize)]
pub struct Said {
    /// How often the work was done in the counted region.
    pub turns: u64,
    /// Heap allocations of as many turns, counted before.
    pub allocations: u64,
}

/// Runs `program --case NAME MATERIAL` and counts. `scratch` is a folder for callgrind's file.
///
/// # Errors
/// Valgrind cannot be run, the case fails, or nothing was counted.
pub fn count(program: &Path, case: &str, material: &Path, scratch: &Path) -> Result<Count> {
    let file = scratch.join(format!("{}.callgrind", case.replace(|c: char| !c.is_ascii_alphanumeric(), "-")));
    let mut command = Command::new("valgrind");
    command
        .args(["--tool=callgrind", "--collect-atstart=no", "--quiet"])
        .arg(format!("--toggle-collect=*{REGION}*"))
        .arg(format!("--callgrind-out-file={}", file.display()))
        .arg(program)
        .args(["--case", case])
        .arg(material);
    let kept = ["PATH", "VALGRIND_LIB"].into_iter().filter_map(|name| Some((name, std::env::var_os(name)?)));
    let kept: Vec<_> = kept.collect();
    let out = command.env_clear().envs(kept).output().context("cannot run valgrind")?;
    if !out.status.success() {
        bail!("the case `{case}` failed:\n{}", String::from_utf8_lossy(&out.stderr));
    }
    let said: Said = serde_json::from_slice(&out.stdout)
        .with_context(|| format!("`{case}` said {:?}", String::from_utf8_lossy(&out.stdout)))?;
    let report =
        std::fs::read_to_string(&file).with_context(|| format!("callgrind left no file of `{case}`"))?;
    let total = total(&report).with_context(|| format!("callgrind's file of `{case}` has no total"))?;
    ensure!(
        total > 0 && said.turns > 0,
        "nothing of `{case}` was counted: does `{REGION}` still exist as a function?"
    );
    let instructions = (total as f64 / said.turns as f64).round() as u64;
    let allocations = (said.allocations as f64 / said.turns as f64 * 10.0).round() / 10.0;
    Ok(Count { instructions, allocations })
}

/// The `totals:` of a file in callgrind's format; instructions are its first event.
fn total(report: &str) -> Option<u64> {
    let totals = report.lines().find_map(|line| line.strip_prefix("totals:"))?;
    totals.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_total_is_the_first_event() {
        assert_eq!(total("version: 1\nevents: Ir\n\nfn=(1) a\n3 7\n\ntotals: 4711\n"), Some(4711));
        assert_eq!(total("events: Ir Dr\ntotals: 12 5\n"), Some(12));
        assert_eq!(total("events: Ir\nsummary: 3\n"), None);
    }
}
