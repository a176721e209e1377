//! The keys of one issuer: how they are read from a JWK set, which of them a token may be checked with, and
//! the check.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use aws_lc_rs::digest;
use aws_lc_rs::signature::{self, ParsedPublicKey};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, DecodingKey};
use serde::Deserialize;
use serde_json::Value;

/// The most keys a set may have; a real issuer has two or three.
const KEYS_MAX: usize = 64;
/// RFC 7518, section 3.3.
const RSA_BITS_MIN: usize = 2048;
/// What the cryptographic library verifies at most.
const RSA_BITS_MAX: usize = 8192;

/// Why a JWK set was not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeysError {
    /// Not JSON, or not an object with an array `keys`.
    #[error("this is not a JWK set such as `{{\"keys\": [...]}}`: {0}")]
    NotASet(String),
    /// No key is left when those that may not sign tokens here are taken out.
    #[error("{}", no_usable_key(*.skipped, .reasons))]
    NoUsableKey {
        /// How many keys there were.
        skipped: usize,
        /// Why not, for each kind of reason once.
        reasons: String,
    },
    /// More keys than any issuer has.
    #[error("the set has {0} keys; at most 64 are taken")]
    TooMany(usize),
    /// The issuer's key is a secret in the configuration.
    #[error("this issuer's key is a secret; it takes no JWK set")]
    Static,
}

fn no_usable_key(skipped: usize, reasons: &str) -> String {
    match skipped {
        0 => "the set has no keys".to_owned(),
        1 => format!("the only key of the set cannot be used: {reasons}"),
        many => format!("none of the {many} keys of the set can be used: {reasons}"),
    }
}

/// What came of a signature.
#[derive(Debug)]
pub(crate) enum Check {
    /// Made with this key.
    Valid(Arc<Key>),
    /// Not made with the key that the token names, or more than one key would have to be tried.
    Invalid,
    /// Perhaps made with a key that is not in the set yet.
    UnknownKey,
}

/// Keys that were read together.
#[derive(Debug)]
pub(crate) struct KeySet {
    keys: Vec<Arc<Key>>,
    generation: u64,
    /// When they were read; not known of a secret.
    read: Option<Instant>,
}

/// One key. Equal to another if it verifies the same tokens.
pub(crate) struct Key {
    kid: Option<Box<str>>,
    shape: Shape,
    /// The `alg` of the JWK: the only algorithm this key is for.
    only: Option<Algorithm>,
    /// The key itself, for comparing; of a secret its digest.
    material: Vec<u8>,
    key: DecodingKey,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shape {
    Rsa,
    P256,
    P384,
    Ed25519,
    Secret,
}

impl KeySet {
    /// No keys: nothing was read yet.
    pub(super) fn empty() -> Self {
        KeySet { keys: Vec::new(), generation: next_generation(), read: None }
    }

    /// A secret from the configuration. The only way to a key for HMAC.
    pub(super) fn secret(secret: &[u8]) -> Self {
        let key = DecodingKey::from_secret(secret);
        let material = digest::digest(&digest::SHA256, secret).as_ref().to_vec();
        let key = Key { kid: None, shape: Shape::Secret, only: None, material, key };
        KeySet { keys: vec![Arc::new(key)], generation: next_generation(), read: None }
    }

    /// The usable keys of a JWK set: of a type and size that one of `algorithms` can use, meant for
    /// signatures. Others are skipped, as RFC 7517, section 5 asks.
    pub(super) fn parse(json: &[u8], algorithms: &[Algorithm], read: Instant) -> Result<Self, KeysError> {
        let set: Set = serde_json::from_slice(json).map_err(|error| KeysError::NotASet(error.to_string()))?;
        if set.keys.len() > KEYS_MAX {
            return Err(KeysError::TooMany(set.keys.len()));
        }
        let skipped = set.keys.len();
        let mut keys: Vec<Arc<Key>> = Vec::new();
        let mut reasons: Vec<&str> = Vec::new();
        for value in set.keys {
            match Key::parse(value, algorithms) {
                Ok(key) if keys.iter().any(|known| **known == key) => {}
                Ok(key) => keys.push(Arc::new(key)),
                Err(reason) if reasons.contains(&reason) => {}
                Err(reason) => reasons.push(reason),
            }
        }
        if keys.is_empty() {
            return Err(KeysError::NoUsableKey { skipped, reasons: reasons.join("; ") });
        }
        Ok(KeySet { keys, generation: next_generation(), read: Some(read) })
    }

