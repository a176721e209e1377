//! What comes of a token: verified, refused, to be judged again, or not to be judged at present.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::identity::Identity;
use crate::issuer::{Issuer, Key, Ticket};
use crate::token::Refusal;

/// The end of the year 9999, in seconds since 1970: no `exp` means a later moment.
const EXPIRES_SECONDS_MAX: f64 = 253_402_300_799.0;

/// A verified token, less the token. Made once and shared by everything that came with it.
#[derive(Debug)]
pub struct Verified<E = ()> {
    /// Who it speaks for, with the issuer's name and all claims.
    pub identity: Arc<Identity>,
    /// What the caller of the verifier keeps beside it.
    pub extra: E,
    /// `exp`, in seconds since 1970.
    pub(super) expires: f64,
    /// Of the issuer, among the verifier's.
    pub(super) index: usize,
    /// The key that it was verified with, and the generation of the set that held it.
    pub(super) key: Arc<Key>,
    pub(super) generation: u64,
    /// Until when this may be remembered, in seconds since 1970.
    pub(super) until: f64,
}

/// What became of a token.
#[derive(Debug)]
pub enum Judgement<E = ()> {
    /// It was verified before, and still holds.
    Remembered(Arc<Verified<E>>),
    /// It was verified just now.
    Verified(Arc<Verified<E>>),
    /// It is not valid.
    Refused(Refusal),
    /// Its key may come with a fetch that was asked for: judge it again after [`Waiting::ended`].
    Wait(Waiting),
    /// Its issuer has no usable keys.
    Unavailable,
}

/// The fetch of keys that a token waits for.
#[derive(Debug)]
pub struct Waiting {
    pub(super) issuer: Arc<Issuer>,
    pub(super) ticket: Ticket,
}

/// Why there is no identity. The texts go to clients: they are fixed, and say nothing about keys or settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotVerified {
    /// The token is not valid: [`Refusal::Expired`], [`Refusal::Revoked`], or bad in another way. The same token will
    /// not do later.
    #[error("{}", .0.text())]
    Refused(Refusal),
    /// The issuer has no usable keys now; the same token may do later.
    #[error("tokens cannot be checked at present")]
    Unavailable,
}

impl<E> Verified<E> {
    /// The moment of `exp`. An issuer's skew is not in it.
    pub fn expires(&self) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs_f64(self.expires.clamp(0.0, EXPIRES_SECONDS_MAX))
    }
}

impl Waiting {
    /// Completes when the fetch has ended, well or not. Any number may wait for one fetch. May be dropped at any time.
    pub async fn ended(&self) {
        self.issuer.refreshed(self.ticket).await;
    }
}
