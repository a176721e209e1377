//! What one client may cost: requests, bytes, fields, connections.

use sallyport_testkit::{Answer, EdgeUnderTest, Origin, Signal, Tokens};

// Rates are low enough that no request is given back while a story runs, even on a slow machine.
fn rate_limited(origin: &Origin, filter: &str) -> String {
    format!(
        r#"
upstreams:
  origin: {{ targets: ["{}"] }}
routes:
  - match: "/{{**rest}}"
    public: true
    filters:
      - rate_limit: {filter}
    upstream: origin
"#,
        origin.address()
    )
}

#[tokio::test]
async fn beyond_the_rate_is_429_with_its_headers() {
    let origin = Origin::start().await;
    let edge = EdgeUnderTest::start(&rate_limited(
        &origin,
        "{ name: per-client, rate: 1/h, burst: 3, key: client }",
    ))
    .await;
    let mut client = edge.client().await;
    for left in [2, 1, 0] {
        let response = client.get("/").send().await.expect(200);
        let limit = response.header("ratelimit").unwrap();
        assert!(limit.starts_with(&format!("\"per-client\";r={left}")), "{limit}");
        assert!(response.header("ratelimit-policy").unwrap().starts_with("\"per-client\";q="));
    }
    let refused = client.get("/").send().await;
    let after: u64 = refused.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=3600).contains(&after), "{after}");
    refused.problem(429, "too-many-requests");
    assert_eq!(origin.requests().len(), 3);
    assert!(edge.metric("sallyport_filter_decisions_total", &[("filter", "rate_limit")]).await >= 1.0);
}

#[tokio::test]
async fn two_identities_do_not_share_a_limit_and_two_connections_do() {
    let origin = Origin::start().await;
    let tokens = Tokens::new("https://id.test/", "platform");
    let edge = EdgeUnderTest::builder()
        .file("jwks.json", tokens.jwks().to_string())
        .start(&format!(
            r#"
issuers:
  main: {{ issuer: "https://id.test/", audiences: [platform], algorithms: [ES256], jwks: {{ file: jwks.json }} }}
upstreams:
  origin: {{ targets: ["{}"] }}
routes:
  - match: "/{{**rest}}"
    filters:
      - jwt: {{ issuer: main }}
      - rate_limit: {{ name: per-user, rate: 1/h, burst: 1, key: jwt.sub }}
    upstream: origin
"#,
            origin.address()
        ))
        .await;
    let alice = tokens.token().sign();
    let alice_again = tokens.token().claim("jti", "2").sign();
    let bob = tokens.token().claim("sub", "bob").sign();
    for (token, status) in [(&alice, 200), (&alice_again, 429), (&bob, 200), (&bob, 429)] {
        edge.client().await.get("/").bearer(token).send().await.expect(status);
    }
}

#[tokio::test]
async fn a_limit_in_shadow_mode_only_counts() {
    let origin = Origin::start().await;
    let filter = "{ name: trial, rate: 1/h, burst: 1, key: client, shadow: true }";
    let edge = EdgeUnderTest::start(&rate_limited(&origin, filter)).await;
    for _ in 0..4 {
        edge.get("/").await.expect(200);
    }
    assert_eq!(origin.requests().len(), 4);
}

#[tokio::test]
async fn a_declared_body_beyond_the_limit_is_413_before_the_origin_sees_it() {
    let origin = Origin::start().await;
    let yaml = crate::everything_to(origin.address()) + "    body_limit: 10B\n";
    let edge = EdgeUnderTest::start(&yaml).await;
    edge.client().await.request("PUT", "/").body("0123456789").send().await.expect(200);
    edge.client()
        .await
        .request("PUT", "/")
        .body("0123456789a")
        .send()
        .await
        .problem(413, "content-too-large");
    assert_eq!(origin.requests().len(), 1);
}

#[tokio::test]
async fn a_body_that_turns_out_too_large_never_arrives_whole() {
    let origin = Origin::start().await;
    let yaml = crate::everything_to(origin.address()) + "    body_limit: 10B\n";
    let edge = EdgeUnderTest::start(&yaml).await;
    let mut client = edge.client().await;
    client
        .send("PUT / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n8\r\n01234567\r\n")
        .await;
    client.send("8\r\n01234567\r\n0\r\n\r\n").await;
    client.response_to("PUT").await.problem(413, "content-too-large");
    assert!(client.closed().await.is_empty());
    origin.wait_until_idle().await;
    assert!(origin.requests().iter().all(|request| !request.complete));
}

