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

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpListener;

    use super::super::origin::tests::origin;
    use super::*;

    fn transfer(port: u16, direction: Direction) -> Transfer {
        Transfer { port, direction, bytes: 300_000, at_a_time: 3, times: 2 }
    }

    #[test]
    fn every_body_goes_over_whole() {
        let port = origin();
        for direction in [Direction::Up, Direction::Down] {
            let found = transfer(port, direction).run().unwrap();
            assert_eq!((found.bodies, found.bytes), (6, 1_800_000));
        }
    }

    #[test]
    fn a_download_with_one_wrong_byte_is_an_error() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        thread::spawn(move || {
            let mut kept = Vec::new();
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                // All of the head: what is left unread would turn the close into a reset.
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    let mut byte = [0];
                    stream.read_exact(&mut byte).unwrap();
                    head.push(byte[0]);
                }
                let pattern = Pattern::new();
                let mut body: Vec<u8> =
                    (0..300_000_u64).flat_map(|at| pattern.piece(at, 1).to_vec()).collect();
                body[299_999] ^= 1;
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 300000\r\n\r\n");
                let _ = stream.write_all(&body);
                kept.push(stream);
            }
        });
        let error = transfer(port, Direction::Down).run().unwrap_err().to_string();
        assert!(error.ends_with("are not the right ones"), "{error}");
    }
}
