//! The TLS that our own clients offer: one version, one cipher, one group, so that every server does the same work.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use rustls::client::{ClientSessionMemoryCache, Resumption};
use rustls::crypto::ring::{cipher_suite, default_provider, kx_group};
use rustls::{ClientConfig, ClientConnection, HandshakeKind, ProtocolVersion, RootCertStore};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;

/// The name in the certificate.
pub const NAME: &str = "localhost";

/// TLS 1.3 with `TLS_AES_128_GCM_SHA256` and X25519, and nothing else; trusts one certificate.
///
/// # Errors
/// The certificate cannot be read.
pub fn offer(certificate: &Path, protocol: &str) -> Result<ClientConfig> {
    let mut roots = RootCertStore::empty();
    let trusted = CertificateDer::from_pem_file(certificate)
        .with_context(|| format!("cannot read the certificate `{}`", certificate.display()))?;
    roots.add(trusted)?;
    let mut provider = default_provider();
    provider.cipher_suites = vec![cipher_suite::TLS13_AES_128_GCM_SHA256];
    provider.kx_groups = vec![kx_group::X25519];
    let mut config = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![protocol.as_bytes().to_vec()];
    Ok(config)
}

/// The same offer of a client that remembers nothing of what others did.
pub fn alone(offer: &ClientConfig) -> Arc<ClientConfig> {
    let mut config = offer.clone();
    config.resumption = Resumption::store(Arc::new(ClientSessionMemoryCache::new(1)));
    Arc::new(config)
}

/// Makes sure that all of the offer was taken. The answer is whether the session was resumed.
///
/// # Errors
/// Something else was agreed on, such as another protocol inside.
pub fn agreed(connection: &ClientConnection, protocol: &str) -> Result<bool> {
    let version = connection.protocol_version();
    ensure!(version == Some(ProtocolVersion::TLSv1_3), "the version is {version:?}, not TLS 1.3");
    let inside = connection.alpn_protocol().map(String::from_utf8_lossy);
    ensure!(inside.as_deref() == Some(protocol), "the protocol inside is {inside:?}, not {protocol}");
    // Of a cipher or group that was not offered, rustls would have broken off.
    match connection.handshake_kind() {
        Some(HandshakeKind::Full) => Ok(false),
        Some(HandshakeKind::Resumed) => Ok(true),
        kind => anyhow::bail!("the handshake was {kind:?}: it took a round trip more"),
    }
}
