//! Who a client is: an identity that the edge's filters have established, or a token of its own.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use sallyport_identity::Verified;
use serde_json::{Map, Value};

/// Who a client is.
#[derive(Clone)]
pub(crate) enum Who {
    /// Nobody in particular.
    Nobody,
    /// Whom the edge says it is.
    Edge(Arc<Value>),
    /// Whom its token says it is.
    Token(Arc<Verified>),
}

/// The claims of somebody without any.
static NOTHING: std::sync::LazyLock<Value> = std::sync::LazyLock::new(|| Value::Object(Map::new()));

impl Who {
    pub(crate) fn claims(&self) -> &Value {
        match self {
            Who::Nobody => &NOTHING,
            Who::Edge(claims) => claims,
            Who::Token(verified) => &verified.identity.claims,
        }
    }

    /// The user, by this claim; empty for nobody.
    pub(crate) fn user(&self, claim: &str) -> Arc<str> {
        match self.claims().get(claim) {
            Some(Value::String(user)) => user.as_str().into(),
            Some(Value::Number(user)) => user.to_string().into(),
            _ => "".into(),
        }
    }

    /// Milliseconds until it expires: 0 if it has, `None` if it does not.
    pub(crate) fn expires_in(&self) -> Option<u64> {
        let expires = match self {
            Who::Nobody => return None,
            Who::Edge(claims) => claims.get("exp").and_then(Value::as_f64)?,
            Who::Token(verified) => {
                verified.expires().duration_since(UNIX_EPOCH).map(|since| since.as_secs_f64()).unwrap_or(0.0)
            }
        };
        let now =
            SystemTime::now().duration_since(UNIX_EPOCH).map(|since| since.as_secs_f64()).unwrap_or(0.0);
        // A float becomes the nearest number there is.
        Some(((expires - now) * 1000.0) as u64)
    }
}

/// The seconds after which a client is told to refresh: before the end, because a refresh takes its time.
pub(crate) fn refresh_after(expires_in_ms: u64) -> u64 {
    let early = (expires_in_ms / 4).min(30_000);
    ((expires_in_ms - early) / 1000).max(1)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_refresh_is_due_before_the_end() {
        assert_eq!([0, 1000, 4000, 60_000, 3_600_000].map(refresh_after), [1, 1, 3, 45, 3570]);
    }

    #[test]
    fn users_are_texts_or_numbers() {
        let who = |claims| Who::Edge(Arc::new(claims));
        assert_eq!(&*who(json!({"sub": "u"})).user("sub"), "u");
        assert_eq!(&*who(json!({"uid": 7})).user("uid"), "7");
        assert_eq!(&*who(json!({"sub": {}})).user("sub"), "");
        assert_eq!(who(json!({"exp": 1})).expires_in(), Some(0));
        assert_eq!(who(json!({})).expires_in(), None);
    }
}
