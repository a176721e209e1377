//! A bridge that stops, or goes on with other settings: clients are sent away, come again, and miss nothing.

use sallyport_testkit::live_client::closes;
use sallyport_testkit::websocket::client_frame;
use sallyport_testkit::{Client, LiveEdge, Mode, Upgrade};
use serde_json::json;

use super::{ended, note, number, section, since};

stories!(
    a_stop_sends_everybody_away_once,
    a_stop_of_the_edge_sends_everybody_away_once,
    other_settings_take_a_new_connection,
    other_routes_leave_clients_alone,
    a_bad_condition_is_refused_at_its_place,
);

const CLIENTS: usize = 50;

/// So many clients that are connected, each with what it has read so far.
async fn many(live: &LiveEdge) -> Vec<(Client, Vec<u8>)> {
    let mut clients = Vec::new();
    for n in 0..CLIENTS {
        let token = live.token(&format!("user-{n}"));
        let connect = json!({ "id": 1, "connect": { "token": token } }).to_string();
        let mut client = live.edge.client().await;
        client.send(Upgrade::to("/live").behind(client_frame(connect.as_bytes())).bytes()).await;
        assert!(client.head().await.start.contains(" 101 "));
        let answer = client.some_bytes().await;
        assert!(!answer.is_empty(), "the answer to connect");
        clients.push((client, answer));
    }
    clients
}

async fn are_told(clients: Vec<(Client, Vec<u8>)>, code: u16, reason: &str) {
    for (mut client, mut read) in clients {
        read.extend(client.closed().await);
        assert_eq!(closes(&read), [(code, reason.to_owned())]);
    }
}

async fn a_stop_sends_everybody_away_once(mode: Mode) {
    let live = LiveEdge::start(mode, &["notes"], &section("", "")).await;
    let clients = many(&live).await;
    let told = tokio::spawn(are_told(clients, 3001, "shutdown"));
    live.stop_bridge().await;
    told.await.unwrap();
}

/// A bridge of its own goes on; then the edge says goodbye itself (RFC 6455, section 7.4.1).
async fn a_stop_of_the_edge_sends_everybody_away_once(mode: Mode) {
    let live = LiveEdge::start(mode, &["notes"], &section("", "")).await;
    let clients = many(&live).await;
    let (code, reason) = match mode {
        Mode::Embedded => (3001, "shutdown"),
        Mode::Separate => (1001, ""),
    };
    let told = tokio::spawn(are_told(clients, code, reason));
    live.edge.stop().await;
    told.await.unwrap();
}

async fn other_settings_take_a_new_connection(mode: Mode) {
    let live = LiveEdge::start(mode, &["notes"], &section("", "")).await;
    let mut client = live.client("ada").await;
    client.join("note:a").await;
    live.produce("notes", "k", &note("a", 1)).await;
    let (_, seen) = client.publication().await;
    live.reload(&section("  limits: { subscriptions: 3 }", ""), "").await.unwrap();
    live.produce("notes", "k", &note("a", 2)).await;
    assert_eq!(client.closed().await, ended(3001, "shutdown"));
    live.produce("notes", "k", &note("a", 3)).await;

    let mut client = live.client("ada").await;
    let welcome = client.subscribe(since("note:a", &seen)).await;
    assert_eq!(welcome["recovered"], true, "{welcome}");
    let mut missed = welcome["publications"].as_array().into_iter().flatten().map(number);
    for expected in [2, 3, 4] {
        if expected == 4 {
            live.produce("notes", "k", &note("a", 4)).await;
        }
        let n = match missed.next() {
            Some(n) => n,
            // The record may have been on its way to the bridge.
            None => number(&client.publication().await.1),
        };
        assert_eq!(n, expected);
    }
    // The new settings are in force.
    client.join("note:b").await;
    client.join("note:c").await;
    client.send(r#"{"id":99,"subscribe":{"channel":"note:d"}}"#).await;
    assert_eq!(client.closed().await, ended(3505, "channel limit"));
}

async fn other_routes_leave_clients_alone(mode: Mode) {
    let live = LiveEdge::start(mode, &["notes"], &section("", "")).await;
    let mut client = live.client("ada").await;
    client.join("note:a").await;
    let route = "  - { match: /new, public: true, respond: { body: \"new\" } }\n";
    live.reload(&section("", ""), route).await.unwrap();
    assert_eq!(live.edge.get("/new").await.expect(200).text(), "new");
    live.produce("notes", "k", &note("a", 1)).await;
    assert_eq!(number(&client.publication().await.1), 1);
    assert_eq!(live.metric("sallyport_live_closed_total", &[]).await, 0.0);
    assert_eq!(client.leave().await, Some(1000));
    live.wait_for_metric("sallyport_live_closed_total", &[("code", "client")], 1.0).await;
}

async fn a_bad_condition_is_refused_at_its_place(mode: Mode) {
    let live = LiveEdge::start(mode, &["notes"], &section("", "")).await;
    let mut client = live.client("ada").await;
    client.join("note:a").await;
    let good = section("", "");
    let bad = good.replace("claims.sub == event.to", "claims.sub == (event.to");
    let report = live.reload(&bad, "").await.unwrap_err();
    let text = std::fs::read_to_string(live.edge.path("routes.yaml")).unwrap();
    let (above, line) = text.lines().enumerate().find(|(_, line)| line.contains("(event.to")).unwrap();
    let end = line.find("(event.to").unwrap() + "(event.to".len();
    let place = format!("routes.yaml:{}:{}\n", above + 1, end + 1);
    let (_, error) = report.split_once("error: this condition ends too early").unwrap();
    assert!(error.contains(&place), "{place} in {report}");
    live.produce("notes", "k", &note("a", 1)).await;
    assert_eq!(number(&client.publication().await.1), 1);
}
