//! WebSockets through the edge: who may open one, that no byte is lost, how long they live, and how they end.

use std::net::SocketAddr;
use std::sync::Arc;

use sallyport_testkit::wait::{until, within};
use sallyport_testkit::websocket::{client_frame, echo_frames, server_frame, switching};
use sallyport_testkit::{Certificates, Client, EdgeUnderTest, Origin, Signal, Tokens, Upgrade};
use sallyport_testkit::{WebSocketClient, WebSocketOrigin};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// The route `/ws` to an origin, with more settings of the route.
fn route(origin: SocketAddr, more: &str) -> String {
    format!(
        r#"
upstreams:
  origin: {{ targets: ["{origin}"] }}
routes:
  - {{ name: sockets, match: /ws, public: true, upstream: origin, {more} }}
  - {{ name: plain, match: /plain, public: true, upstream: origin }}
"#
    )
}

async fn open(edge: &EdgeUnderTest) -> WebSocketClient {
    WebSocketClient::open(edge.address("public"), &Upgrade::to("/ws")).await
}

/// Waits until so many tunnels are open.
async fn wait_for_open(edge: &EdgeUnderTest, count: u32) {
    edge.wait_for_metric("sallyport_tunnels", &[("route", "sockets")], f64::from(count)).await;
}

#[tokio::test]
async fn messages_go_both_ways_and_the_end_is_logged_once() {
    let origin = WebSocketOrigin::echo().await;
    let edge = EdgeUnderTest::start(&route(origin.address(), "websocket: true")).await;
    let upgrade = Upgrade::to("/ws?token=secret").header("Sec-WebSocket-Protocol", "one, two");
    let mut client = WebSocketClient::open(edge.address("public"), &upgrade).await;
    assert_eq!(client.head.value("sec-websocket-protocol"), Some("one"));
    assert!(client.head.value("x-request-id").is_some(), "{:?}", client.head);
    for text in ["hello", "", "ä", &"x".repeat(200_000)] {
        client.echoed(text).await;
    }
    wait_for_open(&edge, 1).await;
    assert_eq!(client.close(1000).await, Some(1000));
    drop(client);
    let line = edge.access_log(1).await.remove(0);
    let expected = [
        ("method", "GET"),
        ("path", "/ws"),
        ("route", "sockets"),
        ("upstream", "origin"),
        ("tunnel", "client"),
    ];
    for (field, value) in expected {
        assert_eq!(line[field], value, "{line}");
    }
    assert_eq!(line["status"], 101, "{line}");
    assert!(
        line["received_bytes"].as_u64().unwrap() > 200_000 && line["sent_bytes"].as_u64().unwrap() > 200_000
    );
    wait_for_open(&edge, 0).await;
    assert_eq!(
        edge.metric("sallyport_tunnels_total", &[("route", "sockets"), ("ended", "client")]).await,
        1.0
    );
    assert_eq!(edge.metric("sallyport_requests_total", &[("route", "sockets"), ("class", "1xx")]).await, 1.0);
    assert_eq!(edge.metric("sallyport_requests_in_flight", &[]).await, 0.0);
    // The next exchange's line is the second: the hand-over wrote none.
    edge.get("/nowhere").await.expect(404);
    assert_eq!(edge.access_log(2).await[1]["status"], 404);
}

#[tokio::test]
async fn over_tls_on_both_sides() {
    let certificates = Certificates::new();
    let origin =
        WebSocketOrigin::echo_tls(certificates.server_config(&["service.test"], &["http/1.1"])).await;
    let leaf = certificates.leaf(&["localhost"]);
    let yaml = format!(
        "listeners:\n  public:\n    address: \"127.0.0.1:0\"\n    tls: {{ certificates: [{{ cert: \"{}\", key: \"{}\" }}] }}\n{}",
        leaf.cert.display(),
        leaf.key.display(),
        route(origin.address(), "websocket: true").replace(
            "] }",
            &format!("], tls: {{ ca: \"{}\", server_name: service.test }} }}", certificates.ca().display())
        ),
    );
    let edge = EdgeUnderTest::start(&yaml).await;
    let config = certificates.client_config(&["http/1.1"]);
    let same = Upgrade::to("/ws").header("Origin", "https://localhost");
    let mut client =
        WebSocketClient::open_tls(edge.address("public"), "localhost", config.clone(), &same).await;
    for size in [1, 100, 100_000] {
        client.echoed(&"y".repeat(size)).await;
    }
    assert_eq!(client.close(1000).await, Some(1000));
    assert_eq!(origin.heads()[0].value("x-forwarded-proto"), Some("https"));
}

