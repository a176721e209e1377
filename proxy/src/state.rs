//! What every exchange of a process shares: the running plan, metrics, the access log.

use std::sync::Arc;

use arc_swap::ArcSwap;

use crate::access_log::AccessLog;
use crate::metrics::Metrics;
use crate::plan::Plan;

/// Shared by all exchanges of an edge.
pub(crate) struct State {
    /// The running plan; a reload swaps this pointer and nothing else.
    pub(crate) plan: ArcSwap<Plan>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) access_log: AccessLog,
}
