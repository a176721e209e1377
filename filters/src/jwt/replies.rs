//! The answers of `jwt`, with their challenges (RFC 6750, section 3), made once at load.

use http::HeaderValue;
use http::header::{InvalidHeaderValue, WWW_AUTHENTICATE};
use sallyport_identity::Refusal;

use super::conditions::Lack;
use crate::reply::{ProblemKind, Reply};

pub(super) struct Replies {
    missing: HeaderValue,
    several: HeaderValue,
    empty: HeaderValue,
    refused: Box<[HeaderValue]>,
    scope: HeaderValue,
}

const SEVERAL: &str = "the request carries more than one token";
const EMPTY: &str = "the request carries an empty token";

impl Replies {
    /// The realm and the scopes stand in quotes: their caller has seen to it that they hold none.
    pub(super) fn new(realm: &str, scopes: &str) -> Result<Replies, InvalidHeaderValue> {
        let error = |error: &str, text: &str| {
            HeaderValue::try_from(format!(
                "Bearer realm=\"{realm}\", error=\"{error}\", error_description=\"{text}\""
            ))
        };
        let refused = Refusal::ALL.iter().map(|refusal| error("invalid_token", refusal.text()));
        Ok(Replies {
            // Who sends no token learns of no error (RFC 6750, section 3.1).
            missing: HeaderValue::try_from(format!("Bearer realm=\"{realm}\""))?,
            several: error("invalid_request", SEVERAL)?,
            empty: error("invalid_request", EMPTY)?,
            refused: refused.collect::<Result<_, _>>()?,
            scope: HeaderValue::try_from(format!(
                "Bearer realm=\"{realm}\", error=\"insufficient_scope\", scope=\"{scopes}\""
            ))?,
        })
    }

    pub(super) fn missing(&self) -> Reply {
        challenge(ProblemKind::Unauthorized, "this needs a token", &self.missing)
    }

    pub(super) fn several(&self) -> Reply {
        challenge(ProblemKind::BadRequest, SEVERAL, &self.several)
    }

    pub(super) fn empty(&self) -> Reply {
        challenge(ProblemKind::BadRequest, EMPTY, &self.empty)
    }

    pub(super) fn refused(&self, refusal: Refusal) -> Reply {
        let value = Refusal::ALL.iter().position(|one| *one == refusal).and_then(|at| self.refused.get(at));
        challenge(ProblemKind::Unauthorized, refusal.text(), value.unwrap_or(&self.missing))
    }

    pub(super) fn lacks(&self, lack: Lack) -> Reply {
        match lack {
            Lack::Scope => challenge(ProblemKind::Forbidden, "the token lacks a scope", &self.scope),
            Lack::Role => Reply::problem(ProblemKind::Forbidden, "the token lacks a role"),
            Lack::Claim => {
                Reply::problem(ProblemKind::Forbidden, "a claim of the token does not meet a condition")
            }
        }
    }

    /// Not 401: a new token would hold the same claim, and a client that gets one for every 401 would never
    /// stop.
    pub(super) fn unforwardable() -> Reply {
        Reply::problem(ProblemKind::Forbidden, "the token holds a claim that cannot be passed on")
    }

    pub(super) fn unavailable() -> Reply {
        Reply::problem(ProblemKind::Unavailable, "tokens cannot be checked at present")
    }
}

fn challenge(kind: ProblemKind, detail: &'static str, value: &HeaderValue) -> Reply {
    Reply::problem(kind, detail).header(WWW_AUTHENTICATE, value.clone())
}