async fn refused(edge: &EdgeUnderTest, upgrade: &Upgrade, status: u16) -> sallyport_testkit::Response {
    let mut client = edge.client().await;
    client.send(upgrade.bytes()).await;
    client.response_to("GET").await.expect(status)
}

#[tokio::test]
async fn the_chain_guards_the_upgrade_as_any_request() {
    let origin = WebSocketOrigin::echo().await;
    let tokens = Tokens::new("https://id.test/", "platform");
    let yaml = format!(
        r#"
listeners:
  public: {{ address: "127.0.0.1:0", allow_underscores: true }}
issuers:
  main: {{ issuer: "https://id.test/", audiences: [platform], algorithms: [ES256], jwks: {{ file: jwks.json }} }}
upstreams:
  origin: {{ targets: ["{}"] }}
routes:
  - name: sockets
    match: /ws
    filters:
      - security_headers: {{ preset: api }}
      - jwt: {{ issuer: main, forward: {{ X-User: sub }} }}
    upstream: origin
    websocket: true
  - {{ match: /closed, public: true, filters: [{{ ip_allow: {{ allow: ["192.0.2.0/24"] }} }}], upstream: origin, websocket: true }}
"#,
        origin.address()
    );
    let edge = EdgeUnderTest::builder().file("jwks.json", tokens.jwks().to_string()).start(&yaml).await;
    let answer = refused(&edge, &Upgrade::to("/ws"), 401).await;
    assert!(answer.header("x-content-type-options").is_some(), "the 401 went through the chain");
    refused(&edge, &Upgrade::to("/closed"), 403).await;
    assert!(origin.heads().is_empty(), "nothing reached the upstream");
    let upgrade = Upgrade::to("/ws")
        .header("Authorization", &format!("Bearer {}", tokens.token().sign()))
        .header("X_User", "admin")
        .header("x-user", "admin")
        .header("Sallyport-Client", "192.0.2.1")
        .header("SALLYPORT_CLAIMS", "e30")
        .header("Proxy", "http://evil.test");
    let mut client = WebSocketClient::open(edge.address("public"), &upgrade).await;
    client.echoed("hello").await;
    assert!(client.head.value("x-content-type-options").is_some(), "the 101 went through the chain");
    let head = &origin.heads()[0];
    assert_eq!(head.values("x-user").len(), 1);
    assert_ne!(head.value("x-user"), Some("admin"));
    for name in ["x_user", "sallyport-client", "sallyport_claims", "sallyport-claims", "proxy"] {
        assert_eq!(head.value(name), None, "{name} in {head:?}");
    }
    assert_eq!(head.value("x-forwarded-for"), Some("127.0.0.1"));
    assert!(head.value("x-request-id").is_some());
}

#[tokio::test]
async fn only_listed_pages_open_one() {
    let origin = WebSocketOrigin::echo().await;
    let rule = "websocket: { origins: [\"https://app.example\"] }";
    let edge = EdgeUnderTest::start(&route(origin.address(), rule)).await;
    for allowed in ["https://app.example", "http://localhost"] {
        let upgrade = Upgrade::to("/ws").header("Origin", allowed);
        WebSocketClient::open(edge.address("public"), &upgrade).await.echoed("x").await;
    }
    for other in ["https://evil.example", "http://app.example", "null", "https://localhost"] {
        refused(&edge, &Upgrade::to("/ws").header("Origin", other), 403).await.problem(403, "forbidden");
    }
    assert_eq!(origin.heads().len(), 2);
}

// RFC 6455, section 4.2.1; RFC 9110, section 15.5.22.
#[tokio::test]
async fn a_malformed_handshake_is_refused() {
    let origin = WebSocketOrigin::echo().await;
    let edge = EdgeUnderTest::start(&route(origin.address(), "websocket: true")).await;
    let good = || Upgrade::to("/ws");
    for (wrong, status) in [
        (good().without("Connection"), 400),
        (good().header("Connection", "keep-alive"), 400),
        (good().without("Sec-WebSocket-Key"), 400),
        (good().header("Sec-WebSocket-Key", "short"), 400),
        (good().start("POST /ws HTTP/1.1"), 400),
        (good().header("Content-Length", "5").behind("hello"), 400),
        (good().header("Transfer-Encoding", "chunked").behind("0\r\n\r\n"), 400),
        (good().without("Sec-WebSocket-Version"), 426),
        (good().header("Sec-WebSocket-Version", "8"), 426),
    ] {
        let mut client = edge.client().await;
        client.send(wrong.bytes()).await;
        let answer = client.response_to("GET").await.expect(status);
        if status == 426 {
            assert_eq!(answer.header("sec-websocket-version"), Some("13"));
            assert_eq!(answer.header("upgrade"), Some("websocket"));
        }
    }
    assert!(origin.heads().is_empty());
}

