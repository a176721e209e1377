//! What a route look-up costs, with 10 routes and with 10,000, and what building the table costs.
//!
//! `cargo bench -p sallyport --bench route_lookup`. Each figure is the best of several rounds, in nanoseconds a look-up.
//! "hot" asks for the same few routes again and again, so that it compares the work; "spread" asks for all of them, so
//! that it shows what the memory of a larger table costs on top.

use std::hint::black_box;
use std::time::Instant;

use http::{HeaderMap, Method};
use sallyport::client_address;
use sallyport::head::{self, HeadLimits};
use sallyport::managed::Managed;
use sallyport::path;
use sallyport::route::{Found, Params, Query, Table};
use sallyport_config::route::Route;
use sallyport_config::{Located, Node, Report};

const ROUNDS: usize = 7;
const LOOKUPS: usize = 200_000;
const HOT: usize = 10;

fn main() {
    let small = Sample::new(10);
    let large = Sample::new(10_000);
    println!("{:<28}{:>10}{:>10}{:>8}", "ns a look-up", "10", "10,000", "ratio");
    for kind in [Kind::Exact, Kind::Template, Kind::Tail, Kind::Missing] {
        for (name, spread) in [("hot", false), ("spread", true)] {
            let few = small.nanoseconds(kind, spread);
            let many = large.nanoseconds(kind, spread);
            println!("{:<28}{few:>10.1}{many:>10.1}{:>8.2}", format!("{kind:?}, {name}"), many / few);
        }
    }
    let routes = routes(10_000);
    let started = Instant::now();
    black_box(Table::build(&routes, &mut Report::default()));
    println!("{:<28}{:>10.1} ms", "build, 10,000 routes", started.elapsed().as_secs_f64() * 1e3);
    around();
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    Exact,
    Template,
    Tail,
    Missing,
}

struct Sample {
    table: Table,
    services: usize,
}

impl Sample {
    fn new(count: usize) -> Self {
        let mut report = Report::default();
        let table = Table::build(&routes(count), &mut report);
        assert!(report.is_empty(), "{report}");
        Sample { table, services: count / 5 }
    }

    fn nanoseconds(&self, kind: Kind, spread: bool) -> f64 {
        let services = if spread { self.services } else { self.services.min(HOT) };
        let paths: Vec<String> = (0..services).map(|service| requested(kind, service)).collect();
        let (method, headers) = (Method::GET, HeaderMap::new());
        let mut params = Params::new();
        best(|| {
            let mut found = 0;
            for path in paths.iter().cycle().take(LOOKUPS) {
                let query =
                    Query { method: &method, host: "api.example.com", path, headers: &headers, query: None };
                found +=
                    usize::from(matches!(self.table.find(black_box(&query), &mut params), Found::Route(_)));
            }
            assert_eq!(found > 0, !matches!(kind, Kind::Missing));
        })
    }
}

/// Five routes a service, in the shapes that APIs have.
fn routes(count: usize) -> Vec<Located<Route>> {
    let yaml: String = (0..count)
        .map(|n| {
            let (service, host) = (n / 5, "api.example.com");
            let path = match n % 5 {
                0 => format!("GET {host}/v1/service-{service}/things"),
                1 => format!("POST {host}/v1/service-{service}/things"),
                2 => format!("GET {host}/v1/service-{service}/things/{{id}}"),
                3 => format!("PUT {host}/v1/service-{service}/things/{{id}}/parts/{{part}}"),
                _ => format!("{host}/v1/service-{service}/files/{{**path}}"),
            };
            format!("- match: {path}\n  public: true\n")
        })
        .collect();
    let mut report = Report::default();
    let node = Node::parse("routes.yaml", &yaml, &mut report);
    node.and_then(|node| node.decode(&mut report)).unwrap_or_else(|| panic!("{report}"))
}

fn requested(kind: Kind, service: usize) -> String {
    match kind {
        Kind::Exact => format!("/v1/service-{service}/things"),
        Kind::Template => format!("/v1/service-{service}/things/4711"),
        Kind::Tail => format!("/v1/service-{service}/files/a/b/c.txt"),
        Kind::Missing => format!("/v2/service-{service}/things"),
    }
}

/// The rest of what every request goes through before its route.
fn around() {
    let raw = b"GET /v1/service-7/things/4711?fields=name HTTP/1.1\r\nHost: api.example.com\r\nUser-Agent: Mozilla/5.0 \
        (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0\r\nAccept: application/json\r\nAccept-Language: en\r\n\
        Accept-Encoding: gzip, deflate, br\r\nAuthorization: Bearer eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJhbGljZSJ9.c2lnbmF0dXJl\
        \r\nOrigin: https://app.example.com\r\nReferer: https://app.example.com/\r\nCookie: theme=dark; lang=en\r\n\
        Connection: keep-alive\r\n\r\n";
    let limits = HeadLimits { fields: 100, allow_underscores: false };
    one("head::find_end", || black_box(head::find_end(black_box(raw), 0)));
    one("head::check", || black_box(head::check(black_box(raw), &limits)));
    one("path::canonical", || black_box(path::canonical(black_box("/v1/service-7/things/4711"))));
    let peer = "192.0.2.1".parse().unwrap_or_else(|_| panic!("an address"));
    one("client_address::client", || black_box(client_address::client(black_box(peer), [], &[])));
    let managed = Managed::new(["x-user-id", "x-roles"].map(http::HeaderName::from_static));
    let mut request =
        pingora_http::RequestHeader::build("GET", b"/", None).unwrap_or_else(|error| panic!("{error}"));
    for line in raw.split(|&byte| byte == b'\n').skip(1) {
        let Some(colon) = line.iter().position(|&byte| byte == b':') else { continue };
        let (name, value) =
            (String::from_utf8_lossy(&line[..colon]).into_owned(), line[colon + 1..].trim_ascii());
        request.append_header(name, value).unwrap_or_else(|error| panic!("{error}"));
    }
    one("Managed::strip, 10 headers", || managed.strip(black_box(&mut request), false));
    let _ = managed.strip_hop_by_hop(&mut request, false);
    one("strip_hop_by_hop, 9 headers", || {
        black_box(managed.strip_hop_by_hop(black_box(&mut request), false))
    });
}

fn one<T>(name: &str, mut work: impl FnMut() -> T) {
    let nanoseconds = best(|| (0..LOOKUPS).for_each(|_| drop(work())));
    println!("{name:<28}{nanoseconds:>10.1}");
}

/// Nanoseconds a turn, the best of some rounds: what disturbs a round only ever makes it slower.
fn best(mut round: impl FnMut()) -> f64 {
    let mut best = f64::MAX;
    for _ in 0..ROUNDS {
        let started = Instant::now();
        round();
        best = best.min(started.elapsed().as_secs_f64());
    }
    best * 1e9 / LOOKUPS as f64
}
