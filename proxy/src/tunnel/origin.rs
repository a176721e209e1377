//! Which web pages may open a WebSocket. A browser sends cookies with the handshake of any page, and asks no server
//! whether that page may (RFC 6455, section 10.2): so the server has to look.

use http::header::{HOST, ORIGIN};
use pingora_http::RequestHeader;
use sallyport_config::route::WebSocketLife;

/// The pages that may.
pub(crate) struct Origins {
    every: bool,
    listed: Box<[Box<str>]>,
}

impl Origins {
    /// As configured; the loader has refused what no browser writes.
    pub(crate) fn new(settings: &WebSocketLife) -> Origins {
        let listed = settings.origins.iter().map(|origin| origin.value.as_str().into());
        Origins { every: settings.origins.iter().any(|origin| origin.value == "*"), listed: listed.collect() }
    }

    /// Whether this handshake may pass: it comes from no browser, from a page of the same origin, or from one that is
    /// listed. `secure` tells whether the client speaks TLS.
    pub(super) fn allow(&self, head: &RequestHeader, secure: bool) -> bool {
        let mut values = head.headers.get_all(ORIGIN).iter();
        let (origin, more) = match (values.next(), values.next()) {
            (None, _) => return true,
            (Some(origin), more) => (origin.as_bytes(), more.is_some()),
        };
        if more {
            return false;
        }
        let host = head.headers.get(HOST).map(|host| host.as_bytes()).unwrap_or_default();
        self.every
            || self.listed.iter().any(|listed| listed.as_bytes() == origin)
            || is_same(origin, host, secure)
    }
}

/// Whether a page's origin is the scheme, host and port that the client speaks to.
fn is_same(origin: &[u8], host: &[u8], secure: bool) -> bool {
    let (scheme, port): (&[u8], &[u8]) = if secure { (b"https://", b":443") } else { (b"http://", b":80") };
    let Some(authority) = origin.strip_prefix(scheme) else { return false };
    let without =
        |authority: &'_ [u8]| authority.len() - if authority.ends_with(port) { port.len() } else { 0 };
    let (authority, host) = (&authority[..without(authority)], &host[..without(host)]);
    !host.is_empty() && authority.eq_ignore_ascii_case(host)
}

#[cfg(test)]
mod tests {
    use sallyport_config::Located;

    use super::*;

    fn allows(listed: &[&str], origins: &[&str], host: &str, secure: bool) -> bool {
        let listed = listed.iter().map(|origin| Located::nowhere((*origin).to_owned())).collect();
        let rule = Origins::new(&WebSocketLife { origins: listed, ..WebSocketLife::default() });
        let mut head = RequestHeader::build("GET", b"/", None).unwrap();
        head.insert_header(HOST, host).unwrap();
        for origin in origins {
            head.append_header(ORIGIN, *origin).unwrap();
        }
        rule.allow(&head, secure)
    }

    #[test]
    fn who_is_no_browser_is_not_asked() {
        assert!(allows(&[], &[], "a.example", true));
    }

    #[test]
    fn a_page_of_the_same_origin_may() {
        for (origin, host, secure) in [
            ("https://a.example", "a.example", true),
            ("https://a.example", "A.Example:443", true),
            ("http://a.example:8080", "a.example:8080", false),
            ("http://[::1]:5173", "[::1]:5173", false),
        ] {
            assert!(allows(&[], &[origin], host, secure), "{origin} at {host}");
        }
    }

    /// RFC 6455, section 10.2: cross-site WebSocket hijacking.
    #[test]
    fn any_other_page_may_not() {
        for (origin, host, secure) in [
            ("https://b.example", "a.example", true),
            ("https://a.example.evil.test", "a.example", true),
            ("https://evila.example", "a.example", true),
            ("http://a.example", "a.example", true),
            ("https://a.example", "a.example", false),
            ("https://a.example:8443", "a.example", true),
            ("http://a.example:443", "a.example", false),
            ("null", "a.example", true),
            ("", "", true),
            ("https://", "", true),
        ] {
            assert!(!allows(&[], &[origin], host, secure), "{origin} at {host}");
        }
        assert!(!allows(&[], &["https://a.example", "https://a.example"], "a.example", true), "two of them");
    }

    #[test]
    fn a_listed_page_may_and_all_may_where_it_is_written() {
        let listed = ["https://app.example"];
        assert!(allows(&listed, &["https://app.example"], "api.example", true));
        assert!(!allows(&listed, &["https://app.example:8443"], "api.example", true));
        assert!(allows(&["*"], &["null"], "api.example", true));
        assert!(!allows(&["*"], &["null", "null"], "api.example", true));
    }
}