// RFC 9110, section 7.8: a server may ignore `Upgrade`, and must in HTTP/1.0.
#[tokio::test]
async fn elsewhere_an_upgrade_is_an_ordinary_request() {
    let origin = Origin::start().await;
    let listener = "listeners:\n  public: { address: \"127.0.0.1:0\", h2c: true }\n";
    let edge =
        EdgeUnderTest::start(&(listener.to_owned() + &route(origin.address(), "websocket: true"))).await;
    for upgrade in [
        Upgrade::to("/plain"),
        Upgrade::to("/ws").start("GET /ws HTTP/1.0"),
        Upgrade::to("/ws").header("Upgrade", "h2c"),
        Upgrade::to("/ws").without("Upgrade").without("Connection"),
    ] {
        let mut client = edge.client().await;
        client.send(upgrade.bytes()).await;
        let echo = client.response().await.expect(200);
        assert!(echo.echoed("upgrade").is_empty(), "{upgrade:?}");
    }
    edge.h2_client().await.get("/ws").send().await.expect(200);
    assert!(origin.violations().is_empty(), "{:?}", origin.violations());
}

#[tokio::test]
async fn an_upstreams_refusal_is_passed_on_whole() {
    let large = "z".repeat(100_000);
    let answers = [
        (
            "HTTP/1.1 403 Forbidden\r\nContent-Length: 4\r\nX-Why: no\r\n\r\nno!\n".to_owned(),
            403,
            "no!\n".to_owned(),
        ),
        (
            "HTTP/1.1 404 Not Found\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n".to_owned(),
            404,
            "abc".to_owned(),
        ),
        (format!("HTTP/1.1 500 Broken\r\nConnection: close\r\n\r\n{large}"), 500, large.clone()),
        ("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n".to_owned(), 204, String::new()),
    ];
    for (answer, status, body) in answers {
        let origin = WebSocketOrigin::answering(answer.clone()).await;
        let edge = EdgeUnderTest::start(&route(origin.address(), "websocket: true")).await;
        let response = refused(&edge, &Upgrade::to("/ws"), status).await;
        assert_eq!(response.body.bytes, body.len() as u64, "{answer}");
        assert!(response.header("x-request-id").is_some());
        let line = edge.access_log(1).await.remove(0);
        assert_eq!(
            (line["status"].as_u64(), line["tunnel"].is_null()),
            (Some(u64::from(status)), true),
            "{line}"
        );
    }
}

#[tokio::test]
async fn an_answer_that_does_not_confirm_is_a_bad_gateway() {
    let key = sallyport_testkit::websocket::KEY;
    let good = String::from_utf8(switching(key, "")).unwrap();
    for wrong in [
        good.replace("Sec-WebSocket-Accept: s", "Sec-WebSocket-Accept: S"),
        good.replace("Upgrade: websocket", "Upgrade: h2c"),
        good.replace("Connection: Upgrade\r\n", ""),
        String::from_utf8(switching(key, "Sec-WebSocket-Protocol: surprise\r\n")).unwrap(),
        "nonsense\r\n\r\n".to_owned(),
    ] {
        let origin = WebSocketOrigin::answering(wrong).await;
        let edge = EdgeUnderTest::start(&route(origin.address(), "websocket: true")).await;
        refused(&edge, &Upgrade::to("/ws"), 502).await.problem(502, "bad-gateway");
    }
    let gone = {
        let origin = WebSocketOrigin::echo().await;
        origin.address()
    };
    let edge = EdgeUnderTest::start(&route(gone, "websocket: true")).await;
    let mut client = edge.client().await;
    client.send(Upgrade::to("/ws").bytes()).await;
    client.response().await.problem(502, "bad-gateway");
}

// cloudflare/pingora#946: a 101 that is there before the request's end was noticed closed the tunnel.
#[tokio::test]
async fn a_101_that_comes_at_once_loses_nothing() {
    let origin = WebSocketOrigin::hasty().await;
    let edge = EdgeUnderTest::start(&route(origin.address(), "websocket: true")).await;
    for round in 0..500 {
        open(&edge).await.echoed(&round.to_string()).await;
    }
    edge.wait_for_metric("sallyport_tunnels_total", &[("route", "sockets")], 500.0).await;
}

