//! The issuers of a configuration, with the keys and revocations that are in files.

use std::sync::Arc;

use sallyport_config::{Loaded, Location, Report};

use crate::issuer::{Issuer, Issuers};
use crate::keys;

/// Makes the issuers of a configuration; those of `before` with the same settings go on, with their keys. What cannot
/// be used, files included, is reported.
pub fn issuers(loaded: &Loaded, before: Option<&Issuers>, report: &mut Report) -> Issuers {
    let mut issuers = Issuers::default();
    for (name, settings) in loaded.config.issuers.iter() {
        let Some(next) = Issuer::new(&name.value, settings, report) else { continue };
        issuers.insert(Arc::new(next));
    }
    for problem in keys::load_files(&issuers, &loaded.base) {
        let settings = loaded.config.issuers.iter().find(|(name, _)| *name.value == *problem.issuer);
        let files = settings.into_iter().flat_map(|(_, issuer)| {
            let keys = issuer.jwks.as_ref().and_then(|jwks| jwks.file.as_ref());
            keys.into_iter().chain(issuer.revocations.as_ref().map(|list| &list.file))
        });
        let file = files.into_iter().find(|file| loaded.base.join(&file.value) == problem.path);
        report.error(file.map_or(Location::NOWHERE, |file| file.at), problem.to_string());
    }
    let running = |next: &Arc<Issuer>| {
        let running = before.and_then(|before| before.find(next.name()));
        running.filter(|running| running.settings_fingerprint() == next.settings_fingerprint())
    };
    issuers.iter().map(|next| running(next).unwrap_or_else(|| next.clone())).collect()
}
