use proptest::prelude::*;

use super::path::is_canonical;
use super::*;
use crate::exchange::RouteFacts;
use crate::probe::Made;
use crate::probe::tests::{probe, refused};

/// A request of a route whose parameters have these values, which occur in the path.
fn made(target: &str, params: &[(&str, &str)]) -> Made {
    let mut made = Made::new("GET", target);
    let path = made.request.uri.path().to_owned();
    for (_, value) in params {
        let from = path.rfind(value).unwrap();
        made.facts.params.push((from as u16, (from + value.len()) as u16));
    }
    let names = params.iter().map(|(name, _)| Box::from(*name)).collect();
    made.facts.route = Some(Arc::new(RouteFacts { name: "test".into(), params: names }));
    made
}

fn rewritten(settings: &str, mut made: Made) -> Result<String, ProblemKind> {
    let probe = probe(&format!("- rewrite: {{ {settings} }}"));
    assert!(probe.request(&mut made).is_none());
    let before = made.request.uri.clone();
    let head = probe.upstream(&mut made).map_err(|fault| fault.kind)?;
    assert_eq!(made.request.uri, before, "filters behind see the path that was matched");
    Ok(String::from_utf8(head.raw_path().to_vec()).unwrap())
}

#[test]
fn a_template_is_filled_with_the_routes_parameters() {
    for (path, target, params, expected) in [
        ("/new/{id}", "/old/7", &[("id", "7")][..], "/new/7"),
        ("/new/{id}", "/old/a%20b?q=1&q=2", &[("id", "a%20b")], "/new/a%20b?q=1&q=2"),
        ("/x/{**rest}", "/files/a/b/c?z", &[("rest", "a/b/c")], "/x/a/b/c?z"),
        ("/x/{rest}/y", "/files/a/b", &[("rest", "a/b")], "/x/a/b/y"),
        ("/x/{**rest}", "/files/", &[("rest", "")], "/x/"),
        ("/x/{**rest}/y", "/files/", &[("rest", "")], "/x/y"),
        ("/{b}/{a}", "/1/2", &[("a", "1"), ("b", "2")], "/2/1"),
        ("/", "/1", &[], "/"),
        ("/fixed", "/1", &[], "/fixed"),
    ] {
        assert_eq!(
            rewritten(&format!("path: '{path}'"), made(target, params)).as_deref(),
            Ok(expected),
            "{path}"
        );
    }
}

#[test]
fn prefixes_are_whole_segments() {
    for (settings, target, expected) in [
        ("strip_prefix: /api", "/api/v1/x?a=b", "/v1/x?a=b"),
        ("strip_prefix: /api", "/api", "/"),
        ("strip_prefix: /api", "/api/", "/"),
        ("strip_prefix: /api", "/apix", "/apix"),
        ("strip_prefix: /api", "/v1/api", "/v1/api"),
        ("add_prefix: /v1", "/x", "/v1/x"),
        ("add_prefix: /v1", "/", "/v1/"),
        ("strip_prefix: /api, add_prefix: /v1", "/api/x", "/v1/x"),
        ("strip_prefix: /api, add_prefix: /v1", "/api", "/v1"),
    ] {
        assert_eq!(rewritten(settings, made(target, &[])).as_deref(), Ok(expected), "{settings} of {target}");
    }
}

#[test]
fn an_expression_replaces_its_first_match() {
    for (matching, replace, target, expected) in [
        ("^/users/([0-9]+)$", "/u/$1", "/users/42?a", "/u/42?a"),
        ("^/users/([0-9]+)$", "/u/$1", "/users/x", "/users/x"),
        ("(?<year>[0-9]{4})", "y${year}", "/2024/2025", "/y2024/2025"),
        ("^/", "", "/a", "/a"),
        ("/a", "", "/a/b", "/b"),
        ("a", "$$", "/a", "/$"),
        ("b", "", "/a/b/c", "/a/c"),
    ] {
        let settings = format!("regex: {{ match: '{matching}', replace: '{replace}' }}");
        assert_eq!(
            rewritten(&settings, made(target, &[])).as_deref(),
            Ok(expected),
            "{matching} in {target}"
        );
    }
}

/// A path that was matched and authorised must not turn into one above it (compare CVE-2021-41773).
#[test]
fn a_result_that_is_not_canonical_is_refused() {
    for (matching, replace, target) in [
        ("x", ".", "/a/.x/b"),
        ("x", "", "/a/.x./b"),
        ("x", "%2e%2e", "/a/x/b"),
        ("x", "%2E", "/a/x"),
        ("x", "%00", "/a/x"),
        ("x", "%", "/a/x"),
        ("x", "?a", "/x"),
        ("x", "#a", "/x"),
        ("x", "\\", "/x"),
        ("x", " ", "/x"),
    ] {
        let settings = format!("regex: {{ match: '{matching}', replace: '{replace}' }}");
        assert_eq!(
            rewritten(&settings, made(target, &[])),
            Err(ProblemKind::BadRequest),
            "{replace} in {target}"
        );
    }
}

