//! What an origin gets to see: no hop-by-hop header, no header that a client could not have been trusted with.

use sallyport_testkit::{Answer, EdgeUnderTest, Origin, Tokens};

#[tokio::test]
async fn hop_by_hop_headers_stop_at_the_edge() {
    let origin = Origin::start().await;
    let edge = EdgeUnderTest::start(&crate::everything_to(origin.address())).await;
    // RFC 9110, section 7.6.1.
    let echo = edge
        .client()
        .await
        .get("/")
        .header("Connection", "keep-alive, X-Private")
        .header("X-Private", "1")
        .header("Keep-Alive", "timeout=5")
        .header("Proxy-Connection", "keep-alive")
        .header("Proxy-Authorization", "Basic eA==")
        .header("TE", "gzip")
        .header("X-Public", "1")
        .send()
        .await
        .expect(200);
    for name in ["x-private", "keep-alive", "proxy-connection", "proxy-authorization", "te", "upgrade"] {
        assert!(echo.echoed(name).is_empty(), "{name}: {:?}", echo.echoed(name));
    }
    assert_eq!(echo.echoed("x-public"), ["1"]);
}

#[tokio::test]
async fn the_client_address_comes_from_the_connection_not_from_the_client() {
    let origin = Origin::start().await;
    let edge = EdgeUnderTest::start(&crate::everything_to(origin.address())).await;
    let echo = edge
        .client()
        .await
        .get("/")
        .header("X-Forwarded-For", "6.6.6.6")
        .header("X-Forwarded-Proto", "https")
        .header("X-Forwarded-Host", "evil.test")
        .header("X-Real-IP", "6.6.6.6")
        .header("Forwarded", "for=6.6.6.6")
        .send()
        .await
        .expect(200);
    assert!(!echo.text().contains("6.6.6.6") && !echo.text().contains("evil.test"), "{}", echo.text());
    assert_eq!(echo.echoed("x-forwarded-for"), ["127.0.0.1"]);
    assert_eq!(echo.echoed("x-forwarded-proto"), ["http"]);
    assert_eq!(edge.access_log(1).await[0]["client"], "127.0.0.1");
}

#[tokio::test]
async fn a_trusted_proxy_is_believed_from_right_to_left() {
    let origin = Origin::start().await;
    let yaml = r#"
listeners:
  public: { address: "127.0.0.1:0", trusted_proxies: ["127.0.0.0/8", "10.0.0.0/8"] }
"#;
    let edge = EdgeUnderTest::start(&(yaml.to_owned() + &crate::everything_to(origin.address()))).await;
    let mut client = edge.client().await;
    // The leftmost address is whatever the client wrote; the first from the right that is not ours counts.
    client.get("/").header("X-Forwarded-For", "6.6.6.6, 203.0.113.9, 10.1.1.1").send().await.expect(200);
    assert_eq!(edge.access_log(1).await[0]["client"], "203.0.113.9");
}

#[tokio::test]
async fn a_managed_header_never_holds_what_a_client_sent() {
    let origin = Origin::start().await;
    let tokens = Tokens::new("https://id.test/", "platform");
    let edge = EdgeUnderTest::builder()
        .file("jwks.json", tokens.jwks().to_string())
        .start(&format!(
            r#"
listeners:
  public: {{ address: "127.0.0.1:0", allow_underscores: true, h2c: true }}
issuers:
  main: {{ issuer: "https://id.test/", audiences: [platform], algorithms: [ES256], jwks: {{ file: jwks.json }} }}
upstreams:
  origin: {{ targets: ["{}"] }}
routes:
  - {{ match: "/open/{{**rest}}", public: true, upstream: origin }}
  - match: /{{**rest}}
    filters:
      - jwt: {{ issuer: main, forward: {{ X-User-Id: sub, X-Role: role }} }}
    upstream: origin
"#,
            origin.address()
        ))
        .await;
    let token = tokens.token().sign();
    for spelling in ["X-User-Id", "x-user-id", "X-USER-ID", "X_User_Id", "x-user_id", "X-Role", "x_role"] {
        for path in ["/guarded", "/open/path"] {
            let mut client = edge.client().await;
            let draft =
                client.get(path).bearer(&token).header(spelling, "mallory").header(spelling, "mallory2");
            let echo = draft.send().await.expect(200);
            assert!(!echo.text().contains("mallory"), "{spelling} {path}: {}", echo.text());
            let wanted: &[&str] = if path == "/guarded" { &["alice"] } else { &[] };
            assert_eq!(echo.echoed("x-user-id"), wanted, "{spelling} {path}");
        }
        let client = edge.h2_client().await;
        let draft = client.get("/guarded").bearer(&token).header(&spelling.to_ascii_lowercase(), "mallory");
        let echo = draft.send().await.expect(200);
        assert_eq!(echo.echoed("x-user-id"), ["alice"], "{spelling} over HTTP/2");
        assert!(!echo.text().contains("mallory"), "{spelling} over HTTP/2");
    }
    // Nor may a client have the header removed again by naming it in Connection.
    let mut client = edge.client().await;
    let draft = client.get("/guarded").bearer(&token).header("Connection", "close, X-User-Id");
    let response = draft.send().await;
    if response.status == 200 {
        assert_eq!(response.echoed("x-user-id"), ["alice"]);
    } else {
        response.problem(400, "bad-request");
    }
}

