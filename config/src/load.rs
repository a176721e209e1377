//! From a path to a checked configuration: reads the main file and what it includes, merges them, and checks
//! everything that can be known without filters, sockets or regular expressions.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::check;
use crate::check::Facts;
use crate::decode::decode_partly;
use crate::file::{Config, Loaded};
use crate::include;
use crate::located::{Located, Location};
use crate::node::{Kind, Node};
use crate::parse;
use crate::report::Report;
use crate::secrets::{self, Secrets};

/// The version of the language that this crate reads.
pub(crate) const VERSION: &str = "1";

/// Loads a configuration. `env` answers what environment variables hold, for secrets.
///
/// The report that comes with a configuration holds the sources and at most warnings; whoever builds filters from the
/// configuration adds to it.
///
/// # Errors
/// A report with at least one error, every error that could be found.
pub fn load(path: &Path, env: &dyn Fn(&str) -> Option<String>) -> Result<(Loaded, Report), Report> {
    let mut report = Report::default();
    let name = path.display().to_string();
    let Some(text) = include::read(path, &name, None, &mut report) else { return Err(report) };
    let base = path.parent().map(Path::to_owned).unwrap_or_default();
    finish(&name, &text, &base, Some(path), env, report)
}

/// Loads a configuration from a text, as if it stood in the folder `base` under this name.
///
/// # Errors
/// A report with at least one error, every error that could be found.
pub fn load_text(
    name: &str,
    text: &str,
    base: &Path,
    env: &dyn Fn(&str) -> Option<String>,
) -> Result<(Loaded, Report), Report> {
    finish(name, text, base, None, env, Report::default())
}

fn finish(
    name: &str,
    text: &str,
    base: &Path,
    path: Option<&Path>,
    env: &dyn Fn(&str) -> Option<String>,
    mut report: Report,
) -> Result<(Loaded, Report), Report> {
    let mut facts = Facts::default();
    let mut files: Vec<PathBuf> = path.map(Path::to_owned).into_iter().collect();
    let Some(root) = tree(name, text, base, env, &mut report, &mut files) else { return Err(report) };
    let Some(root) = top(root, true, &mut report) else { return Err(report) };
    facts.note_names(&root);
    let partial = decode_partly::<Config>(&root, &mut report);
    facts.damaged.extend(partial.damaged);
    let Some(mut config) = partial.value else { return Err(report) };
    let globs = include::merge(&mut config, base, path, env, &mut report, &mut files, &mut facts);
    check::check(&config, &facts, &mut report);
    report.sort();
    if report.is_empty() {
        let base = base.to_owned();
        Ok((Loaded { config, files, globs, base }, report))
    } else {
        Err(report)
    }
}

/// Parses one file and looks up its secrets.
pub(crate) fn tree(
    name: &str,
    text: &str,
    base: &Path,
    env: &dyn Fn(&str) -> Option<String>,
    report: &mut Report,
    files: &mut Vec<PathBuf>,
) -> Option<Node> {
    let file = report.add_source(name, text);
    let secrets = Arc::new(Secrets::default());
    let root = parse::parse(file, text, &secrets, report)?;
    secrets.gather(&root, base, env);
    for path in secrets.files() {
        if !files.contains(path) {
            files.push(path.clone());
        }
    }
    Some(root)
}

/// Checks the top of a file: a mapping of the right version. A missing version is reported and put in, so that the
/// rest is read all the same.
pub(crate) fn top(root: Node, main: bool, report: &mut Report) -> Option<Node> {
    let at = root.location();
    if root.is_empty_scalar() {
        if main {
            report.error(at, "the file is empty").hint("it begins with `version: 1`");
            return None;
        }
        return Some(Node::new(at, Kind::Mapping(Vec::new()), root.secrets()));
    }
    let Kind::Mapping(entries) = root.kind() else {
        report
            .error(at, format!("expected `key: value` at the top of the file, found {}", root.found()))
            .hint("a file begins with `version: 1`");
        return None;
    };
    match entries.iter().find(|(name, _)| name.as_str() == "version") {
        Some((_, node)) if node.text() == Some(VERSION) => Some(root),
        Some((_, node)) => {
            let found = node.found();
            report
                .error(
                    node.location(),
                    format!("this edge reads version {VERSION} of the language, found {found}"),
                )
                .hint("write `version: 1`");
            None
        }
        None if !main => Some(root),
        None => {
            report.error(at, "missing key `version`").hint("write `version: 1`");
            let mut entries = entries.clone();
            let one = Kind::Scalar { text: VERSION.into(), plain: true };
            let one = Node::new(Location::NOWHERE, one, root.secrets());
            entries.push((Located::nowhere("version".to_owned()), one));
            Some(Node::new(at, Kind::Mapping(entries), root.secrets()))
        }
    }
}

/// The words for an error of the file system: `no such file` rather than what the system calls it.
pub fn io_words(error: &std::io::Error) -> String {
    secrets::plain(error)
}
