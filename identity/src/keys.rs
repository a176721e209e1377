//! Where issuers' keys and revocations come from: key sets fetched from URLs in the background, and files.
//!
//! What a key set means, how old keys may grow and when an unknown key may ask for a fetch is in `issuer`.
//! Whether a file has changed is noticed by whoever watches files.

use std::collections::HashMap;
use std::fmt;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use prometheus::{IntCounterVec, IntGaugeVec, Opts, Registry};
use sallyport_config::load::io_words;
use tokio::sync::watch;
use tokio::task::AbortHandle;

use crate::fetch::{FetchError, Fetcher, Limits, spread};
use crate::issuer::{Issuer, Issuers, Source};
use crate::trust::authorities;

/// The largest key set, in bytes.
const JWKS_BYTES_MAX: usize = 512 * 1024;
/// The largest revocation file, in bytes.
const REVOCATIONS_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Time for one fetch of a key set.
const FETCH_MAX: Duration = Duration::from_secs(10);
/// How soon a failed fetch is tried again at first; doubled with each failure, up to `jwks.refresh`.
const BACKOFF_MIN: Duration = Duration::from_secs(1);

/// Fetches key sets. One for the process; see [`Keys::tend`].
pub struct Keys {
    fetcher: Arc<Fetcher>,
    stop: watch::Receiver<bool>,
    fetches: IntCounterVec,
    ages: IntGaugeVec,
    tasks: Mutex<HashMap<usize, Task>>,
}

struct Task {
    /// Held so that the address that names the task stays the issuer's.
    _issuer: Arc<Issuer>,
    task: AbortHandle,
}

impl Drop for Task {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A file of an issuer that could not be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileProblem {
    /// The issuer's name.
    pub issuer: Arc<str>,
    /// The file.
    pub path: PathBuf,
    /// What is wrong with it, for the operator.
    pub reason: String,
}

impl fmt::Display for FileProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "issuer `{}`: `{}`: {}", self.issuer, self.path.display(), self.reason)
    }
}

impl Keys {
    /// Registers the metrics `sallyport_jwks_fetches_total{issuer, result}` and `sallyport_jwks_age_seconds{issuer}`.
    /// Fetching ends when `stop` turns true.
    ///
    /// # Errors
    /// The metrics are registered already.
    pub fn new(
        fetcher: Arc<Fetcher>,
        metrics: &Registry,
        stop: watch::Receiver<bool>,
    ) -> Result<Self, prometheus::Error> {
        let fetches = IntCounterVec::new(
            Opts::new(
                "sallyport_jwks_fetches_total",
                "Fetches of key sets by issuer and result: ok, unreachable, status, unusable.",
            ),
            &["issuer", "result"],
        )?;
        let ages = IntGaugeVec::new(
            Opts::new("sallyport_jwks_age_seconds", "Seconds since the issuer's keys were last read."),
            &["issuer"],
        )?;
        metrics.register(Box::new(fetches.clone()))?;
        metrics.register(Box::new(ages.clone()))?;
        Ok(Keys { fetcher, stop, fetches, ages, tasks: Mutex::default() })
    }

    /// Fetches, once and all at the same time, the keys of every issuer with a URL that has none yet. Await it before
    /// a plan with new issuers is swapped in, so that their tokens are not refused in the meantime. Ends after `limit`
    /// whatever comes of it.
    pub async fn prime(&self, issuers: &Issuers, base: &Path, limit: Duration) {
        let empty = issuers.iter().filter(|issuer| issuer.key_count() == 0);
        let fetches: Vec<Fetch> = empty.filter_map(|issuer| self.fetcher_for(issuer, base)).collect();
        let fetches = fetches.iter().map(Fetch::run);
        let _ = tokio::time::timeout(limit, futures::future::join_all(fetches)).await;
    }

    /// Starts a task for every issuer with a URL that has none yet, and ends those of issuers that are not in
    /// `issuers` any more. Call it with the issuers of each new plan; it needs a Tokio runtime.
    pub fn tend(&self, issuers: &Issuers, base: &Path) {
        let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        let mut before = std::mem::take(&mut *tasks);
        for issuer in issuers.iter() {
            let place = Arc::as_ptr(issuer) as usize;
            if let Some(task) = before.remove(&place) {
                tasks.insert(place, task);
            } else if let Some(fetch) = self.fetcher_for(issuer, base) {
                let task = tokio::spawn(tend_one(fetch, self.stop.clone())).abort_handle();
                tasks.insert(place, Task { _issuer: issuer.clone(), task });
            }
        }
    }

    /// Brings `sallyport_jwks_age_seconds` up to date; call it before metrics are read.
    pub fn record_ages(&self, issuers: &Issuers, now: Instant) {
        self.ages.reset();
        for issuer in issuers.iter() {
            if let Some(age) = issuer.age(now) {
                let seconds = i64::try_from(age.as_secs()).unwrap_or(i64::MAX);
                self.ages.with_label_values(&[&**issuer.name()]).set(seconds);
            }
        }
    }

    fn fetcher_for(&self, issuer: &Arc<Issuer>, base: &Path) -> Option<Fetch> {
        let Source::Url { url, ca } = issuer.source() else { return None };
        Some(Fetch {
            issuer: issuer.clone(),
            url: url.to_string(),
            ca: ca.as_ref().map(|ca| base.join(ca)),
            fetcher: self.fetcher.clone(),
            fetches: self.fetches.clone(),
        })
    }
}

