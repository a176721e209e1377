//! A client as the hub sees it: who it is, and what waits to be sent to it. Bounded in bytes, events and replies each for
//! themselves; what happens when the bound of events is reached says the family of the event.
//!
//! How it is connected is not known here: a connection or a stream of server-sent events takes what waits.

mod queue;

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use futures::task::AtomicWaker;
use sallyport_config::ws_bridge::Slow;

use crate::hub::Stored;
use crate::protocol::Close;
use crate::websocket::text_frame;
use queue::{About, Item, Queue};

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

/// A name that nobody can guess: others see it in presence, and nothing is allowed by it.
fn name(id: u64) -> Box<str> {
    format!("{:016x}{:016x}", fastrand::u64(..), id).into_boxed_str()
}

#[cfg(test)]
mod tests;
