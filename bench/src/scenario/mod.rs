//! The scenarios: one file each, in the order of the report.

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
pub const ALL: &[Listed] = &[];
