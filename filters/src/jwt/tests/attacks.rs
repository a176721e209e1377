//! Forged, malformed and misdated tokens.

use proptest::prelude::*;
use sallyport_identity::issuer::testing::base64url;

use super::*;

const MALFORMED: &str = "the token is malformed";
const SIGNATURE: &str = "the signature is not valid";
const ALGORITHM: &str = "the algorithm is not accepted";
const CLAIMS: &str = "a required claim is missing or has the wrong type";
const EXPIRED: &str = "the token has expired";
const EARLY: &str = "the token is not valid yet";

/// RFC 8725, section 2.1 (CVE-2015-9235 and its variants in other cases).
#[test]
fn the_algorithm_none_is_no_algorithm() {
    let setup = Setup::new("");
    let claims = base64url(usual(json!({})).to_string());
    for alg in ["none", "None", "NONE", "nOnE", "none ", "", "null"] {
        let header = base64url(json!({"alg": alg, "kid": "k1"}).to_string());
        setup.ask(&format!("{header}.{claims}.")).assert_refused(MALFORMED, alg);
        setup.ask(&format!("{header}.{claims}.AA")).assert_refused(ALGORITHM, alg);
        let signed = setup.token_with_header(json!({"alg": alg, "kid": "k1"}));
        setup.ask(&signed).assert_refused(ALGORITHM, "even with a good signature");
    }
    for header in [json!({"kid": "k1"}), json!({"alg": null}), json!({"alg": ["ES256"]}), json!({"alg": 0})] {
        let text = header.to_string();
        setup.ask(&setup.token_with_header(header)).assert_refused(MALFORMED, &text);
    }
}

/// RFC 8725, section 2.1 (CVE-2016-10555): the public key, which everybody knows, as the secret of an HMAC.
#[test]
fn a_public_key_is_no_secret() {
    let setup = Setup::new("");
    let rsa = TestKey::rsa();
    let set = jwks(&[setup.key.jwk("k1"), rsa.jwk("k2")]);
    setup.issuer.replace_keys(&set, Instant::now()).unwrap();
    let good = rsa.sign(&json!({"alg": "RS256", "kid": "k2"}), &usual(json!({})));
    assert!(setup.ask(&good).passed());
    let jwk = rsa.jwk("k2");
    let TestKey::Rsa(pair) = &rsa else { unreachable!() };
    let der = aws_lc_rs::signature::KeyPair::public_key(pair).as_ref().to_vec();
    let pem = format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", base64url(&der));
    let secrets =
        [der, pem.into_bytes(), jwk["n"].as_str().unwrap().into(), jwk.to_string().into_bytes(), set];
    for secret in secrets {
        for alg in ["HS256", "HS384", "HS512"] {
            for kid in ["k1", "k2", "k3"] {
                let key = TestKey::Secret(secret.clone());
                let token = key.sign(&json!({"alg": alg, "kid": kid}), &usual(json!({})));
                setup.ask(&token).assert_refused(ALGORITHM, alg);
            }
        }
    }
}

#[test]
fn an_algorithm_that_the_issuer_does_not_list_is_refused() {
    let setup = Setup::new("");
    let rsa = TestKey::rsa();
    setup.issuer.replace_keys(&jwks(&[rsa.jwk("k1")]), Instant::now()).unwrap();
    for (alg, expected) in [("RS256", None), ("RS512", Some(ALGORITHM)), ("PS256", Some(ALGORITHM))] {
        let answer = setup.ask(&rsa.sign(&json!({"alg": alg, "kid": "k1"}), &usual(json!({}))));
        match expected {
            None => assert!(answer.passed()),
            Some(text) => answer.assert_refused(text, alg),
        }
    }
    // The list has ES256, the key does not fit it.
    let token = setup.token_with_header(json!({"alg": "ES256", "kid": "k1"}));
    setup.ask(&token).assert_refused(SIGNATURE, "the key is of another type");
}

