//! With the broker inside librdkafka: it runs in this process, and outlives the program.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use sallyport_kafka::EmbeddedBroker;

use crate::program::Program;
use crate::sums::{Event, Model, view};
use crate::{KILLS, random, until};

/// Events that are sent together.
const BATCH: usize = 50;

/// The most events of a round. All rounds together stay below what the broker keeps.
const EVENTS_MAX: usize = 20 * BATCH;

/// What was sent, and how much may be.
#[derive(Default)]
struct Sending {
    sent: Mutex<Sent>,
    count: AtomicUsize,
    allowed: AtomicUsize,
    ended: AtomicBool,
}

#[derive(Default)]
struct Sent {
    events: Vec<Event>,
    /// The last offset of each partition.
    last: BTreeMap<(String, i32), i64>,
}

/// Ends the sending also where a test fails.
struct End<'a>(&'a Sending);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.ended.store(true, Ordering::Release);
    }
}

impl Sending {
    fn count(&self) -> usize {
        self.count.load(Ordering::Acquire)
    }

    /// Sends events, some of them twice, as many as are allowed, until the end. Of each key their order is that of the list.
    async fn run(&self, broker: &EmbeddedBroker, mut random: fastrand::Rng) {
        let mut events: Vec<Event> = Vec::new();
        while !self.ended.load(Ordering::Acquire) {
            let from = events.len();
            if from >= self.allowed.load(Ordering::Acquire) {
                std::thread::park_timeout(Duration::from_millis(1));
                continue;
            }
            for number in from..from + BATCH {
                let again = number > 100 && random.u32(..10) == 0;
                let before = again.then(|| events[random.usize(number - 100..number)].clone());
                events.push(before.unwrap_or_else(|| Event::random(number, &mut random)));
            }
            let sending = events[from..].iter().map(async |event| {
                let headers = event.headers().map(|(name, value)| (name, value.as_bytes()));
                let value = Some(event.value.as_bytes());
                broker.produce("sums", None, Some(event.key.as_bytes()), value, &headers).await.unwrap()
            });
            let places = futures::future::join_all(sending).await;
            let mut sent = self.sent.lock().unwrap();
            for (partition, offset) in places {
                let last = sent.last.entry(("sums".to_owned(), partition)).or_insert(offset);
                *last = offset.max(*last);
            }
            sent.events.extend_from_slice(&events[from..]);
            self.count.store(events.len(), Ordering::Release);
        }
    }
}

#[test]
fn each_event_counts_once_however_often_the_program_is_killed() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let broker = EmbeddedBroker::start(&[("sums", 4)]).unwrap();
    let views = view("sums", "sums", true) + &view("plain", "sums", false);
    let mut program = Program::new(broker.address(), &views, &["sums", "plain"]);
    let mut random = random();
    let (of_sending, sending) = (random.fork(), Sending::default());
    std::thread::scope(|scope| {
        scope.spawn(|| runtime.block_on(sending.run(&broker, of_sending)));
        let _end = End(&sending);
        let mut amid = 0;
        for round in 0..KILLS {
            program.start();
            // Sometimes it has not even begun, mostly it is in the middle of it.
            if round % 3 != 0 {
                until("the view moves", || {
                    program.ask("sums", "limit=0").filter(|answer| answer.status == 200)
                });
            }
            let from = sending.count();
            let kill_at = from + random.usize(..EVENTS_MAX);
            sending.allowed.store(from + EVENTS_MAX, Ordering::Release);
            until("more events", || (sending.count() >= kill_at).then_some(()));
            let answer = program.ask("sums", "limit=0").filter(|answer| answer.status == 200);
            amid += usize::from(answer.is_some_and(|answer| !answer.offsets.is_empty()));
            program.kill();
        }
        assert!(amid >= KILLS / 3, "it was killed amid its work {amid} times only");
        until("all events", || (sending.count() >= sending.allowed.load(Ordering::Acquire)).then_some(()));
    });
    let sent = sending.sent.into_inner().unwrap();
    eprintln!("{} events, {KILLS} kills", sent.events.len());
    program.start();
    for (name, unique) in [("sums", true), ("plain", false)] {
        let rows = program.rows(name, &sent.last);
        let mut model = Model::new(unique);
        sent.events.iter().for_each(|event| model.fold(event));
        model.compare(&rows);
        let rebuilds = program.metric("sallyport_view_rebuilds_total", name);
        assert_eq!(rebuilds, 0.0, "a killed program goes on with its store");
    }
    program.kill();
}
