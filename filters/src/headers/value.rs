//! The value of a header: text with placeholders, read once at load.

use std::io::Write;

use http::HeaderValue;
use sallyport_config::{Located, Report, nearest};

use crate::exchange::Exchange;
use crate::field::parse_value;

/// A value, made at load or from the exchange.
pub(super) enum Value {
    /// Without placeholders.
    Fixed(HeaderValue),
    /// Text and placeholders in turn.
    Made(Box<[Piece]>),
}

pub(super) enum Piece {
    Text(Box<str>),
    Client,
    RequestId,
    Route,
    Subject,
    Claim(Box<str>),
    Param(Box<str>),
}

impl Value {
    /// Reads a value. Bad text, lone braces and unknown placeholders are reported.
    pub(super) fn parse(text: &Located<String>, report: &mut Report) -> Option<Value> {
        parse_value(text, report)?;
        let mut pieces = Vec::new();
        let mut literal = String::new();
        let mut rest = text.as_str();
        while let Some(at) = rest.find(['{', '}']) {
            literal.push_str(&rest[..at]);
            let brace = &rest[at..=at];
            rest = &rest[at + 1..];
            if let Some(behind) = rest.strip_prefix(brace) {
                literal.push_str(brace);
                rest = behind;
                continue;
            }
            let Some((name, behind)) = rest.split_once('}').filter(|_| brace == "{") else {
                report
                    .error(text.at, format!("a lone `{brace}`"))
                    .hint(format!("write `{brace}{brace}` for a brace"));
                return None;
            };
            if !literal.is_empty() {
                pieces.push(Piece::Text(std::mem::take(&mut literal).into()));
            }
            pieces.push(Piece::parse(name, text, report)?);
            rest = behind;
        }
        literal.push_str(rest);
        if pieces.is_empty() {
            return HeaderValue::from_str(&literal).ok().map(Value::Fixed);
        }
        if !literal.is_empty() {
            pieces.push(Piece::Text(literal.into()));
        }
        Some(Value::Made(pieces.into()))
    }

    /// The value for an exchange; `None` if a placeholder has none, or one that no header can carry.
    pub(super) fn of(&self, x: &Exchange<'_>) -> Option<HeaderValue> {
        match self {
            Value::Fixed(value) => Some(value.clone()),
            Value::Made(pieces) => match &**pieces {
                [Piece::RequestId] => Some(x.facts.request_id.clone()),
                pieces => {
                    let mut bytes = Vec::with_capacity(64);
                    for piece in pieces {
                        piece.write(x, &mut bytes)?;
                    }
                    HeaderValue::from_maybe_shared(bytes::Bytes::from(bytes)).ok()
                }
            },
        }
    }
}

impl Piece {
    fn parse(name: &str, text: &Located<String>, report: &mut Report) -> Option<Piece> {
        const NAMES: [&str; 4] = ["client", "request_id", "route", "jwt.sub"];
        let behind = |prefix: &str| name.strip_prefix(prefix).filter(|rest| !rest.is_empty());
        Some(match name {
            "client" => Piece::Client,
            "request_id" => Piece::RequestId,
            "route" => Piece::Route,
            "jwt.sub" => Piece::Subject,
            _ => match (behind("jwt."), behind("param.")) {
                (Some(path), _) => Piece::Claim(path.into()),
                (_, Some(param)) => Piece::Param(param.into()),
                _ => {
                    let error = report.error(text.at, format!("unknown placeholder `{{{name}}}`"));
                    match nearest(name, NAMES) {
                        Some(near) => error.hint(format!("did you mean `{{{near}}}`?")),
                        None => error.hint(
                            "placeholders are {client}, {request_id}, {route}, {jwt.sub}, {jwt.<claim>} and \
                             {param.<name>}; write {{ for a brace",
                        ),
                    };
                    return None;
                }
            },
        })
    }

    /// Appends the piece; `None` if the exchange has no such thing.
    fn write(&self, x: &Exchange<'_>, bytes: &mut Vec<u8>) -> Option<()> {
        match self {
            Piece::Text(text) => bytes.extend_from_slice(text.as_bytes()),
            // Writing to a vector cannot fail.
            Piece::Client => write!(bytes, "{}", x.facts.client.to_canonical()).ok()?,
            Piece::RequestId => bytes.extend_from_slice(x.facts.request_id.as_bytes()),
            Piece::Route => bytes.extend_from_slice(x.facts.route.as_ref()?.name.as_bytes()),
            Piece::Subject => bytes.extend_from_slice(x.facts.identity.as_ref()?.subject.as_bytes()),
            Piece::Claim(path) => write_claim(x.facts.identity.as_ref()?.claim(path)?, bytes)?,
            Piece::Param(name) => bytes.extend_from_slice(x.param(name)?.as_bytes()),
        }
        Some(())
    }
}

/// A string, number or truth value, or a list of these with commas between. An item with a comma in it would read as
/// two, so a list that has one has no value.
fn write_claim(claim: &serde_json::Value, bytes: &mut Vec<u8>) -> Option<()> {
    use serde_json::Value::{Array, Bool, Null, Number, Object, String};
    match claim {
        String(text) => bytes.extend_from_slice(text.as_bytes()),
        Number(_) | Bool(_) => write!(bytes, "{claim}").ok()?,
        Array(items) => {
            for (index, item) in items.iter().enumerate() {
                if matches!(item, Array(_)) || item.as_str().is_some_and(|text| text.contains(',')) {
                    return None;
                }
                bytes.extend_from_slice(if index > 0 { b"," } else { b"" });
                write_claim(item, bytes)?;
            }
        }
        Null | Object(_) => return None,
    }
    Some(())
}
