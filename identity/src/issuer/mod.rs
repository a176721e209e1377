//! Who may sign tokens: each issuer's rules, its current keys, and its revocations.
//!
//! Pure state: no socket, no file, no clock. Whoever fetches keys (the proxy) reads [`Issuer::source`], waits
//! for [`Issuer::refresh_requested`] or its own interval, and hands in what it got. Filters only read.

mod keys;
mod refresh;
mod revocations;
mod settings;
#[cfg(any(test, feature = "testing"))]
#[allow(clippy::expect_used, clippy::unwrap_used, reason = "for tests only")]
pub mod testing;

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use arc_swap::{ArcSwap, Guard};
use http::Uri;
use jsonwebtoken::Algorithm;

pub use self::keys::KeysError;
pub(crate) use self::keys::{Check, Key, KeySet};
use self::refresh::Refresher;
pub use self::refresh::{Refresh, Ticket};
use self::revocations::Revocations;
pub use self::revocations::RevocationsError;

/// The issuers of a configuration, by name.
#[derive(Default, Clone)]
pub struct Issuers {
    by_name: BTreeMap<Arc<str>, Arc<Issuer>>,
}

/// One issuer of tokens. Shared by every filter that names it, and by the fetcher of its keys; survives a
/// reload that leaves its settings alone (see [`Issuer::settings_fingerprint`]).
pub struct Issuer {
    name: Arc<str>,
    iss: Box<str>,
    source: Source,
    algorithms: Box<[Algorithm]>,
    audiences: Box<[Box<str>]>,
    skew: Duration,
    refresh: Duration,
    max_stale: Option<Duration>,
    revocations_file: Option<PathBuf>,
    fingerprint: String,
    keys: ArcSwap<KeySet>,
    revocations: ArcSwap<Revocations>,
    failures: AtomicU32,
    refresher: Refresher,
}

/// Where an issuer's keys come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// A JWK set to fetch and to fetch again.
    Url {
        /// `https:`, or `http:` to a loopback address.
        url: Uri,
        /// PEM file with the authorities that the server's certificate is checked against, as the operator
        /// wrote it.
        ca: Option<PathBuf>,
    },
    /// A JWK set in a file, as the operator wrote its path; to be read at start and again when it changes.
    File(PathBuf),
    /// A secret in the configuration: there is nothing to fetch.
    Static,
}

impl Issuers {
    /// Adds an issuer under its name; one of the same name is replaced.
    pub fn insert(&mut self, issuer: Arc<Issuer>) {
        self.by_name.insert(issuer.name.clone(), issuer);
    }

    /// The issuer of this name.
    pub fn find(&self, name: &str) -> Option<Arc<Issuer>> {
        self.by_name.get(name).cloned()
    }

    /// Every name, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.by_name.keys().map(|name| &**name)
    }

    /// Every issuer, sorted by name.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Issuer>> {
        self.by_name.values()
    }
}

impl FromIterator<Arc<Issuer>> for Issuers {
    fn from_iter<I: IntoIterator<Item = Arc<Issuer>>>(issuers: I) -> Self {
        let mut all = Issuers::default();
        issuers.into_iter().for_each(|issuer| all.insert(issuer));
        all
    }
}

/// What the fetcher of keys and revocations uses.
impl Issuer {
    /// The name in `issuers`.
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// Where the keys come from.
    pub fn source(&self) -> &Source {
        &self.source
    }

    /// How often a [`Source::Url`] is read.
    pub fn refresh_interval(&self) -> Duration {
        self.refresh
    }

    /// The revocation file as the operator wrote its path; to be read at start and again when it changes.
    pub fn revocations_file(&self) -> Option<&Path> {
        self.revocations_file.as_deref()
    }

    /// A text that is equal for two issuers exactly if their settings are: if it is, a reload keeps the old
    /// one with its keys. Holds a digest of the secret, not the secret.
    pub fn settings_fingerprint(&self) -> &str {
        &self.fingerprint
    }

