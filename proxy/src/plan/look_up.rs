//! Which route a request takes, CORS preflights included. The edge and `explain` ask the same question here.

use http::header::{ACCESS_CONTROL_REQUEST_METHOD, ORIGIN};
use http::{HeaderMap, Method};
use smallvec::SmallVec;

use super::Plan;
use crate::route::{Found, Params, Query};

/// What a look-up came to.
pub(crate) struct LookUp {
    pub(crate) found: Found,
    /// Where the path parameters of the found route are.
    pub(crate) params: Params,
    /// Whether the request is a preflight that a filter of the found route answers.
    pub(crate) preflight: bool,
    /// The method that a preflight asks about, where that one led to the route.
    pub(crate) asked: Option<Method>,
}

impl Plan {
    /// Looks up a route. A preflight for which no route takes OPTIONS takes the route it asks about, if a filter of that
    /// one answers preflights; without such a filter it is an OPTIONS request like any other.
    pub(crate) fn look_up(&self, query: &Query<'_>) -> LookUp {
        let mut params = SmallVec::new();
        let found = self.table.find(query, &mut params);
        let wanted = preflight_method(query.method, query.headers);
        let mut look_up = LookUp { preflight: false, asked: None, found, params };
        if let (Found::MethodNotAllowed(_), Some(method)) = (&look_up.found, &wanted) {
            let mut params = SmallVec::new();
            let found = self.table.find(&Query { method, ..*query }, &mut params);
            if self.answers_preflight(&found) {
                look_up = LookUp { found, params, asked: wanted.clone(), preflight: false };
            }
        }
        look_up.preflight = wanted.is_some() && self.answers_preflight(&look_up.found);
        look_up
    }

    fn answers_preflight(&self, found: &Found) -> bool {
        matches!(found, Found::Route(index) if self.routes[*index].chain.answers_preflight())
    }
}

/// The method a CORS preflight asks about (Fetch standard, "CORS-preflight request").
fn preflight_method(method: &Method, headers: &HeaderMap) -> Option<Method> {
    if method != Method::OPTIONS || !headers.contains_key(ORIGIN) {
        return None;
    }
    Method::from_bytes(headers.get(ACCESS_CONTROL_REQUEST_METHOD)?.as_bytes()).ok()
}
