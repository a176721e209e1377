//! A connection behind its handshake.

use std::io;
use std::net::SocketAddr;
use std::path::Path;

use rustls::pki_types::ServerName;
use sallyport_testkit::certificates::trusting;
use sallyport_testkit::websocket::Upgrade;
use sallyport_testkit::wire::Stream;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
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
        let tls = ca.map(|file| TlsConnector::from(trusting(Path::new(file))));
        Address { to: to.parse().expect("--to HOST:PORT"), tls }
    }

    /// A WebSocket to `path`; `receive_bytes` bounds what the system keeps for it. What came behind the head, too.
    pub(crate) async fn websocket(
        &self,
        path: &str,
        receive_bytes: Option<u32>,
    ) -> io::Result<(Box<dyn Stream>, Vec<u8>)> {
        let socket = TcpSocket::new_v4()?;
        if let Some(bytes) = receive_bytes {
            socket.set_recv_buffer_size(bytes)?;
        }
        let stream = socket.connect(self.to).await?;
        stream.set_nodelay(true)?;
        let mut stream: Box<dyn Stream> = match &self.tls {
            None => Box::new(stream),
            Some(tls) => {
                let name = ServerName::try_from("localhost").expect("a name");
                Box::new(tls.connect(name, stream).await?)
            }
        };
        stream.write_all(&Upgrade::to(path).bytes()).await?;
        stream.flush().await?;
        let (head, behind) = head(&mut stream).await?;
        if !head.starts_with(b"HTTP/1.1 101 ") {
            let head = String::from_utf8_lossy(&head);
            return Err(io::Error::other(head.lines().next().unwrap_or_default().to_owned()));
        }
        Ok((stream, behind))
    }
}

/// The head of a message, and what came behind it.
pub(crate) async fn head(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<(Vec<u8>, Vec<u8>)> {
    let mut head = Vec::with_capacity(1024);
    loop {
        if let Some(end) = head.windows(4).position(|window| window == b"\r\n\r\n") {
            let behind = head.split_off(end + 4);
            return Ok((head, behind));
        }
        if stream.read_buf(&mut head).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
}
