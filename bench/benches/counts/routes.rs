//! Looking a route up, in a small table and in a large one.

use std::hint::black_box;

use http::{HeaderMap, Method};
use sallyport::route::{Found, Params, Query, Table};
use sallyport_config::route::Route;
use sallyport_config::{Located, Node, Report};

use crate::case::{Case, again};

const HOST: &str = "api.example.com";

pub(crate) fn cases() -> Vec<Case> {
    vec![
        look_up("routes: exact, 10", 10, |service| format!("/v1/service-{service}/things"), true),
        look_up("routes: exact, 10000", 10_000, |service| format!("/v1/service-{service}/things"), true),
        look_up("routes: template, 10", 10, |service| format!("/v1/service-{service}/things/4711"), true),
        look_up(
            "routes: template, 10000",
            10_000,
            |service| format!("/v1/service-{service}/things/4711"),
            true,
        ),
        look_up("routes: prefix, 10", 10, |service| format!("/v1/service-{service}/files/a/b/c.txt"), true),
        look_up(
            "routes: prefix, 10000",
            10_000,
            |service| format!("/v1/service-{service}/files/a/b/c.txt"),
            true,
        ),
        look_up("routes: none, 10000", 10_000, |service| format!("/v2/service-{service}/things"), false),
        again("routes: build a table of 1000", |_| {
            let routes = routes(1000);
            move || drop(black_box(Table::build(black_box(&routes), &mut Report::default())))
        })
        .turns(2),
    ]
}

fn look_up(name: &'static str, count: usize, path: fn(usize) -> String, found: bool) -> Case {
    again(name, move |_| {
        let mut report = Report::default();
        let table = Table::build(&routes(count), &mut report);
        assert!(report.is_empty(), "{report}");
        // Spread over the whole table.
        let services = count / 5;
        let paths: Vec<String> =
            (0..services.min(40)).map(|at| path(at * services / services.min(40))).collect();
        let (method, headers, mut params, mut turn) = (Method::GET, HeaderMap::new(), Params::new(), 0);
        move || {
            turn = (turn + 1) % paths.len();
            let query =
                Query { method: &method, host: HOST, path: &paths[turn], headers: &headers, query: None };
            let is_found = matches!(table.find(black_box(&query), &mut params), Found::Route(_));
            assert_eq!(is_found, found);
        }
    })
}

/// Five routes a service, in the shapes that APIs have.
fn routes(count: usize) -> Vec<Located<Route>> {
    let route = |number: usize| {
        let service = number / 5;
        let path = match number % 5 {
            0 => format!("GET {HOST}/v1/service-{service}/things"),
            1 => format!("POST {HOST}/v1/service-{service}/things"),
            2 => format!("GET {HOST}/v1/service-{service}/things/{{id}}"),
            3 => format!("PUT {HOST}/v1/service-{service}/things/{{id}}/parts/{{part}}"),
            _ => format!("{HOST}/v1/service-{service}/files/{{**path}}"),
        };
        format!("- match: {path}\n  public: true\n")
    };
    let yaml: String = (0..count).map(route).collect();
    let mut report = Report::default();
    let node = Node::parse("routes.yaml", &yaml, &mut report);
    node.and_then(|node| node.decode(&mut report)).unwrap_or_else(|| panic!("{report}"))
}
