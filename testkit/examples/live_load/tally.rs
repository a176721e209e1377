//! What the clients have seen.

use std::cell::{Cell, RefCell};

use serde_json::{Value, json};
use tokio::sync::Notify;

/// Of all clients together.
#[derive(Default)]
pub(crate) struct Tally {
    /// Clients that are subscribed now.
    pub(crate) open: Cell<usize>,
    /// Connections that failed or were ended by the server.
    pub(crate) failed: Cell<u64>,
    /// The last reason why one did.
    pub(crate) reason: RefCell<String>,
    /// Events, those of recoveries included.
    pub(crate) received: Cell<u64>,
    /// Events that were not the next of their channel: lost or doubled ones.
    pub(crate) out_of_order: Cell<u64>,
    /// Answers to a subscription with a position: `recovered`, and not.
    pub(crate) recovered: Cell<u64>,
    pub(crate) not_recovered: Cell<u64>,
    /// From sending to reading, in microseconds.
    pub(crate) ages: RefCell<Vec<u32>>,
    changed: Notify,
}

impl Tally {
    pub(crate) fn add(&self, field: &Cell<u64>) {
        field.set(field.get() + 1);
        self.changed.notify_waiters();
    }

    pub(crate) fn opened(&self, by: isize) {
        self.open.set(self.open.get().saturating_add_signed(by));
        self.changed.notify_waiters();
    }

    pub(crate) async fn until(&self, reached: impl Fn(&Tally) -> bool) {
        loop {
            let changed = self.changed.notified();
            if reached(self) {
                return;
            }
            changed.await;
        }
    }

    pub(crate) fn status(&self) -> Value {
        let mut ages = self.ages.borrow().clone();
        ages.sort_unstable();
        let share = |of: f64| ages.get(((ages.len() as f64 * of) as usize).min(ages.len().saturating_sub(1)));
        json!({
            "open": self.open.get(), "failed": self.failed.get(), "reason": *self.reason.borrow(),
            "received": self.received.get(), "out_of_order": self.out_of_order.get(),
            "recovered": self.recovered.get(), "not_recovered": self.not_recovered.get(),
            "p50_us": share(0.5), "p99_us": share(0.99), "max_us": ages.last(),
        })
    }
}
