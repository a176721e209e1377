//! `security_headers`: what browsers are told to be careful about.
//!
//! Two presets, each value of which can be replaced or turned off. Nothing is decided about a request here.

use std::sync::Arc;

use http::header::{HeaderName, HeaderValue, STRICT_TRANSPORT_SECURITY};
use pingora_http::ResponseHeader;
use sallyport_config::{Located, Report, nearest};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::build::Build;
use crate::exchange::Exchange;
use crate::field::{FieldName, parse_value};
use crate::filter::{Fault, Filter, Stage};
use crate::setting::Choice;

/// The settings of `security_headers`. Each header takes a value, or `off` for none. Where an upstream sets a header by
/// itself, its value wins, because it knows its pages better; HSTS and `nosniff` are always the edge's, because TLS
/// ends here and `nosniff` has no other value.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Where the values come from that are not given here: `api` or `web`. Default: api.
    pub preset: Preset,
    /// `Strict-Transport-Security` (RFC 6797), sent over TLS only. Default: `max-age=31536000`.
    pub hsts: Located<Choice>,
    /// `Content-Security-Policy`. Default: `default-src 'none'; frame-ancestors 'none'` (api); `default-src 'self';
    /// base-uri 'self'; form-action 'self'; frame-ancestors 'self'; img-src 'self' data:; object-src 'none'` (web).
    pub csp: Located<Choice>,
    /// `X-Content-Type-Options`. Default: `nosniff`.
    pub content_type_options: Located<Choice>,
    /// `X-Frame-Options`, for browsers that do not know `frame-ancestors`. Default: `DENY` (api), `SAMEORIGIN` (web).
    pub frame_options: Located<Choice>,
    /// `Referrer-Policy`. Default: `no-referrer` (api), `strict-origin-when-cross-origin` (web).
    pub referrer_policy: Located<Choice>,
    /// `Permissions-Policy`. Default: off (api); `camera=(), geolocation=(), microphone=(), payment=(), usb=()` (web).
    pub permissions_policy: Located<Choice>,
    /// `Cross-Origin-Opener-Policy`. Default: off (api), `same-origin` (web).
    pub opener_policy: Located<Choice>,
    /// `Cross-Origin-Resource-Policy`: who may embed responses without CORS. Default: `same-site` (api), `same-origin`
    /// (web).
    pub resource_policy: Located<Choice>,
    /// `Cross-Origin-Embedder-Policy`. Default: off, because it stops pages from embedding what does not agree to it.
    pub embedder_policy: Located<Choice>,
    /// `Cache-Control` for responses that say nothing about caching. Default: `no-store` (api), off (web).
    pub cache_control: Located<Choice>,
    /// Whether these values replace the upstream's own. Default: false.
    #[serde(rename = "override")]
    pub replace: bool,
    /// Response headers that are removed, because they tell what runs behind the edge. Default: Server, X-Powered-By.
    pub strip: Strip,
}

/// A set of values.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Preset {
    /// For responses that programs read: nothing may be embedded, framed or stored.
    #[default]
    Api,
    /// For pages: only what comes from the same origin.
    Web,
}

/// The headers that are removed.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Strip(pub Vec<Located<String>>);

impl Default for Strip {
    fn default() -> Self {
        Strip(["Server", "X-Powered-By"].map(|name| Located::nowhere(name.to_owned())).into())
    }
}

/// Sets headers whose values were made at load.
struct SecurityHeaders {
    set: Box<[(FieldName, HeaderValue, Over)]>,
    strip: Box<[HeaderName]>,
}

/// What happens to an upstream's own value.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Over {
    /// It stays.
    Yields,
    /// It is replaced.
    Replaces,
    /// It is replaced over TLS, and removed without (RFC 6797, section 7.2).
    ReplacesIfSecure,
}

