//! A cluster's section of the configuration, checked, and the librdkafka configurations made of it.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use rdkafka::ClientConfig;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::BaseConsumer;
use rdkafka::error::KafkaError;
use rdkafka::types::RDKafkaConfRes;
use sallyport_config::kafka::Kafka;
use sallyport_config::{Located, Location, Report, nearest};

use crate::context::Context;
use crate::error::reason;

/// Records that are fetched ahead of the reader, a partition.
const QUEUED_MESSAGES_MIN: &str = "5000";

/// Kilobytes that are fetched ahead of the reader, a partition. librdkafka's own 64 MiB add up to gigabytes.
const QUEUED_KBYTES_MAX: &str = "8192";

/// How long a broker may hold a fetch that finds nothing. A record that comes ends the wait at once, so this does not
/// delay records; it delays partitions that were not part of the fetch that is under way.
const FETCH_WAIT_MS: &str = "50";

/// The pause of a partition whose queue was full; librdkafka's own second would be felt.
const FETCH_QUEUE_BACKOFF_MS: &str = "10";

/// The pause of a partition after an error.
const FETCH_ERROR_BACKOFF_MS: &str = "100";

/// How often librdkafka asks for topics' leaders and ids.
const METADATA_REFRESH_MS: &str = "5000";

/// The longest pause between two attempts to reach a broker.
const RECONNECT_BACKOFF_MS_MAX: &str = "1000";

/// Records, and kilobytes, that may wait to be sent.
const PRODUCER_QUEUE_MESSAGES_MAX: &str = "10000";
const PRODUCER_QUEUE_KBYTES_MAX: &str = "16384";

/// What Sallyport sets itself, or what would change what it does; it cannot be set in the file.
const RESERVED: [&str; 33] = [
    "acks",
    "allow.auto.create.topics",
    "api.version.request",
    "auto.commit.enable",
    "auto.offset.reset",
    "bootstrap.servers",
    "builtin.features",
    "debug",
    "enable.auto.commit",
    "enable.auto.offset.store",
    "enable.idempotence",
    "enable.partition.eof",
    "enable.random.seed",
    "group.id",
    "group.instance.id",
    "group.protocol",
    "internal.termination.signal",
    "isolation.level",
    "log.queue",
    "log.thread.name",
    "log_level",
    "metadata.broker.list",
    "partition.assignment.strategy",
    "plugin.library.paths",
    "queue.buffering.max.kbytes",
    "queue.buffering.max.messages",
    "queued.max.messages.kbytes",
    "queued.min.messages",
    "request.required.acks",
    "statistics.interval.ms",
    "test.mock.broker.rtt",
    "test.mock.num.brokers",
    "transactional.id",
];

/// Settings that hold a file's or a folder's path; a relative one is meant from the configuration file.
const PATHS: [&str; 6] = [
    "https.ca.location",
    "sasl.kerberos.keytab",
    "ssl.ca.location",
    "ssl.certificate.location",
    "ssl.crl.location",
    "ssl.key.location",
];

/// Names to suggest for a misspelt one.
const USUAL: [&str; 30] = [
    "broker.address.family",
    "client.dns.lookup",
    "client.id",
    "client.rack",
    "compression.type",
    "connections.max.idle.ms",
    "fetch.max.bytes",
    "fetch.message.max.bytes",
    "linger.ms",
    "message.max.bytes",
    "message.timeout.ms",
    "metadata.max.age.ms",
    "reconnect.backoff.ms",
    "request.timeout.ms",
    "sasl.mechanism",
    "sasl.mechanisms",
    "sasl.oauthbearer.client.id",
    "sasl.oauthbearer.client.secret",
    "sasl.oauthbearer.method",
    "sasl.oauthbearer.token.endpoint.url",
    "sasl.password",
    "sasl.username",
    "security.protocol",
    "socket.keepalive.enable",
    "socket.timeout.ms",
    "ssl.ca.location",
    "ssl.certificate.location",
    "ssl.endpoint.identification.algorithm",
    "ssl.key.location",
    "ssl.key.password",
];

/// A cluster: its name and how to reach it. Prints as its name alone.
#[derive(Clone)]
pub struct ClusterSettings {
    name: Arc<str>,
    base: ClientConfig,
    times: bool,
}

impl fmt::Debug for ClusterSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ClusterSettings({})", self.name)
    }
}

