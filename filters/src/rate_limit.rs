//! `rate_limit`: how many requests may come in what time, per client, user, route or whatever else is counted by.
//!
//! The arithmetic of a bucket is in `gcra.rs`, the bounded table of buckets in `table.rs`. Nothing here waits: a
//! request passes or is refused at once.

mod gcra;
mod table;
mod metrics;
mod setting;

use std::sync::Arc;

use http::header::{HeaderValue, RETRY_AFTER};
use pingora_http::ResponseHeader;
use smallvec::SmallVec;

use self::metrics::Metrics;
use self::setting::parse_limits;
pub use self::setting::{Config, LimitSetting};
use self::table::{Held, Left, Table};
use crate::build::Build;
use crate::exchange::{Exchange, Slot};
use crate::field::overfull;
use crate::filter::{Fault, Filter, Stage, Step};
use crate::key::Key;
use crate::reply::{ProblemKind, Reply};

/// Limits of one filter at most.
const LIMITS_MAX: usize = 8;

/// Checks all limits, then takes from all: a request that one of them refuses costs nothing in the others. On the
/// pass path it allocates the value of `RateLimit` and, now and then, room in a table.
struct RateLimit {
    /// In the order of their tables, which is the order in which they are locked.
    limits: Box<[Limit]>,
    needs_identity: bool,
    /// `RateLimit-Policy`; `None` where every limit is in shadow mode.
    policy: Option<HeaderValue>,
}

struct Limit {
    name: Box<str>,
    key: Key,
    /// Counts only, refuses nothing and shows nothing.
    shadow: bool,
    table: Arc<Table>,
    metrics: Metrics,
    /// The item of `RateLimit` up to its first number.
    item: Box<str>,
}

type Lefts = SmallVec<[Left; LIMITS_MAX]>;

/// Builds the filter.
pub fn build(config: Config, context: &mut Build<'_>) -> Option<Arc<dyn Filter>> {
    let parsed = parse_limits(&config, context)?;
    let mut limits = Vec::with_capacity(parsed.len());
    let mut policy = String::new();
    for (limit, quota) in parsed {
        if !limit.shadow {
            policy.push_str(if policy.is_empty() { "" } else { ", " });
            policy.push_str(&quota);
        }
        limits.push(limit);
    }
    limits.sort_by_key(|limit| limit.table.order);
    let needs_identity = limits.iter().any(|limit| limit.key.needs_identity());
    // Names are checked, the rest is numbers: this is a header value.
    let policy = HeaderValue::from_str(&policy).ok().filter(|policy| !policy.is_empty());
    Some(Arc::new(RateLimit { limits: limits.into(), needs_identity, policy }))
}

