//! `load slow`: clients that hold a proxy's time and memory: some send their head byte by byte, some their body, some
//! read a large answer slowly.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clap::Args;
use rustix::net::{AddressFamily, SocketType, connect, socket, sockopt};
use serde::{Deserialize, Serialize};

use super::pattern::Pattern;
use super::tls_client::NAME;

/// A second, in which each client moves once, is done in so many parts.
const PARTS: usize = 10;
/// What a slow reader takes in a second.
const READ_BYTES: usize = 1024;
/// What the kernel may take of an answer for a client, doubled by it.
const RECEIVE_BYTES: usize = 8 * 1024;
/// What slow readers ask for: more than the kernel takes for them.
const ANSWER_BYTES: u64 = 2 * 1024 * 1024;
/// What slow writers say they would send: more than they come to.
const BODY_BYTES: u64 = 100_000;

/// Be many slow clients at once.
#[derive(Debug, Clone, Args)]
pub struct Slow {
    /// The port on loopback.
    #[arg(long)]
    port: u16,
    /// How many; a third of each kind.
    #[arg(long)]
    clients: usize,
    /// For how long.
    #[arg(long)]
    seconds: u64,
}

/// How many are still served, or still waited for, at the end.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Left {
    /// Of those that send their head a byte a second.
    pub head: usize,
    /// Of those that send their body so.
    pub body: usize,
    /// Of those that read 1 KiB a second.
    pub reading: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Head,
    Body,
    Reading,
}

struct Client {
    stream: TcpStream,
    kind: Kind,
    sent: u64,
    open: bool,
}

impl Slow {
    /// Connects all, prints `ready`, and is slow.
    ///
    /// # Errors
    /// A client cannot connect.
    pub fn run(&self) -> Result<Left> {
        let kinds = [Kind::Head, Kind::Body, Kind::Reading];
        let mut clients = Vec::new();
        for kind in kinds.into_iter().cycle().take(self.clients) {
            clients.push(Client::connect(self.port, kind)?);
        }
        println!("ready");
        let (start, pattern) = (Instant::now(), Pattern::new());
        for part in 0..usize::try_from(self.seconds)? * PARTS {
            for client in clients.iter_mut().skip(part % PARTS).step_by(PARTS).filter(|client| client.open) {
                client.open = client.step(&pattern);
            }
            let next = start + Duration::from_secs(1) * u32::try_from(part + 1)? / PARTS as u32;
            thread::sleep(next.saturating_duration_since(Instant::now()));
        }
        let left = |kind| clients.iter().filter(|client| client.open && client.kind == kind).count();
        Ok(Left { head: left(Kind::Head), body: left(Kind::Body), reading: left(Kind::Reading) })
    }
}

impl Client {
    fn connect(port: u16, kind: Kind) -> Result<Client> {
        let socket = socket(AddressFamily::INET, SocketType::STREAM, None)?;
        // Before it connects, so that the other side sees a small window. Loopback's packets of 64 KiB would else let the
        // kernel take megabytes of an answer, as no network does.
        sockopt::set_socket_recv_buffer_size(&socket, RECEIVE_BYTES)?;
        connect(&socket, &SocketAddr::from(([127, 0, 0, 1], port))).context("cannot connect")?;
        let mut stream = TcpStream::from(socket);
        stream.set_nodelay(true)?;
        match kind {
            Kind::Head => {}
            Kind::Body => write!(
                stream,
                "PUT /bytes/{BODY_BYTES} HTTP/1.1\r\nHost: {NAME}\r\nContent-Length: {BODY_BYTES}\r\n\r\n"
            )?,
            Kind::Reading => write!(stream, "GET /bytes/{ANSWER_BYTES} HTTP/1.1\r\nHost: {NAME}\r\n\r\n")?,
        }
        stream.set_nonblocking(true)?;
        Ok(Client { stream, kind, sent: 0, open: true })
    }

    /// What it does once a second. The answer is whether it is still connected.
    fn step(&mut self, pattern: &Pattern) -> bool {
        let byte = match self.kind {
            // A head that never ends: one field, longer and longer.
            Kind::Head => {
                b"GET /bytes/100 HTTP/1.1\r\nX-Slow: ".get(self.sent as usize).copied().unwrap_or(b'x')
            }
            Kind::Body => pattern.piece(self.sent, 1)[0],
            Kind::Reading => return self.read(&mut [0; READ_BYTES]),
        };
        self.sent += 1;
        // Nothing is to come before the request is whole; if something has, it is a refusal.
        self.stream.write(&[byte]).is_ok() && !self.answered()
    }

    fn read(&mut self, room: &mut [u8]) -> bool {
        match self.stream.read(room) {
            // The first of it is the head.
            Ok(count) if self.sent == 0 => {
                self.sent = count as u64;
                room[..count].starts_with(b"HTTP/1.1 200 ")
            }
            Ok(count) => count > 0,
            Err(error) => error.kind() == ErrorKind::WouldBlock,
        }
    }

    fn answered(&mut self) -> bool {
        let quiet =
            matches!(self.stream.read(&mut [0; 1]), Err(error) if error.kind() == ErrorKind::WouldBlock);
        !quiet
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    /// Whether a client is still there after the server has said this to it.
    fn stays(kind: Kind, said: &str) -> bool {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut client = Client::connect(listener.local_addr().unwrap().port(), kind).unwrap();
        let (mut server, _) = listener.accept().unwrap();
        assert!(client.step(&Pattern::new()), "before anything was said");
        server.write_all(said.as_bytes()).unwrap();
        client.stream.set_nonblocking(false).unwrap();
        client.stream.peek(&mut [0; 1]).unwrap();
        client.stream.set_nonblocking(true).unwrap();
        client.step(&Pattern::new())
    }

    #[test]
    fn who_is_refused_is_no_longer_there() {
        let refused = "HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n";
        let answer = "HTTP/1.1 200 OK\r\nContent-Length: 2097152\r\n\r\n";
        for (kind, said, expected) in [
            (Kind::Head, refused, false),
            (Kind::Body, refused, false),
            (Kind::Body, answer, false),
            (Kind::Reading, refused, false),
            (Kind::Reading, answer, true),
        ] {
            assert_eq!(stays(kind, said), expected, "{kind:?}: {said}");
        }
    }
}
