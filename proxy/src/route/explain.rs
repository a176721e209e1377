//! Why a request takes the route it takes, for the operator. Slow and thorough; the request path does not come here.

use super::Query;
use super::host::folded;
use super::pattern::Class;
use super::table::{Entry, Table};

/// A route and what became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Considered {
    /// The route's place in the configuration.
    pub route: usize,
    /// What became of it.
    pub verdict: Verdict,
}

/// What became of a route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It takes the request.
    Chosen,
    /// It would, but another comes first.
    Lost {
        /// The route that comes first.
        to: usize,
        /// Why that one does.
        by: Advantage,
    },
    /// It does not match, for this reason.
    Failed {
        /// The first demand of the route that the request does not meet.
        reason: String,
    },
}

/// Why one route comes before another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Advantage {
    /// Its host is exact, or the longer wildcard.
    Host,
    /// Its path is more specific.
    Path,
    /// It names methods.
    Methods,
    /// It has more conditions on headers.
    Headers,
    /// It has more conditions on the query.
    Query,
    /// It comes first in the file.
    Order,
}

impl Advantage {
    /// The reason in words: the other route "has …".
    pub fn text(self) -> &'static str {
        match self {
            Advantage::Host => "a more specific host",
            Advantage::Path => "a more specific path",
            Advantage::Methods => "methods of its own",
            Advantage::Headers => "more conditions on headers",
            Advantage::Query => "more conditions on the query",
            Advantage::Order => "an earlier place in the file",
        }
    }
}

impl Table {
    /// What becomes of every route: first the one chosen, then those that lost, in the order they would be taken, then
    /// those that fail, the nearest misses first.
    pub fn explain(&self, query: &Query<'_>) -> Vec<Considered> {
        let mut fits: Vec<(usize, &Entry)> = Vec::new();
        let mut misses: Vec<(u8, usize, String)> = Vec::new();
        folded(query.host, |host| {
            for entry in &self.entries {
                match self.judge(entry, host, query) {
                    Ok(distance) => fits.push((distance, entry)),
                    Err((progress, reason)) => misses.push((progress, entry.index, reason)),
                }
            }
        });
        // Entries are in the order of precedence already; only the host comes before that.
        fits.sort_by_key(|(distance, _)| *distance);
        misses.sort_by(|a, b| b.0.cmp(&a.0).then(a.1.cmp(&b.1)));
        let mut considered = Vec::with_capacity(fits.len() + misses.len());
        for (place, (distance, entry)) in fits.iter().enumerate() {
            let verdict = match (place, fits.first()) {
                (1.., Some((best, winner))) => {
                    let by = if best < distance { Advantage::Host } else { advantage(winner, entry) };
                    Verdict::Lost { to: winner.index, by }
                }
                _ => Verdict::Chosen,
            };
            considered.push(Considered { route: entry.index, verdict });
        }
        let failed = |(_, route, reason)| Considered { route, verdict: Verdict::Failed { reason } };
        considered.extend(misses.into_iter().map(failed));
        considered
    }

    /// How well an entry's host fits if it matches at all, else how far it came and why it fails.
    fn judge(&self, entry: &Entry, host: &str, query: &Query<'_>) -> Result<usize, (u8, String)> {
        let distance = entry.hosts.iter().filter_map(|own| own.distance(host)).min();
        let Some(distance) = distance else {
            let hosts: Vec<String> = entry.hosts.iter().map(|own| format!("`{own}`")).collect();
            return Err((0, format!("the host is not {}", hosts.join(" or "))));
        };
        if !query.path.starts_with('/') || !entry.pattern.matches(query.path) {
            let what = match entry.pattern.class() {
                Class::Regex => "the regular expression does not match the path",
                Class::Exact | Class::Template | Class::Tail => "the path does not match",
            };
            return Err((1, what.to_owned()));
        }
        if let Some(failure) = entry.conditions.failure(query) {
            return Err((2, failure));
        }
        if !entry.methods.has(self.method_set(query.method)) {
            let names: Vec<String> =
                self.method_list(entry.methods).iter().map(|method| method.as_str().to_owned()).collect();
            return Err((3, format!("the method is not {}", names.join(" or "))));
        }
        Ok(distance)
    }
}

fn advantage(winner: &Entry, loser: &Entry) -> Advantage {
    let (headers, query) = winner.conditions.counts();
    let (loser_headers, loser_query) = loser.conditions.counts();
    if winner.pattern.precedence(&loser.pattern).is_lt() {
        Advantage::Path
    } else if winner.methods.is_named() != loser.methods.is_named() {
        Advantage::Methods
    } else if headers != loser_headers {
        Advantage::Headers
    } else if query != loser_query {
        Advantage::Query
    } else {
        Advantage::Order
    }
}
