//! Listeners, the admin listener and the process.

use std::collections::HashMap;

use crate::check::Facts;
use crate::file::Config;
use crate::listener::{Limits, Listener};
use crate::located::Located;
use crate::report::Report;

pub(super) fn check(config: &Config, facts: &Facts, report: &mut Report) {
    if facts.lack_listeners() {
        report
            .error(config.version.at, "no listener: nothing would be served")
            .hint("write `listeners: { public: { address: 0.0.0.0:8080 } }`");
    }
    for (name, listener) in config.listeners.iter() {
        if facts.is_sound(name.at) {
            check_listener(name, listener, config, facts, report);
        }
    }
    check_addresses(config, report);
    if let Some(admin) = &config.admin
        && !admin.address.ip().is_loopback()
        && !admin.remote
    {
        report
            .error(
                admin.address.at,
                format!("the admin address `{}` can be reached from other machines", *admin.address),
            )
            .hint("there is no login here: listen on `127.0.0.1`, or say `remote: true`");
    }
    if config.process.threads == Some(0) {
        report.error(config.version.at, "`process.threads` is 0").hint("leave it out for one thread a core");
    }
}

fn check_listener(
    name: &Located<String>,
    listener: &Listener,
    config: &Config,
    facts: &Facts,
    report: &mut Report,
) {
    if listener.tls.as_ref().is_some_and(|tls| tls.certificates.is_empty()) {
        report
            .error(name.at, format!("`certificates` of `{}` is empty", name.value))
            .hint("write `certificates: [{ cert: tls.crt, key: tls.key }]`");
    }
    if let (Some(_), true) = (&listener.tls, listener.h2c) {
        report
            .error(name.at, format!("`{}` has both `tls` and `h2c`", name.value))
            .hint("HTTP/2 needs no setting with `tls`");
    }
    if let Some(target) = &listener.redirect_to {
        facts.listeners.check("listener", target, report);
        let found = config.listeners.find(target);
        if found.is_some_and(|target| target.tls.is_none()) {
            report.error(target.at, format!("the listener `{}` has no `tls`", target.value));
        }
        if listener.tls.is_some() {
            report.error(target.at, "a listener with `tls` has nothing to redirect to");
        }
    }
    if listener.backlog == 0 {
        report
            .error(name.at, format!("`backlog` of `{}` is 0, connections could hardly be made", name.value))
            .hint("leave it out for 4096");
    }
    check_limits(name, &listener.limits, report);
}

fn check_limits(name: &Located<String>, limits: &Limits, report: &mut Report) {
    let mut wrong = |message: String| {
        report.error(name.at, format!("`limits` of `{}`: {message}", name.value));
    };
    let numbers = [
        ("head_fields", limits.head_fields as u64),
        ("connections", limits.connections as u64),
        ("connections_per_client", limits.connections_per_client as u64),
        ("h2_streams", u64::from(limits.h2_streams)),
    ];
    for (key, value) in numbers {
        if value == 0 {
            wrong(format!("`{key}` is 0, nothing could be served"));
        }
    }
    let times = [
        ("head_timeout", limits.head_timeout),
        ("idle_timeout", limits.idle_timeout),
        ("handshake_timeout", limits.handshake_timeout),
    ];
    for (key, time) in times {
        if time.is_zero() {
            wrong(format!("`{key}` is 0, nothing could be served"));
        }
    }
    if limits.head_bytes.0 < 1024 {
        wrong(format!("`head_bytes` is {}, at least 1KiB is needed", limits.head_bytes));
    }
}

/// Two listeners cannot have one address; port 0 is a new port each time.
fn check_addresses(config: &Config, report: &mut Report) {
    let mut taken = HashMap::new();
    let listeners = config.listeners.iter().map(|(name, listener)| (name.value.as_str(), &listener.address));
    let admin = config.admin.iter().map(|admin| ("admin", &admin.address));
    for (name, address) in listeners.chain(admin).filter(|(_, address)| address.port() != 0) {
        if let Some(first) = taken.insert(address.value, name) {
            report.error(address.at, format!("`{first}` and `{name}` have the same address"));
        }
    }
}
