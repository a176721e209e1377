//! A small HTTP client for background work: key sets and health checks. One GET, bounded in time and size, no
//! redirects, no pool. It stands on Pingora's connector, so that there is no second HTTP and TLS stack. It is not on
//! the request path.

use std::future::Future;
use std::hash::{BuildHasher, RandomState};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{HeaderValue, StatusCode, Uri};
use pingora_core::connectors::http::Connector;
use pingora_core::protocols::tls::CaType;
use pingora_core::upstreams::peer::HttpPeer;
use pingora_http::RequestHeader;

/// The most addresses of a name that are tried.
const ADDRESSES_MAX: usize = 4;
/// The longest period between two turns of background work.
const PERIOD_MAX: Duration = Duration::from_secs(365 * 86_400);
/// The longest URL, in bytes.
const URL_BYTES_MAX: usize = 2048;

/// What came back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetched {
    /// The status, whatever it is but a redirect.
    pub status: StatusCode,
    /// The whole body.
    pub body: Bytes,
}

/// What one fetch may cost.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Time for all of it: name, connection, head and body.
    pub timeout: Duration,
    /// The most bytes of a body; more is an error.
    pub body_bytes_max: usize,
}

/// Why nothing usable came back. Names the host, never the path, the query or credentials.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FetchError {
    /// The URL cannot be fetched.
    #[error("the URL cannot be fetched: {0}")]
    Url(&'static str),
    /// The host's name has no address.
    #[error("cannot resolve {host}: {reason}")]
    Resolve {
        /// The host.
        host: String,
        /// What the resolver says.
        reason: String,
    },
    /// No connection, or one on which the certificate is refused.
    #[error("cannot connect to {host}: {reason}")]
    Connect {
        /// The host.
        host: String,
        /// What the connector says.
        reason: String,
    },
    /// The answer is not HTTP, or breaks off.
    #[error("{host} did not answer properly: {reason}")]
    Broken {
        /// The host.
        host: String,
        /// What is wrong.
        reason: String,
    },
    /// The answer is a redirect.
    #[error("{host} answers {status}: redirects are not followed; configure the final URL")]
    Redirect {
        /// The host.
        host: String,
        /// 300 to 399.
        status: StatusCode,
    },
    /// The body is too large.
    #[error("{host} answers with more than {bytes_max} bytes")]
    TooLarge {
        /// The host.
        host: String,
        /// The status of the answer.
        status: StatusCode,
        /// The limit.
        bytes_max: usize,
    },
    /// It took too long.
    #[error("{host} did not answer within {} ms", .after.as_millis())]
    Timeout {
        /// The host.
        host: String,
        /// The limit.
        after: Duration,
    },
}

/// Fetches. Make one and share it: it reads the system's certificate authorities when it is made.
pub struct Fetcher {
    connector: Connector,
}

impl Default for Fetcher {
    fn default() -> Self {
        Fetcher::new()
    }
}

impl Fetcher {
    /// A fetcher that trusts the system's authorities where a fetch names none.
    pub fn new() -> Self {
        Fetcher { connector: Connector::new(None) }
    }

    /// Fetches an `http:` or `https:` URL. Each address of its host is tried, up to four, with an equal part of the
    /// time to connect.
    ///
    /// # Errors
    /// See [`FetchError`]. A status of 400 and above is no error.
    pub async fn get(
        &self,
        url: &str,
        ca: Option<&Arc<CaType>>,
        limits: Limits,
    ) -> Result<Fetched, FetchError> {
        let place = Place::parse(url)?;
        within(limits.timeout, &place.host, async {
            let mut addresses = resolve(&place).await?;
            addresses.truncate(ADDRESSES_MAX);
            let share = limits.timeout / addresses.len().max(1) as u32;
            let mut last = FetchError::Resolve { host: place.host.clone(), reason: "no address".to_owned() };
            for address in addresses {
                let mut peer = HttpPeer::new(address, place.tls, place.sni());
                peer.options.total_connection_timeout = Some(share);
                peer.options.ca = ca.cloned();
                match self
                    .exchange(&peer, &place.authority, &place.target, &place.host, limits.body_bytes_max)
                    .await
                {
                    Err(error @ FetchError::Connect { .. }) => last = error,
                    done => return done,
                }
            }
            Err(last)
        })
        .await
    }

    /// Fetches `path` from one address. `shown` stands for the host in errors.
    ///
    /// # Errors
    /// See [`FetchError`]. A status of 400 and above is no error.
    pub async fn get_from(
        &self,
        peer: &HttpPeer,
        host: &HeaderValue,
        path: &str,
        shown: &str,
        limits: Limits,
    ) -> Result<Fetched, FetchError> {
        within(limits.timeout, shown, self.exchange(peer, host, path, shown, limits.body_bytes_max)).await
    }

