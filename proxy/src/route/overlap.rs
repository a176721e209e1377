//! Routes that say the same, and routes that no request can reach. Found at load, so that the order of a file never
//! decides by accident.

use std::collections::{HashMap, HashSet};

use sallyport_config::Report;

use super::host::Host;
use super::method::MethodSet;
use super::pattern::{Class, Pattern};
use super::table::Entry;

/// With how many routes of the same path and host one is compared.
const COMPARED_MAX: usize = 1_000;

/// Reports overlaps among entries, which are in the order of precedence.
pub(super) fn check(entries: &[Entry], report: &mut Report) {
    let mut groups: HashMap<(&Host, String), Vec<&Entry>> = HashMap::with_capacity(entries.len());
    let mut everything: HashMap<&Host, Vec<&Entry>> = HashMap::new();
    let mut told = HashSet::new();
    for entry in entries {
        let shape = entry.pattern.shape();
        for host in &entry.hosts {
            if entry.pattern.is_everything() {
                everything.entry(host).or_default().push(entry);
            }
            let group = groups.entry((host, shape.clone())).or_default();
            // A tail over everything ranks before regular expressions, which is easily forgotten.
            let before = match entry.pattern.class() {
                Class::Regex => everything.get(host).map_or(&[][..], Vec::as_slice),
                Class::Exact | Class::Template | Class::Tail => &[],
            };
            let before = before.iter().chain(group.iter()).take(COMPARED_MAX);
            match compare(entry, before) {
                Overlap::None => {}
                Overlap::Same(other) => {
                    let (first, second) =
                        if other.index < entry.index { (other, entry) } else { (entry, other) };
                    if told.insert((second.index, true)) {
                        same(first, second, report);
                    }
                }
                Overlap::Hidden(other) => {
                    if told.insert((entry.index, false)) {
                        hidden(entry, other, host, report);
                    }
                }
            }
            group.push(entry);
        }
    }
}

enum Overlap<'a> {
    None,
    /// The same demands.
    Same(&'a Entry),
    /// Entries before take every request, this one the last of them.
    Hidden(&'a Entry),
}

fn compare<'a>(entry: &Entry, before: impl Iterator<Item = &'a &'a Entry>) -> Overlap<'a> {
    let mut taken = MethodSet::NONE;
    let mut hidden = Overlap::None;
    for other in before {
        if !other.conditions.cover(&entry.conditions) {
            continue;
        }
        let same_kind =
            matches!(entry.pattern, Pattern::Regex(_)) == matches!(other.pattern, Pattern::Regex(_));
        if same_kind && other.methods == entry.methods && entry.conditions.cover(&other.conditions) {
            return Overlap::Same(other);
        }
        taken = taken.with(other.methods);
        if taken.covers(entry.methods) && matches!(hidden, Overlap::None) {
            hidden = Overlap::Hidden(other);
        }
    }
    hidden
}

fn same(first: &Entry, second: &Entry, report: &mut Report) {
    let place = report.place(first.at).unwrap_or_else(|| format!("route {}", first.index + 1));
    report
        .error(second.at, format!("this route matches the same requests as the one at {place}"))
        .hint("remove one, or make them differ in host, path, method or a condition");
}

fn hidden(entry: &Entry, other: &Entry, host: &Host, report: &mut Report) {
    let place = report.place(other.at).unwrap_or_else(|| format!("route {}", other.index + 1));
    let of_host = match (host, entry.hosts.len()) {
        (Host::Any, _) | (_, 1) => String::new(),
        (host, _) => format!(" for `{host}`"),
    };
    let hint = match (&entry.pattern, &other.pattern) {
        (Pattern::Regex(_), Pattern::Segments { .. }) => {
            "a path for everything comes before regular expressions"
        }
        _ => "put the narrower route first, or make it more specific",
    };
    report
        .warning(entry.at, format!("no request reaches this route{of_host}: the one at {place} takes it"))
        .hint(hint);
}
