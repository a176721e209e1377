//! The demo's folder: its configuration, a certificate and keys made on the spot.

use std::fs;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};

use super::signer::Signer;

/// The configuration that the demo runs: the example at the head of the repository.
const ROUTES: &str = include_str!("../../../routes.yaml");
/// The addresses in it that belong to the edge.
pub(super) const LISTENERS: [&str; 3] = ["127.0.0.1:8443", "127.0.0.1:8080", "127.0.0.1:9901"];

/// The store of the view in it, and what SQLite keeps beside it.
const STORE: [&str; 3] = ["state/batches.sqlite-shm", "state/batches.sqlite-wal", "state/batches.sqlite"];

/// The address in it of the Kafka broker.
pub(super) const BROKER: &str = "127.0.0.1:9092";

/// A folder with everything the edge needs.
pub(super) struct Folder {
    path: PathBuf,
    signer: Arc<Signer>,
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
        Ok(Folder { path, signer: Arc::new(Signer::new()?), temporary })
    }

    /// Who signs the demo's tokens.
    pub(super) fn signer(&self) -> &Arc<Signer> {
        &self.signer
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
    pub(super) fn write(&self, moved: &[(&str, SocketAddr)]) -> Result<(), String> {
        let routes =
            moved.iter().fold(ROUTES.to_owned(), |text, (from, to)| text.replace(from, &to.to_string()));
        self.forget_rows()?;
        self.put("routes.yaml", &routes)?;
        self.put("keys/jwks.json", &self.signer.jwks()?)?;
        self.put("keys/revoked.json", "{\"jti\": [], \"sub\": {}}\n")?;
        self.certificate()
            .map_err(|error| format!("cannot make a certificate: {error}"))?
            .iter()
            .try_for_each(|(name, content)| self.put(name, content))
    }

    /// Removes what a demo before this one has left of its view: its Kafka has forgotten the events.
    fn forget_rows(&self) -> Result<(), String> {
        STORE.iter().map(|name| self.path.join(name)).try_for_each(|path| match fs::remove_file(&path) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                Err(format!("cannot remove `{}`: {error}", path.display()))
            }
            _ => Ok(()),
        })
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
