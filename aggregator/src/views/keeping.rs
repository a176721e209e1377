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
use super::figures::QueryFigures;
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
    views: ArcSwap<Kept>,
    queries: Arc<Queries>,
    /// The folder of stores.
    state: PathBuf,
    kafka: sallyport_kafka::Metrics,
    metrics: ViewMetrics,
}

type Kept = BTreeMap<Arc<str>, Arc<KeptView>>;

/// A view that is kept, and how it is asked.
struct KeptView {
    fingerprint: Fingerprint,
    queryable: Queryable,
    fold: Arc<Fold>,
}

/// The part of a view that stays while only its queries change.
struct Fold {
    plan: Arc<ViewPlan>,
    cluster: ClusterSettings,
    versions: Arc<Versions>,
    /// Gone once the view is stopped.
    folder: Mutex<Option<Folder>>,
}

/// What tells views apart that say different things. Never shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fingerprint {
    /// Equal where the fold and the store are the same.
    pub fold: u64,
    /// Equal where queries are.
    pub query: u64,
}

/// What there is to keep: the views, and the clusters that they read.
pub struct ToKeep<'a> {
    /// The views.
    pub views: &'a Views,
    /// The clusters.
    pub clusters: &'a BTreeMap<Arc<str>, ClusterSettings>,
    /// Of each view.
    pub fingerprints: &'a BTreeMap<Arc<str>, Fingerprint>,
}

/// Why views are not kept.
#[derive(Debug, Error)]
pub enum KeepingError {
    /// The system gives no threads.
    #[error("cannot start the threads that ask stores: {0}")]
    Threads(#[from] io::Error),
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
        let queries = Arc::new(Queries::start(hot_bytes)?);
        registry.register(Box::new(QueryFigures::new(queries.clone())?))?;
        let metrics = ViewMetrics::register(registry)?;
        Ok(Keeping { views: ArcSwap::default(), queries, state, kafka: kafka.clone(), metrics })
    }

    /// Keeps these views from now on. Those that say the same go on, also where only their queries change; others are
    /// stopped, and begin with what their stores have. Blocks until stores are closed.
    ///
    /// # Errors
    /// A view cannot be started. Then those that were kept before are kept as before, as far as they can be started again.
    pub fn keep(&self, next: &ToKeep<'_>) -> Result<(), KeepingError> {
        let before = self.views.load_full();
        let after = match self.take_over(&before, next) {
            Ok(after) => after,
            Err(error) => {
                self.restore(&before);
                return Err(error);
            }
        };
        let after = Arc::new(after);
        self.views.store(after.clone());
        let gone: Vec<_> = before.iter().filter(|(name, _)| !after.contains_key(*name)).collect();
        stop_all(gone.iter().map(|(_, view)| &*view.fold));
        gone.iter().for_each(|(name, _)| self.metrics.forget(name));
        Ok(())
    }

    /// The views that are to be kept, running. After an error those that were started for it are stopped.
    fn take_over(&self, before: &Kept, next: &ToKeep<'_>) -> Result<Kept, KeepingError> {
        let mut after = Kept::new();
        let mut started: Vec<Arc<KeptView>> = Vec::new();
        for plan in next.views.all() {
            let known = before.get(&plan.name);
            // The plan has one for each of its views.
            let Some(wanted) = next.fingerprints.get(&plan.name).copied() else { continue };
            let view = match known {
                Some(view) if view.fingerprint == wanted => view.clone(),
                Some(view) if view.fingerprint.fold == wanted.fold => {
                    Arc::new(KeptView::new(plan, wanted, view.fold.clone()))
                }
                _ => {
                    known.iter().for_each(|view| view.fold.stop());
                    let fold = next.cluster(plan).and_then(|cluster| self.start(plan, cluster));
                    match fold {
                        Ok(fold) => {
                            let view = Arc::new(KeptView::new(plan, wanted, Arc::new(fold)));
                            started.push(view.clone());
                            view
                        }
                        Err(error) => {
                            stop_all(started.iter().map(|view| &*view.fold));
                            return Err(error);
                        }
                    }
                }
            };
            after.insert(plan.name.clone(), view);
        }
        Ok(after)
    }

