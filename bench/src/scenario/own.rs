//! Clients and services of our own: commands of this very program, started as processes.

use std::net::SocketAddr;
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::Subcommand;
use serde_json::Value;
use tokio::net::{TcpListener, TcpStream};

use super::compose::Late;
use super::live::{Broker, Echo, Floor};
use crate::process::{Core, Process, load_client};

/// How long a process may take to start, and how often it is looked whether it has.
const START_WAIT: Duration = Duration::from_secs(30);
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// What `serve` does.
#[derive(Debug, Subcommand)]
pub enum Serve {
    /// A service that is late.
    Late(Late),
    /// An origin of tunnels that sends everything back.
    Echo(Echo),
    /// A plain server of WebSockets.
    Floor(Floor),
    /// A Kafka broker inside this process.
    Broker(Broker),
}

impl Serve {
    /// Does it until the process ends.
    ///
    /// # Errors
    /// It cannot be served.
    pub fn run(&self) -> Result<()> {
        match self {
            Serve::Late(late) => late.run(),
            Serve::Echo(echo) => echo.run(),
            Serve::Floor(floor) => floor.run(),
            Serve::Broker(broker) => broker.run(),
        }
    }
}

/// Runs a client to its end; what it prints.
///
/// # Errors
/// It has seen something wrong.
pub(super) fn load<'a>(name: &str, arguments: impl IntoIterator<Item = &'a str>) -> Result<Value> {
    let out = load_client(name)?.args(arguments).output().context("cannot start a client")?;
    ensure!(out.status.success(), "load {name}: {}", String::from_utf8_lossy(&out.stderr).trim());
    Ok(serde_json::from_slice(&out.stdout)?)
}

/// Starts a service: `serve NAME ARGUMENTS`.
///
/// # Errors
/// It cannot be started.
pub(super) fn serve<'a>(
    name: &'a str,
    core: Core,
    folder: &Path,
    arguments: impl IntoIterator<Item = &'a str>,
) -> Result<Process> {
    let arguments = ["serve", name].into_iter().chain(arguments);
    Process::start(name, core, folder, std::env::current_exe()?, arguments)
}

/// Accepts connections on a port of loopback until the process ends; each is served beside the others, and how that ends
/// is nobody's affair.
///
/// # Errors
/// The port is taken.
pub(super) fn accept<S>(port: u16, serve: impl Fn(TcpStream) -> S) -> Result<()>
where
    S: Future<Output = Result<()>> + Send + 'static,
{
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], port))).await?;
        loop {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            tokio::spawn(serve(stream));
        }
    })
}

/// Waits for a file that a process writes.
///
/// # Errors
/// The process has ended, or does not write it in time.
pub(super) fn appears(process: &mut Process, file: &Path) -> Result<()> {
    let deadline = Instant::now() + START_WAIT;
    while !file.exists() {
        ensure!(process.cpu().is_ok(), "a process has ended that should have written {}", file.display());
        ensure!(Instant::now() < deadline, "nobody has written {}", file.display());
        sleep(LOOK_EVERY);
    }
    Ok(())
}

/// Milliseconds of a figure in microseconds that a client printed.
///
/// # Errors
/// It is not there.
pub(super) fn millis(printed: &Value, name: &str) -> Result<f64> {
    let micros = printed[name].as_f64().with_context(|| format!("no `{name}` in {printed}"))?;
    Ok(micros / 1000.0)
}