#[tokio::test]
async fn what_the_client_sends_ahead_arrives() {
    let origin = WebSocketOrigin::echo().await;
    let edge = EdgeUnderTest::start(&route(origin.address(), "websocket: true")).await;
    for size in [1, 20_000, 50_000] {
        let text = "a".repeat(size);
        let upgrade = Upgrade::to("/ws").behind(client_frame(text.as_bytes()));
        let mut client = WebSocketClient::open(edge.address("public"), &upgrade).await;
        assert_eq!(client.text().await, text, "{size}");
        client.echoed("on").await;
    }
    // On a connection that has carried requests before, too.
    let plain = Origin::start().await;
    let yaml = route(origin.address(), "websocket: true")
        .replace("upstreams:\n", &format!("upstreams:\n  other: {{ targets: [\"{}\"] }}\n", plain.address()))
        .replace(
            "match: /plain, public: true, upstream: origin",
            "match: /plain, public: true, upstream: other",
        );
    let edge = EdgeUnderTest::start(&yaml).await;
    let mut client = edge.client().await;
    client.get("/plain").send().await.expect(200);
    client.send(Upgrade::to("/ws").behind(client_frame(b"second")).bytes()).await;
    assert!(client.head().await.start.contains(" 101 "));
    let mut echo = Vec::new();
    while echo.len() < server_frame(b"second").len() {
        echo.extend(client.some_bytes().await);
    }
    assert_eq!(echo, server_frame(b"second"));
}

#[tokio::test]
async fn what_the_upstream_sends_behind_its_101_arrives() {
    let origin = WebSocketOrigin::that(|mut stream, head| async move {
        let key = head.value("sec-websocket-key").unwrap().to_owned();
        let mut bytes = switching(&key, "");
        bytes.extend(server_frame(&[b'w'; 30_000]));
        bytes.extend(server_frame(b"first"));
        stream.write_all(&bytes).await.unwrap();
        echo_frames(stream).await;
    })
    .await;
    let edge = EdgeUnderTest::start(&route(origin.address(), "websocket: true")).await;
    let mut client = open(&edge).await;
    assert_eq!(client.text().await.len(), 30_000);
    assert_eq!(client.text().await, "first");
    client.echoed("then").await;
}

#[tokio::test]
async fn a_tunnel_survives_a_reload_that_removes_its_route() {
    let origin = WebSocketOrigin::echo().await;
    let edge = EdgeUnderTest::start(&route(origin.address(), "websocket: true")).await;
    let mut client = open(&edge).await;
    client.echoed("before").await;
    edge.rewrite("routes:\n  - { match: /other, public: true, respond: {} }\n");
    edge.reload().await.unwrap();
    edge.get("/ws").await.expect(404);
    client.echoed("after").await;
    assert_eq!(client.close(1000).await, Some(1000));
    let lines = edge.access_log(2).await;
    assert!(lines.iter().any(|line| line["route"] == "sockets" && line["tunnel"] == "client"), "{lines:?}");
}

// RFC 6455, section 7.4.1: 1001, an endpoint goes away.
#[tokio::test]
async fn a_stop_closes_with_1001_between_frames() {
    let (half, rest) = (Signal::new(), Signal::new());
    let origin = {
        let (half, rest) = (half.clone(), rest.clone());
        WebSocketOrigin::that(move |mut stream, head| {
            let (half, rest) = (half.clone(), rest.clone());
            async move {
                let frame = server_frame(b"a message in two parts");
                let key = head.value("sec-websocket-key").unwrap().to_owned();
                stream.write_all(&switching(&key, "")).await.unwrap();
                stream.write_all(&frame[..9]).await.unwrap();
                half.give();
                // The Close frame of the edge: masked, with the code.
                let mut close = [0; 8];
                stream.read_exact(&mut close).await.unwrap();
                assert_eq!(close[..2], [0x88, 0x82]);
                assert_eq!([close[6] ^ close[2], close[7] ^ close[3]], 1001_u16.to_be_bytes());
                stream.write_all(&frame[9..]).await.unwrap();
                rest.give();
                let _ = stream.read_to_end(&mut Vec::new()).await;
            }
        })
        .await
    };
    let process = "process: { access_log: \"off\", watch: false, drain: 1s }\n";
    let edge =
        EdgeUnderTest::start(&(process.to_owned() + &route(origin.address(), "websocket: true"))).await;
    let mut client = open(&edge).await;
    within("half a frame", half.given()).await;
    let stopping = tokio::spawn(edge.stop());
    assert_eq!(client.text().await, "a message in two parts");
    assert_eq!(client.closed().await, Some(1001));
    within("the masked Close frame", rest.given()).await;
    drop(client);
    within("the stop", stopping).await.unwrap();
}

