//! The program that runs the scenarios.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;
use sallyport_bench::{load::Load, report, run, scenario::own::Serve};

/// Sallyport side by side with its rivals.
#[derive(Debug, Parser)]
#[command(name = "sallyport-bench")]
enum Command {
    /// Run scenarios and write a report.
    Run(run::Options),
    /// Write the report of a run again, from its data.
    Report {
        /// The folder of the run, with `data.json`.
        folder: PathBuf,
    },
    /// Print what has changed from one run to another, as Markdown.
    Compare {
        /// The folder of the run before, with `data.json`.
        before: PathBuf,
        /// That of the run after.
        after: PathBuf,
    },
    /// The clients that scenarios start.
    #[command(subcommand)]
    Load(Load),
    /// The services that scenarios start.
    #[command(subcommand)]
    Serve(Serve),
}

fn main() -> ExitCode {
    match run(Command::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Result<()> {
    match command {
        Command::Run(options) => options.run(),
        Command::Report { folder } => report::write(&report::read(&folder)?, &folder),
        Command::Compare { before, after } => {
            print!("{}", report::compare(&report::read(&before)?, &report::read(&after)?));
            Ok(())
        }
        Command::Load(load) => load.run(),
        Command::Serve(serve) => serve.run(),
    }
}
