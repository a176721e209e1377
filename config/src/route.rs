//! `routes:`: what a request must look like, what guards it, and where it goes.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::aggregate::{Answer, Branch};
use crate::file::FilterEntry;
use crate::located::{Located, Named};
use crate::units::{ByteSize, Timespan};
use crate::view::RouteView;

/// A route. Exactly one of `upstream`, `split`, `aggregate`, `view`, `sidecar`, `redirect` and `respond` says what happens.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Route {
    /// The route's name in logs and metrics. Default: its match line.
    #[serde(default)]
    pub name: Option<Located<String>>,
    /// What a request must look like. Among the routes that match, the most specific wins: an exact host before a
    /// wildcard before none; then an exact path, a template, the longest tail, a regex; of two templates or tails the one with a literal
    /// segment where the other has a parameter; then a route that names methods;
    /// then more header conditions, more query conditions; then the order of the file.
    #[serde(rename = "match")]
    pub matches: Located<Match>,
    /// Chains, by name, in the order they run.
    #[serde(default)]
    pub chains: Vec<Located<String>>,
    /// Filters of this route alone, after those of its chains.
    #[serde(default)]
    pub filters: Vec<FilterEntry>,
    /// Whether anybody may pass. A route without a filter that identifies the client must say `true`. Default: false.
    #[serde(default)]
    pub public: bool,
    /// Send the request to this upstream.
    #[serde(default)]
    pub upstream: Option<Located<String>>,
    /// Send the request to one of several upstreams, by weight.
    #[serde(default)]
    pub split: Option<Located<Vec<Share>>>,
    /// Compose one answer of several branches, by name, in the order of the answer. Only GET, HEAD and POST routes.
    #[serde(default)]
    pub aggregate: Option<Located<Named<Located<Branch>>>>,
    /// What the answer becomes of the branches' results. Default: an object with a member for each.
    #[serde(default)]
    pub answer: Option<Located<Answer>>,
    /// Answer with rows of a view. Only GET and HEAD routes.
    #[serde(default)]
    pub view: Option<Located<RouteView>>,
    /// Send the request to a part of Sallyport: `ws-bridge`.
    #[serde(default)]
    pub sidecar: Option<Located<String>>,
    /// Whether WebSockets may be opened (RFC 6455), over HTTP/1.1: `true`, or how. The same filters guard them as every
    /// other request of the route, and what is no WebSocket goes on as ever. Default: false, and `true` where the route
    /// leads to a `sidecar`.
    #[serde(default)]
    pub websocket: Option<Located<WebSocket>>,
    /// Answer with a redirect.
    #[serde(default)]
    pub redirect: Option<Located<Redirect>>,
    /// Answer with this.
    #[serde(default)]
    pub respond: Option<Located<Respond>>,
    /// How long things may take.
    #[serde(default)]
    pub timeouts: Timeouts,
    /// Whether and when a request is tried again on another target. Default: never.
    #[serde(default)]
    pub retry: Option<Located<Retry>>,
    /// The most bytes of a request's body; beyond, 413. Short for a `body_limit` filter. Default: 10MiB.
    #[serde(default)]
    pub body_limit: Option<ByteSize>,
    /// What to do with `%2F` and `%5C` in a path: `refuse` with 400, or `keep` as they are. Default: refuse.
    #[serde(default)]
    pub encoded_slashes: EncodedSlashes,
}

/// What a request must look like. As a line, `METHOD[|METHOD...] [host]/path`, or in parts. Without methods every
/// method matches, without a host every host.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Match {
    /// Methods; empty: all. `GET` includes `HEAD`.
    pub methods: Vec<String>,
    /// Host names without port, in lower case; `*.example.com` is every name below it. Empty: every host.
    pub hosts: Vec<Located<String>>,
    /// The path: literal segments, `{name}` for one segment, `{**name}` last for all the rest, even empty; at most 32
    /// segments.
    pub path: Option<Located<String>>,
    /// Instead of `path`: a regular expression that must match the whole path.
    pub path_regex: Option<Located<String>>,
    /// Conditions on headers, all of which must hold.
    pub headers: Named<ValueMatch>,
    /// Conditions on query parameters, all of which must hold.
    pub query: Named<ValueMatch>,
}

/// A condition on a value: a string that it must equal, `{ regex: ... }` for the whole value, or `{ present: true }`.
#[derive(Debug, Clone, PartialEq)]
pub enum ValueMatch {
    /// Equal to this.
    Exact(String),
    /// The whole value matches this regular expression.
    Regex(Located<String>),
    /// There, with any value; or not there.
    Present(bool),
}

/// A part of a split.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Share {
    /// The upstream's name.
    pub upstream: Located<String>,
    /// Its share, 0 to 1000; 0 gets nothing.
    #[schemars(range(max = 1000))]
    pub weight: u32,
}

