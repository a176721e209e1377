//! An issuer of tokens (JWT), good and bad.

use std::path::Path;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Map, Value, json};

use crate::keys::{Key, KeyKind, base64url, sign_with_secret};

/// An issuer with its keys.
pub struct Tokens {
    /// The `iss` of its tokens.
    pub issuer: String,
    /// The `aud` of its tokens unless they say otherwise.
    pub audience: String,
    keys: Vec<Arc<Key>>,
}

impl Tokens {
    /// An issuer with one P-256 key, `kid` "key-1".
    pub fn new(issuer: &str, audience: &str) -> Self {
        Tokens::with_keys(issuer, audience, vec![Key::generate(KeyKind::P256, "key-1")])
    }

    /// An issuer with these keys; tokens are signed with the first unless they say otherwise.
    pub fn with_keys(issuer: &str, audience: &str, keys: Vec<Key>) -> Self {
        let keys = keys.into_iter().map(Arc::new).collect();
        Tokens { issuer: issuer.to_owned(), audience: audience.to_owned(), keys }
    }

    /// The public keys (JWK set, RFC 7517, section 5).
    pub fn jwks(&self) -> Value {
        json!({ "keys": self.keys.iter().map(|key| key.jwk()).collect::<Vec<_>>() })
    }

    /// Writes the public keys to a file.
    pub fn write_jwks(&self, path: &Path) {
        std::fs::write(path, self.jwks().to_string()).expect("a file of the story");
    }

    /// The key at this place.
    pub fn key(&self, index: usize) -> &Key {
        &self.keys[index]
    }

    /// A valid token of the first key: `iss`, `sub` "alice", `aud`, `iat` now, `exp` in five minutes.
    pub fn token(&self) -> TokenDraft {
        self.token_of(0)
    }

    /// The same of another key.
    pub fn token_of(&self, index: usize) -> TokenDraft {
        let key = &self.keys[index];
        let now = now();
        let claims = json!({
            "iss": self.issuer, "sub": "alice", "aud": self.audience, "iat": now, "exp": now + 300,
        });
        let header = json!({ "alg": key.algorithm(), "typ": "JWT", "kid": key.id });
        TokenDraft { header: object(header), claims: object(claims), key: Arc::clone(key) }
    }
}

/// A token before it is signed.
#[derive(Clone)]
pub struct TokenDraft {
    header: Map<String, Value>,
    claims: Map<String, Value>,
    key: Arc<Key>,
}

impl TokenDraft {
    /// Sets a claim; `null` removes it.
    pub fn claim(mut self, name: &str, value: impl Into<Value>) -> Self {
        set(&mut self.claims, name, value.into());
        self
    }

    /// Sets a header parameter; `null` removes it.
    pub fn header(mut self, name: &str, value: impl Into<Value>) -> Self {
        set(&mut self.header, name, value.into());
        self
    }

    /// Expires so many seconds from now; negative: ago.
    pub fn expires_in(self, seconds: i64) -> Self {
        self.claim("exp", now() + seconds)
    }

    /// Becomes valid so many seconds from now; negative: ago.
    pub fn valid_from(self, seconds: i64) -> Self {
        self.claim("nbf", now() + seconds)
    }

    /// Signs with another key and leaves the header as it is: a foreign key under a known `kid`.
    pub fn signed_by(mut self, key: Key) -> Self {
        self.key = Arc::new(key);
        self
    }

    /// The token, signed with the algorithm that its header names.
    pub fn sign(&self) -> String {
        let algorithm = self.header.get("alg").and_then(Value::as_str).unwrap_or_default();
        self.finish(|message| self.key.sign(algorithm, message))
    }

    /// The token with this `alg` and an HMAC over `secret`: with a public key as the secret, the confusion of RS256 and
    /// HS256 (RFC 8725, section 2.1).
    pub fn sign_with_secret(self, algorithm: &str, secret: &[u8]) -> String {
        let draft = self.header("alg", algorithm);
        draft.finish(|message| sign_with_secret(algorithm, secret, message))
    }

    /// The token with `alg: none`, in the case given, and an empty signature (RFC 7519, section 6).
    pub fn unsigned(self, none: &str) -> String {
        self.header("alg", none).finish(|_| Vec::new())
    }

    /// The token with a signature over other claims: `sub` was changed after it was signed.
    pub fn tampered(&self, subject: &str) -> String {
        let good = self.sign();
        let forged = self.clone().claim("sub", subject).finish(|_| Vec::new());
        let signature = good.rsplit('.').next().unwrap_or_default();
        format!("{forged}{signature}")
    }

    fn finish(&self, sign: impl FnOnce(&[u8]) -> Vec<u8>) -> String {
        let header = base64url(Value::Object(self.header.clone()).to_string());
        let claims = base64url(Value::Object(self.claims.clone()).to_string());
        let message = format!("{header}.{claims}");
        let signature = base64url(sign(message.as_bytes()));
        format!("{message}.{signature}")
    }
}

/// Seconds since 1970.
pub fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock after 1970");
    i64::try_from(since.as_secs()).expect("a clock before the end of time")
}

fn set(map: &mut Map<String, Value>, name: &str, value: Value) {
    if value.is_null() {
        map.remove(name);
    } else {
        map.insert(name.to_owned(), value);
    }
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        other => panic!("{other} is no object"),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, jwk::Jwk};

    use super::*;

    fn accepted(token: &str, jwk: &Value, algorithm: Algorithm) -> bool {
        let jwk: Jwk = serde_json::from_value(jwk.clone()).unwrap();
        let mut validation = Validation::new(algorithm);
        validation.set_audience(&["edge"]);
        validation.required_spec_claims = HashSet::from(["exp".to_owned()]);
        decode::<Value>(token, &DecodingKey::from_jwk(&jwk).unwrap(), &validation).is_ok()
    }

    // The tokens are judged by an implementation that did not make them.
    #[test]
    fn good_tokens_are_good_and_bad_ones_bad() {
        for (kind, algorithm) in [
            (KeyKind::Rsa, Algorithm::RS256),
            (KeyKind::P256, Algorithm::ES256),
            (KeyKind::P384, Algorithm::ES384),
            (KeyKind::Ed25519, Algorithm::EdDSA),
        ] {
            let tokens = Tokens::with_keys("https://id.test/", "edge", vec![Key::generate(kind, "k")]);
            let jwk = &tokens.jwks()["keys"][0];
            assert!(accepted(&tokens.token().sign(), jwk, algorithm), "{algorithm:?}");
            assert!(!accepted(&tokens.token().tampered("mallory"), jwk, algorithm), "{algorithm:?} tampered");
            assert!(
                !accepted(&tokens.token().expires_in(-3600).sign(), jwk, algorithm),
                "{algorithm:?} expired"
            );
            assert!(!accepted(&tokens.token().unsigned("none"), jwk, algorithm), "{algorithm:?} unsigned");
            let stranger = tokens.token().signed_by(Key::generate(kind, "k")).sign();
            assert!(!accepted(&stranger, jwk, algorithm), "{algorithm:?} foreign key");
        }
    }

    #[test]
    fn every_rsa_algorithm_signs() {
        let tokens = Tokens::with_keys("https://id.test/", "edge", vec![Key::generate(KeyKind::Rsa, "k")]);
        let mut jwk = tokens.jwks()["keys"][0].clone();
        for algorithm in ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512"] {
            jwk["alg"] = json!(algorithm);
            let token = tokens.token().header("alg", algorithm).sign();
            assert!(accepted(&token, &jwk, algorithm.parse().unwrap()), "{algorithm}");
        }
    }
}
