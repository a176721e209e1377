//! The table: routes compiled and ranked, and the look-up.

use http::Method;
use sallyport_config::route::Route;
use sallyport_config::{Located, Location, Report};
use smallvec::SmallVec;

use super::condition::Conditions;
use super::hash::Map;
use super::host::{Host, Hosts, folded};
use super::method::{MethodSet, Methods};
use super::overlap;
use super::pattern::{Class, Pattern};
use super::tree::{Ranks, Tree};
use super::{Found, Params, Query};

/// The most routes of a configuration.
pub const ROUTES_MAX: usize = 1_000_000;

/// The most regular expressions for the paths of one host: they are tried one by one.
const PATH_REGEXES_MAX: usize = 256;

/// Every route of a configuration, ready to be looked up.
#[derive(Debug)]
pub struct Table {
    hosts: Hosts<Paths>,
    methods: Methods,
    /// What nearly every look-up needs of an entry, and no more, so that it stays in the cache. By rank.
    keys: Vec<Key>,
    /// The rest. By rank, which is the order of precedence among the routes of one host.
    pub(super) entries: Vec<Entry>,
}

/// What a route demands of a request.
#[derive(Debug)]
pub(super) struct Entry {
    /// Its place in the configuration.
    pub(super) index: usize,
    /// Where its match stands.
    pub(super) at: Location,
    pub(super) hosts: Vec<Host>,
    pub(super) pattern: Pattern,
    pub(super) methods: MethodSet,
    pub(super) conditions: Conditions,
}

#[derive(Debug, Clone, Copy)]
struct Key {
    methods: MethodSet,
    index: u32,
    conditional: bool,
    captures: bool,
}

/// The paths of one host.
#[derive(Debug, Default)]
struct Paths {
    exact: Map<Box<str>, Ranks>,
    tree: Tree,
    regexes: Vec<u32>,
}

impl Table {
    /// Compiles the routes. What is wrong with one of them is reported, and so are two that say the same; a route that
    /// no request can reach is a warning. Indices are places in `routes` in any case.
    pub fn build(routes: &[Located<Route>], report: &mut Report) -> Table {
        let mut methods = Methods::new();
        if let Some(beyond) = routes.get(ROUTES_MAX) {
            report.error(beyond.at, format!("more than {ROUTES_MAX} routes"));
        }
        let routes = routes.iter().take(ROUTES_MAX).enumerate();
        let mut entries: Vec<Entry> =
            routes.filter_map(|(index, route)| Entry::of(index, route, &mut methods, report)).collect();
        entries.sort_by(Entry::precedence);
        let mut hosts = Hosts::<Paths>::new();
        let mut keys = Vec::with_capacity(entries.len());
        for (rank, entry) in (0..).zip(&entries) {
            for host in &entry.hosts {
                hosts.entry(host).add(&entry.pattern, rank);
            }
            keys.push(entry.key());
        }
        for regexes in hosts.values().map(|paths| &paths.regexes) {
            if let Some(&beyond) = regexes.get(PATH_REGEXES_MAX) {
                let message =
                    format!("more than {PATH_REGEXES_MAX} regular expressions for the paths of one host");
                report
                    .error(entries[beyond as usize].at, message)
                    .hint("each is tried in turn; templates such as `/v1/{id}` cost nothing");
            }
        }
        overlap::check(&entries, report);
        Table { hosts, methods, keys, entries }
    }

    /// Finds the route of a request. `params` is emptied, and filled if there is one.
    pub fn find(&self, query: &Query<'_>, params: &mut Params) -> Found {
        params.clear();
        folded(query.host, |host| {
            let method = self.methods.of(query.method);
            let mut search = Search { table: self, query, method, best: u32::MAX, allowed: MethodSet::NONE };
            let mut known = false;
            for paths in self.hosts.fitting(host) {
                known = true;
                search.paths(paths);
                if let Some(key) = self.keys.get(search.best as usize) {
                    if key.captures {
                        self.entries[search.best as usize].pattern.capture(query.path, params);
                    }
                    return Found::Route(key.index as usize);
                }
            }
            match (known, search.allowed) {
                (false, _) => Found::UnknownHost,
                (true, allowed) if allowed.is_empty() => Found::NotFound,
                (true, allowed) => Found::MethodNotAllowed(self.methods.list(allowed)),
            }
        })
    }

    /// Whether any route takes requests for this host.
    pub fn knows_host(&self, host: &str) -> bool {
        folded(host, |host| self.hosts.fitting(host).next().is_some())
    }

    /// How a request's one method looks in a route's set.
    pub(super) fn method_set(&self, method: &Method) -> MethodSet {
        self.methods.of(method)
    }

    /// The methods of a route's set.
    pub(super) fn method_list(&self, set: MethodSet) -> SmallVec<[Method; 8]> {
        self.methods.list(set)
    }
}

