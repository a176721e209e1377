//! The way to a bridge in a process of its own: over its Unix socket. What a bridge does is told elsewhere.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sallyport_testkit::websocket::echo;
use sallyport_testkit::{EdgeUnderTest, Tokens, Upgrade, WebSocketClient, WebSocketOrigin};
use tokio::io::AsyncWriteExt;

/// The routes of a story: one that asks for a token, one that does not.
fn yaml(settings: &str) -> String {
    format!(
        r#"
issuers:
  main: {{ issuer: "https://id.test/", audiences: [platform], algorithms: [ES256], jwks: {{ file: jwks.json }} }}
ws_bridge: {{ {settings} }}
routes:
  - {{ name: sockets, match: /realtime, filters: [{{ jwt: {{ issuer: main }} }}], sidecar: ws-bridge }}
  - {{ name: open, match: /open, public: true, sidecar: ws-bridge }}
"#
    )
}

async fn edge(tokens: &Tokens, settings: &str) -> EdgeUnderTest {
    EdgeUnderTest::builder().file("jwks.json", tokens.jwks().to_string()).start(&yaml(settings)).await
}

fn tokens() -> Tokens {
    Tokens::new("https://id.test/", "platform")
}

fn claims(head: &sallyport_testkit::wire::Head) -> serde_json::Value {
    let written = head.value("sallyport-claims").unwrap();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(written).unwrap()).unwrap()
}

#[tokio::test]
async fn a_bridge_of_its_own_is_told_who_the_client_is() {
    let tokens = tokens();
    let edge = edge(&tokens, "socket: bridge.sock, channels: { note: { visible_to: \"true\" } }").await;
    edge.get("/open").await.problem(502, "bad-gateway");
    let bridge = WebSocketOrigin::on_socket(&edge.path("bridge.sock"), |mut stream, head| async move {
        if head.value("upgrade").is_some() {
            return echo(stream, head).await;
        }
        let answer = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n\
                      9\r\ndata: 1\n\n\r\n0\r\n\r\n";
        let _ = stream.write_all(answer.as_bytes()).await;
    });
    let authorization = format!("Bearer {}", tokens.token().claim("sub", "ada").sign());
    let upgrade = Upgrade::to("/realtime")
        .header("Authorization", &authorization)
        .header("sallyport-CLIENT", "192.0.2.1")
        .header("Sallyport-Claims", "e30");
    let mut client = WebSocketClient::open(edge.address("public"), &upgrade).await;
    client.echoed("hello").await;
    let head = bridge.heads().remove(0);
    assert_eq!(head.values("sallyport-client"), ["127.0.0.1"]);
    assert_eq!(claims(&head)["sub"], "ada");
    assert!(head.value("x-request-id").is_some());

    // Server-sent events are an ordinary exchange.
    let mut client = edge.client().await;
    let events = client.get("/open").header("Sallyport-Claims", "e30").send().await.expect(200);
    assert_eq!(events.text(), "data: 1\n\n");
    let head = bridge.heads().remove(1);
    assert_eq!(head.values("sallyport-client"), ["127.0.0.1"]);
    assert_eq!(head.value("sallyport-claims"), None);
    let line = edge.access_log(2).await.remove(1);
    assert_eq!(
        (line["route"].as_str(), line["upstream"].as_str()),
        (Some("open"), Some("ws-bridge")),
        "{line}"
    );
}

#[tokio::test]
async fn nobody_comes_past_the_chain() {
    let tokens = tokens();
    let edge = edge(&tokens, "socket: bridge.sock, channels: { note: { visible_to: \"true\" } }").await;
    let bridge = WebSocketOrigin::on_socket(&edge.path("bridge.sock"), echo);
    for upgrade in [Upgrade::to("/realtime"), Upgrade::to("/open").header("Origin", "https://evil.test")] {
        let mut client = edge.client().await;
        client.send(upgrade.bytes()).await;
        let status = client.response().await.status;
        assert!(matches!(status, 401 | 403), "{status}");
    }
    assert!(bridge.heads().is_empty());
}
