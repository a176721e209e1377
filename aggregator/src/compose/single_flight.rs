//! Equal calls under way are one call. Whoever waits for a call drives it; when the last of them has left, it is dropped,
//! and with it the request to the upstream.
//!
//! What has come back is given to those who waited and to nobody else: keeping results is [`cache`](super::cache). No lock
//! is held while anything waits.

use std::collections::HashMap;
use std::hash::RandomState;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use futures::FutureExt;
use futures::future::{BoxFuture, Shared, WeakShared};
use tokio::time::{Duration, Instant};

use super::gate::Gate;
use super::key::Key;

/// Calls that others may join, at a time. Beyond, calls are made one by one.
const FLIGHTS_MAX: usize = 16 * 1024;

type Under<T> = Shared<BoxFuture<'static, T>>;

/// The calls under way.
pub(super) struct Flights<T: Clone> {
    known: Mutex<HashMap<Key, Known<T>, RandomState>>,
}

struct Known<T: Clone> {
    call: WeakShared<BoxFuture<'static, T>>,
    gate: Arc<Gate>,
    /// Nobody joins after this.
    joins_until: Instant,
    number: u64,
}

/// A call that somebody waits for.
pub(super) struct Flight<T: Clone + Send + Sync + 'static> {
    call: Option<Under<T>>,
    /// Where the call asks for room.
    pub(super) gate: Arc<Gate>,
    /// Whether somebody else had made it.
    pub(super) joined: bool,
    entry: Option<Entry<T>>,
}

/// The place of a call among the known ones.
struct Entry<T: Clone> {
    flights: Arc<Flights<T>>,
    key: Key,
    number: u64,
}

impl<T: Clone + Send + Sync + 'static> Flights<T> {
    pub(super) fn new() -> Self {
        Flights { known: Mutex::new(HashMap::default()) }
    }

    /// Joins the call of this key, or makes it. One that has been under way for half of its `time` is not joined any more:
    /// it may be stuck, and who joins late would fail early. Without a key nobody joins.
    pub(super) fn call(
        self: &Arc<Self>,
        key: Option<Key>,
        time: Duration,
        make: impl FnOnce(Arc<Gate>) -> BoxFuture<'static, T>,
    ) -> Flight<T> {
        let Some(key) = key else { return Flight::alone(make) };
        let now = Instant::now();
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(flight) = known.get(&key)
            && now < flight.joins_until
            && let Some(call) = flight.call.upgrade()
            && call.peek().is_none()
        {
            let entry = Entry { flights: self.clone(), key, number: flight.number };
            return Flight { call: Some(call), gate: flight.gate.clone(), joined: true, entry: Some(entry) };
        }
        if known.len() >= FLIGHTS_MAX && !known.contains_key(&key) {
            drop(known);
            return Flight::alone(make);
        }
        let mut flight = Flight::alone(make);
        let Some(call) = flight.call.as_ref().and_then(Shared::downgrade) else { return flight };
        let number = known.get(&key).map_or(0, |earlier| earlier.number.wrapping_add(1));
        let joins_until = now + time / 2;
        known.insert(key.clone(), Known { call, gate: flight.gate.clone(), joins_until, number });
        flight.entry = Some(Entry { flights: self.clone(), key, number });
        flight
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.known.lock().unwrap().len()
    }
}

impl<T: Clone + Send + Sync + 'static> Flight<T> {
    fn alone(make: impl FnOnce(Arc<Gate>) -> BoxFuture<'static, T>) -> Self {
        let gate = Arc::new(Gate::default());
        let call = make(gate.clone()).shared();
        Flight { call: Some(call), gate, joined: false, entry: None }
    }

    /// What comes back, for [`attend`](super::gate::attend).
    pub(super) fn landing(&mut self) -> Landing<'_, T> {
        Landing(&mut self.call)
    }
}

/// The result of a flight, to come. Polled again after it has come, it stays silent.
pub(super) struct Landing<'a, T: Clone + Send + Sync + 'static>(&'a mut Option<Under<T>>);

impl<T: Clone + Send + Sync + 'static> Future for Landing<'_, T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<T> {
        let Some(call) = self.0.as_mut() else { return Poll::Pending };
        let done = call.poll_unpin(context);
        if done.is_ready() {
            *self.0 = None;
        }
        done
    }
}

impl<T: Clone + Send + Sync + 'static> Drop for Flight<T> {
    fn drop(&mut self) {
        // First the call, so that the last one to leave finds it gone; and outside of the lock, because what a call drops
        // is a connection.
        self.call = None;
        if let Some(entry) = self.entry.take() {
            entry.forget_if_over();
        }
    }
}

