//! `cors`: which pages may read our responses (Fetch standard, section 3.2 "HTTP extensions").
//!
//! The edge decides what is a preflight; here it is answered. Which origins match is in `origins.rs`.

mod origins;

use std::sync::Arc;

use http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE,
    ACCESS_CONTROL_REQUEST_HEADERS, HOST, ORIGIN, VARY,
};
use http::{HeaderName, HeaderValue, StatusCode};
use pingora_http::ResponseHeader;
use sallyport_config::units::Timespan;
use sallyport_config::{Located, Report};
use schemars::JsonSchema;
use serde::Deserialize;

use self::origins::{OriginSetting, Origins};
use crate::build::Build;
use crate::exchange::{Exchange, Slot};
use crate::field::{FieldName, overfull};
use crate::filter::{Fault, Filter, Stage, Step};
use crate::reply::{ProblemKind, Reply};
use crate::setting::TextOrList;

/// The settings of `cors`. List it before every filter whose refusals a page should be able to read.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The origins whose pages may read responses: `"*"` for all, or a list of origins
    /// (`https://app.example.com`, a port only if it is not the scheme's own), of wildcards
    /// (`https://*.example.com`: every name below, at any depth, not `example.com` itself), and of
    /// `{ regex: ... }` that must match the whole origin. The origin `null` never matches.
    pub origins: Located<TextOrList<Located<OriginSetting>>>,
    /// Whether pages may send cookies and the like, and read the answers. Not with `"*"`. Default: false.
    #[serde(default)]
    pub credentials: bool,
    /// The methods that pages may use, in capitals: methods are case-sensitive.
    /// Default: GET, HEAD, POST, PUT, PATCH, DELETE.
    #[serde(default = "usual_methods")]
    pub methods: Vec<Located<String>>,
    /// The request headers that pages may set, or `"*"` for all: with `credentials`, those that the preflight asks
    /// for. Default: Authorization, Content-Type.
    #[serde(default = "usual_headers")]
    pub headers: Located<TextOrList<Located<String>>>,
    /// The response headers that pages may read beside the safe-listed ones. Default: none.
    #[serde(default)]
    pub expose: Vec<Located<String>>,
    /// How long browsers may remember the answer to a preflight; they keep it no longer than 2 to 24 hours whatever is
    /// said here. At most 24h; `0s`: not at all. Default: 10m.
    #[serde(default = "ten_minutes")]
    pub max_age: Located<Timespan>,
    /// Whether requests from other origins are refused with 403, not only kept from being read. Requests without
    /// `Origin` and from the host's own origin pass. Default: false.
    #[serde(default)]
    pub enforce: bool,
}

/// Answers preflights and marks responses. On the pass path nothing is parsed; `Access-Control-Allow-Origin` shares the
/// bytes of the request's `Origin`.
struct Cors {
    origins: Origins,
    credentials: bool,
    enforce: bool,
    methods: HeaderValue,
    headers: AllowHeaders,
    expose: Option<HeaderValue>,
    max_age: HeaderValue,
}

enum AllowHeaders {
    Listed(HeaderValue),
    /// With credentials `*` means nothing (Fetch, section 3.2.3), so what was asked for is repeated.
    Echo,
}

/// What the slot remembers between the request and its response: `Slot::Numbers(ALLOWED, 0)`.
const ALLOWED: u64 = 1;

/// What a response to a preflight depends on.
static VARY_PREFLIGHT: HeaderValue =
    HeaderValue::from_static("Origin, Access-Control-Request-Method, Access-Control-Request-Headers");

/// What an upstream may have said about CORS by itself. Ours replaces it: two answers would contradict each other.
static OF_RESPONSES: [HeaderName; 3] =
    [ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_EXPOSE_HEADERS];
static OF_PREFLIGHTS: [HeaderName; 3] =
    [ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_MAX_AGE];

/// Builds the filter.
pub fn build(config: Config, context: &mut Build<'_>) -> Option<Arc<dyn Filter>> {
    let report = &mut *context.report;
    let origins = Origins::parse(&config.origins, report);
    if let Some(Origins::All) = origins
        && config.credentials
    {
        report
            .error(config.origins.at, "`*` cannot stand together with `credentials: true`")
            .hint("any page could then act in the name of its visitor; list the origins");
        return None;
    }
    let methods = parse_methods(&config.methods, config.origins.at, report);
    let headers = parse_headers(&config.headers, config.credentials, report);
    let expose = join_names(&config.expose, report);
    let seconds = config.max_age.as_secs();
    if seconds > 86_400 {
        report
            .error(config.max_age.at, "`max_age` is at most 24h")
            .hint("no browser remembers a preflight for longer");
        return None;
    }
    Some(Arc::new(Cors {
        origins: origins?,
        credentials: config.credentials,
        enforce: config.enforce,
        methods: methods?,
        headers: headers?,
        expose: expose?,
        max_age: HeaderValue::from(seconds),
    }))
}

