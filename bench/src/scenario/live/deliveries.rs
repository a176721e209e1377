//! What deliveries cost, and how late they are.

use anyhow::Result;
use serde_json::Value;

use super::clients::{Clients, Events, number};
use super::servers::{APART, OURS, Place, Server};
use crate::contest::{CENTRIFUGO, Samples};
use crate::data::{Better, Check, Goal, Measure};
use crate::scenario::own;

/// Of the clients of `latency`, and their channels.
const READERS: u64 = 1000;
const CHANNELS: u64 = 100;
/// Events a second for them: ten deliveries each.
const EVENTS_RATE: u64 = 1000;
/// Deliveries a second while their cost is measured, so that a small number of clients is kept as busy as a large one.
const DELIVERIES_RATE: u64 = 40_000;
/// Events a second that only one client may see.
const OWNED_RATE: u64 = 500;
/// An event's padding, so that it is about as long as events are.
const PADDING_BYTES: u64 = 100;
/// Clients that do not read: 1 % of the others.
const STALLED: u64 = 10;

/// Where it is not here.
const CENTRIFUGO_SAYS: &str =
    "Its own documentation says 27 KB a connection in its default, 10.9 KB tuned in the paid edition.";

/// Figures of deliveries, and the servers that they are taken of.
pub(super) struct Deliveries {
    servers: Vec<Server>,
    cpu: Samples,
    owner: Samples,
    p50: Samples,
    p99: Samples,
    slow: Samples,
    /// The case with the most connections.
    largest: String,
}

impl Deliveries {
    pub(super) fn start(place: &Place<'_>, missing: &mut Vec<String>) -> Result<Deliveries> {
        let mut servers = vec![place.edge()?, place.floor()?];
        match place.apart() {
            Ok(server) => servers.insert(1, server),
            Err(error) => missing.push(format!("{APART}: {error:#}")),
        }
        match place.has_centrifugo() {
            Ok(()) => servers.insert(servers.len() - 1, place.centrifugo(false)?),
            Err(error) => missing.push(format!("{}: {error:#}. {CENTRIFUGO_SAYS}", CENTRIFUGO.name)),
        }
        let samples = |name, title, unit| Samples::new(name, title, unit, Better::Lower);
        Ok(Deliveries {
            servers,
            cpu: samples("delivery-cpu", "CPU time of a delivery, one event to all", "µs")
                .along("connections", true),
            owner: samples("owner-cpu", "CPU time of an event that one of all may see", "µs"),
            p50: samples(
                "delivery-p50",
                "From the producer to the client, 10,000 deliveries a second (p50)",
                "ms",
            ),
            p99: samples(
                "delivery-p99",
                "From the producer to the client, 10,000 deliveries a second (p99)",
                "ms",
            ),
            slow: samples("slow-p99", "The same (p99) for those who read, while 1 % do not", "ms"),
            largest: String::new(),
        })
    }

    /// All of them; `most` is the number of connections.
    pub(super) fn measure(&mut self, place: &Place<'_>, most: u64) -> Result<()> {
        let settings = place.settings;
        self.largest = most.to_string();
        for count in [most / 10, most] {
            settings.progress("live", &format!("one event to {count}"));
            self.fan_out(place, count)?;
        }
        settings.progress("live", "one of all may see it");
        for count in [1, most] {
            self.one_of(place, count)?;
        }
        settings.progress("live", "latency");
        self.latency(place)
    }

    fn fan_out(&mut self, place: &Place<'_>, count: u64) -> Result<()> {
        let mut clients = self.clients(place, count, "room:0", 0)?;
        let events = (u64::from(place.settings.seconds) * DELIVERIES_RATE / count).max(4);
        let case = count.to_string();
        for round in place.settings.rounds() {
            for (server, clients) in self.servers.iter().zip(&mut clients) {
                let expect = events * count;
                let sent = Events {
                    topic: server.topic,
                    count: events,
                    rate: (DELIVERIES_RATE / count).max(1),
                    channels: 1,
                    owners: 1,
                    expect,
                    bytes: PADDING_BYTES,
                };
                let cost = cost(server, expect, || clients.publish(sent))?;
                self.cpu.add(round, server.name, &case, Some(count as f64), cost);
            }
        }
        Ok(())
    }

