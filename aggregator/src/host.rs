//! The aggregator of a process: what it does now, until a changed configuration says otherwise.

use std::collections::HashMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use prometheus::Registry;
use sallyport_sidecar::{Operations, Refusal};
use sallyport_upstreams::exchange::Connections;
use serde_json::{Value, json};
use thiserror::Error;

use crate::asked::{Answer, Asked};
use crate::compose::{ComposeMetrics, Composer, Prepared};
use crate::plan::Plan;
use crate::views::changes::Changes;
use crate::views::{Keeping, KeepingError, ToKeep};

/// The aggregator of a process.
pub struct Host {
    now: ArcSwap<Now>,
    composer: Composer,
    views: Arc<Keeping>,
    metrics: ComposeMetrics,
    registry: Registry,
}

/// What is in force.
struct Now {
    plan: Arc<Plan>,
    composed: HashMap<Arc<str>, Prepared>,
}

/// Why an aggregator does not start.
#[derive(Debug, Error)]
pub enum StartError {
    /// The metrics are registered already.
    #[error("cannot register metrics: {0}")]
    Metrics(#[from] prometheus::Error),
    /// The views cannot be kept.
    #[error(transparent)]
    Views(#[from] KeepingError),
}

impl Host {
    /// Starts an aggregator on the Tokio runtime this is called in; its calls go over `connections`, its metrics are
    /// registered in `registry`, where those of Kafka are already. Limits and the folder of stores hold until it ends.
    ///
    /// # Errors
    /// A store cannot be used, a Kafka client cannot be made, or the metrics are registered already.
    pub async fn start(
        plan: Arc<Plan>,
        connections: Arc<Connections>,
        registry: Registry,
        kafka: &sallyport_kafka::Metrics,
    ) -> Result<Arc<Host>, StartError> {
        let metrics = ComposeMetrics::new(&registry)?;
        let hot_bytes = usize::try_from(plan.limits.hot_bytes.0).unwrap_or(usize::MAX);
        let views = Arc::new(Keeping::new(plan.state.clone(), hot_bytes, &registry, kafka)?);
        keep(&views, &plan).await?;
        let composer = Composer::new(&plan.limits, metrics.clone(), connections, Some(views.clone()));
        let now = ArcSwap::from_pointee(Now::new(plan, &composer));
        Ok(Arc::new(Host { now, composer, views, metrics, registry }))
    }

    /// Puts another plan into force, unless it says the same. Requests under way keep theirs. Whether anything has changed.
    ///
    /// # Errors
    /// A view cannot be started. Compositions stay as they are, and views that could go on do.
    pub async fn replace(&self, plan: Arc<Plan>) -> Result<bool, StartError> {
        if self.now.load().plan.fingerprint == plan.fingerprint {
            return Ok(false);
        }
        keep(&self.views, &plan).await?;
        let before = self.now.swap(Arc::new(Now::new(plan, &self.composer)));
        let now = self.now.load();
        for (route, prepared) in &before.composed {
            let still = now.composed.get(route).map(|prepared| prepared.plan());
            let gone = |name: &str| still.is_none_or(|plan| plan.branch(name).is_none());
            for branch in prepared.plan().branches.iter().filter(|branch| gone(&branch.name)) {
                self.metrics.forget(route, &branch.name);
            }
        }
        Ok(true)
    }

    /// Does nothing any more, until a plan is put into force: no view is kept, no route is answered.
    ///
    /// # Errors
    /// As [`Host::replace`].
    pub async fn rest(&self) -> Result<bool, StartError> {
        let plan = self.now.load().plan.emptied();
        self.replace(Arc::new(plan)).await
    }

    /// Answers a request. Dropped before, it leaves nothing running.
    pub async fn answer(&self, asked: &Asked) -> Answer {
        let now = self.now.load_full();
        if let Some(prepared) = now.composed.get(&*asked.route) {
            return self.composer.answer(prepared, asked).await;
        }
        let Some(route) = now.plan.view_routes.get(&*asked.route) else { return unknown(asked) };
        match route.key(asked) {
            Ok(key) => self.views.answer(&route.view, asked, key.as_deref()).await,
            Err(refusal) => Answer::refusal(&refusal, &asked.request_id),
        }
    }

    /// Whether a call of this route carries the body of the client's request.
    pub(crate) fn wants_body(&self, route: &str) -> bool {
        self.now.load().composed.get(route).is_some_and(|prepared| prepared.plan().wants_body())
    }

    /// The changes of a view from now on; none if there is no such view.
    pub(crate) fn changes(&self, view: &str) -> Option<Changes> {
        self.views.changes(view)
    }

    /// What operators may want to know.
    pub fn status(&self) -> Value {
        let now = self.now.load();
        json!({ "compositions": now.composed.len(), "views": self.views.status() })
    }

    /// Stops folding and closes the stores.
    pub async fn stop(&self) {
        let views = self.views.clone();
        // A fold that panicked has said so itself.
        let _ = tokio::task::spawn_blocking(move || views.stop()).await;
    }
}

impl Now {
    fn new(plan: Arc<Plan>, composer: &Composer) -> Now {
        let composed = composer.prepare(&plan.compositions);
        Now {
            plan,
            composed: composed.into_iter().map(|prepared| (prepared.name().clone(), prepared)).collect(),
        }
    }
}

/// Stores are opened and closed where it holds up nobody.
async fn keep(views: &Arc<Keeping>, plan: &Arc<Plan>) -> Result<(), StartError> {
    let (views, plan) = (views.clone(), plan.clone());
    let kept = tokio::task::spawn_blocking(move || {
        let (views_of, clusters, fingerprints) = (&plan.views, &plan.clusters, &plan.view_fingerprints);
        views.keep(&ToKeep { views: views_of, clusters, fingerprints })
    });
    Ok(kept.await.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))?)
}

/// An edge and an aggregator of its own process load the same file, but not in the same moment.
fn unknown(asked: &Asked) -> Answer {
    log::warn!("the edge asks for the route `{}`, which this aggregator does not have (yet)", asked.route);
    let detail = "the service behind this path has not got its configuration yet";
    Answer::refusal(
        &Refusal::new(http::StatusCode::SERVICE_UNAVAILABLE, "unavailable", detail),
        &asked.request_id,
    )
}

impl Operations for Host {
    fn healthy(&self) -> (bool, Value) {
        (true, json!({"status": "up"}))
    }

    fn ready(&self) -> (bool, Value) {
        (self.views.is_ready(), self.status())
    }

    fn metrics(&self) -> String {
        sallyport_sidecar::exposition(&self.registry)
    }
}