/// RFC 8725, section 3.10: no key that the sender offers is ever used, or fetched.
#[test]
fn a_foreign_key_is_foreign_however_it_is_offered() {
    let setup = Setup::new("");
    let foreign = TestKey::p256();
    for more in [
        json!({}),
        json!({"jwk": foreign.jwk("k1")}),
        json!({"jku": "https://evil.example/keys"}),
        json!({"x5u": "https://evil.example/cert"}),
        json!({"x5c": ["AAAA"], "x5t": "AAAA", "x5t#S256": "AAAA"}),
    ] {
        let mut header = json!({"alg": "ES256", "kid": "k1"});
        header.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let token = foreign.sign(&header, &usual(json!({})));
        setup.ask(&token).assert_refused(SIGNATURE, &header.to_string());
        // With the right key they do no harm.
        assert!(setup.ask(&setup.token_with_header(header)).passed());
    }
    // Key ids that would be a path or a query to somebody careless.
    for kid in ["../../k1", "k1\u{0}", "' OR 1=1 --", ""] {
        let token = foreign.sign(&json!({"alg": "ES256", "kid": kid}), &usual(json!({})));
        setup.ask(&token).assert_refused(SIGNATURE, kid);
    }
}

/// RFC 7519, section 4.1; the issuer's skew is 60 s.
#[test]
fn dates_are_judged_with_the_skew_and_not_a_second_more() {
    let setup = Setup::new("");
    for (claims, expected) in [
        (json!({"exp": NOW - 59}), None),
        (json!({"exp": NOW as f64 - 59.5}), None),
        (json!({"exp": NOW - 60}), Some(EXPIRED)),
        (json!({"exp": NOW - 61}), Some(EXPIRED)),
        (json!({"exp": 0}), Some(EXPIRED)),
        (json!({"exp": -1}), Some(EXPIRED)),
        (json!({"exp": -1e300}), Some(EXPIRED)),
        (json!({"exp": u64::MAX}), None),
        (json!({"exp": 1e300}), None),
        (json!({"exp": null}), Some(CLAIMS)),
        (json!({"exp": (NOW + 600).to_string()}), Some(CLAIMS)),
        (json!({"exp": true}), Some(CLAIMS)),
        (json!({"exp": [NOW + 600]}), Some(CLAIMS)),
        (json!({"nbf": NOW + 60}), None),
        (json!({"nbf": NOW as f64 + 60.5}), Some(EARLY)),
        (json!({"nbf": NOW + 61}), Some(EARLY)),
        (json!({"nbf": 1e300}), Some(EARLY)),
        (json!({"nbf": "0"}), Some(CLAIMS)),
        (json!({"iat": NOW + 60}), None),
        (json!({"iat": NOW + 61}), Some(EARLY)),
        (json!({"iat": {}}), Some(CLAIMS)),
        (json!({"iat": null}), None),
    ] {
        let answer = setup.ask(&setup.token(claims.clone()));
        match expected {
            None => assert!(answer.passed(), "{claims}"),
            Some(text) => answer.assert_refused(text, &claims.to_string()),
        }
    }
}

