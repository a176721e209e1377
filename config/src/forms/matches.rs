//! `GET api.example.com/v1/batches/{id}`, or the same in parts.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::Error;
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::fault::Fault;
use crate::located::{Located, Named};
use crate::pattern;
use crate::route::{Match, ValueMatch};
use crate::text_or_map::{Parts, TextOrMap, Written};

/// The map form of `match`, as written.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct MatchParts {
    /// Methods, in upper case; `GET` includes `HEAD`. Default: all.
    #[serde(default)]
    methods: Vec<Located<Written>>,
    /// One host name, without port; `*.example.com` is every name below it. Default: every host.
    #[serde(default)]
    host: Option<Located<Written>>,
    /// Several host names, instead of `host`.
    #[serde(default)]
    hosts: Option<Located<Vec<Located<Written>>>>,
    /// The path: literal segments, `{name}` for one segment, `{**name}` last for all the rest, even empty; at most 32
    /// segments. Default: every path.
    #[serde(default)]
    path: Option<Located<Written>>,
    /// Instead of `path`: a regular expression that must match the whole path.
    #[serde(default)]
    path_regex: Option<Located<String>>,
    /// Conditions on headers, by name, all of which must hold.
    #[serde(default)]
    headers: Named<ValueMatch>,
    /// Conditions on query parameters, by name, all of which must hold.
    #[serde(default)]
    query: Named<ValueMatch>,
}

impl Parts for MatchParts {
    const EXPECTED: &str = "a match line such as `GET api.example.com/v1/batches/{id}`";
}

impl MatchParts {
    fn check(self) -> Result<Match, Fault> {
        let mut methods = Vec::with_capacity(self.methods.len());
        for name in &self.methods {
            methods.push(pattern::method(&name.text, name.start())?);
        }
        let written = match (self.host, self.hosts) {
            (Some(_), Some(hosts)) => {
                return Err(Fault::new(hosts.at, "both `host` and `hosts`").hint("write one of them"));
            }
            (None, Some(hosts)) if hosts.is_empty() => {
                return Err(Fault::new(hosts.at, "`hosts` is empty").hint("leave it out for every host"));
            }
            (host, hosts) => hosts.map_or_else(|| host.into_iter().collect(), |hosts| hosts.value),
        };
        let mut hosts = Vec::with_capacity(written.len());
        for host in written {
            hosts.push(Located::new(pattern::host(&host.text, host.start())?, host.at));
        }
        if let Some(first) = hosts.first() {
            pattern::check_hosts(&hosts, first.at)?;
        }
        if let (Some(_), Some(regex)) = (&self.path, &self.path_regex) {
            return Err(Fault::new(regex.at, "both `path` and `path_regex`").hint("write one of them"));
        }
        if let Some(path) = &self.path {
            pattern::path(&path.text, path.start())?;
        }
        for (name, _) in self.headers.iter() {
            if http::HeaderName::from_bytes(name.as_bytes()).is_err() {
                return Err(Fault::new(name.at, format!("`{}` is not a header name", name.value)));
            }
        }
        let path = self.path.map(Located::into_text);
        let (path_regex, headers, query) = (self.path_regex, self.headers, self.query);
        Ok(Match { methods, hosts, path, path_regex, headers, query })
    }
}

impl<'de> Deserialize<'de> for Match {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let written = Located::<TextOrMap<MatchParts>>::deserialize(deserializer)?;
        match written.value {
            TextOrMap::Map(parts) => parts.check().map_err(D::Error::custom),
            TextOrMap::Text(text) => {
                let text = Located::new(text, written.at);
                let line = pattern::line(&text.text, text.start()).map_err(D::Error::custom)?;
                let (methods, hosts, path) = (line.methods, line.hosts, Some(line.path));
                Ok(Match { methods, hosts, path, ..Match::default() })
            }
        }
    }
}

impl Match {
    /// Whether the match is fully said by its line.
    fn is_line(&self) -> bool {
        self.path.is_some() && self.headers.is_empty() && self.query.is_empty()
    }
}

/// The line where a line says it all, parts otherwise.
impl Serialize for Match {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.is_line() {
            return serializer.collect_str(self);
        }
        let mut map = serializer.serialize_map(None)?;
        if !self.methods.is_empty() {
            map.serialize_entry("methods", &self.methods)?;
        }
        if !self.hosts.is_empty() {
            map.serialize_entry("hosts", &self.hosts)?;
        }
        if let Some(path) = &self.path {
            map.serialize_entry("path", path)?;
        }
        if let Some(regex) = &self.path_regex {
            map.serialize_entry("path_regex", regex)?;
        }
        if !self.headers.is_empty() {
            map.serialize_entry("headers", &self.headers)?;
        }
        if !self.query.is_empty() {
            map.serialize_entry("query", &self.query)?;
        }
        map.end()
    }
}

