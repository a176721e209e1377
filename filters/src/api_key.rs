//! `api_key`: lets a request pass only with one of the keys in the configuration.
//!
//! For machines that cannot get a token. Keys are kept as keyed hashes only; where a key may stand in a
//! request is in `credential.rs`. A request costs one HMAC of the key it carries; nothing is allocated.

use std::collections::HashMap;
use std::sync::Arc;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::hmac::{self, HMAC_SHA256};
use aws_lc_rs::rand;
use http::header::{AUTHORIZATION, COOKIE, WWW_AUTHENTICATE};
use http::{HeaderName, HeaderValue};
use pingora_http::RequestHeader;
use sallyport_config::units::Secret;
use sallyport_config::{Located, Location, Named, Report};
use sallyport_identity::Identity;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::build::Build;
use crate::credential::{self, Found, Place};
use crate::exchange::Exchange;
use crate::field::FieldName;
use crate::filter::{Fault, Filter, Stage, Step};
use crate::reply::{ProblemKind, Reply};

/// The shortest key that cannot be guessed.
const KEY_BYTES_MIN: usize = 16;
/// The longest key that is looked at.
const KEY_BYTES_MAX: usize = 1024;

/// Lets a request pass only with one of these keys, and says who asks.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The name of this set of keys, as the issuer of its identities in logs. Default: api_key.
    #[serde(default = "own_name")]
    pub name: String,
    /// The keys. At least one.
    pub keys: Vec<KeyConfig>,
    /// Where the key stands: `{ header: name }`, `{ authorization: scheme }`, `{ query: name }`. A request
    /// with two keys is refused with 400. A query parameter is always taken out of the URI, before it is
    /// logged or sent on. Default: { header: X-Api-Key }.
    #[serde(default = "own_header")]
    pub from: Located<KeyPlace>,
    /// Whether the upstream gets the key, in the header where the client put it. Default: false.
    #[serde(default)]
    pub forward: bool,
    /// The `realm` of `WWW-Authenticate`. Default: sallyport.
    #[serde(default = "realm")]
    pub realm: Located<String>,
}

/// A key.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct KeyConfig {
    /// Whose key it is: the subject of the identity, in logs and limits. Names may repeat, so that an old and
    /// a new key can be valid together while they are exchanged.
    pub name: Located<String>,
    /// The key, `${ENV}` or `file:`; 16 to 1024 bytes of visible ASCII.
    pub secret: Located<Secret>,
    /// Claims of the identity, for filters that ask for some. Default: none.
    #[serde(default)]
    pub claims: Named<Value>,
}

/// Where a key stands.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum KeyPlace {
    /// The whole value of a header.
    Header(String),
    /// `Authorization`, behind this scheme, such as `ApiKey`.
    Authorization(String),
    /// A query parameter.
    Query(String),
}

fn own_name() -> String {
    "api_key".to_owned()
}

fn own_header() -> Located<KeyPlace> {
    Located::nowhere(KeyPlace::Header("X-Api-Key".to_owned()))
}

fn realm() -> Located<String> {
    Located::nowhere("sallyport".to_owned())
}

struct ApiKey {
    place: [Place; 1],
    keys: Keys,
    forward: bool,
    challenge: HeaderValue,
}

/// Keys by the HMAC of each, under a random key of this filter's own: nobody outside can compute what is
/// compared, so the time of a lookup tells nothing. The last comparison takes the same time for all, on top
/// of that.
struct Keys {
    hmac: hmac::Key,
    by_start: HashMap<[u8; 16], Entry>,
}

struct Entry {
    tag: hmac::Tag,
    identity: Arc<Identity>,
}

/// Builds the filter.
pub fn build(config: Config, context: &mut Build<'_>) -> Option<Arc<dyn Filter>> {
    let at = context.at;
    let report = &mut *context.report;
    let place = place(&config.from, report);
    let keys = Keys::new(&config, at, report);
    let scheme = match &config.from.value {
        KeyPlace::Authorization(scheme) => scheme,
        KeyPlace::Header(_) | KeyPlace::Query(_) => "ApiKey",
    };
    let quotable =
        config.realm.bytes().all(|byte| matches!(byte, b' '..=b'~') && byte != b'"' && byte != b'\\');
    if !quotable {
        report
            .error(config.realm.at, "`realm` is not plain text")
            .hint("use visible ASCII without `\"` and `\\`");
        return None;
    }
    let challenge = HeaderValue::try_from(format!("{scheme} realm=\"{}\"", config.realm.value)).ok();
    Some(Arc::new(ApiKey { place: [place?], keys: keys?, forward: config.forward, challenge: challenge? }))
}

