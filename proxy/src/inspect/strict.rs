//! `check --strict`: what is allowed, but a careful operator would not leave so.

use sallyport_config::Report;
use sallyport_config::issuer::Algorithm;
use sallyport_config::route::Route;

use crate::plan::Plan;

/// A body limit above this is worth a second look.
const BODY_BYTES_LARGE: u64 = 1024 * 1024 * 1024;

/// Reports every finding as a warning with its place and the way out.
pub(super) fn judge(plan: &Plan, report: &mut Report) {
    listeners(plan, report);
    issuers(plan, report);
    for (settings, route) in plan.loaded.config.routes.iter().zip(&plan.routes) {
        let filters: Vec<&str> = route.chain.filters().map(|filter| filter.name()).collect();
        judge_route(settings, &filters, report);
    }
}

fn listeners(plan: &Plan, report: &mut Report) {
    let config = &plan.loaded.config;
    for (name, listener) in config.listeners.iter() {
        let loopback = listener.address.ip().is_loopback();
        if listener.tls.is_none() && listener.redirect_to.is_none() && !loopback {
            report
                .warning(listener.address.at, format!("listener `{}` serves without TLS", name.value))
                .hint("add `tls`, or `redirect_to` a listener that has it, or bind it to loopback behind a proxy");
        }
        if listener.trusted_proxies.iter().any(|net| net.prefix_len() == 0) {
            report
                .warning(
                    name.at,
                    format!("listener `{}` believes everybody about client addresses", name.value),
                )
                .hint("name the networks of your load balancers in `trusted_proxies`");
        }
        if listener.allow_underscores {
            report
                .warning(name.at, format!("listener `{}` lets header names with `_` through", name.value))
                .hint("servers that take `_` for `-` can be given headers that this edge manages");
        }
    }
    if let Some(admin) = config.admin.as_ref().filter(|admin| admin.remote) {
        report
            .warning(
                admin.address.at,
                "the admin listener can be reached from other machines and has no login",
            )
            .hint("bind it to loopback and reach it through a tunnel or a sidecar");
    }
}

fn issuers(plan: &Plan, report: &mut Report) {
    for (name, issuer) in plan.loaded.config.issuers.iter() {
        let shared = [Algorithm::HS256, Algorithm::HS384, Algorithm::HS512];
        if issuer.hmac_secret.is_some() || issuer.algorithms.iter().any(|one| shared.contains(&one.value)) {
            report
                .warning(name.at, format!("issuer `{}` signs with a shared secret", name.value))
                .hint("whoever can check these tokens can also make them; prefer ES256 with `jwks`");
        }
    }
}

fn judge_route(settings: &Route, filters: &[&str], report: &mut Report) {
    let at = settings.matches.at;
    let name = settings.name();
    let composes = settings.aggregate.is_some() || settings.view.is_some();
    let forwards =
        composes || settings.upstream.is_some() || settings.split.is_some() || settings.sidecar.is_some();
    if forwards && !filters.contains(&"rate_limit") {
        report
            .warning(at, format!("route `{name}` has no rate limit"))
            .hint("add a `rate_limit` filter to one of its chains");
    }
    if !filters.contains(&"security_headers") {
        report
            .warning(at, format!("route `{name}` sets no security headers"))
            .hint("add `security_headers: { preset: api }` (or `web`) to one of its chains");
    }
    let every =
        |life: sallyport_config::route::WebSocketLife| life.origins.iter().any(|origin| origin.value == "*");
    if settings.web_socket().is_some_and(every) {
        report
            .warning(
                at,
                format!("every web page may open a WebSocket on route `{name}`, with the user's cookies"),
            )
            .hint("list the origins of your pages in `websocket.origins` instead of `*`");
    }
    if settings.body_limit.is_some_and(|limit| limit.0 > BODY_BYTES_LARGE) {
        report.warning(at, format!("route `{name}` takes bodies of more than 1GiB"));
    }
}
