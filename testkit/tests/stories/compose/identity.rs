//! Who the client is, as services see it: what filters say goes along, what clients say of themselves does not.

use sallyport_testkit::{Mode, Origin, Received};
use serde_json::json;

use super::{get_with, start};

stories!(
    what_the_chain_says_of_the_client_goes_along_and_what_the_client_says_does_not,
    a_name_with_an_underscore_is_the_same_name,
    only_headers_that_are_listed_go_along,
    a_shared_call_carries_nothing_of_the_client,
    a_request_is_known_by_its_id_and_its_trace_everywhere,
    services_know_where_a_request_came_from,
    nobody_asks_services_without_passing_the_chain,
);

const ROUTE: &str = r#"
  - match: GET /me
    filters: [{ jwt: { issuer: main, forward: { X-User-Id: sub, X-Org: org.id } } }]
    aggregate:
      a: { call: GET up/a }
"#;

async fn what_the_chain_says_of_the_client_goes_along_and_what_the_client_says_does_not(mode: Mode) {
    let origin = Origin::start().await;
    let edge = start(mode, &origin, ROUTE).await;
    let token = edge.tokens.token().claim("sub", "ada").claim("org", json!({ "id": 7 })).sign();
    let forged = [
        ("X-User-Id", "admin"),
        ("x-ORG", "1"),
        ("Sallyport-Claims", "eyJzdWIiOiJhZG1pbiJ9"),
        ("Sallyport-Client", "192.0.2.1"),
        ("sallyport-route", "other"),
        ("Sallyport-Params", "id=1"),
        ("Sallyport-Identity", "x-role,cookie"),
        ("X-Role", "admin"),
        ("X-Forwarded-For", "192.0.2.1"),
        ("X-Request-Id", "mine"),
    ];
    let answer = get_with(&edge, &token, "/me", &forged).await.expect(200);
    let seen = origin.last();
    assert_eq!((seen.headers("x-user-id"), seen.headers("x-org")), (vec!["ada"], vec!["7"]));
    assert_eq!((seen.headers("x-role"), seen.headers("x-forwarded-for")), (vec![], vec!["127.0.0.1"]));
    let id = answer.header("x-request-id").unwrap();
    assert!(id != "mine");
    assert_eq!(seen.headers("x-request-id"), [id]);
    nothing_internal(&seen);
}

/// As CGI and its heirs read names: GHSA-7r4p-vjf4-gxv4 is what comes of it.
async fn a_name_with_an_underscore_is_the_same_name(mode: Mode) {
    let origin = Origin::start().await;
    let edge = sallyport_testkit::ComposedEdge::start(
        mode,
        "",
        &format!(
            "listeners:\n  public: {{ address: \"127.0.0.1:0\", allow_underscores: true }}\n{}",
            super::routes(&origin, &ROUTE.replace("GET up/a }", "GET up/a, headers: [X_Custom] }"))
        ),
    )
    .await;
    let token = edge.token("ada");
    let forged = [
        ("X_User_Id", "admin"),
        ("x_org", "1"),
        ("Sallyport_Claims", "eyJzdWIiOiJhZG1pbiJ9"),
        ("sallyport_Identity", "x_custom"),
        ("X_Forwarded_For", "192.0.2.1"),
        ("X_Custom", "mine"),
    ];
    get_with(&edge, &token, "/me", &forged).await.expect(200);
    let seen = origin.last();
    assert_eq!((seen.headers("x-user-id"), seen.headers("x-org")), (vec!["ada"], vec![]));
    let underscored: Vec<_> = seen.head.fields.iter().filter(|(name, _)| name.contains('_')).collect();
    assert_eq!(underscored.len(), 1, "{underscored:?}");
    nothing_internal(&seen);
}

const LISTED: &str = r#"
  - match: GET /listed
    filters: [{ jwt: { issuer: main, forward: { X-User-Id: sub }, forward_token: true } }]
    aggregate:
      none: { call: GET up/none }
      some: { call: GET up/some, headers: [Accept-Language, cookie, Authorization, X-User-Id, Accept] }
"#;

async fn only_headers_that_are_listed_go_along(mode: Mode) {
    let origin = Origin::start().await;
    let edge = start(mode, &origin, LISTED).await;
    let token = edge.token("ada");
    let sent = [
        ("Accept-Language", "de"),
        ("Cookie", "a=b"),
        ("Accept", "text/html"),
        ("Accept-Encoding", "gzip"),
        ("User-Agent", "story"),
        ("If-None-Match", "\"x\""),
        ("Range", "bytes=0-1"),
        ("X-Anything", "1"),
    ];
    get_with(&edge, &token, "/listed", &sent).await.expect(200);
    let requests = origin.requests();
    let of = |target: &str| requests.iter().find(|request| request.target == target).unwrap();
    for name in
        ["accept-language", "cookie", "authorization", "user-agent", "if-none-match", "range", "x-anything"]
    {
        assert_eq!(of("/none").header(name), None, "{name}");
    }
    let some = of("/some");
    assert_eq!(some.headers("accept-language"), ["de"]);
    assert_eq!(some.headers("cookie"), ["a=b"]);
    assert_eq!(some.headers("authorization"), [format!("Bearer {token}")]);
    assert_eq!((some.headers("x-user-id"), some.headers("accept")), (vec!["ada"], vec!["text/html"]));
    for request in &requests {
        assert_eq!(request.headers("accept-encoding"), ["identity"]);
        assert_eq!((request.header("if-none-match"), request.header("x-anything")), (None, None));
        nothing_internal(request);
    }
}

