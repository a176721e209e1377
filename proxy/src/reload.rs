//! From a file to a plan in force: build completely, swap one pointer, or leave everything as it was.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, SystemTime};

use sallyport_config::{Config, Report};
use sallyport_identity::keys;
use sallyport_identity::{Issuer, Issuers};
use thiserror::Error;

use crate::listener::Bound;
use crate::plan::{Plan, Surroundings};
use crate::run::{Inner, StartError};
use crate::watch;

/// How long a reload waits for key sets and names that are new in it.
const NEWCOMERS: Duration = Duration::from_secs(5);

/// Why a reload changed nothing.
#[derive(Debug, Error)]
pub enum ReloadError {
    /// The configuration is refused; the report has every reason.
    #[error("{0}")]
    Config(Report),
    /// A new listener's address cannot be had, or a sidecar cannot be started.
    #[error(transparent)]
    Start(#[from] StartError),
    /// The edge is on its way out.
    #[error("the edge is stopping")]
    Stopping,
    /// The building itself broke.
    #[error("the plan could not be built: {0}")]
    Build(String),
}

/// Reads a plan that is going to be put into force: its warnings go to the log, and what its files look like is kept for
/// the watcher.
pub(crate) fn build(path: &Path, with: &Surroundings<'_>) -> Result<Plan, Report> {
    let began = SystemTime::now();
    let (mut plan, report) = Plan::read(path, with)?;
    plan.stamps = watch::stamps_since(&plan, began);
    for warning in report.warnings() {
        log::warn!("{}", warning.message);
    }
    Ok(plan)
}

/// Puts what the file says now into force. Says what became of it in the log, a metric and the admin page.
pub(crate) async fn reload(inner: &Arc<Inner>) -> Result<u64, ReloadError> {
    let _one_at_a_time = inner.reloading.lock().await;
    let result = replace(inner).await;
    let metrics = &inner.service.state.metrics;
    let failure = match &result {
        Ok(generation) => {
            metrics.reloads.with_label_values(&["ok"]).inc();
            log::info!("configuration {generation} is in force");
            None
        }
        Err(error) => {
            metrics.reloads.with_label_values(&["refused"]).inc();
            log::error!("the configuration was not reloaded, the running one stays in force:\n{error}");
            Some(error.to_string())
        }
    };
    *inner.last_reload.lock().unwrap_or_else(PoisonError::into_inner) = failure;
    result
}

async fn replace(inner: &Arc<Inner>) -> Result<u64, ReloadError> {
    if inner.stopping() {
        return Err(ReloadError::Stopping);
    }
    let of_build = inner.clone();
    let built = tokio::task::spawn_blocking(move || {
        let state = &of_build.service.state;
        let before = state.plan.load_full();
        let seat = of_build.live.seat();
        let with = Surroundings {
            registry: &of_build.registry,
            metrics: &state.metrics,
            before: Some(&before),
            bridge: Some(&seat),
            aggregator: Some(&of_build.composing.seat()),
        };
        build(&of_build.path, &with)
    });
    let plan =
        built.await.map_err(|error| ReloadError::Build(error.to_string()))?.map_err(ReloadError::Config)?;
    let plan = Arc::new(plan);
    let mut opened = Vec::new();
    let heirs = heirs(&inner.bound(), &plan);
    for listener in &plan.listeners {
        if !heirs.contains_key(&*listener.name) {
            opened.push((listener.name.to_string(), inner.bind(listener)?));
        }
    }
    newcomers(inner, &plan).await;
    inner.follow(&plan).await?;
    let of_files = plan.clone();
    let files = move || keys::load_files(&of_files.issuers, &of_files.loaded.base);
    // They were read and found good a moment ago; what changed since is reported by the next reload.
    let _ = tokio::task::spawn_blocking(files).await;
    warn_of_restarts(&inner.service.state.plan.load().loaded.config, &plan.loaded.config);
    swap(inner, plan.clone(), opened, &heirs);
    Ok(plan.generation)
}

/// Which running listener each of the plan's takes over, new name to old: the one of its name if the address is the same,
/// else one at its address whose name is gone. The address alone says too little, because several may have port 0.
fn heirs(running: &BTreeMap<String, Bound>, plan: &Plan) -> HashMap<String, String> {
    let mut free: BTreeMap<&str, SocketAddr> =
        running.iter().map(|(name, bound)| (name.as_str(), bound.configured())).collect();
    let (same, others): (Vec<_>, Vec<_>) =
        plan.listeners.iter().partition(|next| free.get(&*next.name) == Some(&next.address));
    for next in &same {
        free.remove(&*next.name);
    }
    let mut heirs: HashMap<String, String> =
        same.iter().map(|next| (next.name.to_string(), next.name.to_string())).collect();
    for next in others {
        let renamed = free.iter().find(|(_, address)| **address == next.address).map(|(name, _)| *name);
        if let Some(name) = renamed {
            free.remove(name);
            heirs.insert(next.name.to_string(), name.to_owned());
        }
    }
    heirs
}

/// Some settings are read at start only. Whoever changes them is told.
fn warn_of_restarts(before: &Config, after: &Config) {
    let (old, new) = (&before.process, &after.process);
    let admin = |config: &Config| config.admin.as_ref().map(|admin| admin.address.value);
    let aggregator = |config: &Config| serde_json::to_string(&config.aggregator).unwrap_or_default();
    let needs_restart = [
        ("process.threads", old.threads != new.threads),
        ("process.watch", old.watch != new.watch),
        ("process.access_log (on or off)", (old.access_log == "off") != (new.access_log == "off")),
        ("admin", admin(before) != admin(after)),
        ("aggregator", aggregator(before) != aggregator(after)),
    ];
    for (setting, _) in needs_restart.iter().filter(|(_, changed)| *changed) {
        log::warn!("`{setting}` has changed; that takes a restart");
    }
}

/// Names and keys that the running plan does not have are waited for a little, so that the swap opens no gap.
async fn newcomers(inner: &Arc<Inner>, plan: &Plan) {
    let unresolved = plan.upstreams.values().filter(|upstream| !upstream.ready());
    let resolved = futures::future::join_all(unresolved.map(|upstream| upstream.resolve_now()));
    let before = inner.service.state.plan.load_full();
    let known = |issuer: &Arc<Issuer>| {
        before.issuers.find(issuer.name()).is_some_and(|known| Arc::ptr_eq(&known, issuer))
    };
    let new: Issuers = plan.issuers.iter().filter(|issuer| !known(issuer)).cloned().collect();
    let primed = inner.keys.prime(&new, &plan.loaded.base, NEWCOMERS);
    // What is not there in time comes later; until then its routes answer 503.
    let _ = tokio::time::timeout(NEWCOMERS, futures::future::join(resolved, primed)).await;
}

fn swap(inner: &Arc<Inner>, plan: Arc<Plan>, opened: Vec<(String, Bound)>, heirs: &HashMap<String, String>) {
    let state = &inner.service.state;
    inner.tend(&plan);
    let before = state.plan.swap(plan.clone());
    let mut bound = inner.bound();
    let mut running = std::mem::take(&mut *bound);
    bound.extend(opened);
    for next in &plan.listeners {
        if let Some(listener) = heirs.get(&*next.name).and_then(|name| running.remove(name)) {
            listener.renew(next.clone());
            bound.insert(next.name.to_string(), listener);
        }
    }
    running.values().for_each(Bound::close);
    drop(bound);
    let names: HashSet<&str> = plan.routes.iter().map(|route| &*route.facts.name).collect();
    for gone in before.routes.iter().filter(|route| !names.contains(&*route.facts.name)) {
        state.metrics.forget_route(&gone.facts.name);
    }
    let process = &plan.loaded.config.process;
    if let Err(error) = state.access_log.reopen(&process.access_log, &plan.loaded.base) {
        log::error!("cannot open the access log `{}` again: {error}", process.access_log);
    }
    inner.record(&plan);
}
