//! What the route's chain adds is on every answer, whoever has made it.

use sallyport_testkit::{Answer, Mode, Origin};
use serde_json::json;

use super::start;

stories!(
    the_chain_adds_to_answers_and_to_errors,
    a_page_may_ask_before_it_asks,
    a_body_may_be_too_large,
    a_body_may_be_too_large_for_a_composition
);

const ROUTES: &str = r#"
  - name: page
    match: GET|POST /page
    filters:
      - cors: { origins: ["https://app.example.com"], methods: [GET, POST] }
      - security_headers: { preset: api }
      - body_limit: { max: 10B }
      - jwt: { issuer: main }
      - headers: { response: { set: { X-Of-Chain: "{route}" }, remove: [X-Aggregate-Complete] } }
    aggregate:
      a: { call: "GET up/{query.a}" }
"#;

async fn the_chain_adds_to_answers_and_to_errors(mode: Mode) {
    let origin = Origin::builder().on("/bad", Answer::status(500)).start().await;
    let edge = start(mode, &origin, ROUTES).await;
    for (query, status) in [("?a=good", 200), ("?a=bad", 502), ("", 502)] {
        let headers = [("Origin", "https://app.example.com")];
        let answer = super::get_with(&edge, &edge.token("ada"), &format!("/page{query}"), &headers).await;
        let answer = answer.expect(status);
        assert_eq!(answer.header("access-control-allow-origin"), Some("https://app.example.com"));
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
        assert_eq!(
            (answer.header("x-of-chain"), answer.header("x-aggregate-complete")),
            (Some("page"), None)
        );
        assert!(answer.header("x-request-id").is_some() && answer.headers("cache-control").len() == 1);
    }
    let mut client = edge.edge.client().await;
    let refused = client.get("/page").header("Origin", "https://app.example.com").send().await;
    assert_eq!(refused.header("access-control-allow-origin"), Some("https://app.example.com"));
    refused.problem(401, "unauthorized");
    // The log knows which of them the aggregator answered.
    let log = edge.edge.access_log(4).await;
    let upstreams: Vec<_> = log.iter().map(|line| line["upstream"].clone()).collect();
    assert_eq!(upstreams[..3], ["aggregator", "aggregator", "aggregator"].map(|name| json!(name)));
    assert!(upstreams[3].is_null(), "{}", log[3]);
}

async fn a_page_may_ask_before_it_asks(mode: Mode) {
    let origin = Origin::start().await;
    let edge = start(mode, &origin, ROUTES).await;
    let mut client = edge.edge.client().await;
    let draft = client.request("OPTIONS", "/page").header("Origin", "https://app.example.com");
    let answer = draft.header("Access-Control-Request-Method", "POST").send().await;
    assert!(matches!(answer.status, 200 | 204), "{}", answer.status);
    assert_eq!(answer.header("access-control-allow-origin"), Some("https://app.example.com"));
    assert!(origin.requests().is_empty());
}

async fn a_body_may_be_too_large(mode: Mode) {
    let origin = Origin::start().await;
    let edge = start(mode, &origin, ROUTES).await;
    let mut client = edge.edge.client().await;
    let draft = client.request("POST", "/page?a=x").bearer(&edge.token("ada"));
    draft.body("01234567890").send().await.problem(413, "content-too-large");
    let mut client = edge.edge.client().await;
    let token = edge.token("ada");
    client
        .send(format!(
            "POST /page?a=x HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\n\
             Transfer-Encoding: chunked\r\n\r\nb\r\n01234567890\r\n0\r\n\r\n"
        ))
        .await;
    client.response().await.problem(413, "content-too-large");
    assert!(origin.requests().is_empty());
}

const LARGE: &str = r#"
  - match: POST /wanted
    public: true
    body_limit: 64MiB
    aggregate:
      a: { call: POST up/a, body: request }
  - match: POST /unwanted
    public: true
    body_limit: 64MiB
    aggregate:
      a: { call: POST up/a }
"#;

async fn a_body_may_be_too_large_for_a_composition(mode: Mode) {
    let origin = Origin::start().await;
    let edge = start(mode, &origin, LARGE).await;
    let large = vec![b'x'; 17 * 1024 * 1024];
    let mut client = edge.edge.client().await;
    client.request("POST", "/wanted").body(large.clone()).send().await.problem(413, "content-too-large");
    assert!(origin.requests().is_empty());
    let mut client = edge.edge.client().await;
    client.request("POST", "/unwanted").body(large.clone()).send().await.expect(200);
    assert_eq!(origin.last().body.bytes, 0);
    client.request("POST", "/wanted").body(&large[..16 * 1024 * 1024]).send().await.expect(200);
    assert_eq!(origin.last().body.bytes, 16 * 1024 * 1024);
}
