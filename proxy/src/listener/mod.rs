//! Where connections come in: settings of a listener, its counters, and what is known of one connection.
//!
//! Accepting is in `accept`, HTTP/1.1 framing in `http1`, HTTP/2 in `http2`, certificates in `tls`, the
//! listening socket in `socket`. Nothing here knows
//! routes or filters. Why there is no Pingora `Server` underneath: docs/decisions/0002-own-accept-loop.md.

mod accept;
mod caps;
mod head_reader;
mod http1;
mod http2;
mod socket;
mod stream;
pub(crate) mod tls;

use std::any::Any;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU16, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};

use http::HeaderValue;
use ipnet::IpNet;
use pingora_core::protocols::Digest;
use sallyport_config::listener::{Limits, Listener};

pub(crate) use accept::{Bound, Drain, Service};
pub(crate) use caps::Caps;

use crate::tunnel::Opened;

/// A listener of a plan. A connection keeps the settings it was accepted with.
pub(crate) struct ListenerPlan {
    /// Its name in `listeners:`.
    pub(crate) name: Box<str>,
    /// The address as configured; the port may be 0.
    pub(crate) address: SocketAddr,
    /// How its socket is opened.
    opening: socket::Opening,
    /// The port it is bound to; 0 until it is.
    port: AtomicU16,
    /// What a client may cost.
    pub(crate) limits: Limits,
    /// Peers that are believed about the client.
    pub(crate) trusted: Box<[IpNet]>,
    /// Whether header names with `_` are accepted.
    pub(crate) allow_underscores: bool,
    /// Whether HTTP/2 without TLS is accepted.
    pub(crate) h2c: bool,
    /// TLS, with its certificates.
    pub(crate) tls: Option<tls::TlsListener>,
    /// The name of the listener that every request is redirected to.
    pub(crate) redirect_to: Option<Box<str>>,
    /// Connections under way, in all and of each client.
    pub(crate) caps: Arc<Caps>,
}

/// What is known of one connection.
pub(crate) struct Conn {
    /// The listener, as it was when the connection was accepted.
    pub(crate) listener: Arc<ListenerPlan>,
    /// The other end.
    pub(crate) peer: SocketAddr,
    /// The address of the other end as text, for the log and for upstreams.
    pub(crate) peer_text: HeaderValue,
    /// Whether the other end is one of `trusted_proxies`.
    pub(crate) peer_trusted: bool,
    /// The tunnel that the connection becomes when the exchange under way is over.
    tunnel: Mutex<Option<Box<Opened>>>,
}

impl ListenerPlan {
    /// Takes over what the operator wrote; certificates were loaded before.
    pub(crate) fn new(
        name: &str,
        settings: &Listener,
        tls: Option<tls::TlsListener>,
        caps: Arc<Caps>,
    ) -> Self {
        ListenerPlan {
            name: name.into(),
            address: settings.address.value,
            opening: socket::Opening::of(settings),
            port: AtomicU16::new(0),
            limits: settings.limits.clone(),
            trusted: settings.trusted_proxies.clone().into(),
            allow_underscores: settings.allow_underscores,
            h2c: settings.h2c,
            tls,
            redirect_to: settings.redirect_to.as_ref().map(|name| name.value.clone().into()),
            caps,
        }
    }

    /// The port it is bound to.
    pub(crate) fn port(&self) -> u16 {
        self.port.load(Relaxed)
    }

    /// Says which port it is bound to.
    pub(crate) fn set_port(&self, port: u16) {
        self.port.store(port, Relaxed);
    }
}

impl Conn {
    fn new(listener: Arc<ListenerPlan>, peer: SocketAddr, peer_trusted: bool) -> Self {
        // An address in digits is always a header value.
        let peer_text = HeaderValue::try_from(peer.ip().to_canonical().to_string())
            .unwrap_or_else(|_| HeaderValue::from_static("unknown"));
        Conn { listener, peer, peer_text, peer_trusted, tunnel: Mutex::default() }
    }

    /// The address of the other end; IPv4 mapped to IPv6 is IPv4.
    pub(crate) fn peer_address(&self) -> IpAddr {
        self.peer.ip().to_canonical()
    }

    /// Leaves a tunnel for the connection to become.
    pub(crate) fn leave(&self, opened: Opened) {
        *self.tunnel.lock().unwrap_or_else(PoisonError::into_inner) = Some(Box::new(opened));
    }

    /// Takes the tunnel that an exchange has left.
    fn opened(&self) -> Option<Box<Opened>> {
        self.tunnel.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// The connection that an exchange came in on, as the accept loop left it in the stream's digest.
    pub(crate) fn of(digest: Option<&Digest>) -> Option<&Arc<Conn>> {
        let data: &(dyn Any + Send + Sync) = digest?.proxy_digest.as_ref()?.user_data.as_deref()?;
        data.downcast_ref()
    }
}
