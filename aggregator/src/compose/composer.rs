//! What compositions are made with: connections, calls under way, results that are kept, memory, metrics. There is one, and
//! it outlives reloads of the configuration.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use futures::future::BoxFuture;
use sallyport_config::aggregator::AggregatorLimits;
use sallyport_upstreams::exchange::Connections;
use tokio::sync::Semaphore;

use super::cache::Cache;
use super::call::Caller;
use super::failure::Failure;
use super::key::KeyBuilder;
use super::memory::Memory;
use super::metrics::{BranchMetrics, ComposeMetrics};
use super::plan::{Branch, Composition, Compositions};
use super::received::Received;
use super::single_flight::Flights;
use crate::asked::Asked;
use crate::json::Checked;

/// Results fetched anew in the background, at a time. Beyond, stale ones stay until somebody else finds them.
const RENEWALS_MAX: usize = 64;

/// What a call came to, for all who waited.
pub(super) type Landed = Result<Arc<Received>, Failure>;

/// What a branch asks of a view.
#[derive(Debug, Clone)]
pub struct RowsAsked {
    /// The view's name.
    pub view: Arc<str>,
    /// One row instead of a page: its key.
    pub key: Option<String>,
    /// Parameters as the query route takes them.
    pub parameters: Vec<(String, String)>,
}

/// Where rows of views come from.
pub trait Rows: Send + Sync {
    /// Rows as the view's query route would give them to this client.
    ///
    /// # Errors
    /// [`Failure::View`], or [`Failure::Status`] with what the query route would have answered.
    fn rows<'a>(&'a self, asked: &'a Asked, rows: RowsAsked) -> BoxFuture<'a, Result<Checked, Failure>>;
}

/// Makes compositions. Cheap to clone.
#[derive(Clone)]
pub struct Composer {
    pub(super) parts: Arc<Parts>,
}

/// What a [`Composer`] consists of.
pub(super) struct Parts {
    pub(super) caller: Arc<Caller>,
    pub(super) flights: Arc<Flights<Landed>>,
    pub(super) cache: Cache,
    pub(super) memory: Memory,
    pub(super) metrics: ComposeMetrics,
    pub(super) renewals: Arc<Semaphore>,
    pub(super) rows: Option<Arc<dyn Rows>>,
}

/// A composition, ready to be made: its plan, and what its branches count and are known by.
#[derive(Debug)]
pub struct Prepared {
    pub(super) plan: Arc<Composition>,
    pub(super) branches: Box<[Ready]>,
}

/// What one branch has beside its plan.
#[derive(Debug)]
pub(super) struct Ready {
    pub(super) metrics: BranchMetrics,
    /// What its results are kept under before anything of a request: see [`prefix`].
    pub(super) prefix: Arc<[u8]>,
}

impl Composer {
    /// With these limits, which hold until the process ends. Calls go over `connections`; `rows` is where views are asked,
    /// if there are any.
    pub fn new(
        limits: &AggregatorLimits,
        metrics: ComposeMetrics,
        connections: Arc<Connections>,
        rows: Option<Arc<dyn Rows>>,
    ) -> Self {
        Composer {
            parts: Arc::new(Parts {
                caller: Arc::new(Caller::new(connections)),
                flights: Arc::new(Flights::new()),
                cache: Cache::new(usize::try_from(limits.cache_bytes.0).unwrap_or(usize::MAX)),
                memory: Memory::new(limits, metrics.memory.clone()),
                metrics,
                renewals: Arc::new(Semaphore::new(RENEWALS_MAX)),
                rows,
            }),
        }
    }

    /// Makes every composition of a configuration ready, in the order of the file.
    pub fn prepare(&self, compositions: &Compositions) -> Vec<Prepared> {
        let mut index = 0;
        let prepared = compositions.iter().map(|plan| {
            let branches = plan.branches.iter().map(|branch| {
                let metrics = self.parts.metrics.branch(index, &plan.name, &branch.name);
                index += 1;
                Ready { metrics, prefix: prefix(plan, branch) }
            });
            Prepared { plan: plan.clone(), branches: branches.collect() }
        });
        prepared.collect()
    }
}

impl Prepared {
    /// The route's name.
    pub fn name(&self) -> &Arc<str> {
        &self.plan.name
    }

    /// The plan.
    pub fn plan(&self) -> &Arc<Composition> {
        &self.plan
    }
}

/// What results of a branch are kept under: its names, its upstream, and what it makes of a result. After a reload that
/// changes none of it, what was kept is found again.
fn prefix(plan: &Composition, branch: &Branch) -> Arc<[u8]> {
    let mut key = KeyBuilder::new();
    key.part(plan.name.as_bytes()).part(branch.name.as_bytes());
    let mut made = DefaultHasher::new();
    format!("{:?} {:?}", branch.shape, branch.cache).hash(&mut made);
    branch.bytes_max.hash(&mut made);
    if let super::plan::Source::Call(call) = &branch.source {
        key.part(call.upstream.name().as_bytes());
        format!("{:?} {:?} {:?}", call.path, call.query, call.headers).hash(&mut made);
    }
    key.part(&made.finish().to_le_bytes());
    key.build().into_bytes()
}
