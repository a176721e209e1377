//! `explain`: which route a request takes, why the others lost, what guards it, and where it goes.

use http::uri::Authority;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri, header};
use sallyport_aggregator::compose::explain::Explained;
use sallyport_config::route::{EncodedSlashes, Route};
use serde::Serialize;

use crate::path;
use crate::plan::{Action, Plan};
use crate::route::{Found, Query, Verdict};

/// A request that somebody wonders about.
#[derive(Debug, Clone, Default)]
pub struct Given {
    /// `GET`, for instance.
    pub method: String,
    /// With a host: `https://api.example.com/v1/batches?x=1`; or a path alone, whose host is in the `Host` header, if
    /// anywhere.
    pub url: String,
    /// Header names and values.
    pub headers: Vec<(String, String)>,
}

/// What would become of the request.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Explanation {
    /// The host that routes are matched with; empty if the request names none.
    pub host: String,
    /// The canonical path that routes are matched with and upstreams get.
    pub path: String,
    /// The chosen route's name, if there is one.
    pub route: Option<String>,
    /// Whether the request is a CORS preflight that the route's chain answers.
    pub preflight: bool,
    /// The status the edge would answer, where it has no route for the request.
    pub refused: Option<u16>,
    /// Why it would.
    pub reason: Option<String>,
    /// The path parameters.
    pub params: Vec<(String, String)>,
    /// The filters, in the order they run.
    pub filters: Vec<String>,
    /// Where the request goes.
    pub action: Option<String>,
    /// What the answer is composed of, if it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub composed: Option<Explained>,
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

/// Explains a request: the same look-up as `decide.rs` makes, and the same refusals.
pub(super) fn explain(plan: &Plan, given: &Given) -> Result<Explanation, String> {
    let method = Method::from_bytes(given.method.as_bytes())
        .map_err(|_| format!("`{}` is not a method", given.method))?;
    let uri: Uri = given.url.parse().map_err(|error| format!("`{}` is not a URL: {error}", given.url))?;
    let headers = headers(&given.headers)?;
    let host = host(&uri, &headers)?;
    let canonical = match path::canonical(uri.path()) {
        Ok(canonical) => canonical,
        Err(error) => {
            let path = uri.path().to_owned();
            let explanation = Explanation { host, path, ..Explanation::default() };
            return Ok(explanation.refused(error.kind().status().as_u16(), error.detail()));
        }
    };
    let query =
        Query { method: &method, host: &host, path: &canonical.path, headers: &headers, query: uri.query() };
    let looked_up = plan.look_up(&query);
    // The routes that were looked at are those of the method that a preflight asks about.
    let query = Query { method: looked_up.asked.as_ref().unwrap_or(&method), ..query };
    let explanation = Explanation {
        preflight: looked_up.preflight,
        path: canonical.path.to_string(),
        considered: considered(plan, &query),
        host: host.clone(),
        ..Explanation::default()
    };
    Ok(match looked_up.found {
        Found::Route(index) if canonical.encoded_slashes && refuses_slashes(plan, index) => explanation
            .refused(
                400,
                "the path holds an encoded slash or backslash, which the chosen route does not `keep`",
            ),
        Found::Route(index) => chosen(plan, index, &looked_up.params, explanation),
        Found::MethodNotAllowed(allowed) => {
            let allowed: Vec<&str> = allowed.iter().map(Method::as_str).collect();
            explanation.refused(405, &format!("routes of this path take {}", allowed.join(", ")))
        }
        Found::NotFound => explanation.refused(404, "no route leads to this path"),
        Found::UnknownHost => explanation.refused(421, "no route is for this host"),
    })
}

impl Explanation {
    fn refused(mut self, status: u16, reason: &str) -> Self {
        self.refused = Some(status);
        self.reason = Some(reason.to_owned());
        self
    }
}

