//! Keys that sign tokens. Made and used with aws-lc-rs directly, not with the library that the edge checks tokens
//! with, so that a mistake in one does not hide in the other.

use aws_lc_rs::hmac;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{self, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _, RsaKeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

/// A kind of key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyKind {
    /// RSA, 2048 bits: RS256, RS384, RS512, PS256, PS384, PS512.
    Rsa,
    /// The curve P-256: ES256.
    P256,
    /// The curve P-384: ES384.
    P384,
    /// Ed25519: EdDSA.
    Ed25519,
}

/// A key pair with its id.
pub struct Key {
    /// The `kid`.
    pub id: String,
    pair: Pair,
}

enum Pair {
    Rsa(RsaKeyPair),
    P256(EcdsaKeyPair),
    P384(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
}

impl Key {
    /// Makes a key.
    pub fn generate(kind: KeyKind, id: &str) -> Self {
        let pair = match kind {
            KeyKind::Rsa => Pair::Rsa(RsaKeyPair::generate(KeySize::Rsa2048).expect("an RSA key")),
            KeyKind::P256 => Pair::P256(
                EcdsaKeyPair::generate(&signature::ECDSA_P256_SHA256_FIXED_SIGNING).expect("a P-256 key"),
            ),
            KeyKind::P384 => Pair::P384(
                EcdsaKeyPair::generate(&signature::ECDSA_P384_SHA384_FIXED_SIGNING).expect("a P-384 key"),
            ),
            KeyKind::Ed25519 => Pair::Ed25519(Ed25519KeyPair::generate().expect("an Ed25519 key")),
        };
        Key { id: id.to_owned(), pair }
    }

    /// The algorithm that it signs with unless a token says otherwise.
    pub fn algorithm(&self) -> &'static str {
        match self.pair {
            Pair::Rsa(_) => "RS256",
            Pair::P256(_) => "ES256",
            Pair::P384(_) => "ES384",
            Pair::Ed25519(_) => "EdDSA",
        }
    }

    /// The public half as a JWK (RFC 7517), with `kid`, `alg` and `use`.
    pub fn jwk(&self) -> Value {
        let mut jwk = match &self.pair {
            Pair::Rsa(pair) => {
                let public = pair.public_key();
                let modulus = public.modulus().big_endian_without_leading_zero();
                let exponent = public.exponent().big_endian_without_leading_zero();
                json!({ "kty": "RSA", "n": base64url(modulus), "e": base64url(exponent) })
            }
            Pair::P256(pair) => curve("P-256", pair.public_key().as_ref()),
            Pair::P384(pair) => curve("P-384", pair.public_key().as_ref()),
            Pair::Ed25519(pair) => {
                json!({ "kty": "OKP", "crv": "Ed25519", "x": base64url(pair.public_key().as_ref()) })
            }
        };
        jwk["kid"] = json!(self.id);
        jwk["use"] = json!("sig");
        jwk["alg"] = json!(self.algorithm());
        jwk
    }

    /// The public half as its encoded bytes, as an attacker would use them for an HMAC.
    pub fn public_bytes(&self) -> Vec<u8> {
        match &self.pair {
            Pair::Rsa(pair) => pair.public_key().as_ref().to_vec(),
            Pair::P256(pair) | Pair::P384(pair) => pair.public_key().as_ref().to_vec(),
            Pair::Ed25519(pair) => pair.public_key().as_ref().to_vec(),
        }
    }

    /// Signs `message` with this algorithm (RFC 7518, section 3).
    ///
    /// # Panics
    /// When the algorithm is none of this kind of key.
    pub fn sign(&self, algorithm: &str, message: &[u8]) -> Vec<u8> {
        let random = SystemRandom::new();
        match &self.pair {
            Pair::Rsa(pair) => {
                let padding: &'static dyn signature::RsaEncoding = match algorithm {
                    "RS256" => &signature::RSA_PKCS1_SHA256,
                    "RS384" => &signature::RSA_PKCS1_SHA384,
                    "RS512" => &signature::RSA_PKCS1_SHA512,
                    "PS256" => &signature::RSA_PSS_SHA256,
                    "PS384" => &signature::RSA_PSS_SHA384,
                    "PS512" => &signature::RSA_PSS_SHA512,
                    other => panic!("{other} is no algorithm of an RSA key"),
                };
                let mut out = vec![0; pair.public_modulus_len()];
                pair.sign(padding, &random, message, &mut out).expect("an RSA signature");
                out
            }
            Pair::P256(pair) | Pair::P384(pair) => {
                assert_eq!(algorithm, self.algorithm(), "a curve has one algorithm");
                pair.sign(&random, message).expect("an ECDSA signature").as_ref().to_vec()
            }
            Pair::Ed25519(pair) => {
                assert_eq!(algorithm, "EdDSA", "Ed25519 has one algorithm");
                pair.sign(message).as_ref().to_vec()
            }
        }
    }
}

/// HMAC with a shared secret: HS256, HS384 or HS512.
///
/// # Panics
/// When the algorithm is another.
pub fn sign_with_secret(algorithm: &str, secret: &[u8], message: &[u8]) -> Vec<u8> {
    let algorithm = match algorithm {
        "HS256" => hmac::HMAC_SHA256,
        "HS384" => hmac::HMAC_SHA384,
        "HS512" => hmac::HMAC_SHA512,
        other => panic!("{other} is no HMAC"),
    };
    hmac::sign(&hmac::Key::new(algorithm, secret), message).as_ref().to_vec()
}

/// Base64url without padding (RFC 7515, section 2).
pub fn base64url(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// A point `04 || x || y` as a JWK (RFC 7518, section 6.2.1).
fn curve(name: &str, point: &[u8]) -> Value {
    let (x, y) = point[1..].split_at((point.len() - 1) / 2);
    json!({ "kty": "EC", "crv": name, "x": base64url(x), "y": base64url(y) })
}

#[cfg(test)]
mod tests {
    use super::*;

    // RFC 4231, section 4.3.
    #[test]
    fn hmac_gives_the_published_value() {
        let tag = sign_with_secret("HS256", b"Jefe", b"what do ya want for nothing?");
        assert!(crate::body::hex(&tag).starts_with("5bdcc146bf60754e6a042426089575c7"));
    }

    #[test]
    fn a_jwk_holds_no_private_member() {
        for kind in [KeyKind::Rsa, KeyKind::P256, KeyKind::P384, KeyKind::Ed25519] {
            let jwk = Key::generate(kind, "one").jwk();
            assert_eq!(jwk["kid"], "one");
            for private in ["d", "p", "q", "dp", "dq", "qi", "k"] {
                assert!(jwk.get(private).is_none(), "{jwk}");
            }
        }
    }
}