impl Filter for ApiKey {
    fn name(&self) -> &'static str {
        "api_key"
    }

    fn stage(&self) -> Stage {
        Stage::Identity
    }

    fn on_request(&self, x: &mut Exchange<'_>) -> Step {
        let key = match credential::take(&self.place, x.request) {
            Found::One(key) => key,
            Found::Nothing => return self.refuse("this needs an API key"),
            Found::Several => {
                let detail = "the request carries more than one API key";
                return Step::Reply(Reply::problem(ProblemKind::BadRequest, detail));
            }
            Found::Malformed => {
                return Step::Reply(Reply::problem(
                    ProblemKind::BadRequest,
                    "the request carries an empty API key",
                ));
            }
        };
        match self.keys.find(key.bytes()) {
            Some(identity) => {
                x.facts.identity = Some(identity.clone());
                Step::Continue
            }
            None => self.refuse("the API key is not valid"),
        }
    }

    fn on_upstream_request(&self, _: &mut Exchange<'_>, head: &mut RequestHeader) -> Result<(), Fault> {
        if !self.forward {
            self.place[0].strip(head);
        }
        Ok(())
    }
}

impl ApiKey {
    fn refuse(&self, detail: &'static str) -> Step {
        let reply = Reply::problem(ProblemKind::Unauthorized, detail);
        Step::Reply(reply.header(WWW_AUTHENTICATE, self.challenge.clone()))
    }
}

impl Keys {
    fn new(config: &Config, at: Location, report: &mut Report) -> Option<Keys> {
        let mut random = [0; 32];
        if rand::fill(&mut random).is_err() {
            report.error(at, "the system gives no random numbers");
            return None;
        }
        let mut keys = Keys { hmac: hmac::Key::new(HMAC_SHA256, &random), by_start: HashMap::new() };
        let mut sound = true;
        if config.keys.is_empty() {
            report.error(at, "`api_key` has no keys, so nobody would pass").hint("add one under `keys`");
            sound = false;
        }
        let issuer: Arc<str> = config.name.as_str().into();
        for key in &config.keys {
            let secret = key.secret.expose().as_bytes();
            let visible = secret.iter().all(u8::is_ascii_graphic);
            if key.name.is_empty() {
                report.error(key.name.at, "a key needs a name").hint("it says in logs whose key was used");
            } else if !(KEY_BYTES_MIN..=KEY_BYTES_MAX).contains(&secret.len()) || !visible {
                let text = format!("the key `{}` is not 16 to 1024 bytes of visible ASCII", key.name.value);
                report.error(key.secret.at, text).hint("make one with `openssl rand -hex 32`");
            } else if let Some(other) = keys.insert(secret, identity(&issuer, key)) {
                let text = format!("the key `{}` is the same as `{}`", key.name.value, other.subject);
                report.error(key.secret.at, text).hint("give everybody a key of their own");
            } else {
                continue;
            }
            sound = false;
        }
        sound.then_some(keys)
    }

    /// Adds a key. If it is there already, the answer is whose it is.
    fn insert(&mut self, secret: &[u8], identity: Arc<Identity>) -> Option<Arc<Identity>> {
        let tag = hmac::sign(&self.hmac, secret);
        let replaced = self.by_start.insert(start(&tag), Entry { tag, identity });
        replaced.map(|entry| entry.identity)
    }

    fn find(&self, key: &[u8]) -> Option<&Arc<Identity>> {
        if key.len() > KEY_BYTES_MAX {
            return None;
        }
        let tag = hmac::sign(&self.hmac, key);
        let entry = self.by_start.get(&start(&tag))?;
        let equal = verify_slices_are_equal(tag.as_ref(), entry.tag.as_ref()).is_ok();
        equal.then_some(&entry.identity)
    }
}

fn start(tag: &hmac::Tag) -> [u8; 16] {
    // A SHA-256 tag has 32 bytes.
    std::array::from_fn(|index| tag.as_ref().get(index).copied().unwrap_or_default())
}

