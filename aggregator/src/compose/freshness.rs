//! How long a result may be used: what the branch's `cache` says, and what the service's answer says against it (RFC 9111).
//!
//! An answer can only shorten what is configured. `Expires` and `Pragma` are not looked at: a service that wants less than
//! the configuration gives it says so in `Cache-Control`, as services have been able to since 1997.

use std::time::Duration;

use http::header::{AGE, CACHE_CONTROL, VARY};
use http::{HeaderName, HeaderValue};

use super::plan::Cache as Settings;

/// How long a result may be used, each from the end of the one before or from when it came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Freshness {
    /// As it is.
    pub(super) fresh: Duration,
    /// After that while a new one is fetched.
    pub(super) stale_while_revalidate: Duration,
    /// After being fresh if the call fails.
    pub(super) stale_if_error: Duration,
}

/// What the directives of `Cache-Control` say (RFC 9111, section 5.2.2).
#[derive(Debug, Default)]
struct Directives {
    no_store: bool,
    no_cache: bool,
    private: bool,
    must_revalidate: bool,
    max_age: Option<u64>,
    shared_max_age: Option<u64>,
}

/// How long a result may be used; `None` if it may not be kept. `headers` are those of the service's answer.
pub(super) fn freshness(settings: &Settings, headers: &[(HeaderName, HeaderValue)]) -> Option<Freshness> {
    let values =
        |name: HeaderName| headers.iter().filter(move |(known, _)| *known == name).map(|(_, value)| value);
    let mut directives = Directives::default();
    for value in values(CACHE_CONTROL) {
        directives.read(value);
    }
    if directives.no_store || directives.no_cache || (directives.private && settings.shared) {
        return None;
    }
    if !values(VARY).all(is_covered) {
        return None;
    }
    // Section 5.2.2.10: `s-maxage` is for caches that serve several users.
    let limit = directives.shared_max_age.filter(|_| settings.shared).or(directives.max_age);
    let age = values(AGE).find_map(|value| value.to_str().ok()?.trim().parse().ok()).unwrap_or(0);
    let fresh =
        limit.map_or(settings.ttl, |limit| settings.ttl.min(Duration::from_secs(limit.saturating_sub(age))));
    // Section 5.2.2.2: then nothing is used that is not fresh.
    let stale = |time: Duration| if directives.must_revalidate { Duration::ZERO } else { time };
    Some(Freshness {
        fresh,
        stale_while_revalidate: stale(settings.stale_while_revalidate),
        stale_if_error: stale(settings.stale_if_error),
    })
}

impl Directives {
    fn read(&mut self, value: &HeaderValue) {
        for directive in split(value.as_bytes()) {
            let (name, argument) = match directive.iter().position(|byte| *byte == b'=') {
                Some(at) => (directive[..at].trim_ascii(), Some(directive[at + 1..].trim_ascii())),
                None => (directive, None),
            };
            match name.to_ascii_lowercase().as_slice() {
                b"no-store" => self.no_store = true,
                // With field names it concerns those only, and none of them is passed on.
                b"no-cache" if argument.is_none() => self.no_cache = true,
                b"private" if argument.is_none() => self.private = true,
                b"must-revalidate" | b"proxy-revalidate" => self.must_revalidate = true,
                b"max-age" => self.max_age = Some(shorter(self.max_age, argument)),
                b"s-maxage" => self.shared_max_age = Some(shorter(self.shared_max_age, argument)),
                _ => {}
            }
        }
    }
}

/// Seconds; of two the shorter, and what is no number is none at all (section 4.2.1: "encouraged to consider responses
/// that have invalid freshness information to be stale").
fn shorter(before: Option<u64>, argument: Option<&[u8]>) -> u64 {
    let digits = argument.map(|argument| argument.trim_ascii_start().strip_prefix(b"\"").unwrap_or(argument));
    let digits = digits.map(|digits| digits.strip_suffix(b"\"").unwrap_or(digits));
    let seconds = match digits {
        Some(digits) if !digits.is_empty() && digits.iter().all(u8::is_ascii_digit) => {
            std::str::from_utf8(digits).ok().and_then(|digits| digits.parse().ok()).unwrap_or(u64::MAX)
        }
        _ => 0,
    };
    before.map_or(seconds, |before| before.min(seconds))
}

