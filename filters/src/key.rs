//! What a limit counts by: the client's address, a claim, a header, the route, everything, or several of these.
//!
//! A key never leaves this file as text: it becomes a keyed 128-bit hash, so that no state holds what a client sent
//! and no client can aim at another's place in a table.

use std::hash::{BuildHasher, Hash, Hasher, RandomState};
use std::net::IpAddr;
use std::sync::OnceLock;

use http::HeaderName;
use sallyport_config::{Located, Report, nearest};
use serde_json::Value;
use siphasher::sip128::{Hasher128, SipHasher13};

use crate::exchange::Exchange;
use crate::field::FieldName;
use crate::setting::TextOrList;

/// What a limit counts by, as written: one of `client` (the client's address, an IPv6 address by its /64), `jwt.sub`
/// (who asks, also by API key), `jwt.<claim>` (a claim by its dotted path), `header.<Name>`, `route`, `global`, or a
/// list of several, which are counted by together. Where an exchange has no such claim or header, the client's
/// address stands in. A header that clients choose freely limits nobody: take one that a trusted proxy sets, or
/// list it together with another.
pub type KeySetting = TextOrList<Located<String>>;

/// The setting of a limit that says nothing: by client.
pub(crate) fn by_client() -> Located<KeySetting> {
    Located::nowhere(TextOrList::Text("client".to_owned()))
}

/// What a limit counts by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    parts: Box<[Part]>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Client,
    Subject,
    Claim(Box<str>),
    Header(HeaderName),
    Route,
    Global,
}

/// Parts of a key at most.
const PARTS_MAX: usize = 4;

impl Key {
    /// Reads a key. Unknown names and senseless lists are reported.
    pub fn parse(setting: &Located<KeySetting>, report: &mut Report) -> Option<Key> {
        let written = match &setting.value {
            TextOrList::Text(text) => vec![Located::new(text.clone(), setting.at)],
            TextOrList::List(several) => several.clone(),
        };
        if written.is_empty() || written.len() > PARTS_MAX {
            report.error(setting.at, format!("a list of keys has 1 to {PARTS_MAX} of them"));
            return None;
        }
        let mut parts = Vec::with_capacity(written.len());
        for text in &written {
            let part = Part::parse(text, report)?;
            if parts.contains(&part) {
                report.error(text.at, format!("`{}` is in the list already", text.value));
                return None;
            }
            if part == Part::Global && written.len() > 1 {
                report
                    .error(text.at, "`global` adds nothing to other keys")
                    .hint("leave it out, or let it stand alone");
                return None;
            }
            parts.push(part);
        }
        Some(Key { parts: parts.into() })
    }

    /// Whether the key can only be told after an `Identity` filter has run.
    pub fn needs_identity(&self) -> bool {
        self.parts.iter().any(|part| matches!(part, Part::Subject | Part::Claim(_)))
    }

    /// Whether all clients share what this key counts.
    pub fn is_shared(&self) -> bool {
        self.parts.iter().all(|part| matches!(part, Part::Route | Part::Global))
    }

    /// Whether everything counts together.
    pub fn is_global(&self) -> bool {
        *self.parts == [Part::Global]
    }

    /// The key of an exchange: equal for what is counted together, otherwise different but for one chance in 2^128.
    /// Allocates nothing.
    pub fn of(&self, x: &Exchange<'_>) -> u128 {
        let mut hasher = hasher();
        for part in &self.parts {
            part.hash(x, &mut hasher);
        }
        hasher.finish128().as_u128()
    }
}

impl std::fmt::Display for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (index, part) in self.parts.iter().enumerate() {
            f.write_str(if index > 0 { "," } else { "" })?;
            match part {
                Part::Client => f.write_str("client")?,
                Part::Subject => f.write_str("jwt.sub")?,
                Part::Claim(path) => write!(f, "jwt.{path}")?,
                Part::Header(name) => write!(f, "header.{name}")?,
                Part::Route => f.write_str("route")?,
                Part::Global => f.write_str("global")?,
            }
        }
        Ok(())
    }
}

