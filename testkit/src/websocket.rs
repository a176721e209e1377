//! WebSockets of a story: a client, and an origin that echoes or misbehaves. Frames are those of `fastwebsockets`, which
//! knows nothing of the edge; handshakes are written byte by byte, so that they can be wrong.

use std::future::Future;
use std::net::SocketAddr;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use fastwebsockets::{Frame, OpCode, Payload, Role, WebSocket};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio_rustls::TlsAcceptor;

use crate::client::{connect, secure};
use crate::wait::within;
use crate::wire::{Head, Stream};

/// The key of every handshake: that of RFC 6455, section 1.3, so that an origin knows the answer before it is asked.
pub const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const HEAD_BYTES_MAX: usize = 64 * 1024;

/// A handshake, right until it is changed.
#[derive(Debug, Clone)]
pub struct Upgrade {
    start: String,
    fields: Vec<(String, String)>,
    behind: Vec<u8>,
}

impl Upgrade {
    /// To this path.
    pub fn to(path: &str) -> Self {
        let fields = [
            ("Host", "localhost"),
            ("Upgrade", "websocket"),
            ("Connection", "Upgrade"),
            ("Sec-WebSocket-Version", "13"),
            ("Sec-WebSocket-Key", KEY),
        ];
        Upgrade {
            start: format!("GET {path} HTTP/1.1"),
            fields: fields.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
            behind: Vec::new(),
        }
    }

    /// With another request line.
    pub fn start(mut self, line: &str) -> Self {
        self.start = line.to_owned();
        self
    }

    /// With this field, in place of one of the same name.
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self = self.without(name);
        self.fields.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Without this field.
    pub fn without(mut self, name: &str) -> Self {
        self.fields.retain(|(known, _)| !known.eq_ignore_ascii_case(name));
        self
    }

    /// With these bytes right behind the head, in the same write.
    pub fn behind(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.behind = bytes.into();
        self
    }

    /// As it goes over the wire.
    pub fn bytes(&self) -> Vec<u8> {
        let fields: String = self.fields.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        [format!("{}\r\n{fields}\r\n", self.start).as_bytes(), &self.behind].concat()
    }
}

/// A text frame as a client sends it.
pub fn client_frame(text: &[u8]) -> Vec<u8> {
    let mut frame = Frame::new(true, OpCode::Text, Some([1, 2, 3, 4]), Payload::Owned(text.to_vec()));
    frame.mask();
    frame.write(&mut Vec::new()).to_vec()
}

/// A text frame as a server sends it.
pub fn server_frame(text: &[u8]) -> Vec<u8> {
    Frame::text(Payload::Owned(text.to_vec())).write(&mut Vec::new()).to_vec()
}

/// A client behind its handshake.
pub struct WebSocketClient {
    socket: WebSocket<Box<dyn Stream>>,
    /// The head of the 101.
    pub head: Head,
}

impl WebSocketClient {
    /// Opens a WebSocket.
    ///
    /// # Panics
    /// When the answer is not a 101 that confirms it.
    pub async fn open(address: SocketAddr, upgrade: &Upgrade) -> Self {
        Self::over(Box::new(connect(address).await), upgrade).await
    }

    /// The same over TLS.
    ///
    /// # Panics
    /// As [`WebSocketClient::open`], and when the TLS handshake fails.
    pub async fn open_tls(
        address: SocketAddr,
        name: &str,
        config: Arc<rustls::ClientConfig>,
        upgrade: &Upgrade,
    ) -> Self {
        let stream = secure(address, name, config).await.expect("a TLS handshake");
        Self::over(Box::new(stream), upgrade).await
    }

    /// The same over a connection of the story's own making.
    pub(crate) async fn over(mut stream: Box<dyn Stream>, upgrade: &Upgrade) -> Self {
        let head = within("a handshake", async {
            stream.write_all(&upgrade.bytes()).await.expect("sending a handshake");
            stream.flush().await.expect("sending a handshake");
            read_head(&mut stream).await.expect("an answer to a handshake")
        })
        .await;
        assert!(head.start.starts_with("HTTP/1.1 101 "), "no 101: {}", String::from_utf8_lossy(&head.raw));
        assert_eq!(head.values("sec-websocket-accept"), [accept(KEY)]);
        assert!(head.value("upgrade").is_some_and(|to| to.eq_ignore_ascii_case("websocket")), "{head:?}");
        let mut socket = WebSocket::after_handshake(stream, Role::Client);
        socket.set_auto_pong(true);
        socket.set_auto_close(true);
        WebSocketClient { socket, head }
    }

    /// Sends a text message.
    pub async fn send(&mut self, text: &str) {
        self.write(Frame::text(Payload::Owned(text.as_bytes().to_vec()))).await;
    }

    /// Sends a ping.
    pub async fn ping(&mut self) {
        self.write(Frame::new(true, OpCode::Ping, None, Payload::Owned(b"ping".to_vec()))).await;
    }

