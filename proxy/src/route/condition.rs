//! Conditions of a route on headers and query parameters.

use http::HeaderName;
use regex::Regex;
use sallyport_config::route::{Match, ValueMatch};
use sallyport_config::{Located, Location};
use smallvec::SmallVec;

use super::Query;
use super::pattern::{Wrong, whole_regex};

/// All the conditions of a route; all must hold. A header or parameter that is there several times meets a condition
/// if one of its values does.
#[derive(Debug, Default)]
pub(super) struct Conditions {
    headers: Box<[(HeaderName, Test)]>,
    query: Box<[(Box<str>, Test)]>,
}

/// A condition on a value.
#[derive(Debug)]
enum Test {
    Exact(Box<str>),
    Regex(Regex),
    Present(bool),
}

impl Conditions {
    /// Compiles the conditions of a match. `Err` says what is wrong with one of them, and where.
    pub(super) fn of(matches: &Match) -> Result<Self, (Location, Wrong)> {
        let header = |name: &Located<String>| {
            let message = || Wrong { message: format!("`{}` is not a header name", name.value), hint: None };
            HeaderName::from_bytes(name.as_bytes()).map_err(|_| (name.at, message()))
        };
        let headers = matches.headers.iter().map(|(name, value)| Ok((header(name)?, Test::of(value)?)));
        let query = matches.query.iter().map(|(name, value)| Ok((name.as_str().into(), Test::of(value)?)));
        Ok(Conditions {
            headers: headers.collect::<Result<_, _>>()?,
            query: query.collect::<Result<_, _>>()?,
        })
    }

    pub(super) fn is_empty(&self) -> bool {
        self.headers.is_empty() && self.query.is_empty()
    }

    /// How many conditions there are, on headers and on the query.
    pub(super) fn counts(&self) -> (usize, usize) {
        (self.headers.len(), self.query.len())
    }

    /// Whether all hold.
    pub(super) fn hold(&self, query: &Query<'_>) -> bool {
        self.headers.iter().all(|(name, test)| test.header(name, query))
            && self.query.iter().all(|(name, test)| test.parameter(name, query))
    }

    /// The first condition that does not hold, in words.
    pub(super) fn failure(&self, query: &Query<'_>) -> Option<String> {
        let header = self.headers.iter().find(|(name, test)| !test.header(name, query));
        let parameter = || self.query.iter().find(|(name, test)| !test.parameter(name, query));
        match header {
            Some((name, test)) => Some(test.wish(&format!("header `{name}`"))),
            None => parameter().map(|(name, test)| test.wish(&format!("query parameter `{name}`"))),
        }
    }

    /// Whether every request that meets `other` surely meets these.
    pub(super) fn cover(&self, other: &Conditions) -> bool {
        fn all<N: PartialEq>(own: &[(N, Test)], other: &[(N, Test)]) -> bool {
            own.iter()
                .all(|(name, test)| other.iter().any(|(known, wish)| known == name && test.covers(wish)))
        }
        all(&self.headers, &other.headers) && all(&self.query, &other.query)
    }
}

impl Test {
    fn of(value: &ValueMatch) -> Result<Test, (Location, Wrong)> {
        Ok(match value {
            ValueMatch::Exact(text) => Test::Exact(text.as_str().into()),
            ValueMatch::Regex(regex) => Test::Regex(whole_regex(regex).map_err(|wrong| (regex.at, wrong))?),
            ValueMatch::Present(present) => Test::Present(*present),
        })
    }

    fn header(&self, name: &HeaderName, query: &Query<'_>) -> bool {
        let mut values = query.headers.get_all(name).iter();
        match self {
            Test::Exact(text) => values.any(|value| value.as_bytes() == text.as_bytes()),
            Test::Regex(regex) => values
                .any(|value| std::str::from_utf8(value.as_bytes()).is_ok_and(|value| regex.is_match(value))),
            Test::Present(present) => values.next().is_some() == *present,
        }
    }

