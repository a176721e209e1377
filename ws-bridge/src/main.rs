//! The program `sallyport-ws-bridge`: the bridge as a process of its own, with the edge's configuration file.

use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use sallyport_sidecar::Signals;
use sallyport_ws_bridge::serve;

/// Chosen by measurement: docs/decisions/0005-allocator.md.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Kafka events to browsers, behind an edge that says who they are. Runs until SIGTERM or SIGINT; SIGHUP loads the
/// configuration again.
#[derive(Debug, Parser)]
#[command(version, max_term_width = 100)]
struct Arguments {
    /// The configuration file, the same as the edge's. `ws_bridge.socket` in it says where to listen.
    #[arg(default_value = "routes.yaml")]
    file: PathBuf,
}

fn main() -> ExitCode {
    sallyport_sidecar::run(run(Arguments::parse()))
}

async fn run(arguments: Arguments) -> Result<(), Box<dyn Error>> {
    let signals = Signals::new()?;
    let serving = serve(&arguments.file).await?;
    log::info!("bridge on {}", serving.socket().display());
    signals.until_stopped(|| serving.reload()).await;
    serving.stop().await;
    log::info!("stopped");
    Ok(())
}
