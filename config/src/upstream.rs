//! `upstreams:`: the services behind the edge.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::located::Located;
use crate::units::Timespan;

/// A service: one or more targets that answer alike.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Upstream {
    /// Where it is: `host:port` or `address:port`, or `{ address: host:port, weight: 3 }`. A name is resolved in the
    /// background; each of its IPv4 addresses is a target, or each IPv6 address if it has no other.
    pub targets: Vec<Located<Target>>,
    /// How a target is chosen. Default: round_robin.
    #[serde(default)]
    pub balance: Balance,
    /// The protocol spoken to the targets. Default: http1.
    #[serde(default)]
    pub protocol: Protocol,
    /// TLS to the targets. Default: plain.
    #[serde(default)]
    pub tls: Option<UpstreamTls>,
    /// The Host header that the targets see: `preserve` (the client's), `target` (the target's own `host:port`), or a
    /// name. Default: preserve.
    #[serde(default = "preserve")]
    pub host: String,
    /// Asks each target regularly whether it is well. Default: off; failures of real requests count all the same.
    #[serde(default)]
    pub health: Option<Health>,
    /// When a target that fails real requests is left out for a while.
    #[serde(default)]
    pub ejection: Ejection,
    /// Exchanges under way to one target at a time; beyond, the next target or 503. Default: 1024.
    #[serde(default = "in_flight")]
    pub in_flight: usize,
    /// How often names are resolved again. Default: 30s.
    #[serde(default = "half_a_minute")]
    pub resolve: Timespan,
}

/// A target of an upstream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// `host:port`; IPv6 in brackets.
    pub address: String,
    /// Its share among the targets, 1 to 1000. Default: 1.
    pub weight: u32,
}

/// How a target is chosen.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Balance {
    /// In turn, by weight.
    #[default]
    RoundRobin,
    /// The less busy of two chosen at random, by weight.
    LeastRequests,
}

/// A protocol spoken to targets.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// HTTP/1.1.
    #[default]
    Http1,
    /// HTTP/2; without TLS by prior knowledge.
    H2,
}

/// TLS to targets.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct UpstreamTls {
    /// PEM file with the authorities the certificate is checked against. Default: the system's.
    pub ca: Option<Located<String>>,
    /// The server name asked for and checked. Default: the target's host name.
    pub server_name: Option<Located<String>>,
}

/// Active health checks.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Health {
    /// The path asked for with GET; any 2xx is well.
    pub path: String,
    /// Time between two checks of a target. Default: 5s.
    #[serde(default = "five_seconds")]
    pub interval: Timespan,
    /// Time for an answer. Default: 2s.
    #[serde(default = "two_seconds")]
    pub timeout: Timespan,
    /// Failures in a row after which a target is left out. Default: 3.
    #[serde(default = "three")]
    pub unhealthy_after: u32,
    /// Successes in a row after which it is back. Default: 2.
    #[serde(default = "two")]
    pub healthy_after: u32,
}

/// Passive health: what failures of real requests lead to.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Ejection {
    /// Failures in a row (no connection, no answer, 502, 503, 504) after which a target is left out. 0 turns it off.
    /// Default: 5.
    pub failures: u32,
    /// For how long. Default: 30s.
    #[serde(rename = "for")]
    pub period: Timespan,
    /// The most targets left out at a time, in percent of all. Default: 50.
    #[schemars(range(max = 100))]
    pub max_percent: u32,
}

impl Default for Ejection {
    fn default() -> Self {
        Ejection { failures: 5, period: Timespan::from_secs(30), max_percent: 50 }
    }
}

fn preserve() -> String {
    "preserve".to_owned()
}

fn in_flight() -> usize {
    1024
}

fn half_a_minute() -> Timespan {
    Timespan::from_secs(30)
}

fn five_seconds() -> Timespan {
    Timespan::from_secs(5)
}

fn two_seconds() -> Timespan {
    Timespan::from_secs(2)
}

fn three() -> u32 {
    3
}

fn two() -> u32 {
    2
}