    /// Only of the product: the floor knows no owners.
    fn one_of(&mut self, place: &Place<'_>, count: u64) -> Result<()> {
        let server = &self.servers[0];
        let mut clients = place.clients(server, false)?;
        clients.open(count, "own:0", 0)?;
        let events = u64::from(place.settings.seconds) * OWNED_RATE;
        // At most one each in a round: events of an owner are numbered in a row.
        let events = if count == 1 { events } else { events.min(count) };
        let case = if count == 1 { "of 1 subscriber" } else { "of all subscribers" };
        for round in place.settings.rounds() {
            let sent = Events {
                topic: "owned",
                count: events,
                rate: OWNED_RATE,
                channels: 1,
                owners: count,
                expect: events,
                bytes: PADDING_BYTES,
            };
            let cost = cost(server, events, || clients.publish(sent))?;
            self.owner.add(round, server.name, case, None, cost);
        }
        Ok(())
    }

    fn latency(&mut self, place: &Place<'_>) -> Result<()> {
        let mut clients = self.clients(place, READERS, "room:{n}", CHANNELS)?;
        for round in place.settings.rounds() {
            for (server, clients) in self.servers.iter().zip(&mut clients) {
                let said = clients.publish(spread(place, server))?;
                self.p50.add(round, server.name, "all read", None, own::millis(&said, "p50_us")?);
                self.p99.add(round, server.name, "all read", None, own::millis(&said, "p99_us")?);
            }
            if !place.settings.quick {
                let (server, clients) = (&self.servers[0], &mut clients[0]);
                let p99 = with_stalled(place, server, clients)?;
                self.slow.add(round, server.name, "1 % do not read", None, p99);
            }
        }
        Ok(())
    }

    /// Clients of each server.
    fn clients(&self, place: &Place<'_>, count: u64, channel: &str, channels: u64) -> Result<Vec<Clients>> {
        let opened = self.servers.iter().map(|server| {
            let mut clients = place.clients(server, false)?;
            clients.open(count, channel, channels)?;
            Ok(clients)
        });
        opened.collect()
    }

    /// What was found; the servers end.
    pub(super) fn end(self) -> (Vec<Measure>, Vec<Check>, Vec<Goal>) {
        let goal = |contestant| {
            let found = self.cpu.median(contestant, &self.largest)?;
            let what = format!("CPU of a delivery, {contestant}");
            Some(Goal { what, found, at_most: 16.0, unit: "µs".to_owned() })
        };
        let goals = [goal(OURS), goal(APART)].into_iter().flatten().collect();
        let check = |server: &Server| Check {
            contestant: server.name.to_owned(),
            what: "every client got every event that was meant for it, once and in order".to_owned(),
        };
        let checks = self.servers.iter().map(check).collect();
        let measures = [self.cpu, self.owner, self.p50, self.p99, self.slow].map(Samples::measure);
        (measures.into_iter().filter(|measure| !measure.cells.is_empty()).collect(), checks, goals)
    }
}

fn cost(server: &Server, deliveries: u64, publish: impl FnOnce() -> Result<Value>) -> Result<f64> {
    let before = server.cpu()?;
    publish()?;
    Ok(server.cpu()?.saturating_sub(before).as_secs_f64() * 1e6 / deliveries as f64)
}

/// Events over all channels.
fn spread<'a>(place: &Place<'_>, server: &Server) -> Events<'a> {
    let count = EVENTS_RATE * u64::from(place.settings.seconds);
    let expect = count * (READERS / CHANNELS);
    Events {
        topic: server.topic,
        count,
        rate: EVENTS_RATE,
        channels: CHANNELS,
        owners: 1,
        expect,
        bytes: PADDING_BYTES,
    }
}

/// The time of those who read while some do not.
fn with_stalled(place: &Place<'_>, server: &Server, clients: &mut Clients) -> Result<f64> {
    let mut stalled = place.clients(server, false)?;
    // All channels, so that what the system keeps for them is soon full: only then do they burden the bridge.
    stalled.open_stalled(STALLED, "room:*")?;
    let before = number(&clients.status()?, "received")?;
    let filling = Events {
        count: 4000,
        rate: 400,
        bytes: 4000,
        expect: 4000 * (READERS / CHANNELS),
        ..spread(place, server)
    };
    clients.publish(filling)?;
    anyhow::ensure!(number(&clients.status()?, "received")? > before, "nobody got anything");
    own::millis(&clients.publish(spread(place, server))?, "p99_us")
}