impl ClusterSettings {
    /// Checks a cluster's section: each broker, each setting by itself, and whether librdkafka can make a client of
    /// them together, which also reads certificates. Connects to nothing.
    ///
    /// `None` if there is an error; each is in the report, at its place.
    pub fn compile(name: &Located<String>, kafka: &Kafka, report: &mut Report) -> Option<Self> {
        let errors = report.errors().count();
        if kafka.brokers.is_empty() {
            report
                .error(name.at, format!("the Kafka cluster `{name}` has no brokers"))
                .hint("brokers: [\"host:9092\"]");
        }
        for broker in &kafka.brokers {
            check_broker(broker, report);
        }
        let mut base = ClientConfig::new();
        for (key, value) in kafka.settings.iter() {
            let written =
                if PATHS.contains(&key.as_str()) { from_file(value, report) } else { value.value.clone() };
            check_path(key, &written, value.at, report);
            if let Some(fault) = Fault::of(key, &written) {
                fault.report(key, value.at, Some(&written), report);
            }
            base.set(key.as_str(), written);
        }
        for (key, secret) in kafka.secrets.iter() {
            if kafka.settings.find(key).is_some() {
                report.error(key.at, format!("`{key}` is set twice: in `settings` and in `secrets`"));
            }
            if let Some(fault) = Fault::of(key, secret.expose()) {
                fault.report(key, key.at, None, report);
            }
            base.set(key.as_str(), secret.expose());
        }
        if report.errors().count() == errors
            && let Err(error) = base.create_with_context::<_, BaseConsumer<Context>>(Context::default())
        {
            let mut words = reason(&error);
            for (_, secret) in kafka.secrets.iter().filter(|(_, secret)| !secret.expose().is_empty()) {
                words = words.replace(secret.expose(), "***");
            }
            report.error(name.at, format!("librdkafka refuses the settings of `{name}`: {words}"));
        }
        if report.errors().count() > errors {
            return None;
        }
        let brokers: Vec<&str> = kafka.brokers.iter().map(|broker| broker.as_str()).collect();
        Some(Self::with_base(name.as_str(), base, &brokers.join(",")))
    }

    /// A cluster without any security, at these `host:port`, separated by commas.
    pub(crate) fn plain(name: &str, brokers: &str) -> Self {
        Self::with_base(name, ClientConfig::new(), brokers)
    }

    /// For a broker that cannot find offsets by time: reading begins at the beginning.
    pub(crate) fn without_times(mut self) -> Self {
        self.times = false;
        self
    }

    fn with_base(name: &str, mut base: ClientConfig, brokers: &str) -> Self {
        base.set("bootstrap.servers", brokers).set("log.thread.name", "false");
        for (key, value) in [
            ("client.id", "sallyport"),
            ("reconnect.backoff.max.ms", RECONNECT_BACKOFF_MS_MAX),
            ("socket.nagle.disable", "true"),
            ("socket.keepalive.enable", "true"),
        ] {
            if base.get(key).is_none() {
                base.set(key, value);
            }
        }
        ClusterSettings { name: name.into(), base, times: true }
    }

    /// The cluster's name in the configuration.
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// Whether the broker finds offsets by time.
    pub(crate) fn finds_times(&self) -> bool {
        self.times
    }

    /// For a consumer of assigned partitions. There is no group; librdkafka wants a name for it nevertheless.
    pub(crate) fn consumer(&self) -> ClientConfig {
        let mut config = self.scout();
        for (key, value) in [
            ("group.id", "sallyport"),
            ("enable.auto.commit", "false"),
            ("enable.auto.offset.store", "false"),
            ("auto.offset.reset", "error"),
            ("enable.partition.eof", "true"),
            ("queued.min.messages", QUEUED_MESSAGES_MIN),
            ("queued.max.messages.kbytes", QUEUED_KBYTES_MAX),
            ("fetch.wait.max.ms", FETCH_WAIT_MS),
            ("fetch.queue.backoff.ms", FETCH_QUEUE_BACKOFF_MS),
            ("fetch.error.backoff.ms", FETCH_ERROR_BACKOFF_MS),
            // The line that tells of a topic's new id is a debug line of this facility.
            ("debug", "metadata"),
        ] {
            config.set(key, value);
        }
        config.set_log_level(RDKafkaLogLevel::Debug);
        config
    }

