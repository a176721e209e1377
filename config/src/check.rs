//! What is wrong although every value by itself is well-formed. What filters need, and whether a route is guarded, is
//! checked where the filters are built.

mod clusters;
mod issuers;
mod kafka;
mod listeners;
mod routes;
mod sockets;
mod topics;
mod upstreams;
mod views;
mod ws_bridge;

use std::collections::{HashMap, HashSet};

use crate::file::Config;
use crate::located::{Located, Location};
use crate::node::Node;
use crate::report::{Report, nearest};

/// What is known of the files besides the values that could be read.
#[derive(Default)]
pub(crate) struct Facts {
    /// Every name of each section, also of entries that were left out for an error.
    pub(crate) listeners: Names,
    pub(crate) issuers: Names,
    pub(crate) chains: Names,
    pub(crate) upstreams: Names,
    pub(crate) kafka: Names,
    pub(crate) views: Names,
    /// Families of channels and remote procedures of the bridge.
    pub(crate) families: Names,
    pub(crate) procedures: Names,
    /// Where the keys of `ws_bridge` stand, by their path: `limits.connections`; the section itself under ``.
    bridge: HashMap<String, Location>,
    /// Where `listeners` stands.
    listeners_at: Option<Location>,
    /// Whether a file has a section that nobody knows: it may be any of the known ones, misspelt.
    unknown_section: bool,
    /// Keys and list items from which nothing should be concluded.
    pub(crate) damaged: HashSet<Location>,
}

impl Facts {
    /// Notes the names of every section of a file.
    pub(crate) fn note_names(&mut self, root: &Node) {
        for (key, section) in root.entries() {
            let names = match key.as_str() {
                "listeners" => {
                    self.listeners_at = Some(key.at);
                    &mut self.listeners
                }
                "issuers" => &mut self.issuers,
                "chains" => &mut self.chains,
                "upstreams" => &mut self.upstreams,
                "kafka" => &mut self.kafka,
                "views" => &mut self.views,
                "ws_bridge" => {
                    self.note_bridge(key, section);
                    continue;
                }
                "version" | "include" | "admin" | "process" | "aggregator" | "routes" => continue,
                _ => {
                    self.unknown_section = true;
                    continue;
                }
            };
            names.note(section);
        }
    }

    fn note_bridge(&mut self, key: &Located<String>, section: &Node) {
        self.bridge.insert(String::new(), key.at);
        note_places("", section, &mut self.bridge);
        for (key, part) in section.entries() {
            match key.as_str() {
                "channels" => self.families.note(part),
                "rpc" => self.procedures.note(part),
                _ => {}
            }
        }
    }

    /// Whether the files certainly hold no listener.
    fn lack_listeners(&self) -> bool {
        self.listeners.all.is_empty()
            && !self.unknown_section
            && self.listeners_at.is_none_or(|at| self.is_sound(at))
    }

    fn is_sound(&self, at: Location) -> bool {
        !self.damaged.contains(&at)
    }
}

/// The names of a section, in order.
#[derive(Default)]
pub(crate) struct Names {
    all: Vec<Located<String>>,
    known: HashSet<String>,
}

/// Notes where each key below `node` stands, by its path.
fn note_places(above: &str, node: &Node, places: &mut HashMap<String, Location>) {
    for (key, value) in node.entries() {
        let path = if above.is_empty() { key.value.clone() } else { format!("{above}.{}", key.value) };
        note_places(&path, value, places);
        places.insert(path, key.at);
    }
}

impl Names {
    fn note(&mut self, section: &Node) {
        for (name, _) in section.entries() {
            if self.known.insert(name.value.clone()) {
                self.all.push(name.clone());
            }
        }
    }

    /// Reports a name that is not one of these.
    fn check(&self, what: &str, name: &Located<String>, report: &mut Report) {
        if self.known.contains(name.as_str()) {
            return;
        }
        let diagnostic = report.error(name.at, format!("unknown {what} `{}`", name.value));
        if let Some(near) = nearest(name, self.all.iter().map(|name| name.as_str())) {
            diagnostic.hint(format!("did you mean `{near}`?"));
        } else if self.all.is_empty() {
            diagnostic.hint(format!("there are no `{}` in this configuration", plural(what)));
        } else if self.all.len() <= 12 {
            let list: Vec<String> = self.all.iter().map(|name| format!("`{}`", name.value)).collect();
            diagnostic.hint(format!("known {}: {}", plural(what), list.join(", ")));
        }
    }

    /// Reports names that are not fit for logs and metrics.
    fn check_letters(&self, what: &str, report: &mut Report) {
        let letter = |b: u8| b.is_ascii_alphanumeric() || b"_.-".contains(&b);
        for name in &self.all {
            let begins = name.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric());
            if !begins || !name.bytes().all(letter) || name.len() > 100 {
                report
                    .error(name.at, format!("`{}` cannot be the name of a{}", name.value, article(what)))
                    .hint("a name begins with a letter or digit and goes on with letters, digits, `_`, `.` and `-`");
            }
        }
    }
}

fn article(what: &str) -> String {
    if what.starts_with(['i', 'u']) { format!("n {what}") } else { format!(" {what}") }
}

fn plural(what: &str) -> String {
    what.strip_suffix('y').map_or_else(|| format!("{what}s"), |stem| format!("{stem}ies"))
}

/// Checks a merged configuration.
pub(crate) fn check(config: &Config, facts: &Facts, report: &mut Report) {
    facts.listeners.check_letters("listener", report);
    facts.issuers.check_letters("issuer", report);
    facts.chains.check_letters("chain", report);
    facts.upstreams.check_letters("upstream", report);
    facts.kafka.check_letters("Kafka cluster", report);
    facts.views.check_letters("view", report);
    facts.families.check_letters("channel family", report);
    facts.procedures.check_letters("remote procedure", report);
    listeners::check(config, facts, report);
    issuers::check(config, facts, report);
    upstreams::check(config, facts, report);
    kafka::check(config, facts, report);
    ws_bridge::check(config, facts, report);
    views::check(config, facts, report);
    routes::check(config, facts, report);
}
