//! The aggregator of a process: what it does now, until a changed configuration says otherwise.

use std::collections::HashMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use prometheus::{Encoder, Registry, TextEncoder};
use sallyport_sidecar::{Operations, Refusal};
use serde_json::{Value, json};
use thiserror::Error;

use crate::asked::{Answer, Asked};
use crate::compose::{ComposeMetrics, Composer, Prepared};
use crate::plan::Plan;

/// The aggregator of a process.
pub struct Host {
    now: ArcSwap<Now>,
    composer: Composer,
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
}

impl Host {
    /// Starts an aggregator on the Tokio runtime this is called in; its metrics are registered in `registry`.
    ///
    /// # Errors
    /// A store cannot be used, a Kafka client cannot be made, or the metrics are registered already.
    pub async fn start(plan: Arc<Plan>, registry: Registry) -> Result<Arc<Host>, StartError> {
        let metrics = ComposeMetrics::new(&registry)?;
        let composer = Composer::new(&plan.limits, metrics.clone(), None);
        let now = ArcSwap::from_pointee(Now::new(plan, &composer));
        Ok(Arc::new(Host { now, composer, metrics, registry }))
    }

    /// Puts another plan into force, unless it says the same. Requests under way keep theirs. Whether anything has changed.
    ///
    /// # Errors
    /// What runs stays as it is.
    pub async fn replace(&self, plan: Arc<Plan>) -> Result<bool, StartError> {
        if self.now.load().plan.fingerprint == plan.fingerprint {
            return Ok(false);
        }
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

    /// Answers a request. Dropped before, it leaves nothing running.
    pub async fn answer(&self, asked: &Asked) -> Answer {
        let now = self.now.load_full();
        if let Some(prepared) = now.composed.get(&*asked.route) {
            return self.composer.answer(prepared, asked).await;
        }
        unknown(asked)
    }

    /// What operators may want to know.
    pub fn status(&self) -> Value {
        let now = self.now.load();
        json!({ "compositions": now.composed.len() })
    }

    /// Stops folding and closes the stores.
    pub async fn stop(&self) {}
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
        (true, self.status())
    }

    fn metrics(&self) -> String {
        let mut text = Vec::new();
        if let Err(error) = TextEncoder::new().encode(&self.registry.gather(), &mut text) {
            log::error!("metrics cannot be written: {error}");
        }
        String::from_utf8(text).unwrap_or_default()
    }
}
