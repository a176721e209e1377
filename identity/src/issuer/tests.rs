//! Issuers: what is refused at load, which keys are taken, and what a token may be checked with.

use std::time::{Duration, Instant};

use jsonwebtoken::Algorithm;
use serde_json::{Value, json};

use super::testing::{SecretFile, TestKey, base64url, issuer, jwks};
use super::*;

const FILE: &str = "issuer: https://id.example/\naudiences: [platform]\njwks: { file: keys.json }\n";
const URL: &str =
    "issuer: https://id.example/\naudiences: [platform]\njwks: { url: \"https://id.example/keys\" }\n";

fn with_algorithms(algorithms: &str) -> Arc<Issuer> {
    issuer("main", &format!("{FILE}algorithms: [{algorithms}]\n")).unwrap()
}

/// Whether the issuer's current keys verify a token that this key signed.
#[derive(Debug, PartialEq)]
enum Checked {
    Valid,
    Invalid,
    UnknownKey,
}

fn check(issuer: &Issuer, key: &TestKey, algorithm: Algorithm, kid: Option<&str>) -> Checked {
    let alg = format!("{algorithm:?}");
    let signature = base64url(key.signature(&alg, b"message"));
    match issuer.keys(Instant::now()).unwrap().check(algorithm, kid, b"message", &signature) {
        Check::Valid(_) => Checked::Valid,
        Check::Invalid => Checked::Invalid,
        Check::UnknownKey => Checked::UnknownKey,
    }
}

#[test]
fn settings_that_make_no_sense_are_refused() {
    let short = SecretFile::new("0123456789012345678901234567890");
    let good = SecretFile::new("01234567890123456789012345678901");
    let (short, good) = (short.written(), good.written());
    for (yaml, expected) in [
        ("issuer: \"\"\naudiences: [a]\njwks: { file: k }".to_owned(), "has an empty `issuer`"),
        ("issuer: i\naudiences: []\njwks: { file: k }".to_owned(), "at least one audience"),
        ("issuer: i\naudiences: [\"\"]\njwks: { file: k }".to_owned(), "at least one audience"),
        ("issuer: i\naudiences: [a]".to_owned(), "has no keys"),
        ("issuer: i\naudiences: [a]\njwks: {}".to_owned(), "neither `url` nor `file`"),
        (
            "issuer: i\naudiences: [a]\njwks: { file: k, url: \"https://x/\" }".to_owned(),
            "both `url` and `file`",
        ),
        ("issuer: i\naudiences: [a]\njwks: { file: k, ca: c }".to_owned(), "`ca` is of no use"),
        ("issuer: i\naudiences: [a]\njwks: { file: k }\nskew: 301s".to_owned(), "longer than 5m"),
        ("issuer: i\naudiences: [a]\njwks: { url: \"http://id.example/\" }".to_owned(), "not an https: URL"),
        (
            "issuer: i\naudiences: [a]\njwks: { url: \"https://u:p@id.example/\" }".to_owned(),
            "not an https: URL",
        ),
        ("issuer: i\naudiences: [a]\njwks: { url: \"/keys\" }".to_owned(), "not an https: URL"),
        ("issuer: i\naudiences: [a]\njwks: { url: \"https://x/\", cooldown: 0s }".to_owned(), "may not be 0"),
        (
            "issuer: i\naudiences: [a]\njwks: { url: \"https://x/\", max_stale: 1m }".to_owned(),
            "shorter than `refresh`",
        ),
        // RFC 8725, section 2.1: one key, one kind of algorithm.
        (format!("issuer: i\naudiences: [a]\njwks: {{ file: k }}\nhmac_secret: {good}"), "both `jwks` and"),
        (format!("{FILE}algorithms: [RS256, HS256]"), "HS256 needs `hmac_secret`"),
        (
            format!("issuer: i\naudiences: [a]\nhmac_secret: {good}\nalgorithms: [HS256, RS256]"),
            "RS256 needs `jwks`",
        ),
        // RFC 7518, section 3.2.
        (format!("issuer: i\naudiences: [a]\nhmac_secret: {short}"), "shorter than the 32 bytes"),
        (
            format!("issuer: i\naudiences: [a]\nhmac_secret: {good}\nalgorithms: [HS256, HS512]"),
            "shorter than the 64 bytes",
        ),
        (format!("{FILE}algorithms: [none]"), "none"),
    ] {
        match issuer("main", &yaml) {
            Ok(_) => panic!("accepted:\n{yaml}"),
            Err(report) => assert!(report.contains(expected), "{yaml}\n{report}"),
        }
    }
}