    /// For a client that only asks.
    pub(crate) fn scout(&self) -> ClientConfig {
        let mut config = self.base.clone();
        config.set("isolation.level", "read_committed");
        config.set("allow.auto.create.topics", "false");
        config.set("topic.metadata.refresh.interval.ms", METADATA_REFRESH_MS);
        config.set_log_level(RDKafkaLogLevel::Info);
        config
    }

    /// For a producer whose records are acknowledged by all in-sync replicas, each stored once.
    pub(crate) fn producer(&self) -> ClientConfig {
        let mut config = self.base.clone();
        config.set("acks", "all");
        config.set("enable.idempotence", "true");
        config.set("queue.buffering.max.messages", PRODUCER_QUEUE_MESSAGES_MAX);
        config.set("queue.buffering.max.kbytes", PRODUCER_QUEUE_KBYTES_MAX);
        for (key, value) in [("linger.ms", "1"), ("message.timeout.ms", "10000")] {
            if self.base.get(key).is_none() {
                config.set(key, value);
            }
        }
        config.set_log_level(RDKafkaLogLevel::Info);
        config
    }
}

fn check_broker(broker: &Located<String>, report: &mut Report) {
    let bare = broker.rsplit_once("://").map_or(broker.as_str(), |(_, bare)| bare);
    let sound = bare.rsplit_once(':').is_some_and(|(host, port)| {
        !host.is_empty() && !host.contains([',', ' ', '/']) && port.parse::<u16>().is_ok_and(|port| port > 0)
    });
    if !sound || bare.len() != broker.len() {
        report.error(broker.at, format!("`{}` is no broker's address", broker.value)).hint(
            "write `host:port`, such as `kafka-1.example:9092`; `security.protocol` goes under `settings`",
        );
    }
}

/// librdkafka's own words about a file that is not there name neither the file nor the reason.
fn check_path(key: &str, path: &str, at: Location, report: &mut Report) {
    if PATHS.contains(&key)
        && path != "probe"
        && let Err(error) = std::fs::metadata(path)
    {
        report.error(at, format!("`{path}` of `{key}` cannot be read: {error}"));
    }
}

/// A path, from the folder of the file that names it.
fn from_file(value: &Located<String>, report: &Report) -> String {
    // librdkafka takes `probe` for a search of the usual places.
    if value.as_str() == "probe" || Path::new(value.as_str()).is_absolute() || !value.at.is_known() {
        return value.value.clone();
    }
    match Path::new(report.source_name(value.at.file)).parent() {
        Some(folder) => folder.join(value.as_str()).to_string_lossy().into_owned(),
        None => value.value.clone(),
    }
}

/// Why a setting cannot be.
enum Fault {
    Reserved,
    Unknown,
    Invalid(String),
}

impl Fault {
    fn of(key: &str, value: &str) -> Option<Fault> {
        if RESERVED.contains(&key) || key.ends_with("_cb") {
            return Some(Fault::Reserved);
        }
        match ClientConfig::new().set(key, value).create_native_config() {
            Ok(_) => None,
            Err(KafkaError::ClientConfig(RDKafkaConfRes::RD_KAFKA_CONF_UNKNOWN, ..)) => Some(Fault::Unknown),
            Err(KafkaError::ClientConfig(_, words, ..)) => Some(Fault::Invalid(words)),
            Err(error) => Some(Fault::Invalid(reason(&error))),
        }
    }

    /// Reports it; without `value` for a secret, whose value librdkafka's words may repeat.
    fn report(self, key: &Located<String>, at: Location, value: Option<&str>, report: &mut Report) {
        match (self, value) {
            (Fault::Reserved, _) => {
                report.error(key.at, format!("`{key}` cannot be set: Sallyport sets it itself"));
            }
            (Fault::Unknown, _) => {
                let error = report.error(key.at, format!("librdkafka has no setting `{key}`"));
                match nearest(key, USUAL) {
                    Some(meant) => error.hint(format!("did you mean `{meant}`?")),
                    None => error.hint("its settings are listed in CONFIGURATION.md of librdkafka"),
                };
            }
            (Fault::Invalid(words), Some(value)) => {
                report.error(at, format!("librdkafka refuses `{value}` for `{key}`")).hint(words);
            }
            (Fault::Invalid(_), None) => {
                report.error(at, format!("librdkafka refuses the value of the secret `{key}`"));
            }
        }
    }
}
