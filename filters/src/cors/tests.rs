use http::Method;
use http::header::{ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_METHODS};
use proptest::prelude::*;

use super::*;
use crate::probe::tests::{probe, refused};
use crate::probe::{Made, Probe};

const BROWSER: &str = "
- cors:
    origins: ['https://app.example.com', 'https://*.example.org', 'http://*.example.net:8080', { regex: 'https://pr-[0-9]+[.]example[.]dev' }]
    credentials: true
    expose: [X-Total]
";

fn get(origin: &str) -> Made {
    Made::new("GET", "/").header("Origin", origin)
}

fn preflight(origin: &str) -> Made {
    let mut made =
        Made::new("OPTIONS", "/").header("Origin", origin).header("Access-Control-Request-Method", "PUT");
    made.facts.preflight = true;
    made
}

/// `Access-Control-Allow-Origin` of an ordinary response.
fn allowed(probe: &Probe, mut made: Made) -> Option<String> {
    assert!(probe.request(&mut made).is_none());
    let head = probe.response(&mut made, 200).unwrap();
    head.headers.get(ACCESS_CONTROL_ALLOW_ORIGIN).map(|value| value.to_str().unwrap().to_owned())
}

fn answer(probe: &Probe, mut made: Made) -> ResponseHeader {
    let reply = probe.request(&mut made).expect("a preflight is answered");
    probe.reply(&mut made, &reply).unwrap()
}

#[test]
fn listed_origins_are_allowed() {
    let probe = probe(BROWSER);
    for origin in [
        "https://app.example.com",
        "https://a.example.org",
        "https://a.b-c.example.org",
        "http://x.example.net:8080",
        "https://pr-17.example.dev",
    ] {
        assert_eq!(allowed(&probe, get(origin)).as_deref(), Some(origin));
    }
}

/// Each of these has been let in somewhere by a careless suffix, prefix or regex match.
#[test]
fn look_alikes_are_not_allowed() {
    let probe = probe(BROWSER);
    for origin in [
        "null",
        "http://app.example.com",
        "https://app.example.com.evil.test",
        "https://app.example.com:8443",
        "https://app.example.com/",
        "https://APP.example.com",
        "https://evilexample.org",
        "https://example.org",
        "https://.example.org",
        "https://a..example.org",
        "https://evil.test/.example.org",
        "https://evil.test#.example.org",
        "https://user@a.example.org",
        "https://a.example.org:443",
        "http://x.example.net",
        "https://pr-17.example.dev.evil.test",
        "https://evil.test/https://pr-17.example.dev",
        "https://pr-17xexample.dev",
        "",
    ] {
        assert_eq!(allowed(&probe, get(origin)), None, "{origin}");
    }
    assert_eq!(allowed(&probe, Made::new("GET", "/")), None);
    let twice = get("https://app.example.com").header("Origin", "https://app.example.com");
    assert_eq!(allowed(&probe, twice), None);
}

#[test]
fn an_allowed_response_says_so_and_names_what_may_be_read() {
    let probe = probe(BROWSER);
    let mut made = get("https://app.example.com");
    assert!(probe.request(&mut made).is_none());
    let head = probe.response(&mut made, 401).unwrap();
    assert_eq!(head.headers[ACCESS_CONTROL_ALLOW_ORIGIN], "https://app.example.com");
    assert_eq!(head.headers[ACCESS_CONTROL_ALLOW_CREDENTIALS], "true");
    assert_eq!(head.headers[ACCESS_CONTROL_EXPOSE_HEADERS], "X-Total");
    assert_eq!(head.headers[VARY], "Origin");
}

/// Fetch, section 4.8 "CORS-preflight fetch".
#[test]
fn a_preflight_is_answered_completely() {
    let head = answer(&probe(BROWSER), preflight("https://app.example.com"));
    assert_eq!(head.status, StatusCode::NO_CONTENT);
    let expected = [
        ("access-control-allow-origin", "https://app.example.com"),
        ("access-control-allow-credentials", "true"),
        ("access-control-allow-methods", "GET, HEAD, POST, PUT, PATCH, DELETE"),
        ("access-control-allow-headers", "Authorization, Content-Type"),
        ("access-control-max-age", "600"),
        ("vary", "Origin, Access-Control-Request-Method, Access-Control-Request-Headers"),
    ];
    for (name, value) in expected {
        assert_eq!(head.headers[name], value);
    }
    assert_eq!(head.headers.len(), expected.len());
}

