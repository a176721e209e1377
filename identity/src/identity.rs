//! Who asks: what a filter of stage `Identity` has established.

use std::sync::Arc;

use serde_json::Value;

/// A verified identity. Shared between requests that carry the same credentials.
#[derive(Debug, Clone)]
pub struct Identity {
    /// The `issuers` name of a JWT, or the name of the `api_key` filter's key set.
    pub issuer: Arc<str>,
    /// The subject: `sub` of a JWT, or the name of an API key. Used in logs and as a rate-limit key.
    pub subject: Arc<str>,
    /// All claims, an object; empty for an API key without any. Shared with what outlives the request, such as a
    /// connection to the bridge.
    pub claims: Arc<Value>,
}

impl Identity {
    /// The identity that checked claims stand for; `sub` is a text, as the checks have it.
    pub(crate) fn of_claims(issuer: Arc<str>, claims: Value) -> Self {
        let subject = claims.get("sub").and_then(Value::as_str).unwrap_or_default().into();
        Identity { issuer, subject, claims: claims.into() }
    }

    /// A claim by its dotted path, `realm_access.roles` for instance. A name that itself contains dots wins over
    /// the path.
    pub fn claim(&self, path: &str) -> Option<&Value> {
        if let Some(value) = self.claims.get(path) {
            return Some(value);
        }
        path.split('.').try_fold(&*self.claims, |value, name| value.get(name))
    }
}