impl Filter for Cors {
    fn name(&self) -> &'static str {
        "cors"
    }

    fn stage(&self) -> Stage {
        Stage::Edge
    }

    fn answers_preflight(&self) -> bool {
        true
    }

    fn on_request(&self, x: &mut Exchange<'_>) -> Step {
        let origin = single(x, &ORIGIN);
        let allowed = origin.is_some_and(|origin| self.origins.contains(origin.as_bytes()));
        if x.facts.preflight {
            if !allowed {
                return Step::Reply(foreign());
            }
            *x.slot() = Slot::Numbers(ALLOWED, 0);
            return Step::Reply(self.answer(x));
        }
        if allowed {
            *x.slot() = Slot::Numbers(ALLOWED, 0);
        } else if self.enforce && x.request.headers.contains_key(ORIGIN) && !is_own_origin(x) {
            return Step::Reply(foreign());
        }
        Step::Continue
    }

    fn on_response(&self, x: &mut Exchange<'_>, head: &mut ResponseHeader) -> Result<(), Fault> {
        // An upstream that leaves CORS to the edge sets none of these, which one look at the names tells.
        if head.headers.keys().any(|name| name.as_str().starts_with("access-control-")) {
            for name in &OF_RESPONSES {
                head.remove_header(name);
            }
            if !x.facts.preflight {
                for name in &OF_PREFLIGHTS {
                    head.remove_header(name);
                }
            }
        }
        // Without `Vary` a cache would hand the answer for one origin to another (Fetch, section 3.2.5).
        if !matches!(self.origins, Origins::All) {
            add_vary_origin(head)?;
        }
        if !matches!(x.slot_ref(), Slot::Numbers(ALLOWED, _)) {
            return Ok(());
        }
        let origin = match &self.origins {
            Origins::All => HeaderValue::from_static("*"),
            Origins::Listed(_) => match single(x, &ORIGIN) {
                Some(origin) => origin.clone(),
                None => return Ok(()),
            },
        };
        let mut set = |name, value| head.insert_header(name, value).map_err(|_| overfull());
        set("Access-Control-Allow-Origin", origin)?;
        if self.credentials {
            set("Access-Control-Allow-Credentials", HeaderValue::from_static("true"))?;
        }
        if let Some(expose) = self.expose.as_ref().filter(|_| !x.facts.preflight) {
            set("Access-Control-Expose-Headers", expose.clone())?;
        }
        Ok(())
    }
}

impl Cors {
    /// The answer to a preflight from an allowed origin; `on_response` adds what every response carries.
    fn answer(&self, x: &Exchange<'_>) -> Reply {
        let reply = Reply::empty(StatusCode::NO_CONTENT)
            .header(ACCESS_CONTROL_ALLOW_METHODS, self.methods.clone())
            .header(ACCESS_CONTROL_MAX_AGE, self.max_age.clone())
            .header(VARY, VARY_PREFLIGHT.clone());
        let allowed = match &self.headers {
            AllowHeaders::Listed(names) => Some(names.clone()),
            AllowHeaders::Echo => single(x, &ACCESS_CONTROL_REQUEST_HEADERS)
                .filter(|names| is_list_of_names(names.as_bytes()))
                .cloned(),
        };
        match allowed {
            Some(names) => reply.header(ACCESS_CONTROL_ALLOW_HEADERS, names),
            None => reply,
        }
    }
}

fn foreign() -> Reply {
    Reply::problem(ProblemKind::Forbidden, "requests from this origin are not allowed")
}

/// The value of a field that must occur once; a repeated one counts as absent.
fn single<'x>(x: &'x Exchange<'_>, name: &HeaderName) -> Option<&'x HeaderValue> {
    let mut values = x.request.headers.get_all(name).iter();
    let first = values.next()?;
    values.next().is_none().then_some(first)
}

