//! Headers that a client may not speak for: those the edge or a filter sets, and those that end at this hop.
//!
//! A client that can make a backend believe `X-User-Id: admin` needs no password. So every managed header is deleted
//! from what the client sent before the first filter runs, in whatever case and whether written with `_` or `-`; and
//! `Connection` cannot be used to have one deleted further on. Transfer-Encoding and Content-Length are never touched
//! here: Pingora reads the body by them, and writes its own to the upstream.

use http::header::{self, HeaderName, HeaderValue};
use pingora_http::RequestHeader;
use sallyport_filters::ProblemKind;
use smallvec::SmallVec;

mod names;
use names::{NameSet, fingerprint, starts_with};

/// Ways to tell a backend another URL or proxy than the one it was asked through. Nobody may, trusted or not: nothing
/// at this edge vouches for them. `Proxy` becomes `HTTP_PROXY` under CGI (CVE-2016-5385, "httpoxy").
const NEVER: &[&str] = &[
    "proxy",
    "x-original-host",
    "x-original-method",
    "x-original-uri",
    "x-original-url",
    "x-override-url",
    "x-rewrite-url",
];

/// What the edge tells sidecars of a request: see `sidecar.rs`.
const FOR_SIDECARS: &[&str] =
    &["sallyport-claims", "sallyport-client", "sallyport-identity", "sallyport-params", "sallyport-route"];

/// What proxies say of the client. Only a trusted peer may; beside these, all that starts with `x-forwarded-`.
const FROM_PROXIES: &[&str] = &[
    "cf-connecting-ip",
    "client-ip",
    "fastly-client-ip",
    "forwarded",
    "true-client-ip",
    "x-client-ip",
    "x-cluster-client-ip",
    "x-forwarded",
    "x-original-forwarded-for",
    "x-originating-ip",
    "x-real-ip",
    "x-remote-addr",
    "x-remote-ip",
    "x-request-id",
];

/// What `Connection` may not nominate: fields whose loss would change what a request means or who sends it (RFC 9110,
/// section 7.6.1: fields intended for all recipients). Beside these, all managed ones, and all that start with
/// `content-`, `sec-`, `access-control-` or `if-`.
const END_TO_END: &[&str] = &[
    "accept",
    "accept-encoding",
    "authorization",
    "cache-control",
    "cookie",
    "date",
    "expect",
    "host",
    "origin",
    "pragma",
    "range",
    "referer",
    "traceparent",
    "tracestate",
    "trailer",
    "transfer-encoding",
    "user-agent",
    "via",
];

const END_TO_END_PREFIXES: &[&[u8]] = &[b"content-", b"sec-", b"access-control-", b"if-", b"x-forwarded-"];

/// What is not deleted even if a filter claims to set it: Pingora reads the connection and the body by these, and
/// without them would take a body for the next request.
const FRAMING: [HeaderName; 6] = [
    header::HOST,
    header::CONNECTION,
    header::CONTENT_LENGTH,
    header::TRANSFER_ENCODING,
    header::EXPECT,
    header::UPGRADE,
];

/// The most options of `Connection` that are read; more are refused.
pub const CONNECTION_OPTIONS_MAX: usize = 32;

/// Why the `Connection` field of a request is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ConnectionError {
    /// An option that is not a token (RFC 9110, section 7.6.1).
    NotAToken,
    /// More than [`CONNECTION_OPTIONS_MAX`] options.
    TooMany,
    /// It nominates a field that is managed, or that is meant for the far end.
    NotHopByHop,
}

impl ConnectionError {
    /// What the client is told.
    pub fn kind(self) -> ProblemKind {
        ProblemKind::BadRequest
    }

    /// One English clause for the client and the log. It never quotes the request.
    pub fn detail(self) -> &'static str {
        match self {
            ConnectionError::NotAToken => "the Connection header field holds something that is not a token",
            ConnectionError::TooMany => "the Connection header field has too many options",
            ConnectionError::NotHopByHop => {
                "the Connection header field names a header field that is not the connection's"
            }
        }
    }
}

impl std::fmt::Display for ConnectionError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.detail())
    }
}

impl std::error::Error for ConnectionError {}

/// The headers that no client may set, compiled once a plan.
#[derive(Debug, Clone)]
pub struct Managed {
    /// Deleted whoever sent them.
    always: NameSet,
    /// Deleted unless the peer is trusted.
    from_proxies: NameSet,
    end_to_end: NameSet,
}

impl Managed {
    /// The headers that this plan's filters set for upstreams, and those that no client may set in any plan. Host and
    /// what frames a body are not taken, whoever names them.
    pub fn new(names: impl IntoIterator<Item = HeaderName>) -> Self {
        let names: Vec<HeaderName> = names.into_iter().filter(|name| !FRAMING.contains(name)).collect();
        Managed {
            always: NameSet::new(
                names.iter().map(HeaderName::as_str).chain(NEVER.iter().chain(FOR_SIDECARS).copied()),
            ),
            from_proxies: NameSet::new(FROM_PROXIES.iter().copied()),
            end_to_end: NameSet::new(END_TO_END.iter().copied()),
        }
    }

