//! The plan: a configuration with every name resolved and everything parsed, ready for requests.
//!
//! A plan is built completely before it is used, and never changed after. Whatever can be wrong with a configuration is
//! found here or before; nothing is refused later. State that outlives a plan (limits, caches, health, pools) is held by
//! `Arc`s that the next plan takes over.

mod action;
mod chains;
mod look_up;
mod parts;

use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use sallyport_config::route::{EncodedSlashes, Timeouts};
use sallyport_config::{Loaded, Report};
use sallyport_filters::exchange::RouteFacts;
use sallyport_filters::{Chain, Kept, Registry};
use sallyport_identity::Issuers;
use sallyport_upstreams::{Retry, Upstreams};

pub(crate) use action::{Action, Destination, location};

use crate::listener::ListenerPlan;
use crate::managed::Managed;
use crate::metrics::{Metrics, RouteMetrics};
use crate::route::Table;
use crate::sidecar::Seat;
use crate::tunnel::{Limits, Origins};
use crate::watch::Stamps;

/// Bytes of a request's body where neither route nor filter says otherwise.
pub(crate) const BODY_BYTES_MAX: u64 = 10 * 1024 * 1024;

/// A configuration in force.
pub(crate) struct Plan {
    /// Counts the plans of this process, from 1.
    pub(crate) generation: u64,
    pub(crate) loaded_at: SystemTime,
    /// What it was built from.
    pub(crate) loaded: Loaded,
    /// What its files looked like then; for the watcher, and empty where nobody watches.
    pub(crate) stamps: Stamps,
    pub(crate) table: Table,
    /// In the order of the configuration; the table's indices point here.
    pub(crate) routes: Vec<Route>,
    pub(crate) upstreams: Upstreams,
    pub(crate) issuers: Issuers,
    pub(crate) managed: Managed,
    /// The chain of exchanges that have no route: it gives them a request id.
    pub(crate) bare: Chain,
    pub(crate) unrouted: Arc<RouteMetrics>,
    pub(crate) listeners: Vec<Arc<ListenerPlan>>,
    /// Where routes with `sidecar: ws-bridge` lead.
    pub(crate) bridge: Option<Arc<Seat>>,
    /// Where routes with `aggregate` or `view` lead.
    pub(crate) aggregator: Option<Arc<Seat>>,
    /// What the bridge does, if there is one.
    pub(crate) live: Option<Arc<sallyport_ws_bridge::Plan>>,
    /// What the aggregator does, if it is needed.
    pub(crate) composed: Option<Arc<sallyport_aggregator::Plan>>,
    pub(crate) kept: Kept,
}

/// A route, ready. It fills one line of the processor's cache: where thousands of routes are asked for in turn, each line more
/// comes from memory, which takes as long as a hundred instructions do. So what routes have alike is shared among them, and stays in the
/// cache.
#[repr(align(64))]
pub(crate) struct Route {
    pub(crate) facts: Arc<RouteFacts>,
    /// Shared by routes that name the same chains, and have the same `body_limit` and no filters of their own.
    pub(crate) chain: Arc<Chain>,
    pub(crate) action: Action,
    /// Shared by routes with the same.
    pub(crate) terms: Arc<Terms>,
    pub(crate) metrics: Arc<RouteMetrics>,
    /// How WebSockets live, where they may be opened.
    pub(crate) web_socket: Option<Box<WebSocketPlan>>,
}

/// Settings that nearly all routes have alike.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(crate) struct Terms {
    pub(crate) timeouts: Timeouts,
    pub(crate) retry: Option<Retry>,
    pub(crate) encoded_slashes: EncodedSlashes,
}

/// How WebSockets of a route live.
pub(crate) struct WebSocketPlan {
    pub(crate) origins: Origins,
    pub(crate) limits: Limits,
}

/// What a plan is built with, apart from the configuration.
pub(crate) struct Surroundings<'a> {
    pub(crate) registry: &'a Registry,
    pub(crate) metrics: &'a Metrics,
    /// The running plan, whose state is taken over where the settings are the same.
    pub(crate) before: Option<&'a Plan>,
    /// The bridge that runs in this process, if one does.
    pub(crate) bridge: Option<&'a Seat>,
    /// The aggregator of this process.
    pub(crate) aggregator: Option<&'a Seat>,
}

/// What an environment variable holds, for secrets.
pub(crate) fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

impl Plan {
    /// Reads a configuration file and builds its plan. Blocks: it reads files and compiles every route. The report that
    /// comes with a plan has its warnings.
    pub(crate) fn read(path: &Path, with: &Surroundings<'_>) -> Result<(Plan, Report), Report> {
        let (loaded, mut report) = sallyport_config::load(path, &environment)?;
        let plan = Plan::build(loaded, with, &mut report);
        report.sort();
        match plan {
            Some(plan) => Ok((plan, report)),
            None => Err(report),
        }
    }

    /// Builds a plan. `None` means that `report` has errors; the report may hold warnings in any case.
    fn build(loaded: Loaded, with: &Surroundings<'_>, report: &mut Report) -> Option<Plan> {
        let mut kept = with.before.map(|plan| plan.kept.next()).unwrap_or_default();
        let upstreams = sallyport_upstreams::load(&loaded, with.before.map(|plan| &plan.upstreams), report);
        let issuers =
            sallyport_identity::load::issuers(&loaded, with.before.map(|plan| &plan.issuers), report);
        let listeners = parts::listeners(&loaded, with.before, report);
        let mut chains = chains::Chains::build(&loaded, with, &issuers, &kept, report);
        let routes = parts::routes(&loaded, with, &mut chains, &upstreams, report);
        let table = Table::build(&loaded.config.routes, report);
        let aggregator = parts::aggregator(&loaded, with).map(Arc::new);
        let live = sallyport_ws_bridge::Plan::compile(&loaded.config, &issuers, report);
        let live = live.map(|live| match &aggregator {
            Some(seat) => live.with_aggregator(seat.socket.clone()),
            None => live,
        });
        let composed = sallyport_aggregator::Plan::compile(&loaded, &upstreams, report).map(Arc::new);
        let bare = chains.bare(report);
        if !report.is_empty() {
            return None;
        }
        let (routes, bare) = (routes?, bare?);
        kept.built();
        let managed = Managed::new(routes.iter().flat_map(|route| route.chain.managed_headers()));
        Some(Plan {
            generation: with.before.map_or(0, |plan| plan.generation) + 1,
            loaded_at: SystemTime::now(),
            bridge: parts::bridge(&loaded, with).map(Arc::new),
            aggregator,
            live: live.map(Arc::new),
            composed,
            loaded,
            stamps: Stamps::new(),
            table,
            managed,
            bare,
            unrouted: with.metrics.route(0, "_none", false),
            routes,
            upstreams,
            issuers,
            listeners: listeners?,
            kept,
        })
    }
}

#[cfg(test)]
mod tests;
