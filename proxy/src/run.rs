//! An edge from its start to its stop.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use pingora_core::apps::HttpServerApp;
use pingora_core::server::configuration::ServerConf;
use pingora_proxy::HttpProxy;
use sallyport_config::Report;
use sallyport_filters::Registry;
use sallyport_identity::Keys;
use sallyport_identity::fetch::Fetcher;
use thiserror::Error;
use tokio::sync::{mpsc, watch};

use crate::access_log::AccessLog;
use crate::admin;
use crate::carry::{Carrier, POOL_CONNECTIONS_MAX, TRIES_MAX};
use crate::composing::{Composing, ComposingError};
use crate::listener::{Bound, Drain, ListenerPlan, Service};
use crate::live::{Live, LiveError};
use crate::metrics::Metrics;
use crate::phases::Phases;
use crate::plan::{Plan, Surroundings};
use crate::reload::{self, ReloadError};
use crate::state::State;
use crate::watch as files;

/// How long a start waits for the first key sets. Later they come when they come, and `/readyz` says so.
const FIRST_KEYS: Duration = Duration::from_secs(5);
/// How long cut connections get to notice.
const CUT: Duration = Duration::from_secs(1);

/// An edge that is not running yet: the filters it knows.
pub struct Edge {
    registry: Registry,
}

/// A running edge. Dropping it leaves it running until its runtime ends; [`Running::stop`] ends it well.
pub struct Running {
    pub(crate) inner: Arc<Inner>,
    alive: mpsc::Receiver<()>,
}

/// What the tasks of a running edge share.
pub(crate) struct Inner {
    pub(crate) registry: Registry,
    pub(crate) live: Arc<Live>,
    pub(crate) composing: Composing,
    pub(crate) path: PathBuf,
    pub(crate) service: Service,
    pub(crate) keys: Keys,
    pub(crate) fetcher: Arc<Fetcher>,
    pub(crate) bound: Mutex<BTreeMap<String, Bound>>,
    pub(crate) admin: Option<SocketAddr>,
    /// One reload at a time.
    pub(crate) reloading: tokio::sync::Mutex<()>,
    pub(crate) last_reload: Mutex<Option<String>>,
    pub(crate) stop: watch::Sender<bool>,
    /// True once the drain is over: whatever still runs is cut.
    pub(crate) kill: watch::Sender<bool>,
    alive: Mutex<Option<mpsc::Sender<()>>>,
}

