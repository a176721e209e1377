//! `aggregator:`: where composed answers and views are made, and what they may cost.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::located::Located;
use crate::units::ByteSize;

/// The part of Sallyport that composes answers and keeps views. Routes lead to it with `aggregate` and `view`; where there
/// is neither this section nor such a route, it does not run.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Aggregator {
    /// The Unix socket of an aggregator that runs as a process of its own (`sallyport-aggregator`), relative to the
    /// configuration file. Default: none, the aggregator runs inside the edge. Read at start only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub socket: Option<Located<String>>,
    /// The folder that holds the views' stores, relative to the configuration file; it is made if it is not there. One
    /// process uses it at a time. Default: state. Read at start only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<Located<String>>,
    /// What composed answers and queries may cost. Read at start only.
    pub limits: AggregatorLimits,
}

/// What composed answers and queries may cost.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AggregatorLimits {
    /// Requests under way at a time. One more gets 503. Default: 1024.
    pub in_flight: usize,
    /// Bytes of results that large answers hold at a time, all requests together. A request whose results outgrow 256KiB
    /// waits here, in turn, for the most that its `answer.bytes` allow. Default: 256MiB.
    pub memory: ByteSize,
    /// Bytes of answers that branches' `cache`s keep, all together; those not used for longest go first. Default: 64MiB.
    pub cache_bytes: ByteSize,
    /// Bytes of views' answers that are kept in memory, all together. Default: 64MiB.
    pub hot_bytes: ByteSize,
}

impl Default for AggregatorLimits {
    fn default() -> Self {
        AggregatorLimits {
            in_flight: 1024,
            memory: ByteSize(256 * 1024 * 1024),
            cache_bytes: ByteSize(64 * 1024 * 1024),
            hot_bytes: ByteSize(64 * 1024 * 1024),
        }
    }
}
