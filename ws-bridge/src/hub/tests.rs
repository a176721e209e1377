//! The hub with clients that are only queues.

use std::sync::Arc;

use proptest::prelude::*;
use sallyport_config::Report;
use sallyport_config::ws_bridge;
use sallyport_kafka::{Range, TopicPattern};
use serde_json::{Value, json};

use super::recover::CaughtUp;
use super::*;
use crate::client::{Client, Kind};

const TOPIC: &str = "main/t";

/// A hub with one family, `b`, of one topic with three partitions that are read from the beginning.
struct World {
    hub: Hub,
    family: Arc<Family>,
}

struct Visitor {
    client: Arc<Client>,
    claims: Value,
}

fn settings(text: &str) -> ws_bridge::Family {
    serde_json::from_str(text).unwrap()
}

impl World {
    fn new(family: &str) -> World {
        let mut report = Report::default();
        let topics = vec![("main".into(), TopicPattern::new("t"))];
        let family = Arc::new(Family::compile("b", &settings(family), topics, &mut report).unwrap());
        let metrics = Arc::new(Metrics::new(&prometheus::Registry::new()).unwrap());
        let hub = Hub::new([family.clone()], 1 << 20, metrics);
        hub.partitions(&TOPIC.into(), &[0, 0, 0]);
        (0..3).for_each(|partition| hub.ready(&TOPIC.into(), partition));
        World { hub, family }
    }

    /// Everybody sees what belongs to them.
    fn of_owners() -> World {
        World::new(
            r#"{"visible_to": "claims.sub == event.owner || \"admin\" in claims.roles", "wildcard": true}"#,
        )
    }

    fn publish(&self, channel: &str, partition: i32, offset: i64, owner: &str) {
        let place = Place { topic: TOPIC.into(), partition, offset };
        self.hub.publish(&place, vec![event(channel, &place, owner)]);
    }

    fn subscribe(&self, visitor: &Visitor, channel: &str, since: Option<Since>) -> Result<Welcome, Refusal> {
        self.subscribe_with(visitor, channel, since, None)
    }

    fn subscribe_with(
        &self,
        visitor: &Visitor,
        channel: &str,
        since: Option<Since>,
        caught_up: Option<CaughtUp>,
    ) -> Result<Welcome, Refusal> {
        let (text, claims) = self.family.subject(&visitor.claims);
        let request = Request {
            channel: channel.into(),
            key: ClassKey { claims: text, filter: None },
            claims: &claims,
            user: "u".into(),
            since,
            give_up: false,
            reject_unrecovered: false,
            server_side: false,
            wants_changes: false,
            bytes_max: 1 << 20,
            may_catch_up: caught_up.is_none(),
        };
        let mut told = None;
        self.hub.subscribe(&visitor.client, request, caught_up, |welcome| {
            told = Some(Welcome {
                epoch: welcome.epoch.clone(),
                offset: welcome.offset,
                missed: welcome.missed.clone(),
                recovered: welcome.recovered,
                wildcard: welcome.wildcard,
            });
        })?;
        Ok(told.unwrap())
    }
}

impl Visitor {
    fn new(id: u64, claims: Value) -> Visitor {
        let client = Client::new(id, Kind::WebSocket, 1 << 20);
        Visitor { client, claims }
    }

    fn owner(id: u64, sub: &str) -> Visitor {
        Visitor::new(id, json!({"sub": sub, "roles": []}))
    }

    /// The publications that wait: their channel, data and position.
    fn taken(&self) -> Vec<(String, i64, Since)> {
        let mut taken = Vec::new();
        self.client.take(
            |_| true,
            |item| {
                let text =
                    std::str::from_utf8(&item.bytes[item.bytes.iter().position(|b| *b == b'{').unwrap()..])
                        .unwrap();
                let push: Value = serde_json::from_str(text).unwrap();
                let push = &push["push"];
                if push["pub"].is_object() {
                    let epoch = push["pub"]["epoch"].as_str().unwrap().to_owned();
                    let channel = push["channel"].as_str().unwrap().to_owned();
                    taken.push((
                        channel,
                        push["pub"]["data"]["n"].as_i64().unwrap(),
                        Since { epoch, offset: 0 },
                    ));
                }
            },
        );
        taken
    }

    fn numbers(&self) -> Vec<i64> {
        self.taken().into_iter().map(|(_, number, _)| number).collect()
    }
}

fn event(channel: &str, place: &Place, owner: &str) -> Event {
    let number = i64::from(place.partition) * 1000 + place.offset;
    Event {
        channel: channel.into(),
        data: format!("{{\"n\":{number}}}").into(),
        tags: vec![("owner".into(), owner.into())],
        key: None,
        time: 1_000_000 + place.offset,
        facts: json!({"event": {"owner": owner}}),
        place: place.clone(),
    }
}

