//! `rewrite`: asks the upstream for another path, host or query than the client asked for.
//!
//! How a path is made is in `rewrite/path.rs`, how a query is changed in `rewrite/query.rs`. The request that filters
//! see keeps the path that was matched and authorised.

mod path;
mod query;

use std::sync::Arc;

use http::HeaderValue;
use http::uri::{Authority, PathAndQuery, Uri};
use pingora_http::RequestHeader;
use sallyport_config::{Located, Named, Report};
use schemars::JsonSchema;
use serde::Deserialize;

use self::path::PathRule;
use self::query::QueryRule;
use crate::build::Build;
use crate::exchange::Exchange;
use crate::field::overfull;
use crate::filter::{Fault, Filter, Stage};
use crate::reply::ProblemKind;

/// The settings of `rewrite`, at least one. The path is made by one of `path`, `regex`, or `strip_prefix` and
/// `add_prefix`; whatever makes it, it begins with `/` and is canonical: a path with empty segments is merged, one
/// that would hold `.` or `..` is answered with 400. The query stays, but for what `query` changes.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// A whole new path, in which segments may be parameters of the route: `/new/{id}/{**rest}`. Every route with this
    /// filter must have these parameters.
    pub path: Option<Located<String>>,
    /// A beginning that is taken away, in whole segments. A path that does not begin so stays as it is.
    pub strip_prefix: Option<Located<String>>,
    /// A beginning that is put before the path, after `strip_prefix`.
    pub add_prefix: Option<Located<String>>,
    /// A regular expression over the path and what takes the place of its first match.
    pub regex: Option<Located<Replacement>>,
    /// The host that the upstream is asked for, `name` or `name:port`, whatever the upstream's own `host` says.
    pub host: Option<Located<String>>,
    /// Changes to the query.
    pub query: Option<Located<QuerySetting>>,
}

/// A regular expression and what takes the place of its match.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Replacement {
    /// The expression. It matches anywhere in the path unless it begins with `^`.
    #[serde(rename = "match")]
    pub matching: Located<String>,
    /// The text, at most 512 bytes; `$1` or `${name}` stand for groups of the expression, `$$` for `$`.
    pub replace: Located<String>,
}

/// Changes to the query. What is not named here stays byte for byte.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct QuerySetting {
    /// Names and values that take the place of those the client sent. Not percent-encoded here; `{name}` stands for a
    /// parameter of the route.
    pub set: Named<Located<String>>,
    /// Names that are removed.
    pub remove: Vec<Located<String>>,
}

/// Rewrites the target of the upstream's request: one allocation for the target, none where nothing changes.
struct Rewrite {
    path: Option<PathRule>,
    query: Option<QueryRule>,
    host: Option<HeaderValue>,
}

/// Builds the filter.
pub fn build(config: Config, context: &mut Build<'_>) -> Option<Arc<dyn Filter>> {
    let report = &mut *context.report;
    let changes_path = [
        ("path", config.path.as_ref().map(|path| path.at)),
        ("regex", config.regex.as_ref().map(|regex| regex.at)),
        ("strip_prefix", config.strip_prefix.as_ref().map(|prefix| prefix.at)),
        ("add_prefix", config.add_prefix.as_ref().map(|prefix| prefix.at)),
    ];
    let mut given = changes_path.iter().filter_map(|(name, at)| Some((*name, (*at)?)));
    let (first, second) = (given.next(), given.next());
    if let (Some((first, _)), Some((second, at))) = (first, second)
        && (first, second) != ("strip_prefix", "add_prefix")
    {
        report
            .error(at, format!("`{first}` and `{second}` cannot stand together"))
            .hint("a path is made by one of `path`, `regex`, or `strip_prefix` and `add_prefix`");
        return None;
    }
    if first.is_none() && config.host.is_none() && config.query.is_none() {
        report
            .error(context.at, "this filter rewrites nothing")
            .hint("give it a `path`, a `host` or a `query`");
        return None;
    }
    let path = PathRule::from_config(&config, report);
    let query = config.query.as_ref().map(|query| QueryRule::parse(query, report));
    let host = config.host.as_ref().map(|host| parse_host(host, report));
    let query = match query {
        Some(query) => Some(query?),
        None => None,
    };
    let host = match host {
        Some(host) => Some(host?),
        None => None,
    };
    Some(Arc::new(Rewrite { path: path?, query, host }))
}