#[test]
fn a_preflight_from_elsewhere_is_refused_without_cors_headers() {
    for origin in ["https://evil.test", "null"] {
        let head = answer(&probe(BROWSER), preflight(origin));
        assert_eq!(head.status, StatusCode::FORBIDDEN);
        assert_eq!(head.headers.keys().map(HeaderName::as_str).collect::<Vec<_>>(), ["vary"]);
    }
}

#[test]
fn all_headers_are_echoed_with_credentials_and_a_wildcard_without() {
    let with = probe("- cors: { origins: ['https://a.example'], credentials: true, headers: '*' }");
    let asked = preflight("https://a.example").header("Access-Control-Request-Headers", "authorization, x-a");
    assert_eq!(answer(&with, asked).headers[ACCESS_CONTROL_ALLOW_HEADERS], "authorization, x-a");
    for bad in ["x-a; x-b", "x-<a>", "x-\"a\"", &"x".repeat(1025)] {
        let asked = preflight("https://a.example").header("Access-Control-Request-Headers", bad);
        assert!(!answer(&with, asked).headers.contains_key(ACCESS_CONTROL_ALLOW_HEADERS), "{bad}");
    }
    let without = probe("- cors: { origins: '*', headers: '*' }");
    let asked = preflight("https://a.example").header("Access-Control-Request-Headers", "x-a");
    assert_eq!(answer(&without, asked).headers[ACCESS_CONTROL_ALLOW_HEADERS], "*, Authorization");
}

#[test]
fn a_wildcard_needs_no_vary_and_never_allows_null() {
    for yaml in ["- cors: { origins: '*' }", "- cors: { origins: ['*'] }"] {
        let probe = probe(yaml);
        let mut made = get("https://anywhere.test");
        assert!(probe.request(&mut made).is_none());
        let head = probe.response(&mut made, 200).unwrap();
        assert_eq!(head.headers[ACCESS_CONTROL_ALLOW_ORIGIN], "*");
        assert!(!head.headers.contains_key(VARY));
        assert_eq!(allowed(&probe, get("null")), None);
    }
}

/// Fetch, section 3.2.5 "CORS protocol and HTTP caches".
#[test]
fn vary_has_origin_exactly_once() {
    let probe = probe(BROWSER);
    for (upstream, expected) in [
        (&[][..], "Origin"),
        (&["Accept-Encoding"], "Accept-Encoding, Origin"),
        (&["Accept", "Accept-Encoding"], "Accept, Accept-Encoding, Origin"),
        (&["accept, ORIGIN"], "accept, ORIGIN"),
        (&["*"], "*"),
        (&["X-Origin"], "X-Origin, Origin"),
    ] {
        let mut made = Made::new("GET", "/");
        assert!(probe.request(&mut made).is_none());
        let headers: Vec<_> = upstream.iter().map(|value| ("Vary", *value)).collect();
        let head = probe.response_to(&mut made, 200, &headers).unwrap();
        let values: Vec<_> = head.headers.get_all(VARY).iter().map(|value| value.to_str().unwrap()).collect();
        assert_eq!(values, [expected], "{upstream:?}");
    }
}

#[test]
fn what_the_upstream_says_about_cors_is_replaced() {
    let probe = probe(BROWSER);
    let upstream = [
        ("Access-Control-Allow-Origin", "*"),
        ("Access-Control-Allow-Origin", "https://evil.test"),
        ("Access-Control-Allow-Credentials", "true"),
        ("Access-Control-Allow-Methods", "TRACE"),
    ];
    let mut made = get("https://app.example.com");
    assert!(probe.request(&mut made).is_none());
    let head = probe.response_to(&mut made, 200, &upstream).unwrap();
    let origins: Vec<_> = head.headers.get_all(ACCESS_CONTROL_ALLOW_ORIGIN).iter().collect();
    assert_eq!(origins, ["https://app.example.com"]);
    assert!(!head.headers.contains_key(ACCESS_CONTROL_ALLOW_METHODS));
    let mut made = get("https://evil.test");
    assert!(probe.request(&mut made).is_none());
    let head = probe.response_to(&mut made, 200, &upstream).unwrap();
    assert_eq!(head.headers.keys().map(HeaderName::as_str).collect::<Vec<_>>(), ["vary"]);
}