impl Part {
    fn parse(text: &Located<String>, report: &mut Report) -> Option<Part> {
        const NAMES: [&str; 6] = ["client", "jwt.sub", "jwt.", "header.", "route", "global"];
        match text.as_str() {
            "client" => return Some(Part::Client),
            "jwt.sub" => return Some(Part::Subject),
            "route" => return Some(Part::Route),
            "global" => return Some(Part::Global),
            _ => {}
        }
        if let Some(path) = text.strip_prefix("jwt.").filter(|path| !path.is_empty()) {
            return Some(Part::Claim(path.into()));
        }
        if let Some(name) = text.strip_prefix("header.").filter(|name| !name.is_empty()) {
            let name = Located::new(name.to_owned(), text.at);
            return FieldName::parse(&name, report).map(|field| Part::Header(field.name().clone()));
        }
        let error = report.error(text.at, format!("a limit cannot count by `{}`", text.value));
        match nearest(text, NAMES) {
            Some(near) if !near.ends_with('.') => error.hint(format!("did you mean `{near}`?")),
            _ => error.hint(
                "it counts by `client`, `jwt.sub`, `jwt.<claim>`, `header.<Name>`, `route` or `global`",
            ),
        };
        None
    }

    /// Feeds the part's value to the hasher, behind a number of its own for each kind, so that no header can pass for
    /// an address or a claim.
    fn hash(&self, x: &Exchange<'_>, hasher: &mut SipHasher13) {
        match self {
            Part::Client => hash_client(x.facts.client, hasher),
            Part::Subject => match &x.facts.identity {
                Some(identity) => {
                    hasher.write_u8(1);
                    identity.issuer.hash(hasher);
                    identity.subject.hash(hasher);
                }
                None => hash_client(x.facts.client, hasher),
            },
            Part::Claim(path) => {
                let identity = x.facts.identity.as_ref();
                match identity.and_then(|id| Some((id, id.claim(path).filter(|value| !value.is_null())?))) {
                    Some((identity, value)) => {
                        hasher.write_u8(2);
                        identity.issuer.hash(hasher);
                        hash_claim(value, hasher);
                    }
                    None => hash_client(x.facts.client, hasher),
                }
            }
            Part::Header(name) => {
                let mut values = x.request.headers.get_all(name).iter().peekable();
                if values.peek().is_none() {
                    hash_client(x.facts.client, hasher);
                    return;
                }
                hasher.write_u8(3);
                values.for_each(|value| value.as_bytes().hash(hasher));
            }
            Part::Route => {
                hasher.write_u8(4);
                x.facts.route.as_ref().map(|route| &*route.name).hash(hasher);
            }
            Part::Global => hasher.write_u8(5),
        }
    }
}

/// An IPv6 client owns at least a /64, so a limit by full address would limit nobody (RFC 6177, section 2).
fn hash_client(client: IpAddr, hasher: &mut SipHasher13) {
    match client.to_canonical() {
        IpAddr::V4(address) => {
            hasher.write_u8(6);
            hasher.write(&address.octets());
        }
        IpAddr::V6(address) => {
            hasher.write_u8(7);
            hasher.write(&address.octets()[..8]);
        }
    }
}

fn hash_claim(value: &Value, hasher: &mut SipHasher13) {
    match value {
        Value::String(text) => text.hash(hasher),
        other => {
            hasher.write_u8(8);
            other.hash(hasher);
        }
    }
}

/// A hasher under a key that is chosen at random once in the life of the process.
fn hasher() -> SipHasher13 {
    static SEED: OnceLock<(u64, u64)> = OnceLock::new();
    // The standard library takes the seed of its own hash maps from the system; what such a hasher makes of nothing
    // is a random number that nobody outside knows.
    let random = || RandomState::new().build_hasher().finish();
    let (first, second) = *SEED.get_or_init(|| (random(), random()));
    SipHasher13::new_with_keys(first, second)
}

