//! Passing requests and answers through, with nothing decided: what a proxy costs before it does any work.

use std::path::Path;

use anyhow::{Context, Result, ensure};

use super::figures::Figures;
use crate::contest::backend::BODIES;
use crate::contest::{
    Backend, CADDY, Calls, ENVOY, Entry, HAPROXY, NGINX, PINGORA, Request, Running, SALLYPORT, Settings,
    TRAEFIK, start_all,
};
use crate::data::{Check, Scenario};

/// The scenario's name.
pub const NAME: &str = "pass";
/// The body for which latency is measured.
const USUAL: &str = "/b1k";

const ABOUT: &str = "\
`GET` over HTTP/1.1 with keep-alive on both sides, no TLS, no filter, no log. Each contestant has one thread, pinned to a core of \
its own; load and backend (nginx) share the other. wrk asks as fast as answers come, on as many connections for all; the first \
figure is CPU time of the contestant's process over the answers. Latency is measured in an open loop at parts of what each \
reached itself with 1 KiB, and at a rate that is the same for all, from when a request was due. Status and length of answers are checked: of each one up to 16 KiB, of \
256 KiB the status of each and the length of all together. Where a contestant is faster than the load core, requests a second say what \
that core can do; CPU time does not depend on it.";

/// Does it.
///
/// # Errors
/// A contestant does not do its work.
pub fn run(settings: &Settings) -> Result<Scenario> {
    let folder = settings.folder_of(NAME)?;
    let backend = Backend::start(settings, &folder)?;
    let all = [&PINGORA, &SALLYPORT, &NGINX, &HAPROXY, &ENVOY, &TRAEFIK, &CADDY];
    let entries: Vec<Entry> = all.map(|rival| Entry::new(rival, NAME).with("BACKEND", backend.port)).into();
    let (contestants, mut missing) = start_all(settings, &folder, &entries)?;
    let mut checks = Vec::new();
    for running in &contestants {
        checks.push(bodies_arrive(running).with_context(|| running.name.clone())?);
    }
    let figures = measure(settings, &folder, &contestants)?;
    missing.extend(BODIES.iter().filter_map(|(_, bytes)| figures.not_saturated(&contestants, &size(*bytes))));
    Ok(Scenario {
        name: NAME.to_owned(),
        title: "Passing through".to_owned(),
        about: ABOUT.to_owned(),
        checks,
        measures: figures.measures(),
        goals: Vec::new(),
        missing,
    })
}

fn bodies_arrive(running: &Running) -> Result<Check> {
    running.comes_to_answer(USUAL, 200)?;
    for (path, bytes) in BODIES {
        let answer = Request::get(running.port, path).send()?;
        ensure!(answer.status == 200, "{path}: status {}", answer.status);
        ensure!(answer.body == "x".repeat(bytes).as_bytes(), "{path}: not the body that was sent");
    }
    Ok(Check {
        contestant: running.name.clone(),
        what: "bodies of all sizes arrive as they were sent".to_owned(),
    })
}

fn measure(settings: &Settings, folder: &Path, contestants: &[Running]) -> Result<Figures> {
    let mut figures = Figures::new(NAME, PINGORA.name);
    for round in settings.rounds() {
        for (path, bytes) in BODIES {
            for running in contestants {
                let calls = Calls::get(running.port, path, bytes as u64);
                figures.turn(settings, folder, round, running, &size(bytes), &calls)?;
            }
        }
    }
    let usual = BODIES.iter().find(|(path, _)| *path == USUAL).map_or(0, |(_, bytes)| *bytes);
    let calls: Vec<(&Running, Calls)> =
        contestants.iter().map(|running| (running, Calls::get(running.port, USUAL, usual as u64))).collect();
    figures.latencies(settings, &size(usual), &calls)?;
    for running in contestants {
        figures.memory(running)?;
    }
    Ok(figures)
}

fn size(bytes: usize) -> String {
    if bytes < 1024 { format!("{bytes} B") } else { format!("{} KiB", bytes / 1024) }
}
