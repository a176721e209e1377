//! What a client gets where everything goes well.

use sallyport_testkit::{Answer, ComposedEdge, Mode, Origin};

stories!(branches_stand_in_the_order_of_the_file_with_their_bytes_as_they_were);

async fn branches_stand_in_the_order_of_the_file_with_their_bytes_as_they_were(mode: Mode) {
    let big = format!("{{\"n\":{}.0e1,\"u\":\"\\u00e9\", \"a\" : 1,\"a\":2}}", "9".repeat(400));
    let origin = Origin::builder()
        .on("/users/me", Answer::json(big.clone()))
        .on("/v1/batches", Answer::json("[1, 2]"))
        .start()
        .await;
    let yaml = format!(
        r#"
upstreams:
  users: {{ targets: ["{0}"] }}
  batches: {{ targets: ["{0}"] }}
routes:
  - name: overview
    match: GET /v1/overview
    public: true
    aggregate:
      profile: {{ call: GET users/users/me }}
      batches: {{ call: "GET batches/v1/batches?limit=5" }}
"#,
        origin.address()
    );
    let composed = ComposedEdge::start(mode, "", &yaml).await;
    let response = composed.get("/v1/overview").await.expect(200);
    assert_eq!(response.text(), format!("{{\"profile\":{big},\"batches\":[1, 2]}}"));
    assert_eq!(response.header("X-Aggregate-Complete"), Some("true"));
}
