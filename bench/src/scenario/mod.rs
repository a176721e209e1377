//! The scenarios: one file each, in the order of the report.

pub mod bodies;
pub mod job;
pub mod pass;
pub mod routes;
pub mod scaling;
pub mod tls;

mod figures;

use anyhow::Result;

use crate::contest::Settings;
use crate::data::Scenario;

/// A scenario as the command line knows it.
pub struct Listed {
    /// Its name.
    pub name: &'static str,
    /// Does it.
    pub run: fn(&Settings) -> Result<Scenario>,
}

/// All scenarios.
pub const ALL: &[Listed] = &[
    Listed { name: pass::NAME, run: pass::run },
    Listed { name: job::NAME, run: job::run },
    Listed { name: tls::NAME, run: tls::run },
    Listed { name: bodies::NAME, run: bodies::run },
    Listed { name: routes::NAME, run: routes::run },
    Listed { name: scaling::NAME, run: scaling::run },
];
