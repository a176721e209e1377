//! Issuers: keys and algorithms that go together.

use std::net::IpAddr;

use crate::check::Facts;
use crate::file::Config;
use crate::issuer::{Algorithm, Issuer, Jwks};
use crate::located::Located;
use crate::report::Report;

/// The shortest secret for HS256 (RFC 7518, section 3.2: a key of at least the hash's size).
const HMAC_BYTES_MIN: usize = 32;

const SKEW_SECONDS_MAX: u64 = 300;

pub(super) fn check(config: &Config, facts: &Facts, report: &mut Report) {
    for (name, issuer) in config.issuers.iter() {
        if facts.is_sound(name.at) {
            check_issuer(name, issuer, report);
        }
    }
}

fn check_issuer(name: &Located<String>, issuer: &Issuer, report: &mut Report) {
    match (&issuer.jwks, &issuer.hmac_secret) {
        (None, None) => {
            report
                .error(name.at, format!("the issuer `{}` has no keys", name.value))
                .hint("write `jwks: { url: ... }`, `jwks: { file: ... }` or `hmac_secret: ${NAME}`");
        }
        // RFC 8725, section 3.5 and the confusion of RS256 with HS256: a public key must never serve as a secret.
        (Some(_), Some(secret)) => {
            report
                .error(secret.at, format!("the issuer `{}` has both `jwks` and `hmac_secret`", name.value))
                .hint("write two issuers");
        }
        (Some(jwks), None) => check_jwks(name, jwks, report),
        (None, Some(secret)) => {
            let longest = issuer.algorithms.iter().map(|algorithm| hmac_bytes(algorithm.value)).max();
            let least = longest.unwrap_or(HMAC_BYTES_MIN).max(HMAC_BYTES_MIN);
            let length = secret.expose().len();
            if length < least {
                report
                    .error(secret.at, format!("the secret of the issuer `{}` is shorter than {least} bytes", name.value))
                    .hint("RFC 7518, section 3.2, wants as many bytes as the hash has; `openssl rand -hex 32` makes a good one");
            }
        }
    }
    for algorithm in &issuer.algorithms {
        let symmetric = hmac_bytes(algorithm.value) > 0;
        if symmetric && issuer.jwks.is_some() {
            report
                .error(algorithm.at, format!("{:?} needs `hmac_secret`, not `jwks`", algorithm.value))
                .hint("with public keys use RS256, PS256, ES256 or EdDSA");
        } else if !symmetric && issuer.hmac_secret.is_some() {
            report
                .error(algorithm.at, format!("{:?} needs `jwks`, not `hmac_secret`", algorithm.value))
                .hint("with a shared secret use HS256, HS384 or HS512");
        }
    }
    if issuer.audiences.is_empty() {
        report
            .error(
                name.at,
                format!("`audiences` of the issuer `{}` is empty: every token would be refused", name.value),
            )
            .hint("list the `aud` values that tokens for this platform carry");
    }
    if let Some(skew) = issuer.skew.as_ref().filter(|skew| skew.as_secs() > SKEW_SECONDS_MAX) {
        report.error(skew.at, format!("`skew` is at most 5m, found {}", skew.value));
    }
}

/// The size of the hash, for HS algorithms.
fn hmac_bytes(algorithm: Algorithm) -> usize {
    match algorithm {
        Algorithm::HS256 => 32,
        Algorithm::HS384 => 48,
        Algorithm::HS512 => 64,
        _ => 0,
    }
}

fn check_jwks(name: &Located<String>, jwks: &Jwks, report: &mut Report) {
    match (&jwks.url, &jwks.file) {
        (None, None) => {
            report.error(name.at, format!("`jwks` of the issuer `{}` needs `url` or `file`", name.value));
        }
        (Some(_), Some(file)) => {
            report.error(file.at, "both `url` and `file`").hint("write one of them");
        }
        (Some(url), None) => check_url(url, report),
        (None, Some(_)) => {}
    }
    if jwks.refresh.is_zero() || jwks.max_stale.as_millis() < jwks.refresh.as_millis() {
        report.error(
            name.at,
            format!(
                "`jwks` of the issuer `{}`: `max_stale` is shorter than `refresh`, or `refresh` is 0",
                name.value
            ),
        );
    }
}

/// Keys come over TLS, or from this machine.
fn check_url(url: &Located<String>, report: &mut Report) {
    let parsed: Option<http::Uri> = url.parse().ok();
    let Some((scheme, host)) = parsed.as_ref().and_then(|uri| Some((uri.scheme_str()?, uri.host()?))) else {
        report.error(url.at, format!("`{}` is not a URL", url.value)).hint("write `https://host/path`");
        return;
    };
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let loopback = bare == "localhost" || bare.parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
    if parsed
        .as_ref()
        .and_then(|uri| uri.authority())
        .is_some_and(|authority| authority.as_str().contains('@'))
    {
        report.error(url.at, "a URL of keys holds no user or password");
    } else if scheme != "https" && !(scheme == "http" && loopback) {
        report
            .error(url.at, format!("keys over `{scheme}:` could be anybody's"))
            .hint("use `https:`; `http:` only to a loopback address");
    }
}
