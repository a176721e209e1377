//! A client as the hub sees it: who it is, and what waits to be sent to it. Bounded in bytes, events and replies each for
//! themselves; what happens when the bound of events is reached says the family of the event.
//!
//! How it is connected is not known here: a connection or a stream of server-sent events takes what waits.

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use futures::task::AtomicWaker;
use sallyport_config::ws_bridge::Slow;

use crate::hub::Stored;
use crate::protocol::{Close, reply};
use crate::websocket::text_frame;

/// A recovery may be as large as so many queues: who was closed because events overran its queue has missed more than one.
pub(crate) const RECOVERY_QUEUES: usize = 2;
/// What a reply has around its publications, such as a position in very many partitions.
const AROUND_BYTES: usize = 64 * 1024;
/// Where events give way, they leave this share of the queue free: one look at all that waits then pays for many events, and
/// a client that does not read costs hardly more than one that does.
const FREED_SHARE: usize = 4;

/// How a client is connected, and so in which form it gets an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Frames of a WebSocket.
    WebSocket,
    /// Server-sent events.
    Events,
}

/// A client.
pub(crate) struct Client {
    /// Tells it apart within this process.
    pub(crate) id: u64,
    /// Its name to itself and to others.
    pub(crate) name: Box<str>,
    pub(crate) kind: Kind,
    /// Whoever takes what waits is woken by this.
    pub(crate) waker: AtomicWaker,
    /// When its timer is due, in milliseconds of the timers' clock; `u64::MAX`: never.
    pub(crate) due: AtomicU64,
    /// For which time it stands in the wheel; `u64::MAX`: it does not.
    pub(crate) placed: AtomicU64,
    /// Its token has expired: it gets no events until the token is refreshed.
    suspended: AtomicBool,
    /// Events were withheld while it was suspended.
    missed: AtomicBool,
    queue: Mutex<Queue>,
    queue_bytes_max: usize,
}

/// What waits for a client.
#[derive(Default)]
struct Queue {
    items: VecDeque<Item>,
    /// Bytes of events and of notices that some are gone.
    event_bytes: usize,
    /// Bytes of everything else.
    reply_bytes: usize,
    close: Option<Close>,
}

/// Something to send: the bytes on the wire, and what they tell of.
pub(crate) struct Item {
    pub(crate) bytes: Bytes,
    about: About,
}

/// What is told.
enum About {
    Event(Arc<Stored>),
    /// So many events of a channel are gone.
    Gap(Arc<str>, u64),
    /// A reply, or something else that stays.
    Other,
}

impl Item {
    /// The time of the event, in milliseconds since 1970; 0 if it is none.
    pub(crate) fn event_time(&self) -> i64 {
        self.event().map_or(0, |event| event.event.time)
    }

    fn event(&self) -> Option<&Arc<Stored>> {
        match &self.about {
            About::Event(event) => Some(event),
            About::Gap(..) | About::Other => None,
        }
    }
}

/// What became of an event that was offered to a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Offered {
    Queued,
    /// It is queued, and so many older ones are gone.
    Replaced(u64),
    /// The client does not read: it is being closed.
    TooSlow,
    /// The client is being closed, or its token has expired.
    Withheld,
}

impl Client {
    pub(crate) fn new(id: u64, kind: Kind, queue_bytes_max: usize) -> Arc<Client> {
        Arc::new(Client {
            id,
            name: name(id),
            kind,
            waker: AtomicWaker::new(),
            due: AtomicU64::new(u64::MAX),
            placed: AtomicU64::new(u64::MAX),
            suspended: AtomicBool::new(false),
            missed: AtomicBool::new(false),
            queue: Mutex::default(),
            queue_bytes_max,
        })
    }

    /// Queues a reply or a notice.
    pub(crate) fn tell(&self, text: &str) {
        let bytes = match self.kind {
            Kind::WebSocket => text_frame(&[text.as_bytes()]),
            Kind::Events => return,
        };
        self.send(bytes);
    }

    /// Puts a reply before everything that waits: the first that a client is told.
    pub(crate) fn tell_first(&self, text: &str) {
        let bytes = text_frame(&[text.as_bytes()]);
        let mut queue = self.queue();
        queue.reply_bytes += bytes.len();
        queue.items.push_front(Item { bytes, about: About::Other });
        drop(queue);
        self.waker.wake();
    }

