//! `body_limit`: how large the body of a request may be.
//!
//! A body that announces its length is refused here; one that does not is counted by the edge as it arrives.

use std::sync::Arc;

use http::header::CONTENT_LENGTH;
use sallyport_config::Located;
use sallyport_config::units::ByteSize;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::build::Build;
use crate::exchange::Exchange;
use crate::filter::{Filter, Stage, Step};
use crate::reply::{ProblemKind, Reply};

/// The settings of `body_limit`.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The most bytes of a request's body; beyond, 413. It takes the place of the limit that held before, be that
    /// higher or lower: the last `body_limit` of a chain counts. `0B`: no body at all.
    pub max: Located<ByteSize>,
}

/// Sets the limit of the exchange. Allocates nothing.
struct BodyLimit {
    bytes_max: u64,
}

/// Builds the filter.
pub fn build(config: Config, _: &mut Build<'_>) -> Option<Arc<dyn Filter>> {
    Some(Arc::new(BodyLimit { bytes_max: config.max.0 }))
}

impl Filter for BodyLimit {
    fn name(&self) -> &'static str {
        "body_limit"
    }

    fn stage(&self) -> Stage {
        Stage::Edge
    }

    fn latest_stage(&self) -> Stage {
        Stage::Policy
    }

    fn on_request(&self, x: &mut Exchange<'_>) -> Step {
        x.facts.body_bytes_max = self.bytes_max;
        let announced = x.request.headers.get_all(CONTENT_LENGTH).iter();
        if announced.into_iter().any(|length| is_above(length.as_bytes(), self.bytes_max)) {
            return Step::Reply(Reply::problem(
                ProblemKind::ContentTooLarge,
                "the body is larger than this resource accepts",
            ));
        }
        Step::Continue
    }
}

/// Whether a `Content-Length` says more than `bytes_max`. A number too large to read is; what is no number has been
/// refused before any filter runs, and whatever arrives is counted anyway (RFC 9110, section 8.6).
fn is_above(length: &[u8], bytes_max: u64) -> bool {
    let digits = length.trim_ascii();
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return false;
    }
    let length =
        digits.iter().try_fold(0u64, |sum, digit| sum.checked_mul(10)?.checked_add(u64::from(digit - b'0')));
    length.is_none_or(|length| length > bytes_max)
}

#[cfg(test)]
mod tests {
    use http::StatusCode;

    use crate::probe::Made;
    use crate::probe::tests::{probe, refused};

    #[test]
    fn a_body_that_announces_too_much_is_refused() {
        let probe = probe("- body_limit: { max: 1KiB }");
        for length in ["1025", "18446744073709551616", "99999999999999999999999999"] {
            let reply = probe.request(&mut Made::new("POST", "/").header("Content-Length", length)).unwrap();
            assert_eq!(reply.status, StatusCode::PAYLOAD_TOO_LARGE, "{length}");
        }
        for length in ["0", "1024", "0000000000000000000000001"] {
            assert!(
                probe.request(&mut Made::new("POST", "/").header("Content-Length", length)).is_none(),
                "{length}"
            );
        }
    }

    #[test]
    fn the_last_limit_counts_for_bodies_without_a_length() {
        for (yaml, expected) in [
            ("- body_limit: { max: 200MiB }", 200 << 20),
            ("- body_limit: { max: 1KiB }\n- body_limit: { max: 1MiB }", 1 << 20),
            ("- body_limit: { max: 0B }", 0),
        ] {
            let mut made = Made::new("POST", "/").header("Transfer-Encoding", "chunked");
            made.facts.body_bytes_max = 10 << 20;
            assert!(probe(yaml).request(&mut made).is_none());
            assert_eq!(made.facts.body_bytes_max, expected);
        }
    }

    #[test]
    fn bad_settings_are_refused_where_they_stand() {
        refused("- body_limit", "probe.yaml:1:3", "max");
        refused("- body_limit: { max: many }", "probe.yaml:1:22", "many");
        refused("- body_limit: { maximum: 1KiB }", "probe.yaml:1:17", "maximum");
    }
}