/// Why an edge did not start.
#[derive(Debug, Error)]
pub enum StartError {
    /// The configuration is refused; the report has every reason.
    #[error("{0}")]
    Config(Report),
    /// An address cannot be listened on.
    #[error("listener {name}: cannot listen on {address}: {source}")]
    Bind {
        /// The listener's name, or `admin`.
        name: String,
        /// The address.
        address: SocketAddr,
        /// What the system says.
        source: io::Error,
    },
    /// The access log cannot be opened.
    #[error("cannot open the access log `{0}`: {1}")]
    AccessLog(String, io::Error),
    /// Two metrics have the same name; a filter of one's own may be the reason.
    #[error("cannot register metrics: {0}")]
    Metrics(#[from] prometheus::Error),
    /// The bridge cannot be started.
    #[error("ws_bridge: {0}")]
    Bridge(#[from] LiveError),
    /// The aggregator cannot be started.
    #[error("aggregator: {0}")]
    Aggregator(#[from] ComposingError),
}

impl Edge {
    /// An edge that knows these filters.
    pub fn new(registry: Registry) -> Self {
        Edge { registry }
    }

    /// Starts the edge of this configuration file, on the Tokio runtime this is called in.
    ///
    /// # Errors
    /// The configuration is refused, or something it names cannot be had.
    pub async fn start(self, path: &Path) -> Result<Running, StartError> {
        let metrics = Metrics::new()?;
        let live = Live::new();
        let seat = live.seat();
        let composing = Composing::new();
        let with = Surroundings {
            registry: &self.registry,
            metrics: &metrics,
            before: None,
            bridge: Some(&seat),
            aggregator: Some(&composing.seat()),
        };
        let plan = reload::build(path, &with).map_err(StartError::Config)?;
        let process = plan.loaded.config.process.clone();
        let access_log = AccessLog::open(&process.access_log, &plan.loaded.base, metrics.log_dropped.clone())
            .map_err(|error| StartError::AccessLog(process.access_log.clone(), error))?;
        let admin = plan.loaded.config.admin.clone();
        let (stop, stopped) = watch::channel(false);
        let fetcher = Arc::new(Fetcher::new());
        let keys = Keys::new(fetcher.clone(), &metrics.registry, stopped)?;
        let state = Arc::new(State { plan: ArcSwap::from_pointee(plan), metrics, access_log });
        let (alive, ended) = mpsc::channel(1);
        let inner = Arc::new(Inner {
            registry: self.registry,
            live,
            composing,
            path: path.to_owned(),
            service: service(state),
            keys,
            fetcher,
            bound: Mutex::default(),
            admin: None,
            reloading: tokio::sync::Mutex::default(),
            last_reload: Mutex::default(),
            stop,
            kill: watch::channel(false).0,
            alive: Mutex::new(Some(alive)),
        });
        inner.open(admin.map(|admin| admin.address.value)).await.map(|inner| Running { inner, alive: ended })
    }
}

fn service(state: Arc<State>) -> Service {
    let phases = Phases { state: state.clone() };
    let conf = ServerConf {
        upstream_keepalive_pool_size: POOL_CONNECTIONS_MAX,
        max_retries: TRIES_MAX,
        ..ServerConf::default()
    };
    let mut proxy = HttpProxy::new(phases.clone(), Arc::new(conf));
    proxy.handle_init_modules();
    Service { proxy: Arc::new(proxy), carrier: Arc::new(Carrier::new(phases)), state }
}

impl Inner {
    /// The running plan's tasks and sockets, for the first time.
    async fn open(mut self: Arc<Self>, admin: Option<SocketAddr>) -> Result<Arc<Self>, StartError> {
        let plan = self.service.state.plan.load_full();
        let resolved = plan.upstreams.values().map(|upstream| upstream.resolve_now());
        let first = futures::future::join(
            futures::future::join_all(resolved),
            self.keys.prime(&plan.issuers, &plan.loaded.base, FIRST_KEYS),
        );
        // What is not there in time comes later; until then its routes answer 503.
        let _ = tokio::time::timeout(FIRST_KEYS, first).await;
        self.tend(&plan);
        self.follow(&plan).await?;
        if let Some(address) = admin {
            let bind = |source| StartError::Bind { name: "admin".to_owned(), address, source };
            let socket = tokio::net::TcpListener::bind(address).await.map_err(bind)?;
            let bound = socket.local_addr().map_err(bind)?;
            if let Some(inner) = Arc::get_mut(&mut self) {
                inner.admin = Some(bound);
            }
            tokio::spawn(admin::serve(socket, self.clone()));
        }
        for listener in &plan.listeners {
            let bound = self.bind(listener)?;
            self.bound().insert(listener.name.to_string(), bound);
        }
        self.record(&plan);
        if plan.loaded.config.process.watch {
            tokio::spawn(files::watch(Arc::downgrade(&self)));
        }
        Ok(self)
    }

    /// The bridge and the aggregator of a plan, as far as they run in this process.
    pub(crate) async fn follow(&self, plan: &Plan) -> Result<(), StartError> {
        let Metrics { registry, kafka, .. } = &*self.service.state.metrics;
        let connections = self.service.carrier.connections();
        self.composing.follow(plan, connections, registry, kafka, self.stop.subscribe()).await?;
        Ok(self.live.follow(plan, registry, kafka, self.stop.subscribe()).await?)
    }

    /// Background work of a plan's upstreams and issuers.
    pub(crate) fn tend(&self, plan: &Plan) {
        sallyport_upstreams::tend(&plan.upstreams, &self.fetcher, &self.stop.subscribe());
        self.keys.tend(&plan.issuers, &plan.loaded.base);
    }

    /// Begins to listen.
    pub(crate) fn bind(&self, listener: &Arc<ListenerPlan>) -> Result<Bound, StartError> {
        let alive = self.alive.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let refuse =
            |source| StartError::Bind { name: listener.name.to_string(), address: listener.address, source };
        let Some(alive) = alive else { return Err(refuse(io::Error::other("the edge is stopping"))) };
        let drain = Drain { stop: self.stop.subscribe(), kill: self.kill.subscribe(), alive };
        Bound::start(listener.clone(), self.service.clone(), drain).map_err(refuse)
    }

    /// The metrics that tell of a plan as a whole.
    pub(crate) fn record(&self, plan: &Plan) {
        let metrics = &self.service.state.metrics;
        metrics.plan_generation.set(i64::try_from(plan.generation).unwrap_or(i64::MAX));
        metrics.plan_loaded.set(admin::unix_seconds(plan.loaded_at));
        metrics.certificate_expiry.reset();
        for listener in &plan.listeners {
            for (name, ends) in listener.tls.iter().flat_map(|tls| &tls.expiry) {
                let expiry = metrics.certificate_expiry.with_label_values(&[&*listener.name, name]);
                expiry.set(admin::unix_seconds(*ends));
            }
        }
    }

    /// The exposition, with the gauges that are only brought up to date when somebody looks.
    pub(crate) fn exposition(&self) -> String {
        let plan = self.service.state.plan.load();
        let metrics = &self.service.state.metrics;
        for listener in &plan.listeners {
            let open = i64::try_from(listener.caps.count()).unwrap_or(i64::MAX);
            metrics.connections.with_label_values(&[&*listener.name]).set(open);
        }
        self.keys.record_ages(&plan.issuers, Instant::now());
        metrics.exposition()
    }

    pub(crate) fn bound(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Bound>> {
        self.bound.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn stopping(&self) -> bool {
        *self.stop.borrow()
    }
}

impl Running {
    /// The address a listener is bound to, by its name.
    pub fn address(&self, listener: &str) -> Option<SocketAddr> {
        self.inner.bound().get(listener).map(|bound| bound.address)
    }

    /// Every listener's name and address.
    pub fn addresses(&self) -> BTreeMap<String, SocketAddr> {
        self.inner.bound().iter().map(|(name, bound)| (name.clone(), bound.address)).collect()
    }

    /// The operator's listener.
    pub fn admin(&self) -> Option<SocketAddr> {
        self.inner.admin
    }

    /// Reads the configuration again and puts it into force; the answer is the new plan's generation.
    ///
    /// # Errors
    /// The running plan stays in force.
    pub async fn reload(&self) -> Result<u64, ReloadError> {
        reload::reload(&self.inner).await
    }

    /// Stops: no new connections, idle ones closed, exchanges under way finished within `process.drain`, then cut.
    pub async fn stop(mut self) {
        let drain = *self.inner.service.state.plan.load().loaded.config.process.drain;
        self.inner.stop.send_replace(true);
        self.inner.alive.lock().unwrap_or_else(PoisonError::into_inner).take();
        self.inner.service.proxy.http_cleanup().await;
        let ended = futures::future::join(self.inner.live.stop(drain), self.alive.recv());
        let drained = tokio::time::timeout(drain, ended).await.is_ok();
        // Last, because exchanges under way may need it.
        self.inner.composing.stop().await;
        self.inner.kill.send_replace(true);
        if !drained {
            log::warn!("exchanges were still under way after {drain:?} and are cut");
            // A connection that does not notice within this time ends with the process.
            let _ = tokio::time::timeout(CUT, self.alive.recv()).await;
        }
    }
}
