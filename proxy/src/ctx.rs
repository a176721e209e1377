//! What the edge remembers of one exchange between Pingora's phases.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Instant;

use pingora_http::ResponseHeader;
use prometheus::IntGauge;
use sallyport_filters::chain::Transforms;
use sallyport_filters::{Chain, Facts, Fault, ProblemKind};
use sallyport_upstreams::{Pace, Picked};
use smallvec::SmallVec;

use crate::listener::Conn;
use crate::plan::{Destination, Plan, Route};
use crate::sidecar::Seat;
use crate::trace::Trace;

/// One exchange. Empty until its head was read.
#[derive(Default)]
pub(crate) struct Ctx {
    /// What is known since the request's head was accepted.
    pub(crate) begun: Option<Begun>,
    /// How the try at an upstream goes.
    pub(crate) outbound: Outbound,
    pub(crate) request_body: Body,
    pub(crate) response_body: Body,
    /// A failure of ours that is on its way through Pingora as an error.
    pub(crate) fault: Option<Fault>,
    /// The problem the edge answered with.
    pub(crate) problem: Option<ProblemKind>,
    /// Why the exchange failed, for the log.
    pub(crate) error: Option<Cow<'static, str>>,
}

/// An exchange whose head was accepted.
pub(crate) struct Begun {
    pub(crate) plan: Arc<Plan>,
    pub(crate) conn: Arc<Conn>,
    pub(crate) facts: Facts,
    pub(crate) trace: Trace,
    /// Index of the route in the plan.
    pub(crate) route: Option<usize>,
    _in_flight: InFlight,
}

/// The way to an upstream.
#[derive(Default)]
pub(crate) struct Outbound {
    pub(crate) destination: Option<Arc<Destination>>,
    pub(crate) picked: Option<Picked>,
    /// The sidecar, where the route leads to one instead of to an upstream.
    pub(crate) sidecar: Option<Arc<Seat>>,
    /// Targets that were tried.
    pub(crate) tried: SmallVec<[std::net::SocketAddr; 3]>,
    /// Tries after the first.
    pub(crate) retries: u32,
    /// The time limits of the try under way.
    pub(crate) pace: Option<Pace>,
    /// When the response's head came.
    pub(crate) responded: Option<Instant>,
    /// Whether the response's status was 5xx.
    pub(crate) server_error: bool,
    /// Whether the upstream was told how this try went.
    pub(crate) counted: bool,
}

impl Outbound {
    /// Notes the final head of a response.
    pub(crate) fn responded(&mut self, head: &ResponseHeader) {
        let now = Instant::now();
        self.responded = Some(now);
        self.server_error = head.status.is_server_error();
        if let Some(pace) = &mut self.pace {
            pace.response_head(now);
        }
    }
}

/// A body as it passes.
#[derive(Default)]
pub(crate) struct Body {
    pub(crate) bytes: u64,
    pub(crate) transforms: Transforms,
}

/// Counts the exchange as under way while it lives.
pub(crate) struct InFlight(IntGauge);

impl Begun {
    pub(crate) fn new(
        plan: Arc<Plan>,
        conn: Arc<Conn>,
        facts: Facts,
        trace: Trace,
        gauge: &IntGauge,
    ) -> Self {
        gauge.inc();
        Begun { plan, conn, facts, trace, route: None, _in_flight: InFlight(gauge.clone()) }
    }

    /// The route that was chosen.
    pub(crate) fn route(&self) -> Option<&Route> {
        self.plan.routes.get(self.route?)
    }

    /// What outlives the exchange where it becomes a tunnel. The plan does not.
    pub(crate) fn into_parts(self) -> (Arc<Conn>, Facts, Trace, InFlight) {
        (self.conn, self.facts, self.trace, self._in_flight)
    }

    /// The chain together with what a filter may change, borrowed apart.
    pub(crate) fn split(&mut self) -> (&Chain, &mut Facts) {
        let chain = match self.route {
            Some(index) => &*self.plan.routes[index].chain,
            None => &self.plan.bare,
        };
        (chain, &mut self.facts)
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.dec();
    }
}
