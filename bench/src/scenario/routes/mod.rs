//! Many routes: what they cost a request, in memory and at the start, and how a new set of them is taken under load.

mod generate;
mod reload;

use std::fs;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::contest::backend::ROUTED_BYTES;
use crate::contest::{Backend, Calls, Entry, Request, Round, Running, SALLYPORT, Samples, Settings};
use crate::data::{Better, Check, Goal, Scenario};
use generate::{By, IDIOMS, Idiom};

/// The scenario's name.
pub const NAME: &str = "routes";
/// How many routes there are. The short run leaves out the middle.
const COUNTS: [usize; 3] = [10, 1_000, 10_000];
const FEW: usize = COUNTS[0];
const MANY: usize = COUNTS[2];
/// How long somebody may take to read his routes.
const PATIENCE: Duration = Duration::from_secs(60);
const LOOK_EVERY: Duration = Duration::from_millis(5);

const ABOUT: &str = "\
Routes that differ in the beginning of the path, or in the host; all lead to one backend (nginx), requests go to all of them in turn, \
in no order, and there are as many different requests for 10 routes as for 10,000. Everybody has them in a file of their own, in \
its own words: Envoy as a list of prefixes, as a matcher tree, and as virtual hosts (route discovery from a file), Traefik with its \
file provider. The start is from the process's beginning until the last route answers.\n\n\
Reload: 10,000 routes are replaced by 10,001 by moving a file over theirs (Sallyport gets SIGHUP, the others watch), while 1,000 \
requests a second come in an open loop. It has happened when the new route answers. The 99th percentile of the worst second \
between both is held against that of the whole time.";

/// A contestant with a number of routes.
struct Started {
    idiom: &'static Idiom,
    count: usize,
    running: Running,
    /// The file of its routes.
    routes: PathBuf,
    calls: Calls,
}

/// The measures while they are being made.
struct Figures {
    by_path: Samples,
    by_host: Samples,
    memory: Samples,
    start: Samples,
}

/// Does it.
///
/// # Errors
/// A contestant does not do its work.
pub fn run(settings: &Settings) -> Result<Scenario> {
    let folder = settings.folder_of(NAME)?;
    let backend = Backend::start(settings, &folder)?;
    let mut figures = Figures::new();
    let (mut checks, mut missing) = (Vec::new(), Vec::new());
    let mut contestants = Vec::new();
    for idiom in &IDIOMS {
        if let Err(error) = idiom.rival.program(settings) {
            missing.push(format!("{}: {error:#}", idiom.contestant));
            continue;
        }
        // Ten minutes are not enough for everybody in every idiom, and Traefik's costs the same in both.
        if settings.quick && idiom.by == By::Host && idiom.contestant == "Traefik" {
            missing.push("Traefik by host: only in the full run".to_owned());
            continue;
        }
        for count in COUNTS.into_iter().filter(|count| [FEW, MANY].contains(count) || !settings.quick) {
            contestants.push(started(settings, &folder, &backend, idiom, count, &mut figures)?);
        }
        checks.push(check(idiom));
    }
    for round in settings.rounds() {
        for started in &contestants {
            turn(settings, round, &folder, started, &mut figures)?;
        }
    }
    for started in contestants.iter().filter(|started| started.idiom.by == By::Path) {
        let mib = started.running.process.resident_kib()? as f64 / 1024.0;
        figures.memory.add(ONCE, started.idiom.contestant, &case(started.count), x(started.count), mib);
    }
    if settings.quick {
        missing.push("1,000 routes: only in the full run".to_owned());
    }
    // One at a time from here on, so that nobody is disturbed.
    contestants.retain(|started| started.idiom.by == By::Path && started.count == MANY);
    let reloads = reload::measure(settings, &backend, &contestants)?;
    let goals = figures.goals().into_iter().chain(reloads.goals()).collect();
    let measures = figures.samples().into_iter().chain(reloads.samples()).map(Samples::measure).collect();
    Ok(Scenario {
        name: NAME.to_owned(),
        title: "Many routes".to_owned(),
        about: ABOUT.to_owned(),
        checks,
        measures,
        goals,
        missing,
    })
}

/// The round of what is measured once.
const ONCE: Round = Round { number: 1 };

