//! `run`: the edge as a service.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use sallyport_filters::Registry;
use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};

use super::Done;
use crate::{Edge, Running};

/// Options of `run`.
#[derive(Debug, Args)]
pub(super) struct Run {
    /// The configuration file.
    #[arg(default_value = "routes.yaml")]
    file: PathBuf,
    /// Write the bound addresses to this file, as JSON, once the edge accepts connections.
    #[arg(long, value_name = "FILE")]
    ready_file: Option<PathBuf>,
}

impl Run {
    pub(super) fn run(self, registry: Registry) -> Done {
        let threads = threads(&self.file);
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        builder.enable_all();
        if let Some(threads) = threads {
            builder.worker_threads(threads.max(1));
        }
        let runtime = builder.build().map_err(|error| error.to_string())?;
        runtime.block_on(async {
            let running = match Edge::new(registry).start(&self.file).await {
                Ok(running) => running,
                Err(error) => {
                    eprintln!("{error}");
                    return Ok(ExitCode::from(super::NO));
                }
            };
            announce(&running);
            if let Some(path) = &self.ready_file {
                write_ready(path, &running)?;
            }
            until_stopped(&running).await?;
            running.stop().await;
            log::info!("stopped");
            Ok(ExitCode::SUCCESS)
        })
    }
}

/// The number of worker threads is needed before there is a runtime; whatever is wrong with the file is reported by the
/// start.
fn threads(file: &Path) -> Option<usize> {
    sallyport_config::load(file, &crate::plan::environment).ok()?.0.config.process.threads
}

fn announce(running: &Running) {
    for (name, address) in running.addresses() {
        log::info!("listener {name} on {address}");
    }
    if let Some(address) = running.admin() {
        log::info!("admin on {address}");
    }
}

fn write_ready(path: &Path, running: &Running) -> Result<(), String> {
    let ready = json!({ "listeners": running.addresses(), "admin": running.admin() });
    write_whole(path, &ready.to_string())
}

/// Writes a file for somebody who waits for it.
pub(crate) fn write_whole(path: &Path, content: &str) -> Result<(), String> {
    // Written beside and renamed, so that whoever waits for the file never reads half of it.
    let beside = path.with_extension("tmp");
    std::fs::write(&beside, content)
        .and_then(|()| std::fs::rename(&beside, path))
        .map_err(|error| format!("cannot write `{}`: {error}", path.display()))
}

/// Waits for SIGTERM or SIGINT; each SIGHUP is a reload.
pub(crate) async fn until_stopped(running: &Running) -> Result<(), String> {
    let listen = |kind| signal(kind).map_err(|error| format!("cannot listen for signals: {error}"));
    let (mut terminate, mut interrupt) = (listen(SignalKind::terminate())?, listen(SignalKind::interrupt())?);
    let mut hangup = listen(SignalKind::hangup())?;
    loop {
        tokio::select! {
            _ = terminate.recv() => return Ok(()),
            _ = interrupt.recv() => return Ok(()),
            // A refusal is logged and counted where it happens.
            _ = hangup.recv() => drop(running.reload().await),
        }
    }
}
