//! The filter as a request meets it: what passes, and every way not to. Attacks are named where they are
//! made.

mod attacks;
mod memory;
mod places;
mod settings;

use std::time::{Duration, Instant, UNIX_EPOCH};

use http::header::WWW_AUTHENTICATE;
use sallyport_identity::issuer::testing::{SecretFile, TestKey, issuer, jwks};
use sallyport_identity::{Issuer, Issuers};
use serde_json::{Value, json};

use super::*;
use crate::probe::{Made, Probe};
use crate::{Kept, Registry};

/// The moment of every request that is not moved.
const NOW: u64 = 1_700_000_000;
const ISS: &str = "https://id.example/";

/// An issuer `main` with one P-256 key `k1`, and a filter.
struct Setup {
    key: TestKey,
    issuer: Arc<Issuer>,
    issuers: Issuers,
    probe: Probe,
}

fn registry() -> Registry {
    Registry::standard()
}

impl Setup {
    /// With settings beside `issuer: main`, such as `scopes: [read]`.
    fn new(settings: &str) -> Setup {
        Setup::with_issuer("jwks: { file: keys.json }", settings)
    }

    /// The same, with keys that are fetched.
    fn fetching() -> Setup {
        Setup::with_issuer("jwks: { url: \"https://id.example/keys\" }", "")
    }

    fn with_issuer(more: &str, settings: &str) -> Setup {
        let yaml =
            format!("issuer: {ISS}\naudiences: [platform, other]\nalgorithms: [RS256, ES256]\n{more}\n");
        let issuer = issuer("main", &yaml).unwrap();
        let key = TestKey::p256();
        issuer.replace_keys(&jwks(&[key.jwk("k1")]), Instant::now()).unwrap();
        let issuers: Issuers = [issuer.clone()].into_iter().collect();
        let probe = Probe::from_yaml(&registry(), &issuers, &yaml_of(settings)).unwrap();
        Setup { key, issuer, issuers, probe }
    }

    /// A good token, with these claims beside or instead of the usual ones; null removes one.
    fn token(&self, claims: Value) -> String {
        self.key.sign(&json!({"alg": "ES256", "kid": "k1", "typ": "JWT"}), &usual(claims))
    }

    /// A token with this header and the usual claims.
    fn token_with_header(&self, header: Value) -> String {
        self.key.sign(&header, &usual(json!({})))
    }

    /// The answer to a request with this token in the header.
    fn ask(&self, token: &str) -> Answer {
        self.run(made().header("authorization", &format!("Bearer {token}")))
    }

    fn run(&self, mut made: Made) -> Answer {
        let reply = self.probe.request(&mut made);
        Answer { reply, made }
    }

    /// How many tokens had each result: cached, verified, missing, invalid, forbidden, unavailable.
    fn counted(&self) -> [u64; 6] {
        let kept =
            self.probe.kept.once("jwt metrics", || -> prometheus::Result<Arc<Metrics>> { unreachable!() });
        let m = kept.as_ref().as_ref().unwrap();
        [&m.cached, &m.verified, &m.missing, &m.invalid, &m.forbidden, &m.unavailable]
            .map(|counter| counter.get())
    }
}

struct Answer {
    reply: Option<Reply>,
    made: Made,
}

impl Answer {
    fn passed(&self) -> bool {
        self.reply.is_none()
    }

    fn status(&self) -> u16 {
        self.reply.as_ref().map_or(200, |reply| reply.status.as_u16())
    }

    /// The challenge; empty if there is none.
    fn challenge(&self) -> String {
        let headers = self.reply.iter().flat_map(|reply| &reply.headers);
        let mut challenges = headers.filter(|(name, _)| name == WWW_AUTHENTICATE);
        let text = challenges.next().map(|(_, value)| value.to_str().unwrap().to_owned());
        assert!(challenges.next().is_none(), "one challenge");
        text.unwrap_or_default()
    }

    fn assert_refused(&self, text: &str, context: &str) {
        assert_eq!(self.status(), 401, "{context}");
        let expected =
            format!("Bearer realm=\"sallyport\", error=\"invalid_token\", error_description=\"{text}\"");
        assert_eq!(self.challenge(), expected, "{context}");
        assert!(self.made.facts.identity.is_none(), "{context}");
    }

    fn subject(&self) -> Option<&str> {
        self.made.facts.identity.as_ref().map(|identity| &*identity.subject)
    }
}

fn yaml_of(settings: &str) -> String {
    let lines: Vec<_> = settings.lines().map(|line| format!("    {line}\n")).collect();
    let issuer = if settings.contains("issuer") { "" } else { "    issuer: main\n" };
    format!("- jwt:\n{issuer}{}", lines.concat())
}

fn made() -> Made {
    made_at("/")
}

fn made_at(path: &str) -> Made {
    let mut made = Made::new("GET", path);
    made.facts.started_at = UNIX_EPOCH + Duration::from_secs(NOW);
    made
}

