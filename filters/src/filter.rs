//! The trait that every filter implements, and the small types its methods speak in.

use std::borrow::Cow;
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use http::{HeaderName, StatusCode};
use pingora_http::{RequestHeader, ResponseHeader};

use crate::exchange::Exchange;
use crate::reply::{ProblemKind, Reply};

/// Where in a chain a filter stands. Stages run in this order; a chain that lists them otherwise is refused at load.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stage {
    /// What concerns every request, known or not: addresses, CORS, security headers.
    Edge,
    /// Who asks.
    Identity,
    /// Whether they may, and how often.
    Policy,
    /// What the upstream and the client get to see.
    Shape,
}

/// What a filter decides about a request.
#[derive(Debug)]
pub enum Step {
    /// Go on with the next filter.
    Continue,
    /// Answer this, and do not go on.
    Reply(Reply),
    /// The decision needs something that is not here yet: call `resume`.
    Wait,
}

/// A failure inside a filter, after the request phase. The client gets the problem, the log gets the reason.
#[derive(Debug)]
pub struct Fault {
    /// What the client is told.
    pub kind: ProblemKind,
    /// What the log is told; never a token, a secret or a body.
    pub reason: Cow<'static, str>,
}

/// How an exchange ended.
#[derive(Debug, Clone, Copy)]
pub struct Outcome {
    /// The status that was sent, if any was.
    pub status: Option<StatusCode>,
    /// Time from the complete head to the end.
    pub took: Duration,
}

/// A change to a body as it passes, chunk by chunk.
pub trait BodyTransform: Send + Sync {
    /// Sees each chunk (`None` or empty at the end) and may replace it.
    ///
    /// # Errors
    /// A fault ends the exchange.
    fn chunk(&mut self, body: &mut Option<Bytes>, end: bool) -> Result<(), Fault>;
}

/// One decision of a chain. Implementations are shared by all requests: state is interior, bounded, and never
/// locked across a wait.
pub trait Filter: Send + Sync + 'static {
    /// The name used in `routes.yaml`, logs and metrics.
    fn name(&self) -> &'static str;

    /// Where in a chain this filter may stand; the earliest stage, if it may stand in several.
    fn stage(&self) -> Stage;

    /// The latest stage in which this filter may stand. Where a filter may stand in several, it stands in the stage of
    /// the filters before it.
    fn latest_stage(&self) -> Stage {
        self.stage()
    }

    /// Whether no request without a valid identity passes this filter. A route needs such a filter or `public: true`.
    fn guards(&self) -> bool {
        self.stage() == Stage::Identity
    }

    /// Whether this filter answers CORS preflights. Without such a filter in the chain a preflight is an ordinary
    /// request.
    fn answers_preflight(&self) -> bool {
        false
    }

    /// Request headers that this filter sets for upstreams. What a client sends under these names is deleted on
    /// every route before any filter runs.
    fn managed_headers(&self) -> Vec<HeaderName> {
        Vec::new()
    }

    /// Path parameters that a route must have for this filter to work. A route without them is refused at load.
    fn route_params(&self) -> Vec<&str> {
        Vec::new()
    }

    /// Decides about a request, without I/O.
    fn on_request(&self, x: &mut Exchange<'_>) -> Step {
        let _ = x;
        Step::Continue
    }

    /// Continues after `Step::Wait`. May be dropped at any await. Never answers `Wait`.
    fn resume<'a>(&'a self, x: &'a mut Exchange<'_>) -> BoxFuture<'a, Step> {
        let _ = x;
        Box::pin(async { Step::Continue })
    }

    /// Shapes the request for the upstream; runs again on each retry.
    ///
    /// # Errors
    /// A fault ends the exchange before the upstream sees it.
    fn on_upstream_request(&self, x: &mut Exchange<'_>, head: &mut RequestHeader) -> Result<(), Fault> {
        let _ = (x, head);
        Ok(())
    }

    /// Shapes the response, from the upstream or from the edge itself; runs backwards over the filters entered.
    ///
    /// # Errors
    /// A fault replaces the response with a problem document.
    fn on_response(&self, x: &mut Exchange<'_>, head: &mut ResponseHeader) -> Result<(), Fault> {
        let _ = (x, head);
        Ok(())
    }

    /// A transform for the request's body, if this exchange needs one. Asked again on each retry, which gets the body
    /// from its beginning.
    fn request_body(&self, x: &Exchange<'_>) -> Option<Box<dyn BodyTransform>> {
        let _ = x;
        None
    }

    /// A transform for the response's body, if this exchange needs one.
    fn response_body(&self, x: &Exchange<'_>, head: &ResponseHeader) -> Option<Box<dyn BodyTransform>> {
        let _ = (x, head);
        None
    }

    /// Sees the end of every exchange it was entered for, except those whose connection broke.
    fn on_end(&self, x: &mut Exchange<'_>, outcome: &Outcome) {
        let _ = (x, outcome);
    }
}

impl Fault {
    /// A fault with a reason for the log.
    pub fn new(kind: ProblemKind, reason: impl Into<Cow<'static, str>>) -> Self {
        Fault { kind, reason: reason.into() }
    }
}
