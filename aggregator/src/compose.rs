//! Composed answers: what `aggregate:` and `answer:` of a route say, compiled and drawn.
//!
//! [`plan`] is the graph of branches, checked at load; [`text`] the texts with fields that calls are made of; [`explain`] says
//! what a composition does and how long it may take: these send no request. A [`Composer`] does: it runs a plan for a request
//! branch by branch, within the limits of `aggregator.limits`, and makes an answer of what they came to.

pub mod text;
pub mod plan;
pub mod explain;

// A composition under way:
mod composer;
mod run;
mod outcome;

// One branch of it:
mod branch;
mod errand;
mod fetch;
mod call;
mod received;
mod upstream_problem;
mod failure;
mod trace;

// What requests share:
mod key;
mod single_flight;
mod cache;
mod freshness;
mod gate;
mod memory;
mod metrics;

pub use composer::{Composer, Prepared, Rows, RowsAsked};
pub use failure::Failure;
pub use metrics::ComposeMetrics;
pub use upstream_problem::UpstreamProblem;

#[cfg(test)]
mod tests;
