//! What a route does with a request that may pass: the compiled forms.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderValue, StatusCode, header};
use sallyport_config::{Located, Report, route};
use sallyport_filters::reply::ReplyBody;
use sallyport_filters::{Exchange, Reply};
use sallyport_upstreams::Upstream;

use crate::metrics::{Metrics, Outcome, UpstreamMetrics};
use crate::sidecar::Introduction;

/// What a route does. What is large is boxed: most routes lead to an upstream, and pass by in the cache by the thousand.
pub(crate) enum Action {
    /// Sends the request to an upstream.
    Upstream(Arc<Destination>),
    /// Sends it to one of several, chosen by weight.
    Split(Box<Split>),
    /// Sends it to the bridge.
    Bridge,
    /// Sends it to the aggregator.
    Aggregator(Box<Introduction>),
    /// Answers with a redirect.
    Redirect(Box<Redirect>),
    /// Answers with this.
    Respond(Box<Reply>),
}

/// An upstream that requests go to, with its counters.
pub(crate) struct Destination {
    pub(crate) upstream: Arc<Upstream>,
    metrics: UpstreamMetrics,
}

/// Upstreams with the upper ends of their shares.
pub(crate) struct Split {
    pub(crate) shares: Vec<(Arc<Destination>, u32)>,
    total: u32,
}

/// A redirect's target, in pieces.
pub(crate) struct Redirect {
    status: StatusCode,
    pieces: Vec<Piece>,
}

enum Piece {
    Text(String),
    Param(String),
    Query,
}

impl Destination {
    pub(crate) fn new(upstream: Arc<Upstream>) -> Self {
        Destination { metrics: UpstreamMetrics::new(upstream.name()), upstream }
    }

    /// Counts the end of an exchange.
    pub(crate) fn count(&self, families: &Metrics, outcome: Outcome, retries: u32) {
        self.metrics.observe(families, outcome, retries);
    }
}

impl Split {
    /// The shares in order; weights of 0 get nothing.
    pub(crate) fn new(shares: Vec<(Arc<Destination>, u32)>) -> Split {
        let mut total = 0;
        let shares = shares
            .into_iter()
            .filter(|(_, weight)| *weight > 0)
            .map(|(destination, weight)| {
                total += weight;
                (destination, total)
            })
            .collect();
        Split { shares, total }
    }

    /// One of the upstreams, at random by weight. The loader has refused a split without any weight.
    pub(crate) fn choose(&self) -> Option<&Arc<Destination>> {
        let lot = fastrand::u32(..self.total.max(1));
        self.shares.iter().find(|(_, end)| lot < *end).map(|(destination, _)| destination)
    }
}

impl Redirect {
    /// Compiles a redirect; `params` are the route's parameter names.
    pub(crate) fn new(
        settings: &Located<route::Redirect>,
        params: &[Box<str>],
        report: &mut Report,
    ) -> Option<Redirect> {
        let status = StatusCode::from_u16(settings.status.value).ok()?;
        let mut pieces = Vec::new();
        let mut rest = settings.to.value.as_str();
        while let Some((text, behind)) = rest.split_once('{') {
            let Some((name, behind)) = behind.split_once('}') else {
                report.error(settings.to.at, "a `{` without its `}`").hint("a parameter is written `{name}`");
                return None;
            };
            if !text.is_empty() {
                pieces.push(Piece::Text(text.to_owned()));
            }
            pieces.push(match name {
                "query" => Piece::Query,
                name if params.iter().any(|param| &**param == name) => Piece::Param(name.to_owned()),
                name => {
                    let known = params.iter().map(|param| &**param).chain(["query"]);
                    let nearest = sallyport_config::nearest(name, known).map(str::to_owned);
                    let diagnostic =
                        report.error(settings.to.at, format!("the route's path has no parameter `{name}`"));
                    if let Some(nearest) = nearest {
                        diagnostic.hint(format!("did you mean `{{{nearest}}}`?"));
                    }
                    return None;
                }
            });
            rest = behind;
        }
        if !rest.is_empty() {
            pieces.push(Piece::Text(rest.to_owned()));
        }
        // RFC 3986, section 2: a URI is ASCII. `HeaderValue` would take more.
        if !settings.to.bytes().all(|byte| byte.is_ascii_graphic()) {
            report
                .error(settings.to.at, "a redirect's target must be visible ASCII")
                .hint("percent-encode the rest: `/caf%C3%A9`");
            return None;
        }
        Some(Redirect { status, pieces })
    }

    /// The redirect for this request. A parameter keeps the percent-encoding of the canonical path.
    pub(crate) fn reply(&self, x: &Exchange<'_>) -> Reply {
        let mut to = String::new();
        for piece in &self.pieces {
            match piece {
                Piece::Text(text) => to.push_str(text),
                Piece::Param(name) => to.push_str(x.param(name).unwrap_or_default()),
                Piece::Query => {
                    if let Some(query) = x.request.uri.query() {
                        to.push('?');
                        to.push_str(query);
                    }
                }
            }
        }
        location(self.status, &to)
    }
}

/// A redirect to this URL or path. `//host` would leave the site unasked, so a leading double slash is made one.
pub(crate) fn location(status: StatusCode, to: &str) -> Reply {
    let to = if to.starts_with("//") { to.trim_start_matches('/') } else { to };
    let value = HeaderValue::from_str(to).unwrap_or_else(|_| HeaderValue::from_static("/"));
    Reply::empty(status).header(header::LOCATION, value)
}

/// Compiles a fixed answer.
pub(crate) fn respond(settings: &Located<route::Respond>, report: &mut Report) -> Option<Reply> {
    let status = StatusCode::from_u16(settings.status.value).ok().filter(|status| status.as_u16() >= 200);
    if status.is_none() {
        report.error(settings.status.at, format!("`{}` is not a final status", settings.status.value));
    }
    let content_type = sallyport_filters::field::parse_value(&settings.content_type, report);
    let (status, content_type) = (status?, content_type?);
    if settings.body.is_empty() {
        return Some(Reply::empty(status));
    }
    let body = ReplyBody::Bytes(Bytes::from(settings.body.clone().into_bytes()));
    let headers = vec![(header::CONTENT_TYPE, content_type)];
    Some(Reply { status, headers, body })
}
