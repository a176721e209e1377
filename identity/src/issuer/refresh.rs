//! When an unknown key id may ask for a fetch of the keys, and how requests wait for its end.

use std::hash::{BuildHasher, RandomState};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{Notify, watch};

/// The most key ids remembered as asked for in vain; the one that may ask again soonest makes room.
const UNKNOWN_MAX: usize = 64;

/// Whether a token with an unknown key id should wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refresh {
    /// No: its key was asked for in vain a short while ago, or keys were fetched a short while ago. Refuse
    /// it.
    No,
    /// Yes: a fetch is under way or asked for. Look again when [`super::Issuer::refreshed`] completes.
    Wait(Ticket),
}

/// The fetch that somebody waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ticket(u64);

pub(super) struct Refresher {
    cooldown: Duration,
    wait_max: Duration,
    hasher: RandomState,
    state: Mutex<State>,
    wanted: Notify,
    /// Fetches that have ended.
    ended: watch::Sender<u64>,
}

#[derive(Default)]
struct State {
    /// When a fetch was last asked for.
    asked: Option<Instant>,
    /// Whether that fetch has not ended yet.
    pending: bool,
    unknown: Vec<Unknown>,
}

/// A key id that was not in the set.
struct Unknown {
    kid: u64,
    /// The fetch that it asked for or joined.
    ticket: Ticket,
    wait: Duration,
    again: Instant,
}

impl Refresher {
    pub(super) fn new(cooldown: Duration, wait_max: Duration) -> Self {
        Refresher {
            cooldown,
            wait_max: wait_max.max(cooldown),
            hasher: RandomState::new(),
            state: Mutex::default(),
            wanted: Notify::new(),
            ended: watch::Sender::new(0),
        }
    }

    pub(super) fn ask(&self, kid: &str, now: Instant) -> Refresh {
        let kid = self.hasher.hash_one(kid);
        let mut state = self.lock();
        let ticket = Ticket(*self.ended.borrow());
        let known = state.unknown.iter().position(|unknown| unknown.kid == kid);
        if let Some(unknown) = known.map(|index| &state.unknown[index]) {
            if state.pending && unknown.ticket == ticket {
                return Refresh::Wait(ticket);
            }
            if now < unknown.again {
                return Refresh::No;
            }
        }
        let cool = state.asked.is_none_or(|asked| now.saturating_duration_since(asked) >= self.cooldown);
        if !state.pending && !cool {
            return Refresh::No;
        }
        // A fetcher that was stopped in the middle is asked again.
        if cool {
            state.asked = Some(now);
            state.pending = true;
            self.wanted.notify_one();
        }
        let before = known.map(|index| state.unknown.swap_remove(index).wait);
        let wait = before.map_or(self.cooldown, |wait| wait.saturating_mul(2)).min(self.wait_max);
        state.remember(Unknown { kid, ticket, wait, again: now.checked_add(wait).unwrap_or(now) });
        Refresh::Wait(ticket)
    }

    pub(super) async fn requested(&self) {
        self.wanted.notified().await;
    }

    pub(super) fn ended(&self) {
        self.lock().pending = false;
        self.ended.send_modify(|count| *count = count.wrapping_add(1));
    }

    pub(super) async fn wait(&self, ticket: Ticket) {
        // The sender lives in `self`, so waiting cannot fail.
        let _ = self.ended.subscribe().wait_for(|count| *count != ticket.0).await;
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn remember(&mut self, unknown: Unknown) {
        if self.unknown.len() >= UNKNOWN_MAX {
            let soonest = (0..self.unknown.len()).min_by_key(|index| self.unknown[*index].again);
            soonest.map(|index| self.unknown.swap_remove(index));
        }
        self.unknown.push(unknown);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const COOLDOWN: Duration = Duration::from_secs(30);

    fn refresher() -> Refresher {
        Refresher::new(COOLDOWN, Duration::from_secs(100))
    }

    #[test]
    fn many_unknown_keys_share_one_fetch() {
        let refresher = refresher();
        let now = Instant::now();
        let first = refresher.ask("a", now);
        assert!(matches!(first, Refresh::Wait(_)));
        assert_eq!(refresher.ask("a", now), first, "the same key joins");
        assert_eq!(refresher.ask("b", now), first, "another key joins");
        refresher.ended();
        assert_eq!(refresher.ask("a", now), Refresh::No);
        assert_eq!(refresher.ask("c", now + COOLDOWN / 2), Refresh::No, "the issuer's own cooldown");
        assert!(matches!(refresher.ask("c", now + COOLDOWN), Refresh::Wait(_)));
    }

    #[test]
    fn a_key_asked_for_in_vain_asks_ever_more_seldom() {
        let refresher = refresher();
        let start = Instant::now();
        let mut asked = Vec::new();
        for second in 0..400 {
            if let Refresh::Wait(_) = refresher.ask("foreign", start + Duration::from_secs(second)) {
                asked.push(second);
                refresher.ended();
            }
        }
        assert_eq!(asked, [0, 30, 90, 190, 290, 390]);
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let refresher = refresher();
        let now = Instant::now();
        for kid in 0..10 * UNKNOWN_MAX {
            refresher.ask(&kid.to_string(), now);
        }
        assert_eq!(refresher.lock().unknown.len(), UNKNOWN_MAX);
    }

    #[tokio::test]
    async fn the_fetcher_hears_of_one_want_and_every_waiter_of_the_end() {
        let refresher = refresher();
        let now = Instant::now();
        let Refresh::Wait(ticket) = refresher.ask("a", now) else { panic!("the first unknown key waits") };
        refresher.requested().await;
        let waiters = async { tokio::join!(refresher.wait(ticket), refresher.wait(ticket)) };
        let fetcher = async {
            tokio::task::yield_now().await;
            refresher.ended();
        };
        tokio::join!(waiters, fetcher);
        // The fetch ended before the wait began: that completes at once.
        refresher.wait(ticket).await;
    }
}
