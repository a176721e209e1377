//! How a target is spoken to: the peer that Pingora connects to, and what every peer of an upstream has in common.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use pingora_core::protocols::TcpKeepalive;
use pingora_core::protocols::tls::{ALPN, CaType};
use pingora_core::upstreams::peer::{HttpPeer, HttpUpstreamRequestPolicy};
use sallyport_config::Report;
use sallyport_config::route::Timeouts;
use sallyport_config::upstream::{Protocol, Upstream as Settings};
use sallyport_identity::trust::authorities;

use crate::dial::Dial;
use crate::target::Source;

/// How long a connection waits in the pool for its next use. Pingora's default is for ever.
const POOL_IDLE: Duration = Duration::from_secs(60);
/// Exchanges on one HTTP/2 connection at a time; the target's own setting may be lower. Pingora's default is 1.
const H2_STREAMS_MAX: usize = 128;
/// Bytes a target may send ahead on one HTTP/2 stream, and on all of a connection; both bound what a slow client
/// can make the edge hold. Pingora's default for each is 8 MiB.
const H2_STREAM_WINDOW: u32 = 256 * 1024;
const H2_CONNECTION_WINDOW: u32 = 8 * 1024 * 1024;
/// How often an HTTP/2 connection is asked whether it is still there.
const H2_PING: Duration = Duration::from_secs(30);

/// What every peer of an upstream has in common.
pub(crate) struct Speech {
    protocol: Protocol,
    tls: Option<Tls>,
    /// Part of the pool's key. Pingora's own key leaves out the authorities: without this, a connection checked
    /// against one set of them could serve an upstream that trusts another.
    group: u64,
}

struct Tls {
    server_name: Option<String>,
    ca: Option<Arc<CaType>>,
}

impl Speech {
    /// Reads what the settings say, the authorities from their file. `None` if something was reported.
    pub(crate) fn new(name: &str, settings: &Settings, base: &Path, report: &mut Report) -> Option<Self> {
        let tls = match &settings.tls {
            None => None,
            Some(tls) => {
                let ca = match &tls.ca {
                    None => None,
                    Some(file) => match authorities(&base.join(file.as_str())) {
                        Ok(ca) => Some(ca),
                        Err(why) => {
                            report.error(file.at, why);
                            return None;
                        }
                    },
                };
                let server_name = tls.server_name.as_ref();
                if let Some(name) = server_name
                    && rustls_pki_types::ServerName::try_from(name.as_str()).is_err()
                {
                    let message = format!("`{}` is no server name", name.as_str());
                    report.error(name.at, message).hint("write a DNS name or an address, without port");
                    return None;
                }
                Some(Tls { server_name: server_name.map(|name| name.value.clone()), ca })
            }
        };
        let mut speech = Speech { protocol: settings.protocol, tls, group: 0 };
        speech.group = speech.identity(name);
        Some(speech)
    }

    /// Whether connections of the one may serve the other.
    pub(crate) fn same(&self, other: &Speech) -> bool {
        self.group == other.group
    }

    fn identity(&self, name: &str) -> u64 {
        let mut hasher = DefaultHasher::new();
        name.hash(&mut hasher);
        (self.protocol == Protocol::H2).hash(&mut hasher);
        if let Some(tls) = &self.tls {
            tls.server_name.hash(&mut hasher);
            for authority in tls.ca.iter().flat_map(|ca| ca.iter()) {
                authority.borrow_raw_cert().hash(&mut hasher);
            }
            tls.ca.is_some().hash(&mut hasher);
        }
        hasher.finish()
    }

    /// The scheme of URLs to the targets.
    pub(crate) fn tls(&self) -> bool {
        self.tls.is_some()
    }

    /// The peer for one address, without the time limits of a route.
    pub(crate) fn template(&self, source: &Source, address: SocketAddr) -> HttpPeer {
        // An empty name would turn certificate checks off in Pingora; the host of a source is never empty.
        let name =
            self.tls.as_ref().map(|tls| tls.server_name.clone().unwrap_or_else(|| source.host.to_string()));
        let mut peer = HttpPeer::new(address, self.tls(), name.unwrap_or_default());
        peer.group_key = self.group;
        let options = &mut peer.options;
        options.ca = self.tls.as_ref().and_then(|tls| tls.ca.clone());
        options.idle_timeout = Some(POOL_IDLE);
        options.http_upstream_request_policy = HttpUpstreamRequestPolicy::standard();
        options.tcp_keepalive = Some(TcpKeepalive {
            idle: Duration::from_secs(60),
            interval: Duration::from_secs(10),
            count: 3,
            #[cfg(target_os = "linux")]
            user_timeout: Duration::ZERO,
        });
        match self.protocol {
            Protocol::Http1 => {
                options.alpn = ALPN::H1;
                options.custom_l4 = Some(Arc::new(Dial));
            }
            // The least version is 2 as well, so that a plain connection is spoken to in HTTP/2 by prior knowledge
            // (RFC 9113, section 3.3). Over TLS a target that does not choose h2 is still spoken to in HTTP/1.1:
            // Pingora 0.9.1 falls back.
            Protocol::H2 => {
                options.alpn = ALPN::H2;
                options.max_h2_streams = H2_STREAMS_MAX;
                options.h2_stream_window_size = Some(H2_STREAM_WINDOW);
                options.h2_connection_window_size = Some(H2_CONNECTION_WINDOW);
                options.h2_ping_interval = Some(H2_PING);
            }
        }
        peer
    }
}

/// The peer for one try: the template with the time limits of the route. Costs the box, and for TLS the server name;
/// everything else in a peer is plain or shared.
pub(crate) fn with_timeouts(template: &HttpPeer, timeouts: &Timeouts) -> Box<HttpPeer> {
    let mut peer = Box::new(template.clone());
    let options = &mut peer.options;
    options.connection_timeout = on(*timeouts.connect);
    options.total_connection_timeout = on(*timeouts.connect);
    options.write_timeout = on(*timeouts.idle);
    // Applied to each read of head and body alike, and begun again whenever a part of the request was sent. The
    // shorter of the two limits is kept by `Pace`.
    options.read_timeout = match (on(*timeouts.first_byte), on(*timeouts.idle)) {
        (Some(first_byte), Some(idle)) => Some(first_byte.max(idle)),
        _ => None,
    };
    peer
}

fn on(limit: Duration) -> Option<Duration> {
    (!limit.is_zero()).then_some(limit)
}
