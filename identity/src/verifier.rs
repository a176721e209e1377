//! The one way to verify a token: which issuers may have signed it, what is remembered of it, and what holds later.
//!
//! The jwt filter asks [`Verifier::judge`] with its exchange's clock and does its own waiting; who has a runtime and no
//! exchange calls [`Verifier::verify`]. What a token must hold besides being valid is the caller's affair: it may
//! keep its answer beside the verified token (`E`), and is spared asking again.

mod outcome;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use sallyport_config::{Located, Report, nearest};

use crate::identity::Identity;
use crate::issuer::{Issuer, Issuers, Refresh};
use crate::memory::Memory;
use crate::token::{Refusal, Token, TokenType, Verdict};

pub use self::outcome::{Judgement, NotVerified, Verified, Waiting};

/// The longest token that is looked at unless [`Verifier::token_bytes_max`] says otherwise.
const TOKEN_BYTES_MAX: usize = 8 * 1024;
/// How long [`Verifier::verify`] waits for a fetch of keys. A fetch has 10 s; this is for one that nobody carries
/// out.
const WAIT_MAX: Duration = Duration::from_secs(15);

/// Verifies tokens of some issuers. Cheap to clone: clones share issuers, their keys and the memory. `E` is what the
/// caller keeps beside each verified token.
pub struct Verifier<E = ()> {
    issuers: Arc<[Arc<Issuer>]>,
    typ: TokenType,
    token_bytes_max: usize,
    memory: Option<Arc<Memory<Verified<E>>>>,
    memory_seconds: f64,
}

impl<E> Clone for Verifier<E> {
    fn clone(&self) -> Self {
        Verifier { issuers: self.issuers.clone(), memory: self.memory.clone(), ..*self }
    }
}

/// One moment by two clocks.
#[derive(Debug, Clone, Copy)]
pub struct Moment {
    /// For the dates in tokens.
    pub wall: SystemTime,
    /// For the age of keys.
    pub monotonic: Instant,
}

impl Moment {
    /// This moment.
    pub fn now() -> Self {
        Moment { wall: SystemTime::now(), monotonic: Instant::now() }
    }

    /// Seconds since 1970; negative before.
    fn seconds(self) -> f64 {
        match self.wall.duration_since(UNIX_EPOCH) {
            Ok(since) => since.as_secs_f64(),
            Err(error) => -error.duration().as_secs_f64(),
        }
    }
}

