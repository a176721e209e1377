//! Latency at a given rate: our own client (`load open`), as a process on the load core.

use anyhow::{Context, Result, ensure};

use super::calls::Calls;
use crate::load::open::Latencies;
use crate::process::load_client;

impl Calls {
    /// Asks for the same at a fixed rate, in an open loop, and tells the latencies.
    ///
    /// # Errors
    /// An answer was not the right one, or the contestant cannot be reached.
    pub fn at_rate(&self, connections: u32, rate: f64, seconds: u32) -> Result<Latencies> {
        self.at_rate_with(connections, rate, seconds, &[])
    }

    /// The same, but what fails is counted, and is no end.
    ///
    /// # Errors
    /// The contestant cannot be reached.
    pub fn at_rate_going_on(&self, connections: u32, rate: f64, seconds: u32) -> Result<Latencies> {
        self.at_rate_with(connections, rate, seconds, &["--go-on"])
    }

    fn at_rate_with(&self, connections: u32, rate: f64, seconds: u32, options: &[&str]) -> Result<Latencies> {
        let mut command = load_client("open")?;
        command.args(options);
        for (name, value) in [
            ("--port", self.port.to_string()),
            ("--path", self.path.clone()),
            ("--rate", rate.to_string()),
            ("--seconds", seconds.to_string()),
            ("--connections", connections.to_string()),
            ("--body-bytes", self.body_bytes.to_string()),
        ] {
            command.arg(name).arg(value);
        }
        for (name, value) in &self.fields {
            command.arg("--field").arg(format!("{name}: {value}"));
        }
        if let Some(tokens) = &self.tokens {
            command.arg("--tokens").arg(tokens);
        }
        if let Some(targets) = &self.targets {
            command.arg("--targets").arg(targets);
        }
        let out = command.output().context("cannot start the client")?;
        let said = String::from_utf8_lossy(&out.stderr);
        ensure!(out.status.success(), "{} at {rate:.0} a second: {said}", self.path);
        serde_json::from_slice(&out.stdout).context("the client does not say what it found")
    }
}
