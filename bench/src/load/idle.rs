//! `load idle`: connections that have had one answer and are held open.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use clap::{Args, ValueEnum};
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;

use super::{ask, tls_client};

/// Connections that are being opened at a time, so that no queue of the kernel runs over.
const OPENING_MAX: usize = 64;
/// Streams ask and go; the connection's task gets this long to send its last frames.
const SETTLE: Duration = Duration::from_millis(100);

/// Open connections, ask each for one answer, and hold them until this is killed.
#[derive(Debug, Clone, Args)]
pub struct Idle {
    /// The port on loopback.
    #[arg(long)]
    port: u16,
    /// How it is spoken to.
    #[arg(long)]
    protocol: Protocol,
    /// The server's certificate, PEM; not for `plain`.
    #[arg(long)]
    certificate: Option<PathBuf>,
    /// How many.
    #[arg(long)]
    connections: usize,
    /// What is asked for.
    #[arg(long)]
    path: String,
}

/// What a connection speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Protocol {
    /// HTTP/1.1 without TLS.
    Plain,
    /// HTTP/1.1 over TLS 1.3.
    Tls,
    /// HTTP/2 over TLS 1.3.
    H2,
}

impl Idle {
    /// Opens the connections, prints `open`, and holds them. Ends only with an error, or killed.
    ///
    /// # Errors
    /// An answer was not the expected one, or the server closed a connection.
    pub fn run(&self) -> Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        match runtime.block_on(self.hold())? {}
    }

    async fn hold(&self) -> Result<Infallible> {
        let protocol = if self.protocol == Protocol::H2 { "h2" } else { "http/1.1" };
        let offer = match (&self.certificate, self.protocol) {
            (_, Protocol::Plain) => None,
            (Some(certificate), _) => Some(Arc::new(tls_client::offer(certificate, protocol)?)),
            (None, _) => bail!("`--certificate` is missing: TLS needs to know whom to trust"),
        };
        let (opening, open) = (Arc::new(Semaphore::new(OPENING_MAX)), Arc::new(AtomicUsize::new(0)));
        let mut held = JoinSet::new();
        for _ in 0..self.connections {
            let (opening, open, offer) = (opening.clone(), open.clone(), offer.clone());
            let (address, path) = (SocketAddr::from(([127, 0, 0, 1], self.port)), self.path.clone());
            let all = self.connections;
            held.spawn(async move {
                let place = opening.acquire().await;
                let held = ask(address, offer, protocol, &path).await?;
                drop(place);
                if open.fetch_add(1, Relaxed) + 1 == all {
                    tokio::time::sleep(SETTLE).await;
                    println!("open");
                }
                held.until_closed().await
            });
        }
        match held.join_next().await {
            Some(ended) => ended?,
            None => std::future::pending().await,
        }
    }
}

/// A connection after its answer.
enum Held {
    H1(Box<dyn Stream>),
    H2(tokio::task::JoinHandle<Result<(), h2::Error>>, h2::client::SendRequest<bytes::Bytes>),
}

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

impl Held {
    async fn until_closed(self) -> Result<Infallible> {
        match self {
            Held::H1(mut stream) => {
                let count = stream.read(&mut [0; 1]).await?;
                bail!("an idle connection was closed, or got {count} byte that nobody asked for")
            }
            Held::H2(connection, _keeps_it_open) => {
                let ended = connection.await?;
                bail!("an idle connection was closed: {ended:?}")
            }
        }
    }
}

async fn ask(
    address: SocketAddr,
    offer: Option<Arc<ClientConfig>>,
    protocol: &str,
    path: &str,
) -> Result<Held> {
    let mut tcp = TcpStream::connect(address).await.context("cannot connect")?;
    tcp.set_nodelay(true)?;
    let Some(offer) = offer else {
        ask::get(&mut tcp, path).await?;
        return Ok(Held::H1(Box::new(tcp)));
    };
    let name = ServerName::try_from(tls_client::NAME)?;
    let mut stream = TlsConnector::from(offer).connect(name, tcp).await.context("the handshake failed")?;
    tls_client::agreed(stream.get_ref().1, protocol)?;
    if protocol != "h2" {
        ask::get(&mut stream, path).await?;
        return Ok(Held::H1(Box::new(stream)));
    }
    let (mut sender, connection) = h2::client::handshake(stream).await?;
    let connection = tokio::spawn(connection);
    let uri = format!("https://{}{path}", tls_client::NAME);
    let (response, _) = sender.send_request(http::Request::get(uri).body(())?, true)?;
    let response = response.await?;
    ensure!(response.status() == 200, "the answer is {}, not 200", response.status());
    let mut body = response.into_body();
    while let Some(chunk) = body.data().await {
        body.flow_control().release_capacity(chunk?.len())?;
    }
    Ok(Held::H2(connection, sender))
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpListener;
    use std::thread;

    use super::*;

    #[test]
    fn a_connection_that_the_server_closes_ends_it() {
        for (answer, error) in [
            ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", "an idle connection was closed"),
            ("HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n", "the answer is 503, not 200"),
        ] {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let port = listener.local_addr().unwrap().port();
            thread::spawn(move || {
                let (mut stream, _) = listener.accept().unwrap();
                let _ = stream.read(&mut [0; 1024]);
                let _ = stream.write_all(answer.as_bytes());
            });
            let idle = Idle {
                port,
                protocol: Protocol::Plain,
                certificate: None,
                connections: 1,
                path: "/".to_owned(),
            };
            let said = idle.run().unwrap_err().to_string();
            assert!(said.starts_with(error), "{said}");
        }
    }

    #[test]
    fn tls_needs_somebody_to_trust() {
        let path = "/".to_owned();
        let idle = Idle { port: 1, protocol: Protocol::H2, certificate: None, connections: 1, path };
        assert!(idle.run().unwrap_err().to_string().contains("`--certificate` is missing"));
    }
}
