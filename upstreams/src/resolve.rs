//! From names to addresses, in the background: the request path never resolves a name.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use http::HeaderValue;

use crate::Upstream;
use crate::balance::Board;
use crate::target::{Host, Source, Target};

/// The most addresses of one name that are used.
const ADDRESSES_MAX: usize = 64;
/// The most addresses of an upstream.
const TARGETS_MAX: usize = 1024;
/// How long one resolution may take.
const LOOKUP_MAX: Duration = Duration::from_secs(10);

/// The sources of an upstream and the addresses known of each.
pub(crate) struct Names {
    pub(crate) known: Vec<Known>,
}

/// What is known of one source.
pub(crate) struct Known {
    pub(crate) source: Source,
    pub(crate) addresses: Vec<SocketAddr>,
    /// Why the last resolution failed, if it did.
    pub(crate) error: Option<String>,
}

impl Names {
    pub(crate) fn new(sources: Vec<Source>) -> Self {
        let known = sources.into_iter().map(|source| {
            let addresses = match &source.host {
                Host::Literal(address) => vec![SocketAddr::new(*address, source.port)],
                Host::Name(_) => Vec::new(),
            };
            Known { source, addresses, error: None }
        });
        Names { known: known.collect() }
    }
}

impl Upstream {
    /// Resolves every name once. Before a plan with new upstreams is swapped in, await this, so that their targets
    /// are known; it ends within ten seconds. A name that does not resolve keeps the addresses it had.
    pub async fn resolve_now(&self) {
        let wanted: Vec<(usize, Box<str>, u16)> = {
            let names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
            let name = |(index, known): (usize, &Known)| match &known.source.host {
                Host::Literal(_) => None,
                Host::Name(name) => Some((index, name.clone(), known.source.port)),
            };
            names.known.iter().enumerate().filter_map(name).collect()
        };
        if wanted.is_empty() {
            return;
        }
        let lookups =
            wanted.into_iter().map(|(index, name, port)| async move { (index, lookup(&name, port).await) });
        let results = futures::future::join_all(lookups).await;
        let mut changed = false;
        for (index, result) in results {
            changed |= self.learn(index, result);
        }
        if changed {
            self.rebuild();
        }
    }

    /// Whether there is anything to resolve.
    pub(crate) fn has_names(&self) -> bool {
        let names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        names.known.iter().any(|known| matches!(known.source.host, Host::Name(_)))
    }

    /// Takes in what a resolution said. Whether the addresses are others than before.
    pub(crate) fn learn(&self, index: usize, result: io::Result<Vec<SocketAddr>>) -> bool {
        let mut names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(known) = names.known.get_mut(index) else { return false };
        let addresses = result.and_then(|addresses| {
            let usable = usable(addresses);
            if usable.is_empty() { Err(io::Error::other("the name has no address")) } else { Ok(usable) }
        });
        match addresses {
            Ok(addresses) => {
                known.error = None;
                if known.addresses == addresses {
                    return false;
                }
                log::info!("upstream `{}`: {} is at {addresses:?}", self.name(), known.source.written);
                known.addresses = addresses;
                true
            }
            Err(error) => {
                let error = error.to_string();
                if known.error.as_ref() != Some(&error) {
                    let kept = known.addresses.len();
                    log::warn!(
                        "upstream `{}`: cannot resolve {}: {error}; {kept} known addresses are kept",
                        self.name(),
                        known.source.written
                    );
                }
                known.error = Some(error);
                false
            }
        }
    }

    /// Starts with the addresses that another upstream knows for the same names.
    pub(crate) fn adopt(&self, running: &Upstream) {
        {
            let mut names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
            let theirs = running.names.lock().unwrap_or_else(PoisonError::into_inner);
            for known in names.known.iter_mut().filter(|known| known.addresses.is_empty()) {
                let same = |other: &&Known| {
                    other.source.host == known.source.host && other.source.port == known.source.port
                };
                if let Some(other) = theirs.known.iter().find(same) {
                    known.addresses = other.addresses.clone();
                }
            }
        }
        self.rebuild();
    }

    /// Makes the board anew from what is known. Targets that were on it keep their state.
    pub(crate) fn rebuild(&self) {
        let names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        let before = self.board.load_full();
        let mut targets: Vec<Arc<Target>> = Vec::new();
        for known in &names.known {
            for address in &known.addresses {
                // Two names of one address are one target, named by the first.
                if targets.len() >= TARGETS_MAX || targets.iter().any(|target| target.address == *address) {
                    continue;
                }
                let kept =
                    |target: &&Arc<Target>| target.address == *address && target.name == known.source.written;
                let target = before.targets.iter().find(kept).cloned();
                targets.push(target.unwrap_or_else(|| Arc::new(self.target(&known.source, *address))));
            }
        }
        // Stored under the lock, so that two rebuilds cannot overtake each other.
        self.board.store(Arc::new(Board::new(targets)));
    }

    fn target(&self, source: &Source, address: SocketAddr) -> Target {
        // What `Source::parse` lets through is always a valid header value.
        let host = HeaderValue::from_str(&source.written).unwrap_or(HeaderValue::from_static("upstream"));
        Target::new(source, address, host, self.speech.template(source, address), self.settings.in_flight)
    }
}

/// Sorted, without repetitions, bounded; IPv6 only if there is no IPv4. A service with both usually has both on each
/// machine, and counting a machine twice would double its limits and its health checks.
fn usable(mut addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
    if addresses.iter().any(SocketAddr::is_ipv4) {
        addresses.retain(SocketAddr::is_ipv4);
    }
    addresses.sort_unstable();
    addresses.dedup();
    addresses.truncate(ADDRESSES_MAX);
    addresses
}

async fn lookup(name: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    match tokio::time::timeout(LOOKUP_MAX, tokio::net::lookup_host((name, port))).await {
        Ok(found) => Ok(found?.collect()),
        Err(_) => Err(io::Error::other(format!("no answer within {} s", LOOKUP_MAX.as_secs()))),
    }
}
