//! What routes of a plan share. With thousands of them it decides what a request costs, and nothing else would tell.

use super::*;

/// The plan of these routes, with the chains `a` and `b`.
fn plan(routes: &str) -> Plan {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("routes.yaml");
    let settings = "version: 1
listeners: { public: { address: 127.0.0.1:0 } }
upstreams: { backend: { targets: [127.0.0.1:9] } }
chains:
  a: [security_headers: { preset: api }]
  b: [cors: { origins: [https://app.example] }]
routes:
";
    std::fs::write(&file, format!("{settings}{routes}")).unwrap();
    let (registry, metrics) = (Registry::standard(), Metrics::new().unwrap());
    let with =
        Surroundings { registry: &registry, metrics: &metrics, before: None, bridge: None, aggregator: None };
    Plan::read(&file, &with).unwrap_or_else(|report| panic!("{report}")).0
}

/// A route at `/N` with further settings.
fn route(number: usize, settings: &str) -> String {
    format!("- {{ match: /{number}, public: true, upstream: backend, {settings} }}\n")
}

/// For each of these routes the first of them that it shares something with.
fn shared<T>(plan: &Plan, of: impl Fn(&Route) -> &Arc<T>) -> Vec<usize> {
    let first = |route: &Route| plan.routes.iter().position(|other| Arc::ptr_eq(of(other), of(route)));
    plan.routes.iter().filter_map(first).collect()
}

fn built(settings: &[&str]) -> Plan {
    plan(&settings.iter().enumerate().map(|(number, settings)| route(number, settings)).collect::<String>())
}

#[test]
fn routes_with_the_same_chains_and_body_limit_share_one() {
    let plan = built(&[
        "chains: [a, b]",
        "chains: [a, b]",
        "chains: [b, a]",
        "chains: [a, b], body_limit: 1MiB",
        "chains: [a, b], body_limit: 1024KiB",
        "chains: [a, b], body_limit: 2MiB",
        // Filters of its own may have state of their own.
        "chains: [a, b], filters: [request_id]",
        "chains: [a, b], filters: [request_id]",
        "",
        "",
    ]);
    assert_eq!(shared(&plan, |route| &route.chain), [0, 0, 2, 3, 3, 5, 6, 7, 8, 8]);
}

#[test]
fn routes_with_the_same_terms_share_them() {
    let plan = built(&[
        "",
        "timeouts: { idle: 60s }",
        "timeouts: { idle: 61s }",
        "retry: { attempts: 2 }",
        "retry: { attempts: 1 }",
        "retry: { attempts: 2, on: [connect] }",
        "encoded_slashes: keep",
    ]);
    assert_eq!(shared(&plan, |route| &route.terms), [0, 0, 2, 3, 4, 3, 6]);
}

#[test]
fn routes_with_the_same_upstream_share_its_counters() {
    let plan = built(&["", ""]);
    let destinations = shared(&plan, |route| match &route.action {
        Action::Upstream(destination) => destination,
        _ => panic!("not an upstream"),
    });
    assert_eq!(destinations, [0, 0]);
}

#[test]
fn a_route_fills_one_line_of_the_cache() {
    assert_eq!((size_of::<Route>(), align_of::<Route>()), (64, 64));
}
