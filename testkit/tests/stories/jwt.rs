//! Tokens, good and bad: what passes, what is refused, and how.

use std::net::SocketAddr;

use sallyport_testkit::{EdgeUnderTest, Key, KeyKind, Origin, Tokens};
use serde_json::json;

const ISSUER: &str = "https://id.test/";

fn tokens(kind: KeyKind) -> Tokens {
    Tokens::with_keys(ISSUER, "platform", vec![Key::generate(kind, "key-1")])
}

fn config(origin: SocketAddr, filter: &str) -> String {
    format!(
        r#"
issuers:
  main:
    issuer: "{ISSUER}"
    audiences: [platform]
    algorithms: [RS256, ES256, EdDSA]
    jwks: {{ file: jwks.json }}
    skew: 60s
    revocations: {{ file: revoked.json }}
upstreams:
  origin: {{ targets: ["{origin}"] }}
routes:
  - match: "/{{**rest}}"
    filters:
      - jwt: {{ issuer: main{filter} }}
    upstream: origin
"#
    )
}

async fn edge(tokens: &Tokens, origin: &Origin, filter: &str) -> EdgeUnderTest {
    EdgeUnderTest::builder()
        .file("jwks.json", tokens.jwks().to_string())
        .file("revoked.json", "{}")
        .start(&config(origin.address(), filter))
        .await
}

async fn status(edge: &EdgeUnderTest, token: &str) -> u16 {
    edge.client().await.get("/").bearer(token).send().await.status
}

#[tokio::test]
async fn each_algorithm_of_the_list_passes_and_the_claims_are_forwarded() {
    for kind in [KeyKind::Rsa, KeyKind::P256, KeyKind::Ed25519] {
        let (tokens, origin) = (tokens(kind), Origin::start().await);
        let edge = edge(&tokens, &origin, ", forward: { X-User-Id: sub, X-Tenant: org.id }").await;
        let token = tokens.token().claim("org", json!({ "id": 7 })).sign();
        let echo = edge.client().await.get("/").bearer(&token).send().await.expect(200);
        assert_eq!(
            (echo.echoed("x-user-id"), echo.echoed("x-tenant")),
            (vec!["alice".into()], vec!["7".into()])
        );
        // The token itself does not go further than it must.
        assert!(echo.echoed("authorization").is_empty(), "{kind:?}");
        assert_eq!(edge.access_log(1).await[0]["subject"], "alice");
    }
}

#[tokio::test]
async fn no_token_is_401_with_a_challenge_and_no_error() {
    let (tokens, origin) = (tokens(KeyKind::P256), Origin::start().await);
    let edge = edge(&tokens, &origin, "").await;
    let refused = edge.get("/").await;
    // RFC 6750, section 3.1: without credentials there is no error code.
    let challenge = refused.header("www-authenticate").unwrap().to_owned();
    assert!(challenge.starts_with("Bearer") && !challenge.contains("error"), "{challenge}");
    refused.problem(401, "unauthorized");
    assert!(origin.requests().is_empty());
}

