//! From a file to a plan in force: build completely, swap one pointer, or leave everything as it was.

use std::collections::HashSet;
use std::path::Path;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, SystemTime};

use sallyport_config::Report;
use sallyport_filters::issuer::{Issuer, Issuers};
use thiserror::Error;

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
    /// A new listener's address cannot be had.
    #[error(transparent)]
    Bind(#[from] StartError),
    /// The building itself broke.
    #[error("the plan could not be built: {0}")]
    Build(String),
}

/// Reads a file and builds its plan. Blocks: it reads files and compiles every route.
pub(crate) fn build(path: &Path, with: &Surroundings<'_>) -> Result<Plan, Report> {
    let began = SystemTime::now();
    let environment = |name: &str| std::env::var(name).ok();
    let (loaded, mut report) = sallyport_config::load(path, &environment)?;
    let plan = Plan::build(loaded, with, &mut report);
    report.sort();
    match plan {
        Some(mut plan) => {
            plan.stamps = watch::stamps_since(&plan, began);
            for warning in report.warnings() {
                log::warn!("{}", warning.message);
            }
            Ok(plan)
        }
        None => Err(report),
    }
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
    let of_build = inner.clone();
    let built = tokio::task::spawn_blocking(move || {
        let state = &of_build.service.state;
        let before = state.plan.load_full();
        let with =
            Surroundings { registry: &of_build.registry, metrics: &state.metrics, before: Some(&before) };
        build(&of_build.path, &with)
    });
    let plan =
        built.await.map_err(|error| ReloadError::Build(error.to_string()))?.map_err(ReloadError::Config)?;
    let plan = Arc::new(plan);
    let mut opened = Vec::new();
    for listener in &plan.listeners {
        if inner.bound().get(&*listener.name).is_none_or(|bound| bound.configured() != listener.address) {
            opened.push((listener.name.to_string(), inner.bind(listener).await?));
        }
    }
    newcomers(inner, &plan).await;
    swap(inner, plan.clone(), opened);
    Ok(plan.generation)
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

fn swap(inner: &Arc<Inner>, plan: Arc<Plan>, opened: Vec<(String, crate::listener::Bound)>) {
    let state = &inner.service.state;
    inner.tend(&plan);
    let before = state.plan.swap(plan.clone());
    let mut bound = inner.bound();
    for (name, listener) in opened {
        if let Some(old) = bound.insert(name, listener) {
            old.close();
        }
    }
    bound.retain(|name, listener| match plan.listeners.iter().find(|next| *next.name == **name) {
        Some(next) => {
            listener.renew(next.clone());
            true
        }
        None => {
            listener.close();
            false
        }
    });
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
