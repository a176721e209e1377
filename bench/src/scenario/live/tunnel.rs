//! Tunnels through the edge to an origin that sends everything back.

use std::io;
use std::rc::Rc;

use anyhow::Result;
use clap::Args;
use sallyport_testkit::websocket::{KEY, client_frame, switching};
use sallyport_testkit::wire::Stream;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::{JoinSet, spawn_local};

use crate::scenario::connect::{Address, head};

const MESSAGE: &[u8] = b"{\"n\":1}";

/// A tunnel that is open.
pub(super) type Tunnel = Box<dyn Stream>;

/// Options of `serve echo`.
#[derive(Debug, Args)]
pub struct Echo {
    /// The port on loopback.
    #[arg(long)]
    port: u16,
}

impl Echo {
    /// The origin. It sends back the bytes of frames as they are: what it is there for is to hold the tunnel open.
    ///
    /// # Errors
    /// The port is taken.
    pub fn run(&self) -> Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            let listener = TcpListener::bind(("127.0.0.1", self.port)).await?;
            loop {
                let (stream, _) = listener.accept().await?;
                tokio::spawn(echo_one(stream));
            }
        })
    }
}

async fn echo_one(mut stream: TcpStream) -> io::Result<()> {
    let (mut bytes, _) = head(&mut stream).await?;
    stream.write_all(&switching(KEY, "")).await?;
    loop {
        bytes.clear();
        if stream.read_buf(&mut bytes).await? == 0 {
            return Ok(());
        }
        stream.write_all(&bytes).await?;
    }
}

/// As many as could be opened of `count`.
pub(super) async fn open(address: &Address, count: usize, at_a_time: usize) -> Result<Vec<Tunnel>> {
    let opening = Rc::new(Semaphore::new(at_a_time));
    let mut tasks = Vec::new();
    for _ in 0..count {
        let (address, opening) = (address.clone(), opening.clone());
        tasks.push(spawn_local(async move {
            let _permit = opening.acquire().await.map_err(io::Error::other)?;
            address.websocket("/echo", None).await
        }));
    }
    let mut tunnels = Vec::new();
    for task in tasks {
        match task.await? {
            Ok((stream, _)) => tunnels.push(stream),
            Err(error) => eprintln!("no tunnel: {error}"),
        }
    }
    Ok(tunnels)
}

/// Sends a message through each and waits until it is back; how many did it. Others are dropped.
pub(super) async fn all_echo(tunnels: &mut Vec<Tunnel>, at_a_time: usize) -> Result<usize> {
    let opening = Rc::new(Semaphore::new(at_a_time));
    let mut tasks = JoinSet::new();
    for tunnel in tunnels.drain(..) {
        let opening = opening.clone();
        tasks.spawn_local(async move {
            let _permit = opening.acquire().await.map_err(io::Error::other)?;
            echoed(tunnel).await
        });
    }
    while let Some(tunnel) = tasks.join_next().await {
        match tunnel? {
            Ok(tunnel) => tunnels.push(tunnel),
            Err(error) => eprintln!("a tunnel was lost: {error}"),
        }
    }
    Ok(tunnels.len())
}

async fn echoed(mut tunnel: Tunnel) -> io::Result<Tunnel> {
    let frame = client_frame(MESSAGE);
    tunnel.write_all(&frame).await?;
    tunnel.flush().await?;
    let mut back = vec![0; frame.len()];
    tunnel.read_exact(&mut back).await?;
    if back == frame { Ok(tunnel) } else { Err(io::Error::other("other bytes")) }
}
