//! Connections to HTTP/1.1 upstreams that wait for their next use.
//!
//! Pingora's own pool keeps a task for each waiting connection, which costs a spawn and a wake-up an exchange. Here a
//! connection waits in a list; whether it is still there is looked at when it is taken, and once a second.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use super::connection::Connection;

/// How often connections are looked through that nobody takes.
const SWEEP_EVERY: Duration = Duration::from_secs(1);
/// A power of two, so that threads rarely meet.
const SHARDS: usize = 16;

/// Waiting connections, by what they may serve.
pub(super) struct Pool {
    shards: [Mutex<HashMap<u64, Vec<Idle>>>; SHARDS],
    waiting: AtomicUsize,
    waiting_max: usize,
}

struct Idle {
    connection: Connection,
    until: Instant,
}

impl Pool {
    /// A pool of at most so many connections. It is swept as long as it lives.
    pub(super) fn new(waiting_max: usize) -> Arc<Pool> {
        let pool = Arc::new(Pool { shards: Default::default(), waiting: AtomicUsize::new(0), waiting_max });
        tokio::spawn(sweep(Arc::downgrade(&pool)));
        pool
    }

    /// The connection that was given back last: it is the least likely to have been closed.
    pub(super) fn take(&self, key: u64, now: Instant) -> Option<Connection> {
        loop {
            let mut idle = self.shard(key).get_mut(&key)?.pop()?;
            self.waiting.fetch_sub(1, Relaxed);
            if idle.is_good(now) {
                return Some(idle.connection);
            }
        }
    }

    /// Keeps a connection for so long, unless too many wait.
    pub(super) fn put(&self, key: u64, connection: Connection, wait: Duration, now: Instant) {
        let Some(until) = now.checked_add(wait) else { return };
        if self.waiting.fetch_add(1, Relaxed) >= self.waiting_max {
            self.waiting.fetch_sub(1, Relaxed);
            return;
        }
        self.shard(key).entry(key).or_default().push(Idle { connection, until });
    }

    fn sweep(&self, now: Instant) {
        for shard in &self.shards {
            let mut shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
            shard.retain(|_, waiting| {
                let before = waiting.len();
                waiting.retain_mut(|idle| idle.is_good(now));
                self.waiting.fetch_sub(before - waiting.len(), Relaxed);
                !waiting.is_empty()
            });
        }
    }

    fn shard(&self, key: u64) -> MutexGuard<'_, HashMap<u64, Vec<Idle>>> {
        let index = usize::try_from(key >> 32).unwrap_or_default() % SHARDS;
        self.shards[index].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Idle {
    fn is_good(&mut self, now: Instant) -> bool {
        now < self.until && self.connection.is_quiet()
    }
}

async fn sweep(pool: Weak<Pool>) {
    let mut ticks = tokio::time::interval(SWEEP_EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let Some(pool) = pool.upgrade() else { return };
        pool.sweep(Instant::now());
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::pin::pin;
    use std::task::Poll;

    use tokio::io::{AsyncWriteExt, DuplexStream, duplex};

    use super::*;

    const WAIT: Duration = Duration::from_secs(60);

    fn connection() -> (Connection, DuplexStream) {
        let (near, far) = duplex(64);
        (Connection::of(Box::new(near)), far)
    }

    #[tokio::test]
    async fn the_connection_given_back_last_is_taken_first_and_only_for_its_key() {
        let (pool, now) = (Pool::new(8), Instant::now());
        let ((one, mut far_one), (two, _far_two)) = (connection(), connection());
        pool.put(1, one, WAIT, now);
        pool.put(1, two, WAIT, now);
        assert!(pool.take(2, now).is_none());
        assert!(pool.take(1, now).is_some());
        // The last one is `one`: what its other side sends makes it useless.
        far_one.write_all(b"x").await.unwrap();
        assert!(pool.take(1, now).is_none());
    }

    #[tokio::test]
    async fn what_waits_too_long_or_was_closed_is_swept() {
        let (pool, now) = (Pool::new(8), Instant::now());
        let ((young, _far), (old, _far_old), (closed, far_closed)) =
            (connection(), connection(), connection());
        pool.put(1, young, WAIT, now);
        pool.put(1, old, WAIT / 2, now);
        pool.put(2, closed, WAIT, now);
        drop(far_closed);
        pool.sweep(now + WAIT / 2);
        assert_eq!(pool.waiting.load(Relaxed), 1);
        assert!(pool.take(1, now).is_some());
    }

    /// Where a task's budget is used up, nothing is ready any more for tokio: neither are closed connections.
    #[tokio::test]
    async fn a_busy_task_sees_that_a_connection_was_closed() {
        let (pool, now) = (Pool::new(8), Instant::now());
        let (closed, far) = connection();
        pool.put(1, closed, WAIT, now);
        drop(far);
        let taken = poll_fn(|cx| {
            while pin!(tokio::task::coop::consume_budget()).poll(cx).is_ready() {}
            Poll::Ready(pool.take(1, now).is_some())
        });
        assert!(!taken.await);
    }

    #[tokio::test]
    async fn no_more_wait_than_may() {
        let (pool, now) = (Pool::new(1), Instant::now());
        let ((one, _far_one), (two, _far_two)) = (connection(), connection());
        pool.put(1, one, WAIT, now);
        pool.put(2, two, WAIT, now);
        assert!(pool.take(2, now).is_none());
        assert!(pool.take(1, now).is_some());
    }
}
