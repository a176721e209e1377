//! TLS 1.3 at the edge: handshakes full and resumed, requests over connections that are kept, HTTP/2 with many streams, and
//! who is still known when he comes back.

use std::path::Path;

use anyhow::{Context, Result, ensure};

use crate::contest::{
    Backend, Client, ENVOY, Entry, HAPROXY, NGINX, OverTls, Round, Running, SALLYPORT, Samples, Settings,
    site, start_all,
};
use crate::data::{Better, Check, Goal, Scenario};
use crate::load::handshakes::Made;

/// The scenario's name.
pub const NAME: &str = "tls";
const PATH: &str = "/b1k";
const BODY_BYTES: u64 = 1024;
/// Clients that make handshakes at the same time.
const CLIENTS: u32 = 16;
/// Connections that are kept. Few, because their handshakes are in the figure, where they have to be lost.
const KEPT: u32 = 16;
/// Connections of HTTP/2 and streams on each.
const MULTIPLEXED: (u32, u32) = (10, 32);
/// Clients that come back.
const RETURNING: [u32; 3] = [10, 100, 1000];

const FULL: &str = "full";
const RESUMED: &str = "resumed";

const ABOUT: &str = "\
TLS 1.3 with the client, plain HTTP/1.1 with keep-alive to the backend (nginx), 1 KiB answers. All contestants show the same \
certificate (P-256), and clients offer `TLS_AES_128_GCM_SHA256` and X25519 and nothing else, so that all do the same; what was \
agreed on is checked of each load. A handshake is a connection with one small request, closed by the client after the answer: \
accept, handshake, tickets, request and close are all in the figure. It is made by a client of our own, which makes sure that each \
handshake was really full, or really resumed, each with a ticket of its own (`openssl s_time` uses one session for all its \
connections). Requests are h2load's, over 16 connections that are kept, and over 10 with 32 streams each. HAProxy and nginx \
are Debian's, with its OpenSSL. Returning clients: so many connect once, each for itself; when all have, each comes back, and it is \
counted whose session is resumed.";

/// The measures while they are being made.
struct Figures {
    handshakes: Samples,
    requests: Samples,
    returning: Samples,
}

/// Does it.
///
/// # Errors
/// A contestant does not do its work.
pub fn run(settings: &Settings) -> Result<Scenario> {
    let folder = settings.folder_of(NAME)?;
    let certificate = site::write(&folder)?;
    let backend = Backend::start(settings, &folder)?;
    let all = [&SALLYPORT, &NGINX, &HAPROXY, &ENVOY];
    let entries = all.map(|rival| Entry::new(rival, NAME).with("BACKEND", backend.port));
    let (contestants, missing) = start_all(settings, &folder, &entries)?;
    let mut figures = Figures {
        handshakes: Samples::new("handshakes", "Handshakes a second of CPU time", "1/s", Better::Higher)
            .over(NGINX.name),
        requests: Samples::new("cpu", "CPU time a request over TLS", "µs", Better::Lower).over(NGINX.name),
        returning: Samples::new(
            "returning",
            "Returning clients whose session is resumed",
            "%",
            Better::Higher,
        )
        .along("clients", true),
    };
    for round in settings.rounds() {
        for running in &contestants {
            turn(settings, round, running, &certificate, &mut figures)
                .with_context(|| running.name.clone())?;
        }
    }
    for running in &contestants {
        come_back(settings, running, &certificate, &mut figures.returning)
            .with_context(|| running.name.clone())?;
    }
    Ok(Scenario {
        name: NAME.to_owned(),
        title: "TLS 1.3 and HTTP/2".to_owned(),
        about: ABOUT.to_owned(),
        checks: contestants.iter().flat_map(checks).collect(),
        goals: goals(&figures.returning),
        measures: [figures.handshakes, figures.requests, figures.returning].map(Samples::measure).into(),
        missing,
    })
}

/// What every load of a contestant has made sure of.
fn checks(running: &Running) -> [Check; 3] {
    [
        "TLS 1.3 with TLS_AES_128_GCM_SHA256, X25519 and the protocol asked for, HTTP/1.1 or h2",
        "a client without a ticket gets a full handshake, one with a ticket resumes",
        "every answer is 200 and as long as it must be",
    ]
    .map(|what| Check { contestant: running.name.clone(), what: what.to_owned() })
}

fn goals(returning: &Samples) -> Vec<Goal> {
    let share = returning.median(SALLYPORT.name, &clients(RETURNING[2]));
    let goal = |share: f64| Goal {
        what: "1,000 returning clients: those that are not resumed".to_owned(),
        found: 100.0 - share,
        at_most: 0.0,
        unit: "%".to_owned(),
    };
    share.map(goal).into_iter().collect()
}

fn turn(
    settings: &Settings,
    round: Round,
    running: &Running,
    certificate: &Path,
    figures: &mut Figures,
) -> Result<()> {
    for case in [FULL, RESUMED] {
        let cpu_us = running.cpu_us_each(|| handshakes(settings, running, certificate, case == RESUMED))?;
        let rate = 1e6 / cpu_us;
        settings.progress(NAME, &format!("{round}, {case}: {} {rate:.0} handshakes/CPU s", running.name));
        figures.handshakes.add(round, &running.name, case, None, rate);
    }
    let (connections, streams) = MULTIPLEXED;
    for (case, connections, streams) in
        [("HTTP/1.1, kept alive", KEPT, 1), ("HTTP/2, 10 connections × 32 streams", connections, streams)]
    {
        let load = OverTls {
            port: running.port,
            path: PATH.to_owned(),
            body_bytes: BODY_BYTES,
            connections,
            streams,
        };
        let cpu_us = running.cpu_us_each(|| load.run(settings.seconds))?;
        settings.progress(NAME, &format!("{round}, {case}: {} {cpu_us:.1} µs CPU", running.name));
        figures.requests.add(round, &running.name, case, None, cpu_us);
    }
    Ok(())
}

fn handshakes(settings: &Settings, running: &Running, certificate: &Path, resume: bool) -> Result<u64> {
    let mut options = options(running, certificate, CLIENTS);
    options.push(("--seconds", settings.seconds.to_string()));
    if resume {
        options.push(("--resume", String::new()));
    }
    let made: Made = Client::start("handshakes", &options)?.found()?;
    // Each client's first connection is a full one; of some thousands they do not show.
    Ok(made.full + made.resumed)
}

/// How many of so many clients are known when they come back. Once: a server remembers, or it does not.
fn come_back(
    settings: &Settings,
    running: &Running,
    certificate: &Path,
    returning: &mut Samples,
) -> Result<()> {
    for count in RETURNING {
        let mut options = options(running, certificate, count);
        options.push(("--resume", String::new()));
        let made: Made = Client::start("handshakes", &options)?.found()?;
        ensure!(made.full + made.resumed == u64::from(count), "not all have come back: {made:?}");
        let share = 100.0 * made.resumed as f64 / f64::from(count);
        settings.progress(NAME, &format!("{count} clients come back: {} resumes {share:.0} %", running.name));
        let x = Some(f64::from(count));
        returning.add(Round { number: 1 }, &running.name, &clients(count), x, share);
    }
    Ok(())
}

fn options(running: &Running, certificate: &Path, clients: u32) -> Vec<(&'static str, String)> {
    vec![
        ("--port", running.port.to_string()),
        ("--certificate", certificate.display().to_string()),
        ("--path", PATH.to_owned()),
        ("--clients", clients.to_string()),
    ]
}

fn clients(count: u32) -> String {
    format!("{count} clients")
}
