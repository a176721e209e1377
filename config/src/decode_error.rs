//! An error of one value on its way up to the nearest list item or mapping entry, and the words it is told in.

use std::fmt;

use serde::de::{Expected, Unexpected};

use crate::fault::Fault;
use crate::located::Location;
use crate::node::{Kind, Node};
use crate::report::nearest;

/// Names listed in a hint; of more, the nearest only.
const NAMES_MAX: usize = 24;

/// What stopped a decode. Boxed: the way without errors should not pay for it.
#[derive(Debug)]
pub(crate) struct DecodeError(pub(crate) Box<Stop>);

#[derive(Debug)]
pub(crate) struct Stop {
    pub(crate) what: What,
    /// What to leave out of the next try: a path of indices from the root.
    pub(crate) prune: Option<Vec<u32>>,
}

#[derive(Debug)]
pub(crate) enum What {
    /// A struct lacks a field.
    Missing(&'static str),
    /// Something else was expected; what was found is known where the error is placed.
    Expected(String),
    /// A message, perhaps without a place.
    Said(Fault),
    /// A message with its place.
    Placed(Fault),
    /// A consequence of an error that was told before.
    Silent,
}

impl DecodeError {
    pub(crate) fn new(what: What) -> Self {
        DecodeError(Box::new(Stop { what, prune: None }))
    }

    pub(crate) fn expected(expected: impl Into<String>) -> Self {
        Self::new(What::Expected(expected.into()))
    }

    /// An error for a value that is not what this visitor takes.
    pub(crate) fn unlike(visitor: &dyn Expected) -> Self {
        Self::expected(in_plain_words(&visitor.to_string()))
    }

    /// Gives the error its place, unless it has one: the node it is about, or the key of one that is empty.
    pub(crate) fn place(mut self, node: &Node, key: Option<Location>) -> Self {
        let at = if node.is_empty_scalar() { key.unwrap_or(node.location()) } else { node.location() };
        let fault = match &mut self.0.what {
            What::Missing(name) => Fault::new(at, format!("missing key `{name}`")),
            What::Expected(expected) => unexpected(expected, node, at, key.is_some()),
            What::Said(fault) => {
                let mut fault = std::mem::replace(fault, Fault::new(at, ""));
                if !fault.at.is_known() {
                    fault.at = at;
                }
                fault
            }
            What::Placed(_) | What::Silent => return self,
        };
        self.0.what = What::Placed(fault);
        self
    }
}

fn unexpected(expected: &str, node: &Node, at: Location, keyed: bool) -> Fault {
    let fault = Fault::new(at, format!("expected {expected}, found {}", node.found()));
    match node.kind() {
        _ if node.is_empty_scalar() && keyed => fault.hint("remove the key, or give it a value"),
        _ if node.is_empty_scalar() => fault.hint("remove the entry, or give it a value"),
        Kind::Scalar { text, plain: true } if expected == BOOLEAN => match text.to_ascii_lowercase().as_str()
        {
            "yes" | "on" | "y" | "true" => fault.hint("write `true`"),
            "no" | "off" | "n" | "false" => fault.hint("write `false`"),
            _ => fault,
        },
        Kind::Scalar { plain: false, .. } if expected == BOOLEAN || expected.contains("number") => {
            fault.hint("remove the quotes")
        }
        Kind::Scalar { text, .. } if expected == LIST => fault.hint(format!("a list of one: `[{text}]`")),
        Kind::Scalar { text, .. } if expected == NETWORK => match text.parse::<std::net::IpAddr>() {
            Ok(address) => {
                fault.hint(format!("one address: `{address}/{}`", if address.is_ipv4() { 32 } else { 128 }))
            }
            Err(_) => fault,
        },
        Kind::Mapping(_) if expected == LIST => fault.hint("every list entry begins with `- `"),
        _ => fault,
    }
}

const BOOLEAN: &str = "`true` or `false`";
const LIST: &str = "a list";
const NETWORK: &str = "an address block such as `10.0.0.0/8` or `fd00::/8`";

/// What serde's own visitors expect, in the operator's words.
fn in_plain_words(expected: &str) -> String {
    let words = match expected {
        "a boolean" => BOOLEAN,
        "u8" => "a whole number from 0 to 255",
        "u16" => "a whole number from 0 to 65535",
        "u32" => "a whole number from 0 to 4294967295",
        "u64" | "usize" => "a whole number, 0 or more",
        "i8" | "i16" | "i32" | "i64" | "isize" => "a whole number",
        "f32" | "f64" => "a number",
        "a sequence" => LIST,
        "a map" => "a mapping",
        "unit" => "nothing",
        "socket address" => "an address and port such as `0.0.0.0:8443` or `[::]:8443`",
        "IP address" | "IPv4 address" | "IPv6 address" => "an IP address",
        "IPv4 or IPv6 network address" => NETWORK,
        other if other.starts_with("struct ") || other.starts_with("tuple ") => "a mapping",
        other => other,
    };
    words.to_owned()
}

/// What `FromStr` of the standard library says, in the operator's words.
fn from_custom(text: &str) -> What {
    match text {
        "invalid socket address syntax" => What::Expected(in_plain_words("socket address")),
        "invalid IP address syntax" => What::Expected(in_plain_words("IPv4 or IPv6 network address")),
        _ => What::Said(Fault::from_text(text)),
    }
}

/// A name that is not one of those known: the message is the caller's, the hint is the nearest or all of them.
pub(crate) fn unknown(at: Location, message: String, name: &str, known: &[&str], what: &str) -> Fault {
    let fault = Fault::new(at, message);
    if let Some(near) = nearest(name, known.iter().copied()) {
        return fault.hint(format!("did you mean `{near}`?"));
    }
    if known.is_empty() || known.len() > NAMES_MAX {
        return fault;
    }
    let list: Vec<String> = known.iter().map(|name| format!("`{name}`")).collect();
    fault.hint(format!("{what}: {}", list.join(", ")))
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0.what {
            What::Missing(name) => write!(f, "missing key `{name}`"),
            What::Expected(expected) => write!(f, "expected {expected}"),
            What::Said(fault) | What::Placed(fault) => fault.fmt(f),
            What::Silent => Ok(()),
        }
    }
}

impl std::error::Error for DecodeError {}

impl serde::de::Error for DecodeError {
    fn custom<T: fmt::Display>(message: T) -> Self {
        DecodeError::new(from_custom(&message.to_string()))
    }

    fn invalid_type(_: Unexpected<'_>, expected: &dyn Expected) -> Self {
        DecodeError::unlike(expected)
    }

    fn invalid_value(_: Unexpected<'_>, expected: &dyn Expected) -> Self {
        DecodeError::unlike(expected)
    }

    fn missing_field(field: &'static str) -> Self {
        DecodeError::new(What::Missing(field))
    }

    fn unknown_field(field: &str, known: &'static [&'static str]) -> Self {
        let message = format!("unknown key `{field}`");
        DecodeError::new(What::Said(unknown(Location::NOWHERE, message, field, known, "known keys")))
    }

    fn unknown_variant(variant: &str, known: &'static [&'static str]) -> Self {
        let message = format!("unknown value `{variant}`");
        DecodeError::new(What::Said(unknown(Location::NOWHERE, message, variant, known, "one of")))
    }
}
