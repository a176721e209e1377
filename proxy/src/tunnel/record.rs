//! What a tunnel keeps of the exchange that opened it: no more than its end takes. Dropping it ends it: filters are told,
//! metrics counted, the access log written, places given back.

use std::sync::Arc;
use std::time::Duration;

use http::header::{HOST, HeaderValue};
use pingora_http::RequestHeader;
use sallyport_filters::{Chain, Exchange, Facts, Outcome};
use sallyport_upstreams::Picked;

use crate::ctx::{Ctx, InFlight};
use crate::end;
use crate::listener::ListenerPlan;
use crate::metrics::{OpenTunnel, RouteMetrics};
use crate::plan::Destination;
use crate::sidecar::{Ended, Reason, Sidecar};
use crate::state::State;
use crate::trace::Trace;

/// The account of one tunnel.
pub(crate) struct Record {
    pub(crate) state: Arc<State>,
    pub(crate) listener: Arc<ListenerPlan>,
    chain: Arc<Chain>,
    pub(crate) facts: Facts,
    /// The request without its fields, but for `Host`: they would cost more memory than the tunnel.
    pub(crate) head: RequestHeader,
    pub(crate) trace: Trace,
    metrics: Arc<RouteMetrics>,
    open: Option<OpenTunnel>,
    destination: Option<Arc<Destination>>,
    pub(crate) picked: Option<Picked>,
    pub(crate) retries: u32,
    pub(crate) upstream_took: Option<Duration>,
    sidecar: Option<Sidecar>,
    pub(crate) ended: Ended,
    _in_flight: InFlight,
}

impl Record {
    /// Takes over the exchange, which with this is over for every later phase. `None` before a route was chosen.
    pub(crate) fn take(ctx: &mut Ctx, state: &Arc<State>, head: &RequestHeader) -> Option<Box<Record>> {
        let upstream_took = end::upstream_took(ctx);
        let begun = ctx.begun.take()?;
        let (chain, metrics) = begun.route().map(|route| (route.chain.clone(), route.metrics.clone()))?;
        let (conn, facts, trace, in_flight) = begun.into_parts();
        let short = short(head)?;
        metrics.opened(facts.started.elapsed());
        Some(Box::new(Record {
            state: state.clone(),
            listener: conn.listener.clone(),
            chain,
            facts,
            head: short,
            trace,
            open: metrics.tunnel(),
            metrics,
            destination: ctx.outbound.destination.take(),
            picked: ctx.outbound.picked.take(),
            retries: ctx.outbound.retries,
            upstream_took,
            sidecar: ctx.outbound.sidecar.as_ref().map(|seat| seat.sidecar),
            // Unless somebody says otherwise it was cut, which only a stop that has waited long enough does.
            ended: Ended { reason: Reason::Drain, received_bytes: 0, sent_bytes: 0, error: None },
            _in_flight: in_flight,
        }))
    }

    /// The name of where it leads to.
    pub(crate) fn destination(&self) -> Option<&str> {
        match self.sidecar {
            Some(sidecar) => Some(sidecar.name()),
            None => self.destination.as_ref().map(|destination| &**destination.upstream.name()),
        }
    }
}

/// A request without its fields, but for `Host`.
fn short(head: &RequestHeader) -> Option<RequestHeader> {
    let mut short = RequestHeader::build_no_case(head.method.clone(), head.raw_path(), Some(1)).ok()?;
    // A copy: a clone would keep all that the request's head was read into, cookies and tokens included.
    let host = head.headers.get(HOST).map(|host| HeaderValue::from_bytes(host.as_bytes()));
    if let Some(Ok(host)) = host {
        let _ = short.insert_header(HOST, host);
    }
    Some(short)
}

impl Drop for Record {
    fn drop(&mut self) {
        let outcome = Outcome {
            status: Some(http::StatusCode::SWITCHING_PROTOCOLS),
            took: self.facts.started.elapsed(),
        };
        self.chain.on_end(&mut Exchange::new(&mut self.head, &mut self.facts), &outcome);
        self.metrics.tunnel_ended(&self.ended);
        self.open = None;
        end::tunnel(self, outcome.took);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_of_the_requests_head_is_kept_but_a_copy_of_its_host() {
        let mut head = RequestHeader::build("GET", b"/live?page=1", None).unwrap();
        head.insert_header(HOST, HeaderValue::from_static("api.example.com")).unwrap();
        head.insert_header("Cookie", "session=secret").unwrap();
        let short = short(&head).unwrap();
        assert_eq!((short.headers.len(), short.raw_path()), (1, b"/live?page=1".as_slice()));
        assert_eq!(short.headers[HOST], "api.example.com");
        assert_ne!(short.headers[HOST].as_bytes().as_ptr(), head.headers[HOST].as_bytes().as_ptr());
    }
}
