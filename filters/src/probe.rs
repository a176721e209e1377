//! Runs one filter or a chain against a made-up request, without an edge. For tests of filters, ours and others'.

use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant, SystemTime};

use futures::executor::block_on;
use http::{HeaderName, HeaderValue, StatusCode};
use pingora_http::{RequestHeader, ResponseHeader};
use prometheus::{IntCounterVec, Opts, Registry as MetricRegistry};
use sallyport_config::{Node, Report};
use sallyport_identity::Issuers;

use crate::build::{Build, Kept};
use crate::chain::Chain;
use crate::exchange::{Exchange, Facts};
use crate::filter::{Fault, Outcome};
use crate::registry::Registry;
use crate::reply::Reply;

/// A chain under test.
pub struct Probe {
    chain: Chain,
    /// State kept between two probes, as between two plans.
    pub kept: Kept,
}

/// One made-up exchange.
pub struct Made {
    /// The request head.
    pub request: RequestHeader,
    /// What the edge would know.
    pub facts: Facts,
}

impl Probe {
    /// A chain from YAML, written as in `chains:`, a list of filters. Errors are the rendered report.
    ///
    /// # Errors
    /// What `sallyport check` would print.
    pub fn from_yaml(registry: &Registry, issuers: &Issuers, yaml: &str) -> Result<Probe, String> {
        Self::with_kept(registry, issuers, yaml, Kept::default())
    }

    /// The same, with the state of an earlier probe: a reload.
    ///
    /// # Errors
    /// What `sallyport check` would print.
    pub fn with_kept(
        registry: &Registry,
        issuers: &Issuers,
        yaml: &str,
        mut kept: Kept,
    ) -> Result<Probe, String> {
        let mut report = Report::default();
        let chain = build_chain(registry, issuers, yaml, &kept, &mut report);
        kept.built();
        match chain {
            Some(chain) if report.is_empty() => Ok(Probe { chain, kept }),
            _ => Err(report.to_string()),
        }
    }

    /// Runs the request phase.
    pub fn request(&self, made: &mut Made) -> Option<Reply> {
        block_on(self.chain.on_request(&mut made.exchange()))
    }

    /// Runs the upstream phase on a copy of the request head.
    ///
    /// # Errors
    /// The fault of a filter.
    pub fn upstream(&self, made: &mut Made) -> Result<RequestHeader, Fault> {
        let mut head = made.request.clone();
        self.chain.on_upstream_request(&mut made.exchange(), &mut head)?;
        Ok(head)
    }

    /// Runs the response phase on an empty response of this status.
    ///
    /// # Errors
    /// The fault of a filter.
    pub fn response(&self, made: &mut Made, status: u16) -> Result<ResponseHeader, Fault> {
        self.response_to(made, status, &[])
    }

