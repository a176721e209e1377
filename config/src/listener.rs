//! `listeners:` and `admin:`: where connections are accepted and what a client may cost.

use std::net::SocketAddr;

use ipnet::IpNet;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::located::Located;
use crate::units::{ByteSize, Timespan};

/// A place where connections are accepted.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Listener {
    /// Address and port, `0.0.0.0:8443` or `[::]:8443`. Port 0 takes a free one.
    pub address: Located<SocketAddr>,
    /// Certificates; with them the listener speaks TLS 1.2 and 1.3, HTTP/2 and HTTP/1.1. Default: plain HTTP/1.1.
    #[serde(default)]
    pub tls: Option<Tls>,
    /// Accept HTTP/2 without TLS, by prior knowledge (RFC 9113, section 3.3). Default: false.
    #[serde(default)]
    pub h2c: bool,
    /// Answer every request with 308 to the same URL on this listener, which must have `tls`. Default: none.
    #[serde(default)]
    pub redirect_to: Option<Located<String>>,
    /// Peers whose `X-Forwarded-For`, `X-Forwarded-Proto`, `X-Request-Id` and `traceparent` are believed, as CIDR blocks.
    /// `X-Forwarded-For` is walked from right to left to the first address that is not in here. Default: none.
    #[serde(default)]
    #[schemars(with = "Vec<String>")]
    pub trusted_proxies: Vec<IpNet>,
    /// What a client may cost.
    #[serde(default)]
    pub limits: Limits,
    /// Accept header names with `_`, which some servers take for `-`. Default: false, answered with 400.
    #[serde(default)]
    pub allow_underscores: bool,
    /// Connections that wait to be accepted. When so many wait, the kernel drops what a client sends to connect, and the
    /// client tries again after a second. The kernel takes no more than its `net.core.somaxconn`. Changing it takes a
    /// restart. Default: 4096.
    #[serde(default = "four_thousand_and_ninety_six")]
    pub backlog: u32,
    /// Share address and port with other processes whose listeners say so, too, and run as the same user; the kernel
    /// spreads connections over them (SO_REUSEPORT). Without it a second process that is started by mistake finds the
    /// address taken. Limits of all kinds count in each process by itself. Changing it takes a restart. Default: false.
    #[serde(default)]
    pub reuse_port: bool,
}

/// Certificates of a listener.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Tls {
    /// One or more certificates, chosen by the server name that the client asks for. The first serves clients that
    /// ask for none. Loaded again when the files change.
    pub certificates: Vec<Certificate>,
    /// The oldest version spoken: `"1.2"` or `"1.3"`. Default: "1.2".
    #[serde(default)]
    pub min_version: TlsVersion,
}

/// A certificate chain and its key, PEM files relative to the configuration file.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Certificate {
    /// The chain, the server's own certificate first.
    pub cert: Located<String>,
    /// The private key: PKCS#8, PKCS#1 or SEC1.
    pub key: Located<String>,
}

/// A version of TLS.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum TlsVersion {
    /// TLS 1.2 and 1.3.
    #[default]
    #[serde(rename = "1.2")]
    V1_2,
    /// TLS 1.3 only.
    #[serde(rename = "1.3")]
    V1_3,
}

/// What a client of a listener may cost.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Bytes of a request's head, request line included. Above: 431. Default: 60KiB.
    pub head_bytes: ByteSize,
    /// Header fields of a request. Above: 431. Default: 100.
    pub head_fields: usize,
    /// Time for the whole head, from its first byte. Beyond: 408 and the connection closed. Default: 10s.
    pub head_timeout: Timespan,
    /// How long a connection may be idle between requests. Default: 60s over HTTP/1.1; HTTP/2 waits five times as long.
    pub idle_timeout: Timespan,
    /// Time for the TLS handshake. Default: 10s.
    pub handshake_timeout: Timespan,
    /// Connections of this listener at a time; one more is closed at once. Default: 10000.
    pub connections: usize,
    /// Connections of one client address (IPv6: one /64) at a time. Default: 100.
    pub connections_per_client: usize,
    /// The slowest that a body may arrive, in bytes a second, after a grace of 5 seconds. Below: 408. Default: 240B; 0
    /// turns it off.
    pub body_rate: ByteSize,
    /// HTTP/2 streams of one connection at a time. Default: 100.
    pub h2_streams: u32,
}

fn four_thousand_and_ninety_six() -> u32 {
    4096
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            head_bytes: ByteSize(60 * 1024),
            head_fields: 100,
            head_timeout: Timespan::from_secs(10),
            idle_timeout: Timespan::from_secs(60),
            handshake_timeout: Timespan::from_secs(10),
            connections: 10_000,
            connections_per_client: 100,
            body_rate: ByteSize(240),
            h2_streams: 100,
        }
    }
}

/// The operator's listener.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Admin {
    /// Address and port. An address that is not loopback needs `remote: true`: there is no login here.
    pub address: Located<SocketAddr>,
    /// Allow an address that other machines reach. Default: false.
    #[serde(default)]
    pub remote: bool,
}
