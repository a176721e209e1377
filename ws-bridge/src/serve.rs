//! A bridge as a process of its own: the same file as the edge's, read for its own section.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use prometheus::Registry;
use sallyport_config::{Loaded, Report};
use sallyport_identity::fetch::Fetcher;
use sallyport_identity::{Issuers, Keys, keys};
use thiserror::Error;
use tokio::sync::watch;

use crate::bridge::StartError;
use crate::host::Host;
use crate::plan::Plan;
use crate::server;

/// How long a start waits for the first key sets. Later they come when they come.
const FIRST_KEYS: Duration = Duration::from_secs(5);

/// Why a bridge does not run.
#[derive(Debug, Error)]
pub enum ServeError {
    /// The configuration is refused; the report has every reason.
    #[error("{0}")]
    Config(Report),
    /// The configuration has no bridge that is a process of its own.
    #[error("`ws_bridge.socket` is not set: the bridge runs inside the edge")]
    Embedded,
    /// The bridge cannot be started.
    #[error(transparent)]
    Start(#[from] StartError),
    /// The metrics are registered already.
    #[error("cannot register metrics: {0}")]
    Metrics(#[from] prometheus::Error),
    /// The socket cannot be listened on.
    #[error("cannot listen on {0}")]
    Socket(#[from] std::io::Error),
}

/// A bridge that runs as a process of its own.
pub struct Serving {
    path: PathBuf,
    host: Arc<Host>,
    keys: Keys,
    issuers: Mutex<Issuers>,
    drain: Duration,
    stop: watch::Sender<bool>,
    socket: PathBuf,
    served: tokio::task::JoinHandle<()>,
}

/// A configuration as the bridge needs it.
struct Read {
    loaded: Loaded,
    issuers: Issuers,
    plan: Arc<Plan>,
    socket: PathBuf,
}

/// Starts the bridge of a configuration file on the Tokio runtime this is called in.
///
/// # Errors
/// See [`ServeError`].
pub async fn serve(path: &Path) -> Result<Serving, ServeError> {
    let Read { loaded, issuers, plan, socket } = read(path, None)?;
    let registry = Registry::new();
    let (stop, stopped) = watch::channel(false);
    let keys = Keys::new(Arc::new(Fetcher::new()), &registry, stopped.clone())?;
    keys.prime(&issuers, &loaded.base, FIRST_KEYS).await;
    keys.tend(&issuers, &loaded.base);
    let listener = sallyport_sidecar::bind(&socket).await?;
    let kafka = sallyport_kafka::Metrics::register(&registry)?;
    let host = Host::start(plan, registry, &kafka)?;
    let served = tokio::spawn(server::serve(listener, Arc::new(host.clone()), stopped));
    Ok(Serving {
        path: path.to_owned(),
        host,
        keys,
        issuers: Mutex::new(issuers),
        drain: *loaded.config.process.drain,
        stop,
        socket,
        served,
    })
}

fn read(path: &Path, before: Option<&Issuers>) -> Result<Read, ServeError> {
    let environment = |name: &str| std::env::var(name).ok();
    let (loaded, mut report) = sallyport_config::load(path, &environment).map_err(ServeError::Config)?;
    let issuers = sallyport_identity::load::issuers(&loaded, before, &mut report);
    let plan = Plan::compile(&loaded.config, &issuers, &mut report);
    if report.errors().next().is_some() {
        report.sort();
        return Err(ServeError::Config(report));
    }
    let socket = loaded.config.ws_bridge.as_ref().and_then(|bridge| bridge.socket.as_ref());
    let socket = socket.map(|socket| loaded.base.join(&socket.value)).ok_or(ServeError::Embedded)?;
    let aggregator = loaded.config.aggregator.as_ref().and_then(|aggregator| aggregator.socket.as_ref());
    let aggregator = aggregator.map(|socket| loaded.base.join(&socket.value));
    let plan = plan.ok_or(ServeError::Embedded)?;
    let plan = match aggregator {
        Some(socket) => plan.with_aggregator(socket),
        None => plan,
    };
    let plan = Arc::new(plan);
    Ok(Read { loaded, issuers, plan, socket })
}

impl Serving {
    /// The socket that it listens on.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// Reads the configuration again. Whether anything that concerns the bridge has changed.
    ///
    /// # Errors
    /// The running bridge stays. The socket is read at start only.
    pub async fn reload(&self) -> Result<bool, ServeError> {
        let before = self.issuers.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let Read { loaded, issuers, plan, .. } = read(&self.path, Some(&before))?;
        self.keys.prime(&issuers, &loaded.base, FIRST_KEYS).await;
        self.keys.tend(&issuers, &loaded.base);
        let (of_files, base) = (issuers.clone(), loaded.base.clone());
        // What was read and found good a moment ago is of issuers that are dropped where the running ones go on: these
        // take over keys and revocations now. What has changed since is reported by the next reload.
        let _ = tokio::task::spawn_blocking(move || keys::load_files(&of_files, &base)).await;
        let changed = self.host.replace(plan, self.drain).await?;
        *self.issuers.lock().unwrap_or_else(PoisonError::into_inner) = issuers;
        Ok(changed)
    }

    /// Sends every client away within the drain, and ends.
    pub async fn stop(self) {
        self.stop.send_replace(true);
        self.host.stop(self.drain).await;
        // What outlasts the drain ends with the process.
        let _ = tokio::time::timeout(Duration::from_secs(1), self.served).await;
        // Somebody else may have put another in its place; then this removes nothing of ours that matters.
        let _ = std::fs::remove_file(&self.socket);
    }
}
