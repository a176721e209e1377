//! From `issuers:` as written to an [`Issuer`], with every reason to refuse one.

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::time::Duration;

use arc_swap::ArcSwap;
use aws_lc_rs::digest;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::Uri;
use jsonwebtoken::{Algorithm, AlgorithmFamily};
use sallyport_config::issuer::{self as written, Jwks};
use sallyport_config::units::Secret;
use sallyport_config::{Located, Location, Report};

use super::refresh::Refresher;
use super::revocations::Revocations;
use super::{Issuer, KeySet, Source};

const SKEW: Duration = Duration::from_secs(60);
const SKEW_MAX: Duration = Duration::from_secs(300);

impl Issuer {
    /// An issuer from its settings, without keys yet unless they are a secret. Errors go to `report`; `None`
    /// means that there was one.
    pub fn new(name: &str, settings: &written::Issuer, report: &mut Report) -> Option<Issuer> {
        // Without this, the crate panics at the first signature if a build enables both of its back ends.
        // An error only says that a provider is installed already.
        let _ = jsonwebtoken::crypto::aws_lc::DEFAULT_PROVIDER.install_default();

        let at = settings.issuer.at;
        let mut sound = true;
        let mut refuse = |at: Location, text: String, hint: &str| {
            report.error(at, text).hint(hint);
            sound = false;
        };
        if settings.issuer.value.is_empty() {
            refuse(
                at,
                format!("issuer `{name}` has an empty `issuer`"),
                "write the exact `iss` claim of its tokens",
            );
        }
        if settings.audiences.is_empty() || settings.audiences.iter().any(String::is_empty) {
            let hint =
                "list the `aud` values that stand for this platform; else tokens for others would pass";
            refuse(at, format!("issuer `{name}` needs at least one audience, and no empty one"), hint);
        }
        if let Some(skew) = settings.skew.as_ref().filter(|skew| *skew.value > SKEW_MAX) {
            refuse(skew.at, "`skew` is longer than 5m".to_owned(), "clocks that differ by more need repair");
        }
        match (&settings.jwks, &settings.hmac_secret) {
            (Some(_), Some(secret)) => {
                let text = format!("issuer `{name}` has both `jwks` and `hmac_secret`");
                refuse(
                    secret.at,
                    text,
                    "make two issuers of it; one key must not serve two kinds of algorithm",
                );
            }
            (None, None) => {
                let text = format!("issuer `{name}` has no keys");
                refuse(at, text, "add `jwks: { url: ... }`, `jwks: { file: ... }` or `hmac_secret: ${...}`");
            }
            _ => {}
        }
        let algorithms = algorithms(settings, &mut refuse);
        if let Some(secret) = &settings.hmac_secret {
            check_secret(secret, &algorithms, &mut refuse);
        }
        let source = match &settings.jwks {
            Some(jwks) => source(jwks, at, &mut refuse),
            None => Some(Source::Static),
        };
        sound.then_some(source?).map(|source| assemble(name, settings, algorithms, source))
    }
}

fn assemble(name: &str, settings: &written::Issuer, algorithms: Vec<Algorithm>, source: Source) -> Issuer {
    let keys = match &settings.hmac_secret {
        Some(secret) => KeySet::secret(secret.value.expose().as_bytes()),
        None => KeySet::empty(),
    };
    let seconds = |time: fn(&Jwks) -> Duration| settings.jwks.as_ref().map_or(Duration::MAX, time);
    let (refresh, cooldown) = (seconds(|jwks| *jwks.refresh), seconds(|jwks| *jwks.cooldown));
    // A file is read when it changes and a secret never, so only what comes from a URL can be stale.
    let max_stale = matches!(source, Source::Url { .. }).then(|| seconds(|jwks| *jwks.max_stale));
    let skew = settings.skew.as_ref().map_or(SKEW, |skew| *skew.value);
    let revocations_file = settings.revocations.as_ref().map(|list| PathBuf::from(&list.file.value));
    let revocations = if revocations_file.is_some() { Revocations::unknown() } else { Revocations::none() };
    let secret = settings.hmac_secret.as_ref().map(|secret| {
        let digest = digest::digest(&digest::SHA256, secret.value.expose().as_bytes());
        URL_SAFE_NO_PAD.encode(digest)
    });
    let iss = &settings.issuer.value;
    let audiences = &settings.audiences;
    let fingerprint = format!(
        "{name:?} {iss:?} {source:?} {algorithms:?} {audiences:?} {skew:?} {refresh:?} {cooldown:?} {max_stale:?} \
         {revocations_file:?} {secret:?}"
    );
    Issuer {
        name: name.into(),
        iss: iss.as_str().into(),
        audiences: audiences.iter().map(|audience| audience.as_str().into()).collect(),
        algorithms: algorithms.into(),
        source,
        skew,
        refresh,
        max_stale,
        revocations_file,
        fingerprint,
        keys: ArcSwap::new(Arc::new(keys)),
        revocations: ArcSwap::new(Arc::new(revocations)),
        failures: AtomicU32::new(0),
        refresher: Refresher::new(cooldown, refresh),
    }
}

