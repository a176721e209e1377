//! One answer of several services: what it costs over the calls that a client would make itself, how soon it is there, and
//! what a branch costs that fails or is slow.

mod checks;
mod late;
mod pages;
mod parts;
mod services;

use anyhow::Result;

pub use self::late::Late;
pub use self::pages::Pages;
use self::services::Services;
use crate::contest::{Entry, KRAKEND, Running, SALLYPORT, Settings, start_all};
use crate::data::Scenario;

/// The name in figures of what a client does without composition.
const OWN: &str = "own calls";
const IN_SEQUENCE: &str = "own calls, one after another";
const AT_ONCE: &str = "own calls, all at once";

/// The name on the command line.
pub const NAME: &str = "compose";

const ABOUT: &str = "\
A route that composes answers of 3 or 8 services against the same edge's plain route to one of them: *own calls* is that \
plain request times the number of branches, which is what a client's own calls would cost the edge. nginx has the services' \
documents. CPU time is that of the edge's process over the answers, all of which were looked at before: each slot is the \
service's document to the byte.

Latency is open loop: pages are opened on time whatever comes back, at shares of the rate at which own calls reach their end \
(or the composed route, if that is lower), from the moment a page was due to the end of its last answer. This is loopback: a \
client that makes its calls one after another waits eight times for the network on top, one that makes them at once needs \
eight connections or streams.

A branch that fails is answered with 500 at once; a slow one would come after a second, and the route waits 100 ms for it. \
Both may be missing from the answer, which then has `null` in their place.

KrakenD composes the same services. It decodes every document and encodes the answer anew, in an order of its own, so its slots \
are looked at by their values; a branch that fails is left out, and a field of the answer's head says so. It does not pass on the \
query that makes each request another one, and needs not: equal calls at a time are calls of their own to it.";

/// Runs it.
///
/// # Errors
/// Something does not start, an answer is not what it has to be, or a client could not keep up.
pub fn run(settings: &Settings) -> Result<Scenario> {
    let folder = settings.folder_of(NAME)?;
    let services = Services::start(settings, &folder)?;
    let entry =
        |rival| Entry::new(rival, "compose").with("BACKEND", services.backend).with("LATE", services.late);
    let entries = [entry(&SALLYPORT).with("MEMORY", "256MiB"), entry(&KRAKEND)];
    let (contestants, mut missing) = start_all(settings, &folder, &entries)?;
    let checks = contestants.iter().map(checks::of).collect::<Result<Vec<_>>>()?.concat();

    let mut cpu = parts::Cpu::new(settings);
    let mut latency = parts::Latency::new();
    let mut faults = parts::Faults::new();
    for round in settings.rounds() {
        settings.progress(NAME, &round.to_string());
        cpu.round(settings, round, &contestants)?;
        // A client that sends on time needs no round to get warm: it leaves its first answers out.
        if round.counts() {
            latency.round(settings, round, &contestants[0], &cpu)?;
        }
        faults.round(settings, round, &contestants, &cpu)?;
    }
    drop(contestants);
    settings.progress(NAME, "memory");
    let small = entry(&SALLYPORT).with("MEMORY", "64MiB").named("Sallyport, 64 MiB");
    let memory = parts::memory(settings, &small.start(settings, &folder)?)?;
    missing.extend(left_out(settings));
    let goals = cpu.goals();
    let measures = [cpu.measures(), latency.measures(), faults.measures(), vec![memory]].concat();
    Ok(Scenario {
        name: NAME.to_owned(),
        title: "Composed answers".to_owned(),
        about: ABOUT.to_owned(),
        checks,
        measures,
        goals,
        missing,
    })
}

fn left_out(settings: &Settings) -> Vec<String> {
    let mut missing = vec![
        "KrakenD's slow branch: it has no time limit of a branch, only of the whole answer, so there is nothing to \
         compare. Its pages at given loads: these are compared with a client's own calls, for which it has no route here."
            .to_owned(),
    ];
    if settings.quick {
        missing.push("256 KiB a branch: in the full run only.".to_owned());
    }
    missing
}

/// Whether it is the product.
fn is_ours(contestant: &Running) -> bool {
    std::ptr::eq(contestant.rival, &raw const SALLYPORT)
}