    async fn write(&mut self, frame: Frame<'_>) {
        within("sending a frame", async {
            self.socket.write_frame(frame).await.expect("sending a frame");
            self.socket.flush().await.expect("sending a frame");
        })
        .await;
    }

    /// The next frame's opcode and payload; `None` when the connection ends without a Close frame.
    pub async fn next(&mut self) -> Option<(OpCode, Vec<u8>)> {
        let frame = within("a frame", self.socket.read_frame()).await.ok()?;
        Some((frame.opcode, frame.payload.to_vec()))
    }

    /// The next message's text.
    ///
    /// # Panics
    /// When something else comes.
    pub async fn text(&mut self) -> String {
        match self.next().await {
            Some((OpCode::Text, payload)) => String::from_utf8(payload).expect("UTF-8"),
            other => panic!("no text: {other:?}"),
        }
    }

    /// Sends a text and waits for its echo.
    pub async fn echoed(&mut self, text: &str) {
        self.send(text).await;
        assert_eq!(self.text().await, text);
    }

    /// Waits for the end: the code of the Close frame, or `None` when the connection ended without one.
    pub async fn closed(&mut self) -> Option<u16> {
        loop {
            match self.next().await {
                Some((OpCode::Close, payload)) => {
                    return payload.first_chunk().map(|code| u16::from_be_bytes(*code));
                }
                Some(_) => {}
                None => return None,
            }
        }
    }

    /// Closes with this code and waits for the answer.
    pub async fn close(&mut self, code: u16) -> Option<u16> {
        self.write(Frame::close(code, b"")).await;
        self.closed().await
    }
}

/// What an origin does with a connection, its handshake read.
type Behaviour = dyn Fn(Box<dyn Stream>, Head) -> Pin<Box<dyn Future<Output = ()> + Send>> + Send + Sync;

/// An origin of WebSockets. It stops when it is dropped.
pub struct WebSocketOrigin {
    address: SocketAddr,
    heads: watch::Receiver<Vec<Head>>,
    task: AbortHandle,
}

impl WebSocketOrigin {
    /// Echoes every message, and chooses the first subprotocol that is offered.
    pub async fn echo() -> Self {
        Self::start(None, Vec::new(), Arc::new(|stream, head| Box::pin(echo(stream, head)))).await
    }

    /// The same over TLS.
    pub async fn echo_tls(config: Arc<rustls::ServerConfig>) -> Self {
        let echo: Arc<Behaviour> = Arc::new(|stream, head| Box::pin(echo(stream, head)));
        Self::start(Some(config.into()), Vec::new(), echo).await
    }

    /// Echoes, and writes the 101 as soon as it has accepted a connection.
    pub async fn hasty() -> Self {
        Self::start(None, switching(KEY, ""), Arc::new(|stream, _| Box::pin(echo_frames(stream)))).await
    }

    /// Does this once a handshake has been read.
    pub async fn that<F, T>(behaviour: F) -> Self
    where
        F: Fn(Box<dyn Stream>, Head) -> T + Send + Sync + 'static,
        T: Future<Output = ()> + Send + 'static,
    {
        Self::start(None, Vec::new(), Arc::new(move |stream, head| Box::pin(behaviour(stream, head)))).await
    }

    /// Answers these bytes to a handshake, and closes.
    pub async fn answering(answer: impl Into<Vec<u8>>) -> Self {
        let answer = Arc::new(answer.into());
        Self::that(move |mut stream, _| {
            let answer = Arc::clone(&answer);
            async move {
                let _ = stream.write_all(&answer).await;
                let _ = stream.shutdown().await;
                // Until the other side has read it all.
                let _ = stream.read_to_end(&mut Vec::new()).await;
            }
        })
        .await
    }

    /// Does this on a Unix socket, which has no address.
    pub fn on_socket<F, T>(path: &Path, behaviour: F) -> Self
    where
        F: Fn(Box<dyn Stream>, Head) -> T + Send + Sync + 'static,
        T: Future<Output = ()> + Send + 'static,
    {
        let listener = UnixListener::bind(path).expect("a Unix socket in a folder of the story");
        let (log, heads) = watch::channel(Vec::new());
        let (log, behaviour) = (Arc::new(log), Arc::new(behaviour));
        let serve = async move {
            loop {
                let Ok((stream, _)) = listener.accept().await else { continue };
                let (log, behaviour) = (Arc::clone(&log), Arc::clone(&behaviour));
                tokio::spawn(async move {
                    let mut stream: Box<dyn Stream> = Box::new(stream);
                    if let Some(head) = read_head(&mut stream).await {
                        log.send_modify(|heads| heads.push(head.clone()));
                        behaviour(stream, head).await;
                    }
                });
            }
        };
        let address = SocketAddr::from(([127, 0, 0, 1], 0));
        WebSocketOrigin { address, heads, task: tokio::spawn(serve).abort_handle() }
    }

