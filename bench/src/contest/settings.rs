//! How a run is done: how long, with which programs, and where its files go.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};

/// How a run is done. All paths are absolute, because programs are started in folders of their own.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Whether it is the short run.
    pub quick: bool,
    /// Rounds that count; one more goes before them, in which caches and pools get warm.
    pub rounds: u32,
    /// Of load on a contestant in a round.
    pub seconds: u32,
    /// Connections that carry the load.
    pub connections: u32,
    /// Where the product is: `sallyport`, `examples/bare_pingora`.
    pub programs: PathBuf,
    /// Where `scripts/setup.sh bench` has installed rivals from PyPI: a Python environment.
    pub installed: PathBuf,
    /// The configurations: `NAME/WORK.EXT`.
    pub rivals: PathBuf,
    /// For files that are needed while it runs: keys, configurations, logs.
    pub folder: PathBuf,
}

/// A round, in which each contestant has its turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Round {
    /// From 0, which is the one that does not count.
    pub number: u32,
}

impl Settings {
    /// The rounds: the one that warms, and those that count.
    pub fn rounds(&self) -> impl Iterator<Item = Round> + use<> {
        (0..=self.rounds).map(|number| Round { number })
    }

    /// A folder of the run, made if it is not there.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn folder_of(&self, scenario: &str) -> Result<PathBuf> {
        let folder = self.folder.join(scenario);
        fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        Ok(folder)
    }

    /// Says on stderr what is going on.
    pub fn progress(&self, scenario: &str, what: &str) {
        eprintln!("{scenario}: {what}");
    }
}

impl Round {
    /// Whether figures of it are kept.
    pub fn counts(self) -> bool {
        self.number > 0
    }
}

impl std::fmt::Display for Round {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.number {
            0 => f.write_str("round to get warm"),
            number => write!(f, "round {number}"),
        }
    }
}
