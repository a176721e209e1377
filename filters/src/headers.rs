//! `headers`: sets, adds and removes headers of the upstream's request and of the response.
//!
//! What a value may hold besides text is in `headers/value.rs`.

mod value;

use std::sync::Arc;

use http::HeaderName;
use pingora_http::{RequestHeader, ResponseHeader};
use sallyport_config::{Located, Named, Report};
use schemars::JsonSchema;
use serde::Deserialize;

use self::value::Value;
use crate::build::Build;
use crate::exchange::Exchange;
use crate::field::FieldName;
use crate::filter::{Fault, Filter, Stage};

/// The settings of `headers`. Within one direction headers are first removed, then set, then added.
///
/// A value may hold `{client}` (the client's address), `{request_id}`, `{route}` (its name), `{jwt.sub}` (who asks,
/// also by API key), `{jwt.<claim>}` (a claim by its dotted path; the items of a list are joined with commas) and
/// `{param.<name>}` (a path parameter, percent-encoded as in the path); `{{` and `}}` stand for braces. Where a
/// placeholder has no value, or one that no header can carry, the header is left out, and `set` still removes what
/// was there.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Changes to the request that the upstream gets. What clients send under a name that is set or added here is
    /// deleted on every route before any filter runs, unless it is a header that clients own, such as `Accept`.
    pub request: Changes,
    /// Changes to the response.
    pub response: Changes,
}

/// Changes to the headers of one direction. Headers that frame the message or belong to the connection cannot be
/// named.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Changes {
    /// Names and the values that they get, in place of what they had.
    pub set: Named<Located<String>>,
    /// Names and values that are added to what they have.
    pub add: Named<Located<String>>,
    /// Names that are removed.
    pub remove: Vec<Located<String>>,
}

/// Changes headers. Values without placeholders are made at load.
struct Headers {
    request: Compiled,
    response: Compiled,
}

struct Compiled {
    remove: Box<[HeaderName]>,
    set: Box<[(FieldName, Value)]>,
    add: Box<[(FieldName, Value)]>,
}

/// Builds the filter.
pub fn build(config: Config, context: &mut Build<'_>) -> Option<Arc<dyn Filter>> {
    let request = Compiled::from_setting(&config.request, context.report);
    let response = Compiled::from_setting(&config.response, context.report);
    Some(Arc::new(Headers { request: request?, response: response? }))
}

impl Filter for Headers {
    fn name(&self) -> &'static str {
        "headers"
    }

    fn stage(&self) -> Stage {
        Stage::Shape
    }

    fn managed_headers(&self) -> Vec<HeaderName> {
        let named = self.request.set.iter().chain(&self.request.add).map(|(field, _)| field.name());
        named.filter(|name| !is_clients_own(name)).cloned().collect()
    }

    fn on_upstream_request(&self, x: &mut Exchange<'_>, head: &mut RequestHeader) -> Result<(), Fault> {
        for name in &self.request.remove {
            head.remove_header(name);
        }
        for (field, value) in &self.request.set {
            match value.of(x) {
                Some(value) => field.set_on_request(head, value)?,
                None => drop(head.remove_header(field.name())),
            }
        }
        for (field, value) in &self.request.add {
            if let Some(value) = value.of(x) {
                field.add_to_request(head, value)?;
            }
        }
        Ok(())
    }

    fn on_response(&self, x: &mut Exchange<'_>, head: &mut ResponseHeader) -> Result<(), Fault> {
        for name in &self.response.remove {
            head.remove_header(name);
        }
        for (field, value) in &self.response.set {
            match value.of(x) {
                Some(value) => field.set_on_response(head, value)?,
                None => drop(head.remove_header(field.name())),
            }
        }
        for (field, value) in &self.response.add {
            if let Some(value) = value.of(x) {
                field.add_to_response(head, value)?;
            }
        }
        Ok(())
    }
}

impl Compiled {
    /// Reads the changes. Every bad name and value is reported.
    fn from_setting(changes: &Changes, report: &mut Report) -> Option<Compiled> {
        let remove: Vec<_> =
            changes.remove.iter().map(|name| FieldName::parse_settable(name, report)).collect();
        let set = values(&changes.set, report);
        let add = values(&changes.add, report);
        let remove = remove.into_iter().map(|field| Some(field?.name().clone())).collect::<Option<_>>();
        Some(Compiled { remove: remove?, set: set?, add: add? })
    }
}

fn values(named: &Named<Located<String>>, report: &mut Report) -> Option<Box<[(FieldName, Value)]>> {
    let mut values: Vec<(FieldName, Value)> = Vec::with_capacity(named.len());
    let mut good = true;
    for (name, text) in named.iter() {
        let field = FieldName::parse_settable(name, report);
        let value = Value::parse(text, report);
        if let Some(field) = &field
            && values.iter().any(|(known, _)| known.name() == field.name())
        {
            report.error(name.at, format!("`{}` is here already; case makes no difference", name.value));
            good = false;
        }
        match (field, value) {
            (Some(field), Some(value)) => values.push((field, value)),
            _ => good = false,
        }
    }
    good.then(|| values.into())
}

/// Request headers by which clients say what they want. Deleting them on every route because one route sets them would
/// break the others, and no upstream takes them for the edge's word: content negotiation, conditions, ranges,
/// credentials and the like (RFC 9110; RFC 9111; RFC 6265; Fetch), and trace context (W3C), which has rules of its
/// own.
fn is_clients_own(name: &HeaderName) -> bool {
    const PREFIXES: [&str; 4] = ["accept", "content-", "if-", "sec-"];
    const NAMES: [&str; 17] = [
        "authorization",
        "baggage",
        "cache-control",
        "cookie",
        "date",
        "dnt",
        "from",
        "max-forwards",
        "origin",
        "pragma",
        "prefer",
        "priority",
        "range",
        "referer",
        "traceparent",
        "tracestate",
        "user-agent",
    ];
    NAMES.contains(&name.as_str()) || PREFIXES.iter().any(|prefix| name.as_str().starts_with(prefix))
}

#[cfg(test)]
mod tests;
