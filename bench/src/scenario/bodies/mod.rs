//! Large bodies up and down, and slow clients.

mod slow;
mod transfers;

use anyhow::Result;

use crate::contest::{Client, ENVOY, Entry, NGINX, SALLYPORT, Samples, Settings, start_all};
use crate::data::Scenario;
use crate::process::{free_port, listens};

/// The scenario's name.
pub const NAME: &str = "bodies";
/// nginx as it is without a word about it.
const SPOOLING: &str = "nginx, spooling";

const ABOUT: &str = "\
Large bodies go up and come down over HTTP/1.1, several at a time; a service of our own swallows and serves them, and it and the \
clients compare every byte. CPU time is the contestant's for each GiB, memory the most that its process had resident meanwhile. \
`nginx` has request buffering and temporary files turned off, as for large uploads its experts would; `nginx, spooling` is what it \
does by default: an upload waits in a file until it is whole (the memory and the time of the kernel for that file are not \
the process's, and not in the figures).\n\n\
Slow clients: a third of them sends a head byte by byte, one a second, a third a body so, and a third reads a large answer at 1 KiB \
a second. All contestants are told to put up with that; Sallyport's defaults would not, after 10 s for a head, and 5 s for \
a body below 240 bytes a second. Memory is what the process has more than before, at most and once they are \
connected; beside them a fast client asks in an open loop, 500 times a second. The buffers of sockets are the kernel's and in no figure.";

/// Does it.
///
/// # Errors
/// A contestant does not do its work.
pub fn run(settings: &Settings) -> Result<Scenario> {
    let folder = settings.folder_of(NAME)?;
    let port = free_port()?;
    let mut origin = Client::start("origin", &[("--port", port.to_string())])?;
    listens(port, || origin.runs())?;
    let entries = [
        Entry::new(&SALLYPORT, NAME),
        Entry::new(&NGINX, NAME),
        Entry::new(&NGINX, "bodies-spooled").named(SPOOLING),
        Entry::new(&ENVOY, NAME),
    ]
    .map(|entry| entry.with("BACKEND", port));
    let (contestants, missing) = start_all(settings, &folder, &entries)?;
    let mut checks = Vec::new();
    let transfers = transfers::measure(settings, &contestants, &mut checks)?;
    drop(contestants);
    // Anew, so that nobody has memory from before.
    let (contestants, _) = start_all(settings, &folder, &entries)?;
    let slow = slow::measure(settings, &contestants, &mut checks)?;
    origin.runs()?;
    let goals = slow.goals();
    Ok(Scenario {
        name: NAME.to_owned(),
        title: "Large bodies and slow clients".to_owned(),
        about: ABOUT.to_owned(),
        checks,
        measures: transfers.into_iter().chain(slow.samples()).map(Samples::measure).collect(),
        goals,
        missing,
    })
}