fn missed(welcome: &Welcome) -> Vec<i64> {
    let number = |event: &Arc<Stored>| i64::from(event.place().partition) * 1000 + event.place().offset;
    welcome.missed.iter().map(number).collect()
}

#[test]
fn each_sees_only_what_concerns_them() {
    let world = World::of_owners();
    let (one, two) = (Visitor::owner(1, "u1"), Visitor::owner(2, "u2"));
    let admin = Visitor::new(3, json!({"sub": "root", "roles": ["admin"]}));
    let nobody = Visitor::new(4, json!({}));
    for visitor in [&one, &two, &admin, &nobody] {
        world.subscribe(visitor, "b:1", None).unwrap();
    }
    world.publish("b:1", 0, 0, "u1");
    world.publish("b:1", 1, 0, "u2");
    world.publish("b:1", 1, 1, "u3");
    world.publish("b:2", 2, 0, "u1");
    assert_eq!(one.numbers(), [0]);
    assert_eq!(two.numbers(), [1000]);
    assert_eq!(admin.numbers(), [0, 1000, 1001]);
    assert_eq!(nobody.numbers(), [] as [i64; 0]);
}

#[test]
fn a_pattern_sees_every_channel_it_matches_and_says_which() {
    let world = World::of_owners();
    let visitor = Visitor::owner(1, "u1");
    world.subscribe(&visitor, "b:x*", None).unwrap();
    world.publish("b:x1", 0, 0, "u1");
    world.publish("b:x1", 0, 1, "u2");
    world.publish("b:y", 0, 2, "u1");
    world.publish("b:x2", 0, 3, "u1");
    let taken = visitor.taken();
    assert_eq!(
        taken.iter().map(|(channel, number, _)| (channel.as_str(), *number)).collect::<Vec<_>>(),
        [("b:x*", 0), ("b:x*", 3)]
    );
    let welcome = world.subscribe(&Visitor::owner(2, "u1"), "b:x*", Some(taken[0].2.clone())).unwrap();
    assert_eq!((missed(&welcome), welcome.recovered), (vec![3], Some(true)));
    let publication = welcome.publications().remove(0);
    assert!(publication.get().contains(r#""channel":"b:x2""#), "{publication}");
}

#[test]
fn what_was_missed_comes_back_once_and_only_to_those_who_may_see_it() {
    let world = World::of_owners();
    let visitor = Visitor::owner(1, "u1");
    world.subscribe(&visitor, "b:1", None).unwrap();
    world.publish("b:1", 0, 0, "u1");
    let seen = visitor.taken().pop().unwrap().2;
    world.publish("b:1", 1, 0, "u1");
    world.publish("b:1", 0, 1, "u2");
    world.publish("b:1", 0, 2, "u1");
    let again = world.subscribe(&Visitor::owner(2, "u1"), "b:1", Some(seen.clone())).unwrap();
    assert_eq!((missed(&again), again.recovered), (vec![1000, 2], Some(true)));
    let other = world.subscribe(&Visitor::owner(3, "u2"), "b:1", Some(seen)).unwrap();
    assert_eq!(missed(&other), [1]);
}

#[test]
fn another_node_that_has_read_in_another_order_gives_the_same() {
    let (here, there) = (World::of_owners(), World::of_owners());
    let visitor = Visitor::owner(1, "u1");
    here.subscribe(&visitor, "b:1", None).unwrap();
    here.publish("b:1", 0, 0, "u1");
    here.publish("b:1", 1, 0, "u1");
    let seen = visitor.taken().pop().unwrap().2;
    there.publish("b:1", 1, 0, "u1");
    there.publish("b:1", 1, 1, "u1");
    there.publish("b:1", 0, 0, "u1");
    there.publish("b:1", 0, 1, "u1");
    let welcome = there.subscribe(&visitor, "b:1", Some(seen)).unwrap();
    assert_eq!((missed(&welcome), welcome.recovered), (vec![1001, 1], Some(true)));
}

#[test]
fn a_client_that_is_ahead_of_this_node_waits_for_it() {
    let (here, there) = (World::of_owners(), World::of_owners());
    let visitor = Visitor::owner(1, "u1");
    here.subscribe(&visitor, "b:1", None).unwrap();
    here.publish("b:1", 0, 0, "u1");
    let seen = visitor.taken().pop().unwrap().2;
    assert!(matches!(there.subscribe(&visitor, "b:1", Some(seen.clone())), Err(Refusal::Ahead)));
    there.publish("b:1", 0, 0, "u1");
    let welcome = there.subscribe(&visitor, "b:1", Some(seen)).unwrap();
    assert_eq!((missed(&welcome), welcome.recovered), (vec![], Some(true)));
}

/// A hub that two views feed, each with one partition that is read from offset 5 on.
fn of_views() -> World {
    let mut report = Report::default();
    let topics = ["view:v", "view:w"].map(|view| (view.into(), TopicPattern::new("*"))).to_vec();
    let family = r#"{"visible_to": "true", "replay": {"events": 2}}"#;
    let family = Arc::new(Family::compile("b", &settings(family), topics, &mut report).unwrap());
    let hub =
        Hub::new([family.clone()], 1 << 20, Arc::new(Metrics::new(&prometheus::Registry::new()).unwrap()));
    for topic in ["view:v/t", "view:w/t"] {
        hub.partitions(&topic.into(), &[5]);
        hub.ready(&topic.into(), 0);
    }
    World { hub, family }
}

impl World {
    fn change(&self, topic: &str, offset: i64) {
        let place = Place { topic: topic.into(), partition: 0, offset };
        self.hub.publish(&place, vec![event("b:1", &place, "u1")]);
    }
}

#[test]
fn what_the_ring_has_not_of_a_view_is_lost() {
    let (here, there) = (of_views(), of_views());
    let visitor = Visitor::owner(1, "u1");
    here.subscribe(&visitor, "b:1", None).unwrap();
    (5..9).for_each(|offset| [&here, &there].iter().for_each(|world| world.change("view:v/t", offset)));
    let seen: Vec<Since> = visitor.taken().into_iter().map(|(_, _, since)| since).collect();
    for world in [&here, &there] {
        let welcome = world.subscribe(&visitor, "b:1", Some(seen[1].clone())).unwrap();
        assert_eq!((missed(&welcome), welcome.recovered), (vec![7, 8], Some(true)));
        let welcome = world.subscribe(&visitor, "b:1", Some(seen[0].clone())).unwrap();
        assert_eq!((missed(&welcome), welcome.recovered), (vec![], Some(false)));
    }
}

/// With one topic of a family all of its rings go. A position of another node that lies before that must not be taken for
/// one from which on nothing happened.
#[test]
fn what_went_with_another_topic_is_lost_too() {
    let (here, there) = (of_views(), of_views());
    let visitor = Visitor::owner(1, "u1");
    here.subscribe(&visitor, "b:1", None).unwrap();
    (5..7).for_each(|offset| [&here, &there].iter().for_each(|world| world.change("view:v/t", offset)));
    let mut seen = visitor.taken();
    there.hub.recreated(&"view:w/t".into());
    there.hub.partitions(&"view:w/t".into(), &[5]);
    there.hub.ready(&"view:w/t".into(), 0);
    let (newer, older) = (seen.pop().unwrap().2, seen.pop().unwrap().2);
    let welcome = there.subscribe(&visitor, "b:1", Some(older)).unwrap();
    assert_eq!((missed(&welcome), welcome.recovered), (vec![], Some(false)));
    there.change("view:v/t", 7);
    let welcome = there.subscribe(&visitor, "b:1", Some(newer)).unwrap();
    assert_eq!((missed(&welcome), welcome.recovered), (vec![7], Some(true)));
}

#[test]
fn what_the_ring_has_not_is_asked_of_kafka() {
    let world = World::new(r#"{"visible_to": "true", "replay": {"events": 2}}"#);
    let visitor = Visitor::owner(1, "u1");
    world.subscribe(&visitor, "b:1", None).unwrap();
    world.publish("b:1", 0, 0, "u1");
    let seen = visitor.taken().pop().unwrap().2;
    (1..5).for_each(|offset| world.publish("b:1", 0, offset, "u1"));
    let Err(Refusal::CatchUp(needed)) = world.subscribe(&visitor, "b:1", Some(seen.clone())) else {
        panic!()
    };
    assert_eq!(needed.ranges, [Range { topic: TOPIC.into(), partition: 0, from: 1, to: 3 }]);
    // While Kafka is read, the ring goes on.
    world.publish("b:1", 0, 5, "u1");
    let older = [1, 2].map(|offset| {
        let place = Place { topic: TOPIC.into(), partition: 0, offset };
        Arc::new(Stored::new(event("b:1", &place, "u1"), 0, 0))
    });
    let caught_up = CaughtUp { ranges: needed.ranges, events: older.to_vec() };
    let welcome = world.subscribe_with(&visitor, "b:1", Some(seen.clone()), Some(caught_up)).unwrap();
    // The ring has lost offset 3 meanwhile: nothing is better than a hole.
    assert_eq!((missed(&welcome), welcome.recovered), (vec![], Some(false)));

    let world = World::new(r#"{"visible_to": "true", "replay": {"events": 3}}"#);
    (0..6).for_each(|offset| world.publish("b:1", 0, offset, "u1"));
    let Err(Refusal::CatchUp(needed)) = world.subscribe(&visitor, "b:1", Some(seen.clone())) else {
        panic!()
    };
    let caught_up = CaughtUp { ranges: needed.ranges, events: older.to_vec() };
    let welcome = world.subscribe_with(&visitor, "b:1", Some(seen), Some(caught_up)).unwrap();
    assert_eq!((missed(&welcome), welcome.recovered), (vec![1, 2, 3, 4, 5], Some(true)));
}

#[test]
fn a_topic_that_is_made_again_sends_its_subscribers_away_and_voids_their_positions() {
    let world = World::of_owners();
    let visitor = Visitor::owner(1, "u1");
    world.subscribe(&visitor, "b:1", None).unwrap();
    world.publish("b:1", 0, 0, "u1");
    let seen = visitor.taken().pop().unwrap().2;
    world.hub.recreated(&TOPIC.into());
    let mut notices = Vec::new();
    visitor.client.take(|_| true, |item| notices.push(String::from_utf8_lossy(&item.bytes).into_owned()));
    assert!(notices[0].contains(r#""unsubscribe":{"code":2500"#), "{notices:?}");
    world.hub.partitions(&TOPIC.into(), &[0, 0, 0]);
    (0..3).for_each(|partition| world.hub.ready(&TOPIC.into(), partition));
    world.publish("b:1", 0, 0, "u1");
    let welcome = world.subscribe(&visitor, "b:1", Some(seen)).unwrap();
    assert_eq!((missed(&welcome), welcome.recovered), (vec![], Some(false)));
}

#[test]
fn another_record_where_the_last_one_was_means_that_the_topic_is_another() {
    let (here, there) = (World::of_owners(), World::of_owners());
    let visitor = Visitor::owner(1, "u1");
    here.subscribe(&visitor, "b:1", None).unwrap();
    here.publish("b:1", 0, 0, "u1");
    let seen = visitor.taken().pop().unwrap().2;
    let place = Place { topic: TOPIC.into(), partition: 0, offset: 0 };
    there.hub.publish(&place, vec![Event { time: 5, ..event("b:1", &place, "u1") }]);
    let welcome = there.subscribe(&visitor, "b:1", Some(seen)).unwrap();
    assert_eq!(welcome.recovered, Some(false));
}

#[test]
fn nothing_begins_before_everything_was_read() {
    let world = World::of_owners();
    world.hub.partitions(&TOPIC.into(), &[0, 0, 0, 7]);
    let visitor = Visitor::owner(1, "u1");
    assert!(matches!(world.subscribe(&visitor, "b:1", None), Err(Refusal::NotReady)));
    world.hub.ready(&TOPIC.into(), 3);
    assert!(world.subscribe(&visitor, "b:1", None).is_ok());
    assert!(matches!(world.subscribe(&visitor, "other:1", None), Err(Refusal::Unknown)));
}

#[test]
fn old_events_go_and_with_them_channels_that_nobody_needs() {
    let world = World::new(r#"{"visible_to": "true", "replay": {"window": "1s"}}"#);
    let visitor = Visitor::owner(1, "u1");
    world.subscribe(&visitor, "b:1", None).unwrap();
    world.publish("b:1", 0, 0, "u1");
    let seen = visitor.taken().pop().unwrap().2;
    world.publish("b:2", 1, 0, "u1");
    world.hub.expire(1_000_000 + 60_000);
    {
        let state = world.hub.state();
        assert_eq!(state.replay_bytes, 0);
        assert_eq!(state.families["b"].channels.keys().map(|name| &**name).collect::<Vec<_>>(), ["b:1"]);
    }
    // It has seen what is gone of its own channel, but cannot know what else is gone.
    assert!(matches!(world.subscribe(&visitor, "b:2", Some(seen.clone())), Err(Refusal::CatchUp(_))));
}

#[test]
fn the_budget_of_all_families_takes_the_oldest_first() {
    let mut report = Report::default();
    let topics = || vec![("main".into(), TopicPattern::new("t"))];
    let family = |name: &str, report: &mut Report| {
        Arc::new(Family::compile(name, &settings(r#"{"visible_to": "true"}"#), topics(), report).unwrap())
    };
    let families = [family("b", &mut report), family("c", &mut report)];
    let metrics = Arc::new(Metrics::new(&prometheus::Registry::new()).unwrap());
    let hub = Hub::new(families, 1000, metrics);
    hub.partitions(&TOPIC.into(), &[0]);
    for offset in 0..20 {
        let place = Place { topic: TOPIC.into(), partition: 0, offset };
        hub.publish(&place, vec![event(if offset % 2 == 0 { "b:1" } else { "c:1" }, &place, "u")]);
    }
    let state = hub.state();
    let kept: usize = state.families.values().map(|family| family.log.bytes()).sum();
    assert!(kept == state.replay_bytes && kept <= 1000 && kept > 300, "{kept}");
    let oldest = state.families.values().filter_map(|family| family.log.oldest()).min().unwrap();
    assert!(oldest > 15, "{oldest}");
}

/// RFC 6750 knows no narrower scope on a live connection; a refreshed token may have one all the same.
#[test]
fn new_claims_are_judged_from_the_next_event_on() {
    let world = World::of_owners();
    let visitor = Visitor::new(1, json!({"sub": "root", "roles": ["admin"]}));
    let (text, claims) = world.family.subject(&visitor.claims);
    let request = Request {
        channel: "b:1".into(),
        key: ClassKey { claims: text, filter: None },
        claims: &claims,
        user: "root".into(),
        since: None,
        give_up: false,
        reject_unrecovered: false,
        server_side: false,
        wants_changes: false,
        bytes_max: 1 << 20,
        may_catch_up: false,
    };
    let mut subscription = world.hub.subscribe(&visitor.client, request, None, |_| {}).unwrap();
    world.publish("b:1", 0, 0, "u1");
    let (text, claims) = world.family.subject(&json!({"sub": "root", "roles": []}));
    world.hub.seat_anew(
        &visitor.client,
        &mut subscription,
        |filter| ClassKey { claims: text, filter },
        &claims,
    );
    world.publish("b:1", 0, 1, "u1");
    world.publish("b:1", 0, 2, "root");
    assert_eq!(visitor.numbers(), [0, 2]);
    world.hub.unsubscribe(&visitor.client, &subscription);
    assert!(!world.hub.holds(&visitor.client, &subscription));
    world.publish("b:1", 0, 3, "root");
    assert_eq!(visitor.numbers(), [] as [i64; 0]);
}

proptest! {
    /// However events lie in partitions and wherever a client breaks off, it gets each of its events once.
    #[test]
    fn nothing_is_lost_or_doubled(
        order in proptest::collection::vec((0..3i32, 0..2u8), 1..60),
        other_order in any::<u64>(),
        cut in 0..60usize,
    ) {
        let owner = |which: u8| if which == 0 { "u1" } else { "u2" };
        let mut next = [0i64; 3];
        let records: Vec<(i32, i64, &str)> = order.iter().map(|(partition, which)| {
            let offset = next[*partition as usize];
            next[*partition as usize] += 1;
            (*partition, offset, owner(*which))
        }).collect();
        let (here, there) = (World::of_owners(), World::of_owners());
        let visitor = Visitor::owner(1, "u1");
        let welcome = here.subscribe(&visitor, "b:1", None).unwrap();
        let mut since = Since { epoch: welcome.epoch, offset: 0 };
        let cut = cut.min(records.len());
        for (partition, offset, owner) in &records[..cut] {
            here.publish("b:1", *partition, *offset, owner);
        }
        let mut got = Vec::new();
        for (_, number, position) in visitor.taken() {
            got.push(number);
            since = position;
        }
        // The other node reads the partitions in another order.
        let mut lanes: Vec<Vec<(i32, i64, &str)>> = (0..3).map(|partition| {
            records.iter().rev().filter(|record| record.0 == partition).copied().collect()
        }).collect();
        let mut lot = other_order;
        while lanes.iter().any(|lane| !lane.is_empty()) {
            lot = lot.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            let lane = (lot >> 33) as usize % 3;
            if let Some((partition, offset, owner)) = lanes[lane].pop() {
                there.publish("b:1", partition, offset, owner);
            }
        }
        let again = there.subscribe(&visitor, "b:1", Some(since)).unwrap();
        prop_assert_eq!(again.recovered, Some(true));
        got.extend(missed(&again));
        let mut wanted: Vec<i64> = records.iter().filter(|record| record.2 == "u1")
            .map(|(partition, offset, _)| i64::from(*partition) * 1000 + offset).collect();
        got.sort_unstable();
        wanted.sort_unstable();
        prop_assert_eq!(got, wanted);
    }
}
