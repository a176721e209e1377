use serde_json::{Value, json};

use super::*;
use crate::issuer::testing::{SecretFile, TestKey, issuer, jwks};

const ISS: &str = "https://id.example/";

/// A verifier for an issuer `main` with one key `k1`.
struct Setting {
    key: TestKey,
    issuer: Arc<Issuer>,
    verifier: Verifier,
}

fn made(more: &str) -> Arc<Issuer> {
    issuer("main", &format!("issuer: {ISS}\naudiences: [platform]\n{more}")).unwrap()
}

fn verifier(issuer: &Arc<Issuer>) -> Verifier {
    let issuers: Issuers = [issuer.clone()].into_iter().collect();
    let mut report = Report::default();
    Verifier::new(&issuers, [&Located::nowhere("main".to_owned())], &mut report).unwrap()
}

impl Setting {
    fn new() -> Setting {
        Setting::with("jwks: { file: keys.json }")
    }

    fn fetching() -> Setting {
        Setting::with("jwks: { url: \"https://id.example/keys\" }")
    }

    fn with(more: &str) -> Setting {
        let (issuer, key) = (made(more), TestKey::p256());
        issuer.replace_keys(&jwks(&[key.jwk("k1")]), Instant::now()).unwrap();
        Setting { verifier: verifier(&issuer), issuer, key }
    }

    fn token(&self, changes: Value) -> String {
        signed(&self.key, "k1", changes)
    }