#[tokio::test]
async fn every_bad_token_is_401_invalid_token() {
    let (tokens, origin) = (tokens(KeyKind::Rsa), Origin::start().await);
    let edge = edge(&tokens, &origin, "").await;
    let good = tokens.token();
    let stranger = Key::generate(KeyKind::Rsa, "key-1");
    let stranger_jwk = stranger.jwk();
    let pem_like = tokens.key(0).public_bytes();
    let parts: Vec<String> = good.sign().split('.').map(str::to_owned).collect();
    let bad = [
        ("none", good.clone().unsigned("none")),
        ("None", good.clone().unsigned("None")),
        ("RS256 to HS256 with the public key", good.clone().sign_with_secret("HS256", &pem_like)),
        (
            "RS256 to HS256 with the JWK",
            good.clone().sign_with_secret("HS256", tokens.jwks().to_string().as_bytes()),
        ),
        ("a foreign key with the same kid", good.clone().signed_by(stranger).sign()),
        (
            "an embedded jwk",
            good.clone().header("jwk", stranger_jwk).signed_by(Key::generate(KeyKind::Rsa, "key-1")).sign(),
        ),
        (
            "a jku",
            good.clone()
                .header("jku", "https://evil.test/jwks.json")
                .signed_by(Key::generate(KeyKind::Rsa, "key-1"))
                .sign(),
        ),
        (
            "an x5u",
            good.clone()
                .header("x5u", "https://evil.test/x.pem")
                .signed_by(Key::generate(KeyKind::Rsa, "key-1"))
                .sign(),
        ),
        ("an unknown kid", good.clone().header("kid", "other").sign()),
        ("an algorithm outside the list", good.clone().header("alg", "RS512").sign()),
        ("an unknown critical header", good.clone().header("crit", json!(["exp2"])).header("exp2", 1).sign()),
        ("changed claims", good.tampered("mallory")),
        ("expired beyond the skew", good.clone().expires_in(-120).sign()),
        ("not valid yet", good.clone().valid_from(120).sign()),
        ("from the future", good.clone().claim("iat", sallyport_testkit::tokens::now() + 600).sign()),
        ("no exp", good.clone().claim("exp", json!(null)).sign()),
        ("exp as a text", good.clone().claim("exp", "9999999999").sign()),
        ("another issuer", good.clone().claim("iss", "https://evil.test/").sign()),
        ("no issuer", good.clone().claim("iss", json!(null)).sign()),
        ("iss as a list", good.clone().claim("iss", json!([ISSUER])).sign()),
        ("another audience", good.clone().claim("aud", "other").sign()),
        ("no audience", good.clone().claim("aud", json!(null)).sign()),
        ("aud as a number", good.clone().claim("aud", 7).sign()),
        ("aud as an object", good.clone().claim("aud", json!({ "platform": true })).sign()),
        ("no signature", format!("{}.{}.", parts[0], parts[1])),
        ("two parts", format!("{}.{}", parts[0], parts[1])),
        ("four parts", format!("{}.{}.{}.x", parts[0], parts[1], parts[2])),
        ("five parts", "a.b.c.d.e".to_owned()),
        ("padding", format!("{}.{}.{}==", parts[0], parts[1], parts[2])),
        ("not base64", "!!!.???.---".to_owned()),
        ("huge", good.clone().claim("fat", "x".repeat(20_000)).sign()),
        ("a logout token", good.clone().header("typ", "logout+jwt").sign()),
    ];
    for (what, token) in bad {
        let refused = edge.client().await.get("/").bearer(&token).send().await;
        let challenge = refused.header("www-authenticate").unwrap_or_default().to_owned();
        assert_eq!(refused.status, 401, "{what}");
        assert!(challenge.contains("error=\"invalid_token\""), "{what}: {challenge}");
        assert!(!refused.text().contains(&parts[2]), "{what}: the answer repeats the token");
        refused.problem(401, "unauthorized");
    }
    assert!(origin.requests().is_empty());
    // The same edge still knows a good one.
    assert_eq!(status(&edge, &good.sign()).await, 200);
}

#[tokio::test]
async fn clocks_may_differ_by_the_skew() {
    let (tokens, origin) = (tokens(KeyKind::P256), Origin::start().await);
    let edge = edge(&tokens, &origin, "").await;
    assert_eq!(status(&edge, &tokens.token().expires_in(-20).sign()).await, 200);
    assert_eq!(status(&edge, &tokens.token().valid_from(20).sign()).await, 200);
    assert_eq!(status(&edge, &tokens.token().claim("aud", json!(["other", "platform"])).sign()).await, 200);
}

#[tokio::test]
async fn a_token_that_does_not_suffice_is_403() {
    let (tokens, origin) = (tokens(KeyKind::P256), Origin::start().await);
    let filter =
        ", scopes: [read, write], roles: { claim: roles, any: [teacher, admin] }, claims: { verified: true }";
    let edge = edge(&tokens, &origin, filter).await;
    let good = tokens
        .token()
        .claim("scope", "read write")
        .claim("roles", json!(["teacher"]))
        .claim("verified", true);
    assert_eq!(status(&edge, &good.sign()).await, 200);
    let refused =
        edge.client().await.get("/").bearer(&good.clone().claim("scope", "read").sign()).send().await;
    // RFC 6750, section 3.1.
    let challenge = refused.header("www-authenticate").unwrap().to_owned();
    assert!(challenge.contains("error=\"insufficient_scope\""), "{challenge}");
    refused.problem(403, "forbidden");
    for (what, token) in [
        ("role", good.clone().claim("roles", json!(["pupil"]))),
        ("no roles", good.clone().claim("roles", json!(null))),
        ("scope inside another", good.clone().claim("scope", "readwrite read-write")),
        ("a text is not true", good.clone().claim("verified", "true")),
    ] {
        assert_eq!(status(&edge, &token.sign()).await, 403, "{what}");
    }
}

