//! An authority of the story's own, and certificates that it signs, as files and as TLS configurations.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, KeyUsagePurpose};
use rustls::RootCertStore;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tempfile::TempDir;

/// An authority; its files live as long as it does.
pub struct Certificates {
    folder: TempDir,
    authority: CertifiedIssuer<'static, KeyPair>,
    made: AtomicUsize,
}

/// A server's certificate.
#[derive(Debug, Clone)]
pub struct Leaf {
    /// PEM file of the certificate.
    pub cert: PathBuf,
    /// PEM file of the private key.
    pub key: PathBuf,
}

impl Certificates {
    /// A new authority.
    #[allow(clippy::new_without_default, reason = "making keys and files is no default")]
    pub fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.distinguished_name.push(DnType::CommonName, "Authority of a story");
        let key = KeyPair::generate().expect("a key");
        let authority = CertifiedIssuer::self_signed(params, key).expect("a certificate of the authority");
        let folder = TempDir::new().expect("a temporary folder");
        std::fs::write(folder.path().join("ca.pem"), authority.pem()).expect("a file in it");
        Certificates { folder, authority, made: AtomicUsize::new(0) }
    }

    /// PEM file of the authority.
    pub fn ca(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    /// A certificate for these names or addresses.
    pub fn leaf(&self, names: &[&str]) -> Leaf {
        let number = self.made.fetch_add(1, Ordering::Relaxed);
        let cert = self.folder.path().join(format!("leaf-{number}.crt"));
        let key = self.folder.path().join(format!("leaf-{number}.key"));
        self.write_leaf(names, &cert, &key);
        Leaf { cert, key }
    }

    /// Makes a certificate for these names and puts it in place of another one's files.
    pub fn replace(&self, leaf: &Leaf, names: &[&str]) {
        self.write_leaf(names, &leaf.cert, &leaf.key);
    }

    /// What a client needs that trusts this authority only and offers these protocols.
    pub fn client_config(&self, protocols: &[&str]) -> Arc<rustls::ClientConfig> {
        self.client_config_of(protocols, rustls::DEFAULT_VERSIONS)
    }

    /// The same, with these TLS versions only.
    pub fn client_config_of(
        &self,
        protocols: &[&str],
        versions: &[&'static rustls::SupportedProtocolVersion],
    ) -> Arc<rustls::ClientConfig> {
        trusting_of(self.authority.der().clone(), protocols, versions)
    }

    /// What an origin needs that serves these names and speaks these protocols.
    pub fn server_config(&self, names: &[&str], protocols: &[&str]) -> Arc<rustls::ServerConfig> {
        let leaf = self.leaf(names);
        let chain = CertificateDer::pem_file_iter(&leaf.cert).expect("the file just written");
        let chain = chain.collect::<Result<Vec<_>, _>>().expect("the certificate just written");
        let key = PrivateKeyDer::from_pem_file(&leaf.key).expect("the key just written");
        let mut config = rustls::ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .expect("the provider knows TLS 1.2 and 1.3")
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .expect("the key belongs to the certificate");
        config.alpn_protocols = wire_names(protocols);
        Arc::new(config)
    }

    fn write_leaf(&self, names: &[&str], cert: &Path, key: &Path) {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).expect("names of the story are valid");
        params.use_authority_key_identifier_extension = true;
        let pair = KeyPair::generate().expect("a key");
        let signed = params.signed_by(&pair, &self.authority).expect("a certificate");
        std::fs::write(key, pair.serialize_pem()).expect("a file in the temporary folder");
        std::fs::write(cert, signed.pem()).expect("a file in the temporary folder");
    }
}

/// What a client needs that trusts the authority in this PEM file only. It offers no protocols.
///
/// # Panics
/// When there is no certificate in it.
pub fn trusting(authority: &Path) -> Arc<rustls::ClientConfig> {
    let authority = CertificateDer::from_pem_file(authority).expect("the file of a certificate");
    trusting_of(authority, &[], rustls::DEFAULT_VERSIONS)
}

fn trusting_of(
    authority: CertificateDer<'static>,
    protocols: &[&str],
    versions: &[&'static rustls::SupportedProtocolVersion],
) -> Arc<rustls::ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(authority).expect("the certificate of an authority");
    let mut config = rustls::ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(versions)
        .expect("versions that the provider knows")
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = wire_names(protocols);
    Arc::new(config)
}

fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

fn wire_names(protocols: &[&str]) -> Vec<Vec<u8>> {
    protocols.iter().map(|name| name.as_bytes().to_vec()).collect()
}
