//! The views of a process: each with its fold and what queries know of it, from one configuration to the next.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use futures::FutureExt;
use futures::future::BoxFuture;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use prometheus::Registry;
use sallyport_kafka::{ClusterSettings, DeadLetters, Producer, Timing};
use serde_json::{Value, json};
use thiserror::Error;

use super::changes::Changes;
use super::folder::{Folder, ViewError, ViewParts};
use super::metrics::ViewMetrics;
use super::query::shape::Shape;
use super::query::{Queries, Queryable, Refusal};
use super::versions::Versions;
use super::{ViewPlan, Views};
use crate::asked::{Answer, Asked};
use crate::compose::{Failure, Rows, RowsAsked};
use crate::json::{Checked, DEPTH_CEILING, Limits};

/// An answer of a view is as deep as its rows, which were checked when they were folded.
const WHOLE: Limits = Limits { depth_max: DEPTH_CEILING, bytes_max: usize::MAX };

/// What views are kept with.
pub struct Keeping {
    views: ArcSwap<BTreeMap<Arc<str>, Arc<KeptView>>>,
    queries: Queries,
    /// The folder of stores.
    state: PathBuf,
    kafka: sallyport_kafka::Metrics,
    metrics: ViewMetrics,
}

/// A view that is kept.
struct KeptView {
    /// Equal for views that say the same.
    fingerprint: u64,
    queryable: Queryable,
    versions: Arc<Versions>,
    /// Gone once the view is stopped.
    folder: Mutex<Option<Folder>>,
}

/// What there is to keep: the views, and the clusters that they read.
pub struct ToKeep<'a> {
    /// The views.
    pub views: &'a Views,
    /// The clusters.
    pub clusters: &'a BTreeMap<Arc<str>, ClusterSettings>,
    /// Of each view, equal for views that say the same.
    pub fingerprints: &'a BTreeMap<Arc<str>, u64>,
}

