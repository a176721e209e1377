//! The certificate that all contestants show.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Result;
use rcgen::{CertifiedKey, KeyPair, PKCS_ECDSA_P256_SHA256};

use crate::load::tls_client::NAME;

/// Makes a certificate with a P-256 key, which signs itself: `site.pem`, and its key where HAProxy looks for it,
/// `site.pem.key`. The answer is the certificate's file.
///
/// # Errors
/// A file cannot be written.
pub fn write(folder: &Path) -> Result<PathBuf> {
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
    let CertifiedKey { cert, signing_key } = certified(key)?;
    let file = folder.join("site.pem");
    fs::write(&file, cert.pem())?;
    fs::write(folder.join("site.pem.key"), signing_key.serialize_pem())?;
    Ok(file)
}

fn certified(key: KeyPair) -> Result<CertifiedKey<KeyPair>> {
    let cert = rcgen::CertificateParams::new(vec![NAME.to_owned()])?.self_signed(&key)?;
    Ok(CertifiedKey { cert, signing_key: key })
}
