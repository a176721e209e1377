//! An event's way to a client, and what the edge tells of the connection.

use sallyport_testkit::websocket::client_frame;
use sallyport_testkit::{LiveEdge, Mode, Upgrade};
use serde_json::json;

use super::{note, section};

stories!(an_event_arrives, commands_right_behind_the_handshake_are_answered, the_subprotocol_is_chosen);

async fn an_event_arrives(mode: Mode) {
    let live = LiveEdge::start(mode, &["notes"], &section("", "")).await;
    let mut client = live.open().await;
    let connected = client.connect(&live.token("ada")).await;
    assert_eq!((&connected["ping"], &connected["pong"]), (&json!(25), &json!(true)), "{connected}");
    client.join("note:a").await;
    assert_eq!(live.edge.metric("sallyport_tunnels", &[("route", "live")]).await, 1.0);
    live.produce("notes", "k", &note("b", 1)).await;
    live.produce("notes", "k", &note("a", 2)).await;
    let (channel, publication) = client.publication().await;
    assert_eq!((&*channel, &publication["data"]), ("note:a", &note("a", 2)));
    assert_eq!(client.leave().await, Some(1000));

    let line = live.edge.access_log(1).await.remove(0);
    assert_eq!(
        (&line["status"], &line["route"], &line["tunnel"]),
        (&json!(101), &json!("live"), &json!("client")),
        "{line}"
    );
    for direction in ["received_bytes", "sent_bytes"] {
        assert!(line[direction].as_u64() > Some(100), "{direction} in {line}");
    }
    let ended = [("route", "live"), ("ended", "client")];
    live.edge.wait_for_metric("sallyport_tunnels_total", &ended, 1.0).await;
    live.edge.wait_for_metric("sallyport_tunnels", &[("route", "live")], 0.0).await;
    let received = live
        .edge
        .metric("sallyport_tunnel_bytes_total", &[("route", "live"), ("direction", "received")])
        .await;
    assert_eq!(Some(received as u64), line["received_bytes"].as_u64());
}

async fn commands_right_behind_the_handshake_are_answered(mode: Mode) {
    let live = LiveEdge::start(mode, &["notes"], &section("", "")).await;
    let connect = json!({ "id": 1, "connect": { "token": live.token("ada") } }).to_string();
    // Members that are not known are ignored.
    let pings = (2..=101).map(|id| json!({ "id": id, "ping": {}, "more": "x".repeat(200) }).to_string());
    let frames: Vec<u8> =
        std::iter::once(connect).chain(pings).flat_map(|text| client_frame(text.as_bytes())).collect();
    assert!(frames.len() > 20_000);
    let mut client = live.open_with(&Upgrade::to("/live").behind(frames)).await;
    for id in 1..=101 {
        let reply = client.push().await;
        assert_eq!(reply["id"], id, "{reply}");
        assert!(reply.get("error").is_none(), "{reply}");
    }
    assert_eq!(client.leave().await, Some(1000));
}

async fn the_subprotocol_is_chosen(mode: Mode) {
    let live = LiveEdge::start(mode, &["notes"], &section("", "")).await;
    for (offer, chosen) in [(Some("other, centrifuge-json"), Some("centrifuge-json")), (None, None)] {
        let upgrade = Upgrade::to("/live");
        let upgrade =
            offer.iter().fold(upgrade, |upgrade, offer| upgrade.header("Sec-WebSocket-Protocol", offer));
        let mut client = live.open_with(&upgrade).await;
        assert_eq!(client.subprotocol(), chosen);
        client.connect(&live.token("ada")).await;
    }
}
