//! Live events over WebSocket: memory of idle connections, CPU time and latency of deliveries, and everybody coming back at
//! once.

mod broker;
mod client;
mod clients;
mod deliveries;
mod floor;
mod idle;
mod load;
mod publish;
mod servers;
mod storm;
mod tally;
mod tunnel;

use std::fs;

use anyhow::{Context, Result};

pub use self::broker::Broker;
use self::broker::Kafka;
use self::deliveries::Deliveries;
pub use self::floor::Floor;
pub use self::load::Live;
use self::servers::{Place, TOPICS};
pub use self::tunnel::Echo;
use super::own;
use crate::contest::Settings;
use crate::data::{Check, Scenario};
use crate::process::{Core, free_port};

/// Open files that are needed besides those of connections.
const FILES_BESIDE: u64 = 200;
/// As many connections as the full run opens where the system allows it.
const CLIENTS_MAX: u64 = 9900;
const CLIENTS_QUICK: u64 = 2000;

/// The name on the command line.
pub const NAME: &str = "live";

const ABOUT: &str = "\
Clients that speak the protocol of Centrifugo's SDKs log in with a token of their own, subscribe, and get the events that a \
producer sends to Kafka. Every delivery is counted by the clients, each event has to come once and in order, and a run in which \
one does not is none. The bridge is measured within the edge's process and apart from it.

Centrifugo reads the same Kafka with the consumer that it has itself and checks the same tokens. A field of the record's head names \
the channel, and anybody with a token may subscribe: no history, no rules of who sees what. It serves one port, with or without TLS.

The floor is a server that somebody writes in an afternoon with fastwebsockets: it sends each event of Kafka to all that \
asked for its channel, and knows no tokens, no rules of who sees what, no history, no TLS. Memory is what a connection adds to \
the resident size once all are idle, without what the first tenth of them makes for all. Latency is from the moment an event was \
sent to the moment a client has read it; Kafka and the clients share the other core.

A tunnel is a WebSocket to another service behind the edge; nginx carries the same.";

/// Runs it.
///
/// # Errors
/// Something does not start, or a client has missed an event.
pub fn run(settings: &Settings) -> Result<Scenario> {
    let folder = settings.folder_of(NAME)?;
    let count = connections(settings)?;
    Place::prepare(&folder)?;
    let kafka = Kafka::start(settings, &folder, &TOPICS)?;
    let echo_port = free_port()?;
    let mut echo = own::serve("echo", Core::Load, &folder, ["--port", &echo_port.to_string()])?;
    echo.listens(echo_port)?;
    let place = Place { settings, folder: &folder, kafka: &kafka, echo: echo_port };

    let mut missing = left_out(settings, &kafka, count);
    settings.progress(NAME, "memory of idle connections");
    let (memory, mut goals) = idle::measure(&place, count, &mut missing)?;
    let mut deliveries = Deliveries::start(&place, &mut missing)?;
    deliveries.measure(&place, count)?;
    let (mut measures, checks, of_deliveries) = deliveries.end();
    goals.extend(of_deliveries);
    measures.insert(0, memory);
    let mut checks: Vec<Check> = checks;
    if kafka.embedded.is_none() {
        settings.progress(NAME, "everybody comes back");
        let (storm, check) = storm::measure(&place, count)?;
        measures.extend(storm);
        checks.push(check);
    }
    Ok(Scenario {
        name: NAME.to_owned(),
        title: "Live events over WebSocket".to_owned(),
        about: ABOUT.to_owned(),
        checks,
        measures,
        goals,
        missing,
    })
}

/// How many connections are opened: a tunnel takes two files of the edge.
fn connections(settings: &Settings) -> Result<u64> {
    let limits = fs::read_to_string("/proc/self/limits")?;
    let allowed: u64 = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max open files"))
        .and_then(|line| line.split_whitespace().next()?.parse().ok())
        .context("no number of open files in /proc/self/limits")?;
    let most = if settings.quick { CLIENTS_QUICK } else { CLIENTS_MAX };
    let possible = allowed.saturating_sub(FILES_BESIDE) / 2;
    anyhow::ensure!(
        possible >= 100,
        "only {allowed} open files are allowed; `ulimit -n 20000` allows enough"
    );
    Ok(most.min(possible))
}

fn left_out(settings: &Settings, kafka: &Kafka, count: u64) -> Vec<String> {
    let mut missing = vec![
        "Centrifugo where one of all may see an event: rules that look at the event are the paid edition's.".to_owned(),
        "Centrifugo after a crash: its history is in memory and gone with it, or in a Redis, one program more.".to_owned(),
    ];
    if let Some(reason) = &kafka.embedded {
        missing.push(format!(
            "Everybody coming back after a crash: it needs a Kafka that finds records by time, and here was only the \
             broker inside librdkafka ({reason})."
        ));
        missing.push(
            "Latency with a real Kafka: the broker inside librdkafka answers a consumer that waits only when its wait of \
             50 ms is over, and most of the times are that."
                .to_owned(),
        );
    }
    if !settings.quick && count < CLIENTS_MAX {
        missing.push(format!("{CLIENTS_MAX} connections: the limit of open files allows {count}."));
    }
    if settings.quick {
        missing.push("Clients that do not read, beside those that do: in the full run only.".to_owned());
    }
    missing
}