const SHARED: &str = r#"
  - match: GET /shared
    filters: [{ jwt: { issuer: main, forward: { X-User-Id: sub }, forward_token: true } }]
    aggregate:
      tags: { call: GET up/tags, headers: [Accept-Language], cache: { ttl: 1h, shared: true } }
"#;

async fn a_shared_call_carries_nothing_of_the_client(mode: Mode) {
    let origin = Origin::start().await;
    let edge = start(mode, &origin, SHARED).await;
    let sent = [("Cookie", "a=b"), ("Accept-Language", "de")];
    get_with(&edge, &edge.token("ada"), "/shared", &sent).await.expect(200);
    let seen = origin.last();
    for name in ["x-user-id", "authorization", "cookie", "x-forwarded-for"] {
        assert_eq!(seen.header(name), None, "{name}");
    }
    assert_eq!(seen.header("accept-language"), Some("de"));
    get_with(&edge, &edge.token("bob"), "/shared", &sent).await.expect(200);
    assert_eq!(origin.requests().len(), 1);
    get_with(&edge, &edge.token("bob"), "/shared", &[("Accept-Language", "fr")]).await.expect(200);
    assert_eq!(origin.requests().len(), 2);
}

const TRACED: &str = r#"
  - match: GET /traced
    public: true
    aggregate:
      a: { call: GET up/a }
      b: { call: GET up/b, needs: [a] }
"#;

/// W3C Trace Context.
async fn a_request_is_known_by_its_id_and_its_trace_everywhere(mode: Mode) {
    let origin = Origin::start().await;
    let edge = start(mode, &origin, TRACED).await;
    let mut client = edge.edge.client().await;
    let sent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let draft = client.get("/traced").header("traceparent", sent).header("tracestate", "a=1");
    let answer = draft.send().await.expect(200);
    let id = answer.header("x-request-id").unwrap();
    let requests = origin.requests();
    let mut spans = vec!["00f067aa0ba902b7".to_owned()];
    for request in &requests {
        assert_eq!(request.headers("x-request-id"), [id]);
        let [parent] = request.headers("traceparent")[..] else { panic!("{:?}", request.head) };
        let parts: Vec<&str> = parent.split('-').collect();
        assert_eq!((parts[0], parts[1], parts.len()), ("00", "4bf92f3577b34da6a3ce929d0e0e4736", 4));
        assert_eq!(request.headers("tracestate"), ["a=1"]);
        spans.push(parts[2].to_owned());
    }
    spans.sort();
    spans.dedup();
    assert_eq!(spans.len(), 3, "each call is a span of its own");
    let line = edge.edge.access_log(1).await.remove(0);
    assert_eq!(line["upstream"], "aggregator", "{line}");
    assert_eq!(line["request_id"], id);
    assert_eq!(line["trace_id"], "4bf92f3577b34da6a3ce929d0e0e4736");
    assert_eq!((&line["status"], &line["route"]), (&json!(200), &json!("GET /traced")));
    assert_eq!(line.get("target").filter(|target| !target.is_null()), None, "{line}");
}

async fn services_know_where_a_request_came_from(mode: Mode) {
    let origin = Origin::start().await;
    let edge = start(mode, &origin, TRACED).await;
    let mut client = edge.edge.client().await;
    let draft = client.get("/traced").host("api.example.com").header("Forwarded", "for=192.0.2.1");
    draft.header("X-Forwarded-Prefix", "/x").send().await.expect(200);
    for request in origin.requests() {
        assert_eq!(request.headers("x-forwarded-for"), ["127.0.0.1"]);
        assert_eq!(request.headers("x-forwarded-proto"), ["http"]);
        assert_eq!(request.headers("x-forwarded-host"), ["api.example.com"]);
        assert_eq!((request.header("forwarded"), request.header("x-forwarded-prefix")), (None, None));
        assert_eq!(request.headers("host"), ["api.example.com"]);
    }
}

async fn nobody_asks_services_without_passing_the_chain(mode: Mode) {
    let origin = Origin::start().await;
    let edge = start(mode, &origin, ROUTE).await;
    edge.get("/me").await.problem(401, "unauthorized");
    let stranger = edge.tokens.token().tampered("admin");
    get_with(&edge, &stranger, "/me", &[]).await.problem(401, "unauthorized");
    // What only operators of the machine may ask, no route leads to.
    for path in ["/metrics", "/healthz", "/readyz"] {
        edge.get(path).await.problem(404, "not-found");
    }
    assert!(origin.requests().is_empty());
}

/// What parts of Sallyport tell each other stays between them.
fn nothing_internal(request: &Received) {
    let internal = |name: &str| name.to_ascii_lowercase().replace('_', "-").starts_with("sallyport-");
    let told: Vec<_> = request.head.fields.iter().filter(|(name, _)| internal(name)).collect();
    assert!(told.is_empty(), "{told:?}");
}
