//! The demo's folder: its configuration, a certificate and keys made on the spot, and the tokens.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as BASE64;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, PublicKeyData};
use serde_json::json;

/// The configuration that the demo runs: the example at the head of the repository.
const ROUTES: &str = include_str!("../../../routes.yaml");
/// The addresses in it that belong to the edge.
pub(super) const LISTENERS: [&str; 3] = ["127.0.0.1:8443", "127.0.0.1:8080", "127.0.0.1:9901"];
const KEY_ID: &str = "demo-1";
const ISSUER: &str = "https://id.example.com/";
const VALID_SECONDS: u64 = 12 * 3600;

/// A folder with everything the edge needs.
pub(super) struct Folder {
    path: PathBuf,
    signing: KeyPair,
    /// Removed at the end if the demo made it up itself.
    temporary: bool,
}

impl Folder {
    /// Makes the folder and a signing key.
    pub(super) fn make(path: Option<PathBuf>) -> Result<Folder, String> {
        let temporary = path.is_none();
        let path = path.unwrap_or_else(|| {
            std::env::temp_dir().join(format!(
                "sallyport-demo-{}-{:08x}",
                std::process::id(),
                fastrand::u32(..)
            ))
        });
        for part in ["tls", "keys", "uploads"] {
            let part = path.join(part);
            fs::create_dir_all(&part)
                .map_err(|error| format!("cannot make `{}`: {error}", part.display()))?;
        }
        let signing = KeyPair::generate().map_err(|error| error.to_string())?;
        Ok(Folder { path, signing, temporary })
    }

    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The certificate authority, for `curl --cacert`.
    pub(super) fn authority(&self) -> PathBuf {
        self.path.join("tls/ca.crt")
    }

    /// Writes the files. `moved` gives addresses of the configuration that are others in this run.
    pub(super) fn write(&mut self, moved: &[(&str, SocketAddr)]) -> Result<(), String> {
        let routes =
            moved.iter().fold(ROUTES.to_owned(), |text, (from, to)| text.replace(from, &to.to_string()));
        self.put("routes.yaml", &routes)?;
        self.put("keys/jwks.json", &self.jwks()?)?;
        self.put("keys/revoked.json", "{\"jti\": [], \"sub\": {}}\n")?;
        self.certificate()
            .map_err(|error| format!("cannot make a certificate: {error}"))?
            .iter()
            .try_for_each(|(name, content)| self.put(name, content))
    }

    /// A token of a teacher with these scopes.
    pub(super) fn token(&self, subject: &str, scope: &str) -> Result<String, String> {
        let now =
            SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_err(|error| error.to_string())?;
        let claims = json!({
            "iss": ISSUER, "aud": "platform", "sub": subject, "scope": scope,
            "iat": now.as_secs(), "exp": now.as_secs() + VALID_SECONDS,
        });
        let header = Header { kid: Some(KEY_ID.to_owned()), ..Header::new(Algorithm::ES256) };
        let key = EncodingKey::from_ec_pem(self.signing.serialize_pem().as_bytes());
        key.and_then(|key| jsonwebtoken::encode(&header, &claims, &key)).map_err(|error| error.to_string())
    }

    fn jwks(&self) -> Result<String, String> {
        // An uncompressed point (SEC 1, section 2.3.3): 4, then both coordinates.
        let [4, point @ ..] = self.signing.der_bytes() else {
            return Err("not an uncompressed point".to_owned());
        };
        let (x, y) = point.split_at(point.len() / 2);
        let key = json!({
            "kty": "EC", "crv": "P-256", "alg": "ES256", "use": "sig", "kid": KEY_ID,
            "x": BASE64.encode(x), "y": BASE64.encode(y),
        });
        Ok(json!({ "keys": [key] }).to_string())
    }

    fn certificate(&self) -> Result<[(&'static str, String); 3], rcgen::Error> {
        let mut authority = CertificateParams::new(Vec::new())?;
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        authority.distinguished_name.push(rcgen::DnType::CommonName, "Sallyport demo");
        let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate()?)?;
        let key = KeyPair::generate()?;
        let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
        let certificate = CertificateParams::new(names)?.signed_by(&key, &authority)?;
        Ok([
            ("tls/ca.crt", authority.pem()),
            ("tls/tls.crt", certificate.pem()),
            ("tls/tls.key", key.serialize_pem()),
        ])
    }

    fn put(&self, name: &str, content: &str) -> Result<(), String> {
        let path = self.path.join(name);
        fs::write(&path, content).map_err(|error| format!("cannot write `{}`: {error}", path.display()))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if self.temporary {
            // Left-overs in the folder for temporary files are no reason to complain.
            let _ = fs::remove_dir_all(&self.path);
        }
    }
}
