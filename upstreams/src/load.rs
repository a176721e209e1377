//! The upstreams of a configuration, all at once: taken over or built, and tended.

use std::collections::BTreeMap;
use std::sync::Arc;

use sallyport_config::{Loaded, Report};
use sallyport_identity::fetch::Fetcher;
use tokio::sync::watch;

use crate::Upstream;

/// Upstreams by name.
pub type Upstreams = BTreeMap<String, Arc<Upstream>>;

/// The upstreams of a configuration; one of `running` whose settings are the same goes on, with its health, its
/// connections and its counts. What cannot be used is reported, and left out.
pub fn load(loaded: &Loaded, running: Option<&Upstreams>, report: &mut Report) -> Upstreams {
    let mut upstreams = Upstreams::new();
    for (name, settings) in loaded.config.upstreams.iter() {
        let running = running.and_then(|running| running.get(&name.value));
        let upstream = Upstream::renew(running, &name.value, settings, &loaded.base, report);
        if let Some(upstream) = upstream {
            upstreams.insert(name.value.clone(), upstream);
        }
    }
    upstreams
}

/// Starts the background work of each, see [`Upstream::tend`]. Those that are tended already stay as they are, so it
/// may be called on every reload.
pub fn tend(upstreams: &Upstreams, fetcher: &Arc<Fetcher>, stop: &watch::Receiver<bool>) {
    for upstream in upstreams.values() {
        tokio::spawn(upstream.tend(fetcher.clone(), stop.clone()));
    }
}