type Refuse<'a> = dyn FnMut(Location, String, &str) + 'a;

/// The allow-list. HMAC and public keys never share one, so that a public key cannot be taken for a secret
/// (RFC 8725, section 2.1).
fn algorithms(settings: &written::Issuer, refuse: &mut Refuse<'_>) -> Vec<Algorithm> {
    let symmetric = settings.hmac_secret.is_some();
    for algorithm in &settings.algorithms {
        let hmac = compiled(algorithm.value).family() == AlgorithmFamily::Hmac;
        if hmac && !symmetric {
            let text = format!("{:?} needs `hmac_secret`", algorithm.value);
            refuse(algorithm.at, text, "with `jwks` use RS256, PS256, ES256, EdDSA or a larger sibling");
        } else if !hmac && symmetric && settings.jwks.is_none() {
            let text = format!("{:?} needs `jwks`", algorithm.value);
            refuse(algorithm.at, text, "with `hmac_secret` use HS256, HS384 or HS512");
        }
    }
    match (settings.algorithms.is_empty(), symmetric) {
        (true, true) => vec![Algorithm::HS256],
        (true, false) => vec![Algorithm::RS256, Algorithm::ES256],
        _ => settings.algorithms.iter().map(|algorithm| compiled(algorithm.value)).collect(),
    }
}

/// A secret is at least as long as the hash (RFC 7518, section 3.2).
fn check_secret(secret: &Located<Secret>, algorithms: &[Algorithm], refuse: &mut Refuse<'_>) {
    let (least, algorithm) = if algorithms.contains(&Algorithm::HS512) {
        (64, "HS512")
    } else if algorithms.contains(&Algorithm::HS384) {
        (48, "HS384")
    } else {
        (32, "HS256")
    };
    if secret.value.expose().len() < least {
        let text = format!("`hmac_secret` is shorter than the {least} bytes that {algorithm} needs");
        refuse(secret.at, text, "make one with `openssl rand -base64 48` (64 bytes of text)");
    }
}

fn source(jwks: &Jwks, at: Location, refuse: &mut Refuse<'_>) -> Option<Source> {
    let at = match (&jwks.url, &jwks.file) {
        (Some(_), Some(file)) => {
            refuse(file.at, "`jwks` has both `url` and `file`".to_owned(), "keep one of them");
            return None;
        }
        (None, None) => {
            refuse(at, "`jwks` has neither `url` nor `file`".to_owned(), "add one of them");
            return None;
        }
        (None, Some(file)) => {
            if let Some(ca) = &jwks.ca {
                refuse(ca.at, "`ca` is of no use with `file`".to_owned(), "remove it");
            }
            return Some(Source::File(PathBuf::from(&file.value)));
        }
        (Some(url), None) => url.at,
    };
    if jwks.refresh.is_zero() || jwks.cooldown.is_zero() {
        refuse(at, "`refresh` and `cooldown` may not be 0".to_owned(), "10m and 30s are the defaults");
    }
    if *jwks.max_stale < *jwks.refresh {
        let hint = "keys would be refused before they are fetched again; the default is 24h";
        refuse(at, "`max_stale` is shorter than `refresh`".to_owned(), hint);
    }
    let url = jwks.url.as_ref()?;
    match url.value.parse::<Uri>() {
        Ok(uri) if safe(&uri) => {
            Some(Source::Url { url: uri, ca: jwks.ca.as_ref().map(|ca| PathBuf::from(&ca.value)) })
        }
        _ => {
            let hint = "write `https://host/path`; whoever can change the answer can sign tokens";
            refuse(at, "`url` is not an https: URL (or http: to a loopback address)".to_owned(), hint);
            None
        }
    }
}

fn safe(url: &Uri) -> bool {
    let Some(host) = url.host() else { return false };
    // User information in a URL is a secret in a place that gets logged.
    if url.authority().is_some_and(|authority| authority.as_str().contains('@')) {
        return false;
    }
    match url.scheme_str() {
        Some("https") => true,
        Some("http") => {
            let address = host.trim_start_matches('[').trim_end_matches(']');
            host == "localhost" || address.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
        }
        _ => false,
    }
}

fn compiled(algorithm: written::Algorithm) -> Algorithm {
    match algorithm {
        written::Algorithm::RS256 => Algorithm::RS256,
        written::Algorithm::RS384 => Algorithm::RS384,
        written::Algorithm::RS512 => Algorithm::RS512,
        written::Algorithm::PS256 => Algorithm::PS256,
        written::Algorithm::PS384 => Algorithm::PS384,
        written::Algorithm::PS512 => Algorithm::PS512,
        written::Algorithm::ES256 => Algorithm::ES256,
        written::Algorithm::ES384 => Algorithm::ES384,
        written::Algorithm::EdDSA => Algorithm::EdDSA,
        written::Algorithm::HS256 => Algorithm::HS256,
        written::Algorithm::HS384 => Algorithm::HS384,
        written::Algorithm::HS512 => Algorithm::HS512,
    }
}