#[test]
fn a_loopback_address_may_be_plain() {
    for url in
        ["http://127.0.0.1:8080/keys", "http://[::1]/keys", "http://localhost/keys", "https://id.example"]
    {
        let yaml = format!("issuer: i\naudiences: [a]\njwks: {{ url: \"{url}\" }}");
        assert!(matches!(issuer("main", &yaml).unwrap().source(), Source::Url { .. }), "{url}");
    }
}

#[test]
fn equal_settings_have_equal_fingerprints_and_no_others() {
    let fingerprint = |yaml: &str| issuer("main", yaml).unwrap().settings_fingerprint().to_owned();
    let (one, two) = (SecretFile::new(&"a".repeat(32)), SecretFile::new(&"b".repeat(32)));
    let secret = |file: &SecretFile| format!("issuer: i\naudiences: [a]\nhmac_secret: {}", file.written());
    assert_eq!(fingerprint(FILE), fingerprint(&format!("# moved\n\n{FILE}")));
    assert_eq!(fingerprint(&secret(&one)), fingerprint(&secret(&one)));
    let different = [
        fingerprint(FILE),
        fingerprint(URL),
        fingerprint(&format!("{FILE}skew: 5s")),
        fingerprint(&format!("{FILE}algorithms: [RS256]")),
        fingerprint(&format!("{FILE}revocations: {{ file: r.json }}")),
        fingerprint(&secret(&one)),
        fingerprint(&secret(&two)),
    ];
    for (index, fingerprint) in different.iter().enumerate() {
        assert!(!different[..index].contains(fingerprint), "{fingerprint}");
        assert!(!fingerprint.contains("aaaa"), "no secret in it");
    }
}

#[test]
fn every_algorithm_verifies_with_its_own_key_only() {
    let issuer = with_algorithms("RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384, EdDSA");
    let (rsa, p256, p384, ed25519) = (TestKey::rsa(), TestKey::p256(), TestKey::p384(), TestKey::ed25519());
    let set = jwks(&[rsa.jwk("rsa"), p256.jwk("p256"), p384.jwk("p384"), ed25519.jwk("ed")]);
    assert_eq!(issuer.replace_keys(&set, Instant::now()).unwrap(), 4);
    use Algorithm::*;
    let keys = [("rsa", &rsa), ("p256", &p256), ("p384", &p384), ("ed", &ed25519)];
    for (algorithm, owner) in [
        (RS256, "rsa"),
        (RS384, "rsa"),
        (RS512, "rsa"),
        (PS256, "rsa"),
        (PS384, "rsa"),
        (PS512, "rsa"),
        (ES256, "p256"),
        (ES384, "p384"),
        (EdDSA, "ed"),
        (HS256, "nobody"),
        (HS384, "nobody"),
        (HS512, "nobody"),
    ] {
        for (kid, key) in keys {
            let expected = if kid == owner { Checked::Valid } else { Checked::Invalid };
            assert_eq!(check(&issuer, key, algorithm, Some(kid)), expected, "{algorithm:?} with {kid}");
        }
    }
}