#[tokio::test]
async fn header_names_with_underscores_are_refused_unless_allowed() {
    let origin = Origin::start().await;
    let edge = EdgeUnderTest::start(&crate::everything_to(origin.address())).await;
    edge.client().await.get("/").header("X_Odd", "1").send().await.problem(400, "bad-request");
    assert!(origin.requests().is_empty());
}

#[tokio::test]
async fn every_answer_carries_the_request_id_that_the_origin_and_the_log_have() {
    let origin = Origin::start().await;
    let edge = EdgeUnderTest::start(&crate::everything_to(origin.address())).await;
    let response = edge.client().await.get("/").header("X-Request-Id", "mine").send().await.expect(200);
    let id = response.header("x-request-id").unwrap().to_owned();
    // An outsider's id is not kept.
    assert_ne!(id, "mine");
    assert_eq!(response.echoed("x-request-id"), std::slice::from_ref(&id));
    assert_eq!(edge.access_log(1).await[0]["request_id"], id);
    let refused = edge.get("/%00").await;
    let id = refused.header("x-request-id").unwrap().to_owned();
    assert_eq!(refused.problem(400, "bad-request")["instance"], format!("urn:sallyport:request:{id}"));
}

#[tokio::test]
async fn a_trace_is_continued() {
    let origin = Origin::start().await;
    let edge = EdgeUnderTest::start(&crate::everything_to(origin.address())).await;
    let sent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let echo = edge.client().await.get("/").header("traceparent", sent).send().await.expect(200);
    let got = echo.echoed("traceparent");
    // W3C Trace Context: the same trace, another parent; an outsider cannot force sampling.
    assert_eq!(got.len(), 1);
    assert!(got[0].starts_with("00-4bf92f3577b34da6a3ce929d0e0e4736-"), "{got:?}");
    assert!(!got[0].contains("00f067aa0ba902b7"), "{got:?}");
    // Broken ones are replaced (section 4.3).
    let echo = edge.client().await.get("/").header("traceparent", "00-zz-1-1").send().await.expect(200);
    assert_eq!(echo.echoed("traceparent")[0].len(), sent.len());
}

#[tokio::test]
async fn the_access_log_keeps_no_query_and_no_token() {
    let origin = Origin::start().await;
    let edge = EdgeUnderTest::start(&crate::everything_to(origin.address())).await;
    edge.client().await.get("/p?secret=s3cr3t").bearer("t0k3n").send().await.expect(200);
    let line = &edge.access_log(1).await[0];
    assert_eq!((line["path"].as_str(), line["status"].as_u64()), (Some("/p"), Some(200)));
    assert!(!line.to_string().contains("s3cr3t") && !line.to_string().contains("t0k3n"), "{line}");
}

// RFC 9110, section 7.6.1: what an origin says of its connection to the edge says nothing of the client's.
#[tokio::test]
async fn hop_by_hop_headers_of_a_response_stop_at_the_edge() {
    let answer = Answer::fixed(200, "hello")
        .header("Connection", "close, X-Hop")
        .header("X-Hop", "1")
        .header("Keep-Alive", "timeout=5")
        .header("Proxy-Connection", "close")
        .header("Upgrade", "h2c")
        .header("X-End-To-End", "1");
    // Content-Length may not be nominated away: the client would wait for more.
    let nominated =
        Answer::fixed(200, "hello").header("Connection", "Content-Length, X-Hop").header("X-Hop", "1");
    let origin = Origin::builder().on("/", answer).on("/nominated", nominated).start().await;
    let listener = "listeners:\n  public: { address: \"127.0.0.1:0\", h2c: true }\n";
    let edge = EdgeUnderTest::start(&(listener.to_owned() + &crate::everything_to(origin.address()))).await;
    let mut client = edge.client().await;
    let h2 = edge.h2_client().await;
    // Twice on each connection: an origin that closes its own does not close the client's.
    for target in ["/", "/nominated", "/"] {
        for response in [client.get(target).send().await.expect(200), h2.get(target).send().await.expect(200)]
        {
            for name in ["x-hop", "keep-alive", "proxy-connection", "upgrade"] {
                assert_eq!(response.header(name), None, "{target} {name}");
            }
            // Over HTTP/1.1 the edge may say what is true of its own connection.
            assert!(matches!(response.header("connection"), None | Some("keep-alive")), "{target}");
            assert_eq!(response.header("content-length"), Some("5"), "{target}");
            assert_eq!(response.text(), "hello");
        }
    }
    assert_eq!(client.get("/").send().await.header("x-end-to-end"), Some("1"));
}
