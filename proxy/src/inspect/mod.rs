//! A configuration looked at without running it: what `check`, `explain` and `diff` tell an operator.

mod diff;
mod explain;
mod strict;

use std::path::Path;

use sallyport_config::Report;
use sallyport_filters::Registry;

pub use diff::{Change, Difference, diff};
pub use explain::{Explanation, Given, Looked};

use crate::metrics::Metrics;
use crate::plan::{Plan, Surroundings};

/// A configuration that could be run.
pub struct Inspection {
    plan: Plan,
}

impl Inspection {
    /// Loads a configuration as a start would, certificates and key files included, but opens no socket. The report has
    /// the warnings.
    ///
    /// # Errors
    /// The report of everything a start would refuse.
    pub fn open(path: &Path, registry: &Registry) -> Result<(Inspection, Report), Report> {
        // They count nothing; a plan has them all the same. Only two families of one name could fail.
        let Ok(metrics) = Metrics::new() else { return Err(Report::default()) };
        let with = Surroundings { registry, metrics: &metrics, before: None, bridge: None, aggregator: None };
        Plan::read(path, &with).map(|(plan, report)| (Inspection { plan }, report))
    }

    /// What the security rules of `check --strict` have against the configuration, as warnings.
    pub fn strict(&self, report: &mut Report) {
        strict::judge(&self.plan, report);
        report.sort();
    }

    /// How many routes, upstreams and chains there are, for a summary.
    pub fn counts(&self) -> (usize, usize, usize) {
        (self.plan.routes.len(), self.plan.upstreams.len(), self.plan.loaded.config.chains.len())
    }

    /// What would become of a request.
    pub fn explain(&self, given: &Given) -> Result<Explanation, String> {
        explain::explain(&self.plan, given)
    }
}