/// RFC 7517, sections 4.2 to 4.4 and 5; RFC 7518, section 3.3; RFC 8725, section 3.5.
#[test]
fn keys_that_may_not_sign_are_skipped() {
    let issuer = with_algorithms("RS256, ES256, EdDSA");
    let (rsa, p256, p384) = (TestKey::rsa(), TestKey::p256(), TestKey::p384());
    let changed = |key: &TestKey, member: &str, value: Value| {
        let mut jwk = key.jwk("k");
        jwk[member] = value;
        jwk
    };
    let modulus = |bits: usize| {
        let mut number = vec![0xff; bits / 8];
        number[0] = 0x80;
        base64url([&[0, 0], &*number].concat())
    };
    for (jwk, reason) in [
        (changed(&rsa, "use", json!("enc")), "`use` is not `sig`"),
        (changed(&rsa, "key_ops", json!(["sign"])), "`key_ops` lacks `verify`"),
        (changed(&rsa, "alg", json!("RSA-OAEP")), "not a signature algorithm"),
        (changed(&rsa, "alg", json!("none")), "not a signature algorithm"),
        (changed(&rsa, "alg", json!("HS256")), "does not go with the key type"),
        (changed(&rsa, "alg", json!("ES256")), "does not go with the key type"),
        (changed(&rsa, "alg", json!("RS512")), "no accepted algorithm"),
        (changed(&rsa, "n", json!(modulus(1024))), "shorter than 2048 bits"),
        (changed(&rsa, "n", json!(modulus(2040))), "shorter than 2048 bits"),
        (changed(&rsa, "n", json!(modulus(16384))), "longer than 8192 bits"),
        (changed(&rsa, "e", json!("AQ")), "not sound"),
        (changed(&rsa, "e", json!("Ag")), "not sound"),
        (changed(&rsa, "e", json!("AA")), "not sound"),
        (changed(&rsa, "n", json!("a b")), "not base64url"),
        (changed(&rsa, "n", Value::Null), "a member is missing"),
        (changed(&rsa, "kid", json!(1)), "wrong type"),
        (changed(&rsa, "kty", json!("oct")), "secrets"),
        (changed(&p256, "x", json!("AQ")), "wrong length"),
        (changed(&p256, "x", json!(base64url([7; 32]))), "not on its curve"),
        (changed(&p256, "crv", json!("P-384")), "wrong length"),
        (changed(&p256, "crv", json!("secp256k1")), "not supported"),
        (p384.jwk("k"), "no accepted algorithm"),
        (json!({"kty": "oct", "k": base64url([1; 64])}), "secrets"),
        (json!({"kty": "OKP", "crv": "Ed25519", "x": "AQ"}), "wrong length"),
        (json!("key"), "wrong type"),
    ] {
        let error = issuer.replace_keys(&jwks(std::slice::from_ref(&jwk)), Instant::now()).unwrap_err();
        assert!(error.to_string().contains(reason), "{jwk}: {error}");
        let beside = issuer.replace_keys(&jwks(&[jwk.clone(), p256.jwk("good")]), Instant::now());
        assert_eq!(beside, Ok(1), "{jwk}");
    }
    let allowed = changed(&rsa, "key_ops", json!(["verify"]));
    assert_eq!(issuer.replace_keys(&jwks(&[allowed]), Instant::now()), Ok(1));
}

#[test]
fn what_is_no_key_set_keeps_the_old_keys() {
    let issuer = with_algorithms("ES256");
    let key = TestKey::p256();
    assert!(issuer.keys(Instant::now()).is_none(), "nothing was read yet");
    issuer.replace_keys(&jwks(&[key.jwk("a")]), Instant::now()).unwrap();
    let many: Vec<Value> = (0..65).map(|number| key.jwk(&number.to_string())).collect();
    for bad in
        [&b""[..], b"<html>", b"[]", b"{}", b"{\"keys\": {}}", b"{\"keys\": []}", &jwks(&many), b"\xff"]
    {
        assert!(issuer.replace_keys(bad, Instant::now()).is_err());
        assert_eq!(check(&issuer, &key, Algorithm::ES256, Some("a")), Checked::Valid);
    }
    assert_eq!(issuer.failures(), 8);
    issuer.keys_failed();
    assert_eq!(issuer.failures(), 9);
    issuer.replace_keys(&jwks(&[key.jwk("a")]), Instant::now()).unwrap();
    assert_eq!(issuer.failures(), 0);
}

#[test]
fn the_key_id_decides_and_without_one_only_a_single_key_does() {
    let issuer = with_algorithms("ES256, EdDSA");
    let (a, b, ed) = (TestKey::p256(), TestKey::p256(), TestKey::ed25519());
    let without_kid = |key: &TestKey| {
        let mut jwk = key.jwk("");
        jwk.as_object_mut().unwrap().remove("kid");
        jwk
    };
    use Algorithm::{ES256, EdDSA};
    let replace = |keys: &[Value]| issuer.replace_keys(&jwks(keys), Instant::now()).unwrap();

    replace(&[a.jwk("a"), ed.jwk("ed")]);
    assert_eq!(check(&issuer, &a, ES256, None), Checked::Valid, "the only ES256 key");
    assert_eq!(check(&issuer, &a, ES256, Some("ed")), Checked::Invalid, "a key of another type");
    assert_eq!(check(&issuer, &b, ES256, Some("a")), Checked::Invalid, "a foreign key under the same id");
    assert_eq!(check(&issuer, &a, ES256, Some("A")), Checked::UnknownKey);

    replace(&[a.jwk("a"), b.jwk("b")]);
    assert_eq!(check(&issuer, &a, ES256, None), Checked::Invalid, "two could be meant");
    assert_eq!(check(&issuer, &ed, EdDSA, None), Checked::UnknownKey);

    replace(&[without_kid(&a), b.jwk("b")]);
    assert_eq!(check(&issuer, &a, ES256, Some("x")), Checked::Valid, "the only key without id");
    assert_eq!(
        check(&issuer, &b, ES256, Some("x")),
        Checked::UnknownKey,
        "its successor may not be here yet"
    );
    assert_eq!(check(&issuer, &a, ES256, Some("b")), Checked::Invalid);

    replace(&[without_kid(&a), without_kid(&b)]);
    assert_eq!(check(&issuer, &a, ES256, Some("x")), Checked::UnknownKey);
    replace(&[without_kid(&a), without_kid(&a)]);
    assert_eq!(check(&issuer, &a, ES256, None), Checked::Valid, "the same key twice is one");
}

