//! Precedence as documented, refusals with their places, and a naive second matcher to compare with.

use std::cmp::Reverse;

use http::{HeaderName, HeaderValue};
use proptest::prelude::*;
use sallyport_config::route::Route;
use sallyport_config::{Located, Node, Report};

use super::*;

fn routes(matches: &[&str]) -> (Vec<Located<Route>>, Report) {
    let line = |line: &&str| format!("- {{ match: {line}, public: true }}\n");
    let yaml: String = matches.iter().map(line).collect();
    let mut report = Report::default();
    let node = Node::parse("routes.yaml", &yaml, &mut report);
    let routes = node.and_then(|node| node.decode::<Vec<Located<Route>>>(&mut report));
    (routes.unwrap_or_else(|| panic!("{report}")), report)
}

/// A match that is a line, as YAML.
fn line(text: &str) -> String {
    format!("\"{text}\"")
}

fn table(matches: &[&str]) -> Table {
    let lines: Vec<String> = matches
        .iter()
        .map(|text| if text.starts_with('{') { (*text).to_owned() } else { line(text) })
        .collect();
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    let (routes, mut report) = routes(&lines);
    let table = Table::build(&routes, &mut report);
    assert!(report.is_empty(), "{report}");
    table
}

/// What `check` would print of these matches.
fn told(matches: &[&str]) -> String {
    let (routes, mut report) = routes(matches);
    Table::build(&routes, &mut report);
    report.to_string()
}

/// Names and values of fields.
type Pairs<'a> = &'a [(&'a str, &'a str)];

fn headers(fields: Pairs<'_>) -> HeaderMap {
    let field = |(name, value): &(&str, &str)| {
        (HeaderName::from_bytes(name.as_bytes()).unwrap(), HeaderValue::from_str(value).unwrap())
    };
    fields.iter().map(field).collect()
}

/// Finds `METHOD host/path?query`.
fn find_with(table: &Table, request: &str, headers: &HeaderMap) -> Found {
    let (method, url) = request.split_once(' ').unwrap();
    let slash = url.find('/').unwrap_or(url.len());
    let (host, target) = url.split_at(slash);
    let (path, query) = target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query)));
    let method = Method::from_bytes(method.as_bytes()).unwrap();
    let query = Query { method: &method, host, path, headers, query };
    let found = table.find(&query, &mut Params::new());
    let chosen = table.explain(&query).into_iter().find(|considered| considered.verdict == Verdict::Chosen);
    let route = |found: &Found| if let Found::Route(index) = found { Some(*index) } else { None };
    assert_eq!(route(&found), chosen.map(|considered| considered.route), "explain says otherwise: {request}");
    found
}

fn find(table: &Table, request: &str) -> Found {
    find_with(table, request, &HeaderMap::new())
}

fn allowed(methods: &[Method]) -> Found {
    Found::MethodNotAllowed(methods.iter().cloned().collect())
}

