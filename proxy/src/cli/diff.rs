//! `diff`: what changes between two configurations.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use sallyport_config::Loaded;

use super::{Done, Format, NO, print_json};
use crate::inspect;

/// Options of `diff`.
#[derive(Debug, Args)]
pub(super) struct Diff {
    /// The configuration before.
    old: PathBuf,
    /// The configuration after.
    new: PathBuf,
    /// How to print the result.
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

impl Diff {
    pub(super) fn run(self) -> Done {
        let differences = inspect::diff(&load(&self.old)?, &load(&self.new)?);
        match self.format {
            Format::Json => print_json(&differences)?,
            Format::Text => differences.iter().for_each(|difference| println!("{difference}")),
        }
        Ok(if differences.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(NO) })
    }
}

fn load(path: &Path) -> Result<Loaded, String> {
    match sallyport_config::load(path, &crate::plan::environment) {
        Ok((loaded, _)) => Ok(loaded),
        Err(report) => Err(format!("`{}` has errors:\n{report}", path.display())),
    }
}
