//! Kafka clusters: where they are, and settings that are in the wrong place. Whether librdkafka knows a setting is
//! checked where its clients are made.

use crate::check::Facts;
use crate::file::Config;
use crate::kafka::Kafka;
use crate::located::Located;
use crate::pattern;
use crate::report::Report;

/// What Sallyport sets itself, because it reads without a group and keeps no offsets.
const RESERVED: [&str; 9] = [
    "auto.offset.reset",
    "bootstrap.servers",
    "enable.auto.commit",
    "enable.auto.offset.store",
    "enable.partition.eof",
    "group.id",
    "group.instance.id",
    "isolation.level",
    "metadata.broker.list",
];

pub(super) fn check(config: &Config, facts: &Facts, report: &mut Report) {
    for (name, kafka) in config.kafka.iter() {
        check_settings(kafka, report);
        if facts.is_sound(name.at) {
            check_brokers(name, kafka, report);
        }
    }
}

fn check_brokers(name: &Located<String>, kafka: &Kafka, report: &mut Report) {
    if kafka.brokers.is_empty() {
        report
            .error(name.at, format!("the Kafka cluster `{}` has no brokers", name.value))
            .hint("write `brokers: [\"kafka-1.internal:9092\"]`");
    }
    for (index, broker) in kafka.brokers.iter().enumerate() {
        if broker.contains("://") {
            report
                .error(broker.at, format!("a broker is an address, not a URL: `{}`", broker.value))
                .hint("write `host:port`, and `security.protocol` under `settings`");
        } else if broker.contains(',') {
            report
                .error(broker.at, format!("`{}` is not one broker", broker.value))
                .hint("write a list: `[\"a:9092\", \"b:9092\"]`");
        } else if let Err(fault) = pattern::address(broker, broker.at) {
            fault.report(report);
        } else if kafka.brokers[..index].contains(broker) {
            report.error(broker.at, format!("the broker `{}` stands here twice", broker.value));
        }
    }
}

fn check_settings(kafka: &Kafka, report: &mut Report) {
    for (key, value) in kafka.settings.iter() {
        if is_secret(key) {
            // The line is going to be shown.
            report.mask(value.at);
            report
                .error(key.at, format!("`{}` is a secret, which anybody could read here", key.value))
                .hint(format!("write it under `secrets`: `{}: ${{NAME}}`", key.value));
        }
    }
    for key in kafka.settings.iter().map(|(key, _)| key).chain(kafka.secrets.iter().map(|(key, _)| key)) {
        if RESERVED.contains(&key.as_str()) {
            let error = report.error(key.at, format!("`{}` is set by Sallyport itself", key.value));
            match key.as_str() {
                "bootstrap.servers" | "metadata.broker.list" => {
                    error.hint("write the addresses under `brokers`")
                }
                _ => error.hint("every node reads all partitions, without a group, and stores no offsets"),
            };
        }
    }
    for (key, _) in kafka.secrets.iter().filter(|(key, _)| kafka.settings.find(key).is_some()) {
        report
            .error(key.at, format!("`{}` stands under `settings`, too", key.value))
            .hint("keep one of them");
    }
}

/// Whether librdkafka takes a password, a key or the like under this name.
fn is_secret(key: &str) -> bool {
    key.contains("password")
        || key.contains("passphrase")
        || key.contains(".secret")
        || key.ends_with("key.pem")
}