/// Why views are not kept.
#[derive(Debug, Error)]
pub enum KeepingError {
    /// The system gives no threads.
    #[error("cannot start the threads that ask stores: {0}")]
    Threads(#[from] io::Error),
    /// The folder of stores cannot be made.
    #[error("the folder of stores, {folder}: {source}")]
    Folder {
        /// The folder.
        folder: String,
        /// What the system says.
        source: io::Error,
    },
    /// A view cannot be started.
    #[error("view `{view}`: {source}")]
    View {
        /// Its name.
        view: String,
        /// Why.
        source: ViewError,
    },
    /// Dead letters cannot be sent.
    #[error("view `{view}`: {source}")]
    DeadLetters {
        /// The view's name.
        view: String,
        /// Why.
        source: sallyport_kafka::StartError,
    },
    /// The metrics are registered already.
    #[error("cannot register metrics: {0}")]
    Metrics(#[from] prometheus::Error),
}

impl Keeping {
    /// Keeps nothing yet. `hot_bytes` of answers are kept in memory.
    ///
    /// # Errors
    /// The system gives no threads, or the metrics are registered already.
    pub fn new(
        state: PathBuf,
        hot_bytes: usize,
        registry: &Registry,
        kafka: &sallyport_kafka::Metrics,
    ) -> Result<Keeping, KeepingError> {
        Ok(Keeping {
            views: ArcSwap::default(),
            queries: Queries::start(hot_bytes)?,
            state,
            kafka: kafka.clone(),
            metrics: ViewMetrics::register(registry)?,
        })
    }

    /// Keeps these views from now on. Those that say the same go on; others are stopped, and begin with what their stores
    /// have. Blocks until stores are closed.
    ///
    /// # Errors
    /// A view cannot be started. Those that could go on do; the one, and those behind it, are not kept.
    pub fn keep(&self, next: &ToKeep<'_>) -> Result<(), KeepingError> {
        let before = self.views.load_full();
        let fingerprint = |name: &Arc<str>| next.fingerprints.get(name).copied();
        let mut kept: BTreeMap<_, _> =
            before.iter().map(|(name, view)| (name.clone(), view.clone())).collect();
        kept.retain(|name, view| fingerprint(name) == Some(view.fingerprint));
        for (_, view) in before.iter().filter(|(name, _)| !kept.contains_key(*name)) {
            view.stop();
        }
        let mut failure = None;
        for plan in next.views.all().iter().filter(|plan| !before_has(&kept, plan)).collect::<Vec<_>>() {
            match self.start(plan, next) {
                Ok(view) => drop(kept.insert(plan.name.clone(), Arc::new(view))),
                Err(error) => {
                    failure = Some(error);
                    break;
                }
            }
        }
        self.views.store(Arc::new(kept));
        failure.map_or(Ok(()), Err)
    }

    fn start(&self, plan: &Arc<ViewPlan>, with: &ToKeep<'_>) -> Result<KeptView, KeepingError> {
        std::fs::create_dir_all(&self.state)
            .map_err(|source| KeepingError::Folder { folder: self.state.display().to_string(), source })?;
        let of_view = |source| KeepingError::View { view: plan.name.to_string(), source };
        let cluster = with.clusters.get(&plan.cluster).cloned();
        // The loader has seen to it that there is one.
        let cluster = cluster.ok_or_else(|| of_view(ViewError::Thread(io::ErrorKind::NotFound.into())))?;
        let kafka = self.kafka.of_reader(&format!("view:{}", plan.name));
        let dead_letters = match &plan.dead_letter {
            None => None,
            Some(topic) => {
                let producer = Producer::new(&cluster, kafka.clone())
                    .map_err(|source| KeepingError::DeadLetters { view: plan.name.to_string(), source })?;
                Some(DeadLetters::new(producer, topic.clone()))
            }
        };
        let versions = Arc::new(Versions::new());
        let folder = Folder::start(ViewParts {
            plan: plan.clone(),
            cluster,
            folder: self.state.clone(),
            versions: versions.clone(),
            dead_letters,
            kafka,
            metrics: self.metrics.clone(),
            timing: Timing::default(),
        })
        .map_err(of_view)?;
        Ok(KeptView {
            fingerprint: with.fingerprints.get(&plan.name).copied().unwrap_or_default(),
            queryable: Queryable::new(Shape::of(plan), versions.clone()),
            versions,
            folder: Mutex::new(Some(folder)),
        })
    }

    /// Answers a request of a query route: with a page of rows, or with the row of a key.
    pub async fn answer(&self, view: &str, asked: &Asked, key: Option<&str>) -> Answer {
        let found = self.views.load().get(view).cloned();
        match found {
            Some(view) => self.queries.answer(&view.queryable, asked, key).await,
            None => Refusal::not_kept().answer(&asked.request_id),
        }
    }

    /// How views are, for operators.
    pub fn status(&self) -> Value {
        let views = self.views.load();
        let status = views.iter().map(|(name, view)| (name.to_string(), view.status()));
        Value::Object(status.collect())
    }

    /// Whether every view has rows to show.
    pub fn is_ready(&self) -> bool {
        self.views.load().values().all(|view| view.versions.state().store.is_some())
    }

    /// The changes of a view from now on; none if it is not kept.
    pub fn changes(&self, view: &str) -> Option<Changes> {
        let view = self.views.load().get(view).cloned()?;
        let folder = view.folder.lock().unwrap_or_else(PoisonError::into_inner);
        folder.as_ref().map(Folder::changes)
    }

    /// Stops folding and closes the stores. Blocks until they are.
    pub fn stop(&self) {
        self.views.load().values().for_each(|view| view.stop());
    }
}

fn before_has(kept: &BTreeMap<Arc<str>, Arc<KeptView>>, plan: &ViewPlan) -> bool {
    kept.contains_key(&plan.name)
}

impl KeptView {
    fn stop(&self) {
        let folder = self.folder.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(folder) = folder {
            folder.stop();
        }
    }

    fn status(&self) -> Value {
        let state = self.versions.state();
        let offsets = state.offsets.0.iter().map(
            |(topic, partition, next)| json!({ "topic": &**topic, "partition": partition, "next": next }),
        );
        let offsets: Vec<Value> = offsets.collect();
        let folder = self.folder.lock().unwrap_or_else(PoisonError::into_inner);
        let status = folder.as_ref().map(Folder::status).unwrap_or_default();
        let building = status.building.map(|building| {
            json!({ "reason": building.reason, "percent": f64::from(building.thousandths) / 10.0 })
        });
        json!({
            "serving": state.store.is_some(),
            "complete": state.complete,
            "rows": status.rows,
            "offsets": offsets,
            "lag": self.versions.lag(),
            "building": building,
            "incomplete_since": status.incomplete_since,
            "left_out": status.left_out,
            "failing": status.failing,
        })
    }
}

impl Rows for Keeping {
    fn rows<'a>(&'a self, asked: &'a Asked, rows: RowsAsked) -> BoxFuture<'a, Result<Checked, Failure>> {
        async move {
            let view = self.views.load().get(&rows.view).cloned().ok_or(Failure::View)?;
            let encoded = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
            let pairs: Vec<String> = rows
                .parameters
                .iter()
                .map(|(name, value)| format!("{}={}", encoded(name), encoded(value)))
                .collect();
            let found = self
                .queries
                .find(&view.queryable, &pairs.join("&"), asked.claims.as_ref(), rows.key.as_deref())
                .await
                .map_err(|refusal| Failure::Status(refusal.status, None))?;
            let body = found.body().cloned().ok_or(Failure::Status(http::StatusCode::NOT_FOUND, None))?;
            Checked::new(body, &WHOLE).map_err(|_| Failure::View)
        }
        .boxed()
    }
}