    /// Queues bytes that are no event. They have a bound of their own: a recovery is larger than what events may take, and
    /// would otherwise leave no room for the first event behind it.
    pub(crate) fn send(&self, bytes: Bytes) {
        let mut queue = self.queue();
        if queue.close.is_some() {
            return;
        }
        if queue.reply_bytes + bytes.len() > self.reply_bytes_max() {
            self.close_with(queue, Close::SLOW);
            return;
        }
        queue.push(bytes, About::Other);
        drop(queue);
        self.waker.wake();
    }

    /// As much as there may be when a command is carried out, and a recovery above that.
    fn reply_bytes_max(&self) -> usize {
        self.queue_bytes_max.saturating_mul(1 + RECOVERY_QUEUES).saturating_add(AROUND_BYTES)
    }

    /// Whether so many replies wait that the client has to read before it is answered more; with these bytes that wait
    /// elsewhere. Events do not count: their bound is their own, and a client may be slow with them all the time.
    pub(crate) fn is_behind(&self, staged_bytes: usize) -> bool {
        self.queue().reply_bytes.saturating_add(staged_bytes) > self.queue_bytes_max
    }

    /// Queues an event, in the form for this kind of client.
    pub(crate) fn offer(&self, bytes: &Bytes, event: &Arc<Stored>, slow: Slow) -> Offered {
        if self.suspended.load(Ordering::Acquire) {
            self.missed.store(true, Ordering::Release);
            return Offered::Withheld;
        }
        let mut queue = self.queue();
        if queue.close.is_some() {
            return Offered::Withheld;
        }
        let mut dropped = 0;
        if queue.event_bytes + bytes.len() > self.queue_bytes_max {
            let free = bytes.len().max(self.queue_bytes_max / FREED_SHARE);
            let Some(kept_max) = self.queue_bytes_max.checked_sub(free) else {
                self.close_with(queue, Close::SLOW);
                return Offered::TooSlow;
            };
            let gone = match slow {
                Slow::Disconnect => Vec::new(),
                Slow::DropOldest => queue.drop_oldest(event, kept_max),
                Slow::Conflate => queue.conflate(event),
            };
            if queue.event_bytes > kept_max {
                self.close_with(queue, Close::SLOW);
                return Offered::TooSlow;
            }
            dropped = gone.len() as u64;
            // There are no notices among server-sent events.
            if self.kind == Kind::WebSocket {
                queue.note_gone(gone);
            }
        }
        let waited = !queue.items.is_empty();
        queue.push(bytes.clone(), About::Event(event.clone()));
        drop(queue);
        // Whoever has left something behind knows, and takes it when the client has read.
        if !waited {
            self.waker.wake();
        }
        if dropped > 0 { Offered::Replaced(dropped) } else { Offered::Queued }
    }

    /// Closes the client. What waits for it is still sent, unless it is closed because it does not read, or it is a stream of
    /// server-sent events: that notices its end only when it is read, and events have come for it long after its token
    /// expired. Who comes back says where it was.
    pub(crate) fn close(&self, why: Close) {
        self.close_with(self.queue(), why);
    }

    fn close_with(&self, mut queue: MutexGuard<'_, Queue>, why: Close) {
        if queue.close.is_none() {
            queue.close = Some(why);
            if why == Close::SLOW || self.kind == Kind::Events {
                queue.items = VecDeque::new();
                (queue.event_bytes, queue.reply_bytes) = (0, 0);
            }
        }
        drop(queue);
        self.waker.wake();
    }

    /// Takes what waits, in order, as long as `take` wants more. Whether the client is to be closed behind it.
    pub(crate) fn take(
        &self,
        mut wants: impl FnMut(&Item) -> bool,
        mut take: impl FnMut(Item),
    ) -> Option<Close> {
        let mut queue = self.queue();
        while let Some(item) = queue.items.front()
            && wants(item)
        {
            if let Some(item) = queue.items.pop_front() {
                *queue.bytes_of(&item.about) -= item.bytes.len();
                take(item);
            }
        }
        if queue.items.is_empty() {
            // Idle clients own no buffer.
            queue.items = VecDeque::new();
            return queue.close;
        }
        None
    }

