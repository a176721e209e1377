//! The clients of our own, where no existing tool does what is needed. Each is a subcommand, a process on the load core, and
//! prints one JSON object.

mod exchange;
pub mod open;

use anyhow::Result;
use clap::Subcommand;

/// A client of our own.
#[derive(Debug, Subcommand)]
pub enum Load {
    /// Requests at a fixed rate, whatever the answers do.
    Open(open::Open),
}

impl Load {
    /// Runs it and prints what it found.
    ///
    /// # Errors
    /// An answer is not the right one, or the contestant cannot be reached.
    pub fn run(&self) -> Result<()> {
        match self {
            Load::Open(open) => println!("{}", serde_json::to_string(&open.run()?)?),
        }
        Ok(())
    }
}