fn check(idiom: &Idiom) -> Check {
    let what = match idiom.by {
        By::Path => "paths: the last route answers, the one behind it is not found",
        By::Host => "hosts: the last route answers, the one behind it is not found",
    };
    Check { contestant: idiom.contestant.to_owned(), what: what.to_owned() }
}

fn started(
    settings: &Settings,
    folder: &Path,
    backend: &Backend,
    idiom: &'static Idiom,
    count: usize,
    figures: &mut Figures,
) -> Result<Started> {
    let name = format!("{} {:?} {count}", idiom.contestant, idiom.by);
    let stem = name.to_lowercase().replace(|c: char| !c.is_ascii_alphanumeric(), "-");
    let (routes, targets) = (folder.join(format!("{stem}.yaml")), folder.join(format!("{stem}.targets")));
    fs::write(&routes, idiom.file(count, backend.port))?;
    fs::write(&targets, idiom.targets(count))?;
    let entry = Entry::new(idiom.rival, NAME).named(&name);
    let begin = Instant::now();
    let running = entry
        .with("BACKEND", backend.port)
        .with("ROUTES", routes.display())
        .start(settings, folder)
        .with_context(|| name.clone())?;
    answers(idiom, &running, count - 1)?;
    let seconds = begin.elapsed().as_secs_f64();
    let (host, path) = idiom.target(count, 0);
    let status = Request::get(running.port, &path).host(&host).send()?.status;
    // 421 says of a host what 404 says of a path (RFC 9110, section 15.5.20).
    ensure!([404, 421].contains(&status), "{name} answers {status} where there is no route");
    settings.progress(NAME, &format!("{name} routes: {seconds:.2} s to start"));
    if idiom.by == By::Path {
        figures.start.add(ONCE, idiom.contestant, &case(count), x(count), seconds);
    }
    let mut calls = Calls::get(running.port, &path, ROUTED_BYTES);
    calls.targets = Some(targets);
    Ok(Started { idiom, count, running, routes, calls })
}

/// Waits until a route answers.
fn answers(idiom: &Idiom, running: &Running, route: usize) -> Result<()> {
    let (host, path) = idiom.target(route, 0);
    let deadline = Instant::now() + PATIENCE;
    loop {
        let answer = Request::get(running.port, &path).host(&host).send()?;
        if answer.status == 200 && answer.body.len() as u64 == ROUTED_BYTES {
            return Ok(());
        }
        ensure!(Instant::now() < deadline, "{}: {path} at {host} gets {}", running.name, answer.status);
        sleep(LOOK_EVERY);
    }
}

fn turn(
    settings: &Settings,
    round: Round,
    folder: &Path,
    started: &Started,
    figures: &mut Figures,
) -> Result<()> {
    let running = &started.running;
    let us = running.cpu_us_each(|| Ok(started.calls.saturate(settings, folder)?.answers))?;
    settings.progress(NAME, &format!("{round}: {} routes: {us:.1} µs CPU", running.name));
    let samples = match started.idiom.by {
        By::Path => &mut figures.by_path,
        By::Host => &mut figures.by_host,
    };
    samples.add(round, started.idiom.contestant, &case(started.count), x(started.count), us);
    Ok(())
}

fn case(count: usize) -> String {
    format!("{count} routes")
}

fn x(count: usize) -> Option<f64> {
    Some(count as f64)
}

impl Figures {
    fn new() -> Figures {
        let along = |name, title, unit| Samples::new(name, title, unit, Better::Lower).along("routes", true);
        Figures {
            by_path: along("cpu", "CPU time a request, routes by path", "µs"),
            by_host: along("cpu_hosts", "CPU time a request, routes by host", "µs"),
            memory: along("memory", "Resident memory after load", "MiB"),
            start: along("start", "Start until the last route answers", "s"),
        }
    }

    fn goals(&self) -> Vec<Goal> {
        let of = |samples: &Samples, what: &str| {
            let few = samples.median(SALLYPORT.name, &case(FEW))?;
            let many = samples.median(SALLYPORT.name, &case(MANY))?;
            let what = format!("CPU a request with 10,000 routes over 10, by {what}");
            Some(Goal { what, found: many / few, at_most: 1.05, unit: "×".to_owned() })
        };
        of(&self.by_path, "path").into_iter().chain(of(&self.by_host, "host")).collect()
    }

    fn samples(self) -> [Samples; 4] {
        [self.by_path, self.by_host, self.memory, self.start]
    }
}