#[test]
fn enforcement_refuses_other_origins_but_not_the_hosts_own() {
    let probe = probe("- cors: { origins: ['https://app.example.com'], enforce: true }");
    let status = |mut made: Made| probe.request(&mut made).map(|reply| reply.status);
    let own = |origin: &str, host: &str| {
        let mut made = get(origin).header("Host", host);
        made.facts.secure = true;
        made.request.set_method(Method::POST);
        made
    };
    assert_eq!(status(get("https://app.example.com")), None);
    assert_eq!(status(Made::new("GET", "/")), None);
    assert_eq!(status(own("https://api.example.com", "api.example.com")), None);
    assert_eq!(status(own("https://api.example.com", "API.example.com:443")), None);
    for foreign in [
        get("https://evil.test"),
        get("null"),
        get("https://app.example.com").header("Origin", "https://evil.test"),
        own("http://api.example.com", "api.example.com"),
        own("https://api.example.com:8443", "api.example.com"),
        own("https://", ""),
    ] {
        assert_eq!(status(foreign), Some(StatusCode::FORBIDDEN));
    }
}

#[test]
fn bad_settings_are_refused_where_they_stand() {
    let origins = |text: &str, message: &str| {
        refused(&format!("- cors: {{ origins: [{text}] }}"), "probe.yaml:1:21", message);
    };
    origins("app.example.com", "an origin begins with its scheme: `https://app.example.com`");
    origins("'https://app.example.com/'", "scheme, host and port only: `https://app.example.com`");
    origins("'https://App.example.com'", "lower case: `https://app.example.com`");
    origins("'https://app.example.com:443'", "leave out the scheme's own port");
    origins("'null'", "never matches");
    origins("'https://*.com'", "whole top-level domain");
    origins("'https://a.*.example.com'", "is not an origin");
    origins("'https://*'", "is not an origin");
    origins("'https://a.example:0'", "is not an origin");
    refused("- cors: { origins: [{ regex: '(' }] }", "probe.yaml:1:30", "not a regular expression");
    refused("- cors: { origins: [{ regex: 'a)(b' }] }", "probe.yaml:1:30", "not a regular expression");
    refused("- cors: { origins: [] }", "probe.yaml:1:20", "empty list");
    refused("- cors: { origins: 'https://a.example' }", "probe.yaml:1:20", "write `[\"https://a.example\"]`");
    refused("- cors: { origins: '*', credentials: true }", "probe.yaml:1:20", "cannot stand together");
    let with = |setting: &str| format!("- cors: {{ origins: '*', {setting} }}");
    refused(&with("methods: [patch]"), "probe.yaml:1:35", "written in capitals");
    refused(&with("methods: ['*']"), "probe.yaml:1:35", "list the methods");
    refused(&with("methods: []"), "probe.yaml:1:20", "empty list");
    refused(&with("headers: Authorization"), "probe.yaml:1:34", "write `[Authorization]`");
    refused(&with("headers: ['a b']"), "probe.yaml:1:35", "not a header name");
    refused(&with("expose: ['a b']"), "probe.yaml:1:34", "not a header name");
    refused(&with("max_age: 25h"), "probe.yaml:1:34", "at most 24h");
}

proptest! {
    /// Whatever an `Origin` says, a response is marked for it only if it is one of those meant.
    #[test]
    fn only_what_is_below_the_domain_passes_a_wildcard(origin in "[ -~]{0,40}") {
        let probe = probe("- cors: { origins: ['https://*.example.com'] }");
        let origins = [origin.clone(), format!("https://{origin}.example.com"), format!("https://a.example.com{origin}")];
        for origin in origins {
            if allowed(&probe, get(&origin)).is_some() {
                let host = origin.strip_prefix("https://").unwrap();
                prop_assert!(host.ends_with(".example.com"));
                prop_assert!(host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte)));
            }
        }
    }
}