    /// Takes a JWK set (RFC 7517, section 5) that was read at `now`; the answer is the number of usable keys.
    /// Ends the fetch that waiters wait for. What is remembered of tokens stays valid as long as no key was
    /// taken away.
    ///
    /// # Errors
    /// Not a JWK set, or no key in it that this issuer's algorithms can use; the old keys stay.
    pub fn replace_keys(&self, jwks_json: &[u8], now: Instant) -> Result<usize, KeysError> {
        if self.source == Source::Static {
            return Err(KeysError::Static);
        }
        let taken = KeySet::parse(jwks_json, &self.algorithms, now);
        let result = taken.map(|new| {
            let usable = new.len();
            self.keys.store(Arc::new(new.succeeding(&self.keys.load())));
            self.failures.store(0, Ordering::Relaxed);
            usable
        });
        if result.is_err() {
            self.failures.fetch_add(1, Ordering::Relaxed);
        }
        self.refresher.ended();
        result
    }

    /// Says that a fetch ended without a JWK set. A fetcher that gives up, for whatever reason, calls this:
    /// requests may be waiting for the end.
    pub fn keys_failed(&self) {
        self.failures.fetch_add(1, Ordering::Relaxed);
        self.refresher.ended();
    }

    /// Fetches that failed since the last good one.
    pub fn failures(&self) -> u32 {
        self.failures.load(Ordering::Relaxed)
    }

    /// How old the keys are; `None` if there never were any, and for a secret.
    pub fn age(&self, now: Instant) -> Option<Duration> {
        self.keys.load().age(now)
    }

    /// How many keys there are.
    pub fn key_count(&self) -> usize {
        self.keys.load().len()
    }

    /// Whether tokens can be judged: there are keys, not older than `max_stale`, and the revocations were
    /// read once if there are to be any. If not, every token is answered with 503.
    pub fn ready(&self, now: Instant) -> bool {
        self.fresh(&self.keys.load(), now) && self.revocations.load().known()
    }

    /// Takes a revocation file; the answer is the number of entries.
    ///
    /// # Errors
    /// Not in the form of a revocation file; the old revocations stay.
    pub fn replace_revocations(&self, json: &[u8]) -> Result<usize, RevocationsError> {
        let new = Revocations::parse(json)?;
        let entries = new.len();
        self.revocations.store(Arc::new(new));
        Ok(entries)
    }

    /// Completes when somebody wants the keys fetched before the interval is over. A want that came while
    /// nobody listened is not lost; several are one.
    pub async fn refresh_requested(&self) {
        self.refresher.requested().await;
    }
}

/// What filters use.
impl Issuer {
    /// Whether a token with a key id that is not in the set should wait for a fetch. Asks the fetcher at most
    /// once in the cooldown; a key id that was asked for in vain asks again after the cooldown, then after
    /// twice that, up to the refresh interval.
    pub fn wants_refresh(&self, kid: &str, now: Instant) -> Refresh {
        match self.source {
            Source::Url { .. } => self.refresher.ask(kid, now),
            Source::File(_) | Source::Static => Refresh::No,
        }
    }

    /// Completes when a fetch has ended since the ticket was given, well or not. Any number may wait for one
    /// fetch.
    pub async fn refreshed(&self, ticket: Ticket) {
        self.refresher.wait(ticket).await;
    }

    /// The exact `iss`.
    pub(crate) fn iss(&self) -> &str {
        &self.iss
    }

    pub(crate) fn accepts_algorithm(&self, algorithm: Algorithm) -> bool {
        self.algorithms.contains(&algorithm)
    }

    pub(crate) fn accepts_audience(&self, audience: &str) -> bool {
        self.audiences.iter().any(|accepted| **accepted == *audience)
    }

    /// How far clocks may differ.
    pub(crate) fn skew(&self) -> Duration {
        self.skew
    }

    /// The keys, if they may be used now.
    pub(crate) fn keys(&self, now: Instant) -> Option<Guard<Arc<KeySet>>> {
        let keys = self.keys.load();
        (self.fresh(&keys, now) && self.revocations.load().known()).then_some(keys)
    }

    /// Whether these claims are on the revocation list.
    pub(crate) fn revoked(&self, claims: &serde_json::Value) -> bool {
        self.revocations.load().contain(claims)
    }

    fn fresh(&self, keys: &KeySet, now: Instant) -> bool {
        let Some(max) = self.max_stale else { return keys.len() > 0 };
        keys.age(now).is_some_and(|age| age <= max)
    }
}

/// An issuer by its name: the rest is long, and some of it nobody should read.
impl fmt::Debug for Issuer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Issuer").field("name", &self.name).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