fn identity(issuer: &Arc<str>, key: &KeyConfig) -> Arc<Identity> {
    let claims: Map<String, Value> =
        key.claims.iter().map(|(name, value)| (name.value.clone(), value.clone())).collect();
    let subject = key.name.as_str().into();
    Arc::new(Identity { issuer: issuer.clone(), subject, claims: Value::Object(claims).into() })
}

fn place(written: &Located<KeyPlace>, report: &mut Report) -> Option<Place> {
    match &written.value {
        KeyPlace::Header(name) => {
            let field = FieldName::parse_settable(&Located::new(name.clone(), written.at), report)?;
            if [AUTHORIZATION, COOKIE].contains(field.name()) {
                report
                    .error(written.at, format!("`{name}` holds more than a key"))
                    .hint("write `from: { authorization: ApiKey }` for `Authorization: ApiKey ...`");
                return None;
            }
            Some(Place::Header(field.name().clone()))
        }
        KeyPlace::Authorization(scheme) => {
            // A scheme is a token (RFC 9110, section 11.1), as a header's name is.
            if scheme.parse::<HeaderName>().is_err() {
                report
                    .error(written.at, format!("`{scheme}` is not a scheme"))
                    .hint("a word such as `ApiKey`");
                return None;
            }
            Some(Place::Authorization(scheme.as_str().into()))
        }
        KeyPlace::Query(name) => {
            if name.is_empty() {
                report
                    .error(written.at, "a query parameter needs a name")
                    .hint("such as `{ query: api_key }`");
                return None;
            }
            Some(Place::Query(name.as_str().into()))
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use sallyport_identity::Issuers;
    use sallyport_identity::issuer::testing::SecretFile;

    use super::*;
    use crate::Registry;
    use crate::probe::{Made, Probe};

    const OLD: &str = "0123456789abcdef";
    const NEW: &str = "fedcba9876543210+/=x";

    fn build_probe(settings: &str) -> Result<Probe, String> {
        let yaml = format!("- api_key: {{ {settings} }}");
        Probe::from_yaml(&Registry::standard(), &Issuers::default(), &yaml)
    }

    /// A filter with two keys of `ann` and these settings.
    fn probe(settings: &str) -> Probe {
        let (old, new) = (SecretFile::new(OLD), SecretFile::new(NEW));
        let keys = format!(
            "keys: [{{ name: ann, secret: {}, claims: {{ tenant: acme }} }}, {{ name: ann, secret: {} }}]",
            old.written(),
            new.written()
        );
        build_probe(&format!("{keys}{settings}")).unwrap()
    }

    fn challenge(reply: &Reply) -> &str {
        let found = reply.headers.iter().find(|(name, _)| name == WWW_AUTHENTICATE);
        found.map_or("", |(_, value)| value.to_str().unwrap())
    }

    #[test]
    fn every_key_passes_and_says_whose_it_is() {
        let probe = probe(", name: machines");
        for (key, tenant) in [(OLD, Some(json!("acme"))), (NEW, None)] {
            let mut made = Made::new("GET", "/").header("x-api-key", key);
            assert!(probe.request(&mut made).is_none());
            let identity = made.facts.identity.clone().unwrap();
            assert_eq!((&*identity.issuer, &*identity.subject), ("machines", "ann"));
            assert_eq!(identity.claim("tenant"), tenant.as_ref());
            assert!(identity.claims.is_object());
            assert!(!probe.upstream(&mut made).unwrap().headers.contains_key("x-api-key"));
        }
    }

    #[test]
    fn without_a_valid_key_nobody_passes() {
        let probe = probe(", realm: machines");
        let long = "x".repeat(KEY_BYTES_MAX + 1);
        let bearer = format!("Bearer {OLD}");
        for (name, value, status) in [
            ("x-other", OLD, 401),
            ("authorization", &bearer, 401),
            ("x-api-key", "0123456789abcdee", 401),
            ("x-api-key", "0123456789abcde", 401),
            ("x-api-key", "0123456789abcdef0", 401),
            ("x-api-key", "0123456789ABCDEF", 401),
            ("x-api-key", &long, 401),
            ("x-api-key", "", 400),
        ] {
            let mut made = Made::new("GET", "/").header(name, value);
            let reply = probe.request(&mut made).unwrap();
            assert_eq!(reply.status.as_u16(), status, "{name}: {value}");
            assert_eq!(challenge(&reply), if status == 401 { "ApiKey realm=\"machines\"" } else { "" });
            assert!(made.facts.identity.is_none());
        }
        let mut twice = Made::new("GET", "/").header("x-api-key", OLD).header("X-Api-Key", OLD);
        assert_eq!(probe.request(&mut twice).unwrap().status, 400);
    }

    #[test]
    fn a_key_can_stand_in_the_query_or_behind_a_scheme() {
        let query = probe(", from: { query: key }");
        for (path, status, left) in [
            (format!("/a?b=1&key={OLD}"), None, "/a?b=1"),
            (format!("/a?key={}", "fedcba9876543210%2B%2F%3Dx"), None, "/a"),
            ("/a?%6Bey=wrong&c".to_owned(), Some(401), "/a?c"),
            (format!("/a?key={OLD}&key={OLD}"), Some(400), "/a"),
        ] {
            let mut made = Made::new("GET", &path);
            assert_eq!(query.request(&mut made).map(|reply| reply.status.as_u16()), status, "{path}");
            assert_eq!(made.request.uri, left);
        }
        let scheme = probe(", from: { authorization: Key }");
        let mut made = Made::new("GET", "/").header("authorization", &format!("KEY {OLD}"));
        assert!(scheme.request(&mut made).is_none());
        assert!(!scheme.upstream(&mut made).unwrap().headers.contains_key(AUTHORIZATION));
        let reply = scheme.request(&mut Made::new("GET", "/").header("x-api-key", OLD)).unwrap();
        assert_eq!(challenge(&reply), "Key realm=\"sallyport\"");
    }

    #[test]
    fn the_upstream_gets_the_key_when_it_should() {
        let probe = probe(", forward: true");
        let mut made = Made::new("GET", "/").header("x-api-key", OLD);
        assert!(probe.request(&mut made).is_none());
        assert_eq!(probe.upstream(&mut made).unwrap().headers["x-api-key"], OLD);
    }

    #[test]
    fn settings_that_make_no_sense_are_refused_and_no_key_is_shown() {
        let (good, same) = (SecretFile::new(OLD), SecretFile::new(OLD));
        let (short, blank) = (SecretFile::new("0123456789abcde"), SecretFile::new("0123456789 abcdef"));
        let long = SecretFile::new(&"x".repeat(KEY_BYTES_MAX + 1));
        let one = |file: &SecretFile| format!("keys: [{{ name: a, secret: {} }}]", file.written());
        let two = format!(
            "keys: [{{ name: a, secret: {} }}, {{ name: b, secret: {} }}]",
            good.written(),
            same.written()
        );
        for (settings, expected) in [
            ("keys: []".to_owned(), "has no keys"),
            (one(&short), "not 16 to 1024 bytes"),
            (one(&long), "not 16 to 1024 bytes"),
            (one(&blank), "visible ASCII"),
            (two, "the key `b` is the same as `a`"),
            (format!("keys: [{{ name: a, secret: {OLD} }}]"), "may not stand in the file itself"),
            (format!("keys: [{{ name: \"\", secret: {} }}]", good.written()), "needs a name"),
            (format!("{}, from: {{ header: Authorization }}", one(&good)), "authorization: ApiKey"),
            (format!("{}, from: {{ header: Cookie }}", one(&good)), "holds more than a key"),
            (format!("{}, from: {{ header: \"a b\" }}", one(&good)), "not a header name"),
            (format!("{}, from: {{ authorization: \"a b\" }}", one(&good)), "is not a scheme"),
            (format!("{}, from: {{ query: \"\" }}", one(&good)), "needs a name"),
            (format!("{}, from: {{ cookie: a }}", one(&good)), "cookie"),
            (format!("{}, realm: 'a\"'", one(&good)), "not plain text"),
        ] {
            match build_probe(&settings) {
                Ok(_) => panic!("accepted: {settings}"),
                Err(report) => {
                    assert!(report.contains(expected), "{settings}\n{report}");
                    assert!(settings.contains(OLD) || !report.contains(OLD), "{report}");
                }
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn no_other_bytes_pass(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
            let Ok(value) = HeaderValue::from_bytes(&bytes) else { return Ok(()) };
            prop_assume!(bytes != OLD.as_bytes() && bytes != NEW.as_bytes());
            let mut made = Made::new("GET", "/");
            made.request.append_header("x-api-key", value).unwrap();
            prop_assert!(probe("").request(&mut made).is_some());
            prop_assert!(made.facts.identity.is_none());
        }
    }
}
