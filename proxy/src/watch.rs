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

/// What files looked like; `None` where one could not be seen.
pub(crate) type Stamps = BTreeMap<PathBuf, Option<(u64, SystemTime, u64)>>;

/// Watches until the edge stops.
pub(crate) async fn watch(edge: Weak<Inner>) {
    let mut before: Option<Stamps> = None;
    let mut tried: Option<Stamps> = None;
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        let Some(inner) = edge.upgrade() else { return };
        if inner.stopping() {
            return;
        }
        let plan = inner.service.state.plan.load_full();
        let of_look = plan.clone();
        let Ok(now) = tokio::task::spawn_blocking(move || stamps(&of_look)).await else { continue };
        let changed = now != plan.stamps && tried.as_ref() != Some(&now);
        // Loaded once it has stayed the same for one look, so that no half-written file is read.
        if changed && before.as_ref() == Some(&now) {
            tried = Some(now.clone());
            // A refusal has been logged and counted; the next change is the next try.
            let _ = reload::reload(&inner).await;
        }
        before = Some(now);
    }
}

/// What the files of a plan look like that was read from `began` on. One that was written in the meantime counts as
/// unseen, so that the next look takes it for changed.
pub(crate) fn stamps_since(plan: &Plan, began: SystemTime) -> Stamps {
    let mut stamps = stamps(plan);
    for stamp in stamps.values_mut() {
        if stamp.is_some_and(|(_, modified, _)| modified >= began) {
            *stamp = None;
        }
    }
    stamps
}

fn stamps(plan: &Plan) -> Stamps {
    files(plan)
        .into_iter()
        .map(|path| {
            let stamp = std::fs::metadata(&path).ok();
            let stamp = stamp.and_then(|stamp| Some((stamp.len(), stamp.modified().ok()?, stamp.ino())));
            (path, stamp)
        })
        .collect()
}

/// Every file the plan came from, and whatever its globs match now.
fn files(plan: &Plan) -> Vec<PathBuf> {
    let loaded = &plan.loaded;
    let mut files = loaded.files.clone();
    files.extend(
        plan.listeners.iter().filter_map(|listener| listener.tls.as_ref()).flat_map(|tls| tls.files.clone()),
    );
    for issuer in plan.issuers.iter() {
        if let sallyport_identity::issuer::Source::File(path) = issuer.source() {
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