    /// This set as the successor of `old`. It keeps the generation if it has every key of the old one: then
    /// whatever was verified before would be verified again.
    pub(super) fn succeeding(mut self, old: &KeySet) -> Self {
        if !old.keys.is_empty() && old.keys.iter().all(|key| self.keys.contains(key)) {
            self.generation = old.generation;
        }
        self
    }

    pub(super) fn len(&self) -> usize {
        self.keys.len()
    }

    pub(super) fn age(&self, now: Instant) -> Option<Duration> {
        self.read.map(|read| now.saturating_duration_since(read))
    }

    /// A number that no other set of keys in this process has, unless what one verified, the other verifies
    /// too.
    pub(crate) fn generation(&self) -> u64 {
        self.generation
    }

    /// Whether this key is one of them.
    pub(crate) fn contain(&self, key: &Key) -> bool {
        self.keys.iter().any(|known| **known == *key)
    }

    /// Checks a signature (base64url) over `message`.
    ///
    /// A key id that is in the set decides alone. Else a key is tried only if no other could be meant: of the
    /// keys without id if the token names one, of all keys if it names none.
    pub(crate) fn check(
        &self,
        algorithm: Algorithm,
        kid: Option<&str>,
        message: &[u8],
        signature: &str,
    ) -> Check {
        let verifies = |key: &&Arc<Key>| {
            jsonwebtoken::crypto::verify(signature, message, &key.key, algorithm).is_ok_and(|valid| valid)
        };
        let named = |key: &&Arc<Key>| kid.is_some() && key.kid.as_deref() == kid;
        if self.keys.iter().any(|key| named(&key)) {
            let mut keys = self.keys.iter().filter(named).filter(|key| key.fits(algorithm));
            return keys.find(verifies).map_or(Check::Invalid, |key| Check::Valid(key.clone()));
        }
        let mut others =
            self.keys.iter().filter(|key| key.fits(algorithm) && (kid.is_none() || key.kid.is_none()));
        match (others.next(), others.next()) {
            (Some(only), None) if verifies(&only) => Check::Valid(only.clone()),
            (Some(_), Some(_)) if kid.is_none() => Check::Invalid,
            _ => Check::UnknownKey,
        }
    }
}

/// A key by its id: keys themselves are not for logs.
impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Key").field("kid", &self.kid).field("shape", &self.shape).finish_non_exhaustive()
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        (self.shape, self.only, &self.kid, &self.material)
            == (other.shape, other.only, &other.kid, &other.material)
    }
}

#[derive(Deserialize)]
struct Set {
    keys: Vec<Value>,
}

/// The members of a JWK that matter here (RFC 7517, section 4; RFC 7518, section 6; RFC 8037, section 2).
/// Links to certificates (`x5u`, `x5c`) are ignored.
#[derive(Deserialize)]
struct Jwk {
    kty: String,
    #[serde(rename = "use")]
    purpose: Option<String>,
    key_ops: Option<Vec<String>>,
    alg: Option<String>,
    kid: Option<String>,
    n: Option<String>,
    e: Option<String>,
    crv: Option<String>,
    x: Option<String>,
    y: Option<String>,
}

