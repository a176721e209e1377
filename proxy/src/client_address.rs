//! Whose request it is: the peer's address, or what trusted proxies say of it.
//!
//! `X-Forwarded-For` grows to the right, and only what a trusted proxy has added is worth anything. So it is read from
//! the right, and never further than trust reaches; the leftmost entry, which the client writes, decides nothing.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use http::HeaderValue;
use ipnet::IpNet;

/// The most entries of `X-Forwarded-For` that are read. With that many trusted proxies in a row, the last one
/// reached is taken for the client.
pub const HOPS_MAX: usize = 32;

/// The client's address. `forwarded_for` is the values of `X-Forwarded-For` in the order of the head.
///
/// Walks from the peer to the left as long as what stands there is trusted, and answers the first address that is
/// not. Something that is no address ends the walk at the trusted proxy that passed it on. IPv4 addresses mapped to
/// IPv6 count as IPv4.
pub fn client<'a, I>(peer: IpAddr, forwarded_for: I, trusted: &[IpNet]) -> IpAddr
where
    I: IntoIterator<Item = &'a HeaderValue>,
    I::IntoIter: DoubleEndedIterator,
{
    let mut client = peer.to_canonical();
    if !is_trusted(client, trusted) {
        return client;
    }
    let entries =
        forwarded_for.into_iter().rev().flat_map(|value| value.as_bytes().rsplit(|&byte| byte == b','));
    for entry in entries.take(HOPS_MAX) {
        let entry = entry.trim_ascii();
        // RFC 9110, section 5.6.1: a recipient ignores empty elements of a list.
        if entry.is_empty() {
            continue;
        }
        let Some(address) = address(entry) else { return client };
        client = address;
        if !is_trusted(client, trusted) {
            return client;
        }
    }
    client
}

/// Whether an address belongs to a trusted proxy.
pub fn is_trusted(address: IpAddr, trusted: &[IpNet]) -> bool {
    let address = address.to_canonical();
    trusted.iter().any(|net| net.contains(&address))
}

/// The address under which a client is counted: itself, or the /64 it is in, because whoever has one IPv6 address has
/// all of those.
pub fn client_bucket(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << 64))),
    }
}

/// An entry: an IPv4 address, `[IPv6]`, either with a port, or a bare IPv6 address.
fn address(entry: &[u8]) -> Option<IpAddr> {
    let entry = std::str::from_utf8(entry).ok()?;
    let address = if let Some(rest) = entry.strip_prefix('[') {
        let (address, behind) = rest.split_once(']')?;
        match behind.strip_prefix(':') {
            Some(port) => is_port(port).then_some(())?,
            None => behind.is_empty().then_some(())?,
        }
        IpAddr::V6(address.parse().ok()?)
    } else if let Ok(address) = entry.parse::<IpAddr>() {
        address
    } else {
        let (address, port) = entry.split_once(':')?;
        is_port(port).then_some(())?;
        IpAddr::V4(address.parse::<Ipv4Addr>().ok()?)
    };
    Some(address.to_canonical())
}

fn is_port(port: &str) -> bool {
    port.bytes().all(|byte| byte.is_ascii_digit()) && port.parse::<u16>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn nets() -> Vec<IpNet> {
        ["10.0.0.0/8", "fd00::/8"].map(|net| net.parse().unwrap()).to_vec()
    }

    fn walk(peer: &str, values: &[&str]) -> String {
        let values: Vec<_> = values.iter().map(|value| HeaderValue::from_str(value).unwrap()).collect();
        client(peer.parse().unwrap(), &values, &nets()).to_string()
    }

    #[test]
    fn the_first_address_from_the_right_that_is_not_trusted() {
        let table: [(&str, &[&str], &str); 14] = [
            ("192.0.2.7", &["198.51.100.1"], "192.0.2.7"),
            ("10.0.0.1", &[], "10.0.0.1"),
            ("10.0.0.1", &["198.51.100.1"], "198.51.100.1"),
            ("10.0.0.1", &["203.0.113.9, 198.51.100.1"], "198.51.100.1"),
            ("10.0.0.1", &["203.0.113.9, 198.51.100.1, 10.2.3.4"], "198.51.100.1"),
            ("10.0.0.1", &["203.0.113.9", "198.51.100.1,10.2.3.4"], "198.51.100.1"),
            ("10.0.0.1", &["10.0.0.9, 10.0.0.8"], "10.0.0.9"),
            ("10.0.0.1", &["198.51.100.1:4711, 10.0.0.2:80"], "198.51.100.1"),
            ("fd00::1", &["[2001:db8::1]:443"], "2001:db8::1"),
            ("fd00::1", &["2001:db8::1, [fd00::2]"], "2001:db8::1"),
            ("::ffff:10.0.0.1", &["::ffff:198.51.100.1"], "198.51.100.1"),
            ("10.0.0.1", &["::ffff:10.0.0.2"], "10.0.0.2"),
            ("10.0.0.1", &["198.51.100.1, , 10.0.0.2,"], "198.51.100.1"),
            ("10.0.0.1", &[""], "10.0.0.1"),
        ];
        for (peer, values, expected) in table {
            assert_eq!(walk(peer, values), expected, "{peer} {values:?}");
        }
    }

    /// What is no address is no reason to believe what stands left of it.
    #[test]
    fn garbage_ends_the_walk() {
        let garbage = [
            "unknown",
            "_hidden",
            "10.0.0.300",
            "10.0.0.2:x",
            "10.0.0.2:+1",
            "10.0.0.2:70000",
            "[fd00::2",
            "[fd00::2]x",
            "[10.0.0.2]",
            "fe80::1%eth0",
            "010.0.0.2",
            "10.0.0.2 10.0.0.3",
            "\"10.0.0.2\"",
        ];
        for entry in garbage {
            let value = format!("198.51.100.1, {entry}, 10.9.9.9");
            assert_eq!(walk("10.0.0.1", &[&value]), "10.9.9.9", "{entry}");
        }
    }

    #[test]
    fn the_walk_is_bounded() {
        let value = format!("198.51.100.1{}", ", 10.0.0.2".repeat(HOPS_MAX));
        assert_eq!(walk("10.0.0.1", &[&value]), "10.0.0.2");
        let value = format!("198.51.100.1{}", ", 10.0.0.2".repeat(HOPS_MAX - 1));
        assert_eq!(walk("10.0.0.1", &[&value]), "198.51.100.1");
    }

    #[test]
    fn an_ipv6_client_is_its_network() {
        let table = [
            ("192.0.2.1", "192.0.2.1"),
            ("::ffff:192.0.2.1", "192.0.2.1"),
            ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::"),
            ("2001:db8:1:2:ffff::", "2001:db8:1:2::"),
            ("2001:db8:1:3::1", "2001:db8:1:3::"),
        ];
        for (address, bucket) in table {
            assert_eq!(client_bucket(address.parse().unwrap()).to_string(), bucket);
        }
    }

    proptest! {
        /// What the client sends ends up left of what the first trusted proxy adds, and changes nothing.
        #[test]
        fn a_client_cannot_choose_its_address(sent in "[ -~]{0,60}") {
            let honest = walk("10.0.0.1", &["198.51.100.1, 10.0.0.2"]);
            let appended = format!("{sent}, 198.51.100.1, 10.0.0.2");
            prop_assert_eq!(walk("10.0.0.1", &[&appended]), honest.clone());
            prop_assert_eq!(walk("10.0.0.1", &[&sent, "198.51.100.1, 10.0.0.2"]), honest);
            prop_assert_eq!(walk("198.51.100.1", &[&sent]), "198.51.100.1");
        }
    }
}
