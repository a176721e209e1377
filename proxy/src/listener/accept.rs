//! The accept loop: caps, TLS, and the choice between HTTP/1.1 and HTTP/2.

use std::io;
use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use pingora_core::apps::ServerApp;
use pingora_core::protocols::l4::socket::SocketAddr as PeerAddr;
use pingora_core::protocols::l4::stream::Stream as L4Stream;
use pingora_core::protocols::raw_connect::ProxyDigest;
use pingora_core::protocols::tls::TlsStream;
use pingora_core::protocols::{ALPN, GetProxyDigest, GetSocketDigest, IO, SocketDigest, Ssl};
use pingora_http::ResponseHeader;
use pingora_proxy::HttpProxy;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};

use super::caps::{Place, Refused};
use super::http2::Http2;
use super::socket::Opening;
use super::stream::ClientStream;
use super::tls::TlsListener;
use super::{Conn, ListenerPlan, http1};
use crate::carry::Carrier;
use crate::client_address::is_trusted;
use crate::phases::Phases;
use crate::state::State;
use crate::tunnel::Tunnel;

/// How long the loop rests when the process has no file descriptors left, so that it does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// What serves the connections of every listener.
#[derive(Clone)]
pub(crate) struct Service {
    /// Carries exchanges of HTTP/1.1; its connections to upstreams are shared by all listeners.
    pub(crate) carrier: Arc<Carrier>,
    /// Pingora's proxy with our phases, for HTTP/2.
    pub(crate) proxy: Arc<HttpProxy<Phases>>,
    /// The running plan, metrics, logs.
    pub(crate) state: Arc<State>,
}

/// A listener that accepts: its socket's address, its settings, and the way to stop it.
pub(crate) struct Bound {
    pub(crate) address: SocketAddr,
    /// Swapped on reload; connections keep what they were accepted with.
    plan: Arc<ArcSwap<ListenerPlan>>,
    /// How the socket was opened. That stays, whatever the plan says.
    opening: Opening,
    stop: watch::Sender<bool>,
}

/// How connections end: `stop` asks them to finish, `kill` does not ask.
#[derive(Clone)]
pub(crate) struct Drain {
    pub(crate) stop: watch::Receiver<bool>,
    pub(crate) kill: watch::Receiver<bool>,
    /// Dropped with the last connection, so that a drain knows when it is done.
    pub(crate) alive: mpsc::Sender<()>,
}

impl Bound {
    /// Binds the plan's address and begins to accept.
    pub(crate) fn start(plan: Arc<ListenerPlan>, service: Service, drain: Drain) -> io::Result<Bound> {
        let opening = plan.opening;
        let socket = opening.listen(plan.address)?;
        let address = socket.local_addr()?;
        plan.set_port(address.port());
        let plan = Arc::new(ArcSwap::new(plan));
        let (stop, stopped) = watch::channel(false);
        tokio::spawn(accept(socket, plan.clone(), service, drain, stopped));
        Ok(Bound { address, plan, opening, stop })
    }

    /// Takes over new settings for the connections to come.
    pub(crate) fn renew(&self, plan: Arc<ListenerPlan>) {
        plan.set_port(self.address.port());
        if plan.opening != self.opening {
            log::warn!("listener {}: `backlog` or `reuse_port` has changed; that takes a restart", plan.name);
        }
        self.plan.store(plan);
    }

    /// The address it was configured with.
    pub(crate) fn configured(&self) -> SocketAddr {
        self.plan.load().address
    }

    /// Stops accepting. Connections that are open go on.
    pub(crate) fn close(&self) {
        self.stop.send_replace(true);
    }
}

