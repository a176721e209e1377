//! Commands, their options, and what they exit with.

mod check;
mod diff;
mod explain;
mod explain_event;
mod logger;
mod run;
mod schema;
mod token;
mod view;

pub(crate) use run::{until_stopped, write_whole};

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand, ValueEnum};
use sallyport_filters::Registry;

/// One guarded way in: a programmable edge proxy.
///
/// Exit codes: 0 well, 1 the answer is no (a configuration with errors, a difference, a request without a route, an event
/// that somebody does not see), 2 the command could not be carried out.
#[derive(Debug, Parser)]
#[command(version, arg_required_else_help = true, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the edge of a configuration until SIGTERM or SIGINT; SIGHUP loads the configuration again.
    Run(run::Run),
    /// Run a whole platform in one process: sample services, an edge over HTTPS in front, a token and lines to try.
    Demo(crate::demo::Demo),
    /// Check a configuration as a start would: every error at once, with its place and the way out.
    Check(check::Check),
    /// Tell what would become of a request: the route and why, its filters, where it goes.
    Explain(explain::Explain),
    /// Tell why an event does or does not reach a subject: what a record becomes, who may subscribe, who may see it.
    ExplainEvent(explain_event::ExplainEvent),
    /// Tell what changes between two configurations, by the names of things.
    Diff(diff::Diff),
    /// Print the JSON Schema of routes.yaml for an editor, or the reference manual made from it.
    Schema(schema::Schema),
    /// Make a signed token for trying things out.
    Token(token::Token),
    /// Copy the store of a view, or bring in a copy where there is none: a new node then reads only what has come since.
    View(view::View),
}

/// How results are printed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For people.
    #[default]
    Text,
    /// For scripts.
    Json,
}

/// The configuration file, where a command takes one by option.
#[derive(Debug, clap::Args)]
struct ConfigFile {
    /// The configuration file.
    #[arg(long, short, default_value = "routes.yaml", value_name = "FILE")]
    config: PathBuf,
}

const NO: u8 = 1;
const CANNOT: u8 = 2;

/// The whole command line, with these filters: `run`, `check`, `explain` and the others. What `main` of an edge with
/// filters of one's own calls; it reads the program's arguments and starts the process log.
pub fn command_line(registry: Registry) -> ExitCode {
    let cli = Cli::parse();
    logger::start();
    let done = match cli.command {
        Command::Run(command) => command.run(registry),
        Command::Demo(command) => command.run(registry),
        Command::Check(command) => command.run(&registry),
        Command::Explain(command) => command.run(&registry),
        Command::ExplainEvent(command) => command.run(),
        Command::Diff(command) => command.run(),
        Command::Schema(command) => command.run(&registry),
        Command::Token(command) => command.run(),
        Command::View(command) => command.run(),
    };
    done.unwrap_or_else(|message| {
        eprintln!("sallyport: {message}");
        ExitCode::from(CANNOT)
    })
}

/// A command's end: an exit code, or why it could not be carried out.
pub(crate) type Done = Result<ExitCode, String>;

fn print_json(value: &impl serde::Serialize) -> Result<(), String> {
    let text = serde_json::to_string_pretty(value).map_err(|error| error.to_string())?;
    println!("{text}");
    Ok(())
}
