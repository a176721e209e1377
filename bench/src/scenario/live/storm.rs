//! Everybody comes back at once: the edge has crashed, events went by meanwhile, and each client wants those that it missed.

use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use super::clients::{Events, number};
use super::servers::{OURS, Place};
use crate::contest::{Round, Samples};
use crate::data::{Better, Check, Measure};

const ROUND: Round = Round { number: 1 };
/// Events that each client misses.
const MISSED: u64 = 20;
/// How long all may take.
const PATIENCE: Duration = Duration::from_secs(120);
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// How long it takes and what it costs.
pub(super) fn measure(place: &Place<'_>, count: u64) -> Result<(Vec<Measure>, Check)> {
    let mut server = place.edge()?;
    let mut clients = place.clients(&server, false)?;
    clients.open_returning(count, "room:0")?;
    let events = |count, expect| Events {
        topic: "rooms",
        count,
        rate: 1000,
        channels: 1,
        owners: 1,
        expect,
        bytes: 100,
    };
    clients.publish(events(1, count))?;
    let before = clients.status()?;
    // Nobody is there, so nothing is expected of what is sent meanwhile.
    server.crash_and_return(place.settings, || clients.publish(events(MISSED, 0)).map(drop))?;
    let began = Instant::now();
    let wanted = number(&before, "received")? + MISSED * count;
    let after = loop {
        let status = clients.status()?;
        if number(&status, "open")? == count && number(&status, "received")? >= wanted {
            break status;
        }
        ensure!(began.elapsed() < PATIENCE, "not all have come back: {status}");
        sleep(LOOK_EVERY);
    };
    let took = began.elapsed();
    ensure!(
        number(&after, "received")? == wanted
            && after["out_of_order"] == 0
            && number(&after, "recovered")? == count,
        "not everybody has what was missed: {after}"
    );
    let cpu = server.cpu()?.as_secs_f64() * 1e6 / count as f64;
    let case = format!("{count} clients, {MISSED} events each");
    let mut time = Samples::new("storm", "From the start of the edge until all are back", "s", Better::Lower);
    time.add(ROUND, OURS, &case, None, took.as_secs_f64());
    let mut cost = Samples::new("storm-cpu", "CPU time of a client that comes back", "µs", Better::Lower);
    cost.add(ROUND, OURS, &case, None, cpu);
    let what =
        format!("after a crash all {count} clients were back with the {MISSED} events that each had missed");
    let measures = vec![time.measure(), cost.measure()];
    Ok((measures, Check { contestant: OURS.to_owned(), what }))
}