#[tokio::test]
async fn heads_have_a_limit_of_bytes_and_of_fields() {
    let origin = Origin::start().await;
    let yaml = r#"
listeners:
  public: { address: "127.0.0.1:0", limits: { head_bytes: 4KiB, head_fields: 20 } }
"#;
    let edge = EdgeUnderTest::start(&(yaml.to_owned() + &crate::everything_to(origin.address()))).await;
    let mut client = edge.client().await;
    client.get("/").header("X-Large", "x".repeat(5000)).send().await.problem(431, "headers-too-large");
    let mut client = edge.client().await;
    let draft = (0..25).fold(client.get("/"), |draft, i| draft.header(&format!("X-{i}"), "1"));
    draft.send().await.problem(431, "headers-too-large");
    assert!(origin.requests().is_empty());
    edge.client().await.get("/").header("X-Small", "x".repeat(2000)).send().await.expect(200);
}

#[tokio::test]
async fn one_client_address_has_a_limit_of_connections() {
    let origin = Origin::start().await;
    let yaml = r#"
listeners:
  public: { address: "127.0.0.1:0", limits: { connections_per_client: 2 } }
"#;
    let edge = EdgeUnderTest::start(&(yaml.to_owned() + &crate::everything_to(origin.address()))).await;
    let (mut first, mut second) = (edge.client().await, edge.client().await);
    first.get("/").send().await.expect(200);
    second.get("/").send().await.expect(200);
    let mut third = edge.client().await;
    third.send("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    assert!(third.closed().await.is_empty());
    assert_eq!(edge.metric("sallyport_connections_refused_total", &[("listener", "public")]).await, 1.0);
    // A place that becomes free can be taken again.
    drop(first);
    edge.wait_for_metric("sallyport_connections", &[("listener", "public")], 1.0).await;
    edge.get("/").await.expect(200);
}

#[tokio::test]
async fn exchanges_at_a_time_have_a_limit() {
    let signal = Signal::new();
    let origin = Origin::builder().on("/held", Answer::status(200).held(&signal)).start().await;
    let yaml = crate::everything_to(origin.address())
        + "    filters:\n      - concurrency_limit: { max: 1, key: client }\n";
    let edge = EdgeUnderTest::start(&yaml).await;
    let mut held = edge.client().await;
    held.send("GET /held HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    origin.wait_for(1).await;
    let refused = edge.get("/").await;
    assert!(matches!(refused.status, 429 | 503), "{}", refused.status);
    signal.give();
    held.response().await.expect(200);
    edge.wait_for_metric("sallyport_requests_in_flight", &[], 0.0).await;
    edge.get("/").await.expect(200);
}

// RFC 9110, section 15.5.15, and RFC 6585, section 5: the target is to blame, or the fields.
#[tokio::test]
async fn a_long_target_is_414_and_long_fields_are_431() {
    let origin = Origin::start().await;
    let yaml = "listeners:\n  public: { address: \"127.0.0.1:0\", limits: { head_bytes: 2KiB } }\n";
    let edge = EdgeUnderTest::start(&(yaml.to_owned() + &crate::everything_to(origin.address()))).await;
    let long = "x".repeat(3000);
    for (bytes, status, slug) in [
        // Whole in one write, and a target of which no end is in sight.
        (format!("GET /{long} HTTP/1.1\r\nHost: localhost\r\n\r\n"), 414, "uri-too-long"),
        (format!("GET /{long}"), 414, "uri-too-long"),
        (format!("GET /?{long} HTTP/1.1\r\nHost: localhost\r\n\r\n"), 414, "uri-too-long"),
        (format!("GET / HTTP/1.1\r\nHost: localhost\r\nX: {long}\r\n\r\n"), 431, "headers-too-large"),
        (format!("GET / HTTP/1.1\r\nHost: localhost\r\nX: {long}"), 431, "headers-too-large"),
    ] {
        let mut client = edge.client().await;
        client.send(&bytes).await;
        client.response().await.problem(status, slug);
        assert!(client.closed().await.is_empty());
    }
    assert!(origin.requests().is_empty());
}

#[tokio::test]
async fn a_body_limit_and_a_rewrite_go_together() {
    let origin = Origin::start().await;
    let edge = EdgeUnderTest::start(&format!(
        r#"
chains:
  moved:
    - rewrite: {{ strip_prefix: /old }}
upstreams:
  origin: {{ targets: ["{}"] }}
routes:
  - match: "/old/own/{{**rest}}"
    public: true
    body_limit: 10B
    filters: [{{ rewrite: {{ strip_prefix: /old }} }}]
    upstream: origin
  - match: "/old/chain/{{**rest}}"
    public: true
    body_limit: 10B
    chains: [moved]
    upstream: origin
"#,
        origin.address()
    ))
    .await;
    for path in ["/own/x", "/chain/x"] {
        let target = format!("/old{path}");
        let mut client = edge.client().await;
        let echo = client.request("PUT", &target).body("0123456789").send().await.expect(200);
        assert_eq!(echo.json()["target"], path);
        let refused = client.request("PUT", &target).body("0123456789a").send().await;
        refused.problem(413, "content-too-large");
    }
    assert_eq!(origin.requests().len(), 2);
}