#[tokio::test]
async fn a_token_may_come_in_a_cookie_or_query_only_where_the_route_says_so() {
    let (tokens, origin) = (tokens(KeyKind::P256), Origin::start().await);
    let token = tokens.token().sign();
    let strict = edge(&tokens, &origin, "").await;
    strict.get(&format!("/?access_token={token}")).await.expect(401);
    strict.client().await.get("/").header("Cookie", format!("session={token}")).send().await.expect(401);

    let open = edge(&tokens, &origin, ", from: [header, { cookie: session }, { query: access_token }]").await;
    let echo = open.get(&format!("/x?a=1&access_token={token}&b=2")).await.expect(200);
    assert_eq!(echo.json()["target"], "/x?a=1&b=2");
    let cookies = format!("a=1; session={token}; b=2");
    let echo = open.client().await.get("/").header("Cookie", cookies).send().await.expect(200);
    assert!(!echo.text().contains(&token), "the token went to the origin");
    // Two tokens have two readings (RFC 6750, section 2).
    let both = open.client().await.get(&format!("/?access_token={token}")).bearer(&token).send().await;
    both.expect(400);
}

#[tokio::test]
async fn a_remembered_token_is_refused_once_it_is_revoked() {
    let (tokens, origin) = (tokens(KeyKind::P256), Origin::start().await);
    let edge = edge(&tokens, &origin, "").await;
    let one = tokens.token().claim("jti", "one").sign();
    let other = tokens.token().claim("jti", "two").sign();
    assert_eq!((status(&edge, &one).await, status(&edge, &other).await), (200, 200));
    edge.write("revoked.json", r#"{"jti": ["one"]}"#);
    edge.reload().await.unwrap();
    assert_eq!((status(&edge, &one).await, status(&edge, &other).await), (401, 200));
    let now = sallyport_testkit::tokens::now();
    edge.write("revoked.json", json!({ "sub": { "alice": now + 1 } }).to_string());
    edge.reload().await.unwrap();
    assert_eq!(status(&edge, &other).await, 401);
    let later = tokens.token().claim("iat", now + 30).sign();
    assert_eq!(status(&edge, &later).await, 200);
}

#[tokio::test]
async fn keys_from_a_url_follow_a_rotation() {
    use sallyport_testkit::Answer;

    let (old, new) = (
        tokens(KeyKind::P256),
        Tokens::with_keys(ISSUER, "platform", vec![Key::generate(KeyKind::P256, "key-2")]),
    );
    let both = json!({ "keys": [old.jwks()["keys"][0], new.jwks()["keys"][0]] });
    let issuer = Origin::builder()
        .on_in_turn(
            "/jwks",
            [Answer::fixed(200, old.jwks().to_string()), Answer::fixed(200, both.to_string())],
        )
        .start()
        .await;
    let origin = Origin::start().await;
    let yaml = config(origin.address(), "").replace(
        "{ file: jwks.json }",
        &format!("{{ url: \"http://{}/jwks\", cooldown: 1ms }}", issuer.address()),
    );
    let edge = EdgeUnderTest::builder().file("revoked.json", "{}").start(&yaml).await;
    assert_eq!(status(&edge, &old.token().sign()).await, 200);
    assert_eq!(issuer.requests().len(), 1);
    // An unknown kid asks for the keys once more, and the request waits for them.
    assert_eq!(status(&edge, &new.token().sign()).await, 200);
    assert_eq!(issuer.requests().len(), 2);
    // While the issuer is down, the keys go on.
    issuer.kill();
    assert_eq!(status(&edge, &new.token().claim("sub", "bob").sign()).await, 200);
}