fn usual(changes: Value) -> Value {
    let mut claims = json!({"iss": ISS, "aud": "platform", "sub": "ann", "iat": NOW - 60, "exp": NOW + 600});
    for (name, value) in changes.as_object().unwrap() {
        if value.is_null() {
            claims.as_object_mut().unwrap().remove(name);
        } else {
            claims[name] = value.clone();
        }
    }
    claims
}

#[test]
fn a_good_token_passes_and_says_who_asks() {
    let setup = Setup::new("");
    let answer = setup.ask(&setup.token(json!({"name": "Ann"})));
    assert!(answer.passed());
    let identity = answer.made.facts.identity.as_ref().unwrap();
    assert_eq!((&*identity.issuer, &*identity.subject), ("main", "ann"));
    assert_eq!(identity.claim("name"), Some(&json!("Ann")));
    assert_eq!(setup.counted(), [0, 1, 0, 0, 0, 0]);
}

/// RFC 6750, section 3.1: without a token, no error code.
#[test]
fn without_a_token_the_challenge_says_no_error() {
    let setup = Setup::new("realm: \"The platform\"");
    for made in [made(), made().header("authorization", "Basic YTpi"), made().header("authorization", "")] {
        let answer = setup.run(made);
        assert_eq!((answer.status(), answer.challenge()), (401, "Bearer realm=\"The platform\"".to_owned()));
    }
    assert_eq!(setup.counted(), [0, 0, 3, 0, 0, 0]);
}

/// RFC 6750, section 3.1: a request that is malformed, not a token that is bad.
#[test]
fn an_empty_token_or_two_are_a_bad_request() {
    let setup = Setup::new("");
    let good = format!("Bearer {}", setup.token(json!({})));
    for made in [
        made().header("authorization", "Bearer"),
        made().header("authorization", "Bearer   "),
        made().header("authorization", &good).header("Authorization", &good),
        made().header("authorization", &good).header("authorization", "Basic YTpi"),
    ] {
        let answer = setup.run(made);
        assert_eq!(answer.status(), 400);
        assert!(answer.challenge().contains("error=\"invalid_request\""), "{}", answer.challenge());
        assert!(answer.made.facts.identity.is_none());
    }
}

#[test]
fn an_optional_filter_lets_nobody_in_with_a_bad_token() {
    let setup = Setup::new("optional: true");
    let answer = setup.run(made());
    assert!(answer.passed() && answer.subject().is_none());
    assert_eq!(setup.ask(&setup.token(json!({}))).subject(), Some("ann"));
    setup.ask(&setup.token(json!({"exp": 1}))).assert_refused("the token has expired", "expired");
    setup.ask("x").assert_refused("the token is malformed", "malformed");
    assert_eq!(setup.run(made().header("authorization", "Bearer ")).status(), 400);
}

#[test]
fn only_a_filter_that_is_not_optional_guards() {
    let registry = registry();
    for (settings, guards) in [("", true), ("optional: true", false)] {
        let setup = Setup::new(settings);
        let mut report = sallyport_config::Report::default();
        let node = sallyport_config::Node::parse("f.yaml", &yaml_of(settings), &mut report).unwrap();
        let (_, node) = node.items()[0].single_entry(&mut report).unwrap();
        let metrics = prometheus::Registry::new();
        let mut build = crate::Build {
            report: &mut report,
            at: node.location(),
            scope: "test",
            issuers: &setup.issuers,
            kept: &Kept::default(),
            metrics: &metrics,
        };
        let filter = registry.find("jwt").unwrap().build(&node, &mut build).unwrap();
        assert_eq!(filter.guards(), guards);
        assert_eq!(metrics.gather().len(), 2, "both metrics are registered");
    }
}

/// RFC 6750, section 3.1: the scopes that are needed are named.
#[test]
fn a_valid_token_that_lacks_something_is_forbidden() {
    let setup = Setup::new(
        "scopes: [read, write]\nroles: { claim: realm.roles, any: [teacher] }\nclaims: { tenant: acme }",
    );
    let enough = json!({"scope": "write x read", "realm": {"roles": ["teacher"]}, "tenant": "acme"});
    assert!(setup.ask(&setup.token(enough.clone())).passed());
    for (name, value) in [("scope", json!("read")), ("realm", json!({})), ("tenant", json!("acme2"))] {
        let mut claims = enough.clone();
        claims[name] = value;
        let token = setup.token(claims);
        // The second time it comes from memory.
        for _ in 0..2 {
            let answer = setup.ask(&token);
            assert_eq!(answer.status(), 403, "{name}");
            let challenge = "Bearer realm=\"sallyport\", error=\"insufficient_scope\", scope=\"read write\"";
            assert_eq!(answer.challenge(), if name == "scope" { challenge } else { "" }, "{name}");
            assert_eq!(answer.subject(), Some("ann"), "who it was is known");
        }
    }
    assert_eq!(setup.counted(), [0, 1, 0, 0, 6, 0]);
}

