//! Queries that are changed parameter by parameter, without touching the others.

use percent_encoding::{AsciiSet, CONTROLS, percent_decode_str, utf8_percent_encode};
use sallyport_config::{Located, Report};

use super::QuerySetting;
use super::path::{is_name, param};
use crate::exchange::Exchange;
use crate::filter::Fault;

/// What cannot stand in a name or value of a query as it is (RFC 3986, section 3.4), and what would end it.
const ENCODED: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'#')
    .add(b'%')
    .add(b'&')
    .add(b'+')
    .add(b'<')
    .add(b'=')
    .add(b'>')
    .add(b'[')
    .add(b'\\')
    .add(b']')
    .add(b'^')
    .add(b'`')
    .add(b'{')
    .add(b'|')
    .add(b'}');

/// What a path parameter, which is percent-encoded already, may hold and a value of a query may not.
const ENCODED_IN_PARAM: &AsciiSet = &CONTROLS.add(b'&').add(b'+').add(b'=').add(b'#');

/// How a query is changed.
pub(super) struct QueryRule {
    /// Names whose values go, decoded.
    dropped: Box<[Box<str>]>,
    /// What is added at the end.
    added: Box<[Added]>,
}

struct Added {
    /// The name with its `=`, encoded.
    name: Box<str>,
    value: Box<[Piece]>,
}

enum Piece {
    /// Encoded text.
    Text(Box<str>),
    /// A parameter of the route.
    Param(Box<str>),
}

impl QueryRule {
    /// Reads the settings. What is wrong is reported.
    pub(super) fn parse(setting: &Located<QuerySetting>, report: &mut Report) -> Option<QueryRule> {
        if setting.set.is_empty() && setting.remove.is_empty() {
            report.error(setting.at, "`query` changes nothing").hint("name parameters in `set` or `remove`");
            return None;
        }
        let mut dropped: Vec<Box<str>> = Vec::new();
        let mut added = Vec::new();
        for name in setting.set.iter().map(|(name, _)| name).chain(&setting.remove) {
            if name.is_empty() || dropped.iter().any(|known| **known == **name) {
                let wrong = if name.is_empty() {
                    "a parameter has a name".to_owned()
                } else {
                    format!("`{}` is here already", name.value)
                };
                report.error(name.at, wrong);
                return None;
            }
            dropped.push(name.as_str().into());
        }
        for (name, value) in setting.set.iter() {
            let name = format!("{}=", utf8_percent_encode(name, ENCODED));
            added.push(Added { name: name.into(), value: parse_value(value, report)? });
        }
        Some(QueryRule { dropped: dropped.into(), added: added.into() })
    }

    /// The parameters that a route must have.
    pub(super) fn params(&self) -> impl Iterator<Item = &str> {
        self.added.iter().flat_map(|added| &added.value).filter_map(|piece| match piece {
            Piece::Param(name) => Some(&**name),
            Piece::Text(_) => None,
        })
    }

    /// Appends the new query to `target`, which ends with `?`.
    pub(super) fn write(&self, x: &Exchange<'_>, query: &str, target: &mut String) -> Result<(), Fault> {
        let start = target.len();
        let separate = |target: &mut String| {
            if target.len() > start {
                target.push('&');
            }
        };
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let name = pair.split_once('=').map_or(pair, |(name, _)| name);
            if !self.drops(name) {
                separate(target);
                target.push_str(pair);
            }
        }
        for added in &self.added {
            separate(target);
            target.push_str(&added.name);
            for piece in &added.value {
                match piece {
                    Piece::Text(text) => target.push_str(text),
                    Piece::Param(name) => {
                        target.extend(utf8_percent_encode(param(x, name)?, ENCODED_IN_PARAM));
                    }
                }
            }
        }
        Ok(())
    }

    /// Whether a name as the client wrote it, in whatever encoding, is one that goes.
    fn drops(&self, name: &str) -> bool {
        if !name.contains(['%', '+']) {
            return self.dropped.iter().any(|dropped| **dropped == *name);
        }
        let spaced = name.replace('+', " ");
        let decoded = percent_decode_str(&spaced);
        self.dropped.iter().any(|dropped| decoded.clone().eq(dropped.bytes()))
    }
}

fn parse_value(text: &Located<String>, report: &mut Report) -> Option<Box<[Piece]>> {
    let mut pieces = Vec::new();
    let mut rest = text.as_str();
    while let Some((before, behind)) = rest.split_once('{') {
        let Some((name, behind)) = behind.split_once('}').filter(|(name, _)| is_name(name)) else {
            report
                .error(text.at, "a `{` without the name of a parameter and `}`")
                .hint("a parameter of the route is `{id}`");
            return None;
        };
        pieces.push(Piece::Text(utf8_percent_encode(before, ENCODED).to_string().into()));
        pieces.push(Piece::Param(name.into()));
        rest = behind;
    }
    pieces.push(Piece::Text(utf8_percent_encode(rest, ENCODED).to_string().into()));
    Some(pieces.into())
}