    async fn verified(&self) -> Arc<Verified> {
        self.verifier.verify(&self.token(json!({"jti": "t1"}))).await.unwrap()
    }
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

fn signed(key: &TestKey, kid: &str, changes: Value) -> String {
    let mut claims =
        json!({"iss": ISS, "aud": "platform", "sub": "ann", "iat": now() - 60, "exp": now() + 600});
    for (name, value) in changes.as_object().unwrap() {
        claims[name] = value.clone();
    }
    let alg = if matches!(key, TestKey::Secret(_)) { "HS256" } else { "ES256" };
    key.sign(&json!({"alg": alg, "kid": kid}), &claims)
}

fn later(seconds: u64) -> Moment {
    let more = Duration::from_secs(seconds);
    Moment { wall: SystemTime::now() + more, monotonic: Instant::now() + more }
}

fn refused(refusal: Refusal) -> NotVerified {
    NotVerified::Refused(refusal)
}

#[tokio::test]
async fn a_good_token_says_who_it_speaks_for_and_until_when() {
    let setting = Setting::new();
    let expires = now() + 100;
    let verified =
        setting.verifier.verify(&setting.token(json!({"exp": expires, "role": "x"}))).await.unwrap();
    assert_eq!((&*verified.identity.issuer, &*verified.identity.subject), ("main", "ann"));
    assert_eq!(verified.identity.claim("role"), Some(&json!("x")));
    assert_eq!(verified.expires(), UNIX_EPOCH + Duration::from_secs(expires));
}

/// An `exp` of a far future is a valid number; it must not overflow any clock.
#[tokio::test]
async fn an_absurd_expiry_is_the_end_of_time() {
    let setting = Setting::new();
    for exp in [json!(1e300), json!(u64::MAX)] {
        let verified = setting.verifier.verify(&setting.token(json!({"exp": exp}))).await.unwrap();
        assert_eq!(verified.expires(), UNIX_EPOCH + Duration::from_secs(253_402_300_799));
    }
}

#[tokio::test]
async fn refusals_tell_expired_from_revoked_from_invalid_from_unavailable() {
    let setting = Setting::with("jwks: { file: k }\nrevocations: { file: r }");
    let good = setting.token(json!({"jti": "t1"}));
    let verify = |token: String| {
        let verifier = setting.verifier.clone();
        async move { verifier.verify(&token).await.unwrap_err() }
    };
    assert_eq!(verify(good.clone()).await, NotVerified::Unavailable, "the list was not read yet");
    setting.issuer.replace_revocations(br#"{"jti": ["t1"]}"#).unwrap();
    assert_eq!(verify(good).await, refused(Refusal::Revoked));
    assert_eq!(verify(setting.token(json!({"exp": now() - 61}))).await, refused(Refusal::Expired));
    assert_eq!(verify(setting.token(json!({"aud": "other"}))).await, refused(Refusal::Audience));
    assert_eq!(verify(setting.token(json!({"iss": "https://other/"}))).await, refused(Refusal::Issuer));
    assert_eq!(verify(signed(&TestKey::p256(), "k1", json!({}))).await, refused(Refusal::Signature));
    assert_eq!(verify("a.b".to_owned()).await, refused(Refusal::Malformed));
    assert_eq!(verify("x".repeat(8 * 1024 + 1)).await, refused(Refusal::TooLong));

    let never = verifier(&made("jwks: { file: k }"));
    assert_eq!(never.verify(&setting.token(json!({}))).await.unwrap_err(), NotVerified::Unavailable);
}

/// Nothing of the token, the keys or the settings is in a text that a client gets.
#[test]
fn texts_are_fixed() {
    for refusal in Refusal::ALL {
        assert_eq!(refused(refusal).to_string(), refusal.text());
    }
    assert_eq!(NotVerified::Unavailable.to_string(), "tokens cannot be checked at present");
}

#[tokio::test]
async fn an_unknown_key_waits_for_one_fetch_which_many_share() {
    let setting = Setting::fetching();
    let new = TestKey::p256();
    let token = signed(&new, "k2", json!({}));
    let verify = || setting.verifier.verify(&token);
    // The fetch begins only once both are waiting: `join!` polls in this order.
    let fetch = async {
        setting.issuer.refresh_requested().await;
        setting.issuer.replace_keys(&jwks(&[setting.key.jwk("k1"), new.jwk("k2")]), Instant::now()).unwrap();
    };
    let (first, second, ()) = tokio::join!(verify(), verify(), fetch);
    assert_eq!(&*first.unwrap().identity.subject, "ann");
    assert_eq!(&*second.unwrap().identity.subject, "ann");
}

#[tokio::test]
async fn a_key_that_the_fetch_does_not_bring_is_refused() {
    let setting = Setting::fetching();
    let token = signed(&TestKey::p256(), "k2", json!({}));
    let fetch = async {
        setting.issuer.refresh_requested().await;
        setting.issuer.keys_failed();
    };
    let (answer, ()) = tokio::join!(setting.verifier.verify(&token), fetch);
    assert_eq!(answer.unwrap_err(), refused(Refusal::Signature));
    assert_eq!(
        setting.verifier.verify(&token).await.unwrap_err(),
        refused(Refusal::Signature),
        "no wait now"
    );
}

/// A fetcher that was stopped must not hold clients for ever.
#[tokio::test(start_paused = true)]
async fn waiting_ends_although_nobody_fetches() {
    let setting = Setting::fetching();
    let token = signed(&TestKey::p256(), "k2", json!({}));
    assert_eq!(setting.verifier.verify(&token).await.unwrap_err(), NotVerified::Unavailable);
}

#[tokio::test]
async fn a_wait_may_be_given_up() {
    let setting = Setting::fetching();
    let new = TestKey::p256();
    let token = signed(&new, "k2", json!({}));
    {
        let waiting = std::pin::pin!(setting.verifier.verify(&token));
        assert!(futures::poll!(waiting).is_pending());
    }
    setting.issuer.replace_keys(&jwks(&[new.jwk("k2")]), Instant::now()).unwrap();
    assert!(setting.verifier.verify(&token).await.is_ok());
}

#[tokio::test]
async fn what_was_verified_holds_until_it_is_revoked_or_expires() {
    let setting = Setting::with("jwks: { file: k }\nrevocations: { file: r }\nskew: 10s");
    setting.issuer.replace_revocations(b"{}").unwrap();
    let verified = setting.verified().await;
    let good = |moment| setting.verifier.still_good(&verified, moment);
    assert_eq!(good(later(0)), Ok(()));
    assert_eq!(good(later(605)), Ok(()), "within the skew");
    assert_eq!(good(later(611)), Err(Refusal::Expired));
    for (list, expected) in [
        (r#"{"jti": ["t1"]}"#.to_owned(), Err(Refusal::Revoked)),
        (r#"{"jti": ["t2"]}"#.to_owned(), Ok(())),
        (format!(r#"{{"sub": {{"ann": {}}}}}"#, now()), Err(Refusal::Revoked)),
        ("{}".to_owned(), Ok(())),
    ] {
        setting.issuer.replace_revocations(list.as_bytes()).unwrap();
        assert_eq!(good(later(0)), expected, "{list}");
    }
}

#[tokio::test]
async fn what_was_verified_with_a_withdrawn_key_holds_no_longer() {
    let setting = Setting::new();
    let verified = setting.verified().await;
    let good = || setting.verifier.still_good(&verified, later(0));
    let new = TestKey::p256();
    setting.issuer.replace_keys(&jwks(&[new.jwk("k2")]), Instant::now()).unwrap();
    assert_eq!(good(), Err(Refusal::Signature));
    setting.issuer.replace_keys(&jwks(&[new.jwk("k1")]), Instant::now()).unwrap();
    assert_eq!(good(), Err(Refusal::Signature), "another key under the same id");
    // The generation is another one, but the key is there.
    setting.issuer.replace_keys(&jwks(&[setting.key.jwk("k1")]), Instant::now()).unwrap();
    assert_eq!(good(), Ok(()));
    setting.issuer.keys_failed();
    assert_eq!(good(), Ok(()), "keys that cannot be had take nothing away");
}

/// Keys too old to verify anything new do not end connections: the issuer's outage is not the client's fault.
#[tokio::test]
async fn an_issuer_that_cannot_be_reached_ends_nothing() {
    let setting = Setting::fetching();
    let verified = setting.verifier.verify(&setting.token(json!({"exp": now() + 200_000}))).await.unwrap();
    assert!(setting.issuer.keys(later(100_000).monotonic).is_none());
    assert_eq!(setting.verifier.still_good(&verified, later(100_000)), Ok(()));
}

#[tokio::test]
async fn a_reload_that_changes_issuers_is_seen() {
    let file = |byte: &str| SecretFile::new(&byte.repeat(32));
    let with = |file: &SecretFile| verifier(&made(&format!("hmac_secret: {}", file.written())));
    let (one, other) = (file("s"), file("t"));
    let before = with(&one);
    let secret = TestKey::Secret("s".repeat(32).into_bytes());
    let verified = before.verify(&signed(&secret, "", json!({}))).await.unwrap();
    assert_eq!(with(&one).still_good(&verified, later(0)), Ok(()), "the same secret, an issuer made anew");
    assert_eq!(with(&other).still_good(&verified, later(0)), Err(Refusal::Signature), "another secret");
    let none = Verifier::new(&Issuers::default(), [], &mut Report::default()).unwrap();
    assert_eq!(none.still_good(&verified, later(0)), Err(Refusal::Issuer));
}

#[tokio::test]
async fn what_is_remembered_is_not_asked_for_again() {
    let setting = Setting::new();
    let gauge = prometheus::IntGauge::new("remembered", "of the test").unwrap();
    let issuers: Issuers = [setting.issuer.clone()].into_iter().collect();
    let name = Located::nowhere("main".to_owned());
    let verifier = Verifier::<usize>::new(&issuers, [&name], &mut Report::default()).unwrap();
    let verifier = verifier.remembering(Arc::new(Memory::new(10, gauge.clone())), Duration::from_secs(60));
    let asked = std::cell::Cell::new(0);
    let count = |_: &Identity| {
        asked.set(asked.get() + 1);
        asked.get()
    };
    let token = setting.token(json!({}));
    let first = verifier.verify_with(&token, count).await.unwrap();
    let second = verifier.clone().verify_with(&token, count).await.unwrap();
    assert!(Arc::ptr_eq(&first, &second), "clones share the memory");
    assert_eq!((first.extra, asked.get(), gauge.get()), (1, 1, 1));
    assert!(matches!(verifier.judge(token.as_bytes(), later(0), count), Judgement::Remembered(_)));
    assert!(matches!(verifier.judge(token.as_bytes(), later(61), count), Judgement::Verified(_)));
}

#[test]
fn unknown_names_and_issuers_that_cannot_be_told_apart_are_reported() {
    let named =
        |name: &str| issuer(name, &format!("issuer: {ISS}\naudiences: [a]\njwks: {{ file: k }}")).unwrap();
    let issuers: Issuers = [named("main"), named("twin")].into_iter().collect();
    for (names, expected) in [
        (&["mian"][..], Some("unknown issuer `mian`")),
        (&["main", "twin"], Some("`twin` has the same `iss` as `main`")),
        (&["main", "main"], Some("`main` has the same `iss` as `main`")),
        (&["twin"], None),
        (&[], None),
    ] {
        let names: Vec<_> = names.iter().map(|name| Located::nowhere((*name).to_owned())).collect();
        let mut report = Report::default();
        let verifier: Option<Verifier> = Verifier::new(&issuers, &names, &mut report);
        assert_eq!(verifier.is_none(), expected.is_some());
        assert!(report.to_string().contains(expected.unwrap_or_default()), "{report}");
    }
}