/// Whether every header that the service's answer depends on is part of what it is kept under, or the same in all calls of
/// the branch (RFC 9111, section 4.1). All that calls carry is, as `kept_key` in [`errand`](super::errand) has it, but for
/// those fields that differ from request to request.
fn is_covered(vary: &HeaderValue) -> bool {
    const UNCOVERED: [&[u8]; 6] =
        [b"*", b"x-forwarded-for", b"x-request-id", b"traceparent", b"tracestate", b"request-timeout-ms"];
    split(vary.as_bytes()).all(|name| UNCOVERED.iter().all(|uncovered| !name.eq_ignore_ascii_case(uncovered)))
}

/// The members of a list (RFC 9110, section 5.6.1), commas in quoted strings not minded: what is torn apart there is no
/// directive that is known.
fn split(list: &[u8]) -> impl Iterator<Item = &[u8]> {
    list.split(|byte| *byte == b',').map(<[u8]>::trim_ascii).filter(|member| !member.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn settings(shared: bool) -> Settings {
        Settings {
            ttl: 60 * SECOND,
            stale_while_revalidate: 10 * SECOND,
            stale_if_error: 20 * SECOND,
            vary: Box::default(),
            shared,
        }
    }

    fn of(shared: bool, fields: &[(&'static str, &'static str)]) -> Option<u64> {
        let fields: Vec<_> = fields
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
            .collect();
        freshness(&settings(shared), &fields).map(|freshness| freshness.fresh.as_secs())
    }

    /// RFC 9111, sections 4.2.1, 4.2.3 and 5.2.2.
    #[test]
    fn an_answer_shortens_what_is_configured_and_never_lengthens_it() {
        for (shared, cache_control, age, fresh) in [
            (false, "", "0", Some(60)),
            (false, "max-age=10", "0", Some(10)),
            (false, "max-age=10", "4", Some(6)),
            (false, "max-age=10", "11", Some(0)),
            (false, "max-age=\"10\"", "0", Some(10)),
            (false, "MAX-AGE=10", "0", Some(10)),
            (false, "max-age=99999", "0", Some(60)),
            (false, "max-age=99999999999999999999999", "0", Some(60)),
            (false, "max-age=-1", "0", Some(0)),
            (false, "max-age=soon", "0", Some(0)),
            (false, "max-age", "0", Some(0)),
            (false, "max-age=30, max-age=10", "0", Some(10)),
            (false, "s-maxage=5, max-age=30", "0", Some(30)),
            (true, "s-maxage=5, max-age=30", "0", Some(5)),
            (false, "private, max-age=30", "0", Some(30)),
            (true, "private, max-age=30", "0", None),
            (true, "private=\"set-cookie\"", "0", Some(60)),
            (false, "no-store", "0", None),
            (false, "public , No-Store", "0", None),
            (false, "no-cache", "0", None),
            (false, "no-cache=\"set-cookie\"", "0", Some(60)),
            (false, "immutable, whatever=7", "0", Some(60)),
        ] {
            let found = of(shared, &[("cache-control", cache_control), ("age", age)]);
            assert_eq!(found, fresh, "{cache_control}, age {age}, shared {shared}");
        }
        assert_eq!(of(false, &[("cache-control", "public"), ("cache-control", "no-store")]), None);
    }

    /// RFC 9111, section 5.2.2.2.
    #[test]
    fn what_must_be_validated_is_not_used_stale() {
        for (directive, stale) in [("must-revalidate", 0), ("proxy-revalidate", 0), ("public", 10)] {
            let fields = [(CACHE_CONTROL, HeaderValue::from_static(directive))];
            let freshness = freshness(&settings(false), &fields).unwrap();
            assert_eq!(freshness.stale_while_revalidate.as_secs(), stale);
            assert_eq!(freshness.stale_if_error.as_secs(), stale * 2);
        }
    }

    /// RFC 9111, section 4.1.
    #[test]
    fn an_answer_that_depends_on_what_is_not_in_the_key_is_not_kept() {
        for (vary, kept) in [
            ("*", false),
            ("Accept, Cookie", true),
            ("X-Forwarded-For", false),
            ("Accept-Encoding,X-Request-ID", false),
            ("", true),
        ] {
            assert_eq!(of(false, &[("vary", vary)]).is_some(), kept, "{vary}");
        }
    }
}
