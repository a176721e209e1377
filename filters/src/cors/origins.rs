//! Which origins match: exact ones, wildcards below a name, and regular expressions.
//!
//! An origin is compared as browsers write it (HTML standard, "serialization of an origin"; RFC 6454, section 6.2):
//! scheme and host in lower case, a port only if it is not the scheme's own, nothing behind. So comparing bytes is
//! enough, and what is written otherwise in the settings could never match and is refused.

use regex::bytes::{Regex, RegexBuilder};
use sallyport_config::{Located, Report};
use schemars::JsonSchema;
use serde::de::value::MapAccessDeserializer;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use crate::setting::TextOrList;

/// An origin as written: text, perhaps with a wildcard, or `{ regex: ... }`.
#[derive(Debug, Clone, JsonSchema)]
#[schemars(untagged, inline)]
pub enum OriginSetting {
    /// An origin, or a wildcard such as `https://*.example.com`.
    Text(String),
    /// A regular expression.
    Matching(Matching),
}

/// An origin by a regular expression.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(inline)]
pub struct Matching {
    /// The expression; it must match the whole origin, scheme included.
    pub regex: Located<String>,
}

impl<'de> Deserialize<'de> for OriginSetting {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TextOrRegex;

        impl<'de> Visitor<'de> for TextOrRegex {
            type Value = OriginSetting;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an origin such as `https://app.example.com`, or `{ regex: ... }`")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<OriginSetting, E> {
                Ok(OriginSetting::Text(text.to_owned()))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<OriginSetting, A::Error> {
                Matching::deserialize(MapAccessDeserializer::new(map)).map(OriginSetting::Matching)
            }
        }

        deserializer.deserialize_any(TextOrRegex)
    }
}

/// The origins that match.
pub(super) enum Origins {
    /// Every origin but `null`.
    All,
    /// These.
    Listed(Listed),
}

#[derive(Default)]
pub(super) struct Listed {
    /// Sorted.
    exact: Vec<Box<[u8]>>,
    below: Vec<Below>,
    matching: Vec<Regex>,
}

/// Every origin below a name.
struct Below {
    /// With its `://`.
    scheme: Box<[u8]>,
    /// The name with the dot before it, and perhaps a port.
    end: Box<[u8]>,
}

impl Origins {
    /// Reads the setting. Every bad origin is reported.
    pub(super) fn parse(
        setting: &Located<TextOrList<Located<OriginSetting>>>,
        report: &mut Report,
    ) -> Option<Origins> {
        let list = match &setting.value {
            TextOrList::Text(text) if text == "*" => return Some(Origins::All),
            TextOrList::Text(text) => {
                report
                    .error(setting.at, "`origins` is a list or \"*\"")
                    .hint(format!("write `[\"{text}\"]`"));
                return None;
            }
            TextOrList::List(list) => list,
        };
        if let [only] = list.as_slice()
            && matches!(&only.value, OriginSetting::Text(text) if text == "*")
        {
            return Some(Origins::All);
        }
        if list.is_empty() {
            report
                .error(setting.at, "`origins` is an empty list")
                .hint("name the origins, or leave the filter out");
            return None;
        }
        let mut listed = Listed::default();
        let mut good = true;
        for origin in list {
            good &= listed.add(origin, report).is_some();
        }
        listed.exact.sort_unstable();
        good.then_some(Origins::Listed(listed))
    }

    /// Whether an `Origin` header's value matches. An opaque origin (`null`) never does: sandboxed pages of anybody
    /// have it.
    pub(super) fn contains(&self, origin: &[u8]) -> bool {
        if origin == b"null" {
            return false;
        }
        match self {
            Origins::All => true,
            Origins::Listed(listed) => listed.contains(origin),
        }
    }
}

impl Listed {
    fn add(&mut self, origin: &Located<OriginSetting>, report: &mut Report) -> Option<()> {
        let text = match &origin.value {
            OriginSetting::Matching(matching) => {
                self.matching.push(parse_regex(&matching.regex, report)?);
                return Some(());
            }
            OriginSetting::Text(text) => text,
        };
        if let Err((wrong, right)) = check(text) {
            let error = report.error(origin.at, wrong);
            error.hint(right);
            return None;
        }
        match text.split_once("://*.") {
            Some((scheme, rest)) => {
                let (scheme, end) = (format!("{scheme}://"), format!(".{rest}"));
                self.below.push(Below { scheme: scheme.into_bytes().into(), end: end.into_bytes().into() });
            }
            None => self.exact.push(text.as_bytes().into()),
        }
        Some(())
    }

