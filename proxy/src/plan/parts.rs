//! The sections of a configuration, one by one: taken over from the running plan where nothing changed, else built.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use sallyport_config::{Loaded, Located, Report, nearest, route};
use sallyport_filters::Chain;
use sallyport_filters::exchange::RouteFacts;
use sallyport_upstreams::{Retry, Upstreams};

use super::action::{self, Action, Destination, Redirect, Split};
use super::chains::Chains;
use super::{Plan, Route, Surroundings, Terms, WebSocketPlan};
use crate::listener::ListenerPlan;
use crate::listener::tls::TlsListener;
use crate::route::parameter_names;
use crate::sidecar::{Introduction, Seat, Sidecar};
use crate::tunnel::{Limits, Origins};

/// Where routes may lead, by the names of upstreams.
type Destinations<'a> = HashMap<&'a str, Arc<Destination>>;

/// The listeners, with their certificates read anew. `None` after an error.
pub(super) fn listeners(
    loaded: &Loaded,
    before: Option<&Plan>,
    report: &mut Report,
) -> Option<Vec<Arc<ListenerPlan>>> {
    let built = loaded.config.listeners.iter().map(|(name, settings)| {
        // By name, else by address: a listener that is renamed keeps its socket, its connections keep counting, and its
        // clients resume their sessions.
        let running = before.into_iter().flat_map(|plan| &plan.listeners);
        let named = running.clone().find(|listener| *listener.name == name.value);
        let same_address = || {
            running
                .clone()
                .find(|listener| listener.address == settings.address.value && listener.address.port() != 0)
        };
        let running = named.or_else(same_address);
        let tls = match &settings.tls {
            Some(tls) => {
                let before = running.and_then(|listener| listener.tls.as_ref());
                Some(TlsListener::load(tls, &loaded.base, before, report)?)
            }
            None => None,
        };
        let caps = running.map(|listener| listener.caps.clone()).unwrap_or_default();
        Some(Arc::new(ListenerPlan::new(&name.value, settings, tls, caps)))
    });
    let built: Vec<_> = built.collect();
    built.into_iter().collect()
}

/// The routes in the order of the configuration. `None` after an error.
pub(super) fn routes<'a>(
    loaded: &'a Loaded,
    with: &Surroundings<'_>,
    chains: &mut Chains<'a>,
    upstreams: &Upstreams,
    report: &mut Report,
) -> Option<Vec<Route>> {
    let destinations: Destinations = upstreams
        .iter()
        .map(|(name, upstream)| (name.as_str(), Arc::new(Destination::new(upstream.clone()))))
        .collect();
    let mut agreed = HashSet::new();
    let built = loaded.config.routes.iter().enumerate().map(|(index, settings)| {
        let name = settings.name();
        let params = parameter_names(&settings.matches.value);
        let chain = chains.of_route(settings, &name, report);
        let action = action(settings, &name, chain.as_deref(), &params, &destinations, report);
        let (chain, action) = (chain?, action?);
        guarded(settings, chain.guards(), report);
        parameters(settings, &chain, &params, report);
        Some(Route {
            metrics: with.metrics.route(index, &name, settings.web_socket().is_some()),
            web_socket: settings.web_socket().map(|life| Box::new(web_socket(&life))),
            facts: Arc::new(RouteFacts { name: name.into(), params }),
            chain,
            action,
            terms: terms(settings, &mut agreed),
        })
    });
    let built: Vec<_> = built.collect();
    built.into_iter().collect()
}

/// The bridge: the process of its own that the settings name, else the one in this process.
pub(super) fn bridge(loaded: &Loaded, with: &Surroundings<'_>) -> Option<Seat> {
    let settings = loaded.config.ws_bridge.as_ref()?;
    match &settings.socket {
        Some(socket) => Some(beside(Sidecar::Bridge, socket, loaded)),
        None => with.bridge.cloned(),
    }
}

/// The aggregator, likewise. A configuration need not speak of it.
pub(super) fn aggregator(loaded: &Loaded, with: &Surroundings<'_>) -> Option<Seat> {
    match loaded.config.aggregator.as_ref().and_then(|settings| settings.socket.as_ref()) {
        Some(socket) => Some(beside(Sidecar::Aggregator, socket, loaded)),
        None => with.aggregator.cloned(),
    }
}

