//! The scenarios: one file each, in the order of the report.

pub mod bodies;
pub mod compose;
pub mod day;
pub mod job;
pub mod live;
pub mod own;
pub mod pass;
pub mod routes;
pub mod scaling;
pub mod tls;

mod connect;
mod figures;
mod pace;

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
    Listed { name: compose::NAME, run: compose::run },
    Listed { name: live::NAME, run: live::run },
    Listed { name: day::NAME, run: day::run },
    Listed { name: scaling::NAME, run: scaling::run },
];
