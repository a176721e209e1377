//! `load origin`: a service that serves and swallows large bodies, and looks at every byte.
//!
//! nginx answers an upload before it has seen its end, or writes it to a file; neither is a backend to measure uploads with.

use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;

use anyhow::{Context, Result, bail};
use clap::Args;
use rustix::net::{listen, sockopt};

use super::pattern::Pattern;
use super::wire::Wire;

/// Stack of a connection's thread; slow clients make a thousand of them.
const STACK_BYTES: usize = 128 * 1024;
/// What the kernel takes of an answer at once, doubled by it; else it would take megabytes for each of a thousand.
const SEND_BYTES: usize = 256 * 1024;
/// Connections that wait to be accepted.
const WAITING_MAX: i32 = 4096;

/// Serve `GET /bytes/N` and swallow `PUT /bytes/N`, where N is the body's length.
#[derive(Debug, Clone, Args)]
pub struct Origin {
    /// The port on loopback.
    #[arg(long)]
    port: u16,
}

impl Origin {
    /// Serves until killed.
    ///
    /// # Errors
    /// The port cannot be had.
    pub fn run(&self) -> Result<()> {
        let listener = TcpListener::bind(("127.0.0.1", self.port))?;
        // Once more, because the standard library lets so few wait that connections made at once would be held up here.
        listen(&listener, WAITING_MAX)?;
        serve_all(&listener)
    }
}

fn serve_all(listener: &TcpListener) -> Result<()> {
    let pattern = Arc::new(Pattern::new());
    for stream in listener.incoming() {
        let (stream, pattern) = (stream?, pattern.clone());
        let serve = move || {
            // A client may leave at any time, and a proxy with it. What is wrong apart from that its clients see: they get
            // no answer.
            let _ = serve(stream, &pattern);
        };
        thread::Builder::new().stack_size(STACK_BYTES).spawn(serve)?;
    }
    Ok(())
}

fn serve(stream: TcpStream, pattern: &Pattern) -> Result<()> {
    stream.set_nodelay(true)?;
    sockopt::set_socket_send_buffer_size(&stream, SEND_BYTES)?;
    let mut wire = Wire::new(stream);
    while let Some(head) = wire.head()? {
        let (method, path) = head.line.split_once(' ').context("no path")?;
        let bytes: u64 = path.strip_prefix("/bytes/").context("no such path")?.parse()?;
        match method {
            "GET" => send(wire.stream(), bytes, pattern)?,
            "PUT" if head.length == bytes => {
                wire.swallow(bytes, pattern)?;
                write!(wire.stream(), "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")?;
            }
            _ => bail!("`{}` with {} bytes", head.line, head.length),
        }
    }
    Ok(())
}

fn send(stream: &mut TcpStream, bytes: u64, pattern: &Pattern) -> Result<()> {
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {bytes}\r\n\r\n");
    let mut place = pattern.piece(0, bytes).len() as u64;
    // In one write, so that a small answer is one packet.
    stream.write_all(&[head.as_bytes(), pattern.piece(0, bytes)].concat())?;
    while place < bytes {
        let piece = pattern.piece(place, bytes - place);
        stream.write_all(piece)?;
        place += piece.len() as u64;
    }
    Ok(())
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// An origin for as long as the test runs.
    pub(in crate::load) fn origin() -> u16 {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        thread::spawn(move || serve_all(&listener));
        port
    }

    #[test]
    fn an_upload_of_other_bytes_gets_no_answer() {
        let ask = |body: &[u8]| {
            let mut stream = TcpStream::connect(("127.0.0.1", origin())).unwrap();
            write!(stream, "PUT /bytes/3 HTTP/1.1\r\nContent-Length: 3\r\n\r\n").unwrap();
            stream.write_all(body).unwrap();
            Wire::new(stream).head()
        };
        assert_eq!(ask(&[0, 1, 2]).unwrap().unwrap().line, "200");
        // It ends, in whichever way the system tells that.
        assert!(!matches!(ask(&[0, 1, 3]), Ok(Some(_))));
    }
}
