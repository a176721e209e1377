//! The clients of our own, where no existing tool does what is needed. Each is a subcommand, a process on the load core, and
//! prints one JSON object.

mod ask;
mod exchange;
pub mod handshakes;
mod head;
pub mod idle;
pub mod open;
pub mod origin;
mod pattern;
pub mod slow;
pub mod tls_client;
pub mod transfer;
mod wire;

use anyhow::Result;
use clap::Subcommand;
use serde::Serialize;

use crate::scenario::compose::Pages;
use crate::scenario::day::Users;
use crate::scenario::live::Live;

/// A client of our own.
#[derive(Debug, Subcommand)]
pub enum Load {
    /// Connections over TLS 1.3, each with one request.
    Handshakes(handshakes::Handshakes),
    /// Connections that are held open; says `open` on a line of its own, and ends when it is killed.
    Idle(idle::Idle),
    /// Requests at a fixed rate, whatever the answers do.
    Open(open::Open),
    /// No client: a service for large bodies, until it is killed.
    Origin(origin::Origin),
    /// Slow clients; says `ready` on a line of its own when all are connected.
    Slow(slow::Slow),
    /// Large bodies, up or down.
    Transfer(transfer::Transfer),
    /// Pages on time, each a composed answer or calls of the client's own.
    Pages(Pages),
    /// Thousands of clients of the bridge, or of tunnels, told by standard input what to do.
    Live(Live),
    /// The users of a platform for a while.
    Users(Users),
}

impl Load {
    /// Runs it and prints what it found.
    ///
    /// # Errors
    /// An answer is not the right one, or the contestant cannot be reached.
    pub fn run(&self) -> Result<()> {
        match self {
            Load::Handshakes(handshakes) => print(&handshakes.run()?),
            Load::Idle(idle) => idle.run(),
            Load::Open(open) => print(&open.run()?),
            Load::Origin(origin) => origin.run(),
            Load::Slow(slow) => print(&slow.run()?),
            Load::Transfer(transfer) => print(&transfer.run()?),
            Load::Pages(pages) => pages.run(),
            Load::Live(live) => live.run(),
            Load::Users(users) => users.run(),
        }
    }
}

fn print(found: &impl Serialize) -> Result<()> {
    println!("{}", serde_json::to_string(found)?);
    Ok(())
}
