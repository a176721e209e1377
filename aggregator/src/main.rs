//! The program `sallyport-aggregator`: the aggregator as a process of its own, with the edge's configuration file.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use sallyport_aggregator::serve;
use sallyport_sidecar::{Signals, process_log};

/// Chosen by measurement: docs/decisions/0005-allocator.md.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Composed answers and dashboard views, behind an edge that says who asks. Runs until SIGTERM or SIGINT; SIGHUP loads the
/// configuration again.
#[derive(Debug, Parser)]
#[command(version, max_term_width = 100)]
struct Arguments {
    /// The configuration file, the same as the edge's. `aggregator.socket` in it says where to listen.
    #[arg(default_value = "routes.yaml")]
    file: PathBuf,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    process_log::start();
    let done =
        tokio::runtime::Runtime::new().map_err(text).and_then(|runtime| runtime.block_on(run(arguments)));
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("{message}");
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: Arguments) -> Result<(), String> {
    let signals = Signals::new().map_err(text)?;
    let serving = serve(&arguments.file).await.map_err(text)?;
    log::info!("aggregator on {}", serving.socket().display());
    signals.until_stopped(|| serving.reload()).await;
    serving.stop().await;
    log::info!("stopped");
    Ok(())
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}
