//! The filters of a configuration, built once a chain and joined route by route.

use std::collections::HashMap;
use std::sync::Arc;

use sallyport_config::route::Route;
use sallyport_config::units::ByteSize;
use sallyport_config::{FilterEntry, Loaded, Located, Location, Node, Report, nearest};
use sallyport_filters::{Build, Chain, Filter, Kept, Registry, Stage};
use sallyport_identity::Issuers;

use super::Surroundings;
use crate::metrics::Metrics;

type Filters = Vec<(Arc<dyn Filter>, Location)>;

/// The named chains of a configuration.
pub(super) struct Chains<'a> {
    named: HashMap<&'a str, Option<Filters>>,
    /// Joined chains of routes that have no filters of their own.
    joined: HashMap<Joined<'a>, Arc<Chain>>,
    registry: &'a Registry,
    metrics: &'a Metrics,
    issuers: &'a Issuers,
    kept: &'a Kept,
}

/// What makes the chain of a route without filters of its own: the names it joins, and the route's `body_limit`.
type Joined<'a> = (Vec<&'a str>, Option<ByteSize>);

/// Where filters that are joined are written, for the words of an error.
#[derive(Clone, Copy)]
enum Listed {
    InChain,
    /// The first so many come from the route's chains, the rest is its own.
    OnRoute {
        of_chains: usize,
    },
}

impl<'a> Chains<'a> {
    /// Builds the filters of every named chain.
    pub(super) fn build(
        loaded: &'a Loaded,
        with: &Surroundings<'a>,
        issuers: &'a Issuers,
        kept: &'a Kept,
        report: &mut Report,
    ) -> Self {
        let mut chains = Chains {
            named: HashMap::new(),
            joined: HashMap::new(),
            registry: with.registry,
            metrics: with.metrics,
            issuers,
            kept,
        };
        for (name, entries) in loaded.config.chains.iter() {
            let filters = chains.filters(entries, &format!("chain {}", name.value), report);
            // What stands in the wrong order here is told here, once, and not again by every route.
            let filters =
                filters.filter(|filters| chains.join(filters.clone(), Listed::InChain, report).is_some());
            chains.named.insert(&name.value, filters);
        }
        chains
    }

    /// The chain of a route: an implicit `request_id` unless one is listed, the named chains, its own filters, and its
    /// `body_limit` before the first of them that shapes. `None` after an error.
    pub(super) fn of_route(
        &mut self,
        route: &'a Located<Route>,
        name: &str,
        report: &mut Report,
    ) -> Option<Arc<Chain>> {
        let names = route.chains.iter().map(|name| name.value.as_str()).collect();
        let joined: Joined<'a> = (names, route.body_limit);
        let plain = route.filters.is_empty();
        if plain && let Some(chain) = self.joined.get(&joined) {
            return Some(chain.clone());
        }
        let own = self.filters(&route.filters, &format!("route {name}"), report);
        let mut filters = Vec::new();
        for name in &route.chains {
            // An unknown name has been reported by the loader, a broken chain where it stands.
            let chain = self.named.get(name.value.as_str())?.as_ref()?;
            filters.extend(chain.iter().map(|(filter, _)| (filter.clone(), name.at)));
        }
        let of_chains = filters.len();
        filters.extend(own?);
        if let Some(limit) = route.body_limit {
            let shapes = filters.iter().position(|(filter, _)| filter.stage() == Stage::Shape);
            filters.insert(shapes.unwrap_or(filters.len()), (self.body_limit(limit, report)?, route.at));
        }
        let chain = Arc::new(self.join(filters, Listed::OnRoute { of_chains }, report)?);
        if plain {
            self.joined.insert(joined, chain.clone());
        }
        Some(chain)
    }

    /// The chain of exchanges without a route.
    pub(super) fn bare(&mut self, report: &mut Report) -> Option<Chain> {
        self.join(Vec::new(), Listed::InChain, report)
    }

    fn join(&self, mut filters: Filters, listed: Listed, report: &mut Report) -> Option<Chain> {
        let implicit = !filters.iter().any(|(filter, _)| filter.name() == "request_id");
        if implicit {
            filters.insert(0, (self.implicit("request_id", "{}", report)?, Location::NOWHERE));
        }
        let places: Vec<Location> = filters.iter().map(|(_, place)| *place).collect();
        let names: Vec<&str> = filters.iter().map(|(filter, _)| filter.name()).collect();
        let filters = filters.into_iter().map(|(filter, _)| filter).collect();
        match Chain::new(filters, &self.metrics.decisions) {
            Ok(chain) => Some(chain),
            Err(backwards) => {
                let (name, before) = (backwards.name, backwards.before);
                let cause = names[..backwards.index].iter().rposition(|other| *other == before);
                let of_chain = |index: usize| match listed {
                    Listed::InChain => false,
                    Listed::OnRoute { of_chains } => index < of_chains + usize::from(implicit),
                };
                let hint = if of_chain(backwards.index) {
                    format!("list the chain with `{name}` before the one with `{before}`")
                } else if cause.is_some_and(of_chain) {
                    format!(
                        "a route's own filters run after those of its chains; put `{name}` into a chain that comes first"
                    )
                } else {
                    format!("move `{name}` before `{before}`")
                };
                let at = places.get(backwards.index).copied().unwrap_or(Location::NOWHERE);
                report.error(at, format!("`{name}` cannot run after `{before}`")).hint(hint);
                None
            }
        }
    }

    fn filters(&self, entries: &[FilterEntry], scope: &str, report: &mut Report) -> Option<Filters> {
        let built: Vec<_> = entries.iter().map(|entry| self.filter(entry, scope, report)).collect();
        built.into_iter().collect()
    }

    fn filter(
        &self,
        entry: &FilterEntry,
        scope: &str,
        report: &mut Report,
    ) -> Option<(Arc<dyn Filter>, Location)> {
        let at = entry.name.at;
        let Some(kind) = self.registry.find(&entry.name.value) else {
            let names = self.registry.kinds().map(|kind| kind.name);
            let nearest = nearest(&entry.name.value, names);
            let diagnostic = report.error(at, format!("unknown filter `{}`", entry.name.value));
            match nearest {
                Some(nearest) => diagnostic.hint(format!("did you mean `{nearest}`?")),
                None => {
                    let all: Vec<_> = self.registry.kinds().map(|kind| kind.name).collect();
                    diagnostic.hint(format!("the filters are: {}", all.join(", ")))
                }
            };
            return None;
        };
        let mut build = Build {
            report,
            at,
            scope,
            issuers: self.issuers,
            kept: self.kept,
            metrics: &self.metrics.registry,
        };
        Some((kind.build(&entry.settings, &mut build)?, at))
    }

    fn body_limit(&self, limit: ByteSize, report: &mut Report) -> Option<Arc<dyn Filter>> {
        self.implicit("body_limit", &format!("max: {limit}"), report)
    }

    /// A filter that nobody wrote, built the way a written one is.
    fn implicit(&self, name: &str, settings: &str, report: &mut Report) -> Option<Arc<dyn Filter>> {
        let settings = Node::parse("built in", settings, report)?;
        let name = Located::new(name.to_owned(), settings.location());
        Some(self.filter(&FilterEntry { name, settings }, "every route", report)?.0)
    }
}
