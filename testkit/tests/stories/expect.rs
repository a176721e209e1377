//! `Expect: 100-continue` (RFC 9110, section 10.1.1): the edge answers it itself, and only if the request may pass.

use sallyport_testkit::{Answer, EdgeUnderTest, Origin, Tokens};

fn put(target: &str, version: &str) -> String {
    format!("PUT {target} {version}\r\nHost: localhost\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n")
}

#[tokio::test]
async fn the_word_to_go_on_comes_from_the_edge() {
    let origin = Origin::builder().on("/knows", Answer::echo().continues()).start().await;
    let edge = EdgeUnderTest::start(&crate::everything_to(origin.address())).await;
    for target in ["/knows", "/does-not"] {
        let mut client = edge.client().await;
        client.send(put(target, "HTTP/1.1")).await;
        let interim = client.head().await;
        assert!(interim.start.starts_with("HTTP/1.1 100"), "{target}: {}", interim.start);
        client.send("data").await;
        let echo = client.response_to("PUT").await.expect(200);
        assert_eq!(echo.json()["body"], "data", "{target}");
        // An origin would only wait for a word that has been said.
        assert!(echo.echoed("expect").is_empty(), "{target}");
    }
    assert!(origin.violations().is_empty(), "{:?}", origin.violations());
}

#[tokio::test]
async fn the_connection_is_as_good_as_before() {
    let origin = Origin::start().await;
    let edge = EdgeUnderTest::start(&crate::everything_to(origin.address())).await;
    let mut client = edge.client().await;
    for _ in 0..2 {
        client.send(put("/", "HTTP/1.1")).await;
        assert!(client.head().await.start.starts_with("HTTP/1.1 100"));
        client.send("data").await;
        let echo = client.response_to("PUT").await.expect(200);
        assert!(echo.interim.is_empty(), "told twice");
        assert_eq!(echo.json()["body"], "data");
        assert!(client.get("/next").send().await.expect(200).interim.is_empty());
    }
}

#[tokio::test]
async fn a_request_that_may_not_pass_is_refused_in_place_of_it() {
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
  - {{ match: /guarded, filters: [{{ jwt: {{ issuer: main }} }}], upstream: origin }}
  - {{ match: /small, public: true, body_limit: 3B, upstream: origin }}
  - {{ match: GET /read, public: true, upstream: origin }}
"#,
            origin.address()
        ))
        .await;
    for (target, status) in [("/guarded", 401), ("/small", 413), ("/read", 405), ("/nowhere", 404)] {
        let mut client = edge.client().await;
        client.send(put(target, "HTTP/1.1")).await;
        let refused = client.response_to("PUT").await.expect(status);
        assert!(refused.interim.is_empty(), "{target}: told to go on, and then refused");
        // Whether a body will come is not known, so nothing behind it can be a request.
        assert_eq!(refused.header("connection"), Some("close"), "{target}");
        assert!(client.closed().await.is_empty(), "{target}");
    }
    assert!(origin.requests().is_empty());
}

// RFC 9110, section 10.1.1: in an HTTP/1.0 request the expectation is ignored; section 15.2: no 1xx to such a client.
#[tokio::test]
async fn an_old_client_gets_one_answer_only() {
    let origin = Origin::start().await;
    let edge = EdgeUnderTest::start(&crate::everything_to(origin.address())).await;
    let mut client = edge.client().await;
    client.send(put("/", "HTTP/1.0") + "data").await;
    let bytes = client.closed().await;
    let text = String::from_utf8_lossy(&bytes);
    assert!(text.starts_with("HTTP/1.") && text[9..].starts_with("200"), "{text}");
    assert_eq!(origin.last().body.text(), "data");
    assert!(origin.last().header("expect").is_none());
}

#[tokio::test]
async fn over_http2_as_well() {
    let origin = Origin::start().await;
    let listener = "listeners:\n  public: { address: \"127.0.0.1:0\", h2c: true }\n";
    let edge = EdgeUnderTest::start(&(listener.to_owned() + &crate::everything_to(origin.address()))).await;
    let client = edge.h2_client().await;
    let draft = client.request("PUT", "/").header("expect", "100-continue").body("data");
    let echo = draft.send().await.expect(200);
    assert_eq!(echo.json()["body"], "data");
    assert!(echo.echoed("expect").is_empty());
}

// The word to go on is no answer: what goes wrong behind it has one, and is logged by that one.
#[tokio::test]
async fn what_goes_wrong_behind_the_word_is_told() {
    let origin = Origin::builder()
        .on("/broken", Answer::close())
        .on_in_turn("/flaky", [Answer::close(), Answer::echo()])
        .start()
        .await;
    let route = "    body_limit: 4B\n    retry: { attempts: 1, on: [reset] }\n";
    let edge = EdgeUnderTest::start(&(crate::everything_to(origin.address()) + route)).await;
    let chunked = "PUT /large HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\nExpect: 100-continue\r\n\r\n";
    let cases = [
        (put("/broken", "HTTP/1.1"), "data", 502),
        (chunked.to_owned(), "5\r\n12345\r\n0\r\n\r\n", 413),
        (put("/flaky", "HTTP/1.1"), "data", 200),
    ];
    for (number, (head, body, status)) in cases.into_iter().enumerate() {
        let mut client = edge.client().await;
        client.send(&head).await;
        assert!(client.head().await.start.starts_with("HTTP/1.1 100"), "{head}");
        client.send(body).await;
        client.response_to("PUT").await.expect(status);
        let log = edge.access_log(number + 1).await;
        assert_eq!(log[number]["status"], status, "{}", log[number]);
    }
    // Nor is it an answer where the client leaves.
    let mut client = edge.client().await;
    client.send(put("/left", "HTTP/1.1")).await;
    client.head().await;
    drop(client);
    assert!(edge.access_log(4).await[3]["status"].is_null());
}
