//! Which route a request takes: the `match` of every route, compiled once a plan.
//!
//! Among the routes that match a request the most specific wins: an exact host before the longest wildcard before none;
//! then an exact path, a template, the longest tail, a regular expression; then a route that names methods; then more
//! header conditions, more query conditions; then the order of the file. Of two templates, or two tails of the same
//! length, the one wins that has a literal segment where they first differ. A route that fails on its method or a
//! condition leaves the request to the next.
//!
//! What a route does is the plan's business; nothing here knows chains or upstreams. A look-up allocates nothing and does
//! not grow with the number of routes, regular expressions excepted: those are tried one by one, last of all.

mod candidate;
mod condition;
mod explain;
mod hash;
mod host;
mod method;
mod names;
mod overlap;
mod pattern;
mod table;
mod tree;

use http::{HeaderMap, Method};
use sallyport_config::route::Match;
use smallvec::SmallVec;

pub use explain::{Advantage, Considered, Verdict};
pub use table::{ROUTES_MAX, Table};

/// What a look-up may know of a request.
#[derive(Debug, Clone, Copy)]
pub struct Query<'a> {
    /// The method; for a CORS preflight, perhaps the one it asks about.
    pub method: &'a Method,
    /// The host without port, in any case, perhaps with a dot at the end; empty if the request names none.
    pub host: &'a str,
    /// The path in canonical form, see [`path`](crate::path).
    pub path: &'a str,
    /// The headers.
    pub headers: &'a HeaderMap,
    /// The query without its question mark.
    pub query: Option<&'a str>,
}

/// Values of path parameters, as ranges of the canonical path, in the order of their names.
pub type Params = SmallVec<[(u16, u16); 4]>;

/// What a look-up finds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// This route, by its place in the configuration.
    Route(usize),
    /// Routes that would take the request but for its method, and the methods they take, `HEAD` with `GET`.
    MethodNotAllowed(SmallVec<[Method; 8]>),
    /// Nothing at this path.
    NotFound,
    /// No route takes requests for this host, whatever the path.
    UnknownHost,
}

/// The names of a match's path parameters, in the order of the path. Empty if the path is malformed, which
/// [`Table::build`] reports.
pub fn parameter_names(matches: &Match) -> Vec<Box<str>> {
    pattern::Pattern::of(matches).map(|(_, names)| names).unwrap_or_default()
}

#[cfg(test)]
mod tests;