impl Filter for RateLimit {
    fn name(&self) -> &'static str {
        "rate_limit"
    }

    /// A limit by claim or subject stands behind the filter that establishes them; any other may stand before as well,
    /// where it also counts requests without valid credentials.
    fn stage(&self) -> Stage {
        if self.needs_identity { Stage::Policy } else { Stage::Edge }
    }

    fn latest_stage(&self) -> Stage {
        Stage::Policy
    }

    fn on_request(&self, x: &mut Exchange<'_>) -> Step {
        let mut held: SmallVec<[Held<'_>; 4]> = SmallVec::new();
        for limit in &self.limits {
            // Tables are locked in one order everywhere, so two requests never wait for each other.
            held.push(limit.table.hold(limit.key.of(x), x.facts.started));
        }
        let waits: SmallVec<[Option<u32>; LIMITS_MAX]> = held.iter().map(Held::wait_secs).collect();
        let refuses = |(limit, wait): (&'_ Limit, &Option<u32>)| wait.filter(|_| !limit.shadow);
        let retry_secs = self.limits.iter().zip(&waits).filter_map(refuses).max();
        let lefts: Lefts = match retry_secs {
            Some(_) => held.iter().map(Held::left).collect(),
            None => held.into_iter().map(Held::take).collect(),
        };
        self.count(&waits, retry_secs.is_some());
        self.remember(x, &lefts);
        match retry_secs {
            Some(seconds) => Step::Reply(self.refusal(&waits, seconds)),
            None => Step::Continue,
        }
    }

    fn on_response(&self, x: &mut Exchange<'_>, head: &mut ResponseHeader) -> Result<(), Fault> {
        let Some(policy) = &self.policy else { return Ok(()) };
        // Both fields are lists (RFC 9651, section 3.1), so those of another limit, ours or the upstream's, stay.
        head.append_header("RateLimit-Policy", policy.clone()).map_err(|_| overfull())?;
        if let Some(state) = self.state(x) {
            head.append_header("RateLimit", state).map_err(|_| overfull())?;
        }
        Ok(())
    }
}

impl RateLimit {
    /// The limits that clients see.
    fn visible(&self) -> impl Iterator<Item = (usize, &Limit)> {
        self.limits.iter().enumerate().filter(|(_, limit)| !limit.shadow)
    }

    fn count(&self, waits: &[Option<u32>], refused: bool) {
        for (limit, wait) in self.limits.iter().zip(waits) {
            match wait {
                Some(_) if limit.shadow => limit.metrics.shadow.inc(),
                Some(_) => limit.metrics.refused.inc(),
                None if !refused => limit.metrics.allowed.inc(),
                None => {}
            }
        }
    }

    /// Keeps what is left for the response: two limits fit into the slot itself, more need an allocation.
    fn remember(&self, x: &mut Exchange<'_>, lefts: &[Left]) {
        let mut visible = self.visible().map(|(index, _)| lefts[index]);
        let (first, second, more) = (visible.next(), visible.next(), visible.next());
        *x.slot() = match (first, more) {
            (None, _) => Slot::Empty,
            (Some(first), None) => Slot::Numbers(pack(first), second.map_or(0, pack)),
            (Some(_), Some(_)) => {
                Slot::Boxed(Box::new(self.visible().map(|(i, _)| lefts[i]).collect::<Lefts>()))
            }
        };
    }

    fn refusal(&self, waits: &[Option<u32>], seconds: u32) -> Reply {
        let exhausted = self.limits.iter().zip(waits).filter(|(limit, wait)| wait.is_some() && !limit.shadow);
        let names: Vec<_> = exhausted.map(|(limit, _)| &*limit.name).collect();
        let detail = format!("rate limit exhausted: {}", names.join(", "));
        Reply::problem(ProblemKind::TooManyRequests, detail).header(RETRY_AFTER, HeaderValue::from(seconds))
    }

    /// The value of `RateLimit` (draft-ietf-httpapi-ratelimit-headers): for each limit the requests that are left, and
    /// the seconds until all are back.
    fn state(&self, x: &Exchange<'_>) -> Option<HeaderValue> {
        let pair;
        let lefts: &[Left] = match x.slot_ref() {
            Slot::Numbers(first, second) => {
                pair = [unpack(*first), unpack(*second)];
                &pair
            }
            Slot::Boxed(lefts) => lefts.downcast_ref::<Lefts>()?,
            _ => return None,
        };
        let mut digits = itoa::Buffer::new();
        let mut value = Vec::with_capacity(self.visible().map(|(_, limit)| limit.item.len() + 26).sum());
        for ((_, limit), left) in self.visible().zip(lefts) {
            if !value.is_empty() {
                value.extend_from_slice(b", ");
            }
            value.extend_from_slice(limit.item.as_bytes());
            value.extend_from_slice(digits.format(left.requests).as_bytes());
            value.extend_from_slice(b";t=");
            value.extend_from_slice(digits.format(left.full_in).as_bytes());
        }
        HeaderValue::from_maybe_shared(bytes::Bytes::from(value)).ok()
    }
}

fn pack(left: Left) -> u64 {
    u64::from(left.requests) << 32 | u64::from(left.full_in)
}

fn unpack(number: u64) -> Left {
    Left { requests: (number >> 32) as u32, full_in: number as u32 }
}

#[cfg(test)]
mod tests;
