//! `concurrency_limit`: how many exchanges may be under way at a time.
//!
//! A place is taken in the request phase and given back when the exchange is dropped, however it ends; that is the
//! work of the slot it is kept in.
//!
//! Limits by `global` and `route` are exact. Limits by any other key count with `pingora_limits::inflight`, a sketch
//! of 4 × 8192 counters that takes 256 KiB whatever the number of clients. It can count a client too high, when
//! others share all four of its counters, which takes some ten thousand clients with exchanges under way to become
//! likely; never too low.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, Ordering, fence};
use std::sync::{Arc, PoisonError, RwLock};

use http::header::{HeaderValue, RETRY_AFTER};
use pingora_limits::inflight::{Guard, Inflight};
use sallyport_config::Located;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::build::Build;
use crate::exchange::{Exchange, Slot};
use crate::filter::{Filter, Stage, Step};
use crate::key::{Key, KeySetting, by_client};
use crate::reply::{ProblemKind, Reply};

/// The settings of `concurrency_limit`.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Exchanges under way at a time for one key, at least 1. One more is answered with 429, because that client asks
    /// too much at once; where all clients share the limit (`route`, `global`), with 503. Both carry `Retry-After: 1`.
    pub max: Located<u32>,
    /// What is counted by, as for `rate_limit`. Default: client.
    #[serde(default = "by_client")]
    pub key: Located<KeySetting>,
}

/// Counts exchanges under way. Allocates nothing on the pass path, but for the first exchange of a route.
struct ConcurrencyLimit {
    max: u32,
    key: Key,
    places: Arc<Places>,
}

/// What is taken. Does not know the maximum, so that a reload that changes it forgets no exchange.
enum Places {
    Global(Arc<AtomicU32>),
    ByRoute(RwLock<HashMap<Arc<str>, Arc<AtomicU32>>>),
    ByKey(Inflight),
}

/// A place in an exact limit, given back on drop.
pub struct Place(Arc<AtomicU32>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Routes whose counters are kept although nothing is under way.
const IDLE_ROUTES_MAX: usize = 4096;

/// Builds the filter.
pub fn build(config: Config, context: &mut Build<'_>) -> Option<Arc<dyn Filter>> {
    let key = Key::parse(&config.key, context.report);
    if config.max.value == 0 {
        context.report.error(config.max.at, "a `max` of 0 lets nothing pass").hint("the least is 1");
        return None;
    }
    let key = key?;
    let state = format!("concurrency_limit of {} by {key}", context.scope);
    let places = context.kept.keep(&state, || Places::by(&key));
    Some(Arc::new(ConcurrencyLimit { max: config.max.value, key, places }))
}

impl Filter for ConcurrencyLimit {
    fn name(&self) -> &'static str {
        "concurrency_limit"
    }

    fn stage(&self) -> Stage {
        if self.key.needs_identity() { Stage::Policy } else { Stage::Edge }
    }

    fn latest_stage(&self) -> Stage {
        Stage::Policy
    }

    fn on_request(&self, x: &mut Exchange<'_>) -> Step {
        let slot = match &*self.places {
            Places::Global(taken) => take(taken, self.max).map(Slot::Place),
            Places::ByRoute(routes) => take(&of_route(routes, x), self.max).map(Slot::Place),
            Places::ByKey(inflight) => take_estimated(inflight, self.key.of(x), self.max).map(Slot::Inflight),
        };
        match slot {
            Some(slot) => {
                *x.slot() = slot;
                Step::Continue
            }
            None => Step::Reply(self.refusal()),
        }
    }
}

impl ConcurrencyLimit {
    fn refusal(&self) -> Reply {
        let reply = if self.key.is_shared() {
            Reply::problem(ProblemKind::Unavailable, "too many requests are under way")
        } else {
            Reply::problem(ProblemKind::TooManyRequests, "too many requests of yours are under way")
        };
        reply.header(RETRY_AFTER, HeaderValue::from_static("1"))
    }
}

impl Places {
    fn by(key: &Key) -> Places {
        if key.is_global() {
            Places::Global(Arc::default())
        } else if key.is_shared() {
            Places::ByRoute(RwLock::default())
        } else {
            Places::ByKey(Inflight::new())
        }
    }
}

fn take(taken: &Arc<AtomicU32>, max: u32) -> Option<Place> {
    let one_more = |taken: u32| (taken < max).then(|| taken + 1);
    taken.fetch_update(Ordering::AcqRel, Ordering::Acquire, one_more).ok()?;
    Some(Place(taken.clone()))
}

/// The counter of the exchange's route.
fn of_route(routes: &RwLock<HashMap<Arc<str>, Arc<AtomicU32>>>, x: &Exchange<'_>) -> Arc<AtomicU32> {
    let name = x.facts.route.as_ref().map(|route| route.name.clone()).unwrap_or_default();
    if let Some(taken) = routes.read().unwrap_or_else(PoisonError::into_inner).get(&name) {
        return taken.clone();
    }
    let mut routes = routes.write().unwrap_or_else(PoisonError::into_inner);
    if routes.len() >= IDLE_ROUTES_MAX {
        // Nobody else holds this counter, and nobody can come to hold it while the map is locked: it counts nothing.
        routes.retain(|_, taken| Arc::strong_count(taken) > 1);
    }
    routes.entry(name).or_default().clone()
}