/// Builds the filter.
pub fn build(config: Config, context: &mut Build<'_>) -> Option<Arc<dyn Filter>> {
    let report = &mut *context.report;
    let web = config.preset == Preset::Web;
    let either = |api: &'static str, of_web: &'static str| if web { of_web } else { api };
    let usual = if config.replace { Over::Replaces } else { Over::Yields };
    let rules = [
        ("Strict-Transport-Security", &config.hsts, "max-age=31536000", Over::ReplacesIfSecure),
        ("Content-Security-Policy", &config.csp, either(CSP_API, CSP_WEB), usual),
        ("X-Content-Type-Options", &config.content_type_options, "nosniff", Over::Replaces),
        ("X-Frame-Options", &config.frame_options, either("DENY", "SAMEORIGIN"), usual),
        (
            "Referrer-Policy",
            &config.referrer_policy,
            either("no-referrer", "strict-origin-when-cross-origin"),
            usual,
        ),
        ("Permissions-Policy", &config.permissions_policy, either("", PERMISSIONS_WEB), usual),
        ("Cross-Origin-Opener-Policy", &config.opener_policy, either("", "same-origin"), usual),
        ("Cross-Origin-Resource-Policy", &config.resource_policy, either("same-site", "same-origin"), usual),
        ("Cross-Origin-Embedder-Policy", &config.embedder_policy, "", usual),
        ("Cache-Control", &config.cache_control, either("no-store", ""), usual),
    ];
    let (mut set, mut good) = (Vec::new(), true);
    for (name, choice, preset, over) in rules {
        let value = match &choice.value {
            Choice::Off => continue,
            Choice::Usual if preset.is_empty() => continue,
            Choice::Usual => HeaderValue::from_static(preset),
            Choice::Value(text) => match parse_choice(name, &Located::new(text.clone(), choice.at), report) {
                Some(value) => value,
                None => {
                    good = false;
                    continue;
                }
            },
        };
        set.extend(FieldName::from_static(name).map(|field| (field, value, over)));
    }
    let fields: Vec<_> = config.strip.0.iter().map(|name| FieldName::parse_settable(name, report)).collect();
    let strip: Option<Vec<_>> = fields.into_iter().map(|field| Some(field?.name().clone())).collect();
    let strip = strip?.into_boxed_slice();
    good.then(|| Arc::new(SecurityHeaders { set: set.into(), strip }) as _)
}

const CSP_API: &str = "default-src 'none'; frame-ancestors 'none'";
const CSP_WEB: &str = "default-src 'self'; base-uri 'self'; form-action 'self'; frame-ancestors 'self'; \
                       img-src 'self' data:; object-src 'none'";
const PERMISSIONS_WEB: &str = "camera=(), geolocation=(), microphone=(), payment=(), usb=()";

impl Filter for SecurityHeaders {
    fn name(&self) -> &'static str {
        "security_headers"
    }

    fn stage(&self) -> Stage {
        Stage::Edge
    }

    fn on_response(&self, x: &mut Exchange<'_>, head: &mut ResponseHeader) -> Result<(), Fault> {
        for name in &self.strip {
            head.remove_header(name);
        }
        for (field, value, over) in &self.set {
            match over {
                Over::Yields if head.headers.contains_key(field.name()) => {}
                Over::ReplacesIfSecure if !x.facts.secure => {
                    head.remove_header(&STRICT_TRANSPORT_SECURITY);
                }
                _ => field.set_on_response(head, value.clone())?,
            }
        }
        Ok(())
    }
}

/// The values that a header may have, where there are only a few. Browsers ignore any other, so a slip of the pen would
/// turn the protection off unseen.
fn known_values(name: &str) -> Option<&'static [&'static str]> {
    Some(match name {
        "X-Content-Type-Options" => &["nosniff"],
        "X-Frame-Options" => &["DENY", "SAMEORIGIN"],
        "Referrer-Policy" => &[
            "no-referrer",
            "no-referrer-when-downgrade",
            "same-origin",
            "origin",
            "strict-origin",
            "origin-when-cross-origin",
            "strict-origin-when-cross-origin",
            "unsafe-url",
        ],
        "Cross-Origin-Opener-Policy" => {
            &["unsafe-none", "same-origin-allow-popups", "same-origin", "noopener-allow-popups"]
        }
        "Cross-Origin-Resource-Policy" => &["same-site", "same-origin", "cross-origin"],
        "Cross-Origin-Embedder-Policy" => &["unsafe-none", "require-corp", "credentialless"],
        _ => return None,
    })
}