/// Gateway API's precedence, as `Route::matches` documents it.
#[test]
fn the_most_specific_wins_whatever_the_order() {
    let lines = [
        "/{**rest}",
        "/v1/{**rest}",
        "/v1/things/{**rest}",
        "/v1/{kind}/{id}",
        "/v1/things/{id}",
        "GET /v1/things/{id}",
        "/v1/things/new",
        "*.example/v1/{**rest}",
        "*.a.example/v1/{**rest}",
        "b.a.example/{**rest}",
        "{ path_regex: \"/v[0-9]+/.*|[*].*\", host: only.regex }",
        "/v1/{kind}/all",
    ];
    let table = table(&lines);
    let cases = [
        ("GET x/v1/things/new", "/v1/things/new"),
        ("GET x/v1/things/7", "GET /v1/things/{id}"),
        ("HEAD x/v1/things/7", "GET /v1/things/{id}"),
        ("POST x/v1/things/7", "/v1/things/{id}"),
        ("POST x/v1/things/all", "/v1/things/{id}"),
        ("POST x/v1/others/7", "/v1/{kind}/{id}"),
        ("POST x/v1/others/all", "/v1/{kind}/all"),
        ("GET x/v1/things/7/parts", "/v1/things/{**rest}"),
        ("GET x/v1/things/", "/v1/things/{**rest}"),
        ("GET x/v1/", "/v1/{**rest}"),
        ("GET x/v1", "/{**rest}"),
        ("GET x/", "/{**rest}"),
        ("GET c.example/v1/things/new", "*.example/v1/{**rest}"),
        ("GET c.a.example/v1/things/new", "*.a.example/v1/{**rest}"),
        ("GET d.c.a.example/v1/x", "*.a.example/v1/{**rest}"),
        ("GET c.a.example/v2", "/{**rest}"),
        ("GET b.a.example/v1/things/new", "b.a.example/{**rest}"),
        ("GET B.A.Example./v1/things/new", "b.a.example/{**rest}"),
        ("GET a.example/v1/things/new", "*.example/v1/{**rest}"),
        ("GET example/v1/things/new", "/v1/things/new"),
        ("GET only.regex/v1/things/new", "{ path_regex: \"/v[0-9]+/.*|[*].*\", host: only.regex }"),
        ("GET only.regex/v1", "/{**rest}"),
    ];
    for (request, expected) in cases {
        let Found::Route(index) = find(&table, request) else { panic!("{request}") };
        assert_eq!(lines[index], expected, "{request}");
    }
}

#[test]
fn a_specific_path_that_fails_leaves_the_request_to_the_next() {
    let table = table(&[
        "GET /a/b",
        "POST /a/{x}",
        "{ path: \"/a/{x}\", methods: [PUT], headers: { x-on: \"1\" } }",
        "{ methods: [DELETE], path_regex: \"/a/.*\" }",
        "GET a.example/z",
        "PATCH /a/{**r}",
    ]);
    assert_eq!(find(&table, "GET h/a/b"), Found::Route(0));
    assert_eq!(find(&table, "POST h/a/b"), Found::Route(1));
    assert_eq!(find(&table, "PATCH h/a/b"), Found::Route(5));
    assert_eq!(find(&table, "DELETE h/a/b"), Found::Route(3));
    assert_eq!(find_with(&table, "PUT h/a/b", &headers(&[("X-On", "1")])), Found::Route(2));
    assert_eq!(find(&table, "POST a.example/a/b"), Found::Route(1));
}

/// RFC 9110, section 15.5.6: `Allow` lists what the path takes.
#[test]
fn another_method_is_told_from_another_path() {
    let table = table(&[
        "GET /a",
        "POST|PURGE /a",
        "{ path: /a, methods: [PUT], headers: { x-on: \"1\" } }",
        "DELETE /{x}",
        "/open",
        "PATCH other.example/a",
    ]);
    let get_head =
        [Method::GET, Method::HEAD, Method::POST, Method::DELETE, Method::from_bytes(b"PURGE").unwrap()];
    assert_eq!(find(&table, "OPTIONS h/a"), allowed(&get_head));
    assert_eq!(find(&table, "BREW h/a"), allowed(&get_head));
    assert_eq!(find(&table, "PURGE h/a"), Found::Route(1));
    assert_eq!(find(&table, "GET h/b"), allowed(&[Method::DELETE]));
    assert_eq!(find(&table, "BREW h/open"), Found::Route(4));
    assert_eq!(find(&table, "GET h/b/c"), Found::NotFound);
    let with_put = [&get_head[..3], &[Method::PUT], &get_head[3..]].concat();
    assert_eq!(find_with(&table, "BREW h/a", &headers(&[("x-on", "1")])), allowed(&with_put));
    // A condition that fails is no matter of the method.
    let table = self::table(&["{ path: /a, methods: [PUT], headers: { x-on: \"1\" } }"]);
    assert_eq!(find(&table, "PUT h/a"), Found::NotFound);
    assert_eq!(find(&table, "GET h/a"), Found::NotFound);
}

