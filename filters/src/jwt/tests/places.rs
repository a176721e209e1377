//! Where a token may be, and what of the request the upstream sees.

use http::header::{AUTHORIZATION, COOKIE};

use super::*;

const ALL: &str = "from: [header, { cookie: sid }, { query: access_token }]";

#[test]
fn a_token_is_found_in_every_place_that_is_allowed_and_no_other() {
    let (all, header) = (Setup::new(ALL), Setup::new(""));
    for (setup, expected) in [(&all, true), (&header, false)] {
        let token = setup.token(json!({}));
        assert!(setup.run(made().header("authorization", &format!("bEaReR {token}"))).passed());
        let cookie = setup.run(made().header("cookie", &format!("a=b; sid={token}")));
        assert_eq!(cookie.passed(), expected);
        let query = setup.run(made_at(&format!("/x?a=b&access_token={token}")));
        assert_eq!(query.passed(), expected);
    }
}

/// RFC 6750, section 2: one way at a time.
#[test]
fn tokens_in_two_places_are_a_bad_request() {
    let setup = Setup::new(ALL);
    let token = setup.token(json!({}));
    let answer = setup
        .run(made_at(&format!("/?access_token={token}")).header("authorization", &format!("Bearer {token}")));
    assert_eq!(answer.status(), 400);
    assert_eq!(answer.made.request.uri, "/", "and the URI is clean to be logged");
    let cookies = setup.run(made().header("cookie", &format!("sid={token}; sid=x")));
    assert_eq!(cookies.status(), 400);
}

#[test]
fn a_token_in_the_query_is_taken_out_whatever_becomes_of_it() {
    let setup = Setup::new(ALL);
    let token = setup.token(json!({}));
    for (value, status) in [(token.as_str(), 200), ("bad", 401), ("", 400)] {
        let mut answer = setup.run(made_at(&format!("/x?a=1&access%5Ftoken={value}&b=2")));
        assert_eq!(answer.status(), status);
        assert_eq!(answer.made.request.uri, "/x?a=1&b=2");
        assert_eq!(setup.probe.upstream(&mut answer.made).unwrap().uri, "/x?a=1&b=2");
    }
}

#[test]
fn the_upstream_gets_no_token_unless_it_should() {
    for (more, kept) in [("", false), ("\nforward_token: true", true)] {
        let setup = Setup::new(&format!("{ALL}{more}"));
        let token = setup.token(json!({}));
        let mut header = setup.run(made().header("authorization", &format!("Bearer {token}")));
        let head = setup.probe.upstream(&mut header.made).unwrap();
        assert_eq!(head.headers.contains_key(AUTHORIZATION), kept);
        let cookies = format!("a=b; sid={token}; c=d");
        let mut cookie = setup.run(made().header("cookie", &cookies));
        let head = setup.probe.upstream(&mut cookie.made).unwrap();
        assert_eq!(head.headers[COOKIE], if kept { cookies.as_str() } else { "a=b; c=d" });
    }
}

#[test]
fn claims_go_to_the_upstream_as_headers() {
    let setup = Setup::new("forward: { X-User-Id: sub, X-Roles: realm.roles, X-Missing: none }");
    let token = setup.token(json!({"realm": {"roles": ["a", "b"]}}));
    // From the signature, from memory, and again on a retry.
    for _ in 0..2 {
        let mut answer = setup.ask(&token);
        for _ in 0..2 {
            let head = setup.probe.upstream(&mut answer.made).unwrap();
            assert_eq!(head.headers["x-user-id"], "ann");
            assert_eq!(head.headers["x-roles"], "a,b");
            assert!(!head.headers.contains_key("x-missing"));
        }
    }
}

/// A value set here takes the place of all values that are there (the edge has deleted the client's already).
#[test]
fn a_header_from_a_claim_is_the_only_one_of_its_name() {
    let setup = Setup::new("forward: { X-User-Id: sub }");
    let token = format!("Bearer {}", setup.token(json!({})));
    let mut answer = setup
        .run(made().header("x-user-id", "root").header("X-USER-ID", "admin").header("authorization", &token));
    let head = setup.probe.upstream(&mut answer.made).unwrap();
    assert_eq!(head.headers.get_all("x-user-id").iter().collect::<Vec<_>>(), ["ann"]);
}

#[test]
fn a_claim_that_no_header_can_hold_is_forbidden() {
    let setup = Setup::new("forward: { X-Name: name }");
    for name in [json!("a\r\nX-Admin: 1"), json!({"first": "a"}), json!(" a")] {
        let answer = setup.ask(&setup.token(json!({ "name": name })));
        assert_eq!(answer.status(), 403, "{name}");
        assert_eq!(answer.challenge(), "", "no challenge: another token would not help");
    }
}

#[test]
fn an_optional_filter_without_a_token_sets_nothing() {
    let setup = Setup::new("optional: true\nforward: { X-User-Id: sub }");
    let mut answer = setup.run(made().header("authorization", "Basic YTpi"));
    let head = setup.probe.upstream(&mut answer.made).unwrap();
    assert!(!head.headers.contains_key("x-user-id"));
    assert_eq!(head.headers[AUTHORIZATION], "Basic YTpi", "not ours to take");
}
