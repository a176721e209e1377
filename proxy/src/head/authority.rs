//! The host and port of a request: `Host`, `:authority`, and the authority of an absolute target.

use std::net::Ipv6Addr;

/// The most bytes of a host name (RFC 1035, section 2.3.4), the dot at the end included.
const HOST_BYTES_MAX: usize = 254;

/// A host with an optional port, as the client wrote it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Authority<'a> {
    /// A name, an IPv4 address, or an IPv6 address in brackets; in any case, perhaps with a dot at the end.
    pub host: &'a str,
    /// The port, if there is one.
    pub port: Option<u16>,
}

impl<'a> Authority<'a> {
    /// Reads `host` or `host:port`. Refuses an empty host, user information, lists, percent-encoding, zone identifiers
    /// and anything that no host name on the internet has (RFC 9110, section 7.2; RFC 3986, section 3.2.2, is wider).
    pub fn parse(bytes: &'a [u8]) -> Option<Self> {
        let host_end = match bytes {
            [b'[', ..] => memchr::memchr(b']', bytes)? + 1,
            _ => memchr::memchr(b':', bytes).unwrap_or(bytes.len()),
        };
        let host = std::str::from_utf8(&bytes[..host_end]).ok()?;
        let valid = match host.strip_prefix('[') {
            Some(literal) => literal.strip_suffix(']')?.parse::<Ipv6Addr>().is_ok(),
            None => is_name(host),
        };
        let port = match &bytes[host_end..] {
            [] => None,
            [b':', digits @ ..] => Some(port(digits)?),
            _ => return None,
        };
        valid.then_some(Authority { host, port })
    }

    /// Whether two authorities name the same host and port; `default_port` stands for a port left out.
    pub fn agrees(self, other: Authority<'_>, default_port: Option<u16>) -> bool {
        self.host.eq_ignore_ascii_case(other.host)
            && self.port.or(default_port) == other.port.or(default_port)
    }
}

fn is_name(host: &str) -> bool {
    let labels = host.strip_suffix('.').unwrap_or(host);
    let is_host_byte = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    host.len() <= HOST_BYTES_MAX
        && !labels.is_empty()
        && host.bytes().all(is_host_byte)
        && !labels.starts_with('.')
        && !labels.ends_with('.')
        && !labels.contains("..")
}

fn port(digits: &[u8]) -> Option<u16> {
    let is_number = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
    std::str::from_utf8(digits).ok().filter(|_| is_number)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_with_and_without_a_port() {
        let table = [
            ("example.com", "example.com", None),
            ("Example.COM.:8443", "Example.COM.", Some(8443)),
            ("my_service:80", "my_service", Some(80)),
            ("127.0.0.1:1", "127.0.0.1", Some(1)),
            ("[2001:db8::1]", "[2001:db8::1]", None),
            ("[::1]:443", "[::1]", Some(443)),
        ];
        for (text, host, port) in table {
            assert_eq!(Authority::parse(text.as_bytes()), Some(Authority { host, port }), "{text}");
        }
    }

    /// RFC 9110, section 4.2.4 (user information), and what host confusion is made of.
    #[test]
    fn what_is_no_host() {
        let table = [
            "",
            ":80",
            ".",
            "a..b",
            ".a",
            "a..",
            "user@example.com",
            "a,b",
            "a b",
            "a/b",
            "a?b",
            "a#b",
            "a%2eb",
            "a:b",
            "a:",
            "a:80:80",
            "a:99999",
            "a:+80",
            "a:-1",
            "[::1",
            "[::1]x",
            "[::1]:",
            "[]",
            "[1.2.3.4]",
            "[fe80::1%25eth0]",
            "[v1.x]",
            "::1",
            "caf\u{e9}",
            "a\\b",
            "a;b",
            "a\0",
            "\"a\"",
        ];
        for text in table {
            assert_eq!(Authority::parse(text.as_bytes()), None, "{text:?}");
        }
        assert!(Authority::parse("a".repeat(254).as_bytes()).is_some());
        assert!(Authority::parse("a".repeat(255).as_bytes()).is_none());
    }

    #[test]
    fn agreement_ignores_case_and_a_default_port() {
        let parse = |text: &'static str| Authority::parse(text.as_bytes()).unwrap();
        assert!(parse("A.example").agrees(parse("a.example:80"), Some(80)));
        assert!(!parse("a.example").agrees(parse("a.example:80"), Some(443)));
        assert!(!parse("a.example").agrees(parse("b.example"), None));
    }
}
