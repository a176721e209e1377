//! `demo`: a platform in one process. Sample services and a Kafka broker, the edge of the repository's `routes.yaml` over
//! HTTPS in front of them, a signed token, and a line to try for each capability.
//!
//! Nothing here is part of the edge: it uses the public side of the library as anybody could.

mod folder;
mod signer;
mod guide;
mod services;
mod live;
mod events;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use sallyport_filters::Registry;
use tokio::net::TcpListener;

use self::events::Events;
use self::folder::Folder;
use self::services::Platform;
use crate::Edge;
use crate::cli::Done;

/// Options of `demo`.
#[derive(Debug, Args)]
pub(crate) struct Demo {
    /// Where the demo's files go: configuration, certificate, keys, uploads. Default: a new folder for temporary files.
    #[arg(long, value_name = "FOLDER")]
    folder: Option<PathBuf>,
    /// Take free ports instead of those in routes.yaml.
    #[arg(long)]
    free_ports: bool,
    /// Write the folder and exit, so that its routes.yaml can be checked or edited first.
    #[arg(long)]
    prepare: bool,
    /// Write the bound addresses and the tokens to this file, as JSON, once the edge accepts connections.
    #[arg(long, value_name = "FILE")]
    ready_file: Option<PathBuf>,
}

impl Demo {
    pub(crate) fn run(self, registry: Registry) -> Done {
        let runtime = tokio::runtime::Runtime::new().map_err(|error| error.to_string())?;
        runtime.block_on(self.serve(registry))
    }

    async fn serve(self, registry: Registry) -> Done {
        let folder = Folder::make(self.folder.clone())?;
        if self.prepare {
            folder.write(&[])?;
            println!("{}", folder.path().join("routes.yaml").display());
            return Ok(ExitCode::SUCCESS);
        }
        let events = Events::start()?;
        // The broker takes a port of its own choice.
        let broker = events.address().parse().map_err(|error| format!("`{}`: {error}", events.address()))?;
        let mut moved = vec![(folder::BROKER, broker)];
        let platform = Platform::new(folder.path().join("uploads"), events.clone(), folder.signer().clone())?;
        for (address, service) in services::ADDRESSES {
            let socket = bind(address, self.free_ports).await?;
            moved.push((address, socket.local_addr().map_err(|error| error.to_string())?));
            tokio::spawn(services::serve(socket, platform.clone(), service));
        }
        if self.free_ports {
            moved.extend(folder::LISTENERS.map(|address| (address, SocketAddr::from(([127, 0, 0, 1], 0)))));
        }
        folder.write(&moved)?;
        let path = folder.path().join("routes.yaml");
        let running = Edge::new(registry).start(&path).await.map_err(|error| error.to_string())?;
        guide::print(&running, &folder, events.address());
        if let Some(file) = &self.ready_file {
            guide::write_ready(file, &running, &folder, events.address())?;
        }
        crate::cli::until_stopped(&running).await?;
        running.stop().await;
        Ok(ExitCode::SUCCESS)
    }
}

async fn bind(address: &str, free: bool) -> Result<TcpListener, String> {
    let wanted = if free { "127.0.0.1:0" } else { address };
    TcpListener::bind(wanted).await.map_err(|error| {
        format!("cannot listen on {wanted}: {error}; `demo --free-ports` takes ports that are free")
    })
}
