//! Notices changed files and has them loaded.
//!
//! It looks, twice a second, at size, time and inode of every file that the running plan came from. Looking works where
//! notifications do not: on network file systems, and when a whole folder is swapped by a symbolic link, as
//! Kubernetes does it.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::Weak;
use std::time::{Duration, SystemTime};

use crate::plan::Plan;
use crate::reload;
use crate::run::Inner;

const LOOK_EVERY: Duration = Duration::from_millis(500);

/// What a file looked like; `None` if it could not be seen.
type Stamps = BTreeMap<PathBuf, Option<(u64, SystemTime, u64)>>;

/// Watches until the edge stops.
pub(crate) async fn watch(edge: Weak<Inner>) {
    let mut loaded: Option<(u64, Stamps)> = None;
    let mut before: Option<Stamps> = None;
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        let Some(inner) = edge.upgrade() else { return };
        if inner.stopping() {
            return;
        }
        let plan = inner.service.state.plan.load_full();
        let Ok(now) = tokio::task::spawn_blocking({
            let plan = plan.clone();
            move || stamps(&plan)
        })
        .await
        else {
            continue;
        };
        let known = match &loaded {
            Some((generation, known)) if *generation == plan.generation => known,
            // Another plan is in force than the one we looked at: its files are what counts from now on.
            _ => &loaded.insert((plan.generation, now.clone())).1,
        };
        // Loaded once it has changed and then stayed the same for one look, so that no half-written file is read.
        if now != *known && before.as_ref() == Some(&now) {
            loaded = Some((plan.generation, now.clone()));
            // A refusal has been logged and counted; the next change is the next try.
            let _ = reload::reload(&inner).await;
        }
        before = Some(now);
    }
}

fn stamps(plan: &Plan) -> Stamps {
    files(plan).into_iter().map(|path| {
        let stamp = std::fs::metadata(&path).ok();
        let stamp = stamp.and_then(|stamp| Some((stamp.len(), stamp.modified().ok()?, stamp.ino())));
        (path, stamp)
    }).collect()
}

/// Every file the plan came from, and whatever its globs match now.
fn files(plan: &Plan) -> Vec<PathBuf> {
    let loaded = &plan.loaded;
    let mut files = loaded.files.clone();
    files.extend(plan.listeners.iter().filter_map(|listener| listener.tls.as_ref()).flat_map(|tls| tls.files.clone()));
    for issuer in plan.issuers.iter() {
        if let sallyport_filters::issuer::Source::File(path) = issuer.source() {
            files.push(loaded.base.join(path));
        }
        files.extend(issuer.revocations_file().map(|path| loaded.base.join(path)));
    }
    for upstream in loaded.config.upstreams.iter() {
        let ca = upstream.1.tls.as_ref().and_then(|tls| tls.ca.as_ref());
        files.extend(ca.map(|ca| loaded.base.join(&ca.value)));
    }
    for pattern in &loaded.config.include {
        let pattern = loaded.base.join(&pattern.value);
        files.extend(glob::glob(&pattern.to_string_lossy()).into_iter().flatten().flatten());
    }
    files
}
