//! `request_id`: shows the request's id to the upstream and to the client.
//!
//! The edge chooses the id before any filter runs, with [`accept`] for what a trusted proxy sent and [`new_id`]
//! otherwise; whether a peer is trusted is the edge's decision and not made here.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http::{HeaderName, HeaderValue};
use pingora_http::{RequestHeader, ResponseHeader};
use sallyport_config::Located;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::build::Build;
use crate::exchange::Exchange;
use crate::field::FieldName;
use crate::filter::{Fault, Filter, Stage};
use crate::key::keyed_hash;

/// The settings of `request_id`.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The header that carries the id. Default: X-Request-Id.
    pub header: Located<String>,
    /// Whether the upstream gets it. Default: true.
    pub forward: bool,
    /// Whether the client gets it. Default: true.
    pub respond: bool,
}

impl Default for Config {
    fn default() -> Self {
        Config { header: Located::nowhere("X-Request-Id".to_owned()), forward: true, respond: true }
    }
}

/// Shows the request's id. On the pass path it allocates nothing of its own beyond what Pingora needs for a header.
struct RequestId {
    field: FieldName,
    forward: bool,
    respond: bool,
}

/// Builds the filter.
pub fn build(config: Config, context: &mut Build<'_>) -> Option<Arc<dyn Filter>> {
    let field = FieldName::parse_settable(&config.header, context.report)?;
    if !config.forward && !config.respond {
        context
            .report
            .error(context.at, "this filter shows the id to nobody")
            .hint("leave `forward` or `respond` true, or leave the filter out");
        return None;
    }
    Some(Arc::new(RequestId { field, forward: config.forward, respond: config.respond }))
}

impl Filter for RequestId {
    fn name(&self) -> &'static str {
        "request_id"
    }

    fn stage(&self) -> Stage {
        Stage::Edge
    }

    fn managed_headers(&self) -> Vec<HeaderName> {
        if self.forward { vec![self.field.name().clone()] } else { Vec::new() }
    }

    fn on_upstream_request(&self, x: &mut Exchange<'_>, head: &mut RequestHeader) -> Result<(), Fault> {
        if self.forward {
            self.field.set_on_request(head, x.facts.request_id.clone())?;
        }
        Ok(())
    }

    fn on_response(&self, x: &mut Exchange<'_>, head: &mut ResponseHeader) -> Result<(), Fault> {
        if self.respond {
            self.field.set_on_response(head, x.facts.request_id.clone())?;
        }
        Ok(())
    }
}

/// A fresh request id: a UUID of version 7 (RFC 9562, section 5.7). Ids sort by the millisecond they were made in and
/// tell nothing else: the rest comes from a keyed hash that nobody outside can compute. One allocation, which clones
/// share.
pub fn new_id() -> HeaderValue {
    id_at(SystemTime::now())
}

/// The same for a moment that the caller knows already.
pub fn id_at(moment: SystemTime) -> HeaderValue {
    /// Makes each input of the hash, and so each id, a different one.
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let since = moment.duration_since(UNIX_EPOCH).unwrap_or_default();
    let random = keyed_hash(b"request id", &count.to_le_bytes());
    let milliseconds = since.as_millis() & 0xffff_ffff_ffff;
    let version_and_variant = (0x7 << 76) | (0b10 << 62);
    let free_bits = !((0xffff_ffff_ffff << 80) | (0xf << 76) | (0b11 << 62));
    let id = (milliseconds << 80) | version_and_variant | (random & free_bits);
    let text = Bytes::from_owner(hyphenated(id));
    // The text is hex digits and hyphens only, so it is a header value.
    HeaderValue::from_maybe_shared(text).unwrap_or_else(|_| HeaderValue::from_static("unknown"))
}

