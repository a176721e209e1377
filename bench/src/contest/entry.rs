//! A rival with one configuration: started, measured, reloaded.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use super::answer::Request;
use super::rival::{Reload, Rival};
use super::settings::Settings;
use super::template;
use crate::process::{Core, Process, free_port};

/// How long a contestant may take to read its routes.
const PATIENCE: Duration = Duration::from_secs(30);
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// A rival with the configuration for a kind of work.
#[derive(Debug, Clone)]
pub struct Entry {
    name: String,
    rival: &'static Rival,
    work: &'static str,
    core: Core,
    values: Vec<(String, String)>,
}

/// An entry that runs and listens, until this is dropped.
pub struct Running {
    /// As in the figures.
    pub name: String,
    /// Which program.
    pub rival: &'static Rival,
    /// Where it listens, on loopback.
    pub port: u16,
    /// Its process.
    pub process: Process,
    /// The folder of its files.
    pub own: PathBuf,
    /// Its configuration.
    pub file: PathBuf,
}

impl Entry {
    /// A rival with `rivals/NAME/WORK.EXT`.
    pub fn new(rival: &'static Rival, work: &'static str) -> Entry {
        Entry { name: rival.name.to_owned(), rival, work, core: Core::Measured, values: Vec::new() }
    }

    /// Gives it a name of its own in the figures, where a rival takes part twice.
    #[must_use]
    pub fn named(mut self, name: &str) -> Entry {
        name.clone_into(&mut self.name);
        self
    }

    /// Another core than the measured one.
    #[must_use]
    pub fn on(mut self, core: Core) -> Entry {
        self.core = core;
        self
    }

    /// A value for the placeholder `@NAME@` of its configuration. `@PORT@`, where it has to listen, `@ADMIN@`, one more port
    /// that is free, `@FOLDER@`, the scenario's folder, and `@OWN@`, its own folder in that, need not be given.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl ToString) -> Entry {
        self.values.push((name.to_owned(), value.to_string()));
        self
    }

    /// Starts it on its core and waits until it listens. Its files are in `folder/NAME`, its log `NAME.log` there:
    /// its configuration, and whatever else is named `WORK-...` beside that, with everything filled in.
    ///
    /// # Errors
    /// There is no such program, its configuration lacks a value, or it does not listen.
    pub fn start(&self, settings: &Settings, folder: &Path) -> Result<Running> {
        let program = self.rival.program(settings)?;
        let log = self.name.to_lowercase().replace(|c: char| !c.is_ascii_alphanumeric(), "-");
        let own = folder.join(&log);
        fs::create_dir_all(&own)?;
        let port = free_port()?;
        let main = format!("{}.{}", self.work, self.rival.extension);
        self.write_files(settings, &self.all_values(folder, &own, port)?, &own)?;
        let file = own.join(&main);
        let text =
            fs::read_to_string(&file).with_context(|| format!("there is no {}/{main}", self.rival.folder))?;
        // With a home of its own: some write there (Caddy its last configuration).
        let mut arguments: Vec<OsString> =
            ["-u", "XDG_CONFIG_HOME", "-u", "XDG_DATA_HOME"].map(OsString::from).into();
        arguments.push(format!("HOME={}", own.display()).into());
        arguments.extend(self.rival.environment());
        arguments.push(program.into());
        arguments.extend(self.rival.arguments(&file, &text));
        let mut process = Process::start(&log, self.core, &own, "env", arguments)?;
        process.listens(port).with_context(|| format!("see {}", own.join(format!("{log}.log")).display()))?;
        Ok(Running { name: self.name.clone(), rival: self.rival, port, process, own, file })
    }

    fn all_values(&self, folder: &Path, own: &Path, port: u16) -> Result<Vec<(String, String)>> {
        let mut values = self.values.clone();
        values.extend([
            ("PORT".to_owned(), port.to_string()),
            ("ADMIN".to_owned(), free_port()?.to_string()),
            ("FOLDER".to_owned(), folder.display().to_string()),
            ("OWN".to_owned(), own.display().to_string()),
        ]);
        Ok(values)
    }

    /// Its configuration and what belongs to it.
    fn write_files(&self, settings: &Settings, values: &[(String, String)], own: &Path) -> Result<()> {
        let folder = settings.rivals.join(self.rival.folder);
        for file in fs::read_dir(&folder).with_context(|| format!("cannot read {}", folder.display()))? {
            let file = file?;
            let name = file.file_name().to_string_lossy().into_owned();
            let Some(rest) = name.strip_prefix(self.work) else { continue };
            if rest.starts_with(['.', '-']) {
                let text = template::fill(&fs::read_to_string(file.path())?, values);
                fs::write(own.join(&name), text.with_context(|| file.path().display().to_string())?)?;
            }
        }
        Ok(())
    }
}

