//! The filters of one route in the order they run.

use std::sync::Arc;

use http::HeaderName;
use pingora_http::{RequestHeader, ResponseHeader};
use prometheus::{IntCounter, IntCounterVec};
use smallvec::SmallVec;

use crate::exchange::Exchange;
use crate::filter::{BodyTransform, Fault, Filter, Outcome, Stage, Step};
use crate::reply::Reply;

/// Body transforms of one exchange, in the order they run; nearly always empty.
pub type Transforms = SmallVec<[Box<dyn BodyTransform>; 1]>;

/// The filters of one route. Shared by every request of the route; holds nothing of an exchange.
pub struct Chain {
    links: Box<[Link]>,
}

struct Link {
    filter: Arc<dyn Filter>,
    /// Where it stands: of the stages it may stand in, the first that is not before the filters before it.
    stage: Stage,
    passed: IntCounter,
    replied: IntCounter,
}

/// Two filters of a chain whose stages run backwards.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Backwards {
    /// Index of the filter that stands too late.
    pub index: usize,
    /// Its name.
    pub name: &'static str,
    /// The filter before it that belongs behind it.
    pub before: &'static str,
}

impl Chain {
    /// Joins filters to a chain. `decisions` is the counter family labelled `filter`, `decision`.
    ///
    /// # Errors
    /// A filter that stands behind one of a later stage.
    pub fn new(filters: Vec<Arc<dyn Filter>>, decisions: &IntCounterVec) -> Result<Self, Backwards> {
        let mut links = Vec::with_capacity(filters.len());
        let (mut stage, mut set_by) = (Stage::Edge, "");
        for (index, filter) in filters.into_iter().enumerate() {
            if filter.latest_stage() < stage {
                return Err(Backwards { index, name: filter.name(), before: set_by });
            }
            if filter.stage() > stage {
                (stage, set_by) = (filter.stage(), filter.name());
            }
            let passed = decisions.with_label_values(&[filter.name(), "pass"]);
            let replied = decisions.with_label_values(&[filter.name(), "reply"]);
            links.push(Link { filter, stage, passed, replied });
        }
        Ok(Chain { links: links.into() })
    }

    /// The filters, in order.
    pub fn filters(&self) -> impl Iterator<Item = &Arc<dyn Filter>> {
        self.links.iter().map(|link| &link.filter)
    }

    /// Whether no request without a valid identity passes this chain.
    pub fn guards(&self) -> bool {
        self.links.iter().any(|link| link.filter.guards())
    }

    /// The path parameters that a route must have for this chain to work.
    pub fn route_params(&self) -> impl Iterator<Item = &str> {
        self.links.iter().flat_map(|link| link.filter.route_params())
    }

    /// Whether a filter of this chain answers CORS preflights.
    pub fn answers_preflight(&self) -> bool {
        self.links.iter().any(|link| link.filter.answers_preflight())
    }

