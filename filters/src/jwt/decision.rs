//! What a route says of a verified token, made once and shared by every request that carries it.

use sallyport_identity::Identity;

use super::conditions::{Conditions, Lack};
use super::forward::{Forward, Values};

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
