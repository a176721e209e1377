//! Clients that do not read, and what their family says about them. Others never notice.

use std::collections::BTreeMap;

use sallyport_testkit::{LiveClient, LiveEdge, Mode};
use serde_json::{Value, json};

use super::identity::revoke;
use super::{ended, number, section, since};

stories!(
    a_slow_client_is_closed_and_recovers,
    a_slow_client_loses_its_oldest_events,
    a_slow_client_gets_the_newest_of_each_key,
    who_does_not_read_is_gone_soon_after_a_reload,
    who_does_not_read_is_gone_soon_after_its_token_was_revoked,
    who_does_not_read_does_not_hold_up_a_stop,
    large_recoveries_wait_for_the_client,
    who_asks_for_much_and_does_not_read_is_not_there,
);

/// What an event weighs: the system keeps some megabytes for a connection, whatever it is asked for.
const EVENT_BYTES: usize = 32 * 1024;
/// Far more than the system keeps.
const EVENTS_MAX: u64 = 400;
/// Events that are produced before they are waited for. Fewer than what a recovery may have above a full queue.
const BURST: u64 = 4;

/// The settings of these stories, with further lines.
fn settings(lines: &str, slow: &str) -> String {
    let replay = format!("slow: {slow}, replay: {{ events: 4000, bytes: 64MiB }}");
    section(&format!("  limits: {{ queue_bytes: 384KiB }}\n{lines}"), &replay)
}

fn event(n: u64) -> Value {
    json!({ "to": "a", "n": n, "fill": "x".repeat(EVENT_BYTES) })
}

/// Produces events of four keys until so many deliveries to somebody slow were not made; how many it took. `quick`, who
/// reads, gets all.
async fn flood(live: &LiveEdge, quick: &mut LiveClient, reason: &str, missed: f64) -> u64 {
    for last in (BURST..=EVENTS_MAX).step_by(BURST as usize) {
        let burst = last - BURST + 1..=last;
        for n in burst.clone() {
            live.produce("notes", &format!("k{}", n % 4), &event(n)).await;
        }
        for n in burst {
            let (_, publication) = quick.publication().await;
            assert_eq!(number(&publication), n, "others get everything, in order");
        }
        if live.metric("sallyport_live_dropped_total", &[("reason", reason)]).await >= missed {
            return last;
        }
    }
    panic!("nobody was too slow for {EVENTS_MAX} events")
}

/// A client that did not read, and what happened meanwhile.
struct Overrun {
    live: LiveEdge,
    slow: LiveClient,
    /// The number of the newest event.
    last: u64,
}

/// A client of a family with this policy that has not read until `missed` deliveries to it were not made.
async fn overrun(mode: Mode, policy: &str, missed: f64) -> Overrun {
    overrun_by(mode, "", policy, missed, |live| live.token("ada")).await
}

/// The same with further settings and another token.
async fn overrun_by(
    mode: Mode,
    lines: &str,
    policy: &str,
    missed: f64,
    token: impl FnOnce(&LiveEdge) -> String,
) -> Overrun {
    let live = LiveEdge::start(mode, &["notes"], &settings(lines, policy)).await;
    let mut slow = live.open_slowly().await;
    slow.connect(&token(&live)).await;
    let mut quick = live.client("bob").await;
    slow.join("note:a").await;
    quick.join("note:a").await;
    let reason = if policy == "disconnect" { "closed" } else { "slow" };
    let last = flood(&live, &mut quick, reason, missed).await;
    quick.leave().await;
    Overrun { live, slow, last }
}

async fn a_slow_client_is_closed_and_recovers(mode: Mode) {
    let Overrun { live, mut slow, last } = overrun(mode, "disconnect", 1.0).await;
    let (messages, closed) = slow.rest().await;
    assert_eq!(closed, ended(3008, "slow"));
    let seen: Vec<&Value> = messages.iter().map(|message| &message["push"]["pub"]).collect();
    let numbers: Vec<u64> = seen.iter().map(|publication| number(publication)).collect();
    let newest = *numbers.last().unwrap();
    assert_eq!(numbers, (1..=newest).collect::<Vec<_>>());
    assert!(newest < last);

    let mut again = live.client("ada").await;
    let welcome = again.subscribe(since("note:a", seen.last().unwrap())).await;
    assert_eq!((&welcome["was_recovering"], &welcome["recovered"]), (&json!(true), &json!(true)));
    let missed: Vec<u64> = welcome["publications"].as_array().unwrap().iter().map(number).collect();
    assert_eq!(missed, (newest + 1..=last).collect::<Vec<_>>());
    live.produce("notes", "k", &event(last + 1)).await;
    assert_eq!(number(&again.publication().await.1), last + 1);
}

/// Reads up to the event `last`: the numbers, in order. Those that are missing were told.
async fn read_up_to(client: &mut LiveClient, last: u64) -> Vec<u64> {
    let (mut numbers, mut gone) = (Vec::new(), 0);
    while numbers.last() != Some(&last) {
        let push = client.push().await;
        assert_eq!(push["push"]["channel"], "note:a", "{push}");
        match push["push"]["message"]["data"]["gap"].as_object() {
            Some(gap) => {
                assert_eq!(gap["channel"], "note:a");
                gone += gap["events"].as_u64().unwrap();
            }
            None => numbers.push(number(&push["push"]["pub"])),
        }
    }
    assert!(numbers.is_sorted());
    assert_eq!(numbers.len() as u64 + gone, last, "{numbers:?}");
    numbers
}

