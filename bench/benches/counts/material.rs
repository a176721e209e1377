//! What cases need and what would be slow to make under valgrind: keys and tokens, made anew by each run.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use sallyport_identity::issuer::testing::{TestKey, jwks};
use serde_json::{Value, json};

/// The moment of every exchange, and of every token's `iat`, in seconds since 1970.
const NOW: u64 = 1_700_000_000;
/// Tokens of each algorithm. More than `cache` in `filters.rs` lets be remembered, so that none is, when they come in turn.
const TOKENS: usize = 50;

/// Names and keys of those who have no token.
pub(crate) const API_KEYS: [(&str, &str); 2] =
    [("ann", "0123456789abcdef0123"), ("bob", "abcdef0123456789abcd")];

/// Keys and tokens.
pub(crate) struct Material {
    /// Where it is; the API keys are there, too, each in a file of its owner's name.
    pub(crate) folder: PathBuf,
    /// A JWK set with both keys.
    pub(crate) jwks: Vec<u8>,
    /// Tokens of users, `sub` "user-0" and so on, signed with RS256.
    pub(crate) rs256: Vec<String>,
    /// The same with ES256.
    pub(crate) es256: Vec<String>,
}

impl Material {
    /// Makes it, into a folder.
    pub(crate) fn write(folder: &Path) -> Result<()> {
        let (rsa, p256) = (TestKey::rsa(), TestKey::p256());
        std::fs::write(folder.join("jwks.json"), jwks(&[rsa.jwk("RS256"), p256.jwk("ES256")]))?;
        for (algorithm, key) in [("RS256", rsa), ("ES256", p256)] {
            let tokens: Vec<String> = (0..TOKENS).map(|user| token(&key, algorithm, user)).collect();
            std::fs::write(folder.join(algorithm), tokens.join("\n"))?;
        }
        for (name, key) in API_KEYS {
            std::fs::write(folder.join(name), key)?;
        }
        Ok(())
    }

    /// Reads it.
    pub(crate) fn read(folder: &Path) -> Result<Material> {
        let text =
            |name| std::fs::read_to_string(folder.join(name)).with_context(|| format!("cannot read {name}"));
        let lines = |name| text(name).map(|text| text.lines().map(str::to_owned).collect());
        Ok(Material {
            folder: folder.to_owned(),
            jwks: text("jwks.json")?.into_bytes(),
            rs256: lines("RS256")?,
            es256: lines("ES256")?,
        })
    }
}

/// The moment of every exchange.
pub(crate) fn now() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(NOW)
}

/// What an identity provider would put into a token, a little more than a bare minimum.
fn token(key: &TestKey, algorithm: &str, user: usize) -> String {
    let header: Value = json!({ "alg": algorithm, "kid": algorithm, "typ": "JWT" });
    let claims = json!({
        "iss": "https://id.example.com/", "aud": ["platform"], "sub": format!("user-{user}"),
        "iat": NOW, "nbf": NOW, "exp": NOW + 3600, "jti": format!("0190b2c4-{user:012}"),
        "scope": "read write", "roles": ["teacher", "marker"], "name": "Jörg Müller",
    });
    key.sign(&header, &claims)
}