#[test]
fn a_parameter_that_the_route_lacks_is_told_at_load_and_a_fault_at_run_time() {
    let probe = probe("- rewrite: { path: '/a/{id}/{**rest}', query: { set: { k: 'x{key}' } } }");
    assert_eq!(probe.chain().route_params().collect::<Vec<_>>(), ["id", "rest", "key"]);
    assert_eq!(rewritten("path: '/a/{id}'", made("/a", &[])), Err(ProblemKind::Internal));
}

#[test]
fn the_host_is_replaced_in_every_form() {
    let probe = probe("- rewrite: { host: 'files.internal:8080' }");
    let mut made = Made::new("GET", "/a?b").header("Host", "api.example.com");
    assert!(probe.request(&mut made).is_none());
    let head = probe.upstream(&mut made).unwrap();
    assert_eq!(head.headers.get_all("host").iter().collect::<Vec<_>>(), ["files.internal:8080"]);
    assert_eq!(head.uri, "/a?b");
    let mut made = Made::new("GET", "/");
    made.request.set_uri("https://api.example.com/a?b".parse().unwrap());
    assert!(probe.request(&mut made).is_none());
    assert_eq!(probe.upstream(&mut made).unwrap().uri, "https://files.internal:8080/a?b");
}

#[test]
fn queries_change_only_where_they_should() {
    for (settings, target, expected) in [
        ("set: { a: '1' }", "/p", "/p?a=1"),
        ("set: { a: '1' }", "/p?b=2", "/p?b=2&a=1"),
        ("set: { a: '1' }", "/p?a=0&b=%20+&a=2", "/p?b=%20+&a=1"),
        ("remove: [a]", "/p?a=0", "/p"),
        ("remove: [a]", "/p?a&aa=1&b", "/p?aa=1&b"),
        ("remove: [a]", "/p?%61=0&b=1", "/p?b=1"),
        ("remove: ['a b']", "/p?a+b=0&a%20b=1&c", "/p?c"),
        ("remove: [a]", "/p", "/p"),
        ("set: { 'a&b': 'x=y&z +%' }", "/p", "/p?a%26b=x%3Dy%26z%20%2B%25"),
    ] {
        assert_eq!(
            rewritten(&format!("query: {{ {settings} }}"), made(target, &[])).as_deref(),
            Ok(expected)
        );
    }
}

/// A parameter of the path may hold `&` and `=`, which would become parameters of the query.
#[test]
fn a_path_parameter_cannot_add_to_the_query() {
    let exchange = made("/p/1&admin=1", &[("id", "1&admin=1")]);
    let target = rewritten("path: /p, query: { set: { id: 'n{id}' } }", exchange);
    assert_eq!(target.as_deref(), Ok("/p?id=n1%26admin%3D1"));
}

#[test]
fn bad_settings_are_refused_where_they_stand() {
    let with = |settings: &str, column: u32, message: &str| {
        refused(&format!("- rewrite: {{ {settings} }}"), &format!("probe.yaml:1:{column}"), message);
    };
    refused("- rewrite", "probe.yaml:1:3", "rewrites nothing");
    with("path: a/b", 20, "does not begin with `/`");
    with("path: '/a//b'", 20, "not a canonical path");
    with("path: '/a/../b'", 20, "not a canonical path");
    with("path: '/a?b=c'", 20, "not a canonical path");
    with("path: '/a/x{id}'", 20, "a whole segment");
    with("path: '/a/{}'", 20, "a whole segment");
    with("path: /a, strip_prefix: /b", 38, "`path` and `strip_prefix` cannot stand together");
    with("path: /a, regex: { match: a, replace: b }", 31, "cannot stand together");
    with("strip_prefix: api", 28, "write `/api`");
    with("strip_prefix: /api/", 28, "write `/api`");
    with("add_prefix: /", 26, "leave it out");
    with("add_prefix: '/a b'", 26, "not a canonical path");
    with("regex: { match: '(', replace: a }", 30, "not a regular expression");
    with("regex: { match: '(a)', replace: '$2' }", 46, "no group `2`");
    with("regex: { match: '(a)', replace: '$1_x' }", 46, "write `${1}_x`");
    with("regex: { match: '(a)', replace: 'x${b}' }", 46, "no group `b`");
    with("host: 'a b'", 20, "is not a host");
    with("host: 'https://a'", 20, "is not a host");
    with("host: 'a:99999'", 20, "is not a host");
    with("host: 'user@a'", 20, "is not a host");
    with("query: {}", 21, "changes nothing");
    with("query: { set: { a: '{' } }", 33, "without the name of a parameter");
    with("query: { set: { a: b }, remove: [a] }", 47, "is here already");
    with("query: { remove: [''] }", 32, "has a name");
}

proptest! {
    /// Whatever the expression makes of a canonical path, the upstream gets a canonical path or nothing.
    #[test]
    fn what_reaches_the_upstream_is_canonical(
        segments in prop::collection::vec("[a-z.x%20]{1,4}", 0..5),
        replace in "[./%2e$a-z]{0,6}",
    ) {
        let path = format!("/{}", segments.join("/"));
        prop_assume!(is_canonical(&path) && !replace.contains('$'));
        let settings = format!("regex: {{ match: 'x+', replace: '{replace}' }}");
        if let Ok(target) = rewritten(&settings, made(&path, &[])) {
            prop_assert!(is_canonical(&target), "{target}");
        }
    }
}
