//! Certificates of a listener: loaded at plan time, chosen by server name, swapped without touching connections. How
//! sessions are resumed is in `tickets`.

mod tickets;

use std::collections::HashMap;
use std::fmt;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use pingora_core::listeners::tls::Acceptor;
use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::{self, PemObject};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use sallyport_config::listener::{Certificate, Tls, TlsVersion};
use sallyport_config::load::io_words;
use sallyport_config::{Located, Report};
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

use self::tickets::Tickets;

/// The TLS side of a listener.
pub(crate) struct TlsListener {
    pub(super) acceptor: Acceptor,
    /// When each certificate ends, by its first name.
    pub(crate) expiry: Vec<(String, SystemTime)>,
    /// The files it was made from, for the watcher.
    pub(crate) files: Vec<PathBuf>,
    tickets: Tickets,
}

/// Certificates by the names they are for.
struct Certificates {
    exact: HashMap<Box<str>, Arc<CertifiedKey>>,
    /// By what follows `*.`.
    wildcard: HashMap<Box<str>, Arc<CertifiedKey>>,
    first: Arc<CertifiedKey>,
}

struct Loaded {
    key: Arc<CertifiedKey>,
    names: Vec<String>,
    ends: SystemTime,
}

impl TlsListener {
    /// Loads the certificates. Everything that is wrong with them is reported here, before a client could meet it.
    /// Sessions of `before`, the same listener of the running plan, can be resumed if the names stay.
    pub(crate) fn load(
        settings: &Tls,
        base: &Path,
        before: Option<&TlsListener>,
        report: &mut Report,
    ) -> Option<TlsListener> {
        let mut files = Vec::new();
        let mut loaded = Vec::new();
        for certificate in &settings.certificates {
            files.extend([base.join(&certificate.cert.value), base.join(&certificate.key.value)]);
            loaded.push(load(certificate, base, report));
        }
        let loaded: Vec<Loaded> = loaded.into_iter().collect::<Option<_>>()?;
        let expiry =
            loaded.iter().map(|one| (one.names.first().cloned().unwrap_or_default(), one.ends)).collect();
        let names = loaded.iter().map(|one| one.names.clone()).collect();
        let tickets = match Tickets::next(before.map(|before| &before.tickets), names) {
            Ok(tickets) => tickets,
            Err(error) => {
                report.error(
                    settings.certificates.first()?.cert.at,
                    format!("cannot make ticket keys: {error}"),
                );
                return None;
            }
        };
        let versions: &[_] = match settings.min_version {
            TlsVersion::V1_2 => &[&rustls::version::TLS12, &rustls::version::TLS13],
            TlsVersion::V1_3 => &[&rustls::version::TLS13],
        };
        let builder = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()));
        let mut config = builder
            .with_protocol_versions(versions)
            .ok()?
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(Certificates::new(loaded)?));
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        config.ignore_client_order = true;
        config.ticketer = tickets.keys();
        Some(TlsListener { acceptor: Acceptor::from_server_config(Arc::new(config)), expiry, files, tickets })
    }
}

fn load(certificate: &Certificate, base: &Path, report: &mut Report) -> Option<Loaded> {
    let chain = read_chain(&certificate.cert, base, report);
    let key = read_key(&certificate.key, base, report);
    let (chain, key) = (chain?, key?);
    let (names, ends) = match describe(&chain[0]) {
        Ok(description) => description,
        Err(problem) => {
            report.error(certificate.cert.at, format!("cannot use `{}`: {problem}", certificate.cert.value));
            return None;
        }
    };
    let signer = match ring::sign::any_supported_type(&key) {
        Ok(signer) => signer,
        Err(error) => {
            report.error(certificate.key.at, format!("cannot use `{}`: {error}", certificate.key.value));
            return None;
        }
    };
    let key = CertifiedKey::new(chain, signer);
    if key.keys_match().is_err() {
        report
            .error(
                certificate.key.at,
                format!("`{}` is not the key of the certificate", certificate.key.value),
            )
            .hint(format!(
                "it must be the private key of the first certificate in `{}`",
                certificate.cert.value
            ));
        return None;
    }
    Some(Loaded { key: Arc::new(key), names, ends })
}

