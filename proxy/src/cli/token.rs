//! `token`: a signed JWT for trying things out. Not an issuer: nothing is stored, and the key is the caller's.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::SystemTime;

use clap::Args;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use sallyport_config::load::io_words;
use sallyport_config::units::Timespan;
use serde_json::{Map, Value};

use super::Done;

/// Options of `token`.
#[derive(Debug, Args)]
pub(super) struct Token {
    /// The private key, PEM (PKCS#8, or PKCS#1 for RSA).
    #[arg(long, value_name = "FILE", required_unless_present = "secret_env")]
    key: Option<PathBuf>,
    /// For HS256, HS384 and HS512: the environment variable that holds the secret.
    #[arg(long, value_name = "NAME", conflicts_with = "key")]
    secret_env: Option<String>,
    /// The algorithm. Default: RS256 with a key, HS256 with a secret.
    #[arg(long)]
    alg: Option<Algorithm>,
    /// The key id that the issuer's key set knows the key by.
    #[arg(long)]
    kid: Option<String>,
    /// The `iss` claim.
    #[arg(long)]
    issuer: String,
    /// The `aud` claim.
    #[arg(long)]
    audience: String,
    /// The `sub` claim.
    #[arg(long)]
    subject: String,
    /// How long it is valid.
    #[arg(long, default_value = "1h")]
    expires: Timespan,
    /// A further claim, `name=value`; the value is JSON, or else a string. May be repeated.
    #[arg(long, value_name = "NAME=VALUE", value_parser = claim)]
    claim: Vec<(String, Value)>,
}

impl Token {
    pub(super) fn run(self) -> Done {
        let default = if self.key.is_some() { Algorithm::RS256 } else { Algorithm::HS256 };
        let alg = self.alg.unwrap_or(default);
        let key = self.signing_key(alg)?;
        let now =
            SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_err(|error| error.to_string())?;
        let mut claims = Map::new();
        claims.insert("iss".to_owned(), self.issuer.into());
        claims.insert("aud".to_owned(), self.audience.into());
        claims.insert("sub".to_owned(), self.subject.into());
        claims.insert("iat".to_owned(), now.as_secs().into());
        claims.insert("exp".to_owned(), (now + *self.expires).as_secs().into());
        claims.extend(self.claim);
        let header = Header { kid: self.kid, ..Header::new(alg) };
        let token = jsonwebtoken::encode(&header, &claims, &key);
        println!("{}", token.map_err(|error| format!("cannot sign: {error}"))?);
        Ok(ExitCode::SUCCESS)
    }

    fn signing_key(&self, alg: Algorithm) -> Result<EncodingKey, String> {
        let shared = matches!(alg, Algorithm::HS256 | Algorithm::HS384 | Algorithm::HS512);
        if let Some(name) = &self.secret_env {
            if !shared {
                return Err(format!(
                    "{alg:?} needs a private key, --key; a secret signs with HS256, HS384 or HS512"
                ));
            }
            let secret = std::env::var(name).map_err(|_| format!("the environment has no `{name}`"))?;
            return Ok(EncodingKey::from_secret(secret.as_bytes()));
        }
        if shared {
            return Err(format!("{alg:?} needs a shared secret, --secret-env"));
        }
        let path = self.key.as_ref().ok_or("a key is needed")?;
        let pem = std::fs::read(path)
            .map_err(|error| format!("cannot read `{}`: {}", path.display(), io_words(&error)))?;
        let key = match alg {
            Algorithm::ES256 | Algorithm::ES384 => EncodingKey::from_ec_pem(&pem),
            Algorithm::EdDSA => EncodingKey::from_ed_pem(&pem),
            _ => EncodingKey::from_rsa_pem(&pem),
        };
        key.map_err(|error| format!("`{}` is not a PEM key for {:?}: {error}", path.display(), alg))
    }
}

fn claim(text: &str) -> Result<(String, Value), String> {
    let (name, value) = text.split_once('=').ok_or("a claim is written `name=value`")?;
    let value = serde_json::from_str(value).unwrap_or_else(|_| Value::String(value.to_owned()));
    Ok((name.to_owned(), value))
}