    /// Runs the response phase on a response with these headers, as from an upstream.
    ///
    /// # Errors
    /// The fault of a filter.
    pub fn response_to(
        &self,
        made: &mut Made,
        status: u16,
        headers: &[(&'static str, &str)],
    ) -> Result<ResponseHeader, Fault> {
        let fault = |_| Fault::new(crate::ProblemKind::Internal, "no such response");
        let mut head = ResponseHeader::build(status, None).map_err(fault)?;
        for (name, value) in headers {
            head.append_header(*name, *value).map_err(fault)?;
        }
        self.chain.on_response(&mut made.exchange(), &mut head)?;
        Ok(head)
    }

    /// Runs the response phase on a reply of the chain's own, as the edge does before it sends one.
    ///
    /// # Errors
    /// The fault of a filter.
    pub fn reply(&self, made: &mut Made, reply: &Reply) -> Result<ResponseHeader, Fault> {
        let fault = |_| Fault::new(crate::ProblemKind::Internal, "no such response");
        let mut head = ResponseHeader::build(reply.status, None).map_err(fault)?;
        for (name, value) in &reply.headers {
            head.append_header(name, value.clone()).map_err(fault)?;
        }
        self.chain.on_response(&mut made.exchange(), &mut head)?;
        Ok(head)
    }

    /// The chain itself.
    pub fn chain(&self) -> &Chain {
        &self.chain
    }

    /// Ends the exchange.
    pub fn end(&self, made: &mut Made) {
        let outcome = Outcome { status: Some(StatusCode::OK), took: Duration::ZERO };
        self.chain.on_end(&mut made.exchange(), &outcome);
    }
}

impl Made {
    /// A request from 192.0.2.1, at the present moment.
    ///
    /// # Panics
    /// On a method or path that is not HTTP.
    pub fn new(method: &str, path: &str) -> Made {
        #[allow(clippy::expect_used, reason = "a made-up request is written by the author of a test")]
        let request = RequestHeader::build(method, path.as_bytes(), None).expect("a valid method and path");
        let client = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
        let id = HeaderValue::from_static("probe");
        Made { request, facts: Facts::new(Instant::now(), SystemTime::now(), client, id) }
    }

    /// Adds a header; a name may repeat.
    ///
    /// # Panics
    /// On a name or value that is not HTTP.
    pub fn header(mut self, name: &str, value: &str) -> Made {
        #[allow(clippy::expect_used, reason = "a made-up request is written by the author of a test")]
        self.request.append_header(name.to_owned(), value).expect("a valid header");
        self
    }

    /// Moves the clock of this exchange on.
    pub fn after(mut self, time: Duration) -> Made {
        self.facts.started += time;
        self.facts.started_at += time;
        self
    }

    /// Comes from this address.
    pub fn from(mut self, client: IpAddr) -> Made {
        self.facts.client = client;
        self
    }

    /// The value of a request header.
    pub fn value(&self, name: &HeaderName) -> Option<&HeaderValue> {
        self.request.headers.get(name)
    }

    fn exchange(&mut self) -> Exchange<'_> {
        Exchange::new(&mut self.request, &mut self.facts)
    }
}

fn build_chain(
    registry: &Registry,
    issuers: &Issuers,
    yaml: &str,
    kept: &Kept,
    report: &mut Report,
) -> Option<Chain> {
    let metrics = MetricRegistry::new();
    let decisions = IntCounterVec::new(Opts::new("decisions", "of filters"), &["filter", "decision"]).ok()?;
    let list = Node::parse("probe.yaml", yaml, report)?;
    let mut filters = Vec::new();
    for entry in list.items() {
        let (name, settings) = entry.single_entry(report)?;
        let Some(kind) = registry.find(name.as_str()) else {
            report.error(entry.location(), format!("unknown filter `{}`", name.as_str()));
            continue;
        };
        let at = entry.location();
        let mut build = Build { report, at, scope: "probe", issuers, kept, metrics: &metrics };
        filters.extend(kind.build(&settings, &mut build));
    }
    match Chain::new(filters, &decisions) {
        Ok(chain) => Some(chain),
        Err(backwards) => {
            let at = list.items().get(backwards.index).map_or(list.location(), Node::location);
            report.error(at, format!("`{}` belongs before `{}`", backwards.name, backwards.before));
            None
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A chain of the filters of this crate, without issuers.
    pub(crate) fn probe(yaml: &str) -> Probe {
        Probe::from_yaml(&Registry::standard(), &Issuers::default(), yaml).unwrap()
    }

    /// Such a chain is refused, at this place and with this text.
    #[track_caller]
    pub(crate) fn refused(yaml: &str, place: &str, text: &str) {
        match Probe::from_yaml(&Registry::standard(), &Issuers::default(), yaml) {
            Ok(_) => panic!("accepted: {yaml}"),
            Err(report) => assert!(report.contains(place) && report.contains(text), "{report}"),
        }
    }

    #[test]
    fn a_chain_that_runs_backwards_is_refused_where_it_does() {
        refused("- headers\n- cors: { origins: '*' }", "probe.yaml:2:3", "`cors` belongs before `headers`");
    }
}
