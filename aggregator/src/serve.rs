//! An aggregator as a process of its own: the same file as the edge's, read for its own sections.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use prometheus::Registry;
use sallyport_config::{Loaded, Report};
use sallyport_identity::fetch::Fetcher;
use sallyport_upstreams::Upstreams;
use sallyport_upstreams::exchange::Connections;
use thiserror::Error;
use tokio::sync::watch;

use crate::host::{Host, StartError};
use crate::plan::Plan;
use crate::server;

/// How long a start waits for the names of upstreams. Later they come when they come.
const FIRST_NAMES: Duration = Duration::from_secs(5);
/// The most connections that wait for their next use, of all upstreams.
const POOL_CONNECTIONS_MAX: usize = 4096;

/// Why an aggregator does not run.
#[derive(Debug, Error)]
pub enum ServeError {
    /// The configuration is refused; the report has every reason.
    #[error("{0}")]
    Config(Report),
    /// The configuration has no aggregator that is a process of its own.
    #[error("`aggregator.socket` is not set: the aggregator runs inside the edge")]
    Embedded,
    /// The configuration has nothing for an aggregator to do.
    #[error("no route has `aggregate` or `view`: there is nothing to do")]
    Idle,
    /// The aggregator cannot be started.
    #[error(transparent)]
    Start(#[from] StartError),
    /// The metrics are registered already.
    #[error("cannot register metrics: {0}")]
    Metrics(#[from] prometheus::Error),
    /// The socket cannot be listened on.
    #[error("cannot listen on {0}")]
    Socket(#[from] std::io::Error),
}

/// An aggregator that runs as a process of its own.
pub struct Serving {
    path: PathBuf,
    host: Arc<Host>,
    fetcher: Arc<Fetcher>,
    upstreams: Mutex<Upstreams>,
    drain: Duration,
    stop: watch::Sender<bool>,
    socket: PathBuf,
    served: tokio::task::JoinHandle<()>,
}

/// A configuration as the aggregator needs it.
struct Read {
    loaded: Loaded,
    upstreams: Upstreams,
    plan: Arc<Plan>,
    socket: PathBuf,
}

/// Starts the aggregator of a configuration file on the Tokio runtime this is called in.
///
/// # Errors
/// See [`ServeError`].
pub async fn serve(path: &Path) -> Result<Serving, ServeError> {
    let Read { loaded, upstreams, plan, socket } = read(path, None)?;
    let (stop, stopped) = watch::channel(false);
    let fetcher = Arc::new(Fetcher::new());
    tend(&upstreams, &fetcher, &stopped).await;
    let listener = sallyport_sidecar::bind(&socket).await?;
    let connections = Arc::new(Connections::new(POOL_CONNECTIONS_MAX));
    let registry = Registry::new();
    let kafka = sallyport_kafka::Metrics::register(&registry)?;
    let host = Host::start(plan, connections, registry, &kafka).await?;
    let served = tokio::spawn(server::serve(listener, host.clone(), stopped));
    Ok(Serving {
        path: path.to_owned(),
        host,
        fetcher,
        upstreams: Mutex::new(upstreams),
        drain: *loaded.config.process.drain,
        stop,
        socket,
        served,
    })
}

fn read(path: &Path, running: Option<&Upstreams>) -> Result<Read, ServeError> {
    let environment = |name: &str| std::env::var(name).ok();
    let (loaded, mut report) = sallyport_config::load(path, &environment).map_err(ServeError::Config)?;
    let upstreams = sallyport_upstreams::load(&loaded, running, &mut report);
    let plan = Plan::compile(&loaded, &upstreams, &mut report);
    if report.errors().next().is_some() {
        report.sort();
        return Err(ServeError::Config(report));
    }
    let socket = loaded.config.aggregator.as_ref().and_then(|settings| settings.socket.as_ref());
    let socket = socket.map(|socket| loaded.base.join(&socket.value)).ok_or(ServeError::Embedded)?;
    let plan = plan.map(Arc::new).ok_or(ServeError::Idle)?;
    Ok(Read { loaded, upstreams, plan, socket })
}

/// Background work of upstreams, and the first names.
async fn tend(upstreams: &Upstreams, fetcher: &Arc<Fetcher>, stop: &watch::Receiver<bool>) {
    let unresolved = upstreams.values().filter(|upstream| !upstream.ready());
    let first = futures::future::join_all(unresolved.map(|upstream| upstream.resolve_now()));
    // What is not there in time comes later; until then its branches fail.
    let _ = tokio::time::timeout(FIRST_NAMES, first).await;
    sallyport_upstreams::tend(upstreams, fetcher, stop);
}

impl Serving {
    /// The socket that it listens on.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// Reads the configuration again. Whether anything that concerns the aggregator has changed.
    ///
    /// # Errors
    /// What runs stays. The socket and the folder of stores are read at start only.
    pub async fn reload(&self) -> Result<bool, ServeError> {
        let running = self.upstreams.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let Read { upstreams, plan, .. } = read(&self.path, Some(&running))?;
        tend(&upstreams, &self.fetcher, &self.stop.subscribe()).await;
        let changed = self.host.replace(plan).await?;
        *self.upstreams.lock().unwrap_or_else(PoisonError::into_inner) = upstreams;
        Ok(changed)
    }

    /// Ends the answers under way within the drain, closes the stores, and ends.
    pub async fn stop(self) {
        self.stop.send_replace(true);
        // What outlasts the drain ends with the process.
        let _ = tokio::time::timeout(self.drain, self.served).await;
        self.host.stop().await;
        // Somebody else may have put another in its place; then this removes nothing of ours that matters.
        let _ = std::fs::remove_file(&self.socket);
    }
}
