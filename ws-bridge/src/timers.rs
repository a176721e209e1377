//! The timers of all clients: one wheel, turned by one task. A client's time is a number that its connection moves on
//! with a store; the wheel notices when it comes by. Late by at most one tick.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use crate::client::Client;

/// How exact timers are.
const TICK: Duration = Duration::from_millis(100);
const TICK_MS: u64 = 100;
/// Ticks of one turn: about 100 s. A later time is looked at once a turn.
const SLOTS: u64 = 1024;

/// The wheel.
pub(crate) struct Timers {
    start: Instant,
    slots: Mutex<Vec<Vec<Entry>>>,
}

/// A client, and the time for which it was placed. An entry whose time is not the client's nearest any more is dropped
/// when its slot comes by.
type Entry = (u64, Weak<Client>);

impl Timers {
    pub(crate) fn new() -> Arc<Timers> {
        let slots = (0..SLOTS).map(|_| Vec::new()).collect();
        Arc::new(Timers { start: Instant::now(), slots: Mutex::new(slots) })
    }

    /// Milliseconds since the wheel was made: the clock of all timers.
    pub(crate) fn now(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Sets a client's time. Moving it away costs a store; bringing it nearer, a place in the wheel.
    pub(crate) fn set(&self, client: &Arc<Client>, due: u64) {
        client.due.store(due, Ordering::Release);
        if due < client.placed.load(Ordering::Acquire) {
            self.place(client, due, self.now());
        }
    }

    fn place(&self, client: &Arc<Client>, due: u64, now: u64) {
        // Never the slot that is being looked at, and at most one turn ahead.
        let ticks = (due.saturating_sub(now) / TICK_MS + 1).clamp(1, SLOTS - 1);
        let slot = (now / TICK_MS + ticks) % SLOTS;
        client.placed.store(due, Ordering::Release);
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(slot) = usize::try_from(slot).ok().and_then(|slot| slots.get_mut(slot)) {
            slot.push((due, Arc::downgrade(client)));
        }
    }

    /// Turns the wheel until its bridge is gone.
    pub(crate) async fn turn(timers: Weak<Timers>) {
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut last = 0;
        loop {
            ticks.tick().await;
            let Some(timers) = timers.upgrade() else { return };
            let now = timers.now() / TICK_MS;
            // A turn that came late looks at every slot it has missed.
            for tick in (last + 1..=now).take(SLOTS as usize) {
                timers.look(tick % SLOTS);
            }
            last = now;
        }
    }

    fn look(&self, slot: u64) {
        let due: Vec<Entry> = {
            let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
            usize::try_from(slot)
                .ok()
                .and_then(|slot| slots.get_mut(slot))
                .map(std::mem::take)
                .unwrap_or_default()
        };
        let now = self.now();
        for (placed, client) in due {
            let Some(client) = client.upgrade() else { continue };
            if client.placed.load(Ordering::Acquire) != placed {
                continue;
            }
            client.placed.store(u64::MAX, Ordering::Release);
            match client.due.load(Ordering::Acquire) {
                u64::MAX => {}
                due if due > now => self.place(&client, due, now),
                _ => client.waker.wake(),
            }
        }
    }
}
