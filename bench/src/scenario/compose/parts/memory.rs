//! What large composed answers may take of memory.

use std::process::Stdio;
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::requests::Requests;
use crate::contest::{Running, Samples, Settings};
use crate::data::{Better, Measure};
use crate::process::load_client;

const PATH: &str = "/large";
const AT_A_TIME: u32 = 100;
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// Resident memory before and at the most while answers of 8 × 1 MiB are composed, a hundred at a time.
pub(crate) fn memory(settings: &Settings, edge: &Running) -> Result<Measure> {
    let count = if settings.quick { 150 } else { 300 };
    let requests = Requests::new(edge, PATH, count, AT_A_TIME)?;
    let before = edge.process.resident_kib()?;
    let mut client = load_client("pages")?.args(requests.arguments()).stdout(Stdio::null()).spawn()?;
    let mut most = before;
    let ended = loop {
        most = most.max(edge.process.resident_kib()?);
        if let Some(status) = client.try_wait()? {
            break status;
        }
        sleep(LOOK_EVERY);
    };
    ensure!(ended.success(), "a large answer was not whole");
    let title = "Resident memory, 100 answers of 8 MiB at a time, `aggregator.limits.memory: 64MiB`";
    let mut samples = Samples::new("memory", title, "MiB", Better::Lower);
    let counted = settings.rounds().last().context("no round")?;
    for (case, kib) in [("before", before), ("at the most", most)] {
        samples.add(counted, &edge.name, case, None, kib as f64 / 1024.0);
    }
    Ok(samples.measure())
}
