//! An HTTP/1.1 client that sends exactly the bytes it is told to, and reads responses strictly.

use std::net::SocketAddr;
use std::sync::Arc;

use rustls::HandshakeKind;
use rustls_pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::body::Reading;
use crate::response::Response;
use crate::wait::within;
use crate::wire::{Framing, Wire, WireError};

/// One connection.
pub struct Client {
    wire: Wire,
    protocol: Option<Vec<u8>>,
    resumed: bool,
}

impl Client {
    /// Connects over TCP.
    pub async fn plain(address: SocketAddr) -> Self {
        Client { wire: Wire::new(connect(address).await), protocol: None, resumed: false }
    }

    /// Connects over TLS and checks the server's certificate for `name`.
    ///
    /// # Errors
    /// When the handshake fails.
    pub async fn tls(
        address: SocketAddr,
        name: &str,
        config: Arc<rustls::ClientConfig>,
    ) -> std::io::Result<Self> {
        let stream = secure(address, name, config).await?;
        let session = stream.get_ref().1;
        let protocol = session.alpn_protocol().map(<[u8]>::to_vec);
        let resumed = session.handshake_kind() == Some(HandshakeKind::Resumed);
        Ok(Client { wire: Wire::new(stream), protocol, resumed })
    }

    /// Whether TLS went on with a session of an earlier connection, which the configuration of the client remembers.
    pub fn resumed(&self) -> bool {
        self.resumed
    }

    /// The protocol that ALPN chose, if any.
    pub fn protocol(&self) -> Option<&[u8]> {
        self.protocol.as_deref()
    }

    /// Sends these bytes. A connection that the other side closed is noticed when reading.
    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        let _ = within("sending", self.wire.write(bytes.as_ref())).await;
    }

    /// Sends each byte in a packet of its own.
    pub async fn send_slowly(&mut self, bytes: impl AsRef<[u8]>) {
        for byte in bytes.as_ref() {
            self.send([*byte]).await;
            tokio::task::yield_now().await;
        }
    }

    /// Says that nothing more will be sent.
    pub async fn finish_sending(&mut self) {
        let _ = within("half-closing", self.wire.finish_writing()).await;
    }

    /// Reads a response to a GET.
    ///
    /// # Panics
    /// When none comes, or one that breaks RFC 9112.
    pub async fn response(&mut self) -> Response {
        self.response_to("GET").await
    }

    /// Reads a response to a request of this method.
    ///
    /// # Panics
    /// As [`Client::response`].
    pub async fn response_to(&mut self, method: &str) -> Response {
        match self.try_response_to(method).await {
            Ok(Some(response)) => response,
            Ok(None) => panic!("the connection was closed in place of a response"),
            Err(error) => panic!("no response: {error}"),
        }
    }

    /// Reads a response; `None` when the connection ends in its place.
    ///
    /// # Errors
    /// When the connection breaks or ends inside it, or when it breaks RFC 9112.
    pub async fn try_response_to(&mut self, method: &str) -> Result<Option<Response>, WireError> {
        within("a response", async {
            let mut interim = Vec::new();
            loop {
                let Some(head) = self.wire.head().await? else { return Ok(None) };
                let status = status(&head.start)?;
                if status < 200 && status != 101 {
                    interim.push(status);
                    continue;
                }
                let framing = head.response_framing(method, status)?;
                let body = self.wire.body(framing, &mut Reading::default()).await?;
                return Ok(Some(Response { status, interim, head, body }));
            }
        })
        .await
    }

    /// Reads a response's head only; its body is read with [`Client::some_bytes`].
    pub async fn head(&mut self) -> crate::wire::Head {
        within("a response head", self.wire.head()).await.expect("a response head").expect("a response head")
    }

    /// Waits for bytes and answers with what has come, as they are on the wire. Empty at the end of the connection.
    pub async fn some_bytes(&mut self) -> Vec<u8> {
        let unread = self.wire.unread().len();
        if unread == 0 {
            let _ = within("bytes from the edge", self.wire.fill()).await;
        }
        let bytes = self.wire.unread().to_vec();
        let mut taken = Reading::default();
        let _ = self.wire.body(Framing::Length(bytes.len() as u64), &mut taken).await;
        bytes
    }

    /// Waits for the other side to close and answers with everything that came before.
    pub async fn closed(&mut self) -> Vec<u8> {
        let mut reading = Reading::default();
        // A reset is a way of closing, too.
        let _ = within("the end of the connection", self.wire.body(Framing::UntilClose, &mut reading)).await;
        reading.so_far().kept
    }

    /// Bytes that came behind the last response; there must be none unless requests are pipelined.
    pub fn unread(&self) -> &[u8] {
        self.wire.unread()
    }

    /// A GET on this connection.
    pub fn get(&mut self, target: &str) -> Draft<'_> {
        self.request("GET", target)
    }

    /// A request on this connection; `Host: localhost` unless it is given another.
    pub fn request(&mut self, method: &str, target: &str) -> Draft<'_> {
        let start = format!("{method} {target} HTTP/1.1\r\n");
        Draft {
            client: self,
            method: method.to_owned(),
            start,
            host: "localhost".to_owned(),
            fields: Vec::new(),
            body: Vec::new(),
        }
    }
}

/// A request that is being written.
pub struct Draft<'a> {
    client: &'a mut Client,
    method: String,
    start: String,
    host: String,
    fields: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Draft<'_> {
    /// Asks for this host.
    pub fn host(mut self, host: &str) -> Self {
        self.host = host.to_owned();
        self
    }

    /// Adds a header.
    pub fn header(mut self, name: &str, value: impl AsRef<str>) -> Self {
        self.fields.push((name.to_owned(), value.as_ref().to_owned()));
        self
    }

    /// Adds `Authorization: Bearer`.
    pub fn bearer(self, token: &str) -> Self {
        self.header("Authorization", format!("Bearer {token}"))
    }

    /// Adds a body with its length.
    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        let length = self.body.len().to_string();
        self.header("Content-Length", length)
    }

    /// Sends it and reads the response.
    ///
    /// # Panics
    /// As [`Client::response`].
    pub async fn send(self) -> Response {
        let fields: String = self.fields.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        let mut bytes = format!("{}Host: {}\r\n{fields}\r\n", self.start, self.host).into_bytes();
        bytes.extend_from_slice(&self.body);
        self.client.send(&bytes).await;
        self.client.response_to(&self.method).await
    }
}

fn status(start: &str) -> Result<u16, WireError> {
    let mut parts = start.splitn(3, ' ');
    let version = parts.next().unwrap_or_default();
    match parts.next().and_then(|code| code.parse().ok()) {
        Some(status) if version == "HTTP/1.1" && (100..600).contains(&status) => Ok(status),
        _ => Err(WireError::Broken(format!("status line {start:?}"))),
    }
}

pub(crate) async fn connect(address: SocketAddr) -> TcpStream {
    let stream = within("connecting", TcpStream::connect(address)).await;
    let stream = stream.unwrap_or_else(|error| panic!("connecting to {address}: {error}"));
    stream.set_nodelay(true).expect("a TCP socket has TCP_NODELAY");
    stream
}

pub(crate) async fn secure(
    address: SocketAddr,
    name: &str,
    config: Arc<rustls::ClientConfig>,
) -> std::io::Result<tokio_rustls::client::TlsStream<TcpStream>> {
    let name = ServerName::try_from(name.to_owned()).expect("a server name of the story is valid");
    let stream = connect(address).await;
    within("a TLS handshake", TlsConnector::from(config).connect(name, stream)).await
}
