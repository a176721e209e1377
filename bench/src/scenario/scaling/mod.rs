//! How costs grow: with threads, with processes, with connections that are merely open. With routes: the scenario `routes`.

mod connections;
mod workers;

use anyhow::Result;

use crate::contest::{Backend, Samples, Settings, site};
use crate::data::Scenario;

/// The scenario's name.
pub const NAME: &str = "scaling";

const ABOUT: &str = "\
Threads and processes: one route without filters, 1 KiB answers, wrk in a closed loop. Sallyport may use both cores here, and shares \
one with wrk and the backend. So requests a second say what is left over, not what two cores can do; CPU time a request says \
whether workers cost each other anything, and cores over CPU time is what a machine of its own would do. Two processes share a port \
by SO_REUSEPORT (`reuse_port`).\n\n\
Connections: each has had one answer, in the measured way, and is held open by a client of our own. Memory is the process's; what \
the kernel keeps for sockets is the same for all and in no figure. A connection's share is the growth from none to the most over \
their number.";

/// Does it.
///
/// # Errors
/// A contestant does not do its work.
pub fn run(settings: &Settings) -> Result<Scenario> {
    let folder = settings.folder_of(NAME)?;
    let certificate = site::write(&folder)?;
    let backend = Backend::start(settings, &folder)?;
    let (mut checks, mut missing) = (Vec::new(), Vec::new());
    let workers = workers::measure(settings, &folder, &backend, &mut checks, &mut missing)?;
    let connections =
        connections::measure(settings, &folder, &certificate, &backend, &mut checks, &mut missing)?;
    Ok(Scenario {
        name: NAME.to_owned(),
        title: "Scaling".to_owned(),
        about: ABOUT.to_owned(),
        checks,
        measures: workers.into_iter().chain(connections).map(Samples::measure).collect(),
        goals: Vec::new(),
        missing,
    })
}