#[test]
fn without_usable_keys_nobody_passes() {
    let setup = Setup::fetching();
    let token = setup.token(json!({}));
    assert!(setup.ask(&token).passed());
    let day = Duration::from_secs(86_401);
    let late = |claims| {
        let token = setup.token(claims);
        setup.run(made().header("authorization", &format!("Bearer {token}")).after(day))
    };
    assert_eq!(late(json!({"exp": NOW + 100_000})).status(), 503, "beyond max_stale");
    let remembered = setup.run({
        let mut made = made().header("authorization", &format!("Bearer {token}"));
        made.facts.started += day;
        made
    });
    assert_eq!(remembered.status(), 503, "even if it is remembered");
    assert!(remembered.made.facts.identity.is_none());
    assert_eq!(setup.counted()[5], 2);

    let never = issuer("main", &format!("issuer: {ISS}\naudiences: [a]\njwks: {{ file: k }}")).unwrap();
    let issuers: Issuers = [never].into_iter().collect();
    let probe = Probe::from_yaml(&registry(), &issuers, &yaml_of("")).unwrap();
    let reply = probe.request(&mut made().header("authorization", &format!("Bearer {token}"))).unwrap();
    assert_eq!(reply.status, 503, "keys were never read");
}

#[test]
fn several_issuers_are_told_apart_by_an_exact_iss() {
    let (a, b) = (TestKey::p256(), TestKey::p256());
    let made_issuer = |name: &str, key: &TestKey| {
        let yaml = format!("issuer: https://{name}/\naudiences: [platform]\njwks: {{ file: k }}");
        let issuer = issuer(name, &yaml).unwrap();
        issuer.replace_keys(&jwks(&[key.jwk("k1")]), Instant::now()).unwrap();
        issuer
    };
    let issuers: Issuers = [made_issuer("a", &a), made_issuer("b", &b)].into_iter().collect();
    let probe = Probe::from_yaml(&registry(), &issuers, &yaml_of("issuers: [a, b]")).unwrap();
    for (key, iss, expected) in [
        (&a, "https://a/", Some("a")),
        (&b, "https://b/", Some("b")),
        // The key of one issuer must not sign for another (RFC 8725, section 3.8).
        (&a, "https://b/", None),
        (&b, "https://a/", None),
        (&a, "https://A/", None),
        (&a, "https://a", None),
        (&a, "https://a/ ", None),
        (&a, "a", None),
    ] {
        let token = key.sign(&json!({"alg": "ES256", "kid": "k1"}), &usual(json!({ "iss": iss })));
        let mut made = made().header("authorization", &format!("Bearer {token}"));
        let reply = probe.request(&mut made);
        assert_eq!(made.facts.identity.as_ref().map(|who| &*who.issuer), expected, "{iss}");
        assert_eq!(reply.map(|reply| reply.status.as_u16()), expected.is_none().then_some(401), "{iss}");
    }
}

#[test]
fn an_unknown_key_waits_for_one_fetch() {
    let setup = Setup::fetching();
    let new = TestKey::p256();
    let token = new.sign(&json!({"alg": "ES256", "kid": "k2"}), &usual(json!({})));
    let fetch = |set: Option<Vec<u8>>| {
        let issuer = setup.issuer.clone();
        std::thread::spawn(move || {
            futures::executor::block_on(issuer.refresh_requested());
            match set {
                Some(set) => drop(issuer.replace_keys(&set, Instant::now()).unwrap()),
                None => issuer.keys_failed(),
            }
        })
    };
    // The fetch fails: the token is refused, and the next one does not even wait.
    let fetcher = fetch(None);
    setup.ask(&token).assert_refused("the signature is not valid", "the fetch failed");
    fetcher.join().unwrap();
    setup.ask(&token).assert_refused("the signature is not valid", "within the cooldown");
    // After the cooldown it does, and the key is there.
    let fetcher = fetch(Some(jwks(&[setup.key.jwk("k1"), new.jwk("k2")])));
    let later = Duration::from_secs(31);
    let answer = setup.run(made().header("authorization", &format!("Bearer {token}")).after(later));
    fetcher.join().unwrap();
    assert_eq!(answer.subject(), Some("ann"));
    assert_eq!(setup.counted(), [0, 1, 0, 2, 0, 0]);
}

#[test]
fn hmac_tokens_pass_with_a_secret_only() {
    let file = SecretFile::new(&"s".repeat(32));
    let yaml = format!("issuer: {ISS}\naudiences: [platform]\nhmac_secret: {}", file.written());
    let issuers: Issuers = [issuer("main", &yaml).unwrap()].into_iter().collect();
    let probe = Probe::from_yaml(&registry(), &issuers, &yaml_of("")).unwrap();
    let status = |key: &TestKey, alg: &str| {
        let token = key.sign(&json!({ "alg": alg }), &usual(json!({})));
        probe
            .request(&mut made().header("authorization", &format!("Bearer {token}")))
            .map(|reply| reply.status)
    };
    let secret = TestKey::Secret("s".repeat(32).into_bytes());
    assert_eq!(status(&secret, "HS256"), None);
    let other = TestKey::Secret("t".repeat(32).into_bytes());
    for (key, alg) in [(&other, "HS256"), (&secret, "HS512"), (&TestKey::rsa(), "RS256"), (&secret, "none")] {
        assert_eq!(status(key, alg).map(|status| status.as_u16()), Some(401), "{alg}");
    }
}
