//! Pages of other origins (Fetch standard): preflights are answered before anybody asks for a token, and a page can
//! read a refusal.

use sallyport_testkit::{Client, EdgeUnderTest, Origin, Response, Tokens};

async fn edge() -> (Origin, Tokens, EdgeUnderTest) {
    let origin = Origin::start().await;
    let tokens = Tokens::new("https://id.test/", "platform");
    let edge = EdgeUnderTest::builder()
        .file("jwks.json", tokens.jwks().to_string())
        .start(&format!(
            r#"
issuers:
  main: {{ issuer: "https://id.test/", audiences: [platform], algorithms: [ES256], jwks: {{ file: jwks.json }} }}
chains:
  browser:
    - cors: {{ origins: ["https://app.example.com"], credentials: true, methods: [GET, PUT] }}
    - security_headers: {{ preset: api }}
  user:
    - jwt: {{ issuer: main }}
upstreams:
  origin: {{ targets: ["{}"] }}
routes:
  - match: GET|PUT /x
    chains: [browser, user]
    upstream: origin
"#,
            origin.address()
        ))
        .await;
    (origin, tokens, edge)
}

async fn preflight(client: &mut Client, origin: &str, method: &str) -> Response {
    let draft = client.request("OPTIONS", "/x").header("Origin", origin);
    let draft = draft.header("Access-Control-Request-Method", method);
    draft.header("Access-Control-Request-Headers", "authorization").send().await
}

#[tokio::test]
async fn a_preflight_is_answered_without_a_token_and_without_the_origin() {
    let (origin, _, edge) = edge().await;
    let answer = preflight(&mut edge.client().await, "https://app.example.com", "PUT").await;
    assert!(matches!(answer.status, 200 | 204), "{}", answer.status);
    assert_eq!(answer.header("access-control-allow-origin"), Some("https://app.example.com"));
    assert_eq!(answer.header("access-control-allow-credentials"), Some("true"));
    assert!(answer.header("access-control-allow-methods").unwrap().contains("PUT"));
    assert!(
        answer.header("access-control-allow-headers").unwrap().to_ascii_lowercase().contains("authorization")
    );
    assert!(answer.header("vary").unwrap().to_ascii_lowercase().contains("origin"));
    assert!(origin.requests().is_empty());
}

#[tokio::test]
async fn a_stranger_gets_no_permission() {
    let (origin, tokens, edge) = edge().await;
    for stranger in
        ["https://evil.test", "http://app.example.com", "https://app.example.com.evil.test", "null"]
    {
        let answer = preflight(&mut edge.client().await, stranger, "PUT").await;
        assert_eq!(answer.header("access-control-allow-origin"), None, "{stranger}");
        let token = tokens.token().sign();
        let answer = edge.client().await.get("/x").header("Origin", stranger).bearer(&token).send().await;
        assert_eq!(answer.header("access-control-allow-origin"), None, "{stranger}");
    }
    assert!(origin.requests().iter().all(|request| request.method == "GET"));
}

#[tokio::test]
async fn a_page_can_read_a_refusal() {
    let (_, _, edge) = edge().await;
    let refused = edge.client().await.get("/x").header("Origin", "https://app.example.com").send().await;
    assert_eq!(refused.header("access-control-allow-origin"), Some("https://app.example.com"));
    assert_eq!(refused.header("x-content-type-options"), Some("nosniff"));
    assert!(refused.header("x-request-id").is_some());
    refused.problem(401, "unauthorized");
}

#[tokio::test]
async fn what_the_origin_says_about_cors_does_not_win() {
    use sallyport_testkit::Answer;

    let answer = Answer::status(200).header("Access-Control-Allow-Origin", "*").header("X-Powered-By", "x");
    let origin = Origin::builder().on("/x", answer).start().await;
    let yaml = crate::everything_to(origin.address())
        + "    filters:\n      - cors: { origins: [\"https://app.example.com\"] }\n";
    let edge = EdgeUnderTest::start(&yaml).await;
    let answer =
        edge.client().await.get("/x").header("Origin", "https://app.example.com").send().await.expect(200);
    assert_eq!(answer.headers("access-control-allow-origin"), ["https://app.example.com"]);
    let answer = edge.client().await.get("/x").header("Origin", "https://evil.test").send().await.expect(200);
    assert!(answer.headers("access-control-allow-origin").is_empty());
}