    async fn start(tls: Option<TlsAcceptor>, at_once: Vec<u8>, behaviour: Arc<Behaviour>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port on loopback");
        let address = listener.local_addr().expect("a bound listener has an address");
        let (log, heads) = watch::channel(Vec::new());
        let log = Arc::new(log);
        let serve = async move {
            loop {
                let Ok((tcp, _)) = listener.accept().await else { continue };
                let _ = tcp.set_nodelay(true);
                let (log, behaviour) = (Arc::clone(&log), Arc::clone(&behaviour));
                let (tls, at_once) = (tls.clone(), at_once.clone());
                tokio::spawn(async move {
                    let mut stream: Box<dyn Stream> = match tls {
                        None => Box::new(tcp),
                        Some(tls) => match tls.accept(tcp).await {
                            Ok(stream) => Box::new(stream),
                            Err(_) => return,
                        },
                    };
                    let _ = stream.write_all(&at_once).await;
                    let _ = stream.flush().await;
                    if let Some(head) = read_head(&mut stream).await {
                        log.send_modify(|heads| heads.push(head.clone()));
                        behaviour(stream, head).await;
                    }
                });
            }
        };
        WebSocketOrigin { address, heads, task: tokio::spawn(serve).abort_handle() }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Every handshake so far.
    pub fn heads(&self) -> Vec<Head> {
        self.heads.borrow().clone()
    }
}

impl Drop for WebSocketOrigin {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The head of a 101 that answers this key, with further fields, each with its line end.
pub fn switching(key: &str, fields: &str) -> Vec<u8> {
    format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {}\r\n{fields}\r\n",
        accept(key)
    )
    .into_bytes()
}

/// Echoes the frames of a connection behind its handshake, until it is closed.
pub async fn echo_frames(stream: Box<dyn Stream>) {
    let mut socket = WebSocket::after_handshake(stream, Role::Server);
    socket.set_auto_close(true);
    socket.set_auto_pong(true);
    while let Ok(frame) = socket.read_frame().await {
        let echo = match frame.opcode {
            OpCode::Text => Frame::text(Payload::Owned(frame.payload.to_vec())),
            OpCode::Binary => Frame::binary(Payload::Owned(frame.payload.to_vec())),
            OpCode::Close => break,
            _ => continue,
        };
        if socket.write_frame(echo).await.is_err() || socket.flush().await.is_err() {
            break;
        }
    }
    let mut stream = socket.into_inner();
    let _ = stream.flush().await;
    let _ = stream.shutdown().await;
}

/// Answers 101 and echoes.
pub async fn echo(mut stream: Box<dyn Stream>, head: Head) {
    let offered = head.value("sec-websocket-protocol").and_then(|list| list.split(',').next());
    let chosen =
        offered.map(|name| format!("Sec-WebSocket-Protocol: {}\r\n", name.trim())).unwrap_or_default();
    let key = head.value("sec-websocket-key").unwrap_or_default();
    if stream.write_all(&switching(key, &chosen)).await.is_ok() && stream.flush().await.is_ok() {
        echo_frames(stream).await;
    }
}

/// Byte by byte, so that nothing behind it is taken.
async fn read_head(stream: &mut Box<dyn Stream>) -> Option<Head> {
    let mut raw = Vec::new();
    while !raw.ends_with(b"\r\n\r\n") && raw.len() < HEAD_BYTES_MAX {
        raw.push(stream.read_u8().await.ok()?);
    }
    Head::parse(&raw).ok()
}

fn accept(key: &str) -> String {
    STANDARD.encode(digest(
        &SHA1_FOR_LEGACY_USE_ONLY,
        format!("{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11").as_bytes(),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn client_and_origin_understand_each_other() {
        let origin = WebSocketOrigin::echo().await;
        let upgrade = Upgrade::to("/x").header("Sec-WebSocket-Protocol", "one, two");
        let mut client = WebSocketClient::open(origin.address(), &upgrade).await;
        assert_eq!(client.head.value("sec-websocket-protocol"), Some("one"));
        client.echoed("hello").await;
        client.ping().await;
        assert_eq!(client.next().await.map(|(opcode, _)| opcode), Some(OpCode::Pong));
        assert_eq!(client.close(1000).await, Some(1000));
        assert_eq!(origin.heads()[0].start, "GET /x HTTP/1.1");
    }

    #[tokio::test]
    async fn a_hasty_origin_answers_before_it_is_asked() {
        let origin = WebSocketOrigin::hasty().await;
        let upgrade = Upgrade::to("/").behind(client_frame(b"early"));
        let mut client = WebSocketClient::open(origin.address(), &upgrade).await;
        assert_eq!(client.text().await, "early");
    }
}