impl<E> Verifier<E> {
    /// A verifier for the issuers of these names. It takes tokens of up to 8 KiB and of [`TokenType::Any`], and
    /// remembers none. A name that is not in `issuers`, and one whose `iss` another has too, is reported; `None` means
    /// that there was one.
    pub fn new<'a>(
        issuers: &Issuers,
        names: impl IntoIterator<Item = &'a Located<String>>,
        report: &mut Report,
    ) -> Option<Self> {
        let mut found: Vec<Arc<Issuer>> = Vec::new();
        let mut sound = true;
        for name in names {
            let Some(issuer) = issuers.find(name) else {
                let near = nearest(name, issuers.names()).map(|near| format!("did you mean `{near}`?"));
                let hint = near.unwrap_or_else(|| "define it under `issuers`".to_owned());
                report.error(name.at, format!("unknown issuer `{}`", name.value)).hint(hint);
                sound = false;
                continue;
            };
            if let Some(same) = found.iter().find(|other| other.iss() == issuer.iss()) {
                let text = format!("`{}` has the same `iss` as `{}`", name.value, same.name());
                report.error(name.at, text).hint("a token's `iss` must tell which of them it is from");
                sound = false;
            }
            found.push(issuer);
        }
        sound.then(|| Verifier {
            issuers: found.into(),
            typ: TokenType::Any,
            token_bytes_max: TOKEN_BYTES_MAX,
            memory: None,
            memory_seconds: 0.0,
        })
    }

    /// Takes tokens of this type only.
    pub fn typ(self, typ: TokenType) -> Self {
        Verifier { typ, ..self }
    }

    /// Looks at tokens of up to so many bytes.
    pub fn token_bytes_max(self, token_bytes_max: usize) -> Self {
        Verifier { token_bytes_max, ..self }
    }

    /// Remembers verified tokens, each for `longest` at most and never beyond its `exp`. A memory may outlive the
    /// verifier, but only with issuers of the same settings in the same order, and the same meaning of `E`.
    pub fn remembering(self, memory: Arc<Memory<Verified<E>>>, longest: Duration) -> Self {
        Verifier { memory: Some(memory), memory_seconds: longest.as_secs_f64(), ..self }
    }

    /// The issuers, in the order of their names as given.
    pub fn issuers(&self) -> &[Arc<Issuer>] {
        &self.issuers
    }

    /// Judges a compact JWS (RFC 7515, section 7.1). `extra` is called for a token that is valid and not remembered.
    /// A token that is remembered costs one keyed hash, a lookup, and a look at keys and revocations; nothing is
    /// allocated.
    pub fn judge(&self, token: &[u8], now: Moment, extra: impl FnOnce(&Identity) -> E) -> Judgement<E> {
        self.recall(token, now, true, extra)
    }

    /// Judges a token again after [`Judgement::Wait`]: a key that is still unknown is a refusal.
    pub fn judge_after_wait(
        &self,
        token: &[u8],
        now: Moment,
        extra: impl FnOnce(&Identity) -> E,
    ) -> Judgement<E> {
        self.recall(token, now, false, extra)
    }

    /// Verifies a compact JWS now, and waits for a fetch of keys, at most 15 s, if its key is unknown. `extra` is as
    /// in [`Verifier::judge`]. Needs a Tokio runtime. May be dropped at any time.
    ///
    /// # Errors
    /// The token is not valid, or cannot be checked at present.
    pub async fn verify_with(
        &self,
        token: &str,
        extra: impl Fn(&Identity) -> E,
    ) -> Result<Arc<Verified<E>>, NotVerified> {
        let judgement = match self.judge(token.as_bytes(), Moment::now(), &extra) {
            Judgement::Wait(waiting) => {
                if tokio::time::timeout(WAIT_MAX, waiting.ended()).await.is_err() {
                    return Err(NotVerified::Unavailable);
                }
                self.judge_after_wait(token.as_bytes(), Moment::now(), &extra)
            }
            judgement => judgement,
        };
        match judgement {
            Judgement::Remembered(verified) | Judgement::Verified(verified) => Ok(verified),
            Judgement::Refused(refusal) => Err(NotVerified::Refused(refusal)),
            Judgement::Wait(_) | Judgement::Unavailable => Err(NotVerified::Unavailable),
        }
    }

    /// Whether what was verified before still holds, by this verifier's issuers: for connections that live on. It may
    /// have been verified by another verifier, before a reload. Costs two lookups; allocates nothing. Keys that cannot
    /// be had at present, or are too old, take nothing away.
    ///
    /// # Errors
    /// [`Refusal::Revoked`] if it was revoked since, [`Refusal::Expired`] beyond `exp` and the issuer's skew,
    /// [`Refusal::Signature`] if its key was withdrawn, and [`Refusal::Issuer`] if the issuer is no longer accepted.
    pub fn still_good(&self, verified: &Verified<E>, now: Moment) -> Result<(), Refusal> {
        let of = |issuer: &&Arc<Issuer>| *issuer.name() == verified.identity.issuer;
        let issuer = self.issuers.iter().find(of).ok_or(Refusal::Issuer)?;
        if issuer.revoked(&verified.identity.claims) {
            return Err(Refusal::Revoked);
        }
        if now.seconds() >= verified.expires + issuer.skew().as_secs_f64() {
            return Err(Refusal::Expired);
        }
        match issuer.keys(now.monotonic) {
            Some(keys) if keys.generation() != verified.generation && !keys.contain(&verified.key) => {
                Err(Refusal::Signature)
            }
            _ => Ok(()),
        }
    }

    /// Whether these claims, which somebody else has verified, are on the revocation list of their issuer (`iss`). Claims of
    /// no issuer of this verifier are on none.
    pub fn revoked(&self, claims: &serde_json::Value) -> bool {
        let iss = claims.get("iss").and_then(serde_json::Value::as_str);
        self.issuers.iter().any(|issuer| Some(issuer.iss()) == iss && issuer.revoked(claims))
    }

    fn recall(
        &self,
        token: &[u8],
        now: Moment,
        may_wait: bool,
        extra: impl FnOnce(&Identity) -> E,
    ) -> Judgement<E> {
        if token.len() > self.token_bytes_max {
            return Judgement::Refused(Refusal::TooLong);
        }
        let Some(memory) = &self.memory else { return self.check(token, now, may_wait, extra) };
        let fingerprint = memory.fingerprint(token);
        if let Some(verified) = memory.find(fingerprint) {
            let issuer = &self.issuers[verified.index];
            let Some(keys) = issuer.keys(now.monotonic) else { return Judgement::Unavailable };
            if issuer.revoked(&verified.identity.claims) {
                return Judgement::Refused(Refusal::Revoked);
            }
            if keys.generation() == verified.generation && now.seconds() < verified.until {
                return Judgement::Remembered(verified);
            }
            memory.forget(fingerprint);
        }
        let judgement = self.check(token, now, may_wait, extra);
        if let Judgement::Verified(verified) = &judgement
            && now.seconds() < verified.until
        {
            memory.insert(fingerprint, verified.clone());
        }
        judgement
    }

    fn check(
        &self,
        token: &[u8],
        now: Moment,
        may_wait: bool,
        extra: impl FnOnce(&Identity) -> E,
    ) -> Judgement<E> {
        let token = match Token::parse(token, self.typ) {
            Ok(token) => token,
            Err(refusal) => return Judgement::Refused(refusal),
        };
        let ours = |issuer: &Arc<Issuer>| issuer.iss() == token.unverified_issuer();
        let Some(index) = self.issuers.iter().position(ours) else {
            return Judgement::Refused(Refusal::Issuer);
        };
        let issuer = &self.issuers[index];
        match token.verify(issuer, now.seconds(), now.monotonic) {
            Verdict::Refused(refusal) => Judgement::Refused(refusal),
            Verdict::Unavailable => Judgement::Unavailable,
            Verdict::UnknownKey if !may_wait => Judgement::Refused(Refusal::Signature),
            Verdict::UnknownKey => {
                match issuer.wants_refresh(token.kid().unwrap_or_default(), now.monotonic) {
                    Refresh::Wait(ticket) => Judgement::Wait(Waiting { issuer: issuer.clone(), ticket }),
                    Refresh::No => Judgement::Refused(Refusal::Signature),
                }
            }
            Verdict::Valid { claims, .. } if issuer.revoked(&claims) => Judgement::Refused(Refusal::Revoked),
            Verdict::Valid { claims, expires, generation, key } => {
                let identity = Identity::of_claims(issuer.name().clone(), claims);
                let until = expires.min(now.seconds() + self.memory_seconds);
                let extra = extra(&identity);
                let identity = Arc::new(identity);
                Judgement::Verified(Arc::new(Verified {
                    identity,
                    extra,
                    expires,
                    index,
                    key,
                    generation,
                    until,
                }))
            }
        }
    }
}

impl Verifier {
    /// [`Verifier::verify_with`] where nothing is kept beside a token.
    ///
    /// # Errors
    /// The token is not valid, or cannot be checked at present.
    pub async fn verify(&self, token: &str) -> Result<Arc<Verified>, NotVerified> {
        self.verify_with(token, |_| ()).await
    }
}