    fn contains(&self, origin: &[u8]) -> bool {
        self.exact.binary_search_by(|known| known.as_ref().cmp(origin)).is_ok()
            || self.below.iter().any(|below| below.contains(origin))
            || self.matching.iter().any(|regex| regex.is_match(origin))
    }
}

impl Below {
    /// Whether the origin is the scheme, one or more labels, and the end.
    fn contains(&self, origin: &[u8]) -> bool {
        let labels = origin.strip_prefix(&*self.scheme).and_then(|rest| rest.strip_suffix(&*self.end));
        let of_a_label =
            |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_".contains(byte);
        labels.is_some_and(|labels| {
            labels.split(|byte| *byte == b'.').all(|label| !label.is_empty() && label.iter().all(of_a_label))
        })
    }
}

/// An expression over a whole origin. Linear in time whatever the expression; its compiled size is bounded.
fn parse_regex(text: &Located<String>, report: &mut Report) -> Option<Regex> {
    const BYTES_MAX: usize = 1 << 20;
    // The expression by itself first, so that no parenthesis in it can undo the anchors put around it.
    let alone = RegexBuilder::new(text).size_limit(BYTES_MAX).build();
    let anchored = format!(r"\A(?:{})\z", text.value);
    match alone
        .and_then(|_| RegexBuilder::new(&anchored).size_limit(BYTES_MAX).dfa_size_limit(BYTES_MAX).build())
    {
        Ok(regex) => Some(regex),
        Err(error) => {
            report.error(text.at, format!("not a regular expression: {}", last_line(&error.to_string())));
            None
        }
    }
}

/// The reason at the end of a message of several lines.
fn last_line(message: &str) -> &str {
    message.lines().last().unwrap_or(message).trim_start_matches("error: ")
}

/// Whether this could be what a browser sends; if not, what is wrong and what would be right.
fn check(text: &str) -> Result<(), (String, String)> {
    let wrong = |wrong: String, right: String| Err((wrong, right));
    if text == "null" || text == "*" {
        let right = "the origin `null` belongs to anybody and never matches; `*` stands alone".to_owned();
        return wrong(format!("`{text}` is not an origin"), right);
    }
    let Some((scheme, rest)) = text.split_once("://") else {
        let right = format!("an origin begins with its scheme: `https://{text}`");
        return wrong(format!("`{text}` has no scheme"), right);
    };
    let lower = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    if text.bytes().any(|byte| byte.is_ascii_uppercase()) {
        let right = format!("browsers write origins in lower case: `{}`", text.to_ascii_lowercase());
        return wrong(format!("`{text}` never matches"), right);
    }
    let (host, port) = match rest.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        _ => (rest, None),
    };
    if rest.contains(['/', '?', '#', '@']) {
        let end = rest.find(['/', '?', '#', '@']).unwrap_or(rest.len());
        let right = format!("an origin has scheme, host and port only: `{scheme}://{}`", &rest[..end]);
        return wrong(format!("`{text}` is not an origin"), right);
    }
    if matches!((scheme, port), ("https", Some("443")) | ("http", Some("80"))) {
        let right = format!("browsers leave out the scheme's own port: `{scheme}://{host}`");
        return wrong(format!("`{text}` never matches"), right);
    }
    let usual = |text: &str, more: &[u8]| {
        !text.is_empty() && text.bytes().all(|byte| lower(byte) || more.contains(&byte))
    };
    let below = host.strip_prefix("*.");
    let name = below.unwrap_or(host);
    let address = name.starts_with('[') && name.ends_with(']') && usual(&name[1..name.len() - 1], b":.");
    let named = usual(name, b"-._") && !name.starts_with('.') && !name.contains("..");
    let port_fits = port.is_none_or(|port| !port.starts_with('0') && port.parse::<u16>().is_ok());
    if !usual(scheme, b"+-.") || !(named || address && below.is_none()) || !port_fits {
        let right =
            "origins look like `https://app.example.com`, wildcards like `https://*.example.com`".to_owned();
        return wrong(format!("`{text}` is not an origin"), right);
    }
    if below.is_some() && !name.contains('.') && name != "localhost" {
        let right = "name the domain that is yours, as in `https://*.example.com`".to_owned();
        return wrong(format!("`{text}` lets in a whole top-level domain"), right);
    }
    Ok(())
}
