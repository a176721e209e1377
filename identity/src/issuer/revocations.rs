//! Tokens that are refused although they are valid.

use std::collections::{HashMap, HashSet};

use serde::Deserialize;
use serde_json::Value;

/// Why a revocation file was not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("this is not a revocation file ({{\"jti\": [...], \"sub\": {{...}}}}): {0}")]
pub struct RevocationsError(String);

/// A revocation file, read.
#[derive(Debug, Default)]
pub(super) struct Revocations {
    known: bool,
    list: List,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct List {
    #[serde(default)]
    jti: HashSet<Box<str>>,
    /// Seconds since 1970.
    #[serde(default)]
    sub: HashMap<Box<str>, f64>,
}

impl Revocations {
    /// There are none to be read.
    pub(super) fn none() -> Self {
        Revocations { known: true, list: List::default() }
    }

    /// They have not been read yet.
    pub(super) fn unknown() -> Self {
        Revocations::default()
    }

    pub(super) fn parse(json: &[u8]) -> Result<Self, RevocationsError> {
        let list = serde_json::from_slice(json).map_err(|error| RevocationsError(error.to_string()))?;
        Ok(Revocations { known: true, list })
    }

    pub(super) fn known(&self) -> bool {
        self.known
    }

    pub(super) fn len(&self) -> usize {
        self.list.jti.len() + self.list.sub.len()
    }

    /// Whether these claims are on the list. A token of a listed subject that does not say when it was issued
    /// is.
    pub(super) fn contain(&self, claims: &Value) -> bool {
        let List { jti, sub } = &self.list;
        let text = |name: &str| claims.get(name).and_then(Value::as_str);
        if !jti.is_empty() && text("jti").is_some_and(|id| jti.contains(id)) {
            return true;
        }
        if sub.is_empty() {
            return false;
        }
        let Some(before) = text("sub").and_then(|subject| sub.get(subject)) else { return false };
        claims.get("iat").and_then(Value::as_f64).is_none_or(|issued| issued < *before)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn names_tokens_and_subjects() {
        let list = Revocations::parse(br#"{"jti": ["a"], "sub": {"ann": 1000}}"#).unwrap();
        assert_eq!(list.len(), 2);
        for (claims, revoked) in [
            (json!({"jti": "a", "sub": "bob"}), true),
            (json!({"jti": "b", "sub": "bob"}), false),
            (json!({"jti": ["a"], "sub": "bob"}), false),
            (json!({"sub": "ann", "iat": 999.9}), true),
            (json!({"sub": "ann", "iat": 1000}), false),
            (json!({"sub": "ann"}), true),
            (json!({"sub": "ann", "iat": "1001"}), true),
            (json!({}), false),
        ] {
            assert_eq!(list.contain(&claims), revoked, "{claims}");
        }
    }

    #[test]
    fn refuses_what_is_no_revocation_file() {
        for json in ["", "[]]", r#"{"jtis": []}"#, r#"{"jti": [1]}"#, r#"{"sub": {"ann": "now"}}"#, "null"] {
            assert!(Revocations::parse(json.as_bytes()).is_err(), "{json}");
        }
    }
}
