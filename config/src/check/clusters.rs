//! Which Kafka cluster is meant: a known one, or the only one there is.

use crate::check::{Facts, Names};
use crate::located::{Located, Location};
use crate::report::Report;

/// Checks the cluster that `what` names, or that it leaves open at a place.
pub(super) fn check(
    what: &str,
    name: Option<&Located<String>>,
    at: Location,
    facts: &Facts,
    report: &mut Report,
) {
    let clusters = &facts.kafka;
    match name {
        Some(name) => clusters.check("Kafka cluster", name, report),
        None if clusters.all.len() == 1 || (clusters.all.is_empty() && facts.unknown_section) => {}
        None if clusters.all.is_empty() => {
            report
                .error(at, format!("this {what} needs a Kafka cluster, and there is none"))
                .hint("write `kafka: { main: { brokers: [\"kafka-1.internal:9092\"] } }` at the top");
        }
        None => {
            report
                .error(at, format!("this {what} does not say which Kafka cluster"))
                .hint(format!("write `kafka:` with one of {}", listed(clusters)));
        }
    }
}

fn listed(names: &Names) -> String {
    let list: Vec<String> = names.all.iter().map(|name| format!("`{}`", name.value)).collect();
    list.join(", ")
}
