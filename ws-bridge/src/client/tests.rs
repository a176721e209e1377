use std::task::{Wake, Waker};

use serde_json::Value;

use super::*;
use crate::event::{Event, Place};

fn event(channel: &str, key: Option<&str>, number: u32) -> Arc<Stored> {
    let event = Event {
        channel: channel.into(),
        data: number.to_string().into(),
        tags: Vec::new(),
        key: key.map(Into::into),
        time: 0,
        facts: Value::Null,
        place: Place { topic: "main/t".into(), partition: 0, offset: i64::from(number) },
    };
    Arc::new(Stored::new(event, u64::from(number) + 1, u64::from(number) + 1))
}

/// Room for four frames of ten bytes.
fn client() -> Arc<Client> {
    Client::new(1, Kind::WebSocket, 40)
}

fn offer(client: &Client, event: &Arc<Stored>, slow: Slow) -> Offered {
    client.offer(&Bytes::from(format!("{:>10}", event.event.place.offset)), event, slow)
}

/// The numbers of the events that wait, and the notices as texts.
fn taken(client: &Client) -> (Vec<String>, Option<Close>) {
    let mut taken = Vec::new();
    let close = client.take(
        |_| true,
        |item| {
            taken.push(
                String::from_utf8_lossy(&item.bytes)
                    .trim_start_matches(|c: char| c != '{' && !c.is_ascii_digit())
                    .to_owned(),
            );
        },
    );
    (taken, close)
}

#[test]
fn who_does_not_read_is_closed_and_gets_nothing_of_what_waited() {
    let client = client();
    for number in 0..4 {
        assert_eq!(offer(&client, &event("a", None, number), Slow::Disconnect), Offered::Queued);
    }
    assert_eq!(offer(&client, &event("a", None, 4), Slow::Disconnect), Offered::TooSlow);
    assert_eq!(offer(&client, &event("a", None, 5), Slow::Disconnect), Offered::Withheld);
    assert_eq!(taken(&client), (vec![], Some(Close::SLOW)));
    assert_eq!(client.queued_bytes(), 0);
}