#[test]
fn an_unknown_host_is_not_an_unknown_path() {
    let table = table(&["a.example/x", "*.b.example/x"]);
    for (request, found) in [
        ("GET a.example/x", Found::Route(0)),
        ("GET a.example/y", Found::NotFound),
        ("GET c.b.example/y", Found::NotFound),
        ("GET b.example/x", Found::UnknownHost),
        ("GET c.example/x", Found::UnknownHost),
        ("GET /x", Found::UnknownHost),
    ] {
        assert_eq!(find(&table, request), found, "{request}");
    }
    assert!(
        table.knows_host("A.example") && table.knows_host("c.b.example.") && !table.knows_host("b.example")
    );
    assert!(!table.knows_host(""));
}

#[test]
fn conditions_hold_all_or_not_at_all() {
    let table = table(&[
        "{ path: /a }",
        "{ path: /a, headers: { x-v: \"2\" } }",
        "{ path: /a, headers: { x-v: { regex: \"2|3\" }, x-w: { present: true } } }",
        "{ path: /a, query: { q: \"a b\" } }",
        "{ path: /a, query: { q: { regex: \"[0-9]+\" }, r: { present: false } } }",
        "{ path: /a, headers: { x-v: \"2\" }, query: { q: \"1\" } }",
    ]);
    let cases: [(&str, Pairs<'_>, usize); 14] = [
        ("GET h/a", &[], 0),
        ("GET h/a", &[("x-v", "1")], 0),
        ("GET h/a", &[("x-v", "2")], 1),
        ("GET h/a", &[("X-V", "1"), ("x-v", "2")], 1),
        ("GET h/a", &[("x-v", "23"), ("x-w", "")], 0),
        ("GET h/a", &[("x-v", "3"), ("x-w", "")], 2),
        ("GET h/a", &[("x-v", "2"), ("x-w", "")], 2),
        ("GET h/a?q=a+b", &[], 3),
        ("GET h/a?x=1&%71=a%20b", &[], 3),
        ("GET h/a?q=ab", &[], 0),
        ("GET h/a?q=x&q=12", &[], 4),
        ("GET h/a?q=12&r", &[], 0),
        ("GET h/a?q=1", &[("x-v", "2")], 5),
        ("GET h/a?q=1&&=&", &[], 4),
    ];
    for (request, fields, expected) in cases {
        assert_eq!(
            find_with(&table, request, &headers(fields)),
            Found::Route(expected),
            "{request} {fields:?}"
        );
    }
}

#[test]
fn parameters_are_ranges_of_the_path() {
    let table = table(&["/a/{one}/b/{two}", "/a/{x}/{**rest}", "/exact"]);
    let captured = |path: &str| {
        let method = Method::GET;
        let headers = HeaderMap::new();
        let query = Query { method: &method, host: "", path, headers: &headers, query: None };
        let mut params = Params::from_iter([(7, 7)]);
        table.find(&query, &mut params);
        params
            .iter()
            .map(|&(from, to)| path[usize::from(from)..usize::from(to)].to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(captured("/a/1/b/22"), ["1", "22"]);
    assert_eq!(captured("/a/1/c/22/"), ["1", "c/22/"]);
    assert_eq!(captured("/a/1/"), ["1", ""]);
    assert_eq!(captured("/exact"), [""; 0]);
    assert_eq!(captured("/none"), [""; 0]);
    let (routes, _) = routes(&["\"/a/{one}/{**rest}\"", "{ path_regex: \"/x\" }", "{ host: a.example }"]);
    let names: Vec<_> = routes.iter().map(|route| parameter_names(&route.matches)).collect();
    assert_eq!(names, [vec!["one".into(), "rest".into()], vec![], vec![]]);
}

#[test]
fn the_asterisk_is_no_path() {
    let table = table(&["/{**rest}", "{ path_regex: \".*\" }", "{ methods: [OPTIONS], host: a.example }"]);
    assert_eq!(
        table.find(
            &Query {
                method: &Method::OPTIONS,
                host: "a.example",
                path: "*",
                headers: &HeaderMap::new(),
                query: None
            },
            &mut Params::new()
        ),
        Found::NotFound
    );
}

#[test]
fn routes_that_say_the_same_are_refused() {
    let same = [
        ["GET /a/{x}", "GET /a/{y}"],
        ["GET|POST a.b/x", "POST|GET a.b/x"],
        ["GET a.b|c.d/x", "GET e.f|a.b/x"],
        ["GET /a", "GET|HEAD /a"],
        ["/a/{**x}", "/a/{**y}"],
    ];
    for pair in same {
        let told = told(&[&line(pair[0]), &line(pair[1])]);
        assert!(
            told.starts_with("error: this route matches the same requests as the one at routes.yaml:1:"),
            "{told}"
        );
        assert!(told.contains("--> routes.yaml:2:"), "{told}");
    }
    let conditions = [
        "{ path: /a, headers: { x: \"1\", y: { present: true } } }",
        "{ path: /a, headers: { y: { present: true }, x: \"1\" } }",
        "{ path: /a, headers: { y: { present: false }, x: \"1\" } }",
    ];
    let found = told(&conditions);
    assert_eq!(found.matches("error").count(), 1, "{found}");
    let regexes = ["{ path_regex: \"/a|/b\" }", "{ path_regex: \"/a|/b\" }"];
    assert!(told(&regexes).starts_with("error"));
}

#[test]
fn routes_that_nothing_reaches_are_warned_about() {
    let hidden: [&[&str]; 6] = [
        &["\"GET|POST /a\"", "\"POST /a\""],
        &["\"GET /a\"", "\"HEAD /a\""],
        &["\"GET /a\"", "\"POST /a\"", "\"GET|POST /a\""],
        &["{ path: /a, headers: { x: { present: true } } }", "{ path: /a, headers: { x: \"1\" } }"],
        &["{ path: /a, query: { x: { regex: \"[0-9]\" } } }", "{ path: /a, query: { x: \"1\" } }"],
        &["{ path_regex: \"/v.*\" }", "\"/{**rest}\""],
    ];
    for matches in hidden {
        let told = told(matches);
        assert!(
            told.starts_with("warning: no request reaches this route: the one at routes.yaml:"),
            "{told}"
        );
        assert_eq!(told.matches("warning").count(), 1, "{told}");
    }
    let partly = told(&["\"GET|POST a.b/x\"", "\"POST a.b|c.d/x\""]);
    assert!(partly.starts_with("warning: no request reaches this route for `a.b`"), "{partly}");
    let reached: [&[&str]; 5] = [
        &["\"POST /a\"", "\"GET|POST /a\""],
        &["\"/a\"", "\"GET /a\""],
        &["\"/{**rest}\"", "\"/a\""],
        &["{ path: /a, headers: { x: \"1\" } }", "{ path: /a, headers: { x: { present: true } } }"],
        &["\"a.b/{**rest}\"", "{ path_regex: \"/v.*\" }"],
    ];
    for matches in reached {
        assert_eq!(told(matches), "", "{matches:?}");
    }
}

#[test]
fn what_cannot_be_compiled_is_told_with_its_place() {
    let cases = [
        ("{ path_regex: \"(\" }", "not a regular expression: unclosed group"),
        (
            "{ path: /a, headers: { x: { regex: \"[\" } } }",
            "not a regular expression: unclosed character class",
        ),
        (
            "{ path: /a, query: { x: { regex: \"a{1000}{1000}{1000}\" } } }",
            "the regular expression needs more than",
        ),
        ("\"/%7euser\"", "not in canonical form"),
    ];
    for (text, message) in cases {
        let told = told(&[text]);
        assert!(told.contains(message) && told.contains("--> routes.yaml:1:"), "{told}");
    }
    assert!(told(&["\"/%7euser\""]).contains("write `~user`"));
    let many: Vec<String> = (0..257).map(|n| format!("{{ path_regex: \"/{n}\" }}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    assert!(told(&many).contains("more than 256 regular expressions"));
    assert_eq!(told(&many[1..]), "");
    let many: Vec<String> =
        (0..56).map(|n| format!("\"X{} /a\"", "Y".repeat(n % 30) + &"Z".repeat(n / 30))).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    assert!(told(&many).contains("the 64th"), "{}", told(&many));
}

#[test]
fn a_route_in_error_leaves_the_others_their_places() {
    let (routes, mut report) = routes(&["{ path_regex: \"(\" }", "\"/a\""]);
    let table = Table::build(&routes, &mut report);
    assert_eq!(find(&table, "GET h/a"), Found::Route(1));
}

#[test]
fn explain_says_why() {
    let table = table(&[
        "GET a.example/x/{id}",
        "/x/{id}",
        "POST a.example/x/{id}",
        "b.example/x/1",
        "a.example/x/{**rest}",
        "{ host: a.example, path: \"/x/{id}\", headers: { v: \"1\" } }",
        "a.example/x/{id}",
        "a.example/y",
    ]);
    let headers = HeaderMap::new();
    let query =
        Query { method: &Method::GET, host: "a.example", path: "/x/1", headers: &headers, query: None };
    let failed = |reason: &str| Verdict::Failed { reason: reason.to_owned() };
    let expected = [
        (0, Verdict::Chosen),
        (6, Verdict::Lost { to: 0, by: Advantage::Methods }),
        (4, Verdict::Lost { to: 0, by: Advantage::Path }),
        (1, Verdict::Lost { to: 0, by: Advantage::Host }),
        (2, failed("the method is not POST")),
        (5, failed("header `v` is not `1`")),
        (7, failed("the path does not match")),
        (3, failed("the host is not `b.example`")),
    ];
    let found: Vec<_> = table.explain(&query).into_iter().map(|found| (found.route, found.verdict)).collect();
    assert_eq!(found, expected);
}

/// One route of the naive matcher.
#[derive(Debug, Clone)]
struct Naive {
    method: Option<&'static str>,
    host: Option<&'static str>,
    segments: Vec<&'static str>,
    header: Option<&'static str>,
}

impl Naive {
    fn yaml(&self) -> String {
        let mut parts = vec![format!("path: \"/{}\"", self.segments.join("/"))];
        parts.extend(self.method.map(|method| format!("methods: [{method}]")));
        parts.extend(self.host.map(|host| format!("host: \"{host}\"")));
        parts.extend(self.header.map(|value| format!("headers: {{ x: \"{value}\" }}")));
        format!("{{ {} }}", parts.join(", "))
    }

    fn path(&self, segments: &[&str]) -> bool {
        match self.segments.split_last() {
            Some((&"{**t}", fixed)) => {
                segments.len() > fixed.len() && Self::fixed(fixed, &segments[..fixed.len()])
            }
            _ => segments.len() == self.segments.len() && Self::fixed(&self.segments, segments),
        }
    }

    fn fixed(own: &[&str], segments: &[&str]) -> bool {
        own.iter()
            .zip(segments)
            .all(|(own, found)| if own.starts_with('{') { !found.is_empty() } else { own == found })
    }

    /// The documented order, as a sort key.
    fn rank(&self, index: usize) -> impl Ord + use<> {
        let host = match self.host {
            Some(host) if host.starts_with("*.") => (1, Reverse(host.len())),
            Some(_) => (0, Reverse(0)),
            None => (2, Reverse(0)),
        };
        let tail = self.segments.last() == Some(&"{**t}");
        let class =
            if tail { 2 } else { usize::from(self.segments.iter().any(|segment| segment.starts_with('{'))) };
        let length = if tail { self.segments.len() } else { 0 };
        let params: Vec<bool> = self.segments.iter().map(|segment| segment.starts_with('{')).collect();
        (host, class, Reverse(length), params, self.method.is_none(), self.header.is_none(), index)
    }
}

fn naive_route() -> impl Strategy<Value = Naive> {
    let segments = prop::collection::vec(prop::sample::select(vec!["a", "b", "{p}"]), 0..4);
    let end = prop::sample::select(vec!["", "a", "b", "{q}", "{**t}"]);
    let method = prop::option::of(prop::sample::select(vec!["GET", "HEAD", "POST"]));
    let host = prop::option::of(prop::sample::select(vec!["a.b.c", "*.b.c", "*.c"]));
    let header = prop::option::weighted(0.2, prop::sample::select(vec!["1", "2"]));
    (segments, end, method, host, header).prop_map(|(mut segments, end, method, host, header)| {
        // Parameter names must differ.
        for (place, name) in
            segments.iter_mut().filter(|segment| **segment == "{p}").zip(["{p}", "{r}", "{s}"])
        {
            *place = name;
        }
        segments.push(end);
        Naive { method, host, segments, header }
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn agrees_with_the_naive_matcher(
        mut all in prop::collection::vec(naive_route(), 1..24),
        requests in prop::collection::vec((
            prop::sample::select(vec!["GET", "HEAD", "POST", "PUT"]),
            prop::sample::select(vec!["a.b.c", "x.b.c", "x.y.c", "c", "other", "A.B.C."]),
            prop::collection::vec(prop::sample::select(vec!["a", "b", "c"]), 0..5),
            any::<bool>(),
            prop::option::of(prop::sample::select(vec!["1", "2"])),
        ), 1..20),
    ) {
        // Routes that say the same are refused, so they cannot be compared.
        let mut seen = std::collections::HashSet::new();
        let bare = |segments: &[&str]| segments.iter().map(|s| if s.starts_with("{**") { "**" } else if s.starts_with('{') { "{" } else { *s }).collect::<Vec<_>>().join("/");
        all.retain(|route| seen.insert((route.method, route.host, bare(&route.segments), route.header)));
        let yaml: Vec<String> = all.iter().map(Naive::yaml).collect();
        let (routes, mut report) = routes(&yaml.iter().map(String::as_str).collect::<Vec<_>>());
        let table = Table::build(&routes, &mut report);
        prop_assert!(report.is_empty(), "{}", report);
        for (method, host, mut segments, slash, header) in requests {
            if slash || segments.is_empty() {
                segments.push("");
            }
            let path = segments.join("/");
            let folded = host.to_ascii_lowercase();
            let folded = folded.trim_end_matches('.');
            let host_fits = |route: &Naive| route.host.is_none_or(|own| match own.strip_prefix('*') {
                Some(parent) => folded.ends_with(parent),
                None => own == folded,
            });
            let fits = |route: &Naive| host_fits(route) && route.path(&segments) && route.header.is_none_or(|value| header == Some(value));
            let takes = |route: &Naive| route.method.is_none_or(|own| own == method || own == "GET" && method == "HEAD");
            let best = all.iter().enumerate().filter(|(_, route)| fits(route) && takes(route)).min_by_key(|(index, route)| route.rank(*index));
            let others = all.iter().any(&fits);
            let headers = header.map(|value| headers(&[("x", value)])).unwrap_or_default();
            let found = find_with(&table, &format!("{method} {host}/{path}"), &headers);
            match (best, found) {
                (Some((index, _)), found) => prop_assert_eq!(found, Found::Route(index), "{:?}", yaml),
                (None, Found::MethodNotAllowed(_)) => prop_assert!(others),
                (None, Found::NotFound) => prop_assert!(!others && all.iter().any(host_fits)),
                (None, Found::UnknownHost) => prop_assert!(!all.iter().any(host_fits)),
                (None, Found::Route(index)) => prop_assert!(false, "found {}", index),
            }
        }
    }
}