impl Key {
    fn parse(value: Value, algorithms: &[Algorithm]) -> Result<Key, &'static str> {
        let jwk: Jwk = serde_json::from_value(value).map_err(|_| "a member has the wrong type")?;
        if jwk.purpose.as_deref().is_some_and(|purpose| purpose != "sig") {
            return Err("`use` is not `sig`");
        }
        if jwk.key_ops.as_ref().is_some_and(|ops| !ops.iter().any(|op| op == "verify")) {
            return Err("`key_ops` lacks `verify`");
        }
        let (shape, material, key) = match (jwk.kty.as_str(), jwk.crv.as_deref()) {
            ("RSA", _) => rsa(&jwk)?,
            ("EC", Some("P-256")) => ec(&jwk, Shape::P256, 32)?,
            ("EC", Some("P-384")) => ec(&jwk, Shape::P384, 48)?,
            ("OKP", Some("Ed25519")) => ed25519(&jwk)?,
            // RFC 8725, section 3.5: a secret has no place in a public document.
            ("oct", _) => return Err("`oct` keys are secrets"),
            _ => return Err("the key type or curve is not supported"),
        };
        let only = match jwk.alg.as_deref() {
            None => None,
            Some(name) => Some(name.parse::<Algorithm>().map_err(|_| "`alg` is not a signature algorithm")?),
        };
        let key = Key { kid: jwk.kid.map(Into::into), shape, only, material, key };
        if only.is_some_and(|only| !key.fits(only)) {
            return Err("`alg` does not go with the key type");
        }
        if !algorithms.iter().any(|algorithm| key.fits(*algorithm)) {
            return Err("no accepted algorithm can use it");
        }
        Ok(key)
    }

    /// Whether the key may be used with this algorithm.
    fn fits(&self, algorithm: Algorithm) -> bool {
        use Algorithm::{ES256, ES384, EdDSA, HS256, HS384, HS512, PS256, PS384, PS512, RS256, RS384, RS512};
        let shape = match algorithm {
            RS256 | RS384 | RS512 | PS256 | PS384 | PS512 => Shape::Rsa,
            ES256 => Shape::P256,
            ES384 => Shape::P384,
            EdDSA => Shape::Ed25519,
            HS256 | HS384 | HS512 => Shape::Secret,
            _ => return false,
        };
        self.shape == shape && self.only.is_none_or(|only| only == algorithm)
    }
}

type Parsed = (Shape, Vec<u8>, DecodingKey);

fn rsa(jwk: &Jwk) -> Result<Parsed, &'static str> {
    let (n, e) = (number(&jwk.n)?, number(&jwk.e)?);
    let bits = n.len() * 8 - n.first().map_or(0, |first| first.leading_zeros() as usize);
    if bits < RSA_BITS_MIN {
        return Err("an RSA key is shorter than 2048 bits");
    }
    if bits > RSA_BITS_MAX {
        return Err("an RSA key is longer than 8192 bits");
    }
    let odd = |number: &[u8]| number.last().is_some_and(|last| last % 2 == 1);
    // With the exponent 1, every message would be its own signature.
    if !odd(&n) || !odd(&e) || e == [1] || e.len() > 8 {
        return Err("an RSA key is not sound");
    }
    let key = DecodingKey::from_rsa_raw_components(&n, &e);
    Ok((Shape::Rsa, [&*n, b"/", &*e].concat(), key))
}

fn ec(jwk: &Jwk, shape: Shape, size: usize) -> Result<Parsed, &'static str> {
    let (x, y) = (bytes(&jwk.x)?, bytes(&jwk.y)?);
    if x.len() != size || y.len() != size {
        return Err("a coordinate has the wrong length");
    }
    let point = [&[4][..], &x, &y].concat();
    let algorithm = match shape {
        Shape::P256 => &signature::ECDSA_P256_SHA256_FIXED,
        _ => &signature::ECDSA_P384_SHA384_FIXED,
    };
    ParsedPublicKey::new(algorithm, &point).map_err(|_| "a point is not on its curve")?;
    let key = DecodingKey::from_ec_der(&point);
    Ok((shape, point, key))
}

fn ed25519(jwk: &Jwk) -> Result<Parsed, &'static str> {
    let x = bytes(&jwk.x)?;
    if x.len() != 32 {
        return Err("a coordinate has the wrong length");
    }
    let key = DecodingKey::from_ed_der(&x);
    Ok((Shape::Ed25519, x, key))
}

fn bytes(member: &Option<String>) -> Result<Vec<u8>, &'static str> {
    let text = member.as_deref().ok_or("a member is missing")?;
    URL_SAFE_NO_PAD.decode(text).map_err(|_| "a member is not base64url")
}

/// An unsigned number without leading zeros.
fn number(member: &Option<String>) -> Result<Vec<u8>, &'static str> {
    let mut bytes = bytes(member)?;
    let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
    bytes.drain(..zeros);
    Ok(bytes)
}

/// Numbers are never used again, so what one set verified cannot pass for verified by another, not even
/// across a reload that makes a new issuer.
fn next_generation() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}
