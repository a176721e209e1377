//! The operator's listener.

use sallyport_testkit::{EdgeUnderTest, Origin, Tokens};

#[tokio::test]
async fn health_and_readiness() {
    let origin = Origin::start().await;
    let edge = EdgeUnderTest::start(&crate::everything_to(origin.address())).await;
    edge.admin("GET", "/healthz").await.expect(200);
    edge.admin("GET", "/readyz").await.expect(200);
    edge.admin("GET", "/nothing").await.expect(404);
    edge.admin("DELETE", "/healthz").await.expect(405);
}

#[tokio::test]
async fn readiness_gives_its_reason() {
    let origin = Origin::start().await;
    let issuer = Origin::builder().on("/jwks", sallyport_testkit::Answer::status(500)).start().await;
    let edge = EdgeUnderTest::start(&format!(
        r#"
issuers:
  main: {{ issuer: "https://id.test/", audiences: [a], algorithms: [ES256], jwks: {{ url: "http://{}/jwks" }} }}
upstreams:
  origin: {{ targets: ["{}"] }}
routes:
  - match: /
    filters:
      - jwt: {{ issuer: main }}
    upstream: origin
"#,
        issuer.address(),
        origin.address()
    ))
    .await;
    let answer = edge.admin("GET", "/readyz").await.expect(503);
    assert!(answer.text().contains("main"), "{}", answer.text());
}

#[tokio::test]
async fn metrics_count_what_happened() {
    let origin = Origin::start().await;
    let yaml = crate::everything_to(origin.address()).replace("public: true", "public: true\n    name: all");
    let edge = EdgeUnderTest::start(&yaml).await;
    edge.client().await.request("PUT", "/").body("12345").send().await.expect(200);
    edge.get("/%00").await.expect(400);
    edge.wait_for_metric("sallyport_requests_total", &[("route", "all"), ("class", "2xx")], 1.0).await;
    edge.wait_for_metric("sallyport_request_body_bytes_total", &[("route", "all")], 5.0).await;
    edge.wait_for_metric(
        "sallyport_upstream_outcomes_total",
        &[("upstream", "origin"), ("outcome", "ok")],
        1.0,
    )
    .await;
    edge.wait_for_metric("sallyport_problems_total", &[("problem", "bad-request")], 1.0).await;
    assert_eq!(edge.metric("sallyport_request_seconds_count", &[("route", "all")]).await, 1.0);
}

#[tokio::test]
async fn the_running_configuration_shows_no_secret() {
    let secret = "a-shared-secret-of-at-least-32-bytes-length";
    let edge = EdgeUnderTest::builder()
        .file("secret.txt", secret)
        .start(
            r#"
issuers:
  main: { issuer: "https://id.test/", audiences: [a], algorithms: [HS256], hmac_secret: "file:secret.txt" }
routes:
  - match: /
    filters:
      - jwt: { issuer: main }
    respond: { body: "hi" }
"#,
        )
        .await;
    let config = edge.admin("GET", "/config").await.expect(200).text();
    assert!(config.contains("https://id.test/") && !config.contains(secret), "{config}");
    // The secret works all the same.
    let token = Tokens::new("https://id.test/", "a").token().sign_with_secret("HS256", secret.as_bytes());
    assert_eq!(edge.client().await.get("/").bearer(&token).send().await.expect(200).text(), "hi");
}

#[tokio::test]
async fn upstreams_show_their_targets() {
    let origin = Origin::start().await;
    let edge = EdgeUnderTest::start(&crate::everything_to(origin.address())).await;
    let text = edge.admin("GET", "/upstreams").await.expect(200).text();
    assert!(text.contains("origin") && text.contains(&origin.address().to_string()), "{text}");
}

#[tokio::test]
async fn a_reload_can_be_asked_for_and_says_what_is_wrong() {
    let edge =
        EdgeUnderTest::start("routes:\n  - { match: /, public: true, respond: { body: one } }\n").await;
    edge.rewrite("routes:\n  - { match: /, public: true, respond: { body: two } }\n");
    edge.admin("POST", "/reload").await.expect(200);
    assert_eq!(edge.get("/").await.text(), "two");
    edge.rewrite("routes:\n  - { match: /, public: true, upstream: nobody }\n");
    let refused = edge.admin("POST", "/reload").await;
    assert!(
        refused.status >= 400 && refused.text().contains("nobody"),
        "{} {}",
        refused.status,
        refused.text()
    );
    assert_eq!(edge.get("/").await.text(), "two");
    // Only by POST: a page or a prefetch must not be able to do it.
    edge.admin("GET", "/reload").await.expect(405);
}
