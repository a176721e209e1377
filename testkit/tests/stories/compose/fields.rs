//! What values become where they are put: a value never adds a segment, a parameter, or a step upwards.

use sallyport_testkit::{Answer, ComposedEdge, Mode, Origin};
use serde_json::json;

use super::{get_with, start, targets};

stories!(
    a_path_parameter_stays_one_segment,
    a_value_of_the_query_stays_one_parameter,
    a_value_in_a_path_takes_no_step_upwards,
    claims_and_results_go_into_paths_queries_and_bodies,
    a_value_that_is_missing_leaves_out_a_parameter_or_fails_the_branch,
    each_item_is_written_as_safely,
);

const ONE_SEGMENT: &str = r#"
  - match: GET /v1/{id}/parts/{**rest}
    public: true
    encoded_slashes: keep
    aggregate:
      a: { call: "GET up/a/{id}/z?id={id}&rest={rest}" }
"#;

async fn a_path_parameter_stays_one_segment(mode: Mode) {
    let origin = Origin::start().await;
    let edge = start(mode, &origin, ONE_SEGMENT).await;
    for (asked, received) in [
        ("/v1/7/parts/x", "/a/7/z?id=7&rest=x"),
        ("/v1/a%2Fb/parts/x/y", "/a/a%2Fb/z?id=a%2Fb&rest=x%2Fy"),
        ("/v1/%C3%BC%20%22/parts/%F0%9F%98%80", "/a/%C3%BC%20%22/z?id=%C3%BC%20%22&rest=%F0%9F%98%80"),
        ("/v1/a&b=c+d/parts/x", "/a/a%26b%3Dc%2Bd/z?id=a%26b%3Dc%2Bd&rest=x"),
        ("/v1/a%26b%3Fc%23d/parts/x", "/a/a%26b%3Fc%23d/z?id=a%26b%3Fc%23d&rest=x"),
        ("/v1/100%25%2f/parts/x", "/a/100%25%2F/z?id=100%25%2F&rest=x"),
        ("/v1/a;b:c@d/parts/%7Bid%7D", "/a/a%3Bb%3Ac%40d/z?id=a%3Bb%3Ac%40d&rest=%7Bid%7D"),
        ("/v1/%2525/parts/x", "/a/%2525/z?id=%2525&rest=x"),
    ] {
        edge.get(asked).await.expect(200);
        assert_eq!(origin.last().target, received, "{asked}");
    }
    // No text when decoded: no service could be told it. And what some services would take for a step upwards.
    let before = origin.requests().len();
    edge.get("/v1/%ff/parts/x").await.problem(400, "bad-request");
    edge.get("/v1/%2e%2e%2f%2e%2e/parts/x").await.problem(400, "bad-request");
    assert_eq!(origin.requests().len(), before);
    assert!(origin.violations().is_empty());
}

const QUERY: &str = r#"
  - match: GET /search
    public: true
    aggregate:
      a: { call: "GET up/a?q={query.q}&fixed=1&mixed=x-{query.q}" }
"#;

async fn a_value_of_the_query_stays_one_parameter(mode: Mode) {
    let origin = Origin::start().await;
    let edge = start(mode, &origin, QUERY).await;
    for (asked, value) in [
        ("q=plain", "plain"),
        ("q=a%26fixed=2", "a%26fixed%3D2"),
        ("q=a=b", "a%3Db"),
        ("q=a+b%2Bc", "a%20b%2Bc"),
        ("q=%C3%A4%23%3F", "%C3%A4%23%3F"),
        ("q=one&q=two", "one"),
        ("q=%0d%0aX-Evil:%201", "%0D%0AX-Evil%3A%201"),
        ("%71=named", "named"),
        ("q=", ""),
        ("q", ""),
        ("q=100%", "100%25"),
    ] {
        edge.get(&format!("/search?{asked}")).await.expect(200);
        assert_eq!(origin.last().target, format!("/a?q={value}&fixed=1&mixed=x-{value}"), "{asked}");
        assert_eq!(origin.last().header("x-evil"), None);
    }
}

const UPWARDS: &str = r#"
  - match: GET /files
    public: true
    aggregate:
      a: { call: "GET up/files/{query.name}/meta" }
"#;

async fn a_value_in_a_path_takes_no_step_upwards(mode: Mode) {
    let origin = Origin::start().await;
    let edge = start(mode, &origin, UPWARDS).await;
    for refused in ["..", ".", "", "%2e%2e"] {
        let problem = edge.get(&format!("/files?name={refused}")).await.problem(502, "bad-gateway");
        assert_eq!(problem["branches"], json!([{ "name": "a", "reason": "missing-value" }]), "{refused}");
    }
    assert!(origin.requests().is_empty());
    for (name, written) in [
        ("../../admin", "..%2F..%2Fadmin"),
        ("...", "..."),
        ("%252e%252e", "%252e%252e"),
        ("a//b", "a%2F%2Fb"),
    ] {
        edge.get(&format!("/files?name={name}")).await.expect(200);
        assert_eq!(origin.last().target, format!("/files/{written}/meta"));
    }
}