    /// Deletes every managed header from a client's request.
    ///
    /// A trusted peer may say what proxies say of a client, in the exact spelling with `-`; no peer may set what a
    /// filter sets. Allocates nothing where nothing is deleted.
    pub fn strip(&self, head: &mut RequestHeader, peer_trusted: bool) {
        let deleted = |name: &&HeaderName| self.is_managed(name.as_str().as_bytes(), peer_trusted);
        let names: SmallVec<[HeaderName; 4]> = head.headers.keys().filter(deleted).cloned().collect();
        for name in &names {
            head.remove_header(name);
        }
    }

    /// Deletes the hop-by-hop headers and those that `Connection` nominates (RFC 9110, section 7.6.1). Call it after
    /// [`Managed::strip`].
    ///
    /// With `keep_upgrade`, `Upgrade` stays and `Connection` says `upgrade`, if the client asked for one. `TE` stays as
    /// `trailers` if the client takes them, because gRPC needs it (section 10.1.4). A body's framing stays as it is.
    ///
    /// # Errors
    /// A `Connection` field that is malformed or nominates what is not hop-by-hop. The request is then unchanged.
    pub fn strip_hop_by_hop(
        &self,
        head: &mut RequestHeader,
        keep_upgrade: bool,
    ) -> Result<(), ConnectionError> {
        // One look at the names, which are few, costs less than a look-up for each of ours.
        let mut removed: SmallVec<[HeaderName; 4]> = SmallVec::new();
        let (mut connection, mut te, mut upgrade) = (false, false, false);
        for name in head.headers.keys() {
            match name.as_str() {
                "connection" => connection = true,
                "te" => te = true,
                "upgrade" => upgrade = true,
                other if always_ends_here(other) => removed.push(name.clone()),
                _ => {}
            }
        }
        let mut upgrades = false;
        if connection {
            upgrades = self.options(head, &mut removed)?;
            removed.push(header::CONNECTION);
        }
        for name in &removed {
            head.remove_header(name);
        }
        if te {
            keep_trailers_only(head);
        }
        if upgrade && upgrades && keep_upgrade {
            // A static name and value cannot be refused, and the map has just lost an entry.
            let _ = head.insert_header(header::CONNECTION, HeaderValue::from_static("upgrade"));
        } else if upgrade {
            head.remove_header(&header::UPGRADE);
        }
        Ok(())
    }

    /// Reads the options of `Connection`: whether one is `upgrade`, and which fields of the head are nominated.
    fn options(
        &self,
        head: &RequestHeader,
        nominated: &mut SmallVec<[HeaderName; 4]>,
    ) -> Result<bool, ConnectionError> {
        let mut upgrades = false;
        let values = head.headers.get_all(header::CONNECTION).iter();
        let options = values.flat_map(|value| value.as_bytes().split(|&byte| byte == b','));
        for (index, option) in options.enumerate() {
            if index == CONNECTION_OPTIONS_MAX {
                return Err(ConnectionError::TooMany);
            }
            let option = option.trim_ascii();
            match option.len() {
                0 => continue,
                5 if option.eq_ignore_ascii_case(b"close") => continue,
                10 if option.eq_ignore_ascii_case(b"keep-alive") => continue,
                7 if option.eq_ignore_ascii_case(b"upgrade") => {
                    upgrades = true;
                    continue;
                }
                _ => {}
            }
            let name = HeaderName::from_bytes(option).map_err(|_| ConnectionError::NotAToken)?;
            if !self.may_be_nominated(name.as_str().as_bytes()) {
                return Err(ConnectionError::NotHopByHop);
            }
            if name != header::TE && head.headers.contains_key(&name) {
                nominated.push(name);
            }
        }
        Ok(upgrades)
    }

    /// Whether a header is deleted from the request of a peer. `name` in any case.
    pub fn is_managed(&self, name: &[u8], peer_trusted: bool) -> bool {
        let print = fingerprint(name);
        if self.always.has(name, print) {
            return true;
        }
        let from_proxy = self.from_proxies.has(name, print) || starts_with(name, b"x-forwarded-");
        from_proxy && !(peer_trusted && memchr::memchr(b'_', name).is_none())
    }

    fn may_be_nominated(&self, name: &[u8]) -> bool {
        let meant_for_all = END_TO_END_PREFIXES.iter().any(|prefix| starts_with(name, prefix));
        !(meant_for_all || self.end_to_end.has(name, fingerprint(name)) || self.is_managed(name, false))
    }
}

/// Whether a field is always dropped, as `Connection` is (RFC 9110, sections 7.6.1 and 11.7.2; HTTP2-Settings, RFC 7540,
/// section 3.2.1, would let a client switch the upstream's protocol behind the edge's back). `Upgrade` and `TE` are
/// looked at more closely.
fn always_ends_here(name: &str) -> bool {
    matches!(name, "keep-alive" | "proxy-connection" | "proxy-authorization" | "http2-settings")
}

/// Leaves of `TE` no more than `trailers`.
fn keep_trailers_only(head: &mut RequestHeader) {
    let values = head.headers.get_all(header::TE).iter();
    let trailers = values
        .flat_map(|value| value.as_bytes().split(|&byte| byte == b','))
        .any(|coding| coding.trim_ascii().eq_ignore_ascii_case(b"trailers"));
    head.remove_header(&header::TE);
    if trailers {
        // A static name and value cannot be refused, and the map has just lost an entry.
        let _ = head.insert_header(header::TE, HeaderValue::from_static("trailers"));
    }
}

#[cfg(test)]
mod tests;
