//! Thousands of clients of the bridge, or of tunnels, in one thread. It reads commands from standard input, a JSON object
//! a line, and answers each with one. What it measures is what clients see; what servers use, the scenario reads from the
//! system.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::Args;
use serde_json::{Value, json};
use tokio::sync::mpsc::unbounded_channel;
use tokio::task::{JoinHandle, LocalSet};

use super::client::{Group, live};
use super::publish::Publisher;
use super::tally::Tally;
use super::tunnel::{self, Tunnel};
use crate::scenario::connect::Address;

/// Handshakes under way at a time. Of tunnels fewer: what many at once take of memory for a moment would hide what each keeps.
const OPENING: usize = 200;
const OPENING_TUNNELS: usize = 20;
/// How long all clients may take to open, and all events to come.
const OPEN_WAIT: Duration = Duration::from_secs(120);
const EVENTS_WAIT: Duration = Duration::from_secs(60);

/// Options of `load live`.
#[derive(Debug, Args)]
pub struct Live {
    /// Where to.
    #[arg(long)]
    to: SocketAddr,
    /// The path of WebSockets for live events.
    #[arg(long, default_value = "/live")]
    path: String,
    /// The file of an authority: over TLS.
    #[arg(long)]
    ca: Option<PathBuf>,
    /// What tokens are signed with, HS256.
    #[arg(long, default_value = "")]
    secret: String,
    /// Where events are sent to.
    #[arg(long)]
    kafka: Option<String>,
    /// The field of a record's head that names the event's channel, for servers that take it from there.
    #[arg(long)]
    channels_header: Option<String>,
}

struct Load {
    address: Address,
    path: String,
    secret: Vec<u8>,
    publisher: Option<Publisher>,
    tally: Rc<Tally>,
    clients: Vec<JoinHandle<()>>,
    tunnels: Vec<Tunnel>,
}

impl Live {
    /// Obeys until standard input ends.
    ///
    /// # Errors
    /// A command that is none, or that cannot be obeyed.
    #[allow(clippy::print_stdout, reason = "what it prints is what it is for")]
    pub fn run(&self) -> Result<()> {
        let publisher = |brokers| Publisher::new(brokers, self.channels_header.clone());
        let mut load = Load {
            address: Address::new(self.to, self.ca.as_deref())?,
            path: self.path.clone(),
            secret: self.secret.clone().into_bytes(),
            publisher: self.kafka.as_deref().map(publisher).transpose()?,
            tally: Rc::default(),
            clients: Vec::new(),
            tunnels: Vec::new(),
        };
        let (lines, mut read) = unbounded_channel();
        std::thread::spawn(move || std::io::stdin().lines().try_for_each(|line| lines.send(line).ok()));
        let commands = async {
            while let Some(line) = read.recv().await {
                println!("{}", load.obey(&serde_json::from_str(&line?)?).await?);
            }
            Ok(())
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(LocalSet::new().run_until(commands))
    }
}

impl Load {
    async fn obey(&mut self, command: &Value) -> Result<Value> {
        Ok(match text(command, "do").as_str() {
            "open" => self.open(command).await,
            "publish" => self.publish(command).await?,
            "tunnels" => {
                let opened = tunnel::open(&self.address, number(command, "count"), OPENING_TUNNELS).await?;
                self.tunnels.extend(opened);
                json!({ "open": self.tunnels.len() })
            }
            "echo" => json!({ "echoed": tunnel::all_echo(&mut self.tunnels, OPENING_TUNNELS).await? }),
            "status" => self.tally.status(),
            other => bail!("no command `{other}`"),
        })
    }

    /// Opens `count` clients of `channel`, where `{n}` is the number of a client, below `channels` if that is given.
    async fn open(&mut self, command: &Value) -> Value {
        let to = (self.address.clone(), self.path.clone());
        let group = Rc::new(Group::new(to, command, &self.secret, self.tally.clone(), OPENING));
        let (count, before) = (number(command, "count"), self.tally.open.get());
        self.clients.extend((0..count).map(|n| tokio::task::spawn_local(live(group.clone(), n))));
        let all = self.tally.until(|tally| tally.open.get() >= before + count);
        let _ = tokio::time::timeout(OPEN_WAIT, all).await;
        self.tally.status()
    }

    /// Sends `events` at `rate` a second, then waits until clients have got `expect` of them.
    async fn publish(&self, command: &Value) -> Result<Value> {
        let publisher = self.publisher.as_ref().context("no --kafka to send to")?;
        self.tally.ages.borrow_mut().clear();
        let expect = self.tally.received.get() + number(command, "expect") as u64;
        publisher.send(command).await?;
        let all = self.tally.until(|tally| tally.received.get() >= expect);
        let _ = tokio::time::timeout(EVENTS_WAIT, all).await;
        Ok(self.tally.status())
    }
}

pub(super) fn text(command: &Value, name: &str) -> String {
    command[name].as_str().unwrap_or_default().to_owned()
}

pub(super) fn number(command: &Value, name: &str) -> usize {
    command[name].as_u64().unwrap_or_default() as usize
}
