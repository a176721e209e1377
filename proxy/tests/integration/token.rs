//! `token`: what it signs passes an edge that knows the key.

use std::fs;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as BASE64;
use rcgen::{KeyPair, PublicKeyData};
use sallyport_testkit::{EdgeUnderTest, Origin};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{LONG_SECRET, sallyport};

const WHO: [&str; 6] =
    ["--issuer", "https://id.example.com/", "--audience", "platform", "--subject", "alice"];

fn routes(origin: &Origin, issuer: &str) -> String {
    format!(
        r#"
issuers:
  main:
    issuer: https://id.example.com/
    audiences: [platform]
    {issuer}
upstreams:
  app: {{ targets: ["{}"] }}
routes:
  - match: /{{**path}}
    filters:
      - jwt: {{ issuer: main, scopes: [marks.read], forward: {{ X-User-Id: sub, X-Level: level }} }}
    upstream: app
"#,
        origin.address()
    )
}

#[tokio::test]
async fn a_token_passes_with_its_subject_and_claims() {
    let (origin, folder, key) =
        (Origin::start().await, TempDir::new().unwrap(), KeyPair::generate().unwrap());
    fs::write(folder.path().join("key.pem"), key.serialize_pem()).unwrap();
    let [4, point @ ..] = key.der_bytes() else { panic!("not an uncompressed point") };
    let (x, y) = point.split_at(point.len() / 2);
    let jwk =
        json!({ "kty": "EC", "crv": "P-256", "kid": "1", "x": BASE64.encode(x), "y": BASE64.encode(y) });
    let edge = EdgeUnderTest::builder()
        .file("jwks.json", json!({ "keys": [jwk] }).to_string())
        .start(&routes(&origin, "jwks: { file: jwks.json }"))
        .await;

    let token = |more: &[&str]| {
        let arguments =
            [&["token", "--key", "key.pem", "--alg", "ES256", "--kid", "1"], &WHO[..], more].concat();
        sallyport(folder.path(), &arguments).expect(0).stdout.trim_end().to_owned()
    };
    let good = token(&["--claim", "scope=marks.read marks.write", "--claim", "level=7"]);
    edge.client().await.get("/").bearer(&good).send().await.expect(200);
    let received = origin.last();
    assert_eq!((received.header("x-user-id"), received.header("x-level")), (Some("alice"), Some("7")));
    edge.client().await.get("/").bearer(&token(&[])).send().await.problem(403, "forbidden");
}

#[tokio::test]
async fn a_shared_secret_comes_from_the_environment() {
    let (origin, folder) = (Origin::start().await, TempDir::new().unwrap());
    let edge = EdgeUnderTest::builder()
        .file("secret", LONG_SECRET)
        .start(&routes(&origin, "hmac_secret: file:secret"))
        .await;
    let arguments = ["token", "--secret-env", "LONG_SECRET", "--claim", "scope=marks.read"];
    let ran = sallyport(folder.path(), &[&arguments[..], &WHO].concat()).expect(0);
    edge.client().await.get("/").bearer(ran.stdout.trim_end()).send().await.expect(200);
    assert!(!(ran.stdout + &ran.stderr).contains(LONG_SECRET));
}

#[test]
fn claims_are_json_where_they_can_be() {
    let folder = TempDir::new().unwrap();
    let arguments = ["token", "--secret-env", "LONG_SECRET", "--alg", "HS256", "--expires", "90s"];
    let claims = ["--claim", "roles=[\"a\"]", "--claim", "name=Ada L.", "--claim", "aud=[\"x\",\"y\"]"];
    let token = sallyport(folder.path(), &[&arguments[..], &WHO, &claims].concat()).expect(0).stdout;
    let payload = BASE64.decode(token.split('.').nth(1).unwrap()).unwrap();
    let payload: Value = serde_json::from_slice(&payload).unwrap();
    assert_eq!(payload["roles"], json!(["a"]));
    assert_eq!(payload["name"], "Ada L.");
    // The last word is the claim's.
    assert_eq!(payload["aud"], json!(["x", "y"]));
    assert_eq!(payload["exp"].as_u64().unwrap() - payload["iat"].as_u64().unwrap(), 90);
}

#[test]
fn what_cannot_be_signed_is_code_2_and_says_why() {
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join("text.pem"), "This is a text.\n").unwrap();
    for (arguments, words) in [
        (&["--key", "none.pem"][..], "no such file"),
        (&["--key", "text.pem", "--alg", "ES256"], "text.pem"),
        (&["--secret-env", "NOT_SET", "--alg", "HS256"], "NOT_SET"),
        (&["--key", "text.pem", "--alg", "HS256"], "--secret-env"),
        (&["--secret-env", "LONG_SECRET", "--alg", "RS256"], "RS256"),
    ] {
        let ran = sallyport(folder.path(), &[&["token"], &WHO[..], arguments].concat()).expect(2);
        assert!(ran.stdout.is_empty() && ran.stderr.contains(words), "{arguments:?}: {}", ran.stderr);
    }
}
