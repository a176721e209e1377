//! The load client as a process that is told what to do.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Stdio};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::process::load_client;

/// A secret for tokens, HS256.
pub(super) const SECRET: &str = "a secret of the figures that is long enough";

/// Clients in one process; they go with it when this is dropped.
pub(super) struct Clients {
    child: Child,
    commands: ChildStdin,
    answers: BufReader<ChildStdout>,
    /// The number of the next event of each channel, or owner.
    next: u64,
}

/// Events to be sent, and how often they have to arrive.
#[derive(Debug, Clone, Copy)]
pub(super) struct Events<'a> {
    pub(super) topic: &'a str,
    pub(super) count: u64,
    /// A second.
    pub(super) rate: u64,
    /// Over so many channels in turn.
    pub(super) channels: u64,
    /// For so many owners in turn.
    pub(super) owners: u64,
    /// Deliveries, all clients together.
    pub(super) expect: u64,
    /// Of padding in each.
    pub(super) bytes: u64,
}

impl Clients {
    /// Starts the process; `ca` is the file of an authority, for TLS, and `header` the field of records that names the channel.
    pub(super) fn start(
        port: u16,
        path: &str,
        kafka: &str,
        ca: Option<&str>,
        header: Option<&str>,
    ) -> Result<Clients> {
        let to = format!("127.0.0.1:{port}");
        let ca = ca.into_iter().flat_map(|file| ["--ca", file]);
        let header = header.into_iter().flat_map(|name| ["--channels-header", name]);
        let fixed = ["--to", &to, "--path", path, "--kafka", kafka, "--secret", SECRET];
        let mut command = load_client("live")?;
        command.args(fixed.into_iter().chain(ca).chain(header));
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().context("cannot start clients")?;
        let commands = child.stdin.take().context("no standard input")?;
        let answers = BufReader::new(child.stdout.take().context("no standard output")?);
        Ok(Clients { child, commands, answers, next: 0 })
    }

    /// Has them do something; what they say.
    pub(super) fn obey(&mut self, command: &Value) -> Result<Value> {
        writeln!(self.commands, "{command}")?;
        self.commands.flush()?;
        let mut line = String::new();
        self.answers.read_line(&mut line)?;
        serde_json::from_str(&line).with_context(|| format!("the clients have ended at {command}"))
    }

    /// Opens so many clients more of `channel`, in which `{n}` is a client's number, below `channels` unless that is 0.
    pub(super) fn open(&mut self, count: u64, channel: &str, channels: u64) -> Result<()> {
        self.open_as(json!({ "do": "open", "count": count, "channel": channel, "channels": channels }))
    }

    /// The same for clients that come back with their position when the connection ends.
    pub(super) fn open_returning(&mut self, count: u64, channel: &str) -> Result<()> {
        self.open_as(json!({ "do": "open", "count": count, "channel": channel, "returns": true }))
    }

    /// The same for clients that never read.
    pub(super) fn open_stalled(&mut self, count: u64, channel: &str) -> Result<()> {
        self.open_as(json!({ "do": "open", "count": count, "channel": channel, "stalled": true }))
    }

    fn open_as(&mut self, command: Value) -> Result<()> {
        let before = number(&self.status()?, "open")?;
        let status = self.obey(&command)?;
        let opened = number(&status, "open")? - before;
        ensure!(
            Some(opened) == command["count"].as_u64(),
            "{opened} clients were opened of {command}: {status}"
        );
        Ok(())
    }

    pub(super) fn status(&mut self) -> Result<Value> {
        self.obey(&json!({ "do": "status" }))
    }

    /// Sends events and waits until all have come, each once and in order; what the clients say then.
    pub(super) fn publish(&mut self, events: Events<'_>) -> Result<Value> {
        let before = number(&self.status()?, "received")?;
        let Events { topic, count, rate, channels, owners, expect, bytes } = events;
        let first = self.next;
        self.next += count.div_ceil(channels.max(owners));
        let after = self.obey(&json!({
            "do": "publish", "topic": topic, "events": count, "rate": rate, "channels": channels, "owners": owners,
            "expect": expect, "bytes": bytes, "first": first,
        }))?;
        let received = number(&after, "received")? - before;
        ensure!(
            received == expect && after["out_of_order"] == 0,
            "{received} events came where {expect} were expected: {after}"
        );
        Ok(after)
    }
}

impl Drop for Clients {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A number that clients have said.
pub(super) fn number(said: &Value, name: &str) -> Result<u64> {
    said[name].as_u64().with_context(|| format!("no `{name}` in {said}"))
}
