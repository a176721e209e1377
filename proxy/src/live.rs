//! The bridge inside the edge: started with the first plan that has one, replaced when its settings change, stopped with the
//! edge. WebSockets are handed to it as they are; streams of events go to its Unix socket like requests to any upstream.

use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use prometheus::Registry;
use sallyport_ws_bridge::hello::{Hello, Stream};
use sallyport_ws_bridge::{Host, StartError, server};
use serde_json::Value;
use thiserror::Error;
use tokio::sync::watch;

use crate::plan::Plan;
use crate::sidecar::{Carrier, Ended, Reason, Seat, Sidecar};

/// The place for a bridge in this process.
pub(crate) struct Live {
    /// Holds the socket; nobody else may look into it.
    folder: PathBuf,
    host: OnceLock<Arc<Host>>,
}

/// Why the bridge does not start.
#[derive(Debug, Error)]
pub enum LiveError {
    /// Its socket cannot be made.
    #[error("the bridge's socket: {0}")]
    Socket(#[from] io::Error),
    /// The bridge cannot be started.
    #[error(transparent)]
    Start(#[from] StartError),
}

impl Live {
    pub(crate) fn new() -> Arc<Live> {
        let name = format!("sallyport-{}-{:08x}", std::process::id(), fastrand::u32(..));
        Arc::new(Live { folder: std::env::temp_dir().join(name), host: OnceLock::new() })
    }

    /// Where plans without a bridge of its own process lead.
    pub(crate) fn seat(self: &Arc<Self>) -> Seat {
        Seat { sidecar: Sidecar::Bridge, socket: self.folder.join("bridge"), carrier: Some(self.clone()) }
    }

    /// Starts the bridge of a plan, or puts its settings into force; nothing if it has none for this process.
    pub(crate) async fn follow(
        self: &Arc<Self>,
        plan: &Plan,
        registry: &Registry,
        kafka: &sallyport_kafka::Metrics,
        stop: watch::Receiver<bool>,
    ) -> Result<(), LiveError> {
        let settings = plan.loaded.config.ws_bridge.as_ref();
        let elsewhere = settings.is_none_or(|settings| settings.socket.is_some());
        let Some(live) = plan.live.clone().filter(|_| !elsewhere) else {
            if self.host.get().is_some() {
                log::warn!(
                    "`ws_bridge` is gone from the configuration; the bridge goes with the next restart"
                );
            }
            return Ok(());
        };
        if let Some(host) = self.host.get() {
            let drain = *plan.loaded.config.process.drain;
            if host.replace(live, drain).await? {
                log::info!("the bridge has new settings; its clients connect again within {drain:?}");
            }
            return Ok(());
        }
        std::fs::DirBuilder::new().mode(0o700).create(&self.folder)?;
        let listener = sallyport_sidecar::bind(&self.folder.join("bridge")).await?;
        let host = Host::start(live, registry.clone(), kafka)?;
        tokio::spawn(server::serve(listener, Arc::new(host.clone()), stop));
        // Reloads take turns, so nobody else has set it meanwhile.
        let _ = self.host.set(host);
        Ok(())
    }

    /// What operators may want to know; none if no bridge runs here.
    pub(crate) fn status(&self) -> Option<Value> {
        self.host.get().map(|host| host.status())
    }

    /// Sends every client away within the drain.
    pub(crate) async fn stop(&self, drain: Duration) {
        if let Some(host) = self.host.get() {
            host.stop(drain).await;
        }
        self.remove_folder();
    }

    fn remove_folder(&self) {
        // It is there if a bridge was.
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// The socket's folder goes with the edge, also with one that was never stopped.
impl Drop for Live {
    fn drop(&mut self) {
        self.remove_folder();
    }
}

impl Carrier for Live {
    fn carry(&self, stream: Box<dyn Stream>, hello: Hello) -> BoxFuture<'static, Ended> {
        let Some(host) = self.host.get() else {
            let error = Some("the bridge has not started".into());
            let ended = Ended { reason: Reason::Error, received_bytes: 0, sent_bytes: 0, error };
            return Box::pin(std::future::ready(ended));
        };
        // No `async` block: it would hold the connection twice.
        Box::pin(host.carry(stream, &[], hello).map(ended))
    }
}

/// How a connection ended, in the edge's words.
fn ended(end: sallyport_ws_bridge::Ended) -> Ended {
    let reason = match (end.code, end.reason) {
        (_, "client" | "client gone") => Reason::Client,
        (1006, _) => Reason::Error,
        (3001, _) => Reason::Drain,
        _ => Reason::Upstream,
    };
    let error = (reason != Reason::Client).then(|| format!("{} {}", end.code, end.reason).into());
    Ended { reason, received_bytes: end.received_bytes, sent_bytes: end.sent_bytes, error }
}
