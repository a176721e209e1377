//! `load transfer`: large bodies, up or down, several at a time.

use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use clap::{Args, ValueEnum};
use serde::{Deserialize, Serialize};

use super::pattern::Pattern;
use super::tls_client::NAME;
use super::wire::Wire;

/// Nothing may stand still for longer.
const PATIENCE: Duration = Duration::from_secs(60);

/// Send or fetch large bodies.
#[derive(Debug, Clone, Args)]
pub struct Transfer {
    /// The port on loopback.
    #[arg(long)]
    port: u16,
    /// Which way.
    #[arg(long)]
    direction: Direction,
    /// Bytes of a body.
    #[arg(long)]
    bytes: u64,
    /// Bodies at a time, each on a connection of its own.
    #[arg(long)]
    at_a_time: usize,
    /// Bodies one after another on each connection.
    #[arg(long)]
    times: u64,
}

/// Which way a body goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Direction {
    /// To the service.
    Up,
    /// From it.
    Down,
}

/// What came of it.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Transferred {
    /// Bodies that came whole, every byte of them compared.
    pub bodies: u64,
    /// Their bytes.
    pub bytes: u64,
}

impl Transfer {
    /// Transfers all.
    ///
    /// # Errors
    /// A body did not come whole and right.
    pub fn run(&self) -> Result<Transferred> {
        let pattern = Pattern::new();
        thread::scope(|scope| {
            let connections: Vec<_> =
                (0..self.at_a_time).map(|_| scope.spawn(|| self.connection(&pattern))).collect();
            for connection in connections {
                connection.join().map_err(|_| anyhow!("a transfer broke off"))??;
            }
            let bodies = self.at_a_time as u64 * self.times;
            Ok(Transferred { bodies, bytes: bodies * self.bytes })
        })
    }

    fn connection(&self, pattern: &Pattern) -> Result<()> {
        let stream = TcpStream::connect(SocketAddr::from(([127, 0, 0, 1], self.port)))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        let mut wire = Wire::new(stream);
        for _ in 0..self.times {
            match self.direction {
                Direction::Up => self.send(&mut wire, pattern)?,
                Direction::Down => self.fetch(&mut wire, pattern)?,
            }
        }
        Ok(())
    }

    fn send(&self, wire: &mut Wire, pattern: &Pattern) -> Result<()> {
        let bytes = self.bytes;
        write!(
            wire.stream(),
            "PUT /bytes/{bytes} HTTP/1.1\r\nHost: {NAME}\r\nContent-Length: {bytes}\r\n\r\n"
        )?;
        let mut place = 0;
        while place < bytes {
            let piece = pattern.piece(place, bytes - place);
            wire.stream().write_all(piece).with_context(|| format!("sending from byte {place} on"))?;
            place += piece.len() as u64;
        }
        let head = wire.head()?.context("no answer to an upload")?;
        ensure!(head.line == "200" && head.length == 0, "an upload got {head:?}");
        Ok(())
    }

    fn fetch(&self, wire: &mut Wire, pattern: &Pattern) -> Result<()> {
        let bytes = self.bytes;
        write!(wire.stream(), "GET /bytes/{bytes} HTTP/1.1\r\nHost: {NAME}\r\n\r\n")?;
        let head = wire.head()?.context("no answer to a download")?;
        ensure!(head.line == "200" && head.length == bytes, "a download of {bytes} bytes got {head:?}");
        wire.swallow(bytes, pattern)
    }
}