/// Whether the page comes from this very host: browsers send `Origin` with most requests to their own host, too.
fn is_own_origin(x: &Exchange<'_>) -> bool {
    let Some(origin) = single(x, &ORIGIN).and_then(|origin| origin.to_str().ok()) else { return false };
    let (scheme, port) = if x.facts.secure { ("https://", ":443") } else { ("http://", ":80") };
    let Some(page) = origin.strip_prefix(scheme) else { return false };
    let host = match x.request.uri.authority() {
        Some(authority) => authority.as_str(),
        None => single(x, &HOST).and_then(|host| host.to_str().ok()).unwrap_or_default(),
    };
    let host = host.strip_suffix(port).unwrap_or(host);
    !host.is_empty() && page.eq_ignore_ascii_case(host)
}

/// Adds `Origin` to `Vary`, in one field, unless it is there already (RFC 9110, section 12.5.5).
fn add_vary_origin(head: &mut ResponseHeader) -> Result<(), Fault> {
    if !head.headers.contains_key(VARY) {
        return head.insert_header("Vary", HeaderValue::from_static("Origin")).map_err(|_| overfull());
    }
    let mut joined: Vec<u8> = Vec::new();
    for value in head.headers.get_all(VARY) {
        let names = value.as_bytes().split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
        if names.into_iter().any(|name| name == b"*" || name.eq_ignore_ascii_case(b"origin")) {
            return Ok(());
        }
        joined.extend_from_slice(value.as_bytes());
        joined.extend_from_slice(b", ");
    }
    joined.extend_from_slice(b"Origin");
    let vary = HeaderValue::from_maybe_shared(bytes::Bytes::from(joined)).map_err(|_| overfull())?;
    head.insert_header("Vary", vary).map_err(|_| overfull())
}

/// Whether these bytes are names with commas and blanks between, and short enough to repeat.
fn is_list_of_names(bytes: &[u8]) -> bool {
    let of_a_list = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_, .!#$%&'*+^`|~".contains(byte);
    bytes.len() <= 1024 && bytes.iter().all(of_a_list)
}

fn parse_methods(
    methods: &[Located<String>],
    at: sallyport_config::Location,
    report: &mut Report,
) -> Option<HeaderValue> {
    if methods.is_empty() {
        report.error(at, "`methods` is an empty list").hint("leave it out for the usual methods");
        return None;
    }
    for method in methods {
        let letters =
            !method.is_empty() && method.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'-');
        if !letters {
            let error = report.error(method.at, format!("`{}` is not a method", method.value));
            match method.as_str() {
                "*" => {
                    error.hint("list the methods: with credentials browsers do not read `*` as a wildcard")
                }
                _ => error.hint("methods are written in capitals, such as `PATCH`"),
            };
            return None;
        }
    }
    let names: Vec<&str> = methods.iter().map(|method| method.as_str()).collect();
    HeaderValue::from_str(&names.join(", ")).ok()
}

fn parse_headers(
    setting: &Located<TextOrList<Located<String>>>,
    credentials: bool,
    report: &mut Report,
) -> Option<AllowHeaders> {
    match &setting.value {
        TextOrList::Text(text) if text != "*" => {
            report
                .error(setting.at, "`headers` is a list of names or \"*\"")
                .hint(format!("write `[{text}]`"));
            None
        }
        TextOrList::Text(_) if credentials => Some(AllowHeaders::Echo),
        // The wildcard does not cover `Authorization` (Fetch, section 4.8, "CORS-preflight fetch").
        TextOrList::Text(_) => Some(AllowHeaders::Listed(HeaderValue::from_static("*, Authorization"))),
        TextOrList::List(names) => {
            let joined = join_names(names, report)?;
            Some(AllowHeaders::Listed(joined.unwrap_or(HeaderValue::from_static(""))))
        }
    }
}

/// Header names as one value; the inner `None` is an empty list. Every bad name is reported.
fn join_names(names: &[Located<String>], report: &mut Report) -> Option<Option<HeaderValue>> {
    let fields: Vec<_> = names.iter().map(|name| FieldName::parse(name, report)).collect();
    fields.into_iter().collect::<Option<Vec<_>>>()?;
    if names.is_empty() {
        return Some(None);
    }
    let names: Vec<&str> = names.iter().map(|name| name.as_str()).collect();
    HeaderValue::from_str(&names.join(", ")).ok().map(Some)
}

fn usual_methods() -> Vec<Located<String>> {
    ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"].map(|name| Located::nowhere(name.to_owned())).into()
}

fn usual_headers() -> Located<TextOrList<Located<String>>> {
    let names = ["Authorization", "Content-Type"].map(|name| Located::nowhere(name.to_owned()));
    Located::nowhere(TextOrList::List(names.into()))
}

fn ten_minutes() -> Located<Timespan> {
    Located::nowhere(Timespan::from_secs(600))
}

#[cfg(test)]
mod tests;