/// A 128-bit hash under the key of the process, for `purpose`.
pub(crate) fn keyed_hash(purpose: &'static [u8], bytes: &[u8]) -> u128 {
    let mut hasher = hasher();
    purpose.hash(&mut hasher);
    bytes.hash(&mut hasher);
    hasher.finish128().as_u128()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use sallyport_identity::Identity;
    use serde_json::json;

    use super::*;
    use crate::probe::Made;

    fn key(parts: &[&str]) -> Key {
        let parts = parts.iter().map(|part| Located::nowhere((*part).to_owned())).collect();
        Key::parse(&Located::nowhere(TextOrList::List(parts)), &mut Report::default()).unwrap()
    }

    fn hash(parts: &[&str], mut made: Made) -> u128 {
        key(parts).of(&Exchange::new(&mut made.request, &mut made.facts))
    }

    fn from(address: &str) -> Made {
        Made::new("GET", "/").from(address.parse().unwrap())
    }

    fn alice(issuer: &str, claims: Value) -> Made {
        let mut made = Made::new("GET", "/");
        made.facts.identity = Some(Arc::new(Identity {
            issuer: issuer.into(),
            subject: "alice".into(),
            claims: claims.into(),
        }));
        made
    }

    #[test]
    fn clients_are_told_apart_by_address_and_ipv6_networks_by_64_bits() {
        let client = |address| hash(&["client"], from(address));
        assert_ne!(client("192.0.2.1"), client("192.0.2.2"));
        assert_eq!(client("192.0.2.1"), client("::ffff:192.0.2.1"));
        assert_eq!(client("2001:db8:0:1::1"), client("2001:db8:0:1:ffff::2"));
        assert_ne!(client("2001:db8:0:1::1"), client("2001:db8:0:2::1"));
    }

    #[test]
    fn subjects_of_two_issuers_are_two() {
        let subject = |issuer| hash(&["jwt.sub"], alice(issuer, json!({})));
        assert_eq!(subject("a"), subject("a"));
        assert_ne!(subject("a"), subject("b"));
    }

    #[test]
    fn claims_are_found_by_path_and_differ_by_type() {
        let claim = |claims| hash(&["jwt.tenant.id"], alice("a", claims));
        assert_eq!(claim(json!({"tenant": {"id": 7}})), claim(json!({"tenant": {"id": 7}, "x": 1})));
        assert_ne!(claim(json!({"tenant": {"id": 7}})), claim(json!({"tenant": {"id": "7"}})));
    }

    #[test]
    fn what_is_missing_is_counted_by_client() {
        let client = hash(&["client"], from("192.0.2.1"));
        for part in ["jwt.sub", "jwt.tenant", "header.X-Key"] {
            assert_eq!(hash(&[part], from("192.0.2.1")), client, "{part}");
        }
        assert_eq!(hash(&["jwt.tenant"], alice("a", json!({"tenant": null}))), client);
    }

    /// A value that a client chooses must not reach the bucket of another kind of key.
    #[test]
    fn a_header_cannot_pass_for_anything_else() {
        let header = |value: &str| hash(&["header.X-Key"], Made::new("GET", "/").header("X-Key", value));
        assert_ne!(header("192.0.2.1"), hash(&["client"], from("192.0.2.1")));
        assert_ne!(header("alice"), hash(&["jwt.sub"], alice("a", json!({}))));
        let twice = Made::new("GET", "/").header("X-Key", "a").header("X-Key", "b");
        assert_ne!(hash(&["header.X-Key"], twice), header("ab"));
    }

    #[test]
    fn several_parts_are_counted_by_together() {
        let both = |address| hash(&["header.X-Key", "client"], from(address).header("X-Key", "k"));
        assert_ne!(both("192.0.2.1"), both("192.0.2.2"));
        assert!(key(&["route"]).is_shared() && key(&["global"]).is_shared() && key(&["global"]).is_global());
        assert!(!key(&["route", "client"]).is_shared());
        assert!(key(&["client", "jwt.a"]).needs_identity() && !key(&["client", "header.a"]).needs_identity());
        assert_eq!(key(&["client", "jwt.a.b", "header.X-Y"]).to_string(), "client,jwt.a.b,header.x-y");
    }

    #[test]
    fn unknown_and_senseless_keys_are_refused() {
        for (parts, message) in [
            (&["clinet"][..], "did you mean `client`?"),
            (&["jwt."], "cannot count by `jwt.`"),
            (&["header.a b"], "not a header name"),
            (&["tenant"], "it counts by `client`"),
            (&["client", "client"], "in the list already"),
            (&["global", "client"], "adds nothing"),
            (&[], "1 to 4"),
            (&["client", "route", "jwt.a", "jwt.b", "jwt.c"], "1 to 4"),
        ] {
            let parts = parts.iter().map(|part| Located::nowhere((*part).to_owned())).collect();
            let mut report = Report::default();
            assert_eq!(Key::parse(&Located::nowhere(TextOrList::List(parts)), &mut report), None);
            assert!(report.to_string().contains(message), "{report}");
        }
    }
}