/// An answer that sends the client elsewhere.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Redirect {
    /// Where to: a URL or a path; `{name}` stands for a path parameter of the route, `{query}` for `?` and the query if
    /// there is one.
    pub to: Located<String>,
    /// 301, 302, 303, 307 or 308. Default: 308.
    #[serde(default = "permanent")]
    pub status: Located<u16>,
}

/// A fixed answer.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Respond {
    /// The status, 200 to 599. Default: 200.
    #[serde(default = "ok")]
    #[schemars(range(min = 200, max = 599))]
    pub status: Located<u16>,
    /// The body. Default: empty.
    #[serde(default)]
    pub body: String,
    /// Its content type. Default: text/plain; charset=utf-8.
    #[serde(default = "plain_text")]
    pub content_type: Located<String>,
}

/// How long things may take.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Timeouts {
    /// For the connection to a target, TLS included. Beyond: 504, or the next target. Default: 5s.
    pub connect: Timespan,
    /// From the request's last byte to the first of the response. Beyond: 504. Default: 15s.
    pub first_byte: Timespan,
    /// Between two reads or writes on either side. Beyond: the connection is cut. Default: 60s.
    pub idle: Timespan,
    /// For the whole response, from the request's last byte to the response's last. Default: 30s; `0s` turns it off (for
    /// streams and large downloads).
    pub whole: Timespan,
}

impl Default for Timeouts {
    fn default() -> Self {
        Timeouts {
            connect: Timespan::from_secs(5),
            first_byte: Timespan::from_secs(15),
            idle: Timespan::from_secs(60),
            whole: Timespan::from_secs(30),
        }
    }
}

/// Whether WebSockets may be opened, and how they live.
#[derive(Debug, Clone, PartialEq)]
pub enum WebSocket {
    /// They may not: `Upgrade` is ignored.
    Off,
    /// They may.
    On(WebSocketLife),
}

/// How WebSockets live.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct WebSocketLife {
    /// The web pages that may open one, beside those of the same scheme, host and port: origins such as
    /// `https://app.example.com`, or `*` for every page there is. A page of another origin is refused with 403; a client
    /// that is no browser sends no `Origin` and is not asked. Default: none.
    pub origins: Vec<Located<String>>,
    /// How long a WebSocket may stay without a byte in either direction; a ping is a byte. Beyond: closed with 1001.
    /// Default: 5m; `0s` turns it off.
    pub idle: Timespan,
    /// How long a WebSocket may live at all. Beyond: closed with 1001. Default: 24h; `0s` turns it off.
    pub max_age: Timespan,
}

impl Default for WebSocketLife {
    fn default() -> Self {
        WebSocketLife {
            origins: Vec::new(),
            idle: Timespan::from_secs(5 * 60),
            max_age: Timespan::from_secs(24 * 3600),
        }
    }
}

impl Route {
    /// The route's name: as given, or its match line.
    pub fn name(&self) -> String {
        match &self.name {
            Some(name) => name.value.clone(),
            None => self.matches.value.to_string(),
        }
    }

    /// How WebSockets live on this route; `None` where they cannot be opened.
    pub fn web_socket(&self) -> Option<WebSocketLife> {
        match self.websocket.as_deref() {
            Some(WebSocket::On(life)) => Some(life.clone()),
            Some(WebSocket::Off) => None,
            None => self.sidecar.is_some().then(WebSocketLife::default),
        }
    }
}

impl Match {
    /// The names of the path's parameters, in order; that of a tail, `{**name}`, is the last. A regular expression has none.
    pub fn parameters(&self) -> impl Iterator<Item = &str> {
        let path = self.path.as_ref().map_or("", |path| path.as_str());
        path.split('/').filter_map(|segment| {
            let inner = segment.strip_prefix('{')?.strip_suffix('}')?;
            Some(inner.strip_prefix("**").unwrap_or(inner))
        })
    }
}

/// Trying again. Only requests of idempotent methods (RFC 9110, section 9.2.2) whose body is small enough to send
/// again are; a connection that was never made is tried again whatever the method. At most a fifth of an
/// upstream's requests are retries.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Retry {
    /// Tries after the first, 1 or 2. Default: 1.
    #[serde(default = "one")]
    #[schemars(range(min = 1, max = 2))]
    pub attempts: Located<u32>,
    /// When: `connect` (no connection), `reset` (the connection broke before a response), or a status from 500 to 599, as
    /// a string. Default: `[connect]`.
    #[serde(default = "connect")]
    pub on: Vec<Located<String>>,
}

/// What to do with encoded slashes in a path.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum EncodedSlashes {
    /// Answer 400.
    #[default]
    Refuse,
    /// Leave them encoded, as part of their segment.
    Keep,
}

fn permanent() -> Located<u16> {
    Located::nowhere(308)
}

fn ok() -> Located<u16> {
    Located::nowhere(200)
}

fn one() -> Located<u32> {
    Located::nowhere(1)
}

fn plain_text() -> Located<String> {
    Located::nowhere("text/plain; charset=utf-8".to_owned())
}

fn connect() -> Vec<Located<String>> {
    vec![Located::nowhere("connect".to_owned())]
}
