//! Who signs the demo's tokens: a key made on the spot. It stands for the identity provider of a real platform.

use std::time::SystemTime;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as BASE64;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use rcgen::{KeyPair, PublicKeyData};
use serde_json::json;

const KEY_ID: &str = "demo-1";
const ISSUER: &str = "https://id.example.com/";
/// Tokens to paste last as long as a demo may.
const VALID_SECONDS: u64 = 12 * 3600;
/// Those of the page do not, so that a look at it shows how a connection renews its token.
const SESSION_SECONDS: u64 = 5 * 60;

/// A signing key.
pub(super) struct Signer {
    key: KeyPair,
}

impl Signer {
    /// A new key.
    pub(super) fn new() -> Result<Self, String> {
        Ok(Signer { key: KeyPair::generate().map_err(|error| error.to_string())? })
    }

    /// A token of a teacher with these scopes.
    pub(super) fn token(&self, subject: &str, scope: &str) -> Result<String, String> {
        self.sign(subject, scope, VALID_SECONDS)
    }

    /// A token for one session of the page, of a teacher who may also see results.
    pub(super) fn session(&self, subject: &str) -> Result<String, String> {
        self.sign(subject, "results.read", SESSION_SECONDS)
    }

    fn sign(&self, subject: &str, scope: &str, valid_seconds: u64) -> Result<String, String> {
        let now =
            SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_err(|error| error.to_string())?;
        let claims = json!({
            "iss": ISSUER, "aud": "platform", "sub": subject, "scope": scope,
            "iat": now.as_secs(), "exp": now.as_secs() + valid_seconds,
        });
        let header = Header { kid: Some(KEY_ID.to_owned()), ..Header::new(Algorithm::ES256) };
        let key = EncodingKey::from_ec_pem(self.key.serialize_pem().as_bytes());
        key.and_then(|key| jsonwebtoken::encode(&header, &claims, &key)).map_err(|error| error.to_string())
    }

    /// The public key, as a JWK set (RFC 7517, section 5).
    pub(super) fn jwks(&self) -> Result<String, String> {
        // An uncompressed point (SEC 1, section 2.3.3): 4, then both coordinates.
        let [4, point @ ..] = self.key.der_bytes() else {
            return Err("not an uncompressed point".to_owned());
        };
        let (x, y) = point.split_at(point.len() / 2);
        let key = json!({
            "kty": "EC", "crv": "P-256", "alg": "ES256", "use": "sig", "kid": KEY_ID,
            "x": BASE64.encode(x), "y": BASE64.encode(y),
        });
        Ok(json!({ "keys": [key] }).to_string())
    }
}