fn read_chain(
    path: &Located<String>,
    base: &Path,
    report: &mut Report,
) -> Option<Vec<CertificateDer<'static>>> {
    let found: Result<Vec<_>, _> =
        CertificateDer::pem_file_iter(base.join(&path.value)).and_then(|certificates| certificates.collect());
    match found {
        Ok(chain) if !chain.is_empty() => Some(chain),
        Ok(_) => {
            report.error(path.at, format!("`{}` holds no certificate in PEM form", path.value)).hint(
                "such a file has lines `-----BEGIN CERTIFICATE-----`, the server's own certificate first",
            );
            None
        }
        Err(error) => {
            report.error(path.at, format!("cannot read `{}`: {}", path.value, pem_words(&error)));
            None
        }
    }
}

fn read_key(path: &Located<String>, base: &Path, report: &mut Report) -> Option<PrivateKeyDer<'static>> {
    match PrivateKeyDer::from_pem_file(base.join(&path.value)) {
        Ok(key) => Some(key),
        Err(pem::Error::NoItemsFound) => {
            report
                .error(path.at, format!("`{}` holds no private key in PEM form", path.value))
                .hint("such a file has a line `-----BEGIN PRIVATE KEY-----`; one that is `ENCRYPTED` cannot be used");
            None
        }
        Err(error) => {
            report.error(path.at, format!("cannot read `{}`: {}", path.value, pem_words(&error)));
            None
        }
    }
}

fn pem_words(error: &pem::Error) -> String {
    match error {
        pem::Error::Io(error) => io_words(error),
        error => error.to_string(),
    }
}

/// The DNS names and then the addresses of a certificate, and when it ends.
fn describe(der: &CertificateDer<'_>) -> Result<(Vec<String>, SystemTime), String> {
    let (_, certificate) =
        X509Certificate::from_der(der).map_err(|_| "it does not hold an X.509 certificate")?;
    let (mut names, mut addresses) = (Vec::new(), Vec::new());
    if let Ok(Some(alternatives)) = certificate.subject_alternative_name() {
        for name in &alternatives.value.general_names {
            match name {
                GeneralName::DNSName(name) => names.push(name.to_ascii_lowercase()),
                GeneralName::IPAddress(octets) => addresses.extend(address(octets)),
                _ => {}
            }
        }
    }
    names.extend(addresses);
    let ends = u64::try_from(certificate.validity().not_after.timestamp()).unwrap_or(0);
    Ok((names, SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(ends)))
}

/// An address as it is in a certificate (RFC 5280, section 4.2.1.6): four octets or sixteen.
fn address(octets: &[u8]) -> Option<String> {
    let v4 = <[u8; 4]>::try_from(octets).map(IpAddr::from);
    let v6 = || <[u8; 16]>::try_from(octets).map(IpAddr::from);
    v4.or_else(|_| v6()).ok().map(|address| address.to_string())
}

impl Certificates {
    fn new(loaded: Vec<Loaded>) -> Option<Self> {
        let first = loaded.first()?.key.clone();
        let (mut exact, mut wildcard) = (HashMap::new(), HashMap::new());
        for one in loaded {
            for name in one.names {
                match name.strip_prefix("*.") {
                    Some(rest) => wildcard.entry(rest.into()).or_insert_with(|| one.key.clone()),
                    None => exact.entry(name.into()).or_insert_with(|| one.key.clone()),
                };
            }
        }
        Some(Certificates { exact, wildcard, first })
    }

    fn find(&self, name: &str) -> Option<&Arc<CertifiedKey>> {
        let below = || name.split_once('.').and_then(|(_, rest)| self.wildcard.get(rest));
        self.exact.get(name).or_else(below)
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        // rustls hands over the name in lower case. A name we have no certificate for gets the first: the client then
        // reports a wrong name, which says more than a broken handshake.
        let chosen = hello.server_name().and_then(|name| self.find(name));
        Some(chosen.unwrap_or(&self.first).clone())
    }
}

impl fmt::Debug for Certificates {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Certificates").field("exact", &self.exact.keys()).finish_non_exhaustive()
    }
}
