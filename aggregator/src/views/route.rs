//! A route that a view answers: which view, and whether with pages or with one row.

use std::sync::Arc;

use sallyport_config::route::Route;
use sallyport_config::view::RouteView;
use sallyport_config::{Located, Report};

use sallyport_sidecar::Refusal;

use crate::asked::Asked;
use crate::compose::text::{Known, Scope, Text};

/// The methods that a query has.
const METHODS: [&str; 2] = ["GET", "HEAD"];

/// A route to a view.
#[derive(Debug, Clone)]
pub struct ViewRoute {
    /// The view's name; the configuration has it.
    pub view: Arc<str>,
    /// One row instead of pages: its key, to be filled in from path parameters.
    pub key: Option<Text>,
}

impl ViewRoute {
    /// The key of the row that a request asks for; none where the route answers with pages.
    ///
    /// # Errors
    /// The key cannot be made of the request's path parameters.
    pub fn key(&self, asked: &Asked) -> Result<Option<String>, Refusal> {
        let Some(text) = &self.key else { return Ok(None) };
        let known = Known {
            params: &asked.params,
            query: &asked.query,
            claims: asked.claims.as_deref(),
            results: &[],
            item: None,
        };
        let mut key = String::new();
        match text.plain(&known, &mut key) {
            Ok(()) => Ok(Some(key)),
            Err(error) => Err(Refusal::bad_request(format!("the key of a row: {error}"))),
        }
    }

    /// Compiles `view:` of a route.
    pub fn compile(
        route: &Located<Route>,
        view: &Located<RouteView>,
        report: &mut Report,
    ) -> Option<ViewRoute> {
        let methods = &route.matches.methods;
        if methods.is_empty() || methods.iter().any(|method| !METHODS.contains(&method.as_str())) {
            report
                .error(
                    route.matches.at,
                    "rows of a view are asked for with GET, and this route takes other methods",
                )
                .hint("write `match: GET /path`; GET includes HEAD");
        }
        let params: Vec<&str> = route.matches.parameters().collect();
        let scope = Scope { params: &params, branches: &[], own: None, item: false };
        let key = match &view.key {
            Some(key) => Some(Text::compile(key, &scope, report)?),
            None => None,
        };
        Some(ViewRoute { view: view.name.as_str().into(), key })
    }
}
