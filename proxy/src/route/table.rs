//! The table: routes compiled and ranked, and the look-up.

use http::Method;
use sallyport_config::route::Route;
use sallyport_config::{Located, Location, Report};
use smallvec::SmallVec;

use super::candidate::{Candidate, Candidates, List};
use super::condition::Conditions;
use super::host::{Host, Hosts, folded};
use super::method::{MethodSet, Methods};
use super::names::Named;
use super::overlap;
use super::pattern::{Class, Pattern};
use super::tree::{Tree, Trees};
use super::{Found, Params, Query};

/// The most routes of a configuration.
pub const ROUTES_MAX: usize = 1_000_000;

/// The most regular expressions for the paths of one host: they are tried one by one.
const PATH_REGEXES_MAX: usize = 256;

/// Every route of a configuration, ready to be looked up.
#[derive(Debug)]
pub struct Table {
    hosts: Hosts<Paths>,
    trees: Trees,
    /// What nearly every look-up needs of an entry.
    candidates: Candidates,
    methods: Methods,
    /// The whole of each. By rank, which is the order of precedence among the routes of one host.
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

/// The paths of one host.
#[derive(Debug)]
struct Paths {
    exact: Option<Box<Named<Box<[u8]>, List>>>,
    tree: Tree,
    regexes: List,
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
        let (mut hosts, mut trees) = (Hosts::<Paths>::new(), Trees::default());
        let mut candidates = Candidates::default();
        // The last first: lists grow at their beginning.
        for (rank, entry) in entries.iter().enumerate().rev() {
            for host in &entry.hosts {
                let paths = hosts.find_or_add(host, || Paths::new(&mut trees));
                candidates.prepend(paths.list(&entry.pattern, &mut trees), entry.candidate(rank));
            }
        }
        for paths in hosts.values() {
            if let Some(beyond) = candidates.of(paths.regexes).nth(PATH_REGEXES_MAX) {
                let message =
                    format!("more than {PATH_REGEXES_MAX} regular expressions for the paths of one host");
                report
                    .error(entries[beyond.rank as usize].at, message)
                    .hint("each is tried in turn; templates such as `/v1/{id}` cost nothing");
            }
        }
        overlap::check(&entries, report);
        Table { hosts, trees, candidates, methods, entries }
    }

    /// Finds the route of a request. `params` is emptied, and filled if there is one.
    pub fn find(&self, query: &Query<'_>, params: &mut Params) -> Found {
        params.clear();
        folded(query.host, |host| {
            let method = self.methods.of(query.method);
            let mut search = Search { table: self, query, method, best: None, allowed: MethodSet::NONE };
            let mut known = false;
            for paths in self.hosts.fitting(host) {
                known = true;
                search.paths(paths);
                if let Some(best) = search.best {
                    best.places.capture(query.path, params);
                    return Found::Route(best.index as usize);
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
    /// The best route so far.
    best: Option<&'a Candidate>,
    /// The methods of routes that fail on nothing else.
    allowed: MethodSet,
}

impl<'a> Search<'a> {
    /// Looks through the paths of one host.
    fn paths(&mut self, paths: &Paths) {
        let (table, path) = (self.table, self.query.path);
        if !path.starts_with('/') {
            return;
        }
        if let Some(list) = paths.exact.as_ref().and_then(|exact| exact.find(path)) {
            self.consider(table.candidates.of(*list));
            // An exact path ranks before all others of its host.
            if self.best.is_some() {
                return;
            }
        }
        table.trees.visit(paths.tree, path, &mut |list| self.consider(table.candidates.of(list)));
        if self.best.is_some() {
            return;
        }
        for candidate in table.candidates.of(paths.regexes) {
            if let Pattern::Regex(regex) = &table.entries[candidate.rank as usize].pattern
                && regex.is_match(path)
            {
                self.consider(std::iter::once(candidate));
                if self.best.is_some() {
                    return;
                }
            }
        }
    }

    /// Looks at routes whose paths match, the best first.
    fn consider(&mut self, candidates: impl Iterator<Item = &'a Candidate>) {
        for candidate in candidates {
            let Candidate { rank, methods, conditional, .. } = *candidate;
            if self.best.is_some_and(|best| best.rank <= rank) {
                return;
            }
            let holds = || !conditional || self.table.entries[rank as usize].conditions.hold(self.query);
            match methods.has(self.method) {
                true if holds() => {
                    self.best = Some(candidate);
                    return;
                }
                false if !self.allowed.covers(methods) && holds() => {
                    self.allowed = self.allowed.with(methods);
                }
                _ => {}
            }
        }
    }
}

impl Paths {
    fn new(trees: &mut Trees) -> Paths {
        Paths { exact: None, tree: trees.plant(), regexes: List::default() }
    }

    /// The routes whose path is this one.
    fn list<'a>(&'a mut self, pattern: &Pattern, trees: &'a mut Trees) -> &'a mut List {
        match pattern {
            Pattern::Segments { segments, tail } if pattern.class() != Class::Exact => {
                trees.list(self.tree, segments, *tail)
            }
            Pattern::Segments { .. } => {
                self.exact.get_or_insert_default().find_or_add(&pattern.shape(), List::default)
            }
            Pattern::Regex(_) => &mut self.regexes,
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

    /// What a look-up needs of this entry, which has this rank.
    fn candidate(&self, rank: usize) -> Candidate {
        // ROUTES_MAX is far below 2^32.
        let short = |place: usize| u32::try_from(place).unwrap_or(u32::MAX);
        Candidate {
            methods: self.methods,
            places: self.pattern.places(),
            rank: short(rank),
            index: short(self.index),
            conditional: !self.conditions.is_empty(),
            rest: List::default(),
        }
    }
}
