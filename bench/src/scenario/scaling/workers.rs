//! One and two threads, one and two processes at one port.

use std::fs;
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::NAME;
use crate::contest::{Backend, Calls, Entry, Request, Running, SALLYPORT, Samples, Settings};
use crate::data::{Better, Check};
use crate::process::{Core, Process};

const PATH: &str = "/b1k";
const BODY_BYTES: u64 = 1024;
const THREADS: &str = "Sallyport, threads";
const PROCESSES: &str = "Sallyport, processes";
/// How long a second process may take to listen, or to find that it cannot.
const PATIENCE: Duration = Duration::from_secs(10);
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Processes that share the work.
struct Team {
    contestant: &'static str,
    workers: u32,
    first: Running,
    second: Option<Process>,
}

/// The measures of all.
pub(super) fn measure(
    settings: &Settings,
    folder: &Path,
    backend: &Backend,
    checks: &mut Vec<Check>,
    missing: &mut Vec<String>,
) -> Result<[Samples; 2]> {
    let along = |name, title, unit, better| Samples::new(name, title, unit, better).along("workers", false);
    let mut cpu = along("cpu", "CPU time a request", "µs", Better::Lower);
    let mut rate = along("rate", "Requests a second, the load on the same cores", "1/s", Better::Higher);
    let start = |name: &str, threads: u32| {
        let entry = Entry::new(&SALLYPORT, "threads").named(name).on(Core::Both);
        entry.with("BACKEND", backend.port).with("THREADS", threads).start(settings, folder)
    };
    let mut teams = Vec::new();
    for threads in [1, 2] {
        let first = start(&format!("threads {threads}"), threads)?;
        teams.push(Team { contestant: THREADS, workers: threads, first, second: None });
    }
    let first = start("processes", 1)?;
    match second(settings, &first)? {
        Ok(second) => {
            let first_alone = start("processes 1", 1)?;
            teams.push(Team { contestant: PROCESSES, workers: 1, first: first_alone, second: None });
            teams.push(Team { contestant: PROCESSES, workers: 2, first, second: Some(second) });
        }
        Err(why) => missing.push(format!("two processes at one port: the second does not start: {why}")),
    }
    for team in &teams {
        let answer = Request::get(team.first.port, PATH).send()?;
        ensure!(answer.status == 200 && answer.body.len() as u64 == BODY_BYTES, "{PATH}: {}", answer.status);
    }
    checks.push(Check { contestant: SALLYPORT.name.to_owned(), what: "every answer is right".to_owned() });
    for round in settings.rounds() {
        for team in &teams {
            let calls = Calls::get(team.first.port, PATH, BODY_BYTES);
            let before = team.cpu()?;
            let found = calls.saturate(settings, folder)?;
            let us = team.cpu()?.saturating_sub(before).as_secs_f64() * 1e6 / found.answers as f64;
            settings.progress(
                NAME,
                &format!(
                    "{round}: {} {}: {us:.1} µs CPU, {:.0}/s",
                    team.contestant, team.workers, found.rate
                ),
            );
            let (case, x) = (team.workers.to_string(), Some(f64::from(team.workers)));
            cpu.add(round, team.contestant, &case, x, us);
            rate.add(round, team.contestant, &case, x, found.rate);
        }
    }
    Ok([cpu, rate])
}

/// A second process with the configuration of a first, so at the same port; or what it says why it cannot.
fn second(settings: &Settings, first: &Running) -> Result<Result<Process, String>> {
    let name = "second";
    let arguments = ["run".as_ref(), first.file.as_os_str()];
    let program = SALLYPORT.program(settings)?;
    let mut second = Process::start(name, Core::Both, &first.own, program, arguments)?;
    let deadline = Instant::now() + PATIENCE;
    loop {
        if second.has_ended()? {
            let log = fs::read_to_string(first.own.join(format!("{name}.log")))?;
            return Ok(Err(log.lines().last().unwrap_or("it says nothing").to_owned()));
        }
        if listeners(first.port)? == 2 {
            return Ok(Ok(second));
        }
        ensure!(Instant::now() < deadline, "a second process neither listens nor ends");
        sleep(LOOK_EVERY);
    }
}

/// Sockets that listen on a port of loopback.
fn listeners(port: u16) -> Result<usize> {
    let table = fs::read_to_string("/proc/net/tcp").context("the table of sockets")?;
    Ok(count_listeners(&table, port))
}

/// In the table of proc(5): the second column is the address, the fourth the state, 0A for one that listens.
fn count_listeners(table: &str, port: u16) -> usize {
    let end = format!(":{port:04X}");
    let listens = |line: &&str| {
        let mut columns = line.split_whitespace().skip(1);
        columns.next().is_some_and(|address| address.ends_with(&end)) && columns.nth(1) == Some("0A")
    };
    table.lines().filter(listens).count()
}

impl Team {
    fn cpu(&self) -> Result<Duration> {
        let second = self.second.as_ref().map_or(Ok(Duration::ZERO), Process::cpu)?;
        Ok(self.first.process.cpu()? + second)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sockets_that_listen_are_counted_by_their_port() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue
   0: 0100007F:2328 00000000:0000 0A 00000000:00000000 00:00000000
   1: 0100007F:2328 00000000:0000 0A 00000000:00000000 00:00000000
   2: 0100007F:2328 0100007F:9C40 01 00000000:00000000 00:00000000
   3: 0100007F:9C40 0100007F:2328 0A 00000000:00000000 00:00000000
";
        assert_eq!(count_listeners(table, 9000), 2);
        assert_eq!(count_listeners(table, 40000), 1);
        assert_eq!(count_listeners(table, 8), 0);
    }
}