/// JSON has no NaN, but parsers have been kind to it, and numbers may be larger than any double.
#[test]
fn numbers_that_are_none_are_refused() {
    let setup = Setup::new("");
    for exp in ["NaN", "Infinity", "1e999", "-1e999", "0x7fffffff", "1.", "01", ".5e3"] {
        let claims = usual(json!({"exp": 123})).to_string().replace("123", exp);
        let message = format!("{}.{}", base64url(r#"{"alg":"ES256","kid":"k1"}"#), base64url(claims));
        let signature = base64url(setup.key.signature("ES256", message.as_bytes()));
        assert_eq!(setup.ask(&format!("{message}.{signature}")).status(), 401, "{exp}");
    }
}

#[test]
fn claims_of_a_wrong_type_are_refused() {
    const AUDIENCE: &str = "the token is for another audience";
    const ISSUER: &str = "the issuer is not accepted";
    let setup = Setup::new("");
    for (claims, expected) in [
        (json!({"aud": ["x", "other"]}), None),
        (json!({"aud": "x"}), Some(AUDIENCE)),
        (json!({"aud": "Platform"}), Some(AUDIENCE)),
        (json!({"aud": "platform "}), Some(AUDIENCE)),
        (json!({"aud": "platform,other"}), Some(AUDIENCE)),
        (json!({"aud": ""}), Some(AUDIENCE)),
        (json!({"aud": []}), Some(AUDIENCE)),
        (json!({"aud": null}), Some(AUDIENCE)),
        (json!({"aud": ["platform", 1]}), Some(CLAIMS)),
        (json!({"aud": [["platform"]]}), Some(CLAIMS)),
        (json!({"aud": {"platform": true}}), Some(CLAIMS)),
        (json!({"aud": true}), Some(CLAIMS)),
        (json!({"iss": "https://evil.example/"}), Some(ISSUER)),
        (json!({"iss": "https://id.example"}), Some(ISSUER)),
        (json!({"iss": ""}), Some(ISSUER)),
        (json!({"iss": [ISS]}), Some(CLAIMS)),
        (json!({"iss": {"iss": ISS}}), Some(CLAIMS)),
        (json!({"iss": null}), Some(CLAIMS)),
        (json!({"sub": null}), Some(CLAIMS)),
        (json!({"sub": ""}), Some(CLAIMS)),
        (json!({"sub": 7}), Some(CLAIMS)),
        (json!({"sub": ["ann"]}), Some(CLAIMS)),
        (json!({"jti": ["revoked"]}), Some(CLAIMS)),
    ] {
        let answer = setup.ask(&setup.token(claims.clone()));
        match expected {
            None => assert!(answer.passed(), "{claims}"),
            Some(text) => answer.assert_refused(text, &claims.to_string()),
        }
    }
}

/// RFC 7515, section 4.1.11; RFC 7797 (`b64`); RFC 8725, section 3.6 (compression).
#[test]
fn extensions_compression_and_encryption_are_refused() {
    let setup = Setup::new("");
    for (name, value) in [
        ("crit", json!(["exp"])),
        ("crit", json!([])),
        ("crit", json!(["b64"])),
        ("crit", json!(null)),
        ("zip", json!("DEF")),
        ("enc", json!("A128GCM")),
        ("kid", json!(1)),
        ("typ", json!(["JWT"])),
    ] {
        let mut header = json!({"alg": "ES256", "kid": "k1"});
        header[name] = value;
        let text = header.to_string();
        setup.ask(&setup.token_with_header(header)).assert_refused(MALFORMED, &text);
    }
    let good = setup.token(json!({}));
    let doubled = base64url(r#"{"alg":"ES256","alg":"none","kid":"k1"}"#);
    let rest = good.split_once('.').unwrap().1;
    setup.ask(&format!("{doubled}.{rest}")).assert_refused(MALFORMED, "two members of one name");
}

/// RFC 8725, section 3.11; RFC 9068, section 4.
#[test]
fn the_type_keeps_other_kinds_of_token_out() {
    let (any, access) = (Setup::new(""), Setup::new("typ: at+jwt"));
    for (typ, to_any, to_access) in [
        (json!("JWT"), true, false),
        (json!("jwt"), true, false),
        (json!("application/jwt"), true, false),
        (json!("at+jwt"), true, true),
        (json!("AT+JWT"), true, true),
        (json!("application/at+jwt"), true, true),
        (Value::Null, true, false),
        (json!("logout+jwt"), false, false),
        (json!("dpop+jwt"), false, false),
        (json!("secevent+jwt"), false, false),
        (json!("application/"), false, false),
        (json!("applicatioñ/jwt"), false, false),
        (json!(""), false, false),
    ] {
        for (setup, expected) in [(&any, to_any), (&access, to_access)] {
            let answer =
                setup.ask(&setup.token_with_header(json!({"alg": "ES256", "kid": "k1", "typ": typ})));
            assert_eq!(answer.passed(), expected, "{typ}");
        }
    }
}

#[test]
fn what_is_no_compact_jws_is_malformed() {
    let setup = Setup::new("");
    let good = setup.token(json!({}));
    assert!(setup.ask(&good).passed());
    let parts: Vec<&str> = good.split('.').collect();
    let (head, claims, signature) = (parts[0], parts[1], parts[2]);
    for token in [
        "x".to_owned(),
        ".".to_owned(),
        "..".to_owned(),
        "....".to_owned(),
        format!("{head}.{claims}"),
        format!("{head}.{claims}."),
        format!("{head}..{signature}"),
        format!(".{claims}.{signature}"),
        format!("{good}."),
        format!("{good}.{signature}"),
        format!("{good}.{signature}.{signature}"),
        format!("{head}=.{claims}.{signature}"),
        format!("{head} .{claims}.{signature}"),
        format!("{}.{claims}.{signature}", base64url(r#"["ES256","k1"]"#)),
        format!("{}.{claims}.{signature}", base64url("\"ES256\"")),
        format!("{}.{claims}.{signature}", base64url("{\"alg\":\"ES256\"}x")),
        format!("{head}.{}.{signature}", base64url("[]")),
        format!("{head}.{}.{signature}", base64url("null")),
        format!("{head}.{}.{signature}", base64url(format!("[\"{ISS}\"]"))),
        "{\"payload\":\"\",\"signatures\":[]}".to_owned(),
    ] {
        setup.ask(&token).assert_refused(MALFORMED, &token);
    }
    let deep = format!("{{\"iss\":{}{}}}", "[".repeat(2000), "]".repeat(2000));
    setup.ask(&format!("{head}.{}.{signature}", base64url(deep))).assert_refused(CLAIMS, "nested deeply");
    // Signatures that are not the one: changed, padded, of another message, in another encoding.
    for token in [
        format!("{head}.{claims}.{signature}="),
        format!("{head}.{claims}.AA"),
        format!("{head}.{claims}.{}", base64url([0; 64])),
        format!("{head}.{}.{signature}", base64url(usual(json!({"sub": "bob"})).to_string())),
    ] {
        setup.ask(&token).assert_refused(SIGNATURE, &token);
    }
}

#[test]
fn a_token_beyond_the_limit_is_not_looked_at() {
    let setup = Setup::new("token_limit: 1KiB");
    let long = setup.token(json!({"x": "y".repeat(1024)}));
    setup.ask(&long).assert_refused("the token is too long", "over the limit");
    let huge = "A".repeat(60 * 1024);
    setup.ask(&huge).assert_refused("the token is too long", "far over");
    assert!(setup.ask(&setup.token(json!({}))).passed());
    let default = Setup::new("");
    assert!(default.ask(&default.token(json!({"x": "y".repeat(5000)}))).passed());
    default
        .ask(&default.token(json!({"x": "y".repeat(8192)})))
        .assert_refused("the token is too long", "8 KiB");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever arrives, nothing panics and nothing passes.
    #[test]
    fn arbitrary_bytes_never_pass(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let Ok(value) = http::HeaderValue::from_bytes(&[b"Bearer ", &*bytes].concat()) else { return Ok(()) };
        let setup = Setup::new("");
        let mut made = made();
        made.request.append_header("authorization", value).unwrap();
        let answer = setup.run(made);
        prop_assert!(!answer.passed());
        prop_assert!(answer.made.facts.identity.is_none());
    }

    /// A good token with one byte changed anywhere is a bad token.
    #[test]
    fn a_changed_token_never_passes(at in any::<prop::sample::Index>(), byte in b'!'..=b'~') {
        let setup = Setup::new("");
        let good = setup.token(json!({}));
        prop_assert!(setup.ask(&good).passed());
        let mut bytes = good.into_bytes();
        let at = at.index(bytes.len());
        prop_assume!(bytes[at] != byte);
        bytes[at] = byte;
        let answer = setup.ask(&String::from_utf8(bytes).unwrap());
        prop_assert!(!answer.passed());
        prop_assert!(answer.made.facts.identity.is_none());
    }

    /// Nor do parts that are JSON of any shape, rightly encoded.
    #[test]
    fn arbitrary_json_never_passes(
        head in "[{\\[\"]?[a-z0-9:,{}\\[\\]\"]{0,60}",
        claims in "[{]?[a-z0-9:,{}\\[\\]\"]{0,60}",
    ) {
        let setup = Setup::new("");
        let message = format!("{}.{}", base64url(head), base64url(claims));
        let signature = base64url(setup.key.signature("ES256", message.as_bytes()));
        let token = format!("{message}.{signature}");
        prop_assert!(!setup.ask(&token).passed());
    }
}
