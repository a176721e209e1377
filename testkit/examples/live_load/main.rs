//! The load client of `scripts/live_figures.py`: thousands of clients of the bridge, or of tunnels, in one thread. It reads
//! commands from standard input, a JSON object a line, and answers each with one. What it measures is what clients see;
//! what servers use, the script reads from the system.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a measuring instrument ends at a fault"
)]

mod client;
mod connect;
mod publish;
mod tally;
mod tunnel;

use std::rc::Rc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::mpsc::unbounded_channel;
use tokio::task::{JoinHandle, LocalSet};

use crate::client::{Group, live};
use crate::connect::Address;
use crate::publish::Publisher;
use crate::tally::Tally;

/// Handshakes under way at a time.
const OPENING: usize = 200;

struct Load {
    address: Address,
    secret: Vec<u8>,
    publisher: Option<Publisher>,
    tally: Rc<Tally>,
    clients: Vec<JoinHandle<()>>,
    tunnels: Vec<tunnel::Tunnel>,
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [echo, port] = arguments.as_slice()
        && echo == "echo"
    {
        return tunnel::echo(port.parse().expect("a port")).await;
    }
    let value = |name: &str| {
        let at = arguments.iter().position(|argument| argument == name)?;
        arguments.get(at + 1).cloned()
    };
    let mut load = Load {
        address: Address::new(&value("--to").expect("--to HOST:PORT"), value("--ca").as_deref()),
        secret: value("--secret").unwrap_or_default().into_bytes(),
        publisher: value("--kafka").map(|brokers| Publisher::new(&brokers)),
        tally: Rc::default(),
        clients: Vec::new(),
        tunnels: Vec::new(),
    };
    let (lines, mut read) = unbounded_channel();
    std::thread::spawn(move || std::io::stdin().lines().try_for_each(|line| lines.send(line).ok()));
    let commands = async {
        while let Some(line) = read.recv().await {
            let line = line.expect("standard input");
            let command: Value = serde_json::from_str(&line).expect("a command is JSON");
            println!("{}", load.obey(&command).await);
        }
    };
    LocalSet::new().run_until(commands).await;
}

impl Load {
    async fn obey(&mut self, command: &Value) -> Value {
        match text(command, "do").as_str() {
            "open" => self.open(command).await,
            "publish" => self.publish(command).await,
            "tunnels" => {
                let opened = tunnel::open(&self.address, number(command, "count"), OPENING).await;
                self.tunnels.extend(opened);
                json!({ "open": self.tunnels.len() })
            }
            "echo" => json!({ "echoed": tunnel::all_echo(&mut self.tunnels, OPENING).await }),
            "status" => self.tally.status(),
            "close" => {
                self.clients.drain(..).for_each(|client| client.abort());
                self.tunnels.clear();
                self.tally = Rc::default();
                json!({})
            }
            other => panic!("no command {other}"),
        }
    }

    /// Opens `count` clients of `channel`, where `{n}` is the number of a client, below `channels` if that is given.
    async fn open(&mut self, command: &Value) -> Value {
        let group =
            Rc::new(Group::new(self.address.clone(), command, &self.secret, self.tally.clone(), OPENING));
        let (count, before) = (number(command, "count"), self.tally.open.get());
        self.clients.extend((0..count).map(|n| tokio::task::spawn_local(live(group.clone(), n))));
        let all = self.tally.until(|tally| tally.open.get() >= before + count);
        let _ = tokio::time::timeout(Duration::from_secs(120), all).await;
        self.tally.status()
    }

    /// Sends `events` at `rate` a second, then waits until clients have got `expect` of them.
    async fn publish(&self, command: &Value) -> Value {
        let publisher = self.publisher.as_ref().expect("--kafka");
        self.tally.ages.borrow_mut().clear();
        let expect = self.tally.received.get() + number(command, "expect") as u64;
        publisher.send(command).await;
        let all = self.tally.until(|tally| tally.received.get() >= expect);
        let _ = tokio::time::timeout(Duration::from_secs(60), all).await;
        self.tally.status()
    }
}

fn text(command: &Value, name: &str) -> String {
    command[name].as_str().unwrap_or_default().to_owned()
}

fn number(command: &Value, name: &str) -> usize {
    command[name].as_u64().unwrap_or_default() as usize
}
