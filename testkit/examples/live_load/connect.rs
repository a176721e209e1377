//! A connection behind its handshake.

use std::net::SocketAddr;
use std::sync::Arc;

use rustls::pki_types::{CertificateDer, ServerName, pem::PemObject};
use sallyport_testkit::websocket::Upgrade;
use sallyport_testkit::wire::Stream;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpSocket;
use tokio_rustls::TlsConnector;

/// Where to connect, and how.
#[derive(Clone)]
pub(crate) struct Address {
    to: SocketAddr,
    tls: Option<TlsConnector>,
}

impl Address {
    /// With `ca`, the file of a certificate, over TLS.
    pub(crate) fn new(to: &str, ca: Option<&str>) -> Self {
        let tls = ca.map(|file| {
            let mut roots = rustls::RootCertStore::empty();
            roots.add(CertificateDer::from_pem_file(file).expect("a certificate")).expect("a certificate");
            let provider = Arc::new(rustls::crypto::ring::default_provider());
            let config =
                rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
            TlsConnector::from(Arc::new(config.unwrap().with_root_certificates(roots).with_no_client_auth()))
        });
        Address { to: to.parse().expect("--to HOST:PORT"), tls }
    }

    /// A WebSocket to `path`; `receive_bytes` bounds what the system keeps for it. What came behind the head, too.
    pub(crate) async fn websocket(
        &self,
        path: &str,
        receive_bytes: Option<u32>,
    ) -> Result<(Box<dyn Stream>, Vec<u8>), String> {
        let socket = TcpSocket::new_v4().map_err(|error| error.to_string())?;
        if let Some(bytes) = receive_bytes {
            socket.set_recv_buffer_size(bytes).expect("a small buffer");
        }
        let stream = socket.connect(self.to).await.map_err(|error| error.to_string())?;
        stream.set_nodelay(true).map_err(|error| error.to_string())?;
        let mut stream: Box<dyn Stream> = match &self.tls {
            None => Box::new(stream),
            Some(tls) => {
                let name = ServerName::try_from("localhost").expect("a name");
                Box::new(tls.connect(name, stream).await.map_err(|error| error.to_string())?)
            }
        };
        stream.write_all(&Upgrade::to(path).bytes()).await.map_err(|error| error.to_string())?;
        stream.flush().await.map_err(|error| error.to_string())?;
        let mut head = Vec::with_capacity(1024);
        loop {
            if let Some(end) = head.windows(4).position(|window| window == b"\r\n\r\n") {
                if !head.starts_with(b"HTTP/1.1 101 ") {
                    return Err(String::from_utf8_lossy(&head[..end])
                        .lines()
                        .next()
                        .unwrap_or_default()
                        .to_owned());
                }
                return Ok((stream, head.split_off(end + 4)));
            }
            if stream.read_buf(&mut head).await.map_err(|error| error.to_string())? == 0 {
                return Err("closed in the handshake".to_owned());
            }
        }
    }
}
