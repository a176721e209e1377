//! What a connection takes of memory while nothing happens.

use std::thread::sleep;
use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::json;

use super::clients::{Clients, number};
use super::servers::{OURS, Place, Server};
use crate::contest::{Entry, NGINX, Round, Samples};
use crate::data::{Better, Goal, Measure};
use crate::process::free_port;

/// Once counted: nothing that is measured here gets warm, each server begins anew.
const ROUND: Round = Round { number: 1 };
/// What the first connections make for all is not theirs.
const FIRST_SHARE: u64 = 10;

const LIVE: &str = "live connection";
const LIVE_TLS: &str = "live connection, TLS";
const TUNNEL: &str = "tunnel";
const TUNNEL_TLS: &str = "tunnel, TLS";

/// KB a connection, and what is wanted of them.
pub(super) fn measure(
    place: &Place<'_>,
    count: u64,
    missing: &mut Vec<String>,
) -> Result<(Measure, Vec<Goal>)> {
    let mut samples = Samples::new("idle", "Resident memory of an idle connection", "KB", Better::Lower);
    for (case, tls) in [(LIVE, false), (LIVE_TLS, true)] {
        let kb = grown(place, &place.edge()?, count, tls, |clients, more| {
            // Each has a channel of its own, as users have.
            clients.open(more, &format!("own:{more}-{{n}}"), 0)
        })?;
        samples.add(ROUND, OURS, case, None, kb);
    }
    let floor = place.floor()?;
    let kb = grown(place, &floor, count, false, |clients, more| clients.open(more, "room:{n}", 0))?;
    samples.add(ROUND, floor.name, LIVE, None, kb);
    drop(floor);
    // Why it is not there is said once, where deliveries are measured.
    if place.has_centrifugo().is_ok() {
        for (case, tls) in [(LIVE, false), (LIVE_TLS, true)] {
            let server = place.centrifugo(tls)?;
            let kb = grown(place, &server, count, tls, |clients, more| clients.open(more, "room:{n}", 0))?;
            samples.add(ROUND, server.name, case, None, kb);
        }
    }
    if let Err(error) = NGINX.program(place.settings) {
        missing.push(format!("nginx: {error:#}"));
    }
    for (case, tls) in [(TUNNEL, false), (TUNNEL_TLS, true)] {
        samples.add(ROUND, OURS, case, None, tunnels(place, &place.edge()?, count, tls)?);
        if NGINX.program(place.settings).is_ok() {
            let server = nginx(place)?;
            samples.add(ROUND, server.name, case, None, tunnels(place, &server, count, tls)?);
        }
    }
    let goal = |case, at_most| {
        let found = samples.median(OURS, case)?;
        Some(Goal { what: format!("memory of an idle {case}"), found, at_most, unit: "KB".to_owned() })
    };
    let goals = [goal(LIVE, 12.0), goal(LIVE_TLS, 22.0), goal(TUNNEL, 12.0), goal(TUNNEL_TLS, 22.0)];
    let goals = goals.into_iter().flatten().collect();
    Ok((samples.measure(), goals))
}

fn nginx(place: &Place<'_>) -> Result<Server> {
    let tls = free_port()?;
    let entry = Entry::new(&NGINX, "live").with("TLS", tls).with("ECHO", place.echo);
    let running = entry.start(place.settings, place.folder)?;
    Ok(Server {
        name: NGINX.name,
        port: running.port,
        tls,
        topic: "",
        path: "",
        channels_header: None,
        processes: vec![running.process],
        file: running.file,
    })
}

/// Tunnels, each of which has carried a message and carries another one at the end.
fn tunnels(place: &Place<'_>, server: &Server, count: u64, tls: bool) -> Result<f64> {
    grown(place, server, count, tls, |clients, more| {
        clients.obey(&json!({ "do": "tunnels", "count": more }))?;
        let echoed = number(&clients.obey(&json!({ "do": "echo" }))?, "echoed")?;
        ensure!(echoed >= more, "{}: {echoed} of {more} tunnels carry messages", server.name);
        Ok(())
    })
}

/// What each connection adds, once those that make something for all are there.
fn grown(
    place: &Place<'_>,
    server: &Server,
    count: u64,
    tls: bool,
    open: impl Fn(&mut Clients, u64) -> Result<()>,
) -> Result<f64> {
    let settled = Duration::from_secs(if place.settings.quick { 2 } else { 15 });
    let mut clients = place.clients(server, tls)?;
    let first = count / FIRST_SHARE;
    open(&mut clients, first)?;
    sleep(settled / 2);
    let before = server.resident_kib()?;
    open(&mut clients, count - first)?;
    sleep(settled);
    let after = server.resident_kib()?;
    Ok(after.saturating_sub(before) as f64 * 1.024 / (count - first) as f64)
}