/// A sidecar that is a process of its own.
fn beside(sidecar: Sidecar, socket: &Located<String>, loaded: &Loaded) -> Seat {
    Seat { sidecar, socket: loaded.base.join(&socket.value), carrier: None }
}

/// The terms of a route: those that another has already, if they are the same.
fn terms(settings: &route::Route, agreed: &mut HashSet<Arc<Terms>>) -> Arc<Terms> {
    let terms = Terms {
        timeouts: settings.timeouts.clone(),
        retry: settings.retry.as_ref().map(|retry| Retry::new(retry)),
        encoded_slashes: settings.encoded_slashes,
    };
    if let Some(same) = agreed.get(&terms) {
        return same.clone();
    }
    let terms = Arc::new(terms);
    agreed.insert(terms.clone());
    terms
}

fn web_socket(settings: &route::WebSocketLife) -> WebSocketPlan {
    let on = |limit: Duration| (!limit.is_zero()).then_some(limit);
    let limits = Limits { idle: on(*settings.idle), max_age: on(*settings.max_age) };
    WebSocketPlan { origins: Origins::new(settings), limits }
}

/// Fails closed: nobody passes a route unnamed unless the operator says so.
fn guarded(settings: &Located<route::Route>, guards: bool, report: &mut Report) {
    if !guards && !settings.public {
        report.error(settings.matches.at, "nothing identifies the client on this route").hint(
            "add a filter such as `jwt` or `api_key` to one of its chains, or say `public: true` if anybody may pass",
        );
    }
    if guards && settings.public {
        report
            .error(settings.matches.at, "`public: true` on a route that asks for an identity")
            .hint("remove `public: true`, or the chain with the `jwt` or `api_key` filter");
    }
}

/// A filter may rely on path parameters; a route that does not have them would fail on every request.
fn parameters(settings: &Located<route::Route>, chain: &Chain, params: &[Box<str>], report: &mut Report) {
    for needed in chain.route_params() {
        if !params.iter().any(|param| **param == *needed) {
            let diagnostic = report.error(
                settings.matches.at,
                format!(
                    "a filter of this route needs the path parameter `{needed}`, which the path does not have"
                ),
            );
            match nearest(needed, params.iter().map(|param| &**param)) {
                Some(nearest) => diagnostic.hint(format!("the path has `{nearest}`")),
                None => diagnostic.hint(format!("write `{{{needed}}}` where it stands in the path")),
            };
        }
    }
}

fn action(
    settings: &Located<route::Route>,
    name: &str,
    chain: Option<&Chain>,
    params: &[Box<str>],
    destinations: &Destinations<'_>,
    report: &mut Report,
) -> Option<Action> {
    // The loader has refused unknown names and anything but exactly one action; a broken upstream is reported where it
    // stands.
    let find = |name: &Located<String>| destinations.get(name.value.as_str()).cloned();
    if let Some(name) = &settings.upstream {
        return find(name).map(Action::Upstream);
    }
    if let Some(shares) = &settings.split {
        let shares = shares.iter().map(|share| Some((find(&share.upstream)?, share.weight)));
        return shares.collect::<Option<Vec<_>>>().map(|shares| Action::Split(Box::new(Split::new(shares))));
    }
    if settings.aggregate.is_some() || settings.view.is_some() {
        // The request's id is told for itself. It says nothing of the client, and no two requests have the same: calls that
        // carry it as an identity could never be one.
        let filters =
            chain.into_iter().flat_map(Chain::filters).filter(|filter| filter.name() != "request_id");
        let sets: Vec<_> = filters.flat_map(|filter| filter.managed_headers()).collect();
        let told = Introduction::new(name, sets.iter().map(|name| name.as_str()));
        if told.is_none() {
            report
                .error(settings.at, "the route's name cannot stand in a header field")
                .hint("give it a `name` without control characters");
        }
        return told.map(|told| Action::Aggregator(Box::new(told)));
    }
    if settings.sidecar.is_some() {
        return Some(Action::Bridge);
    }
    if let Some(redirect) = &settings.redirect {
        return Redirect::new(redirect, params, report).map(|redirect| Action::Redirect(Box::new(redirect)));
    }
    let reply = settings.respond.as_ref().and_then(|respond| action::respond(respond, report));
    reply.map(|reply| Action::Respond(Box::new(reply)))
}
