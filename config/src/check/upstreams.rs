//! Upstreams: targets, health checks, ejection.

use crate::check::Facts;
use crate::file::Config;
use crate::located::Located;
use crate::report::Report;
use crate::upstream::{Health, Upstream};

pub(super) fn check(config: &Config, facts: &Facts, report: &mut Report) {
    for (name, upstream) in config.upstreams.iter() {
        if facts.is_sound(name.at) {
            check_upstream(name, upstream, report);
        }
    }
}

fn check_upstream(name: &Located<String>, upstream: &Upstream, report: &mut Report) {
    if upstream.targets.is_empty() {
        report
            .error(name.at, format!("the upstream `{}` has no targets", name.value))
            .hint("write `targets: [\"127.0.0.1:9101\"]`");
    }
    for (index, target) in upstream.targets.iter().enumerate() {
        if upstream.targets[..index].iter().any(|earlier| earlier.address == target.address) {
            report
                .error(target.at, format!("the target `{}` stands here twice", target.address))
                .hint("give it a weight: `{ address: ..., weight: 2 }`");
        }
    }
    if upstream.in_flight == 0 {
        report
            .error(name.at, format!("`in_flight` of the upstream `{}` is 0, nothing could pass", name.value));
    }
    if upstream.resolve.is_zero() {
        report.error(name.at, format!("`resolve` of the upstream `{}` is 0", name.value));
    }
    if upstream.ejection.max_percent > 100 {
        let found = upstream.ejection.max_percent;
        report.error(
            name.at,
            format!("`max_percent` of the upstream `{}` is {found}, at most 100", name.value),
        );
    }
    if let Some(health) = &upstream.health {
        check_health(name, health, report);
    }
}

fn check_health(name: &Located<String>, health: &Health, report: &mut Report) {
    let mut wrong = |message: &str| {
        report.error(name.at, format!("`health` of the upstream `{}`: {message}", name.value));
    };
    if !health.path.starts_with('/') || health.path.bytes().any(|b| b.is_ascii_control() || b == b' ') {
        wrong("`path` is not a path, such as `/healthz`");
    }
    if health.interval.is_zero() || health.timeout.is_zero() {
        wrong("neither `interval` nor `timeout` may be 0");
    }
    if health.unhealthy_after == 0 || health.healthy_after == 0 {
        wrong("neither `unhealthy_after` nor `healthy_after` may be 0");
    }
}