/// Reads the key sets and revocations that are in files; paths start from `base`. What cannot be used is left as it
/// was before and reported. At load each problem is a reason to refuse the configuration.
pub fn load_files(issuers: &Issuers, base: &Path) -> Vec<FileProblem> {
    let mut problems = Vec::new();
    for issuer in issuers.iter() {
        let mut note = |path: &Path, reason: String| {
            problems.push(FileProblem { issuer: issuer.name().clone(), path: path.to_owned(), reason });
        };
        if let Source::File(path) = issuer.source() {
            let path = base.join(path);
            match read(&path, JWKS_BYTES_MAX) {
                Ok(bytes) => {
                    if let Err(error) = issuer.replace_keys(&bytes, Instant::now()) {
                        note(&path, error.to_string());
                    }
                }
                Err(reason) => {
                    issuer.keys_failed();
                    note(&path, reason);
                }
            }
        }
        if let Some(path) = issuer.revocations_file() {
            let path = base.join(path);
            let taken = read(&path, REVOCATIONS_BYTES_MAX)
                .and_then(|bytes| issuer.replace_revocations(&bytes).map_err(|error| error.to_string()));
            if let Err(reason) = taken {
                note(&path, reason);
            }
        }
    }
    problems
}

fn read(path: &Path, bytes_max: usize) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).map_err(|error| format!("cannot be read: {}", io_words(&error)))?;
    // One byte more than allowed tells a file that is too large from one that just fits.
    file.take(bytes_max as u64 + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| format!("cannot be read: {}", io_words(&error)))?;
    if bytes.len() > bytes_max {
        return Err(format!("has more than {bytes_max} bytes"));
    }
    Ok(bytes)
}

/// All that one fetch needs.
struct Fetch {
    issuer: Arc<Issuer>,
    url: String,
    ca: Option<PathBuf>,
    fetcher: Arc<Fetcher>,
    fetches: IntCounterVec,
}

/// Ends the wait of requests that wait for a fetch, should the fetch be given up.
struct EndsWaiting<'a>(Option<&'a Issuer>);

impl Drop for EndsWaiting<'_> {
    fn drop(&mut self) {
        if let Some(issuer) = self.0 {
            issuer.keys_failed();
        }
    }
}

impl Fetch {
    /// Fetches once. Whether the issuer has taken the keys.
    async fn run(&self) -> bool {
        let name = self.issuer.name();
        let mut guard = EndsWaiting(Some(&self.issuer));
        let fetched = self.download().await;
        let (result, taken) = match fetched {
            Ok(body) => {
                // `replace_keys` ends the waiting by itself.
                guard.0 = None;
                match self.issuer.replace_keys(&body, Instant::now()) {
                    Ok(keys) => {
                        log::debug!("issuer `{name}`: {keys} keys read");
                        ("ok", true)
                    }
                    Err(error) => {
                        log::warn!("issuer `{name}`: the fetched key set is not taken: {error}");
                        ("unusable", false)
                    }
                }
            }
            Err((result, reason)) => {
                log::warn!("issuer `{name}`: cannot fetch the key set: {reason}");
                (result, false)
            }
        };
        drop(guard);
        self.fetches.with_label_values(&[&**name, result]).inc();
        taken
    }

    async fn download(&self) -> Result<bytes::Bytes, (&'static str, String)> {
        let ca = match self.ca.clone() {
            None => None,
            // Read each time, so that a renewed file of authorities is taken up.
            Some(path) => match tokio::task::spawn_blocking(move || authorities(&path)).await {
                Ok(read) => Some(read.map_err(|reason| ("unreachable", reason))?),
                Err(error) => return Err(("unreachable", error.to_string())),
            },
        };
        let limits = Limits { timeout: FETCH_MAX, body_bytes_max: JWKS_BYTES_MAX };
        match self.fetcher.get(&self.url, ca.as_ref(), limits).await {
            Ok(fetched) if fetched.status == http::StatusCode::OK => Ok(fetched.body),
            Ok(fetched) => Err(("status", format!("the answer is {}, not 200", fetched.status))),
            Err(error @ FetchError::Redirect { .. }) => Err(("status", error.to_string())),
            Err(error @ FetchError::TooLarge { .. }) => Err(("unusable", error.to_string())),
            Err(error) => Err(("unreachable", error.to_string())),
        }
    }
}

async fn tend_one(fetch: Fetch, mut stop: watch::Receiver<bool>) {
    let refresh = fetch.issuer.refresh_interval();
    let mut failures = 0;
    let mut wait = if fetch.issuer.key_count() == 0 { Duration::ZERO } else { spread(refresh) };
    loop {
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = fetch.issuer.refresh_requested() => {}
            _ = stop.wait_for(|stop| *stop) => return,
        }
        let taken = tokio::select! {
            taken = fetch.run() => taken,
            _ = stop.wait_for(|stop| *stop) => return,
        };
        failures = if taken { 0 } else { failures + 1 };
        wait = spread(if taken { refresh } else { backoff(failures, refresh) });
    }
}

/// Time until the next try after this many failures in a row.
fn backoff(failures: u32, refresh: Duration) -> Duration {
    BACKOFF_MIN.saturating_mul(1 << failures.saturating_sub(1).min(20)).min(refresh)
}

#[cfg(test)]
mod tests;
