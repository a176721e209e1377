//! What a client may cost, and what it gets that asks for more.

use sallyport_testkit::wait::until;
use sallyport_testkit::websocket::{client_frame, server_frame};
use sallyport_testkit::{LiveClient, LiveEdge, Mode, Upgrade};
use serde_json::json;

use super::{ended, number, section};

stories!(
    messages_have_a_size,
    messages_have_a_rate,
    connections_have_so_many_subscriptions,
    users_have_so_many_connections,
    addresses_have_so_many_connections,
    the_bridge_has_so_many_connections,
    broken_frames_end_a_connection,
    a_history_is_as_large_as_a_queue,
);

async fn limited(mode: Mode, limits: &str) -> LiveEdge {
    LiveEdge::start(mode, &["notes"], &section(&format!("  limits: {{ {limits} }}"), "")).await
}

/// A masked frame with this first byte: whether it is the last of its message, and the opcode.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = client_frame(payload);
    frame[0] = first;
    frame
}

async fn messages_have_a_size(mode: Mode) {
    let live = limited(mode, "message_bytes: 1KiB").await;
    let fits = format!("{:<1024}", r#"{"id":9,"ping":{}}"#);
    let mut client = live.client("ada").await;
    client.send(&fits).await;
    assert_eq!(client.push().await, json!({ "id": 9, "ping": {} }));
    client.send(&(fits + " ")).await;
    assert_eq!(client.rest().await, (vec![], ended(1009, "message too big")));

    let part = [b' '; 400];
    let fragments = [frame(0x01, &part), frame(0x00, &part), frame(0x80, &part)].concat();
    let mut client = live.open_with(&Upgrade::to("/live").behind(fragments)).await;
    assert_eq!(client.rest().await, (vec![], ended(1009, "message too big")));
}

async fn messages_have_a_rate(mode: Mode) {
    let live = limited(mode, "messages: 1/h, message_burst: 3").await;
    let mut client = live.client("ada").await;
    for _ in 0..2 {
        client.succeed("ping", json!({})).await;
    }
    client.send(r#"{"id":9,"ping":{}}"#).await;
    assert_eq!(client.rest().await, (vec![], ended(3013, "too many requests")));
}

async fn connections_have_so_many_subscriptions(mode: Mode) {
    let live = limited(mode, "subscriptions: 2").await;
    let mut client = live.client("ada").await;
    client.join("note:a").await;
    client.join("note:b").await;
    // One that ends makes room for another.
    client.succeed("unsubscribe", json!({ "channel": "note:a" })).await;
    client.join("note:c").await;
    client.send(r#"{"id":99,"subscribe":{"channel":"note:d"}}"#).await;
    assert_eq!(client.rest().await, (vec![], ended(3505, "channel limit")));
}

async fn users_have_so_many_connections(mode: Mode) {
    let live = limited(mode, "connections_per_user: 1").await;
    let first = live.client("ada").await;
    let _other = live.client("bob").await;
    let mut second = live.open().await;
    let connect = json!({ "id": 1, "connect": { "token": live.token("ada") } }).to_string();
    second.send(&connect).await;
    assert_eq!(second.rest().await, (vec![], ended(3504, "connection limit")));
    first.leave().await;
    live.client("ada").await;
}

/// A connection leaves, and somebody else gets its place.
async fn gets_in_after(live: &LiveEdge, first: LiveClient) {
    first.leave().await;
    let connect = json!({ "id": 1, "connect": { "token": live.token("ada") } }).to_string();
    let upgrade = Upgrade::to("/live").behind(client_frame(connect.as_bytes()));
    // The first one's task may still be at its end.
    until("room for another", || async {
        let mut client = live.edge.client().await;
        client.send(upgrade.bytes()).await;
        let switched = client.head().await.start.contains(" 101 ");
        // RFC 6455, section 5.2: the opcode of the first frame is text, not Close.
        (switched && client.some_bytes().await[0] == 0x81).then_some(())
    })
    .await;
}

async fn addresses_have_so_many_connections(mode: Mode) {
    let live = limited(mode, "connections_per_address: 1").await;
    let first = live.client("ada").await;
    let mut second = live.open().await;
    assert_eq!(second.rest().await, (vec![], ended(3504, "connection limit")));
    gets_in_after(&live, first).await;
}

async fn the_bridge_has_so_many_connections(mode: Mode) {
    let live = limited(mode, "connections: 1").await;
    let first = live.client("ada").await;
    match mode {
        Mode::Embedded => {
            let mut second = live.open().await;
            assert_eq!(second.rest().await, (vec![], ended(3001, "shutdown")));
        }
        Mode::Separate => {
            live.refused(&Upgrade::to("/live")).await.problem(503, "unavailable");
        }
    }
    gets_in_after(&live, first).await;
}

/// RFC 6455, sections 5.1, 5.2, 5.5 and 8.1; binary messages are another form of the protocol.
async fn broken_frames_end_a_connection(mode: Mode) {
    let live = limited(mode, "").await;
    let rows = [
        ("not masked", server_frame(b"{}"), 1002, "protocol error"),
        ("a reserved bit", frame(0xc1, b"{}"), 1002, "protocol error"),
        ("a reserved opcode", frame(0x83, b"{}"), 1002, "protocol error"),
        ("a continuation of nothing", frame(0x80, b"{}"), 1002, "protocol error"),
        ("a ping in fragments", frame(0x09, b"x"), 1002, "protocol error"),
        ("a long ping", frame(0x89, &[b'x'; 126]), 1002, "protocol error"),
        ("no UTF-8", frame(0x81, b"{\"\xff\"}"), 1007, "invalid UTF-8"),
        ("binary", frame(0x82, b"{}"), 3506, "inappropriate protocol"),
    ];
    for (what, bytes, code, reason) in rows {
        let mut client = live.open_with(&Upgrade::to("/live").behind(bytes)).await;
        assert_eq!(client.rest().await, (vec![], ended(code, reason)), "{what}");
    }
}

/// What does not fit is there for another question.
async fn a_history_is_as_large_as_a_queue(mode: Mode) {
    const EVENTS: u64 = 20;
    let settings = section("  limits: { queue_bytes: 64KiB }", "replay: { bytes: 1MiB }");
    let live = LiveEdge::start(mode, &["notes"], &settings).await;
    let mut client = live.client("ada").await;
    client.join("note:a").await;
    for n in 1..=EVENTS {
        live.produce("notes", "k", &json!({ "to": "a", "n": n, "fill": "x".repeat(20 * 1024) })).await;
        client.publication().await;
    }
    let (mut seen, mut since) = (Vec::new(), json!(null));
    while seen.len() < EVENTS as usize {
        let asked = json!({ "channel": "note:a", "limit": 1000, "since": since });
        let history = client.succeed("history", asked).await;
        let events = history["publications"].as_array().unwrap();
        assert_eq!(events.len(), 3.min(EVENTS as usize - seen.len()), "{} seen", seen.len());
        seen.extend(events.iter().map(number));
        since = json!({ "epoch": history["epoch"], "offset": events.last().unwrap()["offset"] });
    }
    assert!(seen.into_iter().eq(1..=EVENTS));
}
