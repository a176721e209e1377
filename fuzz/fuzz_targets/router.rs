//! The table of routes: it never panics, and finds what a matcher finds that tries every route.

#![no_main]

use std::cmp::Reverse;

use http::{HeaderMap, Method};
use libfuzzer_sys::fuzz_target;
use sallyport::path::canonical;
use sallyport::route::{Found, Params, Query, Table, Verdict};
use sallyport_config::route::{Match, Route};
use sallyport_config::{Located, Node, Report};

// The input is match lines, an empty line, and requests, `METHOD host/path`.
fuzz_target!(|text: &str| {
    let (lines, requests) = text.split_once("\n\n").unwrap_or((text, ""));
    let Some(routes) = routes(lines) else { return };
    let mut report = Report::default();
    let table = Table::build(&routes, &mut report);
    // Routes in error are left out of the table, and of two that say the same either may be found.
    let comparable = report.is_empty();
    for request in requests.lines().take(16) {
        let Some((method, url)) = request.split_once(' ') else { continue };
        let Ok(method) = Method::from_bytes(method.as_bytes()) else { continue };
        let (host, path) = url.split_at(url.find('/').unwrap_or(url.len()));
        let Ok(form) = canonical(path) else { continue };
        let query =
            Query { method: &method, host, path: &form.path, headers: &HeaderMap::new(), query: None };
        let mut params = Params::new();
        let found = table.find(&query, &mut params);
        assert!(params.iter().all(|&(from, to)| form.path.get(usize::from(from)..usize::from(to)).is_some()));
        let explained = table.explain(&query);
        let chosen =
            explained.first().filter(|first| first.verdict == Verdict::Chosen).map(|first| first.route);
        assert_eq!(chosen, index(&found));
        if comparable {
            let best =
                routes.iter().enumerate().filter_map(|(index, route)| rank(route, index, &query)).min();
            assert_eq!(index(&found), best.map(|rank| rank.index), "{request}");
        }
    }
});

fn routes(lines: &str) -> Option<Vec<Located<Route>>> {
    let lines = lines.lines().take(32);
    let quoted = lines.map(|line| format!("- {{ match: '{}', public: true }}\n", line.replace('\'', "''")));
    let mut report = Report::default();
    Node::parse("routes.yaml", &quoted.collect::<String>(), &mut report)?.decode(&mut report)
}

fn index(found: &Found) -> Option<usize> {
    if let Found::Route(index) = found { Some(*index) } else { None }
}

/// The documented order of precedence; less is better.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Rank {
    host: (u8, Reverse<usize>),
    class: u8,
    length: Reverse<usize>,
    params: Vec<bool>,
    any_method: bool,
    index: usize,
}

fn rank(route: &Route, index: usize, query: &Query<'_>) -> Option<Rank> {
    let matches: &Match = &route.matches;
    let method = query.method.as_str();
    let takes = |own: &String| own == method || own == "GET" && method == "HEAD";
    if !matches.methods.is_empty() && !matches.methods.iter().any(takes) {
        return None;
    }
    let path = matches.path.as_ref()?;
    let own: Vec<&str> = path.strip_prefix('/')?.split('/').collect();
    let asked: Vec<&str> = query.path.strip_prefix('/')?.split('/').collect();
    let tail = own.last().is_some_and(|last| last.starts_with("{**"));
    let fixed = if tail { &own[..own.len() - 1] } else { &own[..] };
    let long_enough = if tail { asked.len() > fixed.len() } else { asked.len() == fixed.len() };
    let same =
        |(own, asked): (&&str, &&str)| if own.starts_with('{') { !asked.is_empty() } else { own == asked };
    if !long_enough || !fixed.iter().zip(&asked).all(same) {
        return None;
    }
    let params: Vec<bool> = fixed.iter().map(|segment| segment.starts_with('{')).collect();
    let class = if tail { 2 } else { u8::from(params.contains(&true)) };
    Some(Rank {
        host: host(matches, query.host)?,
        class,
        length: Reverse(if tail { fixed.len() } else { 0 }),
        params,
        any_method: matches.methods.is_empty(),
        index,
    })
}

fn host(matches: &Match, asked: &str) -> Option<(u8, Reverse<usize>)> {
    let asked = asked.strip_suffix('.').unwrap_or(asked).to_ascii_lowercase();
    if matches.hosts.is_empty() {
        return Some((2, Reverse(0)));
    }
    let fits = |own: &Located<String>| match own.strip_prefix('*') {
        Some(parent) => {
            (asked.len() > parent.len() && asked.ends_with(parent)).then_some((1, Reverse(parent.len())))
        }
        None => (own.value == asked).then_some((0, Reverse(0))),
    };
    matches.hosts.iter().filter_map(fits).min()
}
