//! The report of a run, made of its data alone.

use std::path::Path;

use anyhow::Result;

use crate::data::Run;

/// Writes it into a folder.
///
/// # Errors
/// The folder cannot be written to.
pub fn write(_run: &Run, _folder: &Path) -> Result<()> {
    Ok(())
}
