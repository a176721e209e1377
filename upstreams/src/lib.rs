//! The services that requests go to: which target a request gets, how it is spoken to, how long it may take, when it is
//! left out.
//!
//! An [`Upstream`] outlives reloads that do not change it, and with it health, load, retry budget and pool. Choosing
//! a target reads atomics and nothing else; names are resolved and health is checked in a task ([`Upstream::tend`]).
//! What a request is sent, by way of [`exchange`], and whether it may be sent again, is the caller's.

mod load;
mod target;
mod resolve;
mod balance;
mod ejection;
mod health;
mod snapshot;

// A try on a target:
mod peer;
mod dial;
mod deadline;
mod pace;
pub mod exchange;

// One more:
mod retry;
mod budget;

mod clock;
#[cfg(test)]
mod tests;

use std::fmt;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use arc_swap::ArcSwap;
use http::HeaderValue;
use pingora_core::upstreams::peer::HttpPeer;
use sallyport_config::Report;
use sallyport_config::route::Timeouts;
use sallyport_config::upstream::Upstream as Settings;

use balance::Board;
use budget::RetryBudget;
use clock::millis;
use ejection::Ejector;
use peer::Speech;
use resolve::Names;
use target::Source;

pub use balance::PickError;
pub use ejection::Observation;
pub use load::{Upstreams, load, tend};
pub use pace::{Late, Pace};
pub use retry::Retry;
pub use snapshot::{Snapshot, TargetSnapshot, TargetState};
pub use target::Picked;

/// The most targets an upstream may list.
const SOURCES_MAX: usize = 256;

/// A service: its targets, and what is known of them.
pub struct Upstream {
    name: Arc<str>,
    settings: Settings,
    /// The settings as text, to compare.
    written: String,
    host: Host,
    speech: Speech,
    board: ArcSwap<Board>,
    names: Mutex<Names>,
    ejector: Ejector,
    budget: RetryBudget,
    tickets: AtomicU64,
    ejections: AtomicU64,
    tended: AtomicBool,
}

/// What the targets see as `Host`.
enum Host {
    Preserve,
    Target,
    Fixed(HeaderValue),
}

impl Upstream {
    /// The upstream `name` as configured. Targets given by address are there at once, names after the first
    /// resolution. `None` if something is wrong, which is then in `report`.
    pub fn new(name: &str, settings: &Settings, base: &Path, report: &mut Report) -> Option<Arc<Upstream>> {
        let before = report.errors().count();
        let speech = Speech::new(name, settings, base, report);
        let sources = sources(name, settings, report);
        let host = host(settings, report, name);
        if report.errors().count() > before {
            return None;
        }
        millis(Instant::now());
        let upstream = Upstream {
            name: name.into(),
            settings: settings.clone(),
            written: written(settings),
            host: host?,
            speech: speech?,
            board: ArcSwap::from_pointee(Board::new(Vec::new())),
            names: Mutex::new(Names::new(sources)),
            ejector: Ejector::new(settings.ejection.clone()),
            budget: RetryBudget::default(),
            tickets: AtomicU64::new(0),
            ejections: AtomicU64::new(0),
            tended: AtomicBool::new(false),
        };
        upstream.rebuild();
        Some(Arc::new(upstream))
    }

    /// The upstream for the next plan: `running` itself if nothing has changed, else a new one that starts with the
    /// addresses that `running` has for the same names, so that a reload does not leave it without targets.
    pub fn renew(
        running: Option<&Arc<Upstream>>,
        name: &str,
        settings: &Settings,
        base: &Path,
        report: &mut Report,
    ) -> Option<Arc<Upstream>> {
        let next = Upstream::new(name, settings, base, report)?;
        let Some(running) = running else { return Some(next) };
        if running.equals(&next) {
            return Some(running.clone());
        }
        next.adopt(running);
        Some(next)
    }

    /// Whether an upstream built from these settings now would be no different from this one. Reads the file of
    /// authorities, if there is one.
    pub fn same_settings(&self, settings: &Settings, base: &Path) -> bool {
        let mut report = Report::default();
        Upstream::new(&self.name, settings, base, &mut report).is_some_and(|other| self.equals(&other))
    }

    fn equals(&self, other: &Upstream) -> bool {
        self.name == other.name && self.written == other.written && self.speech.same(&other.speech)
    }