    async fn exchange(
        &self,
        peer: &HttpPeer,
        host: &HeaderValue,
        path: &str,
        shown: &str,
        body_bytes_max: usize,
    ) -> Result<Fetched, FetchError> {
        // Only the kind and the system's words: the full text of an error repeats addresses and the request.
        let reason = |error: &pingora_error::Error| match &error.cause {
            Some(cause) => format!("{} ({cause})", error.etype().as_str()),
            None => error.etype().as_str().to_owned(),
        };
        let broken = |error: Box<pingora_error::Error>| FetchError::Broken {
            host: shown.to_owned(),
            reason: reason(&error),
        };
        let connected = self.connector.get_http_session(peer).await;
        let (mut session, _) = connected
            .map_err(|error| FetchError::Connect { host: shown.to_owned(), reason: reason(&error) })?;
        session.write_request_header(Box::new(request(host, path).map_err(broken)?)).await.map_err(broken)?;
        session.finish_request_body().await.map_err(broken)?;
        let status = loop {
            session.read_response_header().await.map_err(broken)?;
            match session.response_header() {
                Some(head) if !head.status.is_informational() => break head.status,
                _ => {}
            }
        };
        if status.is_redirection() && status != StatusCode::NOT_MODIFIED {
            return Err(FetchError::Redirect { host: shown.to_owned(), status });
        }
        let mut body = BytesMut::new();
        while let Some(chunk) = session.read_response_body().await.map_err(broken)? {
            if body.len() + chunk.len() > body_bytes_max {
                return Err(FetchError::TooLarge {
                    host: shown.to_owned(),
                    status,
                    bytes_max: body_bytes_max,
                });
            }
            body.extend_from_slice(&chunk);
        }
        Ok(Fetched { status, body: body.freeze() })
    }
}

async fn within(
    limit: Duration,
    host: &str,
    work: impl Future<Output = Result<Fetched, FetchError>>,
) -> Result<Fetched, FetchError> {
    match tokio::time::timeout(limit, work).await {
        Ok(done) => done,
        Err(_) => Err(FetchError::Timeout { host: host.to_owned(), after: limit }),
    }
}

fn request(host: &HeaderValue, path: &str) -> pingora_error::Result<RequestHeader> {
    let mut head = RequestHeader::build("GET", path.as_bytes(), Some(4))?;
    head.insert_header(http::header::HOST, host.clone())?;
    head.insert_header(http::header::USER_AGENT, "sallyport")?;
    head.insert_header(http::header::ACCEPT, "*/*")?;
    Ok(head)
}

/// A URL, taken apart.
struct Place {
    tls: bool,
    /// Without brackets.
    host: String,
    port: u16,
    authority: HeaderValue,
    /// Path and query.
    target: String,
}

impl Place {
    fn parse(url: &str) -> Result<Self, FetchError> {
        if url.len() > URL_BYTES_MAX {
            return Err(FetchError::Url("it is longer than 2048 bytes"));
        }
        let uri: Uri = url.parse().map_err(|_| FetchError::Url("it is not a URL"))?;
        let tls = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err(FetchError::Url("it does not begin with `https://` or `http://`")),
        };
        let authority = uri.authority().ok_or(FetchError::Url("it has no host"))?;
        if authority.as_str().contains('@') {
            return Err(FetchError::Url("it has a user name or password in it"));
        }
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        if host.is_empty() {
            return Err(FetchError::Url("it has no host"));
        }
        // `http` takes any digits for a port.
        let port = match authority.as_str()[authority.host().len()..].strip_prefix(':') {
            None => {
                if tls {
                    443
                } else {
                    80
                }
            }
            Some(port) => port
                .parse()
                .ok()
                .filter(|port| *port != 0)
                .ok_or(FetchError::Url("its port is not a number from 1 to 65535"))?,
        };
        let header =
            HeaderValue::from_str(authority.as_str()).map_err(|_| FetchError::Url("it is not a URL"))?;
        let target = uri.path_and_query().map_or("/", |target| target.as_str()).to_owned();
        Ok(Place { tls, host, port, authority: header, target })
    }

    /// Never empty for TLS: an empty name would turn the certificate check off.
    fn sni(&self) -> String {
        if self.tls { self.host.clone() } else { String::new() }
    }
}

async fn resolve(place: &Place) -> Result<Vec<SocketAddr>, FetchError> {
    let found = tokio::net::lookup_host((place.host.as_str(), place.port)).await;
    let failed =
        |error: std::io::Error| FetchError::Resolve { host: place.host.clone(), reason: error.to_string() };
    Ok(found.map_err(failed)?.collect())
}

/// `period`, up to a tenth shorter or longer, so that many edges do not ask at the same moment.
pub fn spread(period: Duration) -> Duration {
    let random = RandomState::new().hash_one(0_u8) % 2001;
    period.min(PERIOD_MAX).mul_f64(0.9 + random as f64 / 10_000.0)
}

#[cfg(any(test, feature = "testing"))]
#[allow(clippy::expect_used, clippy::unwrap_used, reason = "for tests only")]
pub mod testing;
#[cfg(test)]
mod tests;
