//! Certificate authorities from a PEM file, in the form that Pingora's connector takes.

use std::panic::{self, AssertUnwindSafe};
use std::path::Path;
use std::sync::Arc;

use pingora_core::protocols::tls::CaType;
use pingora_core::utils::tls::{WrappedX509, parse_x509};
use rustls::RootCertStore;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use sallyport_config::load::io_words;

/// The largest file of authorities that is read, in bytes.
const CA_BYTES_MAX: u64 = 4 << 20;

/// Reads the authorities of a PEM file.
///
/// # Errors
/// What is wrong with the file, for the operator.
pub fn authorities(path: &Path) -> Result<Arc<CaType>, String> {
    let shown = path.display();
    let cannot_read = |error: std::io::Error| format!("cannot read `{shown}`: {}", io_words(&error));
    let size = std::fs::metadata(path).map_err(cannot_read)?.len();
    if size > CA_BYTES_MAX {
        return Err(format!("`{shown}` has {size} bytes; a file of authorities has at most {CA_BYTES_MAX}"));
    }
    let pem = std::fs::read(path).map_err(cannot_read)?;
    let mut wrapped = Vec::new();
    let mut store = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&pem) {
        let der = certificate.map_err(|error| format!("`{shown}` is not PEM: {error}"))?;
        let number = wrapped.len() + 1;
        store
            .add(der.clone())
            .map_err(|error| format!("certificate {number} of `{shown}` cannot be an authority: {error}"))?;
        wrapped.push(
            wrap(der.to_vec()).ok_or_else(|| format!("certificate {number} of `{shown}` is not readable"))?,
        );
    }
    if wrapped.is_empty() {
        return Err(format!("`{shown}` holds no certificate; expected `-----BEGIN CERTIFICATE-----`"));
    }
    Ok(wrapped.into())
}

/// Pingora's parser panics on what it cannot read, and it is stricter than the check before.
fn wrap(der: Vec<u8>) -> Option<WrappedX509> {
    panic::catch_unwind(AssertUnwindSafe(|| WrappedX509::new(der, parse_x509))).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refused_files_say_why() {
        let folder = std::env::temp_dir().join(format!("sallyport-trust-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let error = authorities(&folder.join("missing.pem")).unwrap_err();
        assert!(error.contains("cannot read"), "{error}");
        for (name, text, why) in [
            ("empty.pem", "", "holds no certificate"),
            (
                "garbage.pem",
                "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
                "cannot be an authority",
            ),
            ("broken.pem", "-----BEGIN CERTIFICATE-----\n!!\n-----END CERTIFICATE-----\n", "not PEM"),
        ] {
            let path = folder.join(name);
            std::fs::write(&path, text).unwrap();
            let error = authorities(&path).unwrap_err();
            assert!(error.contains(why), "{name}: {error}");
        }
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn a_certificate_is_read() {
        let issued = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let path = std::env::temp_dir().join(format!("sallyport-trust-{}.pem", std::process::id()));
        std::fs::write(&path, issued.cert.pem()).unwrap();
        assert_eq!(authorities(&path).unwrap().len(), 1);
        std::fs::remove_file(path).unwrap();
    }
}
