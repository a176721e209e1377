//! The aggregator inside the edge: started with the first plan that needs one, given each further plan, stopped with the
//! edge. Requests go to its Unix socket like requests to any upstream.

use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use prometheus::Registry;
use sallyport_aggregator::{Host, StartError, server};
use sallyport_upstreams::exchange::Connections;
use serde_json::Value;
use thiserror::Error;
use tokio::sync::watch;

use crate::plan::Plan;
use crate::sidecar::{Seat, Sidecar};

/// The place for an aggregator in this process.
pub(crate) struct Composing {
    /// Holds the socket; nobody else may look into it.
    folder: PathBuf,
    host: OnceLock<Arc<Host>>,
}

/// Why the aggregator does not start.
#[derive(Debug, Error)]
pub enum ComposingError {
    /// Its socket cannot be made.
    #[error("the aggregator's socket: {0}")]
    Socket(#[from] io::Error),
    /// The aggregator cannot be started.
    #[error(transparent)]
    Start(#[from] StartError),
}

impl Composing {
    pub(crate) fn new() -> Composing {
        let name = format!("sallyport-a-{}-{:08x}", std::process::id(), fastrand::u32(..));
        Composing { folder: std::env::temp_dir().join(name), host: OnceLock::new() }
    }

    /// Where plans without an aggregator of its own process lead.
    pub(crate) fn seat(&self) -> Seat {
        Seat { sidecar: Sidecar::Aggregator, socket: self.folder.join("aggregator"), carrier: None }
    }

    /// Starts the aggregator of a plan, or puts its settings into force; nothing if it has none for this process.
    pub(crate) async fn follow(
        &self,
        plan: &Plan,
        connections: &Arc<Connections>,
        registry: &Registry,
        kafka: &sallyport_kafka::Metrics,
        stop: watch::Receiver<bool>,
    ) -> Result<(), ComposingError> {
        let elsewhere =
            plan.loaded.config.aggregator.as_ref().is_some_and(|settings| settings.socket.is_some());
        let composed = match (self.host.get(), plan.composed.clone().filter(|_| !elsewhere)) {
            (None, Some(composed)) => composed,
            (None, None) => return Ok(()),
            (Some(host), Some(composed)) => return Ok(host.replace(composed).await.map(drop)?),
            // It stays, with its socket, for the next plan that needs one.
            (Some(host), None) => return Ok(host.rest().await.map(drop)?),
        };
        let host = Host::start(composed, connections.clone(), registry.clone(), kafka).await?;
        std::fs::DirBuilder::new().mode(0o700).create(&self.folder)?;
        let listener = sallyport_sidecar::bind(&self.folder.join("aggregator")).await?;
        tokio::spawn(server::serve(listener, host.clone(), stop));
        // Reloads take turns, so nobody else has set it meanwhile.
        let _ = self.host.set(host);
        Ok(())
    }

    /// What operators may want to know; none if no aggregator runs here.
    pub(crate) fn status(&self) -> Option<Value> {
        self.host.get().map(|host| host.status())
    }

    /// Stops folding and closes the stores. Requests under way are the edge's, and drained by it.
    pub(crate) async fn stop(&self) {
        if let Some(host) = self.host.get() {
            host.stop().await;
        }
        self.remove_folder();
    }

    fn remove_folder(&self) {
        // It is there if an aggregator was.
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// The socket's folder goes with the edge, also with one that was never stopped.
impl Drop for Composing {
    fn drop(&mut self) {
        self.remove_folder();
    }
}
