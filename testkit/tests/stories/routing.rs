//! Which route a request takes, and what the edge answers when it takes none.

use sallyport_testkit::{EdgeUnderTest, Origin};

async fn origins() -> (Origin, Origin) {
    (Origin::builder().name("first").start().await, Origin::builder().name("second").start().await)
}

fn upstreams(first: &Origin, second: &Origin) -> String {
    format!(
        "upstreams:\n  first: {{ targets: [\"{}\"] }}\n  second: {{ targets: [\"{}\"] }}\n",
        first.address(),
        second.address()
    )
}

#[tokio::test]
async fn the_most_specific_route_wins_whatever_the_order() {
    let (first, second) = origins().await;
    let edge = EdgeUnderTest::start(
        &(upstreams(&first, &second)
            + r#"
routes:
  - { match: "/v1/{**rest}", public: true, upstream: first }
  - { match: "/v1/items/{id}", public: true, upstream: first }
  - { match: "/v1/items/new", public: true, upstream: second }
  - { match: { path_regex: "/v1/items/[a-z]+" }, public: true, upstream: first }
  - { match: "POST /v1/items/{id}", public: true, upstream: second }
"#),
    )
    .await;
    for (method, target, name) in [
        ("GET", "/v1/items/new", "second"),
        ("GET", "/v1/items/old", "first"),
        ("POST", "/v1/items/old", "second"),
        ("GET", "/v1/other/deep/path", "first"),
    ] {
        let echo = edge.client().await.request(method, target).send().await.expect(200).json();
        assert_eq!(echo["origin"], name, "{method} {target}");
    }
}

#[tokio::test]
async fn an_exact_host_wins_over_a_wildcard_and_an_unknown_host_is_misdirected() {
    let (first, second) = origins().await;
    let edge = EdgeUnderTest::start(
        &(upstreams(&first, &second)
            + r#"
routes:
  - { match: "*.example.com/{**rest}", public: true, upstream: first }
  - { match: "api.example.com/{**rest}", public: true, upstream: second }
"#),
    )
    .await;
    for (host, name) in
        [("api.example.com", "second"), ("API.Example.COM:8443", "second"), ("www.example.com", "first")]
    {
        let echo = edge.client().await.get("/x").host(host).send().await.expect(200).json();
        assert_eq!(echo["origin"], name, "{host}");
    }
    // A host of nobody never reaches a backend by accident (RFC 9110, section 15.5.20).
    for host in ["example.com", "evil.test", "example.com.evil.test"] {
        edge.client().await.get("/x").host(host).send().await.problem(421, "misdirected-request");
    }
    assert_eq!(first.requests().len() + second.requests().len(), 3);
}

#[tokio::test]
async fn no_route_is_404_and_no_method_is_405_with_allow() {
    let origin = Origin::start().await;
    let edge = EdgeUnderTest::start(&format!(
        r#"
upstreams:
  origin: {{ targets: ["{}"] }}
routes:
  - match: GET|PUT /there
    public: true
    upstream: origin
"#,
        origin.address()
    ))
    .await;
    edge.get("/nowhere").await.problem(404, "not-found");
    let refused = edge.client().await.request("DELETE", "/there").send().await;
    let allow = refused.header("allow").unwrap().to_owned();
    refused.problem(405, "method-not-allowed");
    for method in ["GET", "PUT", "HEAD"] {
        assert!(allow.split(", ").any(|allowed| allowed == method), "{method} is not in {allow:?}");
    }
    assert!(origin.requests().is_empty());
    edge.client().await.request("HEAD", "/there").send().await.expect(200);
}

#[tokio::test]
async fn conditions_on_headers_and_query_choose() {
    let (first, second) = origins().await;
    let edge = EdgeUnderTest::start(
        &(upstreams(&first, &second)
            + r#"
routes:
  - { match: "/x", public: true, upstream: first }
  - match: { path: /x, headers: { X-Beta: "on" } }
    public: true
    upstream: second
  - match: { path: /x, query: { v: { regex: "[2-9]" } } }
    public: true
    upstream: second
"#),
    )
    .await;
    let beta = edge.client().await.get("/x").header("x-beta", "on").send().await;
    assert_eq!(beta.expect(200).json()["origin"], "second");
    for (target, name) in [("/x", "first"), ("/x?v=2", "second"), ("/x?v=22", "first"), ("/x?w=2", "first")] {
        assert_eq!(edge.get(target).await.expect(200).json()["origin"], name, "{target}");
    }
}

#[tokio::test]
async fn what_is_matched_is_what_is_forwarded() {
    let origin = Origin::start().await;
    let edge = EdgeUnderTest::start(&crate::everything_to(origin.address())).await;
    for (sent, forwarded) in [
        ("/a//b", "/a/b"),
        ("/a/./b/../c", "/a/c"),
        ("/%61/b", "/a/b"),
        ("/a%2e%2e/b", "/a../b"),
        ("/a;x=1/b", "/a;x=1/b"),
        ("/a?q=//..", "/a?q=//.."),
        ("/a/%2e%2E/b", "/b"),
    ] {
        assert_eq!(edge.get(sent).await.expect(200).json()["target"], forwarded, "{sent}");
    }
}

#[tokio::test]
async fn a_path_with_two_readings_is_refused() {
    let origin = Origin::start().await;
    let edge = EdgeUnderTest::start(&crate::everything_to(origin.address())).await;
    for path in ["/a%00b", "/a%zz", "/a%2", "/../a", "/a/../../b", "/a\\b", "/a%2Fb", "/a%5Cb", "/%2e%2e/a"] {
        edge.get(path).await.problem(400, "bad-request");
    }
    assert!(origin.requests().is_empty());
}

#[tokio::test]
async fn a_guard_cannot_be_passed_by_spelling_its_path_otherwise() {
    let origin = Origin::start().await;
    let edge = EdgeUnderTest::start(&format!(
        r#"
upstreams:
  origin: {{ targets: ["{}"] }}
routes:
  - {{ match: "/{{**rest}}", public: true, upstream: origin }}
  - match: /admin/{{**rest}}
    public: true
    respond: {{ status: 403, body: "no" }}
"#,
        origin.address()
    ))
    .await;
    for path in [
        "/admin/x",
        "//admin/x",
        "/./admin/x",
        "/y/../admin/x",
        "/%61dmin/x",
        "/admin//x",
        "/y/%2e%2e/admin/x",
    ] {
        edge.get(path).await.expect(403);
    }
    assert!(origin.requests().is_empty());
}

#[tokio::test]
async fn redirects_and_fixed_answers_need_no_upstream() {
    let edge = EdgeUnderTest::start(
        r#"
routes:
  - match: /old/{id}
    public: true
    redirect: { to: "/new/{id}{query}", status: 301 }
  - match: /hello
    public: true
    respond: { status: 202, body: "hi", content_type: text/plain }
"#,
    )
    .await;
    let moved = edge.get("/old/7?a=b").await.expect(301);
    assert_eq!(moved.header("location"), Some("/new/7?a=b"));
    let hello = edge.get("/hello").await.expect(202);
    assert_eq!((hello.text().as_str(), hello.header("content-type")), ("hi", Some("text/plain")));
}

#[tokio::test]
async fn a_split_shares_by_weight_and_a_weight_of_zero_gets_nothing() {
    let (first, second) = origins().await;
    let edge = EdgeUnderTest::start(
        &(upstreams(&first, &second)
            + r#"
routes:
  - match: /x
    public: true
    split: [{ upstream: first, weight: 1 }, { upstream: second, weight: 0 }]
  - match: /y
    public: true
    split: [{ upstream: first, weight: 1 }, { upstream: second, weight: 1 }]
"#),
    )
    .await;
    let mut client = edge.client().await;
    for _ in 0..20 {
        assert_eq!(client.get("/x").send().await.expect(200).json()["origin"], "first");
    }
    for _ in 0..100 {
        client.get("/y").send().await.expect(200);
    }
    // Were the choice fair and random, this would fail once in 2^99 runs.
    assert!(!second.requests().is_empty() && first.requests().len() > 20);
}

// RFC 9110, section 9.3.8: TRACE would echo the credentials that filters add.
#[tokio::test]
async fn trace_is_refused_wherever_a_route_leads() {
    let origin = Origin::start().await;
    let listener = "listeners:\n  public: { address: \"127.0.0.1:0\", h2c: true }\n";
    let edge = EdgeUnderTest::start(&(listener.to_owned() + &crate::everything_to(origin.address()))).await;
    let refused = edge.client().await.request("TRACE", "/").send().await;
    assert!(refused.header("allow").is_some(), "RFC 9110, section 15.5.6");
    refused.problem(405, "method-not-allowed");
    edge.h2_client().await.request("TRACE", "/").send().await.problem(405, "method-not-allowed");
    // Methods are case-sensitive (section 9.1): this one is another, unknown method.
    edge.client().await.request("trace", "/").send().await.expect(200);
    assert_eq!(origin.requests().len(), 1);
}

#[tokio::test]
async fn a_split_shares_about_as_its_weights_say() {
    let (first, second) = origins().await;
    let edge = EdgeUnderTest::start(
        &(upstreams(&first, &second)
            + r#"
routes:
  - match: /none
    public: true
    split: [{ upstream: first, weight: 0 }, { upstream: second, weight: 100 }]
  - match: /half
    public: true
    split: [{ upstream: first, weight: 50 }, { upstream: second, weight: 50 }]
  - match: /quarter
    public: true
    split: [{ upstream: first, weight: 1 }, { upstream: second, weight: 3 }]
"#),
    )
    .await;
    let mut client = edge.client().await;
    let mut seen = 0;
    // The bounds are six standard deviations away.
    for (target, wanted) in [("/none", 0..=0), ("/half", 140..=260), ("/quarter", 48..=152)] {
        for _ in 0..400 {
            client.get(target).send().await.expect(200);
        }
        let share = first.requests().len() - seen;
        assert!(wanted.contains(&share), "{target}: {share} of 400");
        seen += share;
    }
}