/// The text form of a UUID (RFC 9562, section 4): 8-4-4-4-12 hex digits.
fn hyphenated(id: u128) -> [u8; 36] {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    /// Where the two digits of each byte stand.
    const PLACES: [usize; 16] = [0, 2, 4, 6, 9, 11, 14, 16, 19, 21, 24, 26, 28, 30, 32, 34];
    let mut text = [b'-'; 36];
    for (place, byte) in PLACES.into_iter().zip(id.to_be_bytes()) {
        text[place] = DIGITS[usize::from(byte >> 4)];
        text[place + 1] = DIGITS[usize::from(byte & 0xf)];
    }
    text
}

/// The id that a trusted proxy sent, if it is one that we pass on: 1 to 128 letters, digits and `-_.:/+=@`. So an id
/// can stand in a log line, a URL or an HTML page without harm.
pub fn accept(value: &HeaderValue) -> Option<HeaderValue> {
    let bytes = value.as_bytes();
    let safe = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.:/+=@".contains(byte);
    ((1..=128).contains(&bytes.len()) && bytes.iter().all(safe)).then(|| value.clone())
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::time::Duration;

    use super::*;
    use crate::probe::Made;
    use crate::probe::tests::{probe, refused};

    #[test]
    fn the_upstream_and_the_client_see_the_id() {
        let probe = probe("- request_id");
        let mut made = Made::new("GET", "/");
        assert!(probe.request(&mut made).is_none());
        assert_eq!(probe.upstream(&mut made).unwrap().headers["x-request-id"], "probe");
        assert_eq!(probe.response(&mut made, 200).unwrap().headers["x-request-id"], "probe");
    }

    #[test]
    fn each_side_can_be_left_out() {
        let probe = probe("- request_id: { header: X-Correlation-Id, forward: false }");
        let mut made = Made::new("GET", "/");
        assert!(probe.request(&mut made).is_none());
        assert!(probe.upstream(&mut made).unwrap().headers.is_empty());
        assert_eq!(probe.response(&mut made, 200).unwrap().headers["x-correlation-id"], "probe");
    }

    #[test]
    fn bad_settings_are_refused_where_they_stand() {
        refused("- request_id: { header: Content-Length }", "probe.yaml:1:25", "belongs to the connection");
        refused("- request_id: { header: 'a b' }", "probe.yaml:1:25", "is not a header name");
        refused("- request_id: { forward: false, respond: false }", "probe.yaml:1:3", "to nobody");
    }

    /// RFC 9562, section 5.7, with the time of its appendix A.6.
    #[test]
    fn an_id_is_a_uuid_of_version_7() {
        let moment = UNIX_EPOCH + Duration::from_millis(0x017F_22E2_79B0);
        let ids: Vec<_> = (0..200).map(|_| id_at(moment)).collect();
        for id in &ids {
            let text = id.to_str().unwrap();
            assert_eq!(text.len(), 36);
            assert!(text.starts_with("017f22e2-79b0-7"), "{text}");
            assert!(matches!(text.as_bytes()[19], b'8' | b'9' | b'a' | b'b'), "{text}");
            assert!(accept(id).is_some());
        }
        assert_eq!(ids.iter().collect::<HashSet<_>>().len(), ids.len());
        assert!(new_id() > ids[0], "the present is later than the example of the RFC");
    }

    /// RFC 9562, appendix A.6.
    #[test]
    fn the_text_of_an_id_has_its_hyphens() {
        let text = hyphenated(0x017F22E2_79B0_7CC3_98C4_DC0C0C07398F);
        assert_eq!(text, *b"017f22e2-79b0-7cc3-98c4-dc0c0c07398f");
    }

    #[test]
    fn an_id_from_outside_is_accepted_only_if_harmless() {
        for good in ["a", "7f3c-1", "Root=1-67891233-abcdef012345678912345678", &"x".repeat(128)] {
            assert!(accept(&HeaderValue::from_str(good).unwrap()).is_some(), "{good}");
        }
        for bad in ["", "a b", "a;b", "<script>", "a\"b", "a,b", &"x".repeat(129)] {
            assert!(accept(&HeaderValue::from_str(bad).unwrap()).is_none(), "{bad}");
        }
        assert!(accept(&HeaderValue::from_bytes(b"\xff").unwrap()).is_none());
    }
}
