//! Routes: exactly one thing to do, known names, sensible numbers.

use std::collections::HashMap;

use crate::check::Facts;
use crate::file::Config;
use crate::located::{Located, Location};
use crate::report::{Report, nearest};
use crate::route::{Redirect, Respond, Retry, Route, Share, WebSocket, WebSocketLife};
use crate::upstream::Protocol;

const REDIRECTS: [u16; 5] = [301, 302, 303, 307, 308];
const RETRIES_MAX: u32 = 2;
const WEIGHT_MAX: u32 = 1000;

/// The methods of RFC 9110 and 5789.
const METHODS: [&str; 9] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "CONNECT", "TRACE"];

pub(super) fn check(config: &Config, facts: &Facts, report: &mut Report) {
    check_names(&config.routes, report);
    for route in &config.routes {
        for chain in &route.chains {
            facts.chains.check("chain", chain, report);
        }
        if let Some(view) = &route.view {
            facts.views.check("view", &view.name, report);
        }
        if let Some(upstream) = &route.upstream {
            facts.upstreams.check("upstream", upstream, report);
        }
        for share in route.split.iter().flat_map(|split| split.iter()) {
            facts.upstreams.check("upstream", &share.upstream, report);
        }
        if facts.is_sound(route.at) {
            check_route(route, config, report);
        }
    }
}

/// Two routes of one name would be one in logs, metrics and `diff`.
fn check_names(routes: &[Located<Route>], report: &mut Report) {
    let mut known: HashMap<&str, Location> = HashMap::new();
    for name in routes.iter().filter_map(|route| route.name.as_ref()) {
        match known.get(name.as_str()).map(|first| report.place(*first)) {
            None => drop(known.insert(name, name.at)),
            Some(first) => {
                let place = first.map(|place| format!(" at {place}")).unwrap_or_default();
                report
                    .error(name.at, format!("another route{place} has the name `{}`", name.value))
                    .hint("a name tells a route apart in logs and metrics; the default is its match line");
            }
        }
    }
}

fn check_route(route: &Located<Route>, config: &Config, report: &mut Report) {
    check_action(route, report);
    if let Some(split) = &route.split {
        check_split(split, report);
    }
    if let Some(redirect) = &route.redirect {
        check_redirect(redirect, report);
    }
    if let Some(respond) = &route.respond {
        check_respond(respond, report);
    }
    if let Some(retry) = &route.retry {
        check_retry(retry, report);
        if route.upstream.is_none() && route.split.is_none() {
            let error = report.error(retry.at, "`retry` needs an `upstream` or a `split`");
            if route.aggregate.is_some() {
                error.hint("each branch of `aggregate` may have a `retry` of its own");
            }
        }
    }
    for (_, branch) in route.aggregate.iter().flat_map(|branches| branches.iter()) {
        if let Some(retry) = &branch.retry {
            check_retry(retry, report);
        }
    }
    if let Some(sidecar) = &route.sidecar {
        check_sidecar(sidecar, config, report);
    }
    if let Some(websocket) = &route.websocket {
        check_websocket(websocket, route, config, report);
    }
    for (index, chain) in route.chains.iter().enumerate() {
        if route.chains[..index].contains(chain) {
            report.error(chain.at, format!("the chain `{}` stands here twice", chain.value));
        }
    }
    for method in route.matches.methods.iter().filter(|method| !METHODS.contains(&method.as_str())) {
        if let Some(near) = nearest(method, METHODS) {
            report
                .warning(route.matches.at, format!("`{method}` is an unusual method"))
                .hint(format!("did you mean `{near}`?"));
        }
    }
}

/// What says what happens, in words.
const ACTIONS: &str = "`upstream`, `split`, `aggregate`, `view`, `sidecar`, `redirect` and `respond`";

/// Exactly one of them says what happens.
fn check_action(route: &Located<Route>, report: &mut Report) {
    let actions: [(&str, Option<Location>); 7] = [
        ("upstream", route.upstream.as_ref().map(|value| value.at)),
        ("split", route.split.as_ref().map(|value| value.at)),
        ("aggregate", route.aggregate.as_ref().map(|value| value.at)),
        ("view", route.view.as_ref().map(|value| value.at)),
        ("sidecar", route.sidecar.as_ref().map(|value| value.at)),
        ("redirect", route.redirect.as_ref().map(|value| value.at)),
        ("respond", route.respond.as_ref().map(|value| value.at)),
    ];
    let mut written = actions.iter().filter_map(|(name, at)| at.map(|at| (*name, at)));
    match (written.next(), written.next()) {
        (None, _) => {
            report
                .error(route.at, format!("the route `{}` does nothing", route.matches.value))
                .hint(format!("write one of {ACTIONS}"));
        }
        (Some((first, _)), Some((second, at))) => {
            report
                .error(at, format!("the route has both `{first}` and `{second}`"))
                .hint(format!("a route has one of {ACTIONS}"));
        }
        (Some(_), None) => {}
    }
}

fn check_sidecar(sidecar: &Located<String>, config: &Config, report: &mut Report) {
    if sidecar.as_str() != "ws-bridge" {
        report
            .error(sidecar.at, format!("there is no sidecar `{}`", sidecar.value))
            .hint("the sidecar there is: `ws-bridge`");
    } else if config.ws_bridge.is_none() {
        report
            .error(sidecar.at, "the sidecar `ws-bridge` is not configured")
            .hint("say in `ws_bridge:` what it carries");
    }
}

