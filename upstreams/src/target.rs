//! One target: an address, its load and its health as atomics, and the claim that a request holds on it.
//!
//! Which target a request gets is `balance.rs`; when one is left out is `ejection.rs` and `health.rs`.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering::Relaxed};

use http::HeaderValue;
use pingora_core::upstreams::peer::HttpPeer;

/// A target as configured: one address, or a name that stands for several.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Source {
    /// As written, `host:port`.
    pub(crate) written: Arc<str>,
    /// The host without port and brackets.
    pub(crate) host: Host,
    /// The port.
    pub(crate) port: u16,
    /// The weight of each of its addresses.
    pub(crate) weight: u32,
}

/// The host of a target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Host {
    /// An address.
    Literal(IpAddr),
    /// A name to resolve.
    Name(Box<str>),
}

impl Source {
    /// Reads `host:port`.
    ///
    /// # Errors
    /// What is wrong with it, for the operator.
    pub(crate) fn parse(written: &str, weight: u32) -> Result<Self, &'static str> {
        let (host, port) = split(written)?;
        let port: u16 = port.parse().map_err(|_| "the port is not a number from 1 to 65535")?;
        if port == 0 {
            return Err("the port is not a number from 1 to 65535");
        }
        Ok(Source { written: written.into(), host, port, weight: weight.max(1) })
    }
}

fn split(written: &str) -> Result<(Host, &str), &'static str> {
    if let Some(rest) = written.strip_prefix('[') {
        let (inside, port) = rest.split_once("]:").ok_or("no port; write `[address]:port`")?;
        let address = inside.parse().map_err(|_| "no IPv6 address in the brackets")?;
        return Ok((Host::Literal(IpAddr::V6(address)), port));
    }
    let (host, port) = written.rsplit_once(':').ok_or("no port; write `host:port`")?;
    if host.contains(':') {
        return Err("an IPv6 address stands in brackets: `[address]:port`");
    }
    if let Ok(address) = host.parse() {
        return Ok((Host::Literal(IpAddr::V4(address)), port));
    }
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if host.is_empty() || host.len() > 253 || !host.chars().all(plain) {
        return Err("no host name or address before the port");
    }
    Ok((Host::Name(host.into()), port))
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Host::Literal(address) => address.fmt(f),
            Host::Name(name) => name.fmt(f),
        }
    }
}

/// One address of an upstream.
pub(crate) struct Target {
    pub(crate) address: SocketAddr,
    /// The address as text, for logs.
    pub(crate) address_text: Box<str>,
    /// The source as written, which names the target in logs.
    pub(crate) name: Arc<str>,
    pub(crate) weight: u32,
    /// The `Host` that names this target.
    pub(crate) host: HeaderValue,
    /// What every peer to this target is copied from.
    pub(crate) template: HttpPeer,
    pub(crate) in_flight: AtomicUsize,
    pub(crate) in_flight_max: usize,
    /// Exchanges that were given to this target.
    pub(crate) requests: AtomicU64,
    /// Failures of real requests in a row.
    pub(crate) failures: AtomicU32,
    /// Until when it is ejected, by `clock::millis`; 0: it never was.
    pub(crate) ejected_until: AtomicU64,
    /// Whether active checks say that it is not well.
    pub(crate) unhealthy: AtomicBool,
    /// Active checks in a row that say otherwise than `unhealthy`.
    pub(crate) contrary_checks: AtomicU32,
}

impl Target {
    pub(crate) fn new(
        source: &Source,
        address: SocketAddr,
        host: HeaderValue,
        template: HttpPeer,
        in_flight_max: usize,
    ) -> Self {
        Target {
            address,
            address_text: address.to_string().into(),
            name: source.written.clone(),
            weight: source.weight,
            host,
            template,
            in_flight: AtomicUsize::new(0),
            in_flight_max,
            requests: AtomicU64::new(0),
            failures: AtomicU32::new(0),
            ejected_until: AtomicU64::new(0),
            unhealthy: AtomicBool::new(false),
            contrary_checks: AtomicU32::new(0),
        }
    }

    pub(crate) fn healthy(&self) -> bool {
        !self.unhealthy.load(Relaxed)
    }

    pub(crate) fn ejected(&self, now_millis: u64) -> bool {
        self.ejected_until.load(Relaxed) > now_millis
    }

    /// Claims a place, unless all are taken.
    pub(crate) fn claim(self: &Arc<Self>) -> Option<Picked> {
        if self.in_flight.fetch_add(1, Relaxed) >= self.in_flight_max {
            self.in_flight.fetch_sub(1, Relaxed);
            return None;
        }
        self.requests.fetch_add(1, Relaxed);
        Some(Picked { target: self.clone() })
    }
}

/// A target that was chosen for one exchange, and a place among its exchanges in flight, given back on drop.
pub struct Picked {
    pub(crate) target: Arc<Target>,
}

impl Picked {
    /// Where to connect to.
    pub fn address(&self) -> SocketAddr {
        self.target.address
    }

    /// Where to connect to, as text, for logs.
    pub fn address_text(&self) -> &str {
        &self.target.address_text
    }

    /// The target as the operator wrote it, for logs.
    pub fn name(&self) -> &str {
        &self.target.name
    }

    /// The target as the operator wrote it, to keep.
    pub fn shared_name(&self) -> Arc<str> {
        self.target.name.clone()
    }
}

impl Drop for Picked {
    fn drop(&mut self) {
        self.target.in_flight.fetch_sub(1, Relaxed);
    }
}

impl fmt::Debug for Picked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Picked({} at {})", self.target.name, self.target.address)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_and_names() {
        let literal = Source::parse("10.0.0.1:80", 3).unwrap();
        assert_eq!(
            (literal.host, literal.port, literal.weight),
            (Host::Literal([10, 0, 0, 1].into()), 80, 3)
        );
        let six = Source::parse("[::1]:8080", 1).unwrap();
        assert_eq!((six.host, six.port), (Host::Literal("::1".parse().unwrap()), 8080));
        let name = Source::parse("batches.internal:9101", 1).unwrap();
        assert_eq!((name.host, name.port), (Host::Name("batches.internal".into()), 9101));
    }

    #[test]
    fn refused_addresses_say_why() {
        for (written, why) in [
            ("localhost", "no port"),
            ("::1:80", "brackets"),
            ("[::1]", "no port"),
            ("[x]:80", "no IPv6 address"),
            ("a:0", "1 to 65535"),
            ("a:65536", "1 to 65535"),
            ("a:-1", "1 to 65535"),
            (":80", "no host name"),
            ("http://a:80", "brackets"),
            ("a b:80", "no host name"),
            ("a/b:80", "no host name"),
        ] {
            let error = Source::parse(written, 1).unwrap_err();
            assert!(error.contains(why), "{written}: {error}");
        }
    }
}