impl<T: Clone> Entry<T> {
    fn forget_if_over(&self) {
        let mut known = self.flights.known.lock().unwrap_or_else(PoisonError::into_inner);
        let over = known.get(&self.key).is_some_and(|flight| {
            flight.number == self.number && flight.call.upgrade().is_none_or(|call| call.peek().is_some())
        });
        if over {
            known.remove(&self.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

    use tokio::sync::oneshot;

    use super::super::key::KeyBuilder;
    use super::*;

    const TIME: Duration = Duration::from_secs(3600);

    fn key(name: &str) -> Option<Key> {
        let mut key = KeyBuilder::new();
        key.part(name.as_bytes());
        Some(key.build())
    }

    /// Counts itself on drop.
    struct Dropped(Arc<AtomicUsize>);

    impl Drop for Dropped {
        fn drop(&mut self) {
            self.0.fetch_add(1, SeqCst);
        }
    }

    #[tokio::test]
    async fn equal_calls_are_one_and_others_are_not() {
        let flights = Arc::new(Flights::new());
        let made = Arc::new(AtomicUsize::new(0));
        let (sender, receiver) = oneshot::channel::<u32>();
        let mut receiver = Some(receiver);
        let mut call = |name: &str| {
            let receiver = receiver.take();
            let made = made.clone();
            flights.call(key(name), TIME, move |_| {
                made.fetch_add(1, SeqCst);
                async move {
                    match receiver {
                        Some(receiver) => receiver.await.unwrap(),
                        None => 0,
                    }
                }
                .boxed()
            })
        };
        let (mut first, mut second, mut other) = (call("a"), call("a"), call("b"));
        assert!(!first.joined && second.joined && !other.joined);
        assert_eq!(other.landing().await, 0);
        assert!(futures::poll!(&mut second.landing()).is_pending());
        sender.send(7).unwrap();
        assert_eq!(first.landing().await, 7);
        // What is over is joined by nobody, even while one who waited has not looked yet.
        let mut third = call("a");
        assert!(!third.joined);
        assert_eq!((second.landing().await, third.landing().await), (7, 0));
        assert_eq!(made.load(SeqCst), 3);
        drop((first, second, other, third));
        assert_eq!(flights.len(), 0);
    }

    #[tokio::test]
    async fn a_call_ends_when_the_last_who_waits_has_left() {
        let flights: Arc<Flights<()>> = Arc::new(Flights::new());
        let ended = Arc::new(AtomicUsize::new(0));
        let call = || {
            let guard = Dropped(ended.clone());
            flights.call(key("a"), TIME, move |_| {
                async move {
                    let _guard = guard;
                    std::future::pending::<()>().await;
                }
                .boxed()
            })
        };
        let mut first = call();
        let base = ended.load(SeqCst);
        let mut second = call();
        // The guard of a call that was not made is dropped at once.
        let base = base + 1;
        assert!(futures::poll!(&mut first.landing()).is_pending());
        assert!(futures::poll!(&mut second.landing()).is_pending());
        drop(first);
        assert_eq!((ended.load(SeqCst), flights.len()), (base, 1));
        assert!(futures::poll!(&mut second.landing()).is_pending(), "it goes on for the other");
        drop(second);
        assert_eq!((ended.load(SeqCst), flights.len()), (base + 1, 0));
    }

    #[tokio::test]
    async fn those_who_stay_are_woken_though_the_one_who_drove_the_call_has_left() {
        let flights = Arc::new(Flights::new());
        let (sender, receiver) = oneshot::channel::<u32>();
        let mut first = flights.call(key("a"), TIME, |_| async { receiver.await.unwrap() }.boxed());
        let mut second = flights.call(key("a"), TIME, |_| async { 0 }.boxed());
        let waits = tokio::spawn(async move { second.landing().await });
        assert!(futures::poll!(&mut first.landing()).is_pending());
        drop(first);
        sender.send(7).unwrap();
        assert_eq!(waits.await.unwrap(), 7);
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_that_may_be_stuck_is_not_joined() {
        let flights: Arc<Flights<u32>> = Arc::new(Flights::new());
        let time = Duration::from_secs(2);
        let first = flights.call(key("a"), time, |_| std::future::pending().boxed());
        tokio::time::advance(Duration::from_millis(999)).await;
        let second = flights.call(key("a"), time, |_| std::future::pending().boxed());
        assert!(second.joined);
        tokio::time::advance(Duration::from_millis(1)).await;
        let third = flights.call(key("a"), time, |_| async { 7 }.boxed());
        assert!(!third.joined);
        drop((first, second));
        assert_eq!(flights.len(), 1, "the later call is not forgotten with the earlier");
        drop(third);
        assert_eq!(flights.len(), 0);
    }

    #[tokio::test]
    async fn without_a_key_nobody_joins() {
        let flights: Arc<Flights<u32>> = Arc::new(Flights::new());
        let mut one = flights.call(None, TIME, |_| async { 1 }.boxed());
        let mut two = flights.call(None, TIME, |_| async { 2 }.boxed());
        assert_eq!((one.landing().await, two.landing().await), (1, 2));
    }
}
