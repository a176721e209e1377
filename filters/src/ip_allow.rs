//! `ip_allow`: lets in some addresses and keeps out others.
//!
//! The address is the client's as the edge has established it; which proxies are believed about it is a setting of
//! the listener.

use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;
use sallyport_config::{Located, Report};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::build::Build;
use crate::exchange::Exchange;
use crate::filter::{Filter, Stage, Step};
use crate::reply::{ProblemKind, Reply};

/// The settings of `ip_allow`; at least one of the two. Blocks as `10.0.0.0/8` or `2001:db8::/32`, single addresses
/// without a slash. An IPv4 address that comes as IPv6 (`::ffff:10.0.0.1`) counts as IPv4 on both sides.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Who may come in; everybody else is answered with 403. Default: everybody who is not denied.
    pub allow: Vec<Located<String>>,
    /// Who may not, even if allowed: 403. Default: nobody.
    pub deny: Vec<Located<String>>,
}

/// Lets in some addresses. Allocates nothing; looks up in logarithmic time.
struct IpAllow {
    allow: Option<Ranges>,
    deny: Ranges,
}

/// Builds the filter.
pub fn build(config: Config, context: &mut Build<'_>) -> Option<Arc<dyn Filter>> {
    if config.allow.is_empty() && config.deny.is_empty() {
        context
            .report
            .error(context.at, "this filter neither allows nor denies")
            .hint("name blocks in `allow` or `deny`");
        return None;
    }
    let allow = Ranges::parse(&config.allow, context.report);
    let deny = Ranges::parse(&config.deny, context.report);
    let allow = if config.allow.is_empty() { None } else { Some(allow?) };
    Some(Arc::new(IpAllow { allow, deny: deny? }))
}

impl Filter for IpAllow {
    fn name(&self) -> &'static str {
        "ip_allow"
    }

    fn stage(&self) -> Stage {
        Stage::Edge
    }

    /// A route may add it behind the chains that identify the client.
    fn latest_stage(&self) -> Stage {
        Stage::Policy
    }

    fn on_request(&self, x: &mut Exchange<'_>) -> Step {
        let client = x.facts.client.to_canonical();
        let allowed = self.allow.as_ref().is_none_or(|allow| allow.contains(client));
        if allowed && !self.deny.contains(client) {
            return Step::Continue;
        }
        Step::Reply(Reply::problem(ProblemKind::Forbidden, "requests from this address are not allowed"))
    }
}

/// Addresses as sorted ranges that do not overlap. All of IPv4 sorts before all of IPv6, so no range has both.
struct Ranges(Box<[(IpAddr, IpAddr)]>);

impl Ranges {
    /// Reads blocks; every bad one is reported.
    fn parse(blocks: &[Located<String>], report: &mut Report) -> Option<Ranges> {
        let nets: Vec<_> = blocks.iter().map(|block| parse_block(block, report)).collect();
        let nets: Vec<IpNet> = nets.into_iter().collect::<Option<_>>()?;
        let mut ranges: Vec<_> = nets.iter().map(|net| (net.network(), net.broadcast())).collect();
        ranges.sort_unstable();
        let mut merged: Vec<(IpAddr, IpAddr)> = Vec::with_capacity(ranges.len());
        for (first, last) in ranges {
            match merged.last_mut() {
                Some(before) if first <= before.1 => before.1 = before.1.max(last),
                _ => merged.push((first, last)),
            }
        }
        Some(Ranges(merged.into()))
    }

    fn contains(&self, address: IpAddr) -> bool {
        let behind = self.0.partition_point(|(first, _)| *first <= address);
        behind > 0 && address <= self.0[behind - 1].1
    }
}

fn parse_block(text: &Located<String>, report: &mut Report) -> Option<IpNet> {
    let single = || text.parse::<IpAddr>().map(|address| IpNet::from(address.to_canonical())).ok();
    let Some(net) = text.parse::<IpNet>().ok().or_else(single) else {
        report
            .error(text.at, format!("`{}` is neither a block of addresses nor an address", text.value))
            .hint("blocks look like `10.0.0.0/8` or `2001:db8::/32`");
        return None;
    };
    if net.addr() != net.network() {
        report
            .error(text.at, format!("`{}` has bits set behind its first {}", text.value, net.prefix_len()))
            .hint(format!("did you mean `{}` or the single address `{}`?", net.trunc(), net.addr()));
        return None;
    }
    Some(without_mapping(net))
}

