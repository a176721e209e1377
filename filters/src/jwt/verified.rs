//! What is known of a token once it was verified, made once and shared by every request that carries it.

use std::sync::Arc;

use serde_json::Value;

use super::conditions::{Conditions, Lack};
use super::forward::{Forward, Values};
use sallyport_identity::Identity;

/// A verified token.
pub(super) struct Verified {
    pub(super) identity: Arc<Identity>,
    /// Index of the issuer in the filter's list.
    pub(super) issuer: usize,
    /// The generation of the keys that it was verified with.
    pub(super) generation: u64,
    /// Until when this may be relied on, in seconds since 1970.
    pub(super) until: f64,
    pub(super) decision: Decision,
}

/// What the route's conditions say of the token.
pub(super) enum Decision {
    /// It may pass, with these headers for the upstream.
    Pass(Values),
    /// It is valid and does not suffice.
    Lacks(Lack),
    /// It is valid and holds a claim that cannot be passed on.
    Unforwardable,
}

impl Decision {
    pub(super) fn of(identity: &Identity, conditions: &Conditions, forward: &Forward) -> Decision {
        match conditions.judge(identity) {
            Err(lack) => Decision::Lacks(lack),
            Ok(()) => forward.values(identity).map_or(Decision::Unforwardable, Decision::Pass),
        }
    }
}

/// The identity that checked claims stand for; `sub` is a text, as the checks have it.
pub(super) fn identity(issuer: Arc<str>, claims: Value) -> Identity {
    let subject = claims.get("sub").and_then(Value::as_str).unwrap_or_default().into();
    Identity { issuer, subject, claims }
}