impl Running {
    /// Waits until it answers `GET` of a path with a status: some listen before they have read their routes.
    ///
    /// # Errors
    /// It does not in time.
    pub fn comes_to_answer(&self, path: &str, status: u16) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let is = Request::get(self.port, path).send()?.status;
            if is == status {
                return Ok(());
            }
            ensure!(Instant::now() < deadline, "{} answers {is} in place of {status} to {path}", self.name);
            sleep(LOOK_EVERY);
        }
    }

    /// CPU time of this process for each answer to a load that `put` puts on it and counts, in µs.
    ///
    /// # Errors
    /// `put` fails or has no answers; the process has ended.
    pub fn cpu_us_each(&self, put: impl FnOnce() -> Result<u64>) -> Result<f64> {
        let before = self.process.cpu()?;
        let answers = put().with_context(|| self.name.clone())?;
        ensure!(answers > 0, "{} has answered nothing", self.name);
        let used = self.process.cpu()?.saturating_sub(before);
        Ok(used.as_secs_f64() * 1e6 / answers as f64)
    }

    /// Replaces a file by moving another over it, and has its configuration read again, in the rival's own way. Whether it
    /// has is to be seen from its answers.
    ///
    /// # Errors
    /// The file cannot be written, or the rival cannot reload.
    pub fn reload(&self, file: &Path, text: &str) -> Result<()> {
        let new = file.with_extension("new");
        fs::write(&new, text)?;
        fs::rename(&new, file)?;
        match self.rival.reload {
            Reload::Watches => Ok(()),
            Reload::Never => bail!("{} does not reload", self.name),
            Reload::Hangup => {
                let status = Command::new("kill").args(["-HUP", &self.process.id().to_string()]).status()?;
                ensure!(status.success(), "{} has ended", self.name);
                Ok(())
            }
        }
    }
}

/// Starts all entries whose programs can be had; says which cannot.
///
/// # Errors
/// One that is there does not start: its configuration is wrong, so there would be nothing to compare.
pub fn start_all(
    settings: &Settings,
    folder: &Path,
    entries: &[Entry],
) -> Result<(Vec<Running>, Vec<String>)> {
    let (mut running, mut missing) = (Vec::new(), Vec::new());
    for entry in entries {
        match entry.rival.program(settings) {
            Ok(_) => running.push(entry.start(settings, folder).with_context(|| entry.name.clone())?),
            Err(error) => missing.push(format!("{}: {error:#}", entry.name)),
        }
    }
    Ok((running, missing))
}

#[cfg(test)]
mod tests {
    use super::super::rival::RIVALS;
    use super::*;

    fn settings(rivals: &Path) -> Settings {
        let none = PathBuf::new;
        Settings {
            quick: true,
            rounds: 1,
            seconds: 1,
            connections: 1,
            programs: none(),
            installed: none(),
            rivals: rivals.to_owned(),
            folder: none(),
        }
    }

    const LIVE: [&str; 9] =
        ["TLS", "ECHO", "KAFKA", "SOCKET", "ROOMS", "OWNED", "SECURE", "SECRET", "CHANNELS_HEADER"];

    /// A configuration with a placeholder that nobody fills would be found only when that scenario runs.
    #[test]
    fn what_is_given_fills_every_configuration() {
        let rivals = Path::new(env!("CARGO_MANIFEST_DIR")).join("rivals");
        let settings = settings(&rivals);
        let own = tempfile::tempdir().unwrap();
        let mut written = 0;
        for rival in RIVALS {
            for (work, given) in [
                ("pass", &["BACKEND"][..]),
                ("job", &["BACKEND", "LIMIT", "CACHE"]),
                ("compose", &["BACKEND", "LATE", "MEMORY"]),
                ("live", &LIVE),
            ] {
                let entry = given.iter().fold(Entry::new(rival, work), |entry, name| entry.with(name, 1));
                let values = entry.all_values(Path::new("/folder"), own.path(), 1).unwrap();
                entry.write_files(&settings, &values, own.path()).unwrap();
                written += usize::from(own.path().join(format!("{work}.{}", rival.extension)).is_file());
            }
            fs::read_dir(own.path()).unwrap().for_each(|file| fs::remove_file(file.unwrap().path()).unwrap());
        }
        assert_eq!(
            written,
            7 + 3 + 2 + 3,
            "seven pass, three do the whole job, two compose, three have live connections"
        );
    }

    #[test]
    fn a_configuration_without_its_value_is_refused_with_its_name() {
        let rivals = tempfile::tempdir().unwrap();
        fs::create_dir(rivals.path().join("nginx")).unwrap();
        fs::write(rivals.path().join("nginx/pass.conf"), "listen @PROT@;").unwrap();
        let settings = settings(rivals.path());
        let error =
            Entry::new(&super::super::NGINX, "pass").write_files(&settings, &[], rivals.path()).unwrap_err();
        let error = format!("{error:#}");
        assert!(error.ends_with("nginx/pass.conf: the placeholder @PROT@ has no value"), "{error}");
    }
}