async fn a_slow_client_loses_its_oldest_events(mode: Mode) {
    let Overrun { live, mut slow, last } = overrun(mode, "drop_oldest", 20.0).await;
    let numbers = read_up_to(&mut slow, last).await;
    // What is left of the queue is its newest part.
    let newest: Vec<u64> = (last - 5..=last).collect();
    assert!(numbers.ends_with(&newest), "{numbers:?}");
    live.produce("notes", "k", &event(last + 1)).await;
    assert_eq!(number(&slow.publication().await.1), last + 1);
}

async fn a_slow_client_gets_the_newest_of_each_key(mode: Mode) {
    let Overrun { live: _live, mut slow, last } = overrun(mode, "conflate", 20.0).await;
    let numbers = read_up_to(&mut slow, last).await;
    let newest: BTreeMap<u64, u64> = numbers.iter().map(|n| (n % 4, *n)).collect();
    assert_eq!(newest.into_values().sum::<u64>(), (last - 3..=last).sum::<u64>(), "{numbers:?}");
}

const CLOSED: &str = "sallyport_live_closed_total";

/// The Close stands behind what the client does not take. Its end is not up to the client, and the bridge before goes.
async fn who_does_not_read_is_gone_soon_after_a_reload(mode: Mode) {
    let Overrun { live, slow: _slow, .. } = overrun(mode, "drop_oldest", 1.0).await;
    live.reload(&settings("  anonymous: true", "drop_oldest"), "").await.unwrap();
    live.wait_for_metric(CLOSED, &[("code", "3001")], 1.0).await;
}

async fn who_does_not_read_is_gone_soon_after_its_token_was_revoked(mode: Mode) {
    let lines = "  connection: { ping: 1s, pong_timeout: 1h }";
    let token = |live: &LiveEdge| live.tokens.token().claim("jti", "t1").sign();
    let Overrun { live, slow: _slow, .. } = overrun_by(mode, lines, "drop_oldest", 1.0, token).await;
    revoke(&live).await;
    live.wait_for_metric(CLOSED, &[("code", "3500")], 1.0).await;
}

async fn who_does_not_read_does_not_hold_up_a_stop(mode: Mode) {
    let Overrun { live, slow: _slow, .. } = overrun(mode, "drop_oldest", 1.0).await;
    let text = std::fs::read_to_string(live.edge.path("routes.yaml")).unwrap();
    // Longer than anything may take in a story.
    live.edge.rewrite(&text.replace("drain: 2s", "drain: 10m"));
    live.reload_files().await.unwrap();
    live.stop_bridge().await;
}

/// Channels of which each has missed nearly as much as a recovery may have.
const CHANNELS: u64 = 16;
const MISSED: u64 = 20;

/// Commands that recover all channels, and their ids.
fn recoveries(seen: &Value) -> Vec<(u64, String)> {
    let subscribe = |n| json!({ "id": 100 + n, "subscribe": since(&format!("note:{n}"), seen) }).to_string();
    (0..CHANNELS).map(|n| (100 + n, subscribe(n))).collect()
}

/// A bridge with much that was missed, and the position before all of it.
async fn with_much_missed(mode: Mode, lines: &str) -> (LiveEdge, Value) {
    let live = LiveEdge::start(mode, &["notes"], &settings(lines, "disconnect")).await;
    let mut first = live.client("bob").await;
    let seen = first.join("note:0").await;
    first.leave().await;
    for channel in 0..CHANNELS {
        for n in 1..=MISSED {
            let event = json!({ "to": channel.to_string(), "n": n, "fill": "x".repeat(EVENT_BYTES) });
            live.produce("notes", "k", &event).await;
        }
        // This Kafka keeps five megabytes.
        let events = (channel + 1) * MISSED;
        live.wait_for_metric("sallyport_live_events_total", &[], events as f64).await;
    }
    (live, seen)
}

/// A client that comes back to many channels has the time it needs, and events that come meanwhile their own room.
async fn large_recoveries_wait_for_the_client(mode: Mode) {
    let (live, seen) = with_much_missed(mode, "").await;
    let (mut back, mut other) = (live.slow_client("ada").await, live.client("bob").await);
    other.join("note:0").await;
    let (ids, commands): (Vec<u64>, Vec<String>) = recoveries(&seen).into_iter().unzip();
    // Several in one message, and several messages.
    let (together, alone) = commands.split_at(commands.len() / 2);
    back.send(&together.join("\n")).await;
    for command in alone {
        back.send(command).await;
    }
    let first = back.push().await;
    assert_eq!(first["id"], ids[0], "{}", first["error"]);
    for n in MISSED + 1..=MISSED + BURST {
        live.produce("notes", "k", &json!({ "to": "0", "n": n })).await;
        assert_eq!(number(&other.publication().await.1), n);
    }
    let (mut replies, mut events) = (vec![first], Vec::new());
    while replies.len() < ids.len() || (events.len() as u64) < BURST {
        let message = back.push().await;
        if message["id"].is_null() {
            events.push(number(&message["push"]["pub"]));
        } else {
            replies.push(message);
        }
    }
    for (reply, id) in replies.iter().zip(ids) {
        assert_eq!((&reply["id"], &reply["subscribe"]["recovered"]), (&json!(id), &json!(true)));
        let missed = reply["subscribe"]["publications"].as_array().unwrap().iter().map(number);
        assert!(missed.eq(1..=MISSED), "{id}");
    }
    assert!(events.into_iter().eq(MISSED + 1..=MISSED + BURST));
}

/// Commands wait as long as the client does not read, and its pongs behind them.
async fn who_asks_for_much_and_does_not_read_is_not_there(mode: Mode) {
    let (live, seen) = with_much_missed(mode, "  connection: { ping: 1s, pong_timeout: 1s }").await;
    let mut stuck = live.slow_client("ada").await;
    for (_, command) in recoveries(&seen) {
        stuck.send(&command).await;
    }
    live.wait_for_metric(CLOSED, &[("code", "3012")], 1.0).await;
}
