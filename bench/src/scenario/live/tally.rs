//! What the clients have seen.

use std::cell::{Cell, RefCell};

use serde_json::{Value, json};
use tokio::sync::Notify;

use crate::scenario::pace::share;

/// Of all clients together.
#[derive(Default)]
pub(super) struct Tally {
    /// Clients that are subscribed now.
    pub(super) open: Cell<usize>,
    /// Connections that failed or were ended by the server.
    pub(super) failed: Cell<u64>,
    /// The last reason why one did.
    pub(super) reason: RefCell<String>,
    /// Events, those of recoveries included.
    pub(super) received: Cell<u64>,
    /// Events that were not the next of their channel: lost or doubled ones.
    pub(super) out_of_order: Cell<u64>,
    /// Answers to a subscription with a position: `recovered`, and not.
    pub(super) recovered: Cell<u64>,
    pub(super) not_recovered: Cell<u64>,
    /// From sending to reading, in microseconds.
    pub(super) ages: RefCell<Vec<u32>>,
    changed: Notify,
}

impl Tally {
    pub(super) fn add(&self, field: &Cell<u64>) {
        field.set(field.get() + 1);
        self.changed.notify_waiters();
    }

    pub(super) fn opened(&self, by: isize) {
        self.open.set(self.open.get().saturating_add_signed(by));
        self.changed.notify_waiters();
    }

    pub(super) async fn until(&self, reached: impl Fn(&Tally) -> bool) {
        loop {
            let changed = self.changed.notified();
            if reached(self) {
                return;
            }
            changed.await;
        }
    }

    pub(super) fn status(&self) -> Value {
        let mut ages = self.ages.borrow().clone();
        ages.sort_unstable();
        json!({
            "open": self.open.get(), "failed": self.failed.get(), "reason": *self.reason.borrow(),
            "received": self.received.get(), "out_of_order": self.out_of_order.get(),
            "recovered": self.recovered.get(), "not_recovered": self.not_recovered.get(),
            "p50_us": share(&ages, 0.5), "p99_us": share(&ages, 0.99), "max_us": ages.last(),
        })
    }
}