#[test]
fn the_oldest_events_of_the_same_family_give_way_and_the_client_is_told() {
    let client = Client::new(1, Kind::WebSocket, 200);
    client.send(Bytes::from_static(b"0123456789reply"));
    for number in 0..20 {
        assert_eq!(
            offer(&client, &event(if number == 0 { "b:1" } else { "a:1" }, None, number), Slow::DropOldest),
            Offered::Queued
        );
    }
    // 200 of 200 bytes of events wait; a quarter is to be free.
    assert_eq!(offer(&client, &event("a:1", None, 20), Slow::DropOldest), Offered::Replaced(5));
    let (waiting, close) = taken(&client);
    assert_eq!(
        (waiting[0].as_str(), waiting[1].as_str(), waiting[2].as_str(), close),
        ("0123456789reply", "0", "6", None)
    );
    assert!(waiting[waiting.len() - 2].contains(r#""gap":{"channel":"a:1","events":5}"#), "{waiting:?}");
    assert_eq!(waiting.last().map(String::as_str), Some("20"));
}

#[test]
fn replies_and_events_do_not_take_each_others_room() {
    let client = client();
    client.send(Bytes::from(vec![b'r'; 120]));
    assert!(client.is_behind(0));
    for number in 0..4 {
        assert_eq!(offer(&client, &event("a", None, number), Slow::Disconnect), Offered::Queued);
    }
    assert_eq!(client.queued_bytes(), 160);
    assert_eq!(taken(&client).0.len(), 5);
    // However many events wait, commands are carried out.
    for number in 0..4 {
        assert_eq!(offer(&client, &event("a", None, number), Slow::Disconnect), Offered::Queued);
    }
    assert!(!client.is_behind(40) && client.is_behind(41));
    assert_eq!(offer(&client, &event("a", None, 4), Slow::Disconnect), Offered::TooSlow);
}

/// Looking for what may give way takes time, for every event of every client that does not read.
#[test]
fn room_is_made_for_many_events_at_a_time() {
    for slow in [Slow::DropOldest, Slow::Conflate] {
        let client = Client::new(1, Kind::Events, 4000);
        let offers = (0..4000).map(|number| offer(&client, &event("a:1", Some("x"), number), slow));
        let made = offers.filter(|offered| matches!(offered, Offered::Replaced(_))).count();
        assert!((1..=40).contains(&made), "{slow:?}: {made}");
    }
}

/// Who has left something in the queue comes back for it when the client has read; being woken for each further event
/// would cost as much as sending it.
#[test]
fn only_the_first_event_that_waits_wakes() {
    let (client, woken) = (client(), Arc::new(Woken::default()));
    client.waker.register(&Waker::from(woken.clone()));
    offer(&client, &event("a", None, 0), Slow::Disconnect);
    assert_eq!(woken.0.swap(0, Ordering::Relaxed), 1);
    client.waker.register(&Waker::from(woken.clone()));
    offer(&client, &event("a", None, 1), Slow::Disconnect);
    assert_eq!(woken.0.load(Ordering::Relaxed), 0);
    taken(&client);
    offer(&client, &event("a", None, 2), Slow::Disconnect);
    assert_eq!(woken.0.load(Ordering::Relaxed), 1);
}

#[derive(Default)]
struct Woken(AtomicU64);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// Notices do not take the room of events, however many give way.
#[test]
fn what_is_gone_is_told_once_for_each_channel() {
    let client = Client::new(1, Kind::WebSocket, 400);
    for number in 0..1000 {
        let channel = if number % 2 == 0 { "a:1" } else { "a:2" };
        let offered = offer(&client, &event(channel, None, number), Slow::DropOldest);
        assert!(matches!(offered, Offered::Queued | Offered::Replaced(_)), "{number}: {offered:?}");
    }
    let (waiting, _) = taken(&client);
    let events = waiting.iter().filter(|text| !text.contains("gap")).count() as u64;
    let gone: u64 = waiting
        .iter()
        .filter_map(|text| text.split("\"events\":").nth(1)?.split('}').next()?.parse::<u64>().ok())
        .sum();
    assert_eq!(waiting.iter().filter(|text| text.contains("gap")).count(), 2, "{waiting:?}");
    assert_eq!(events + gone, 1000, "{waiting:?}");
    // They come before everything that is newer.
    assert!(waiting[..2].iter().all(|text| text.contains("gap")), "{waiting:?}");
}

#[test]
fn of_one_key_the_newest_stays() {
    let client = Client::new(1, Kind::WebSocket, 40);
    for (number, key) in [(0, Some("x")), (1, Some("y")), (2, Some("x")), (3, None)] {
        assert_eq!(offer(&client, &event("a", key, number), Slow::Conflate), Offered::Queued);
    }
    assert_eq!(offer(&client, &event("a", Some("y"), 4), Slow::Conflate), Offered::Replaced(2));
    let (waiting, _) = taken(&client);
    assert_eq!((waiting[0].as_str(), waiting[1].as_str(), waiting[3].as_str()), ("2", "3", "4"));
    assert!(waiting[2].contains(r#""events":2"#), "{waiting:?}");
    // Without anything to replace there is no way but the end.
    for number in 0..4 {
        offer(&client, &event("a", None, number), Slow::Conflate);
    }
    assert_eq!(offer(&client, &event("a", None, 9), Slow::Conflate), Offered::TooSlow);
}

#[test]
fn a_client_whose_token_has_expired_gets_no_events_and_remembers_that_it_missed_some() {
    let client = client();
    client.suspend();
    assert_eq!(offer(&client, &event("a", None, 0), Slow::Disconnect), Offered::Withheld);
    assert!(client.is_suspended() && client.resume() && !client.resume());
    assert_eq!(offer(&client, &event("a", None, 1), Slow::Disconnect), Offered::Queued);
}

#[test]
fn what_waits_is_sent_before_an_ordinary_close() {
    let client = client();
    offer(&client, &event("a", None, 0), Slow::Disconnect);
    client.close(Close::SHUTDOWN);
    client.close(Close::STALE);
    assert_eq!(taken(&client), (vec!["0".to_owned()], Some(Close::SHUTDOWN)));
}

#[test]
fn a_stream_of_events_gets_nothing_more_once_it_is_closed() {
    let client = Client::new(1, Kind::Events, 40);
    offer(&client, &event("a", None, 0), Slow::Disconnect);
    client.close(Close::EXPIRED);
    assert_eq!(taken(&client), (vec![], Some(Close::EXPIRED)));
}
