//! `explain`: which route a request takes, why the others lost, what guards it, and where it goes.

use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri};
use serde::Serialize;
use smallvec::SmallVec;

use crate::path;
use crate::plan::{Action, Plan};
use crate::route::{Found, Query, Verdict};

/// A request that somebody wonders about.
#[derive(Debug, Clone, Default)]
pub struct Given {
    /// `GET`, for instance.
    pub method: String,
    /// With a host: `https://api.example.com/v1/batches?x=1`; or a path alone, for routes of every host.
    pub url: String,
    /// Header names and values.
    pub headers: Vec<(String, String)>,
}

/// What would become of the request.
#[derive(Debug, Clone, Serialize)]
pub struct Explanation {
    /// The host that routes are matched with.
    pub host: String,
    /// The canonical path that routes are matched with and upstreams get.
    pub path: String,
    /// The chosen route's name, if there is one.
    pub route: Option<String>,
    /// The status the edge would answer, where it has no route for the request.
    pub refused: Option<u16>,
    /// The path parameters.
    pub params: Vec<(String, String)>,
    /// The filters, in the order they run.
    pub filters: Vec<String>,
    /// Where the request goes.
    pub action: Option<String>,
    /// Every route that was looked at, with the reason why it was taken or not.
    pub considered: Vec<Looked>,
}

/// A route that was looked at.
#[derive(Debug, Clone, Serialize)]
pub struct Looked {
    /// Its name.
    pub route: String,
    /// Why it was taken or not.
    pub verdict: String,
}

/// Explains a request.
pub(super) fn explain(plan: &Plan, given: &Given) -> Result<Explanation, String> {
    let method = Method::from_bytes(given.method.as_bytes()).map_err(|_| format!("`{}` is not a method", given.method))?;
    let uri: Uri = given.url.parse().map_err(|error| format!("`{}` is not a URL: {error}", given.url))?;
    let host = uri.host().unwrap_or_default().to_ascii_lowercase();
    let canonical = path::canonical(uri.path()).map_err(|error| format!("400: {}", error.detail()))?;
    let headers = headers(&given.headers)?;
    let query =
        Query { method: &method, host: &host, path: &canonical.path, headers: &headers, query: uri.query() };
    let mut params = SmallVec::new();
    let found = plan.table.find(&query, &mut params);
    let name = |index: usize| plan.routes.get(index).map_or_else(String::new, |route| route.facts.name.to_string());
    let considered = plan.table.explain(&query).into_iter().map(|considered| Looked {
        route: name(considered.route),
        verdict: match considered.verdict {
            Verdict::Chosen => "chosen".to_owned(),
            Verdict::Lost { to, by } => format!("matches, but `{}` has {}", name(to), by.text()),
            Verdict::Failed { reason } => reason,
        },
    });
    let mut explanation = Explanation {
        host: host.clone(),
        path: canonical.path.to_string(),
        route: None,
        refused: None,
        params: Vec::new(),
        filters: Vec::new(),
        action: None,
        considered: considered.collect(),
    };
    match found {
        Found::Route(index) => chosen(plan, index, &params, &mut explanation),
        Found::MethodNotAllowed(_) => explanation.refused = Some(405),
        Found::NotFound => explanation.refused = Some(404),
        Found::UnknownHost => explanation.refused = Some(421),
    }
    Ok(explanation)
}

fn chosen(plan: &Plan, index: usize, params: &[(u16, u16)], explanation: &mut Explanation) {
    let Some(route) = plan.routes.get(index) else { return };
    let values = params.iter().map(|(from, to)| explanation.path.get(usize::from(*from)..usize::from(*to)));
    let named = route.facts.params.iter().zip(values);
    explanation.params =
        named.map(|(name, value)| (name.to_string(), value.unwrap_or_default().to_owned())).collect();
    explanation.route = Some(route.facts.name.to_string());
    explanation.filters =
        route.chain.filters().map(|filter| format!("{} ({:?})", filter.name(), filter.stage())).collect();
    explanation.action = Some(match &route.action {
        Action::Upstream(upstream) => format!("upstream {}", upstream.name()),
        Action::Split(split) => {
            let mut before = 0;
            let shares = split.shares.iter().map(|(upstream, end)| {
                let weight = end - before;
                before = *end;
                format!("{} {weight}", upstream.name())
            });
            format!("split: {}", shares.collect::<Vec<_>>().join(", "))
        }
        Action::Redirect(_) => "redirect".to_owned(),
        Action::Respond(reply) => format!("respond {}", reply.status.as_u16()),
    });
}

fn headers(given: &[(String, String)]) -> Result<HeaderMap, String> {
    let mut headers = HeaderMap::new();
    for (name, value) in given {
        let header = HeaderName::from_bytes(name.as_bytes()).map_err(|_| format!("`{name}` is not a header name"))?;
        let value = HeaderValue::from_str(value).map_err(|_| format!("the value of `{name}` is not valid"))?;
        headers.append(header, value);
    }
    Ok(headers)
}
