//! The program that runs the scenarios.

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
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
        Command::Report { folder } => {
            let file = folder.join("data.json");
            let data = fs::read(&file).with_context(|| format!("cannot read {}", file.display()))?;
            let run = serde_json::from_slice(&data)
                .with_context(|| format!("{} is not that of a run", file.display()))?;
            report::write(&run, &folder)
        }
        Command::Load(load) => load.run(),
        Command::Serve(serve) => serve.run(),
    }
}