    /// The name in the configuration.
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// Whether at least one address is known.
    pub fn ready(&self) -> bool {
        !self.board.load().targets.is_empty()
    }

    /// Chooses a target and claims a place on it until the result is dropped. Addresses in `tried` come last. Takes
    /// no lock and allocates nothing.
    ///
    /// # Errors
    /// No target can take the request now; the client gets 503.
    pub fn pick(&self, tried: &[SocketAddr], now: Instant) -> Result<Picked, PickError> {
        let ticket = self.tickets.fetch_add(1, Relaxed);
        self.board.load().pick(self.settings.balance, tried, millis(now), ticket)
    }

    /// What Pingora connects to for this try.
    pub fn peer(&self, picked: &Picked, timeouts: &Timeouts) -> Box<HttpPeer> {
        peer::with_timeouts(&picked.target.template, timeouts)
    }

    /// The `Host` that the target is to see; `None` leaves the client's.
    pub fn host<'a>(&'a self, picked: &'a Picked) -> Option<&'a HeaderValue> {
        match &self.host {
            Host::Preserve => None,
            Host::Target => Some(&picked.target.host),
            Host::Fixed(name) => Some(name),
        }
    }

    /// Counts a request towards the retry budget. Once for each request, not for its retries.
    pub fn note_request(&self, now: Instant) {
        self.budget.note_request(now);
    }

    /// Whether one more retry keeps retries at or below a fifth of the requests of the last ten seconds (ten are
    /// always allowed). If so it is counted, so ask last, when everything else speaks for the retry.
    pub fn may_retry(&self, now: Instant) -> bool {
        self.budget.take(now)
    }

    /// Tells how a try on a target went. `true` if the target is left out from now on because of it.
    pub fn observe(&self, picked: &Picked, seen: Observation, now: Instant) -> bool {
        let ejected = self.ejector.observe(&self.board.load(), &picked.target, seen, now);
        if ejected {
            self.ejections.fetch_add(1, Relaxed);
            log::warn!(
                "upstream `{}`: target {} at {} is left out after {} failures in a row",
                self.name,
                picked.name(),
                picked.address(),
                self.settings.ejection.failures
            );
        }
        ejected
    }
}

impl fmt::Debug for Upstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Upstream").field("name", &self.name).finish_non_exhaustive()
    }
}

/// Settings as text. Nothing in them is secret or refuses to be written.
fn written(settings: &Settings) -> String {
    serde_json::to_string(settings).unwrap_or_default()
}

fn sources(name: &str, settings: &Settings, report: &mut Report) -> Vec<Source> {
    let mut sources: Vec<Source> = Vec::new();
    if settings.targets.is_empty() {
        report.error(sallyport_config::Location::NOWHERE, format!("upstream `{name}` has no targets"));
    }
    if let Some(extra) = settings.targets.get(SOURCES_MAX) {
        report.error(extra.at, format!("upstream `{name}` has more than {SOURCES_MAX} targets"));
        return sources;
    }
    for target in &settings.targets {
        match Source::parse(&target.address, target.weight) {
            Err(why) => {
                report.error(target.at, format!("target `{}`: {why}", target.address));
            }
            Ok(source) if sources.iter().any(|s| s.host == source.host && s.port == source.port) => {
                let message = format!("target `{}` is listed twice", target.address);
                report.error(target.at, message).hint("list it once, with a higher `weight`");
            }
            Ok(source) => sources.push(source),
        }
    }
    sources
}

fn host(settings: &Settings, report: &mut Report, name: &str) -> Option<Host> {
    match settings.host.as_str() {
        "preserve" => Some(Host::Preserve),
        "target" => Some(Host::Target),
        fixed => match fixed.parse::<http::uri::Authority>() {
            Ok(authority) if !authority.as_str().contains('@') => {
                HeaderValue::from_str(authority.as_str()).ok().map(Host::Fixed)
            }
            _ => {
                let message = format!("upstream `{name}`: `host: {fixed}` is no host name");
                let at =
                    settings.targets.first().map_or(sallyport_config::Location::NOWHERE, |target| target.at);
                report
                    .error(at, message)
                    .hint("write `preserve`, `target`, or a name such as `api.internal`");
                None
            }
        },
    }
}
