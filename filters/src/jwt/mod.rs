//! `jwt`: lets a request pass only with a valid token of a known issuer (RFC 7519, RFC 8725, RFC 6750).
//!
//! Here is the filter itself: the order of its decisions. How a token is checked and remembered is in
//! `sallyport-identity`, what a route may ask of it in `conditions.rs`. A request with a remembered token costs one keyed hash, a lookup and a look at keys and
//! revocations; nothing is allocated.

mod build;
mod conditions;
mod config;
mod decision;
mod forward;
mod metrics;
mod replies;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use futures::future::BoxFuture;
use http::HeaderName;
use pingora_http::RequestHeader;
use sallyport_identity::{Identity, Judgement, Moment, Verified, Verifier, Waiting};

pub use self::build::build;
use self::conditions::Conditions;
pub use self::config::{Condition, Config, Roles, Scalar, TokenPlace};
use self::decision::Decision;
use self::forward::Forward;
use self::metrics::Metrics;
use self::replies::Replies;
use crate::credential::{self, Credential, Found, Place};
use crate::exchange::{Exchange, Facts, Slot};
use crate::filter::{Fault, Filter, Stage, Step};
use crate::reply::{ProblemKind, Reply};

struct Jwt {
    verifier: Verifier<Decision>,
    places: Box<[Place]>,
    forward_token: bool,
    optional: bool,
    conditions: Conditions,
    forward: Forward,
    replies: Replies,
    metrics: Arc<Metrics>,
}

impl Filter for Jwt {
    fn name(&self) -> &'static str {
        "jwt"
    }

    fn stage(&self) -> Stage {
        Stage::Identity
    }

    fn guards(&self) -> bool {
        !self.optional
    }

    fn managed_headers(&self) -> Vec<HeaderName> {
        self.forward.names().cloned().collect()
    }

    fn on_request(&self, x: &mut Exchange<'_>) -> Step {
        let credential = match credential::take(&self.places, x.request) {
            Found::One(credential) => credential,
            Found::Nothing => {
                self.metrics.missing.inc();
                return if self.optional { Step::Continue } else { Step::Reply(self.replies.missing()) };
            }
            Found::Several => {
                self.metrics.invalid.inc();
                return Step::Reply(self.replies.several());
            }
            Found::Malformed => {
                self.metrics.invalid.inc();
                return Step::Reply(self.replies.empty());
            }
        };
        let decide = |identity: &Identity| self.decision(identity);
        match self.verifier.judge(credential.bytes(), moment(x.facts), decide) {
            Judgement::Wait(waiting) => {
                *x.slot() = Slot::Boxed(Box::new((waiting, credential)));
                Step::Wait
            }
            judgement => self.answer(judgement, x),
        }
    }

    fn resume<'a>(&'a self, x: &'a mut Exchange<'_>) -> BoxFuture<'a, Step> {
        Box::pin(async move {
            let waiting = match std::mem::take(x.slot()) {
                Slot::Boxed(kept) => kept.downcast::<(Waiting, Credential)>().ok(),
                _ => None,
            };
            let Some(waiting) = waiting else {
                return Step::Reply(Reply::problem(ProblemKind::Internal, "a filter lost its state"));
            };
            let (waiting, credential) = *waiting;
            waiting.ended().await;
            let decide = |identity: &Identity| self.decision(identity);
            let judgement = self.verifier.judge_after_wait(credential.bytes(), moment(x.facts), decide);
            self.answer(judgement, x)
        })
    }

    fn on_upstream_request(&self, x: &mut Exchange<'_>, head: &mut RequestHeader) -> Result<(), Fault> {
        let Slot::Shared(kept) = x.slot_ref() else { return Ok(()) };
        if let Some(Verified { extra: Decision::Pass(values), .. }) = kept.downcast_ref() {
            self.forward.set(values, head)?;
        }
        if !self.forward_token {
            self.places.iter().for_each(|place| place.strip(head));
        }
        Ok(())
    }
}

impl Jwt {
    /// What the route says of a valid token; asked once for each.
    fn decision(&self, identity: &Identity) -> Decision {
        Decision::of(identity, &self.conditions, &self.forward)
    }

    fn answer(&self, judgement: Judgement<Decision>, x: &mut Exchange<'_>) -> Step {
        let (verified, counter) = match judgement {
            Judgement::Remembered(verified) => (verified, &self.metrics.cached),
            Judgement::Verified(verified) => (verified, &self.metrics.verified),
            Judgement::Refused(refusal) => {
                self.metrics.invalid.inc();
                return Step::Reply(self.replies.refused(refusal));
            }
            Judgement::Wait(_) | Judgement::Unavailable => {
                self.metrics.unavailable.inc();
                return Step::Reply(Replies::unavailable());
            }
        };
        // Who was refused for lack of a role is known all the same, to logs and to limits.
        x.facts.identity = Some(verified.identity.clone());
        let reply = match &verified.extra {
            Decision::Pass(_) => {
                counter.inc();
                *x.slot() = Slot::Shared(verified);
                return Step::Continue;
            }
            Decision::Lacks(lack) => self.replies.lacks(*lack),
            Decision::Unforwardable => Replies::unforwardable(),
        };
        self.metrics.forbidden.inc();
        Step::Reply(reply)
    }
}

fn moment(facts: &Facts) -> Moment {
    Moment { wall: facts.started_at, monotonic: facts.started }
}
