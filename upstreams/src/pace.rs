//! The time limits of one try on a target, from the connection to the last byte of the answer.
//!
//! Over HTTP/1 the limits are exact (to 25 ms) by way of the connection's [`Deadline`]. A connection of HTTP/2 is
//! shared by many exchanges and cannot be shut down for one: there the first byte is limited by the peer's
//! `read_timeout`, the longer of `first_byte` and `idle`, and `whole` is noticed when the next chunk arrives.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use pingora_core::protocols::Digest;
use sallyport_config::route::Timeouts;

use crate::deadline::{Deadline, Term};
use crate::dial::deadline_of;

/// Which limit has passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Late {
    /// `timeouts.first_byte`.
    FirstByte,
    /// `timeouts.idle`.
    Idle,
    /// `timeouts.whole`.
    Whole,
}

impl fmt::Display for Late {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Late::FirstByte => "the upstream did not begin to answer within `timeouts.first_byte`",
            Late::Idle => "the upstream paused for longer than `timeouts.idle`",
            Late::Whole => "the upstream's answer took longer than `timeouts.whole`",
        })
    }
}

/// The limits of one try. Make it once connected, a new one for each try; tell it what happens; ask
/// [`Pace::late`] when the try failed, and at the end of a body too: an answer without a length ends with its
/// connection, so that one cut short by a limit looks whole to Pingora. Dropped, it clears its limit.
///
/// After a limit has passed Pingora reports a closed connection, and on a reused one would try again by itself:
/// whoever decides about that must refuse it when `late` says so.
#[derive(Debug)]
pub struct Pace {
    line: Option<(Arc<Deadline>, Term)>,
    first_byte: Duration,
    idle: Duration,
    whole: Duration,
    whole_ends: Option<Instant>,
    sent: bool,
    answering: bool,
    armed: Late,
}

impl Pace {
    /// Limits for a try over the connection that `digest` describes. Nothing is limited yet, beyond the peer's
    /// `read_timeout`.
    pub fn new(digest: Option<&Digest>, timeouts: &Timeouts) -> Self {
        let line = digest.and_then(deadline_of).map(|deadline| {
            let term = deadline.begin();
            (deadline, term)
        });
        Pace {
            line,
            first_byte: *timeouts.first_byte,
            idle: *timeouts.idle,
            whole: *timeouts.whole,
            whole_ends: None,
            sent: false,
            answering: false,
            armed: Late::FirstByte,
        }
    }

    /// The last byte of the request was handed on: the time for the first byte and for the whole begins. Calls after
    /// the first do nothing.
    pub fn request_sent(&mut self, now: Instant) {
        if self.sent {
            return;
        }
        self.sent = true;
        if !self.answering {
            self.start_whole(now);
            self.arm(now, &[(Late::FirstByte, Some(self.first_byte)), (Late::Whole, self.whole_left(now))]);
        }
    }

    /// The final head of the answer is here (not an informational one).
    pub fn response_head(&mut self, now: Instant) {
        self.answering = true;
        if self.whole_ends.is_none() {
            self.start_whole(now);
        }
        self.arm_body(now);
    }

    /// A chunk of the answer is here. Costs nothing unless `first_byte` is longer than `idle`, because otherwise the
    /// peer's `read_timeout` is `idle` already.
    pub fn response_chunk(&mut self, now: Instant) {
        if self.first_byte > self.idle {
            self.arm_body(now);
        }
    }

    /// The limit that has passed, if one has.
    pub fn late(&self, now: Instant) -> Option<Late> {
        match &self.line {
            Some((deadline, _)) => deadline.fired().then_some(self.armed),
            None => self.whole_ends.is_some_and(|ends| now >= ends).then_some(Late::Whole),
        }
    }

    /// The answer is complete: clears the limit before the connection goes back to the pool.
    pub fn finish(&mut self) {
        self.whole_ends = None;
        if let Some((deadline, term)) = &self.line {
            deadline.disarm(*term);
        }
    }

    fn arm_body(&mut self, now: Instant) {
        let idle = (self.first_byte > self.idle).then_some(self.idle);
        self.arm(now, &[(Late::Idle, idle), (Late::Whole, self.whole_left(now))]);
    }

    fn start_whole(&mut self, now: Instant) {
        self.whole_ends = (!self.whole.is_zero()).then(|| now.checked_add(self.whole)).flatten();
    }

    fn whole_left(&self, now: Instant) -> Option<Duration> {
        // A limit that has passed already is still a limit: a zero here must not read as "off".
        self.whole_ends.map(|ends| ends.saturating_duration_since(now).max(Duration::from_nanos(1)))
    }

    /// Sets the shortest of the limits that are on.
    fn arm(&mut self, now: Instant, limits: &[(Late, Option<Duration>)]) {
        let Some((deadline, term)) = &self.line else { return };
        let on = limits.iter().filter_map(|(late, after)| Some((*late, (*after)?)));
        match on.filter(|(_, after)| !after.is_zero()).min_by_key(|(_, after)| *after) {
            Some((late, after)) => {
                if !deadline.fired() {
                    self.armed = late;
                }
                deadline.arm(*term, now, after);
            }
            None => deadline.disarm(*term),
        }
    }
}

impl Drop for Pace {
    fn drop(&mut self) {
        self.finish();
    }
}