impl Filter for Rewrite {
    fn name(&self) -> &'static str {
        "rewrite"
    }

    fn stage(&self) -> Stage {
        Stage::Shape
    }

    fn route_params(&self) -> Vec<&str> {
        let of_path = self.path.iter().flat_map(PathRule::params);
        of_path.chain(self.query.iter().flat_map(QueryRule::params)).collect()
    }

    fn on_upstream_request(&self, x: &mut Exchange<'_>, head: &mut RequestHeader) -> Result<(), Fault> {
        if let Some(host) = &self.host {
            set_host(head, host)?;
        }
        if self.path.is_none() && self.query.is_none() {
            return Ok(());
        }
        let mut target =
            String::with_capacity(head.uri.path().len() + head.uri.query().map_or(0, str::len) + 64);
        match &self.path {
            Some(rule) => rule.write(x, head.uri.path(), &mut target)?,
            None => target.push_str(head.uri.path()),
        }
        let path_end = target.len();
        target.push('?');
        match &self.query {
            Some(rule) => rule.write(x, head.uri.query().unwrap_or_default(), &mut target)?,
            None => target.push_str(head.uri.query().unwrap_or_default()),
        }
        if target.len() == path_end + 1 {
            target.pop();
        }
        set_target(head, target)
    }
}

/// Sets path and query, and leaves scheme and authority as they are.
fn set_target(head: &mut RequestHeader, target: String) -> Result<(), Fault> {
    let too_long =
        |_| Fault::new(ProblemKind::UriTooLong, "the rewritten target is longer than a target can be");
    let target = PathAndQuery::from_maybe_shared(bytes::Bytes::from(target)).map_err(too_long)?;
    let mut parts = head.uri.clone().into_parts();
    parts.path_and_query = Some(target);
    let uri = Uri::from_parts(parts)
        .map_err(|_| Fault::new(ProblemKind::Internal, "the rewritten target is no URI"))?;
    head.set_uri(uri);
    Ok(())
}

/// Sets `Host`, and the authority of the target where it has one, as HTTP/2 has (RFC 9113, section 8.3.1).
fn set_host(head: &mut RequestHeader, host: &HeaderValue) -> Result<(), Fault> {
    head.insert_header("Host", host.clone()).map_err(|_| overfull())?;
    if head.uri.authority().is_some() {
        let mut parts = head.uri.clone().into_parts();
        parts.authority = Authority::try_from(host.as_bytes()).ok();
        let uri = Uri::from_parts(parts)
            .map_err(|_| Fault::new(ProblemKind::Internal, "the host is no authority"))?;
        head.set_uri(uri);
    }
    Ok(())
}

fn parse_host(text: &Located<String>, report: &mut Report) -> Option<HeaderValue> {
    let authority = text.parse::<Authority>().ok().filter(|authority| {
        let port = authority.as_str().strip_prefix(authority.host()).unwrap_or("-");
        let port_fits =
            port.is_empty() || port.strip_prefix(':').is_some_and(|port| port.parse::<u16>().is_ok());
        !authority.host().is_empty() && port_fits
    });
    let Some(authority) = authority else {
        report
            .error(text.at, format!("`{}` is not a host", text.value))
            .hint("a host is a name or an address, perhaps with a port, such as `files.internal:8080`");
        return None;
    };
    HeaderValue::from_str(authority.as_str()).ok()
}

#[cfg(test)]
mod tests;
