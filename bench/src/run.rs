//! A run: scenario after scenario, its data, its report.

use std::fs;
use std::path::{Path, PathBuf, absolute};

use anyhow::{Context, Result, bail, ensure};
use clap::Args;

use crate::contest::{RIVALS, SALLYPORT, Settings};
use crate::data::{Run, Scenario};
use crate::{machine, report, scenario};

/// What to run.
#[derive(Debug, Args)]
pub struct Options {
    /// The short run, under ten minutes. The default.
    #[arg(long, conflicts_with = "full")]
    quick: bool,
    /// The long run, about an hour.
    #[arg(long)]
    full: bool,
    /// Only these scenarios, by their names.
    #[arg(long, value_delimiter = ',', value_name = "NAME,...")]
    only: Vec<String>,
    /// Rounds that count, after one to get warm. Default: 2, or 5 of a full run.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: Option<u32>,
    /// Seconds of load on a contestant in a round. Default: 1, or 4 of a full run.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    seconds: Option<u32>,
    /// Connections that carry the load.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=1024))]
    connections: u32,
    /// The folder with `sallyport` and `examples/bare_pingora`. Default: `release` of the target folder that this is in.
    #[arg(long, value_name = "DIR")]
    programs: Option<PathBuf>,
    /// The Python environment with the rivals that come from PyPI. Default: `venv-bench` of that target folder.
    #[arg(long, value_name = "DIR")]
    installed: Option<PathBuf>,
    /// Where the results go. Default: bench/results/DATE-COMMIT.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

impl Options {
    /// Runs the scenarios. A scenario that fails is named in the report, and the others still run.
    ///
    /// # Errors
    /// A scenario failed, or there is nothing to run.
    pub fn run(&self) -> Result<()> {
        let scenarios = self.scenarios()?;
        let settings = self.settings()?;
        SALLYPORT.program(&settings).context(
            "build it with `cargo build --release -p sallyport --bin sallyport --example bare_pingora`, or name its folder",
        )?;
        let mut run = Run {
            began: machine::now(),
            commit: machine::commit(Path::new("."))?,
            quick: settings.quick,
            machine: machine::machine()?,
            contestants: RIVALS.iter().map(|rival| rival.contestant(&settings)).collect(),
            scenarios: Vec::new(),
        };
        let out = match &self.out {
            Some(out) => out.clone(),
            None => Path::new("bench/results").join(format!("{}-{}", &run.began[..10], run.commit)),
        };
        fs::create_dir_all(&out).with_context(|| format!("cannot make {}", out.display()))?;
        fs::create_dir_all(&settings.folder)?;
        let mut failed = Vec::new();
        for one in scenarios {
            settings.progress(one.name, "begins");
            let done = (one.run)(&settings).unwrap_or_else(|error| {
                settings.progress(one.name, &format!("failed: {error:#}"));
                failed.push(one.name);
                failure(one.name, &error)
            });
            run.scenarios.push(done);
            // After each, so that what is done is not lost with what follows.
            fs::write(out.join("data.json"), serde_json::to_vec_pretty(&run)?)?;
        }
        report::write(&run, &out)?;
        eprintln!("the report is in {}", out.display());
        if !failed.is_empty() {
            bail!(
                "failed: {}; logs and configurations are in {}",
                failed.join(", "),
                settings.folder.display()
            );
        }
        Ok(fs::remove_dir_all(&settings.folder)?)
    }

    fn scenarios(&self) -> Result<Vec<&'static scenario::Listed>> {
        let names: Vec<&str> = scenario::ALL.iter().map(|one| one.name).collect();
        let unknown: Vec<&String> = self.only.iter().filter(|name| !names.contains(&name.as_str())).collect();
        ensure!(unknown.is_empty(), "no scenarios: {unknown:?}; there are {}", names.join(", "));
        let wanted = |name: &str| self.only.is_empty() || self.only.iter().any(|only| only == name);
        Ok(scenario::ALL.iter().filter(|one| wanted(one.name)).collect())
    }

    fn settings(&self) -> Result<Settings> {
        // This program is in `target/release` or `target/debug`; what is measured was built for release in any case.
        let program = std::env::current_exe()?;
        let target = program
            .parent()
            .and_then(Path::parent)
            .context("this program is not in Cargo's target folder")?;
        let rivals = Path::new("bench/rivals");
        ensure!(rivals.is_dir(), "there is no bench/rivals here; start it in the folder of the repository");
        Ok(Settings {
            quick: !self.full,
            rounds: self.rounds.unwrap_or(if self.full { 5 } else { 2 }),
            seconds: self.seconds.unwrap_or(if self.full { 4 } else { 1 }),
            connections: self.connections,
            programs: absolute(self.programs.clone().unwrap_or_else(|| target.join("release")))?,
            installed: absolute(self.installed.clone().unwrap_or_else(|| target.join("venv-bench")))?,
            rivals: absolute(rivals)?,
            folder: std::env::temp_dir().join(format!("sallyport-bench-{}", std::process::id())),
        })
    }
}

/// What the report says of a scenario that failed.
fn failure(name: &str, error: &anyhow::Error) -> Scenario {
    Scenario {
        name: name.to_owned(),
        title: name.to_owned(),
        about: "It failed, so there are no figures.".to_owned(),
        checks: Vec::new(),
        measures: Vec::new(),
        goals: Vec::new(),
        missing: vec![format!("all of it: {error:#}")],
    }
}