/// `::ffff:0:0/96` holds the IPv4 addresses (RFC 4291, section 2.5.5.2); a block inside it is one of IPv4.
fn without_mapping(net: IpNet) -> IpNet {
    let IpAddr::V4(address) = net.network().to_canonical() else { return net };
    match net {
        IpNet::V6(block) if block.prefix_len() >= 96 => {
            ipnet::Ipv4Net::new(address, block.prefix_len() - 96).map_or(net, IpNet::V4)
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use http::StatusCode;
    use proptest::prelude::*;

    use super::*;
    use crate::probe::tests::{probe, refused};
    use crate::probe::{Made, Probe};

    fn passes(probe: &Probe, address: &str) -> bool {
        match probe.request(&mut Made::new("GET", "/").from(address.parse().unwrap())) {
            None => true,
            Some(reply) => {
                assert_eq!(reply.status, StatusCode::FORBIDDEN);
                false
            }
        }
    }

    #[test]
    fn only_the_allowed_pass_and_deny_wins() {
        let probe =
            probe("- ip_allow: { allow: [10.0.0.0/8, 2001:db8::/32, 192.0.2.7], deny: [10.1.0.0/16] }");
        for address in ["10.0.0.0", "10.255.255.255", "2001:db8::1", "192.0.2.7"] {
            assert!(passes(&probe, address), "{address}");
        }
        for address in
            ["9.255.255.255", "11.0.0.0", "10.1.2.3", "2001:db9::1", "192.0.2.6", "192.0.2.8", "::"]
        {
            assert!(!passes(&probe, address), "{address}");
        }
    }

    #[test]
    fn without_allow_all_but_the_denied_pass() {
        let probe = probe("- ip_allow: { deny: [192.0.2.0/24] }");
        assert!(passes(&probe, "10.0.0.1") && passes(&probe, "::1"));
        assert!(!passes(&probe, "192.0.2.200"));
    }

    /// RFC 4291, section 2.5.5.2: on a dual-stack socket IPv4 clients show up as `::ffff:a.b.c.d`. A rule for IPv4
    /// must hold for them, and one for IPv6 must not let them in.
    #[test]
    fn mapped_addresses_count_as_ipv4() {
        let inside = probe("- ip_allow: { allow: [10.0.0.0/8] }");
        assert!(passes(&inside, "::ffff:10.1.2.3"));
        assert!(!passes(&inside, "::ffff:11.1.2.3"));
        let mapped = probe("- ip_allow: { allow: ['::ffff:10.0.0.0/104'] }");
        assert!(passes(&mapped, "10.1.2.3") && passes(&mapped, "::ffff:10.1.2.3"));
        let sixth = probe("- ip_allow: { allow: ['::/0'] }");
        assert!(
            passes(&sixth, "2001:db8::1")
                && !passes(&sixth, "10.0.0.1")
                && !passes(&sixth, "::ffff:10.0.0.1")
        );
    }

    #[test]
    fn bad_settings_are_refused_where_they_stand() {
        refused("- ip_allow", "probe.yaml:1:3", "neither allows nor denies");
        refused("- ip_allow: { allow: [10.0.0.1/8] }", "probe.yaml:1:23", "did you mean `10.0.0.0/8`");
        refused("- ip_allow: { deny: [10.0.0.0/33] }", "probe.yaml:1:22", "neither a block");
        refused("- ip_allow: { deny: [example.com] }", "probe.yaml:1:22", "neither a block");
    }

    proptest! {
        /// The sorted ranges answer as a walk over the blocks does.
        #[test]
        fn ranges_agree_with_a_walk(blocks in prop::collection::vec((any::<u32>(), 0u8..=32), 1..8), asked: u32) {
            let nets: Vec<IpNet> = blocks
                .iter()
                .map(|(address, length)| IpNet::new(IpAddr::V4((*address).into()), *length).unwrap().trunc())
                .collect();
            let written: Vec<_> = nets.iter().map(|net| Located::nowhere(net.to_string())).collect();
            let ranges = Ranges::parse(&written, &mut Report::default()).unwrap();
            let near = nets.iter().flat_map(|net| [net.network(), net.broadcast()]);
            for address in near.chain([IpAddr::V4(asked.into())]) {
                prop_assert_eq!(ranges.contains(address), nets.iter().any(|net| net.contains(&address)));
            }
        }
    }
}