#[tokio::test]
async fn a_stop_waits_for_its_tunnels_and_says_so_to_each() {
    let origin = WebSocketOrigin::echo().await;
    let process = "process: { access_log: \"off\", watch: false, drain: 2s }\n";
    let edge =
        EdgeUnderTest::start(&(process.to_owned() + &route(origin.address(), "websocket: true"))).await;
    let mut clients = Vec::new();
    for _ in 0..20 {
        clients.push(open(&edge).await);
    }
    let stopping = tokio::spawn(edge.stop());
    for client in &mut clients {
        assert_eq!(client.closed().await, Some(1001));
    }
    drop(clients);
    within("the stop", stopping).await.unwrap();
}

#[tokio::test]
async fn silence_ends_it_and_pings_do_not_let_it_come_to_that() {
    let origin = WebSocketOrigin::echo().await;
    let edge = EdgeUnderTest::start(&route(origin.address(), "websocket: { idle: 1s }")).await;
    let (mut silent, mut talking) = (open(&edge).await, open(&edge).await);
    let silence = tokio::spawn(async move { silent.closed().await });
    while !silence.is_finished() {
        talking.ping().await;
        assert!(talking.next().await.is_some(), "cut although pings flow");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    assert_eq!(silence.await.unwrap(), Some(1001));
    talking.echoed("still here").await;
    let line = edge.access_log(1).await.remove(0);
    assert_eq!(line["tunnel"], "idle", "{line}");
    wait_for_open(&edge, 1).await;
}

#[tokio::test]
async fn age_ends_it_however_much_is_said() {
    let origin = WebSocketOrigin::echo().await;
    let edge =
        EdgeUnderTest::start(&route(origin.address(), "websocket: { max_age: 300ms, idle: 0s }")).await;
    let mut client = open(&edge).await;
    assert_eq!(client.closed().await, Some(1001));
    drop(client);
    assert_eq!(edge.access_log(1).await[0]["tunnel"], "age");
}

#[tokio::test]
async fn a_place_in_a_limit_is_held_as_long_as_the_tunnel() {
    let origin = WebSocketOrigin::echo().await;
    let more = "filters: [{ concurrency_limit: { max: 1, key: route } }], websocket: true";
    let edge = EdgeUnderTest::start(&route(origin.address(), more)).await;
    let mut first = open(&edge).await;
    first.echoed("in").await;
    refused(&edge, &Upgrade::to("/ws"), 503).await;
    assert_eq!(first.close(1000).await, Some(1000));
    drop(first);
    wait_for_open(&edge, 0).await;
    until("the place", || async {
        let mut client = Client::plain(edge.address("public")).await;
        client.send(Upgrade::to("/ws").bytes()).await;
        client.head().await.start.contains(" 101 ").then_some(())
    })
    .await;
}

#[tokio::test]
async fn the_connections_place_is_held_too() {
    let origin = WebSocketOrigin::echo().await;
    let listener = "listeners:\n  public: { address: \"127.0.0.1:0\", limits: { connections: 1 } }\n";
    let edge =
        EdgeUnderTest::start(&(listener.to_owned() + &route(origin.address(), "websocket: true"))).await;
    let mut first = open(&edge).await;
    first.echoed("in").await;
    let mut second = edge.client().await;
    assert!(second.closed().await.is_empty(), "the listener's cap");
    edge.wait_for_metric("sallyport_connections_refused_total", &[("cap", "listener")], 1.0).await;
    first.echoed("still in").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_at_once_lose_nothing() {
    let origin = WebSocketOrigin::echo().await;
    let limits =
        "listeners:\n  public: { address: \"127.0.0.1:0\", limits: { connections_per_client: 1000 } }\n";
    let edge = Arc::new(
        EdgeUnderTest::start(&(limits.to_owned() + &route(origin.address(), "websocket: true"))).await,
    );
    let opened = (0..300).map(|number: usize| {
        let edge = Arc::clone(&edge);
        tokio::spawn(async move {
            let mut client = open(&edge).await;
            client.echoed(&number.to_string()).await;
            client
        })
    });
    let mut clients = Vec::new();
    for opened in opened.collect::<Vec<_>>() {
        clients.push(opened.await.unwrap());
    }
    wait_for_open(&edge, 300).await;
    for client in &mut clients {
        client.echoed(&"again".repeat(100)).await;
    }
    drop(clients);
    wait_for_open(&edge, 0).await;
    assert_eq!(edge.metric("sallyport_tunnels_total", &[("ended", "error")]).await, 0.0);
}
