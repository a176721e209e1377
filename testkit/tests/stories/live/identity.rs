//! Who a client is: whom the edge's filters say, or whom its token says, or nobody; and when that is taken back.

use std::time::Duration;

use sallyport_testkit::wait::within;
use sallyport_testkit::{LiveClient, LiveEdge, Mode, Upgrade};
use serde_json::json;

use super::{ended, note, section};

stories!(
    the_edge_says_who_it_is,
    two_proofs_of_two_people_are_refused,
    nobody_is_not_let_in,
    a_token_has_to_be_good,
    the_first_message_is_connect,
    a_revoked_token_ends_its_connection,
    a_revoked_token_ends_a_busy_connection,
    a_revoked_token_in_a_header_ends_its_connection,
);

async fn is_ada(client: &mut LiveClient) {
    client.join("own:ada").await;
    let refused = client.call("subscribe", json!({ "channel": "own:bob" })).await;
    assert_eq!(refused["error"], json!({ "code": 103, "message": "permission denied" }));
}

/// Handshakes by which the edge knows this user.
fn known(live: &LiveEdge, user: &str) -> [Upgrade; 2] {
    let token = live.token(user);
    [
        Upgrade::to("/guarded").header("Authorization", &format!("Bearer {token}")),
        Upgrade::to("/cookie").header("Cookie", &format!("session={token}")),
    ]
}

async fn the_edge_says_who_it_is(mode: Mode) {
    let live = LiveEdge::start(mode, &["notes"], &section("", "")).await;
    for upgrade in known(&live, "ada") {
        let mut client = live.open_with(&upgrade).await;
        client.connect("").await;
        is_ada(&mut client).await;
        // The same person twice is one person.
        let mut client = live.open_with(&upgrade).await;
        client.connect(&live.token("ada")).await;
        is_ada(&mut client).await;
    }
    let answer = live.refused(&Upgrade::to("/guarded")).await;
    assert_eq!(answer.status, 401);
}

async fn two_proofs_of_two_people_are_refused(mode: Mode) {
    let live = LiveEdge::start(mode, &["notes"], &section("  anonymous: true", "")).await;
    for upgrade in known(&live, "ada") {
        let mut client = live.open_with(&upgrade).await;
        client.send(&json!({ "id": 1, "connect": { "token": live.token("bob") } }).to_string()).await;
        assert_eq!(client.rest().await, (vec![], ended(3500, "invalid token")));
    }
}

async fn nobody_is_not_let_in(mode: Mode) {
    let live = LiveEdge::start(mode, &["notes"], &section("", "")).await;
    let mut client = live.open().await;
    client.send(r#"{"id":1,"connect":{}}"#).await;
    assert_eq!(client.rest().await, (vec![], ended(3507, "permission denied")));

    let live = LiveEdge::start(mode, &["notes"], &section("  anonymous: true", "")).await;
    let mut client = live.open().await;
    client.connect("").await;
    client.join("note:a").await;
    let refused = client.call("subscribe", json!({ "channel": "own:ada" })).await;
    assert_eq!(refused["error"]["code"], 103, "{refused}");
}

async fn a_token_has_to_be_good(mode: Mode) {
    let live = LiveEdge::start(mode, &["notes"], &section("  anonymous: true", "")).await;
    let draft = live.tokens.token();
    for bad in ["x".to_owned(), draft.clone().unsigned("none"), draft.tampered("bob")] {
        let mut client = live.open().await;
        client.send(&json!({ "id": 1, "connect": { "token": bad } }).to_string()).await;
        assert_eq!(client.rest().await, (vec![], ended(3500, "invalid token")), "{bad}");
    }
    let mut client = live.open().await;
    let expired = draft.expires_in(-600).sign();
    let reply = client.call("connect", json!({ "token": expired })).await;
    assert_eq!(reply["error"], json!({ "code": 109, "message": "token expired" }));
    // It may try again.
    client.connect(&live.token("ada")).await;
}

async fn the_first_message_is_connect(mode: Mode) {
    let settings = section("  connection: { connect_timeout: 200ms }", "");
    let live = LiveEdge::start(mode, &["notes"], &settings).await;
    let mut silent = live.open().await;
    assert_eq!(silent.rest().await, (vec![], ended(3502, "stale")));
    for other in [r#"{"id":1,"subscribe":{"channel":"note:a"}}"#, "{\"id\":1}", "no JSON"] {
        let mut client = live.open().await;
        client.send(other).await;
        assert_eq!(client.rest().await, (vec![], ended(3501, "bad request")), "{other}");
    }
}

/// A client with a token that can be revoked.
async fn revocable(mode: Mode) -> (LiveEdge, LiveClient) {
    let live = LiveEdge::start(mode, &["notes"], &section("  connection: { ping: 1s }", "")).await;
    let mut client = live.open().await;
    client.connect(&live.tokens.token().claim("jti", "t1").sign()).await;
    client.join("note:a").await;
    (live, client)
}

/// Revokes the token `t1`.
pub(super) async fn revoke(live: &LiveEdge) {
    live.edge.write("revoked.json", r#"{"jti": ["t1"]}"#);
    live.reload_files().await.unwrap();
}

async fn a_revoked_token_ends_its_connection(mode: Mode) {
    let (live, mut client) = revocable(mode).await;
    let mut other = live.client("ada").await;
    revoke(&live).await;
    assert_eq!(client.rest().await, (vec![], ended(3500, "invalid token")));
    other.join("note:a").await;
}

/// Whoever hears something all the time is never pinged; that is no way to keep a token.
async fn a_revoked_token_ends_a_busy_connection(mode: Mode) {
    let (live, mut client) = revocable(mode).await;
    revoke(&live).await;
    let busy = async {
        let mut pace = tokio::time::interval(Duration::from_millis(50));
        for n in 0.. {
            pace.tick().await;
            live.produce("notes", "k", &note("a", n)).await;
        }
    };
    let closed = tokio::select! {
        closed = within("the close", client.closed()) => closed,
        () = busy => None,
    };
    assert_eq!(closed, ended(3500, "invalid token"));
}

/// The edge verifies it at the handshake; the bridge knows the same issuer.
async fn a_revoked_token_in_a_header_ends_its_connection(mode: Mode) {
    let live = LiveEdge::start(mode, &["notes"], &section("  connection: { ping: 1s }", "")).await;
    let bearer = |token: String| Upgrade::to("/guarded").header("Authorization", &format!("Bearer {token}"));
    let mut client = live.open_with(&bearer(live.tokens.token().claim("jti", "t1").sign())).await;
    let mut other = live.open_with(&bearer(live.token("ada"))).await;
    client.connect("").await;
    other.connect("").await;
    revoke(&live).await;
    assert_eq!(client.rest().await, (vec![], ended(3500, "invalid token")));
    other.join("note:a").await;
}
