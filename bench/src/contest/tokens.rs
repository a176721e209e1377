//! The issuer of a run: keys made with openssl, their key set, and tokens.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use jsonwebtoken::jwk::{Jwk, JwkSet};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Map, Value, json};

/// Tokens that take turns in a load. Enough that a memory of one or a few of them is of no use.
pub const TOKENS: usize = 1000;
/// Longer than any run, in seconds.
const VALID: i64 = 24 * 3600;

/// How a token is signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signature {
    /// RSA, 2048 bits, PKCS#1 1.5, SHA-256.
    Rs256,
    /// ECDSA, P-256, SHA-256.
    Es256,
}

/// Whose tokens contestants accept: issuer `https://issuer.test`, audience `edge`. In its folder are `jwks.json`, `rsa.pem`,
/// `rsa.pub`, `ec.pem` and `ec.pub`.
pub struct Issuer {
    folder: PathBuf,
    rsa: EncodingKey,
    ec: EncodingKey,
}

impl Signature {
    /// As JWTs name it (RFC 7518, section 3.1).
    pub fn name(self) -> &'static str {
        match self {
            Signature::Rs256 => "RS256",
            Signature::Es256 => "ES256",
        }
    }

    fn algorithm(self) -> Algorithm {
        match self {
            Signature::Rs256 => Algorithm::RS256,
            Signature::Es256 => Algorithm::ES256,
        }
    }

    /// The id of its key in the set.
    fn kid(self) -> &'static str {
        match self {
            Signature::Rs256 => "rsa",
            Signature::Es256 => "ec",
        }
    }
}

impl Issuer {
    /// Makes new keys and writes them and their set into a folder.
    ///
    /// # Errors
    /// There is no openssl, or the folder cannot be written to.
    pub fn new(folder: &Path) -> Result<Issuer> {
        let rsa = key(folder, Signature::Rs256)?;
        let ec = key(folder, Signature::Es256)?;
        let public = |key: &EncodingKey, signature: Signature| -> Result<Jwk> {
            let mut public = Jwk::from_encoding_key(key, signature.algorithm())?;
            public.common.key_id = Some(signature.kid().to_owned());
            public.common.public_key_use = Some(jsonwebtoken::jwk::PublicKeyUse::Signature);
            Ok(public)
        };
        let set = JwkSet { keys: vec![public(&rsa, Signature::Rs256)?, public(&ec, Signature::Es256)?] };
        fs::write(folder.join("jwks.json"), serde_json::to_vec_pretty(&set)?)?;
        Ok(Issuer { folder: folder.to_owned(), rsa, ec })
    }

    /// A token of a subject that is good.
    ///
    /// # Errors
    /// The key cannot sign.
    pub fn token(&self, signature: Signature, subject: &str) -> Result<String> {
        self.token_with(signature, subject, json!({}))
    }

    /// The same with other or further claims.
    ///
    /// # Errors
    /// The key cannot sign.
    pub fn token_with(&self, signature: Signature, subject: &str, claims: Value) -> Result<String> {
        let now = i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs())?;
        let all = json!({ "iss": "https://issuer.test", "aud": "edge", "sub": subject, "iat": now, "exp": now + VALID });
        let (Value::Object(mut all), Value::Object(claims)) = (all, claims) else {
            anyhow::bail!("claims are an object")
        };
        all.extend(claims);
        self.sign(signature, &all)
    }

    /// Writes [`TOKENS`] good tokens of as many subjects into a file, one a line.
    ///
    /// # Errors
    /// A key cannot sign, or the file cannot be written.
    pub fn tokens(&self, signature: Signature) -> Result<PathBuf> {
        let mut text = String::new();
        for number in 0..TOKENS {
            text.push_str(&self.token(signature, &format!("user-{number}"))?);
            text.push('\n');
        }
        let file = self.folder.join(format!("{}.tokens", signature.name().to_lowercase()));
        fs::write(&file, text)?;
        Ok(file)
    }

    fn sign(&self, signature: Signature, claims: &Map<String, Value>) -> Result<String> {
        let header = Header { kid: Some(signature.kid().to_owned()), ..Header::new(signature.algorithm()) };
        let key = match signature {
            Signature::Rs256 => &self.rsa,
            Signature::Es256 => &self.ec,
        };
        Ok(jsonwebtoken::encode(&header, claims, key)?)
    }
}

/// A private key and its public half as PEM.
fn key(folder: &Path, signature: Signature) -> Result<EncodingKey> {
    let name = signature.kid();
    let (kind, option) = match signature {
        Signature::Rs256 => ("RSA", "rsa_keygen_bits:2048"),
        Signature::Es256 => ("EC", "ec_paramgen_curve:P-256"),
    };
    let (private, public) = (format!("{name}.pem"), format!("{name}.pub"));
    openssl(folder, &["genpkey", "-quiet", "-algorithm", kind, "-pkeyopt", option, "-out", &private])?;
    openssl(folder, &["pkey", "-in", &private, "-pubout", "-out", &public])?;
    let pem = fs::read(folder.join(private))?;
    Ok(match signature {
        Signature::Rs256 => EncodingKey::from_rsa_pem(&pem)?,
        Signature::Es256 => EncodingKey::from_ec_pem(&pem)?,
    })
}

/// Runs openssl in a folder.
///
/// # Errors
/// There is none, or it says why not.
pub fn openssl(folder: &Path, arguments: &[&str]) -> Result<()> {
    let out = Command::new("openssl")
        .args(arguments)
        .current_dir(folder)
        .output()
        .context("cannot start openssl")?;
    ensure!(
        out.status.success(),
        "openssl {}: {}",
        arguments.join(" "),
        String::from_utf8_lossy(&out.stderr)
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use jsonwebtoken::{DecodingKey, Validation, decode};

    use super::*;

    #[test]
    fn tokens_hold_with_the_keys_of_the_set_and_no_others() {
        let (folder, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let issuer = Issuer::new(folder.path()).unwrap();
        let stranger = Issuer::new(other.path()).unwrap();
        let set: JwkSet =
            serde_json::from_slice(&fs::read(folder.path().join("jwks.json")).unwrap()).unwrap();
        for signature in [Signature::Rs256, Signature::Es256] {
            let mut wanted = Validation::new(signature.algorithm());
            wanted.set_audience(&["edge"]);
            wanted.set_issuer(&["https://issuer.test"]);
            let key = DecodingKey::from_jwk(set.find(signature.kid()).unwrap()).unwrap();
            let subject = |token: &str| {
                decode::<Map<String, Value>>(token, &key, &wanted).map(|data| data.claims["sub"].clone())
            };
            assert_eq!(subject(&issuer.token(signature, "ann").unwrap()).unwrap(), "ann");
            assert!(subject(&stranger.token(signature, "ann").unwrap()).is_err());
            let expired = issuer.token_with(signature, "ann", json!({ "exp": 1_600_000_000 })).unwrap();
            assert!(subject(&expired).is_err());
        }
        let file = issuer.tokens(Signature::Es256).unwrap();
        let mut tokens: Vec<String> = fs::read_to_string(file).unwrap().lines().map(str::to_owned).collect();
        tokens.dedup();
        assert_eq!(tokens.len(), TOKENS);
    }
}