/// The URL's host, or what the `Host` header says.
fn host(uri: &Uri, headers: &HeaderMap) -> Result<String, String> {
    let named = match headers.get(header::HOST) {
        Some(value) => {
            value.to_str().ok().and_then(|text| text.parse::<Authority>().ok()).ok_or("`Host` is not a host")
        }
        None => return Ok(uri.host().unwrap_or_default().to_ascii_lowercase()),
    }?;
    match uri.host() {
        // RFC 9112, section 3.2.2: the host of an absolute URL comes first; the edge refuses two that differ.
        Some(host) if !host.eq_ignore_ascii_case(named.host()) => {
            Err("the URL and `Host` name different hosts".to_owned())
        }
        _ => Ok(named.host().to_ascii_lowercase()),
    }
}

fn refuses_slashes(plan: &Plan, index: usize) -> bool {
    plan.routes.get(index).is_some_and(|route| route.terms.encoded_slashes == EncodedSlashes::Refuse)
}

fn considered(plan: &Plan, query: &Query<'_>) -> Vec<Looked> {
    let name =
        |index: usize| plan.routes.get(index).map_or_else(String::new, |route| route.facts.name.to_string());
    let looked = plan.table.explain(query).into_iter().map(|considered| Looked {
        route: name(considered.route),
        verdict: match considered.verdict {
            Verdict::Chosen => "chosen".to_owned(),
            Verdict::Lost { to, by } => format!("matches, but `{}` has {}", name(to), by.text()),
            Verdict::Failed { reason } => reason,
        },
    });
    looked.collect()
}

fn chosen(plan: &Plan, index: usize, params: &[(u16, u16)], mut explanation: Explanation) -> Explanation {
    let Some(route) = plan.routes.get(index) else { return explanation };
    let values = params.iter().map(|(from, to)| explanation.path.get(usize::from(*from)..usize::from(*to)));
    let named = route.facts.params.iter().zip(values);
    explanation.params =
        named.map(|(name, value)| (name.to_string(), value.unwrap_or_default().to_owned())).collect();
    explanation.route = Some(route.facts.name.to_string());
    explanation.filters = route.chain.filters().map(|filter| filter.name().to_owned()).collect();
    explanation.action = Some(match &route.action {
        Action::Upstream(destination) => format!("upstream {}", destination.upstream.name()),
        Action::Split(split) => {
            let mut before = 0;
            let shares = split.shares.iter().map(|(destination, end)| {
                let weight = end - before;
                before = *end;
                format!("{} {weight}", destination.upstream.name())
            });
            format!("split: {}", shares.collect::<Vec<_>>().join(", "))
        }
        Action::Bridge => "sidecar ws-bridge".to_owned(),
        Action::Aggregator(_) => match written(plan, index).and_then(|route| route.view.as_ref()) {
            Some(view) => format!("view {}", view.name.value),
            None => "aggregate".to_owned(),
        },
        Action::Redirect(_) => {
            let redirect = written(plan, index).and_then(|route| route.redirect.as_ref());
            redirect.map_or_else(String::new, |written| {
                format!("redirect {} to {}", written.status.value, written.to.value)
            })
        }
        Action::Respond(reply) => format!("respond {}", reply.status.as_u16()),
    });
    explanation.composed = plan.composed.as_ref().and_then(|composed| composed.explain(&route.facts.name));
    explanation
}

fn written(plan: &Plan, index: usize) -> Option<&Route> {
    plan.loaded.config.routes.get(index).map(|route| &route.value)
}

fn headers(given: &[(String, String)]) -> Result<HeaderMap, String> {
    let mut headers = HeaderMap::new();
    for (name, value) in given {
        let header =
            HeaderName::from_bytes(name.as_bytes()).map_err(|_| format!("`{name}` is not a header name"))?;
        let value =
            HeaderValue::from_str(value).map_err(|_| format!("the value of `{name}` is not valid"))?;
        headers.append(header, value);
    }
    Ok(headers)
}