/// Takes a place, and gives it back if there is none. When two exchanges race for the last place, both may be
/// refused, but never both let in.
fn take_estimated(inflight: &Inflight, key: u128, max: u32) -> Option<Guard> {
    let (guard, _) = inflight.incr(key, 1);
    // The estimate that `incr` gives is the least of counters that were raised one after the other: of two racing
    // exchanges each can be first at one counter, and both would pass. So look again once all are raised; the fence
    // makes sure that the later of the two sees what the other did.
    fence(Ordering::SeqCst);
    (guard.get() <= isize::try_from(max).unwrap_or(isize::MAX)).then_some(guard)
}

#[cfg(test)]
mod tests {
    use http::StatusCode;
    use sallyport_identity::Issuers;

    use super::*;
    use crate::exchange::RouteFacts;
    use crate::probe::tests::{probe, refused};
    use crate::probe::{Made, Probe};
    use crate::registry::Registry;

    fn from(last: u8) -> Made {
        Made::new("GET", "/").from([192, 0, 2, last].into())
    }

    fn on(route: &str) -> Made {
        let mut made = Made::new("GET", "/");
        made.facts.route = Some(Arc::new(RouteFacts { name: route.into(), params: Vec::new() }));
        made
    }

    /// Takes a place; the exchange must be kept for as long as the place is.
    fn enters(probe: &Probe, mut made: Made) -> Option<Made> {
        probe.request(&mut made).is_none().then_some(made)
    }

    #[test]
    fn each_client_has_its_own_places_and_gets_them_back() {
        let probe = probe("- concurrency_limit: { max: 2 }");
        let (first, second) = (enters(&probe, from(1)), enters(&probe, from(1)));
        assert!(first.is_some() && second.is_some());
        let reply = probe.request(&mut from(1)).unwrap();
        assert_eq!(
            (reply.status, &reply.headers[0].1),
            (StatusCode::TOO_MANY_REQUESTS, &HeaderValue::from(1))
        );
        assert!(enters(&probe, from(2)).is_some());
        drop(first);
        assert!(enters(&probe, from(1)).is_some());
        drop(second);
    }

    #[test]
    fn a_refused_exchange_takes_no_place() {
        for yaml in ["- concurrency_limit: { max: 1 }", "- concurrency_limit: { max: 1, key: global }"] {
            let probe = probe(yaml);
            let first = enters(&probe, from(1)).unwrap();
            for _ in 0..10 {
                assert!(enters(&probe, from(1)).is_none());
            }
            drop(first);
            assert!(enters(&probe, from(1)).is_some());
        }
    }

    #[test]
    fn shared_limits_answer_503() {
        for yaml in
            ["- concurrency_limit: { max: 1, key: global }", "- concurrency_limit: { max: 1, key: route }"]
        {
            let probe = probe(yaml);
            let _first = enters(&probe, from(1)).unwrap();
            let reply = probe.request(&mut from(2)).unwrap();
            assert_eq!(
                (reply.status, &reply.headers[0].1),
                (StatusCode::SERVICE_UNAVAILABLE, &HeaderValue::from(1))
            );
        }
    }

    #[test]
    fn each_route_has_its_own_places() {
        let probe = probe("- concurrency_limit: { max: 1, key: route }");
        let first = enters(&probe, on("a")).unwrap();
        assert!(enters(&probe, on("a")).is_none() && enters(&probe, on("b")).is_some());
        drop(first);
        assert!(enters(&probe, on("a")).is_some());
    }

    #[test]
    fn counters_of_idle_routes_are_forgotten_those_in_use_are_not() {
        let routes = RwLock::default();
        let of = |name: &str| {
            let mut made = on(name);
            of_route(&routes, &Exchange::new(&mut made.request, &mut made.facts))
        };
        let _place = take(&of("kept"), 1).unwrap();
        for route in 0..2 * IDLE_ROUTES_MAX {
            of(&route.to_string());
        }
        assert!(routes.read().unwrap().len() <= IDLE_ROUTES_MAX);
        assert!(take(&of("kept"), 1).is_none());
    }

    #[test]
    fn a_reload_with_another_maximum_forgets_no_exchange() {
        for key in ["client", "global", "route"] {
            let old = probe(&format!("- concurrency_limit: {{ max: 1, key: {key} }}"));
            let first = enters(&old, on("a")).unwrap();
            let yaml = format!("- concurrency_limit: {{ max: 2, key: {key} }}");
            let new =
                Probe::with_kept(&Registry::standard(), &Issuers::default(), &yaml, old.kept.next()).unwrap();
            let second = enters(&new, on("a")).unwrap();
            assert!(enters(&new, on("a")).is_none(), "{key}");
            drop((first, second));
        }
    }

    /// A sketch that is read while it is being raised would let two racing exchanges in.
    #[test]
    fn threads_never_hold_more_than_the_maximum() {
        let inflight = Inflight::new();
        let held = AtomicU32::new(0);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..2000 {
                        if let Some(guard) = take_estimated(&inflight, 1, 2) {
                            assert!(held.fetch_add(1, Ordering::SeqCst) < 2);
                            held.fetch_sub(1, Ordering::SeqCst);
                            drop(guard);
                        }
                    }
                });
            }
        });
        assert!(take_estimated(&inflight, 1, 1).is_some(), "every place was given back");
    }

    #[test]
    fn bad_settings_are_refused_where_they_stand() {
        refused("- concurrency_limit", "probe.yaml:1:3", "max");
        refused("- concurrency_limit: { max: 0 }", "probe.yaml:1:29", "the least is 1");
        refused("- concurrency_limit: { max: 1, key: glbal }", "probe.yaml:1:37", "did you mean `global`?");
        refused("- headers\n- concurrency_limit: { max: 1 }", "probe.yaml:2:3", "belongs before `headers`");
    }
}
