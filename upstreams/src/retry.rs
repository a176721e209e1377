//! When a request is tried again, as a route has it: the rule without the request. Whether one more try fits into the
//! upstream's budget is [`Upstream::may_retry`](crate::Upstream::may_retry).

use sallyport_config::route;
use smallvec::SmallVec;

/// When a request is tried again.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Retry {
    /// Tries after the first, at most.
    pub attempts: u32,
    /// Whether after a failure to connect.
    pub connect: bool,
    /// Whether after a connection broke that the request may have been sent on.
    pub reset: bool,
    /// Statuses of a response that is not wanted.
    pub statuses: SmallVec<[u16; 4]>,
}

impl Retry {
    /// Compiles `retry:`; the loader has checked the words.
    pub fn new(settings: &route::Retry) -> Retry {
        let has = |word: &str| settings.on.iter().any(|on| on.value == word);
        Retry {
            attempts: settings.attempts.value,
            connect: has("connect"),
            reset: has("reset"),
            statuses: settings.on.iter().filter_map(|on| on.value.parse().ok()).collect(),
        }
    }
}