    /// The request headers that this chain sets for upstreams.
    pub fn managed_headers(&self) -> impl Iterator<Item = HeaderName> + '_ {
        self.links.iter().flat_map(|link| link.filter.managed_headers())
    }

    /// Runs the request phase. `Some` is the answer; `None` means that the request may pass.
    /// A CORS preflight is seen by filters that stand in `Edge` only, so by none behind an `Identity` filter.
    pub async fn on_request(&self, x: &mut Exchange<'_>) -> Option<Reply> {
        for (index, link) in self.links.iter().enumerate() {
            if x.facts.preflight && link.stage > Stage::Edge {
                return None;
            }
            x.enter(index);
            let step = match link.filter.on_request(x) {
                Step::Wait => link.filter.resume(x).await,
                step => step,
            };
            match step {
                Step::Continue => link.passed.inc(),
                Step::Reply(reply) => {
                    link.replied.inc();
                    return Some(reply);
                }
                Step::Wait => {
                    link.replied.inc();
                    return Some(Reply::problem(crate::ProblemKind::Internal, "a filter did not decide"));
                }
            }
        }
        None
    }

    /// Shapes the upstream's request.
    ///
    /// # Errors
    /// The first fault of a filter.
    pub fn on_upstream_request(&self, x: &mut Exchange<'_>, head: &mut RequestHeader) -> Result<(), Fault> {
        for (index, link) in self.entered(x) {
            x.revisit(index);
            link.filter.on_upstream_request(x, head)?;
        }
        Ok(())
    }

    /// Shapes a response, backwards over the filters that saw the request.
    ///
    /// # Errors
    /// The first fault of a filter.
    pub fn on_response(&self, x: &mut Exchange<'_>, head: &mut ResponseHeader) -> Result<(), Fault> {
        for (index, link) in self.entered(x).rev() {
            x.revisit(index);
            link.filter.on_response(x, head)?;
        }
        Ok(())
    }

    /// The transforms for the request's body.
    pub fn request_body(&self, x: &mut Exchange<'_>) -> Transforms {
        let mut transforms = Transforms::new();
        for (index, link) in self.entered(x) {
            x.revisit(index);
            transforms.extend(link.filter.request_body(x));
        }
        transforms
    }

    /// The transforms for the response's body, backwards like `on_response`.
    pub fn response_body(&self, x: &mut Exchange<'_>, head: &ResponseHeader) -> Transforms {
        let mut transforms = Transforms::new();
        for (index, link) in self.entered(x).rev() {
            x.revisit(index);
            transforms.extend(link.filter.response_body(x, head));
        }
        transforms
    }

    /// Tells every filter that was entered how the exchange ended.
    pub fn on_end(&self, x: &mut Exchange<'_>, outcome: &Outcome) {
        for (index, link) in self.entered(x).rev() {
            x.revisit(index);
            link.filter.on_end(x, outcome);
        }
    }

    fn entered(&self, x: &Exchange<'_>) -> impl DoubleEndedIterator<Item = (usize, &Link)> + use<'_> {
        let entered = x.facts.entered().min(self.links.len());
        self.links[..entered].iter().enumerate()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use futures::executor::block_on;
    use prometheus::Opts;

    use super::*;
    use crate::exchange::Facts;

    /// A filter that does nothing in the stages given.
    struct Standing {
        name: &'static str,
        from: Stage,
        to: Stage,
    }

    impl Filter for Standing {
        fn name(&self) -> &'static str {
            self.name
        }

        fn stage(&self) -> Stage {
            self.from
        }

        fn latest_stage(&self) -> Stage {
            self.to
        }
    }

    fn chain(filters: &[(&'static str, Stage, Stage)]) -> Result<Chain, Backwards> {
        let decisions =
            IntCounterVec::new(Opts::new("decisions", "of filters"), &["filter", "decision"]).unwrap();
        let filters = filters.iter().map(|&(name, from, to)| Arc::new(Standing { name, from, to }) as _);
        Chain::new(filters.collect(), &decisions)
    }

    /// How many filters a preflight enters.
    fn entered_by_preflight(chain: &Chain) -> usize {
        let mut request = RequestHeader::build("OPTIONS", b"/", None).unwrap();
        let id = http::HeaderValue::from_static("test");
        let client = std::net::IpAddr::from([192, 0, 2, 1]);
        let mut facts = Facts::new(Instant::now(), std::time::SystemTime::now(), client, id);
        facts.preflight = true;
        assert!(block_on(chain.on_request(&mut Exchange::new(&mut request, &mut facts))).is_none());
        facts.entered()
    }

    const EDGE: (&str, Stage, Stage) = ("edge", Stage::Edge, Stage::Edge);
    const IDENTITY: (&str, Stage, Stage) = ("identity", Stage::Identity, Stage::Identity);
    const POLICY: (&str, Stage, Stage) = ("policy", Stage::Policy, Stage::Policy);
    const SHAPE: (&str, Stage, Stage) = ("shape", Stage::Shape, Stage::Shape);
    const ROVING: (&str, Stage, Stage) = ("roving", Stage::Edge, Stage::Policy);

    #[test]
    fn a_chain_that_runs_backwards_is_refused_and_the_culprits_are_named() {
        let refused = chain(&[EDGE, IDENTITY, ROVING, EDGE]).err().unwrap();
        assert_eq!(refused, Backwards { index: 3, name: "edge", before: "identity" });
        let refused = chain(&[ROVING, SHAPE, ROVING]).err().unwrap();
        assert_eq!(refused, Backwards { index: 2, name: "roving", before: "shape" });
        let refused = chain(&[POLICY, IDENTITY]).err().unwrap();
        assert_eq!(refused, Backwards { index: 1, name: "identity", before: "policy" });
    }

    #[test]
    fn a_filter_of_several_stages_stands_in_any_of_them() {
        for order in [&[ROVING, EDGE, IDENTITY][..], &[EDGE, ROVING, IDENTITY, ROVING, POLICY, ROVING, SHAPE]]
        {
            assert!(chain(order).is_ok(), "{order:?}");
        }
    }

    /// Fetch standard, "CORS-preflight request": it carries no credentials, so it must not meet a filter that asks
    /// for them, nor what stands behind one.
    #[test]
    fn a_preflight_sees_only_what_stands_before_identity() {
        assert_eq!(entered_by_preflight(&chain(&[EDGE, ROVING, IDENTITY, ROVING, SHAPE]).unwrap()), 2);
        assert_eq!(entered_by_preflight(&chain(&[IDENTITY, ROVING]).unwrap()), 0);
        assert_eq!(entered_by_preflight(&chain(&[ROVING, ROVING]).unwrap()), 2);
        assert_eq!(entered_by_preflight(&chain(&[EDGE, POLICY, ROVING]).unwrap()), 1);
    }
}