fn check_websocket(websocket: &Located<WebSocket>, route: &Route, config: &Config, report: &mut Report) {
    let WebSocket::On(life) = &websocket.value else {
        if route.sidecar.is_some() {
            report
                .error(websocket.at, "a route to a sidecar takes WebSockets")
                .hint("leave `websocket` out; a `match` for another path may lead elsewhere");
        }
        return;
    };
    let shares = route.split.iter().flat_map(|split| split.iter().map(|share| &share.upstream));
    let upstreams: Vec<&Located<String>> = route.upstream.iter().chain(shares).collect();
    if upstreams.is_empty() && route.sidecar.is_none() {
        report.error(websocket.at, "`websocket` needs an `upstream`, a `split` or a `sidecar`");
    }
    for name in upstreams {
        let settings = config.upstreams.iter().find(|(known, _)| known.value == name.value);
        if settings.is_some_and(|(_, upstream)| upstream.protocol == Protocol::H2) {
            report
                .error(
                    name.at,
                    format!("the upstream `{}` speaks HTTP/2, WebSockets need HTTP/1.1", name.value),
                )
                .hint("name an upstream with `protocol: http1`; it may have the same targets");
        }
    }
    let methods = &route.matches.methods;
    if !methods.is_empty() && !methods.iter().any(|method| method == "GET") {
        report
            .error(route.matches.at, "a WebSocket is opened with GET, which this route does not take")
            .hint("add GET to the methods of `match`, or leave `websocket` out");
    }
    check_origins(life, report);
}

/// Origins are compared as browsers write them (RFC 6454, section 6.2), so what is written otherwise would never match.
fn check_origins(life: &WebSocketLife, report: &mut Report) {
    for origin in life.origins.iter().filter(|origin| origin.as_str() != "*") {
        let rest = origin.strip_prefix("https://").or_else(|| origin.strip_prefix("http://"));
        let host = |text: &str| {
            !text.is_empty()
                && text.bytes().all(|byte| {
                    byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-._:[]".contains(&byte)
                })
        };
        if !rest.is_some_and(host) {
            report.error(origin.at, format!("`{}` is no origin", origin.value)).hint(
                "write scheme and host in lower case and nothing behind: `https://app.example.com`, or `*`",
            );
        } else if origin.starts_with("https://") && origin.ends_with(":443")
            || origin.starts_with("http://") && origin.ends_with(":80")
        {
            report
                .error(origin.at, format!("no browser names the port in `{}`", origin.value))
                .hint("leave out the port that belongs to the scheme");
        }
    }
}

fn check_split(split: &Located<Vec<Share>>, report: &mut Report) {
    if split.iter().all(|share| share.weight == 0) {
        report.error(split.at, "every weight of the split is 0: no upstream would get anything");
    }
    for (index, share) in split.iter().enumerate() {
        if share.weight > WEIGHT_MAX {
            report.error(share.upstream.at, format!("a weight is 0 to {WEIGHT_MAX}, found {}", share.weight));
        }
        if split[..index].iter().any(|earlier| earlier.upstream == share.upstream) {
            report.error(
                share.upstream.at,
                format!("the upstream `{}` stands here twice", share.upstream.value),
            );
        }
    }
}

fn check_redirect(redirect: &Redirect, report: &mut Report) {
    if !REDIRECTS.contains(&redirect.status) {
        report
            .error(redirect.status.at, format!("{} is not the status of a redirect", redirect.status.value))
            .hint("301, 302, 303, 307 or 308");
    }
    let to = &redirect.to;
    let absolute = to.starts_with("https://") || to.starts_with("http://");
    if (!to.starts_with('/') && !absolute) || to.bytes().any(|b| b.is_ascii_control() || b == b' ') {
        report
            .error(to.at, format!("`{}` is neither a path nor a URL", to.value))
            .hint("write `/new/{id}{query}` or `https://host/new/{id}{query}`");
    }
}

fn check_respond(respond: &Respond, report: &mut Report) {
    if !(200..=599).contains(&respond.status.value) {
        report.error(respond.status.at, format!("a status is 200 to 599, found {}", respond.status.value));
    }
    if http::HeaderValue::from_str(&respond.content_type).is_err() {
        report.error(respond.content_type.at, "`content_type` holds characters that a header cannot");
    }
}

fn check_retry(retry: &Located<Retry>, report: &mut Report) {
    if !(1..=RETRIES_MAX).contains(&retry.attempts.value) {
        report
            .error(retry.attempts.at, format!("`attempts` is 1 or 2, found {}", retry.attempts.value))
            .hint("without `retry` a request is never tried again");
    }
    if retry.on.is_empty() {
        report.error(retry.at, "`on` is empty: nothing would be tried again");
    }
    for on in &retry.on {
        let status = on.len() == 3 && on.starts_with('5') && on.bytes().all(|b| b.is_ascii_digit());
        if !status && on.as_str() != "connect" && on.as_str() != "reset" {
            report
                .error(on.at, format!("`{}` is nothing that a request is tried again on", on.value))
                .hint("`connect`, `reset`, or a status from 500 to 599, as a string: \"503\"");
        }
    }
}
