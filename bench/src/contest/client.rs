//! A client of our own as a process on the load core, one that says how far it is.

use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStdout, Stdio};

use anyhow::{Context, Result, bail, ensure};
use serde::de::DeserializeOwned;

use crate::process::load_client;

/// A subcommand of `load` that runs, until this is dropped.
pub struct Client {
    child: Child,
    said: BufReader<ChildStdout>,
    name: String,
}

impl Client {
    /// Starts `load NAME` with these options; one without a value is a switch.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn start(name: &str, options: &[(&str, String)]) -> Result<Client> {
        let mut command = load_client(name)?;
        for (option, value) in options {
            command.arg(option).args((!value.is_empty()).then_some(value));
        }
        let child = command.stdout(Stdio::piped()).spawn();
        let mut child = child.with_context(|| format!("cannot start load {name}"))?;
        let said = BufReader::new(child.stdout.take().context("a client without stdout")?);
        Ok(Client { child, said, name: name.to_owned() })
    }

    /// Waits until it says this on a line of its own.
    ///
    /// # Errors
    /// It says something else, or ends.
    pub fn says(&mut self, word: &str) -> Result<()> {
        let line = self.line()?;
        ensure!(line == word, "load {} says `{line}`, not `{word}`", self.name);
        Ok(())
    }

    /// Waits for its end and reads what it has found.
    ///
    /// # Errors
    /// It has failed.
    pub fn found<T: DeserializeOwned>(mut self) -> Result<T> {
        let line = self.line()?;
        let status = self.child.wait()?;
        ensure!(status.success(), "load {}: {status}", self.name);
        serde_json::from_str(&line).with_context(|| format!("load {} says `{line}`", self.name))
    }

    /// Makes sure that it still runs.
    ///
    /// # Errors
    /// It has ended.
    pub fn runs(&mut self) -> Result<()> {
        match self.child.try_wait()? {
            Some(status) => bail!("load {} has ended: {status}; it says why above", self.name),
            None => Ok(()),
        }
    }

    fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        if self.said.read_line(&mut line)? == 0 {
            bail!("load {} has ended: {}; it says why above", self.name, self.child.wait()?);
        }
        Ok(line.trim_end().to_owned())
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
