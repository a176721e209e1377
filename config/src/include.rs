//! `include:`: further files by glob, each owned by some team, merged into the main one.

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};

use glob::{MatchOptions, Pattern, glob_with};
use serde::Deserialize;

use crate::check::Facts;
use crate::decode::decode_partly;
use crate::file::{Config, FilterEntry};
use crate::issuer::Issuer;
use crate::load::{io_words, top, tree};
use crate::located::{Located, Location, Named};
use crate::parse::FILE_BYTES_MAX;
use crate::report::Report;
use crate::route::Route;
use crate::upstream::Upstream;

/// The most files that one configuration may include.
const FILES_MAX: usize = 1000;

/// The most bytes of all included files.
const TOTAL_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Keys that only the main file may hold.
const MAIN_ONLY: [&str; 8] =
    ["listeners", "admin", "process", "include", "kafka", "ws_bridge", "aggregator", "views"];

/// What an included file may hold.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Included {
    #[serde(default, rename = "version")]
    _version: Option<u32>,
    #[serde(default)]
    issuers: Named<Issuer>,
    #[serde(default)]
    chains: Named<Vec<FilterEntry>>,
    #[serde(default)]
    upstreams: Named<Upstream>,
    #[serde(default)]
    routes: Vec<Located<Route>>,
}

/// Reads every included file into the configuration. Answers the globs, joined to the folder.
pub(crate) fn merge(
    config: &mut Config,
    base: &Path,
    main: Option<&Path>,
    env: &dyn Fn(&str) -> Option<String>,
    report: &mut Report,
    files: &mut Vec<PathBuf>,
    facts: &mut Facts,
) -> Vec<String> {
    let mut globs = Vec::new();
    // The same file under two names is one file.
    let real = |path: &Path| std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let mut seen: BTreeSet<PathBuf> = main.map(real).into_iter().collect();
    let mut bytes = 0;
    for written in &config.include.clone() {
        let glob = joined(base, written);
        let paths = matching(&glob, written, report);
        globs.push(glob);
        for path in paths {
            if !seen.insert(real(&path)) {
                continue;
            }
            if seen.len() > FILES_MAX + 1 {
                report.error(written.at, format!("more than {FILES_MAX} included files"));
                return globs;
            }
            let name = path.display().to_string();
            files.push(path.clone());
            let Some(text) = read(&path, &name, Some(written.at), report) else { continue };
            bytes += text.len();
            if bytes > TOTAL_BYTES_MAX {
                let mib = TOTAL_BYTES_MAX / (1024 * 1024);
                report.error(written.at, format!("the included files are larger than {mib} MiB together"));
                return globs;
            }
            let Some(root) = tree(&name, &text, base, env, report, files) else { continue };
            let Some(root) = top(root, false, report) else { continue };
            for (key, _) in root.entries() {
                if MAIN_ONLY.contains(&key.as_str()) {
                    report
                        .error(key.at, format!("`{}` may stand in the main file only", key.value))
                        .hint("an included file holds `issuers`, `chains`, `upstreams` and `routes`");
                }
            }
            let root = root.retain(|key| !MAIN_ONLY.contains(&key));
            facts.note_names(&root);
            let partial = decode_partly::<Included>(&root, report);
            facts.damaged.extend(partial.damaged);
            if let Some(included) = partial.value {
                add(config, included, report);
            }
        }
    }
    globs
}

fn add(config: &mut Config, included: Included, report: &mut Report) {
    append("issuer", &mut config.issuers, included.issuers, report);
    append("chain", &mut config.chains, included.chains, report);
    append("upstream", &mut config.upstreams, included.upstreams, report);
    config.routes.extend(included.routes);
}

fn append<T>(what: &str, all: &mut Named<T>, more: Named<T>, report: &mut Report) {
    let known: HashMap<String, Location> =
        all.iter().map(|(name, _)| (name.value.clone(), name.at)).collect();
    for (name, value) in more {
        match known.get(&name.value) {
            Some(first) => {
                let first = report.place(*first).unwrap_or_default();
                let message = format!("the {what} `{}` is defined twice", name.value);
                report.error(name.at, message).hint(format!("first at {first}"));
            }
            None => all.push(name, value),
        }
    }
}

/// The glob below the folder, whose own name means nothing but itself.
fn joined(base: &Path, written: &str) -> String {
    if written.starts_with('/') || base.as_os_str().is_empty() {
        return written.to_owned();
    }
    format!("{}/{written}", Pattern::escape(&base.display().to_string()))
}

/// The files that a glob matches, sorted.
fn matching(glob: &str, written: &Located<String>, report: &mut Report) -> Vec<PathBuf> {
    let options = MatchOptions {
        case_sensitive: true,
        require_literal_separator: true,
        require_literal_leading_dot: true,
    };
    let paths = match glob_with(glob, options) {
        Ok(paths) => paths,
        Err(error) => {
            report.error(written.at, format!("`{}` is not a glob: {}", written.value, error.msg));
            return Vec::new();
        }
    };
    let mut found = Vec::new();
    for path in paths {
        match path {
            Ok(path) if path.is_dir() => {}
            Ok(path) => found.push(path),
            Err(error) => {
                let (path, why) = (error.path().display().to_string(), io_words(error.error()));
                report.error(written.at, format!("cannot read the folder `{path}`: {why}"));
            }
        }
        if found.len() > FILES_MAX {
            break;
        }
    }
    if found.is_empty() && !written.contains(['*', '?', '[']) {
        report
            .error(written.at, format!("no file `{}`", written.value))
            .hint("globs are relative to this file's folder");
    }
    found.sort();
    found
}

/// Reads a file as text. `from` is where it was included.
pub(crate) fn read(path: &Path, name: &str, from: Option<Location>, report: &mut Report) -> Option<String> {
    let at = from.unwrap_or(Location::NOWHERE);
    let mut failed = |error: std::io::Error| {
        report.error(at, format!("cannot read `{name}`: {}", io_words(&error)));
    };
    let length = std::fs::metadata(path).map_err(&mut failed).ok()?.len();
    if length > FILE_BYTES_MAX as u64 {
        let mib = FILE_BYTES_MAX / (1024 * 1024);
        report.error(at, format!("`{name}` is larger than {mib} MiB"));
        return None;
    }
    let bytes = std::fs::read(path).map_err(&mut failed).ok()?;
    match String::from_utf8(bytes) {
        Ok(text) => Some(text),
        Err(error) => {
            let valid = &error.as_bytes()[..error.utf8_error().valid_up_to()];
            let lines = valid.iter().filter(|byte| **byte == b'\n').count() + 1;
            report.error(at, format!("`{name}` is not UTF-8 in line {lines}"));
            None
        }
    }
}