/// One look-up under way.
struct Search<'a> {
    table: &'a Table,
    query: &'a Query<'a>,
    method: MethodSet,
    /// The rank of the best route so far.
    best: u32,
    /// The methods of routes that fail on nothing else.
    allowed: MethodSet,
}

impl Search<'_> {
    /// Looks through the paths of one host.
    fn paths(&mut self, paths: &Paths) {
        let path = self.query.path;
        if !path.starts_with('/') {
            return;
        }
        if let Some(ranks) = paths.exact.get(path) {
            self.consider(ranks);
            // An exact path ranks before all others of its host.
            if self.best != u32::MAX {
                return;
            }
        }
        if !paths.tree.is_empty() {
            paths.tree.visit(path, &mut |ranks| self.consider(ranks));
            if self.best != u32::MAX {
                return;
            }
        }
        for rank in &paths.regexes {
            if let Pattern::Regex(regex) = &self.table.entries[*rank as usize].pattern
                && regex.is_match(path)
            {
                self.consider(std::slice::from_ref(rank));
                if self.best != u32::MAX {
                    return;
                }
            }
        }
    }

    /// Looks at entries whose paths match, the best first.
    fn consider(&mut self, ranks: &[u32]) {
        for &rank in ranks {
            if rank >= self.best {
                return;
            }
            let key = &self.table.keys[rank as usize];
            let holds = || !key.conditional || self.table.entries[rank as usize].conditions.hold(self.query);
            match key.methods.has(self.method) {
                true if holds() => {
                    self.best = rank;
                    return;
                }
                false if !self.allowed.covers(key.methods) && holds() => {
                    self.allowed = self.allowed.with(key.methods);
                }
                _ => {}
            }
        }
    }
}

impl Paths {
    fn add(&mut self, pattern: &Pattern, rank: u32) {
        match pattern {
            Pattern::Segments { segments, tail } if pattern.class() != Class::Exact => {
                self.tree.add(segments, *tail, rank);
            }
            Pattern::Segments { .. } => self.exact.entry(pattern.shape().into()).or_default().push(rank),
            Pattern::Regex(_) => self.regexes.push(rank),
        }
    }
}

impl Entry {
    /// Compiles one route, or reports what is wrong with it.
    fn of(index: usize, route: &Route, methods: &mut Methods, report: &mut Report) -> Option<Entry> {
        let matches = &route.matches;
        let mut errors: Vec<(Location, String, Option<String>)> = Vec::new();
        let mut hosts = Vec::with_capacity(matches.hosts.len().max(1));
        for host in &matches.hosts {
            match Host::parse(host) {
                Ok(parsed) => hosts.push(parsed),
                Err(hint) => {
                    errors.push((host.at, format!("`{}` is not a host of a route", host.value), Some(hint)));
                }
            }
        }
        if matches.hosts.is_empty() {
            hosts.push(Host::Any);
        }
        let path = matches.path.as_ref().or(matches.path_regex.as_ref());
        let pattern = Pattern::of(matches).map_err(|wrong| {
            errors.push((path.map_or(matches.at, |path| path.at), wrong.message, wrong.hint));
        });
        let conditions =
            Conditions::of(matches).map_err(|(at, wrong)| errors.push((at, wrong.message, wrong.hint)));
        let methods = methods.set(&matches.methods).map_err(|name| {
            errors.push((
                matches.at,
                format!("`{name}` is not a method, or the 64th of this configuration"),
                None,
            ));
        });
        for (at, message, hint) in errors.drain(..) {
            let error = report.error(at, message);
            if let Some(hint) = hint {
                error.hint(hint);
            }
        }
        if hosts.len() < matches.hosts.len() {
            return None;
        }
        let (pattern, _) = pattern.ok()?;
        Some(Entry {
            index,
            at: matches.at,
            hosts,
            pattern,
            methods: methods.ok()?,
            conditions: conditions.ok()?,
        })
    }

    /// Which of two entries takes a request for a host of both: the lesser.
    pub(super) fn precedence(&self, other: &Entry) -> std::cmp::Ordering {
        let (headers, query) = self.conditions.counts();
        let (other_headers, other_query) = other.conditions.counts();
        self.pattern
            .precedence(&other.pattern)
            .then_with(|| other.methods.is_named().cmp(&self.methods.is_named()))
            .then_with(|| other_headers.cmp(&headers))
            .then_with(|| other_query.cmp(&query))
            .then_with(|| self.index.cmp(&other.index))
    }

    fn key(&self) -> Key {
        Key {
            methods: self.methods,
            // ROUTES_MAX is far below 2^32.
            index: u32::try_from(self.index).unwrap_or(u32::MAX),
            conditional: !self.conditions.is_empty(),
            captures: matches!(self.pattern.class(), Class::Template | Class::Tail),
        }
    }
}
