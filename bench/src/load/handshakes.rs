//! `load handshakes`: connections over TLS, each with one small request, full or resumed.
//!
//! `openssl s_time` uses one session for all its connections, where a ticket of TLS 1.3 is for one (RFC 8446, appendix
//! C.4), and checks no answer; h2load cannot resume.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::Args;
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use serde::{Deserialize, Serialize};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;

use super::{ask, tls_client};

const PROTOCOL: &str = "http/1.1";

/// Make connections over TLS 1.3, each with one request.
#[derive(Debug, Clone, Args)]
pub struct Handshakes {
    /// The port on loopback.
    #[arg(long)]
    port: u16,
    /// The server's certificate, PEM.
    #[arg(long)]
    certificate: PathBuf,
    /// What is asked for.
    #[arg(long)]
    path: String,
    /// Clients, each with one connection at a time.
    #[arg(long, default_value_t = 16)]
    clients: usize,
    /// Whether each client resumes its session.
    #[arg(long)]
    resume: bool,
    /// For how long; without it each client connects once, and then comes back once.
    #[arg(long)]
    seconds: Option<f64>,
}

/// What came of it.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Made {
    /// Connections with a full handshake.
    pub full: u64,
    /// Connections that resumed a session.
    pub resumed: u64,
}

/// One client: its own tickets, one connection at a time.
struct Client {
    address: SocketAddr,
    tls: TlsConnector,
    path: String,
}

impl Handshakes {
    /// Makes the connections.
    ///
    /// # Errors
    /// An answer was not the expected one, or a handshake agreed on something else.
    pub fn run(&self) -> Result<Made> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(self.load())
    }

    async fn load(&self) -> Result<Made> {
        let offer = tls_client::offer(&self.certificate, PROTOCOL)?;
        let clients = (0..self.clients).map(|_| self.client(&offer)).collect();
        match self.seconds {
            Some(seconds) => self.repeat(clients, Duration::try_from_secs_f64(seconds)?).await,
            None => return_once(clients).await,
        }
    }

    fn client(&self, offer: &ClientConfig) -> Client {
        let mut config = Arc::unwrap_or_clone(tls_client::alone(offer));
        if !self.resume {
            config.resumption = rustls::client::Resumption::disabled();
        }
        let address = SocketAddr::from(([127, 0, 0, 1], self.port));
        Client { address, tls: TlsConnector::from(Arc::new(config)), path: self.path.clone() }
    }

    async fn repeat(&self, clients: Vec<Client>, time: Duration) -> Result<Made> {
        let end = Instant::now() + time;
        let mut running = JoinSet::new();
        for client in clients {
            running.spawn(async move {
                let mut made = Made::default();
                while Instant::now() < end {
                    made.count(client.connect().await?);
                }
                anyhow::Ok(made)
            });
        }
        let mut all = Made::default();
        while let Some(made) = running.join_next().await {
            all.add(&made??);
        }
        // Each client's first connection has nothing to resume.
        let expected = if self.resume { all.full <= self.clients as u64 } else { all.resumed == 0 };
        ensure!(expected, "{} handshakes were full, {} resumed", all.full, all.resumed);
        Ok(all)
    }
}

/// Every client connects for the first time; when all have, every one comes back. Only the second time counts.
async fn return_once(clients: Vec<Client>) -> Result<Made> {
    for client in &clients {
        ensure!(!client.connect().await?, "a first handshake was resumed");
    }
    let mut made = Made::default();
    for client in &clients {
        made.count(client.connect().await?);
    }
    Ok(made)
}

impl Client {
    /// One connection with one request. The answer is whether the session was resumed.
    async fn connect(&self) -> Result<bool> {
        let tcp = TcpStream::connect(self.address).await.context("cannot connect")?;
        tcp.set_nodelay(true)?;
        let name = ServerName::try_from(tls_client::NAME)?;
        let mut stream = self.tls.connect(name, tcp).await.context("the handshake failed")?;
        let resumed = tls_client::agreed(stream.get_ref().1, PROTOCOL)?;
        // Tickets come before the answer at the latest.
        ask::get(&mut stream, &self.path).await?;
        // The server may have gone first.
        let _ = stream.shutdown().await;
        Ok(resumed)
    }
}

impl Made {
    fn count(&mut self, resumed: bool) {
        if resumed {
            self.resumed += 1;
        } else {
            self.full += 1;
        }
    }

    fn add(&mut self, other: &Made) {
        self.full += other.full;
        self.resumed += other.resumed;
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpListener;

    use rcgen::{CertifiedKey, generate_simple_self_signed};
    use rustls::server::{NoServerSessionStorage, ServerConfig};
    use rustls::{ServerConnection, StreamOwned};
    use rustls_pki_types::PrivateKeyDer;

    use super::*;

    /// A server that remembers sessions, or not; and clients for it.
    fn clients(remembers: bool, clients: usize) -> (Handshakes, tempfile::TempDir) {
        let CertifiedKey { cert, signing_key } =
            generate_simple_self_signed([tls_client::NAME.to_owned()]).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let certificate = folder.path().join("site.pem");
        std::fs::write(&certificate, cert.pem()).unwrap();
        let key = PrivateKeyDer::try_from(signing_key.serialize_der()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let versions = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let builder = versions.unwrap().with_no_client_auth();
        let mut config = builder.with_single_cert(vec![cert.der().clone()], key).unwrap();
        config.alpn_protocols = vec![PROTOCOL.as_bytes().to_vec()];
        if !remembers {
            config.session_storage = Arc::new(NoServerSessionStorage {});
        }
        let (config, listener) = (Arc::new(config), TcpListener::bind("127.0.0.1:0").unwrap());
        let port = listener.local_addr().unwrap().port();
        std::thread::spawn(move || {
            for tcp in listener.incoming() {
                let mut stream =
                    StreamOwned::new(ServerConnection::new(config.clone()).unwrap(), tcp.unwrap());
                std::thread::spawn(move || {
                    let _ = stream.read(&mut [0; 1024]);
                    let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
                    let _ = stream.read(&mut [0; 1024]);
                });
            }
        });
        let path = "/".to_owned();
        (Handshakes { port, certificate, path, clients, resume: true, seconds: None }, folder)
    }

    #[test]
    fn who_comes_back_is_known_where_sessions_are_remembered() {
        let (handshakes, _folder) = clients(true, 3);
        let made = handshakes.run().unwrap();
        assert_eq!((made.full, made.resumed), (0, 3));
        let (handshakes, _folder) = clients(false, 3);
        let made = handshakes.run().unwrap();
        assert_eq!((made.full, made.resumed), (3, 0));
    }

    #[test]
    fn what_was_to_be_full_or_resumed_is_so() {
        let (handshakes, _folder) = clients(true, 2);
        let seconds = Some(1.0);
        let made = Handshakes { seconds, ..handshakes.clone() }.run().unwrap();
        assert!(made.full <= 2 && made.resumed > 0, "{made:?}");
        let made = Handshakes { seconds, resume: false, ..handshakes }.run().unwrap();
        assert!(made.full > 0 && made.resumed == 0, "{made:?}");
        let (handshakes, _folder) = clients(false, 2);
        let error = Handshakes { seconds, ..handshakes }.run().unwrap_err().to_string();
        assert!(error.ends_with("0 resumed"), "{error}");
    }
}
