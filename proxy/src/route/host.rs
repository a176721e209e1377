//! Host names of routes: exact, `*.` wildcard, or any.

use super::names::{Named, Short};

/// The most bytes of a host name (RFC 1035, section 2.3.4).
const HOST_BYTES_MAX: usize = 253;

/// A host of a route, in lower case. The order is that of precedence.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Host {
    /// This name.
    Exact(Box<str>),
    /// Every name below this one.
    Below(Box<str>),
    /// Every host.
    Any,
}

impl Host {
    /// Reads a host as the configuration has it: in lower case and checked. `Err` says what is wrong.
    pub(super) fn parse(text: &str) -> Result<Host, String> {
        if text.bytes().any(|byte| byte.is_ascii_uppercase()) {
            return Err(format!("host names are written in lower case: `{}`", text.to_ascii_lowercase()));
        }
        let name = text.strip_prefix("*.").unwrap_or(text);
        let literal = name.starts_with('[') && name.ends_with(']');
        if name.is_empty() || name.contains(['*', '/', ' ', '@']) || (!literal && name.contains(':')) {
            return Err("a host is a name without port, or `*.` and a name".to_owned());
        }
        let name = Box::from(name);
        Ok(if text.starts_with("*.") { Host::Below(name) } else { Host::Exact(name) })
    }

    /// How well this host fits a folded name, if it does: less is better.
    pub(super) fn distance(&self, name: &str) -> Option<usize> {
        match self {
            Host::Exact(own) => (**own == *name).then_some(0),
            Host::Below(parent) => {
                let label = name.strip_suffix(&**parent)?.strip_suffix('.')?;
                (!label.is_empty()).then(|| 1 + label.len())
            }
            Host::Any => Some(usize::MAX),
        }
    }
}

impl std::fmt::Display for Host {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Host::Exact(name) => f.write_str(name),
            Host::Below(name) => write!(f, "*.{name}"),
            Host::Any => f.write_str("*"),
        }
    }
}

/// Something for each host.
#[derive(Debug)]
pub(super) struct Hosts<T> {
    exact: Named<Short, T>,
    below: Named<Short, T>,
    any: Option<T>,
}

impl<T> Hosts<T> {
    pub(super) fn new() -> Self {
        Hosts { exact: Named::default(), below: Named::default(), any: None }
    }

    /// What belongs to a host, made if it is new.
    pub(super) fn find_or_add(&mut self, host: &Host, new: impl FnOnce() -> T) -> &mut T {
        match host {
            Host::Exact(name) => self.exact.find_or_add(name, new),
            Host::Below(name) => self.below.find_or_add(name, new),
            Host::Any => self.any.get_or_insert_with(new),
        }
    }

    pub(super) fn values(&self) -> impl Iterator<Item = &T> {
        self.exact.values().chain(self.below.values()).chain(&self.any)
    }

    /// What belongs to the hosts that a folded name fits, the best first.
    pub(super) fn fitting<'s>(&'s self, name: &'s str) -> impl Iterator<Item = &'s T> {
        // Without wildcards the name is not cut up at all.
        let cut = if self.below.is_empty() { "" } else { name };
        let parents = memchr::memchr_iter(b'.', cut.as_bytes()).filter(|&dot| dot > 0);
        let below = parents.filter_map(move |dot| self.below.find(&cut[dot + 1..]));
        self.exact.find(name).into_iter().chain(below).chain(&self.any)
    }
}

/// Calls `then` with a host's name as routes write it: in lower case, without the dot at the end.
pub(super) fn folded<R>(host: &str, then: impl FnOnce(&str) -> R) -> R {
    let host = host.strip_suffix('.').unwrap_or(host);
    if !host.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return then(host);
    }
    let mut lower = [0; HOST_BYTES_MAX];
    let Some(lower) = lower.get_mut(..host.len()) else { return then("") };
    lower.copy_from_slice(host.as_bytes());
    lower.make_ascii_lowercase();
    then(std::str::from_utf8(lower).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_read_or_refused() {
        assert_eq!(Host::parse("a.example"), Ok(Host::Exact("a.example".into())));
        assert_eq!(Host::parse("*.a.example"), Ok(Host::Below("a.example".into())));
        assert_eq!(Host::parse("[::1]"), Ok(Host::Exact("[::1]".into())));
        assert!(Host::parse("A.example").unwrap_err().contains("`a.example`"));
        for wrong in ["", "*", "*.", "a.*.b", "a:80", "a/b", "*a.b", "u@a"] {
            assert!(Host::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_best_host_comes_first() {
        let mut hosts = Hosts::<String>::new();
        for text in ["a.b.example", "*.b.example", "*.example"] {
            hosts.find_or_add(&Host::parse(text).unwrap(), || text.to_owned());
        }
        let fitting =
            |hosts: &Hosts<String>, name: &str| hosts.fitting(name).cloned().collect::<Vec<_>>().join(" ");
        assert_eq!(fitting(&hosts, "a.b.example"), "a.b.example *.b.example *.example");
        assert_eq!(fitting(&hosts, "x.y.b.example"), "*.b.example *.example");
        assert_eq!(fitting(&hosts, "b.example"), "*.example");
        assert_eq!(fitting(&hosts, "example"), "");
        assert_eq!(fitting(&hosts, ".example"), "");
        hosts.find_or_add(&Host::Any, || "any".to_owned());
        assert_eq!(fitting(&hosts, ""), "any");
        assert_eq!(hosts.values().count(), 4);
    }

    #[test]
    fn a_wildcard_is_no_closer_than_an_exact_name() {
        let distance = |host: &str, name: &str| Host::parse(host).unwrap().distance(name);
        assert!(distance("a.b.c", "a.b.c") < distance("*.b.c", "a.b.c"));
        assert!(distance("*.b.c", "a.b.c") < distance("*.c", "a.b.c"));
        assert!(distance("*.c", "a.b.c") < Host::Any.distance("a.b.c"));
        assert_eq!(distance("*.b.c", "b.c"), None);
        assert_eq!(distance("*.b.c", "ab.c"), None);
        assert_eq!(distance("*.b.c", ".b.c"), None);
    }

    #[test]
    fn names_are_folded() {
        assert_eq!(folded("A.Example.", str::to_owned), "a.example");
        assert_eq!(folded("a.example", str::to_owned), "a.example");
        assert_eq!(folded(&"A".repeat(300), str::to_owned), "");
        assert_eq!(folded("", str::to_owned), "");
    }
}