#[test]
fn the_generation_changes_when_a_key_goes() {
    let issuer = with_algorithms("ES256");
    let (a, b) = (TestKey::p256(), TestKey::p256());
    let replace = |keys: &[Value]| {
        issuer.replace_keys(&jwks(keys), Instant::now()).unwrap();
        issuer.keys(Instant::now()).unwrap().generation()
    };
    let first = replace(&[a.jwk("a")]);
    assert_eq!(replace(&[a.jwk("a")]), first, "the same set");
    assert_eq!(replace(&[b.jwk("b"), a.jwk("a")]), first, "a key more");
    let second = replace(&[b.jwk("b")]);
    assert_ne!(second, first, "a key less");
    assert_ne!(replace(&[a.jwk("b")]), second, "another key under the same id");
    let other = with_algorithms("ES256");
    other.replace_keys(&jwks(&[a.jwk("b")]), Instant::now()).unwrap();
    let same = issuer.keys(Instant::now()).unwrap().generation();
    assert_ne!(other.keys(Instant::now()).unwrap().generation(), same, "another issuer");
}

#[test]
fn keys_from_a_url_grow_stale_and_those_from_a_file_do_not() {
    let key = TestKey::p256();
    let now = Instant::now();
    let day = Duration::from_secs(86_400);
    let (url, file) = (issuer("main", URL).unwrap(), issuer("main", FILE).unwrap());
    for issuer in [&url, &file] {
        assert!(!issuer.ready(now));
        issuer.replace_keys(&jwks(&[key.jwk("a")]), now).unwrap();
        assert!(issuer.ready(now + day));
        assert_eq!(issuer.age(now + day), Some(day));
    }
    assert!(!url.ready(now + day + Duration::from_secs(1)));
    assert!(file.ready(now + 100 * day));
    assert!(matches!(url.wants_refresh("x", now), Refresh::Wait(_)));
    assert_eq!(file.wants_refresh("x", now), Refresh::No, "nobody fetches a file");
}

#[test]
fn an_issuer_is_not_ready_before_its_revocations_are_read() {
    let issuer = issuer("main", &format!("{FILE}revocations: {{ file: revoked.json }}")).unwrap();
    issuer.replace_keys(&jwks(&[TestKey::p256().jwk("a")]), Instant::now()).unwrap();
    assert!(!issuer.ready(Instant::now()));
    assert!(issuer.replace_revocations(b"{").is_err());
    assert!(!issuer.ready(Instant::now()));
    assert_eq!(issuer.replace_revocations(br#"{"jti": ["a"]}"#), Ok(1));
    assert!(issuer.ready(Instant::now()));
    assert!(issuer.replace_revocations(b"{\"jti\": 1}").is_err());
    assert!(issuer.revoked(&json!({"jti": "a"})), "a bad file leaves the old list");
}

#[test]
fn a_secret_takes_no_key_set() {
    let file = SecretFile::new(&"s".repeat(32));
    let yaml = format!("issuer: i\naudiences: [a]\nhmac_secret: {}", file.written());
    let issuer = issuer("main", &yaml).unwrap();
    assert!(issuer.ready(Instant::now()));
    let error = issuer.replace_keys(&jwks(&[TestKey::rsa().jwk("a")]), Instant::now()).unwrap_err();
    assert_eq!(error, KeysError::Static);
    let key = TestKey::Secret("s".repeat(32).into_bytes());
    assert_eq!(check(&issuer, &key, Algorithm::HS256, Some("any")), Checked::Valid);
}

#[test]
fn issuers_are_found_by_name() {
    let issuers: Issuers = [issuer("b", FILE).unwrap(), issuer("a", URL).unwrap()].into_iter().collect();
    assert_eq!(issuers.names().collect::<Vec<_>>(), ["a", "b"]);
    assert_eq!(&**issuers.find("b").unwrap().name(), "b");
    assert!(issuers.find("c").is_none());
}