    fn parameter(&self, name: &str, query: &Query<'_>) -> bool {
        let pairs = query.query.unwrap_or_default().split('&').filter(|pair| !pair.is_empty());
        let pairs = pairs.map(|pair| pair.split_once('=').unwrap_or((pair, "")));
        let mut values = pairs.filter(|(key, _)| Decoded::new(key).eq(name.bytes())).map(|(_, value)| value);
        match self {
            Test::Exact(text) => values.any(|value| Decoded::new(value).eq(text.bytes())),
            Test::Regex(regex) => values.any(|value| {
                let value: SmallVec<[u8; 256]> = Decoded::new(value).collect();
                std::str::from_utf8(&value).is_ok_and(|value| regex.is_match(value))
            }),
            Test::Present(present) => values.next().is_some() == *present,
        }
    }

    /// Whether every value that meets `other` surely meets this.
    fn covers(&self, other: &Test) -> bool {
        match (self, other) {
            (Test::Exact(own), Test::Exact(other)) => own == other,
            (Test::Regex(own), Test::Exact(other)) => own.is_match(other),
            (Test::Regex(own), Test::Regex(other)) => own.as_str() == other.as_str(),
            (Test::Present(own), Test::Present(other)) => own == other,
            (Test::Present(own), Test::Exact(_) | Test::Regex(_)) => *own,
            (Test::Exact(_) | Test::Regex(_), _) => false,
        }
    }

    /// What is wished of the named thing and not so.
    fn wish(&self, what: &str) -> String {
        match self {
            Test::Exact(text) => format!("{what} is not `{text}`"),
            Test::Regex(regex) => format!("{what} does not match `{}`", shown(regex)),
            Test::Present(true) => format!("{what} is missing"),
            Test::Present(false) => format!("{what} is there"),
        }
    }
}

/// The expression as the operator wrote it, without the anchors of ours.
fn shown(regex: &Regex) -> &str {
    let text = regex.as_str();
    text.strip_prefix(r"\A(?:").and_then(|text| text.strip_suffix(r")\z")).unwrap_or(text)
}

/// The bytes of a name or value in a query, decoded as forms are (URL standard, section 5.1): `+` is a space. An escape
/// that is none stands for itself.
struct Decoded<'a> {
    rest: &'a [u8],
}

impl<'a> Decoded<'a> {
    fn new(text: &'a str) -> Self {
        Decoded { rest: text.as_bytes() }
    }
}

impl Iterator for Decoded<'_> {
    type Item = u8;

    fn next(&mut self) -> Option<u8> {
        let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
        let (&first, rest) = self.rest.split_first()?;
        self.rest = rest;
        match (first, rest) {
            (b'+', _) => Some(b' '),
            (b'%', &[high, low, ref behind @ ..]) => match (digit(high), digit(low)) {
                (Some(high), Some(low)) => {
                    self.rest = behind;
                    Some(high << 4 | low)
                }
                _ => Some(b'%'),
            },
            (byte, _) => Some(byte),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_are_decoded_like_forms() {
        let table =
            [("a+b%20c", "a b c"), ("%c3%A9", "\u{e9}"), ("%", "%"), ("%4", "%4"), ("%zz", "%zz"), ("", "")];
        for (raw, expected) in table {
            assert_eq!(Decoded::new(raw).collect::<Vec<u8>>(), expected.as_bytes(), "{raw}");
        }
    }

    #[test]
    fn one_condition_may_imply_another() {
        let exact = |text: &str| Test::Exact(text.into());
        let regex = |text: &str| Test::Regex(whole_regex(&Located::nowhere(text.to_owned())).unwrap());
        assert!(Test::Present(true).covers(&exact("a")));
        assert!(Test::Present(true).covers(&regex("a")));
        assert!(!Test::Present(false).covers(&exact("a")));
        assert!(regex("a.*").covers(&exact("abc")));
        assert!(!regex("a.*").covers(&exact("bc")));
        assert!(!regex("a.*").covers(&regex("ab")));
        assert!(!exact("a").covers(&Test::Present(true)));
    }
}