async fn accept(
    socket: TcpListener,
    plan: Arc<ArcSwap<ListenerPlan>>,
    service: Service,
    drain: Drain,
    mut closed: watch::Receiver<bool>,
) {
    let mut stop = drain.stop.clone();
    loop {
        let accepted = tokio::select! {
            accepted = socket.accept() => accepted,
            _ = closed.changed() => return,
            _ = stop.changed() => return,
        };
        match accepted {
            Ok((tcp, peer)) => {
                let listener = plan.load_full();
                match listener.caps.enter(peer.ip(), &listener.limits) {
                    Ok(place) => spawn(tcp, peer, listener, place, &service, &drain),
                    Err(cap) => refuse(tcp, cap, &listener, &service),
                }
            }
            Err(error) => {
                log::error!("listener {}: cannot accept: {error}", plan.load().name);
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

fn refuse(tcp: TcpStream, cap: Refused, listener: &ListenerPlan, service: &Service) {
    drop(tcp);
    service.state.metrics.connections_refused.with_label_values(&[&*listener.name, cap.as_str()]).inc();
}

fn spawn(
    tcp: TcpStream,
    peer: SocketAddr,
    listener: Arc<ListenerPlan>,
    place: Place,
    service: &Service,
    drain: &Drain,
) {
    let (service, drain) = (service.clone(), drain.clone());
    tokio::spawn(async move {
        let peer_trusted = is_trusted(peer.ip(), &listener.trusted);
        let conn = Arc::new(Conn::new(listener, peer, peer_trusted));
        let mut kill = drain.kill.clone();
        let tunnel = tokio::select! {
            biased;
            tunnel = serve(tcp, conn, &service, &drain) => tunnel,
            _ = kill.wait_for(|kill| *kill) => None,
        };
        let Some(tunnel) = tunnel else { return };
        // A task of its own: this one has room for all that a connection can be.
        tokio::spawn(async move {
            let _held = (place, drain.alive);
            tokio::select! {
                biased;
                () = tunnel => {}
                _ = kill.wait_for(|kill| *kill) => {}
            }
        });
    });
}

/// The answer is what the connection becomes, if it does not end.
async fn serve(tcp: TcpStream, conn: Arc<Conn>, service: &Service, drain: &Drain) -> Option<Tunnel> {
    let listener = conn.listener.clone();
    let h2c = listener.h2c && listener.tls.is_none() && speaks_h2(&tcp, *listener.limits.head_timeout).await;
    let stream = described(tcp, &conn)?;
    let Some(tls) = &listener.tls else {
        return speak(Box::new(ClientStream::new(stream)), h2c, &conn, service, drain).await;
    };
    // Boxed: the state of a handshake is large, and the task would keep room for it as long as the connection lives.
    match Box::pin(handshake(tls, stream, *listener.limits.handshake_timeout)).await {
        Some((stream, h2)) => speak(stream, h2, &conn, service, drain).await,
        None => {
            service.state.metrics.handshakes_failed.with_label_values(&[&*listener.name]).inc();
            None
        }
    }
}

/// The connection behind its TLS handshake, and whether HTTP/2 was agreed on.
async fn handshake(
    tls: &TlsListener,
    stream: L4Stream,
    patience: Duration,
) -> Option<(Box<ClientStream<TlsStream<L4Stream>>>, bool)> {
    match tokio::time::timeout(patience, tls.acceptor.tls_handshake(stream)).await {
        Ok(Ok(stream)) => {
            let h2 = stream.selected_alpn_proto() == Some(ALPN::H2);
            Some((Box::new(ClientStream::new(stream)), h2))
        }
        Ok(Err(error)) => {
            log::debug!("a TLS handshake failed: {error}");
            None
        }
        Err(_) => None,
    }
}

async fn speak<S: IO + 'static>(
    stream: Box<ClientStream<S>>,
    h2: bool,
    conn: &Arc<Conn>,
    service: &Service,
    drain: &Drain,
) -> Option<Tunnel> {
    if h2 {
        let app = Arc::new(Http2::new(service.proxy.clone(), &conn.listener.limits));
        ServerApp::process_new(&app, stream, &drain.stop).await;
        None
    } else {
        http1::serve(service, stream, conn, drain).await
    }
}

/// Pingora's stream over a socket, with digests that say who it is.
fn described(tcp: TcpStream, conn: &Arc<Conn>) -> Option<L4Stream> {
    let _ = tcp.set_nodelay(true); // Without it small answers wait for an acknowledgement; with an error they only wait.
    let digest = SocketDigest::from_raw_fd(tcp.as_raw_fd());
    let _ = digest.peer_addr.set(Some(PeerAddr::Inet(conn.peer)));
    let mut stream = L4Stream::from(tcp);
    stream.set_socket_digest(digest);
    let about = ResponseHeader::build(200, Some(0)).ok()?;
    stream.set_proxy_digest(ProxyDigest::new(Box::new(about), Some(Box::new(conn.clone()))));
    Some(stream)
}

/// Whether the client begins with the HTTP/2 preface (RFC 9113, section 3.4). The bytes stay in the socket.
async fn speaks_h2(tcp: &TcpStream, patience: Duration) -> bool {
    let mut seen = [0; PREFACE.len()];
    let look = async {
        loop {
            let count = tcp.peek(&mut seen).await.ok()?;
            if count == 0 || seen[..count] != PREFACE[..count] {
                return Some(false);
            }
            if count == PREFACE.len() {
                return Some(true);
            }
            // The beginning of a preface: rare enough to look again a little later rather than spin.
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    matches!(tokio::time::timeout(patience, look).await, Ok(Some(true)))
}