const EVERYWHERE: &str = r#"
  - match: GET /v1/{id}
    filters: [{ jwt: { issuer: main } }]
    aggregate:
      first: { call: "GET up/first/{claims.sub}?org={claims.org.id}&admin={claims.admin}" }
      second: { call: "GET up/second/{first.$.owner['full name']}?n={first.$.n}&last={first.$.tags[1]}" }
      third:
        call: POST up/third
        body:
          whole: "{first.$}"
          n: "{first.$.n}"
          text: "id {id}, n {first.$.n}, {{braces}}"
          query: "{query.q}"
          org: "{claims.org}"
          list: [1, "{first.$.tags}"]
"#;

async fn claims_and_results_go_into_paths_queries_and_bodies(mode: Mode) {
    let first = r#"{"owner":{"full name":"Ä/B?c"},"n":12345678901234567890.50,"tags":["x","y&z=1"]}"#;
    let origin = Origin::builder().on("/first/ada%2F..", Answer::json(first)).start().await;
    let edge = start(mode, &origin, EVERYWHERE).await;
    let token =
        edge.tokens.token().claim("sub", "ada/..").claim("org", json!({ "id": "a&b" })).claim("admin", true);
    get_with(&edge, &token.sign(), "/v1/seven?q=%22%5C", &[]).await.expect(200);
    let mut received = targets(&origin);
    received.sort();
    assert_eq!(
        received,
        [
            "/first/ada%2F..?org=a%26b&admin=true",
            "/second/%C3%84%2FB%3Fc?n=12345678901234567890.50&last=y%26z%3D1",
            "/third"
        ]
    );
    let requests = origin.requests();
    let third = requests.iter().find(|request| request.target == "/third").unwrap();
    assert_eq!(
        third.body.text(),
        format!(
            r#"{{"whole":{first},"n":12345678901234567890.50,"text":"id seven, n 12345678901234567890.50, {{braces}}","query":"\"\\","org":{{"id":"a&b"}},"list":[1,["x","y&z=1"]]}}"#
        )
    );
    assert_eq!(third.header("content-type"), Some("application/json"));
}

const MISSING: &str = r#"
  - match: GET /optional
    public: true
    aggregate:
      a: { call: "GET up/a?page={query.page}&size={query.size}&fixed=1" }
  - match: GET /mixed
    public: true
    aggregate:
      a: { call: "GET up/a?sort=by-{query.sort}", on_error: omit }
      b: { call: "GET up/b" }
  - match: GET /claim
    filters: [{ jwt: { issuer: main } }]
    aggregate:
      a: { call: "GET up/a?org={claims.org}", on_error: "null" }
  - match: GET /result
    public: true
    aggregate:
      a: { call: GET up/small }
      b: { call: "GET up/b?x={a.$.missing}" }
      c: { call: "GET up/c/{a.$.missing}", on_error: omit }
      d: { call: "GET up/d/{a.$.list}", on_error: omit }
      e: { call: POST up/e, body: ["{a.$.missing}"], on_error: omit }
"#;

async fn a_value_that_is_missing_leaves_out_a_parameter_or_fails_the_branch(mode: Mode) {
    let origin = Origin::builder()
        .on("/small", Answer::json(r#"{"list":[1]}"#))
        .on("/b", Answer::json("1"))
        .start()
        .await;
    let edge = start(mode, &origin, MISSING).await;
    for (query, received) in
        [("", "/a?fixed=1"), ("?size=5", "/a?size=5&fixed=1"), ("?page=2&size=5", "/a?page=2&size=5&fixed=1")]
    {
        edge.get(&format!("/optional{query}")).await.expect(200);
        assert_eq!(origin.last().target, received);
    }
    let mixed = edge.get("/mixed").await.expect(200);
    assert_eq!((mixed.text().as_str(), mixed.header("x-aggregate-complete")), (r#"{"b":1}"#, Some("false")));
    // A claim that is missing never means "all of them".
    assert_eq!(edge.get_as("ada", "/claim").await.expect(200).text(), r#"{"a":null}"#);
    assert_eq!(edge.get("/result").await.expect(200).text(), r#"{"a":{"list":[1]},"b":1}"#);
    let last: Vec<_> = targets(&origin).split_off(4);
    assert_eq!(last, ["/small", "/b"]);
}

const ITEMS: &str = r#"
  - match: GET /items
    public: true
    aggregate:
      ids: { call: GET up/ids }
      each: { call: "GET up/item/{item}/x?i={item}", each: { in: "ids.$", max: 9, concurrency: 1 }, on_error: "null" }
"#;

async fn each_item_is_written_as_safely(mode: Mode) {
    let origin =
        Origin::builder().on("/ids", Answer::json(r#"["a/b","..","x&y",7,true,{},null,""]"#)).start().await;
    let edge: ComposedEdge = start(mode, &origin, ITEMS).await;
    let answer = edge.get("/items").await.expect(200);
    assert_eq!(
        targets(&origin).split_off(1),
        ["/item/a%2Fb/x?i=a%2Fb", "/item/x%26y/x?i=x%26y", "/item/7/x?i=7", "/item/true/x?i=true"]
    );
    let kinds: Vec<_> = answer.json()["each"].as_array().unwrap().iter().map(|item| item.is_null()).collect();
    assert_eq!(kinds, [false, true, false, false, false, true, true, true]);
}