/// The canonical match line: `GET|POST api.example.com/v1/{id}`, a regular expression as `~^/v1$`, every path as
/// `/{**}`, and conditions in brackets: `[X-Env=prod, !X-Old, ?debug]`.
impl fmt::Display for Match {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.methods.is_empty() {
            write!(f, "{} ", self.methods.join("|"))?;
        }
        for (index, host) in self.hosts.iter().enumerate() {
            write!(f, "{}{}", if index > 0 { "|" } else { "" }, host.value)?;
        }
        match (&self.path, &self.path_regex) {
            (Some(path), _) => f.write_str(path)?,
            (None, Some(regex)) => write!(f, "~{}", regex.value)?,
            (None, None) => f.write_str("/{**}")?,
        }
        let headers = self.headers.iter().map(|condition| ("", condition));
        let query = self.query.iter().map(|condition| ("?", condition));
        for (index, (sign, (name, value))) in headers.chain(query).enumerate() {
            f.write_str(if index > 0 { ", " } else { " [" })?;
            match value {
                ValueMatch::Exact(text) => write!(f, "{sign}{}={text}", name.value)?,
                ValueMatch::Regex(regex) => write!(f, "{sign}{}~{}", name.value, regex.value)?,
                ValueMatch::Present(true) => write!(f, "{sign}{}", name.value)?,
                ValueMatch::Present(false) => write!(f, "!{sign}{}", name.value)?,
            }
        }
        if self.headers.is_empty() && self.query.is_empty() { Ok(()) } else { f.write_str("]") }
    }
}

impl JsonSchema for Match {
    fn schema_name() -> Cow<'static, str> {
        "Match".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let parts = generator.subschema_for::<MatchParts>();
        let line = "`METHOD[|METHOD...] [host]/path`, such as `GET api.example.com/v1/batches/{id}`.";
        json_schema!({
            "description": "What a request must look like: a line, or in parts. Without methods every method matches, \
                without a host every host.",
            "oneOf": [{ "type": "string", "pattern": "/", "description": line }, parts],
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::node::Node;
    use crate::report::Report;

    fn read(yaml: &str) -> Result<Match, String> {
        let mut report = Report::default();
        let node = Node::parse("m", yaml, &mut report);
        node.and_then(|node| node.decode(&mut report)).ok_or_else(|| report.to_string())
    }

    #[test]
    fn both_forms_say_the_same() {
        let line = read("GET|POST API.example.com/v1/{id}").unwrap();
        let parts = read("{ methods: [GET, POST], host: api.example.com, path: '/v1/{id}' }").unwrap();
        assert_eq!(line, parts);
        assert_eq!(line.to_string(), "GET|POST api.example.com/v1/{id}");
        assert_eq!(serde_json::to_string(&parts).unwrap(), r#""GET|POST api.example.com/v1/{id}""#);
    }

    #[test]
    fn conditions_are_told_in_the_name() {
        let full = read(
            "path_regex: ^/v[0-9]+$\nheaders: { X-Env: 1.10, X-Old: { present: false } }\n\
             query: { debug: { present: true }, v: { regex: '[12]' } }",
        )
        .unwrap();
        assert_eq!(full.to_string(), "~^/v[0-9]+$ [X-Env=1.10, !X-Old, ?debug, ?v~[12]]");
        let json = serde_json::to_string(&full).unwrap();
        assert_eq!(read(&json).unwrap(), full);
        assert_eq!(read("{}").unwrap().to_string(), "/{**}");
    }

    #[test]
    fn parts_refuse_what_the_line_refuses() {
        for (yaml, message) in [
            ("{ host: a.b, hosts: [c.d] }", "both `host` and `hosts`"),
            ("{ hosts: [] }", "`hosts` is empty"),
            ("{ path: /a, path_regex: /b }", "both `path` and `path_regex`"),
            ("{ methods: [get] }", "`get` is not a method"),
            ("{ headers: { 'a b': c } }", "`a b` is not a header name"),
            ("{ headers: { a: {} } }", "either `regex` or `present`"),
            ("{ pth: /a }", "did you mean `path`?"),
            ("[GET, /a]", "expected a match line such as"),
        ] {
            let error = read(yaml).unwrap_err();
            assert!(error.contains(message), "{yaml}: {error}");
        }
    }

    proptest! {
        #[test]
        fn the_line_reads_back(
            methods in prop::collection::vec("[A-Z]{1,6}", 0..3),
            host in prop::option::of("(\\*\\.)?[a-z]{1,8}(\\.[a-z]{1,8}){0,2}"),
            path in "(/[a-z0-9_~-]{1,6}){0,4}(/\\{[a-z]{1,5}\\}|/\\{\\*\\*[a-z]{1,5}\\}|/)",
        ) {
            let methods = if methods.is_empty() { String::new() } else { methods.join("|") + " " };
            let line = format!("{methods}{}{path}", host.unwrap_or_default());
            let yaml = serde_json::to_string(&line).unwrap();
            prop_assert_eq!(read(&yaml).unwrap().to_string(), line);
        }
    }
}
