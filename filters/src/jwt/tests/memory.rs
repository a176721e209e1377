//! What is remembered of a token, and when it must not count.

use super::*;

fn later(setup: &Setup, token: &str, seconds: u64) -> Answer {
    setup.run(made().header("authorization", &format!("Bearer {token}")).after(Duration::from_secs(seconds)))
}

#[test]
fn a_second_request_shares_the_identity_of_the_first() {
    let setup = Setup::new("");
    let token = setup.token(json!({}));
    let (first, second) = (setup.ask(&token), setup.ask(&token));
    let identity = |answer: &Answer| answer.made.facts.identity.clone().unwrap();
    assert!(Arc::ptr_eq(&identity(&first), &identity(&second)));
    assert_eq!(setup.counted(), [1, 1, 0, 0, 0, 0]);
    let other = setup.ask(&setup.token(json!({"sub": "bob"})));
    assert_eq!(other.subject(), Some("bob"), "another token has an entry of its own");
}

#[test]
fn without_a_cache_every_token_is_verified() {
    let setup = Setup::new("cache: 0");
    let token = setup.token(json!({}));
    assert!(setup.ask(&token).passed() && setup.ask(&token).passed());
    assert_eq!(setup.counted(), [0, 2, 0, 0, 0, 0]);
}

#[test]
fn an_expired_token_is_not_served_from_memory() {
    let setup = Setup::new("cache_ttl: 1h");
    let token = setup.token(json!({"exp": NOW + 100}));
    assert!(setup.ask(&token).passed());
    assert!(later(&setup, &token, 99).passed());
    assert_eq!(setup.counted()[..2], [1, 1]);
    assert!(later(&setup, &token, 159).passed(), "within the skew, verified afresh");
    assert_eq!(setup.counted()[..2], [1, 2]);
    later(&setup, &token, 160).assert_refused("the token has expired", "after the skew");
}

#[test]
fn an_entry_is_used_no_longer_than_its_time() {
    let setup = Setup::new("cache_ttl: 10s");
    let token = setup.token(json!({}));
    for (second, counted) in [(0, [0, 1]), (9, [1, 1]), (10, [1, 2]), (19, [2, 2])] {
        assert!(later(&setup, &token, second).passed());
        assert_eq!(setup.counted()[..2], counted, "{second}");
    }
}

#[test]
fn a_token_of_a_withdrawn_key_is_refused_at_once() {
    let setup = Setup::new("");
    let token = setup.token(json!({}));
    assert!(setup.ask(&token).passed());
    let new = TestKey::p256();
    setup.issuer.replace_keys(&jwks(&[setup.key.jwk("k1"), new.jwk("k2")]), Instant::now()).unwrap();
    assert!(setup.ask(&token).passed());
    assert_eq!(setup.counted()[..2], [1, 1], "a further key takes nothing away");
    setup.issuer.replace_keys(&jwks(&[new.jwk("k1")]), Instant::now()).unwrap();
    setup.ask(&token).assert_refused("the signature is not valid", "another key under the old id");
    setup.issuer.replace_keys(&jwks(&[setup.key.jwk("k1")]), Instant::now()).unwrap();
    assert!(setup.ask(&token).passed());
    assert_eq!(setup.counted()[..2], [1, 2], "what was forgotten is verified again");
}

#[test]
fn a_revoked_token_is_refused_although_it_is_remembered() {
    let setup = Setup::with_issuer("jwks: { file: k }\nrevocations: { file: r }", "");
    let token = setup.token(json!({"jti": "t1"}));
    assert_eq!(setup.ask(&token).status(), 503, "the list was not read yet");
    for (list, passes) in [
        ("{}".to_owned(), true),
        (r#"{"jti": ["t1"]}"#.to_owned(), false),
        (r#"{"jti": ["t2"]}"#.to_owned(), true),
        (format!(r#"{{"sub": {{"ann": {}}}}}"#, NOW - 59), false),
        (format!(r#"{{"sub": {{"ann": {}}}}}"#, NOW - 60), true),
        (format!(r#"{{"sub": {{"bob": {NOW}}}}}"#), true),
    ] {
        setup.issuer.replace_revocations(list.as_bytes()).unwrap();
        let fresh = setup.ask(&setup.token(json!({"jti": "t1", "nonce": list})));
        for answer in [setup.ask(&token), fresh] {
            if passes {
                assert!(answer.passed(), "{list}");
            } else {
                answer.assert_refused("the token has been revoked", &list);
            }
        }
    }
}

#[test]
fn a_reload_keeps_the_memory_only_under_the_same_settings() {
    let setup = Setup::new("scopes: [read]");
    let token = setup.token(json!({"scope": "read"}));
    assert!(setup.ask(&token).passed());
    let reloaded = |settings: &str, issuers: &Issuers, kept: Kept| {
        let probe = Probe::with_kept(&registry(), issuers, &yaml_of(settings), kept).unwrap();
        Setup { probe, key: TestKey::p256(), issuer: setup.issuer.clone(), issuers: issuers.clone() }
    };
    let next = reloaded("scopes: [read]", &setup.issuers, setup.probe.kept.next());
    assert!(next.ask(&token).passed());
    assert_eq!(next.counted(), [1, 1, 0, 0, 0, 0], "remembered, and counted on");

    let stricter = reloaded("scopes: [read, write]", &setup.issuers, next.probe.kept.next());
    assert_eq!(stricter.ask(&token).status(), 403);

    // An issuer that was made anew has keys of its own, be its settings the same or not.
    let anew = issuer("main", &format!("issuer: {ISS}\naudiences: [x]\njwks: {{ file: k }}")).unwrap();
    anew.replace_keys(&jwks(&[setup.key.jwk("k1")]), Instant::now()).unwrap();
    let issuers: Issuers = [anew].into_iter().collect();
    let other = reloaded("scopes: [read]", &issuers, setup.probe.kept.next());
    other.ask(&token).assert_refused("the token is for another audience", "other audiences");
}

#[test]
fn refused_tokens_are_not_remembered() {
    let setup = Setup::new("");
    for number in 0..50 {
        setup.ask(&setup.token(json!({"exp": number}))).assert_refused("the token has expired", "");
    }
    let kept =
        setup.probe.kept.once("jwt metrics", || -> prometheus::Result<Arc<Metrics>> { unreachable!() });
    assert_eq!(kept.as_ref().as_ref().unwrap().remembered.get(), 0);
}