fn parse_choice(name: &str, text: &Located<String>, report: &mut Report) -> Option<HeaderValue> {
    if text.is_empty() {
        report.error(text.at, format!("`{name}` has no value")).hint("write `off` to leave the header out");
        return None;
    }
    let value = parse_value(text, report)?;
    if let Some(known) = known_values(name) {
        // A list of referrer policies is legal: the last one that a browser knows counts.
        let unknown = text.split(',').map(str::trim).find(|one| !known.contains(one));
        let wrong = if name == "Referrer-Policy" {
            unknown
        } else {
            (!known.contains(&text.as_str())).then_some(text.as_str())
        };
        if let Some(wrong) = wrong {
            let error = report.error(text.at, format!("browsers know no `{name}: {wrong}`"));
            match nearest(wrong, known.iter().copied()) {
                Some(near) => error.hint(format!("did you mean `{near}`?")),
                None => error.hint(format!("it is one of {}", known.join(", "))),
            };
            return None;
        }
    }
    if name == "Strict-Transport-Security" && !is_hsts(text) {
        report
            .error(text.at, "HSTS needs a `max-age` in seconds")
            .hint("such as `max-age=31536000; includeSubDomains`");
        return None;
    }
    Some(value)
}

/// RFC 6797, section 6.1: `max-age` is required, each directive occurs once.
fn is_hsts(text: &str) -> bool {
    let mut ages = 0;
    for directive in text.split(';').map(str::trim).filter(|directive| !directive.is_empty()) {
        let (name, value) = directive.split_once('=').unwrap_or((directive, ""));
        if name.trim().eq_ignore_ascii_case("max-age") {
            let seconds = value.trim().trim_matches('"');
            if seconds.is_empty() || !seconds.bytes().all(|byte| byte.is_ascii_digit()) {
                return false;
            }
            ages += 1;
        }
    }
    ages == 1
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::tests::{probe, refused};
    use crate::probe::{Made, Probe};

    fn response(probe: &Probe, secure: bool, upstream: &[(&'static str, &str)]) -> ResponseHeader {
        let mut made = Made::new("GET", "/");
        made.facts.secure = secure;
        assert!(probe.request(&mut made).is_none());
        probe.response_to(&mut made, 200, upstream).unwrap()
    }

    fn values(head: &ResponseHeader) -> Vec<(&str, &str)> {
        let mut values: Vec<_> =
            head.headers.iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap())).collect();
        values.sort_unstable();
        values
    }

    #[test]
    fn the_api_preset_is_the_default() {
        let expected = [
            ("cache-control", "no-store"),
            ("content-security-policy", CSP_API),
            ("cross-origin-resource-policy", "same-site"),
            ("referrer-policy", "no-referrer"),
            ("strict-transport-security", "max-age=31536000"),
            ("x-content-type-options", "nosniff"),
            ("x-frame-options", "DENY"),
        ];
        assert_eq!(values(&response(&probe("- security_headers"), true, &[])), expected);
        assert_eq!(values(&response(&probe("- security_headers: { preset: api }"), true, &[])), expected);
    }

    #[test]
    fn the_web_preset_is_for_pages() {
        let expected = [
            ("content-security-policy", CSP_WEB),
            ("cross-origin-opener-policy", "same-origin"),
            ("cross-origin-resource-policy", "same-origin"),
            ("permissions-policy", PERMISSIONS_WEB),
            ("referrer-policy", "strict-origin-when-cross-origin"),
            ("strict-transport-security", "max-age=31536000"),
            ("x-content-type-options", "nosniff"),
            ("x-frame-options", "SAMEORIGIN"),
        ];
        assert_eq!(values(&response(&probe("- security_headers: { preset: web }"), true, &[])), expected);
    }

    /// RFC 6797, section 7.2: never over plain HTTP.
    #[test]
    fn hsts_is_sent_over_tls_only() {
        let probe = probe("- security_headers");
        let upstream = [("Strict-Transport-Security", "max-age=1")];
        assert!(!response(&probe, false, &upstream).headers.contains_key(STRICT_TRANSPORT_SECURITY));
        assert_eq!(response(&probe, true, &upstream).headers[STRICT_TRANSPORT_SECURITY], "max-age=31536000");
    }

    #[test]
    fn the_upstreams_own_value_wins_unless_overridden() {
        let upstream = [
            ("Content-Security-Policy", "default-src 'self'"),
            ("Cache-Control", "max-age=60"),
            ("X-Content-Type-Options", "no"),
        ];
        let head = response(&probe("- security_headers"), true, &upstream);
        assert_eq!(head.headers["content-security-policy"], "default-src 'self'");
        assert_eq!(head.headers["cache-control"], "max-age=60");
        assert_eq!(head.headers["x-content-type-options"], "nosniff");
        let head = response(&probe("- security_headers: { override: true }"), true, &upstream);
        assert_eq!(head.headers["content-security-policy"], CSP_API);
        assert_eq!(head.headers["cache-control"], "no-store");
    }

    #[test]
    fn each_header_can_be_replaced_or_turned_off() {
        let yaml = "- security_headers: { hsts: off, csp: null, frame_options: SAMEORIGIN, cache_control: 'private', \
                    content_type_options: off, referrer_policy: 'no-referrer, strict-origin', resource_policy: off }";
        let expected = [
            ("cache-control", "private"),
            ("referrer-policy", "no-referrer, strict-origin"),
            ("x-frame-options", "SAMEORIGIN"),
        ];
        assert_eq!(values(&response(&probe(yaml), true, &[])), expected);
    }

    #[test]
    fn headers_that_tell_what_runs_behind_are_removed() {
        let upstream = [("Server", "nginx/1.2.3"), ("X-Powered-By", "PHP"), ("X-Runtime", "1")];
        let head = response(&probe("- security_headers"), true, &upstream);
        assert!(!head.headers.contains_key("server") && !head.headers.contains_key("x-powered-by"));
        let head = response(&probe("- security_headers: { strip: [x-runtime] }"), true, &upstream);
        assert!(head.headers.contains_key("server") && !head.headers.contains_key("x-runtime"));
    }

    #[test]
    fn bad_settings_are_refused_where_they_stand() {
        let with = |setting: &str, message: &str| {
            refused(&format!("- security_headers: {{ {setting} }}"), "probe.yaml:1:", message);
        };
        refused("- security_headers: { csp: 'ü' }", "probe.yaml:1:28", "not a header value");
        with("csp: ''", "write `off`");
        with("csp: true", "");
        with("csp: \"a\\r\\nSet-Cookie: b\"", "not a header value");
        with("hsts: includeSubDomains", "HSTS needs a `max-age`");
        with("hsts: max-age=x", "HSTS needs a `max-age`");
        with("hsts: max-age=1; max-age=2", "HSTS needs a `max-age`");
        with("content_type_options: nosnif", "did you mean `nosniff`?");
        with("frame_options: ALLOWALL", "it is one of DENY, SAMEORIGIN");
        with("referrer_policy: 'no-referrer, sameorigin'", "did you mean `same-origin`?");
        with("opener_policy: same_origin", "did you mean `same-origin`?");
        with("strip: [Content-Length]", "belongs to the connection");
        with("preset: wep", "wep");
        with("hst: off", "hst");
    }
}
