//! `jwt`: lets a request pass only with a valid token of a known issuer (RFC 7519, RFC 8725, RFC 6750).
//!
//! Here is the filter itself: the order of its decisions. How a token is checked and remembered is in
//! `sallyport-identity`, what a route may ask of it in `conditions.rs`. A request with a remembered token costs one keyed hash, a lookup and a look at keys and
//! revocations; nothing is allocated.

mod build;
mod conditions;
mod config;
mod forward;
mod metrics;
mod replies;
#[cfg(test)]
mod tests;
mod verified;

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures::future::BoxFuture;
use http::HeaderName;
use pingora_http::RequestHeader;

pub use self::build::build;
use self::conditions::Conditions;
pub use self::config::{Condition, Config, Roles, Scalar, TokenPlace};
use self::forward::Forward;
use self::metrics::Metrics;
use self::replies::Replies;
use self::verified::{Decision, Verified};
use crate::credential::{self, Credential, Found, Place};
use crate::exchange::{Exchange, Facts, Slot};
use crate::filter::{Fault, Filter, Stage, Step};
use crate::reply::{ProblemKind, Reply};
use sallyport_identity::issuer::{Issuer, Refresh, Ticket};
use sallyport_identity::memory::Memory;
use sallyport_identity::token::{Refusal, Token, TokenType, Verdict};

struct Jwt {
    issuers: Box<[Arc<Issuer>]>,
    places: Box<[Place]>,
    forward_token: bool,
    optional: bool,
    typ: TokenType,
    token_bytes_max: usize,
    conditions: Conditions,
    forward: Forward,
    memory: Option<Arc<Memory<Verified>>>,
    memory_seconds: f64,
    replies: Replies,
    metrics: Arc<Metrics>,
}

/// What became of a token.
enum Judgement {
    Remembered(Arc<Verified>),
    Verified(Arc<Verified>),
    Refused(Refusal),
    /// Its key may come with the next fetch of this issuer.
    Wait(Waiting),
    Unavailable,
}

/// What is kept while keys are fetched.
struct Waiting {
    issuer: usize,
    ticket: Ticket,
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
        match self.judge(credential.bytes(), x.facts, true) {
            Judgement::Wait(waiting) => {
                *x.slot() = Slot::Boxed(Box::new((waiting, credential)));
                Step::Wait
            }
            judgement => self.decide(judgement, x),
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
            let (Waiting { issuer, ticket }, credential) = *waiting;
            self.issuers[issuer].refreshed(ticket).await;
            let judgement = self.judge(credential.bytes(), x.facts, false);
            self.decide(judgement, x)
        })
    }

    fn on_upstream_request(&self, x: &mut Exchange<'_>, head: &mut RequestHeader) -> Result<(), Fault> {
        let Slot::Shared(kept) = x.slot_ref() else { return Ok(()) };
        if let Some(Verified { decision: Decision::Pass(values), .. }) = kept.downcast_ref() {
            self.forward.set(values, head)?;
        }
        if !self.forward_token {
            self.places.iter().for_each(|place| place.strip(head));
        }
        Ok(())
    }
}

impl Jwt {
    fn judge(&self, token: &[u8], facts: &Facts, may_wait: bool) -> Judgement {
        if token.len() > self.token_bytes_max {
            return Judgement::Refused(Refusal::TooLong);
        }
        let now = seconds_since_1970(facts.started_at);
        let Some(memory) = &self.memory else { return self.verify(token, facts, now, may_wait) };
        let fingerprint = memory.fingerprint(token);
        if let Some(verified) = memory.find(fingerprint) {
            let issuer = &self.issuers[verified.issuer];
            let Some(keys) = issuer.keys(facts.started) else { return Judgement::Unavailable };
            if issuer.revoked(&verified.identity.claims) {
                return Judgement::Refused(Refusal::Revoked);
            }
            if keys.generation() == verified.generation && now < verified.until {
                return Judgement::Remembered(verified);
            }
            memory.forget(fingerprint);
        }
        let judgement = self.verify(token, facts, now, may_wait);
        if let Judgement::Verified(verified) = &judgement
            && now < verified.until
        {
            memory.insert(fingerprint, verified.clone());
        }
        judgement
    }

    fn verify(&self, token: &[u8], facts: &Facts, now: f64, may_wait: bool) -> Judgement {
        let token = match Token::parse(token, self.typ) {
            Ok(token) => token,
            Err(refusal) => return Judgement::Refused(refusal),
        };
        let ours = |issuer: &Arc<Issuer>| issuer.iss() == token.unverified_issuer();
        let Some(index) = self.issuers.iter().position(ours) else {
            return Judgement::Refused(Refusal::Issuer);
        };
        let issuer = &self.issuers[index];
        match token.verify(issuer, now, facts.started) {
            Verdict::Refused(refusal) => Judgement::Refused(refusal),
            Verdict::Unavailable => Judgement::Unavailable,
            Verdict::UnknownKey if !may_wait => Judgement::Refused(Refusal::Signature),
            Verdict::UnknownKey => match issuer.wants_refresh(token.kid().unwrap_or_default(), facts.started)
            {
                Refresh::Wait(ticket) => Judgement::Wait(Waiting { issuer: index, ticket }),
                Refresh::No => Judgement::Refused(Refusal::Signature),
            },
            Verdict::Valid { claims, .. } if issuer.revoked(&claims) => Judgement::Refused(Refusal::Revoked),
            Verdict::Valid { claims, expires, generation } => {
                let identity = verified::identity(issuer.name().clone(), claims);
                let decision = Decision::of(&identity, &self.conditions, &self.forward);
                let until = expires.min(now + self.memory_seconds);
                let identity = Arc::new(identity);
                Judgement::Verified(Arc::new(Verified {
                    identity,
                    issuer: index,
                    generation,
                    until,
                    decision,
                }))
            }
        }
    }

    fn decide(&self, judgement: Judgement, x: &mut Exchange<'_>) -> Step {
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
        let reply = match &verified.decision {
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

/// Negative before 1970.
fn seconds_since_1970(time: SystemTime) -> f64 {
    match time.duration_since(UNIX_EPOCH) {
        Ok(since) => since.as_secs_f64(),
        Err(error) => -Duration::as_secs_f64(&error.duration()),
    }
}
