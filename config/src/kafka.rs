//! `kafka:`: the clusters that events come from and go to.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::located::{Located, Named};
use crate::units::Secret;

/// A Kafka cluster.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Kafka {
    /// Brokers to ask first, `host:port`; the others are learnt from them.
    pub brokers: Vec<Located<String>>,
    /// Settings of librdkafka by its own names, such as `security.protocol: SASL_SSL` or `ssl.ca.location: kafka-ca.pem`.
    /// What Sallyport sets itself (`group.id`, offsets, `enable.auto.commit`) cannot be set.
    #[serde(default)]
    pub settings: Named<Located<String>>,
    /// Settings of librdkafka that nobody should read, such as `sasl.password: ${KAFKA_PASSWORD}`.
    #[serde(default)]
    pub secrets: Named<Secret>,
}
