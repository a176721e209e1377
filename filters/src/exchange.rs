//! What a filter may know of one exchange: the request head and the facts that the edge has established.
//!
//! Nothing here does I/O or reads a clock; the edge fills [`Facts`] before the first filter runs.

use std::any::Any;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use http::HeaderValue;
use pingora_http::RequestHeader;
use sallyport_identity::Identity;
use serde_json::Value;
use smallvec::SmallVec;

use crate::concurrency_limit::Place;

/// One request and, later, its response, as a filter sees it.
pub struct Exchange<'a> {
    /// The request head as the client sent it, less hop-by-hop and managed headers; the path is canonical.
    pub request: &'a mut RequestHeader,
    /// What the edge and the filters before have established.
    pub facts: &'a mut Facts,
    current: usize,
}

/// What is known of an exchange apart from its head. Lives as long as the exchange.
pub struct Facts {
    /// When the head of the request was complete, for measuring.
    pub started: Instant,
    /// The same moment on the wall clock, for expiry times and logs.
    pub started_at: SystemTime,
    /// The client's address: the peer's, or what trusted proxies say of it.
    pub client: IpAddr,
    /// Whether the peer of the connection is one of the listener's `trusted_proxies`.
    pub peer_trusted: bool,
    /// Whether the client speaks TLS to us (or to a trusted proxy that says so).
    pub secure: bool,
    /// The request id: made at the edge, or kept from a trusted peer.
    pub request_id: HeaderValue,
    /// The route that was chosen; `None` until then and where no route matched.
    pub route: Option<Arc<RouteFacts>>,
    /// Values of the route's path parameters, as ranges of the canonical path, in the order of their names.
    pub params: SmallVec<[(u16, u16); 4]>,
    /// Whether this is a CORS preflight (Fetch standard, "CORS-preflight request"). Only `Edge` filters see it.
    pub preflight: bool,
    /// Who asks, once a filter of stage `Identity` has established it.
    pub identity: Option<Arc<Identity>>,
    /// The most bytes the request's body may have.
    pub body_bytes_max: u64,
    slots: SmallVec<[Slot; 8]>,
    entered: usize,
}

/// What is known of a route at load.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouteFacts {
    /// The route's name: as given, or its match line. Used in logs and as a metric label.
    pub name: Arc<str>,
    /// The names of its path parameters, in the order of the path.
    pub params: Vec<Box<str>>,
}

/// A filter's own memory of one exchange, kept between its calls and dropped with the exchange, however it ends.
#[derive(Default)]
pub enum Slot {
    /// Nothing remembered.
    #[default]
    Empty,
    /// Two numbers, whatever they mean to the filter; costs no allocation.
    Numbers(u64, u64),
    /// A place in a concurrency limit by key, given back on drop.
    Inflight(pingora_limits::inflight::Guard),
    /// A place in an exact concurrency limit, given back on drop.
    Place(Place),
    /// What is shared with other exchanges, such as a cache's entry; costs no allocation.
    Shared(Arc<dyn Any + Send + Sync>),
    /// Anything else.
    Boxed(Box<dyn Any + Send + Sync>),
}

impl Facts {
    /// Facts of an exchange that has just begun: no route, no identity, no parameters.
    pub fn new(started: Instant, started_at: SystemTime, client: IpAddr, request_id: HeaderValue) -> Self {
        Facts {
            started,
            started_at,
            client,
            peer_trusted: false,
            secure: false,
            request_id,
            route: None,
            params: SmallVec::new(),
            preflight: false,
            identity: None,
            body_bytes_max: u64::MAX,
            slots: SmallVec::new(),
            entered: 0,
        }
    }

    /// How many filters of the chain have been entered; `on_response` runs backwards over these.
    pub fn entered(&self) -> usize {
        self.entered
    }
}

impl<'a> Exchange<'a> {
    /// Joins a request head with what is known of it.
    pub fn new(request: &'a mut RequestHeader, facts: &'a mut Facts) -> Self {
        Exchange { request, facts, current: 0 }
    }

    /// The value of a path parameter of the route, percent-encoded as in the canonical path.
    pub fn param(&self, name: &str) -> Option<&str> {
        let index = self.facts.route.as_ref()?.params.iter().position(|p| &**p == name)?;
        let (from, to) = *self.facts.params.get(index)?;
        self.request.uri.path().get(usize::from(from)..usize::from(to))
    }

    /// A claim of whoever asks, by its dotted path; `None` without an identity, too.
    pub fn claim(&self, path: &str) -> Option<&Value> {
        self.facts.identity.as_ref()?.claim(path)
    }

    /// The calling filter's own slot.
    pub fn slot(&mut self) -> &mut Slot {
        if self.facts.slots.len() <= self.current {
            self.facts.slots.resize_with(self.current + 1, Slot::default);
        }
        &mut self.facts.slots[self.current]
    }

    /// The calling filter's own slot, to read.
    pub fn slot_ref(&self) -> &Slot {
        static EMPTY: Slot = Slot::Empty;
        self.facts.slots.get(self.current).unwrap_or(&EMPTY)
    }

    /// Makes `slot` mean the filter at `index`; called by the chain only.
    pub(crate) fn enter(&mut self, index: usize) {
        self.current = index;
        self.facts.entered = self.facts.entered.max(index + 1);
    }

    /// Like `enter`, for the phases after the request phase.
    pub(crate) fn revisit(&mut self, index: usize) {
        self.current = index;
    }
}
