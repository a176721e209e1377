//! Keys, tokens and issuers for tests. Keys are made on the spot, and tokens are put together without the
//! crate that checks them, so that they can be wrong in every way.

use std::sync::Arc;

use aws_lc_rs::hmac;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    self, ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair,
    KeyPair, RsaKeyPair, RsaPublicKeyComponents,
};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sallyport_config::{Node, Report};
use serde_json::{Value, json};

use super::Issuer;

/// A key that tests sign with.
pub enum TestKey {
    /// For RS256 and its siblings.
    Rsa(RsaKeyPair),
    /// For ES256 or ES384.
    Ec(EcdsaKeyPair),
    /// For EdDSA.
    Ed25519(Ed25519KeyPair),
    /// For HS256 and its siblings.
    Secret(Vec<u8>),
}

impl TestKey {
    /// A new RSA key of 2048 bits.
    pub fn rsa() -> TestKey {
        TestKey::Rsa(RsaKeyPair::generate(KeySize::Rsa2048).unwrap())
    }

    /// A new key on P-256.
    pub fn p256() -> TestKey {
        TestKey::Ec(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap())
    }

    /// A new key on P-384.
    pub fn p384() -> TestKey {
        TestKey::Ec(EcdsaKeyPair::generate(&ECDSA_P384_SHA384_FIXED_SIGNING).unwrap())
    }

    /// A new Ed25519 key.
    pub fn ed25519() -> TestKey {
        TestKey::Ed25519(Ed25519KeyPair::generate().unwrap())
    }

    /// The public key as a JWK.
    pub fn jwk(&self, kid: &str) -> Value {
        match self {
            TestKey::Rsa(key) => {
                let parts = RsaPublicKeyComponents::<Vec<u8>>::from(key.public_key());
                json!({"kty": "RSA", "kid": kid, "n": base64url(parts.n), "e": base64url(parts.e)})
            }
            TestKey::Ec(key) => {
                let point = &key.public_key().as_ref()[1..];
                let (x, y) = point.split_at(point.len() / 2);
                let crv = if x.len() == 32 { "P-256" } else { "P-384" };
                json!({"kty": "EC", "crv": crv, "kid": kid, "x": base64url(x), "y": base64url(y)})
            }
            TestKey::Ed25519(key) => {
                json!({"kty": "OKP", "crv": "Ed25519", "kid": kid, "x": base64url(key.public_key())})
            }
            TestKey::Secret(secret) => json!({"kty": "oct", "kid": kid, "k": base64url(secret)}),
        }
    }

    /// A token with exactly this header and these claims, signed as `alg` of the header says; with the key's
    /// own algorithm if it says something that the key cannot do.
    pub fn sign(&self, header: &Value, claims: &Value) -> String {
        let message = format!("{}.{}", base64url(header.to_string()), base64url(claims.to_string()));
        let alg = header["alg"].as_str().unwrap_or_default();
        format!("{message}.{}", base64url(self.signature(alg, message.as_bytes())))
    }

    /// A signature over any bytes, as [`TestKey::sign`] makes it.
    pub fn signature(&self, alg: &str, message: &[u8]) -> Vec<u8> {
        match self {
            TestKey::Rsa(key) => {
                let mut signature = vec![0; key.public_modulus_len()];
                let padding: &'static dyn signature::RsaEncoding = match alg {
                    "RS384" => &signature::RSA_PKCS1_SHA384,
                    "RS512" => &signature::RSA_PKCS1_SHA512,
                    "PS256" => &signature::RSA_PSS_SHA256,
                    "PS384" => &signature::RSA_PSS_SHA384,
                    "PS512" => &signature::RSA_PSS_SHA512,
                    _ => &signature::RSA_PKCS1_SHA256,
                };
                key.sign(padding, &SystemRandom::new(), message, &mut signature).unwrap();
                signature
            }
            TestKey::Ec(key) => key.sign(&SystemRandom::new(), message).unwrap().as_ref().to_vec(),
            TestKey::Ed25519(key) => key.sign(message).as_ref().to_vec(),
            TestKey::Secret(secret) => {
                let algorithm = match alg {
                    "HS384" => hmac::HMAC_SHA384,
                    "HS512" => hmac::HMAC_SHA512,
                    _ => hmac::HMAC_SHA256,
                };
                hmac::sign(&hmac::Key::new(algorithm, secret), message).as_ref().to_vec()
            }
        }
    }
}

/// Without padding (RFC 7515, section 2).
pub fn base64url(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// A JWK set.
pub fn jwks(keys: &[Value]) -> Vec<u8> {
    json!({ "keys": keys }).to_string().into_bytes()
}

/// An issuer from YAML as in `issuers:`; the error is the report.
pub fn issuer(name: &str, yaml: &str) -> Result<Arc<Issuer>, String> {
    let mut report = Report::default();
    let settings = Node::parse("issuer.yaml", yaml, &mut report).and_then(|node| node.decode(&mut report));
    let issuer = settings.and_then(|settings| Issuer::new(name, &settings, &mut report));
    assert_eq!(issuer.is_none(), !report.is_empty(), "an issuer or an error: {report}");
    issuer.map(Arc::new).ok_or_else(|| report.to_string())
}

/// A file that holds a secret, gone when this is dropped.
pub struct SecretFile(std::path::PathBuf);

impl SecretFile {
    /// A new file that holds this.
    pub fn new(secret: &str) -> SecretFile {
        use std::sync::atomic::{AtomicU32, Ordering};
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("sallyport-secret-{}-{number}", std::process::id()));
        std::fs::write(&path, secret).unwrap();
        SecretFile(path)
    }

    /// As it is written in the configuration.
    pub fn written(&self) -> String {
        format!("\"file:{}\"", self.0.display())
    }
}

impl Drop for SecretFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}