    /// Why the client is being closed; none if it is not.
    pub(crate) fn closing(&self) -> Option<Close> {
        self.queue().close
    }

    /// Whether the client is being closed.
    pub(crate) fn is_closing(&self) -> bool {
        self.closing().is_some()
    }

    /// Bytes that wait.
    pub(crate) fn queued_bytes(&self) -> usize {
        let queue = self.queue();
        queue.event_bytes + queue.reply_bytes
    }

    /// Withholds events from now on.
    pub(crate) fn suspend(&self) {
        self.suspended.store(true, Ordering::Release);
    }

    /// Whether events are withheld.
    pub(crate) fn is_suspended(&self) -> bool {
        self.suspended.load(Ordering::Acquire)
    }

    /// Gives events again. Whether some were withheld.
    pub(crate) fn resume(&self) -> bool {
        self.suspended.store(false, Ordering::Release);
        self.missed.swap(false, Ordering::AcqRel)
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Queue {
    /// The sum that these bytes are in.
    fn bytes_of(&mut self, about: &About) -> &mut usize {
        match about {
            About::Event(_) | About::Gap(..) => &mut self.event_bytes,
            About::Other => &mut self.reply_bytes,
        }
    }

    fn push(&mut self, bytes: Bytes, about: About) {
        *self.bytes_of(&about) += bytes.len();
        self.items.push_back(Item { bytes, about });
    }

    /// Drops the oldest events of the same family until no more than this waits. The channel of each.
    fn drop_oldest(&mut self, event: &Stored, kept_max: usize) -> Vec<Arc<str>> {
        let family = event.family();
        let mut dropped = Vec::new();
        let mut bytes = self.event_bytes;
        self.items.retain(|item| {
            let old = item.event().filter(|old| bytes > kept_max && old.family() == family);
            let Some(old) = old else { return true };
            bytes -= item.bytes.len();
            dropped.push(old.event.channel.clone());
            false
        });
        self.event_bytes = bytes;
        dropped
    }

    /// Drops events of the same channel that a newer one with the same key follows. The channel of each.
    fn conflate(&mut self, event: &Stored) -> Vec<Arc<str>> {
        let mut newer = HashSet::from([(event.event.channel.clone(), event.event.key.clone())]);
        let mut dropped = Vec::new();
        let mut kept = VecDeque::with_capacity(self.items.len());
        while let Some(item) = self.items.pop_back() {
            let replaced = item.event().filter(|event| {
                event.event.key.is_some()
                    && !newer.insert((event.event.channel.clone(), event.event.key.clone()))
            });
            if let Some(replaced) = replaced {
                dropped.push(replaced.event.channel.clone());
                self.event_bytes -= item.bytes.len();
            } else {
                kept.push_front(item);
            }
        }
        self.items = kept;
        dropped
    }

    /// Tells of events that are gone, in the notice of their channel that waits already or in a new one. Notices of their
    /// own would fill the queue in the end, and nothing could make room for events again.
    fn note_gone(&mut self, gone: Vec<Arc<str>>) {
        let mut counts = BTreeMap::<Arc<str>, u64>::new();
        gone.into_iter().for_each(|channel| *counts.entry(channel).or_default() += 1);
        let notice = |channel: &str, events| text_frame(&[reply::gap(channel, events).as_bytes()]);
        for item in &mut self.items {
            if let About::Gap(channel, events) = &mut item.about
                && let Some(more) = counts.remove(channel)
            {
                *events += more;
                self.event_bytes -= item.bytes.len();
                item.bytes = notice(channel, *events);
                self.event_bytes += item.bytes.len();
            }
        }
        for (channel, events) in counts {
            self.push(notice(&channel, events), About::Gap(channel, events));
        }
    }
}

/// A name that nobody can guess: others see it in presence, and nothing is allowed by it.
fn name(id: u64) -> Box<str> {
    format!("{:016x}{:016x}", fastrand::u64(..), id).into_boxed_str()
}

#[cfg(test)]
mod tests {
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
                offer(
                    &client,
                    &event(if number == 0 { "b:1" } else { "a:1" }, None, number),
                    Slow::DropOldest
                ),
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
}