    /// Starts those again that were stopped to make room for others.
    fn restore(&self, before: &Kept) {
        let mut after = before.clone();
        for (name, view) in before.iter().filter(|(_, view)| view.fold.is_stopped()) {
            match self.start(&view.fold.plan, view.fold.cluster.clone()) {
                Ok(fold) => {
                    let view = KeptView::new(&view.fold.plan, view.fingerprint, Arc::new(fold));
                    after.insert(name.clone(), Arc::new(view));
                }
                Err(error) => {
                    log::error!("view `{name}` cannot be kept as before: {error}");
                    after.remove(name);
                }
            }
        }
        self.views.store(Arc::new(after));
    }

    fn start(&self, plan: &Arc<ViewPlan>, cluster: ClusterSettings) -> Result<Fold, KeepingError> {
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
            cluster: cluster.clone(),
            folder: self.state.clone(),
            versions: versions.clone(),
            dead_letters,
            kafka,
            metrics: self.metrics.clone(),
            timing: Timing::default(),
        });
        let folder = folder.map_err(|source| KeepingError::of_view(plan, source))?;
        Ok(Fold { plan: plan.clone(), cluster, versions, folder: Mutex::new(Some(folder)) })
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
        self.views.load().values().all(|view| view.fold.versions.state().store.is_some())
    }

    /// The changes of a view from now on; none if it is not kept.
    pub fn changes(&self, view: &str) -> Option<Changes> {
        let view = self.views.load().get(view).cloned()?;
        let folder = view.fold.folder.lock().unwrap_or_else(PoisonError::into_inner);
        folder.as_ref().map(Folder::changes)
    }

    /// Stops folding and closes the stores. Blocks until they are.
    pub fn stop(&self) {
        let views = self.views.load_full();
        stop_all(views.values().map(|view| &*view.fold));
    }
}

/// Stops folds side by side: each waits for its reader, and for its last commit.
fn stop_all<'a>(folds: impl Iterator<Item = &'a Fold>) {
    std::thread::scope(|scope| {
        for fold in folds {
            scope.spawn(|| fold.stop());
        }
    });
}

impl ToKeep<'_> {
    fn cluster(&self, plan: &ViewPlan) -> Result<ClusterSettings, KeepingError> {
        let cluster = self.clusters.get(&plan.cluster).cloned();
        // The loader has seen to it that there is one.
        cluster.ok_or_else(|| KeepingError::of_view(plan, ViewError::Thread(io::ErrorKind::NotFound.into())))
    }
}

impl KeepingError {
    fn of_view(plan: &ViewPlan, source: ViewError) -> KeepingError {
        KeepingError::View { view: plan.name.to_string(), source }
    }
}

impl Fold {
    fn stop(&self) {
        let folder = self.folder.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(folder) = folder {
            folder.stop();
        }
    }

    fn is_stopped(&self) -> bool {
        self.folder.lock().unwrap_or_else(PoisonError::into_inner).is_none()
    }
}

impl KeptView {
    fn new(plan: &Arc<ViewPlan>, fingerprint: Fingerprint, fold: Arc<Fold>) -> KeptView {
        let queryable = Queryable::new(Shape::of(plan), fold.versions.clone());
        KeptView { fingerprint, queryable, fold }
    }

    fn status(&self) -> Value {
        let state = self.fold.versions.state();
        let offsets = state.offsets.0.iter().map(
            |(topic, partition, next)| json!({ "topic": &**topic, "partition": partition, "next": next }),
        );
        let offsets: Vec<Value> = offsets.collect();
        let folder = self.fold.folder.lock().unwrap_or_else(PoisonError::into_inner);
        let status = folder.as_ref().map(Folder::status).unwrap_or_default();
        let building = status.building.map(|building| {
            json!({ "reason": building.reason, "percent": f64::from(building.thousandths) / 10.0 })
        });
        json!({
            "serving": state.store.is_some(),
            "complete": state.complete,
            "rows": status.rows,
            "offsets": offsets,
            "lag": self.fold.versions.lag(),
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
