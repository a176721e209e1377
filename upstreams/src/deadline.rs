//! A time limit on a connection that Pingora reads, set from outside while it reads.
//!
//! Pingora 0.9.1 copies one `read_timeout` from the peer when an exchange begins and applies it to each read, of the
//! head and of the body alike. Our routes have a limit for the first byte and one for the whole answer, and these are
//! neither. The obvious way, a socket type of our own below Pingora's stream (`VirtualSocket`), does not do: such a
//! stream has no file descriptor, the pool compares descriptors' peers before it reuses a connection, and so none
//! would ever be reused.
//!
//! So the socket stays Pingora's, and we keep a second descriptor of it. When the limit passes, one thread of ours
//! shuts the connection down through that; Pingora's pending read then ends, and whoever set the limit asks
//! [`Deadline::fired`] why. Cost: one descriptor a connection, one compare-and-swap to set or clear a limit, and a
//! thread that looks through the connections every 25 ms while any limit is set, and sleeps while none is.

use std::fmt;
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use crate::clock::millis;

/// How late a limit may be noticed.
const TICK: Duration = Duration::from_millis(25);

/// The limit has passed and the connection was shut down.
const FIRED: u64 = u64::MAX;
/// The upper 16 bits say which exchange set the limit, the lower 48 when it passes; 0 there means no limit.
const TERM_SHIFT: u32 = 48;
const DUE_MASK: u64 = (1 << TERM_SHIFT) - 1;

/// The time limit of one connection.
pub(crate) struct Deadline {
    word: Arc<AtomicU64>,
    terms: AtomicU16,
    watch: &'static Watch,
    // Only the watch uses it, through a weak reference; it lives here so that it closes with the connection.
    _socket: Arc<TcpStream>,
}

/// The right of one exchange to set limits on a connection. Limits of an earlier exchange are void once a later one
/// has begun, so an exchange that clears its limit late does not clear that of the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Term(u16);

impl Deadline {
    /// Watches the connection that `socket` is a second descriptor of.
    pub(crate) fn new(socket: TcpStream, watch: &'static Watch) -> Self {
        let socket = Arc::new(socket);
        let word = Arc::new(AtomicU64::new(0));
        watch.add(Line { word: word.clone(), socket: Arc::downgrade(&socket) });
        Deadline { word, terms: AtomicU16::new(0), watch, _socket: socket }
    }

    /// Begins an exchange on the connection. No limit is set yet.
    pub(crate) fn begin(&self) -> Term {
        let term = Term(self.terms.fetch_add(1, Ordering::Relaxed).wrapping_add(1));
        let cleared = u64::from(term.0) << TERM_SHIFT;
        self.replace(|word| (word != FIRED).then_some(cleared));
        term
    }

    /// Sets the limit to `after` from `now`, in place of the one before.
    pub(crate) fn arm(&self, term: Term, now: Instant, after: Duration) {
        let due = now.checked_add(after).map_or(DUE_MASK, millis).min(DUE_MASK - 1);
        let word = u64::from(term.0) << TERM_SHIFT | due;
        if self.replace(|old| of_term(old, term).then_some(word)) {
            self.watch.wake();
        }
    }

    /// Clears the limit.
    pub(crate) fn disarm(&self, term: Term) {
        self.replace(|old| of_term(old, term).then_some(old & !DUE_MASK));
    }

    /// Whether a limit has passed and the connection was shut down for it.
    pub(crate) fn fired(&self) -> bool {
        self.word.load(Ordering::SeqCst) == FIRED
    }

    fn replace(&self, new: impl Fn(u64) -> Option<u64>) -> bool {
        self.word.fetch_update(Ordering::SeqCst, Ordering::SeqCst, new).is_ok()
    }
}

fn of_term(word: u64, term: Term) -> bool {
    word != FIRED && word >> TERM_SHIFT == u64::from(term.0)
}

impl fmt::Debug for Deadline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Deadline").field("fired", &self.fired()).finish_non_exhaustive()
    }
}

/// The thread that looks after the deadlines, and how to reach it.
pub(crate) struct Watch {
    arrivals: Mutex<Vec<Line>>,
    asleep: AtomicBool,
    thread: OnceLock<Thread>,
}

struct Line {
    word: Arc<AtomicU64>,
    socket: Weak<TcpStream>,
}

impl Watch {
    /// The one watch of the process; started when first asked for.
    ///
    /// # Errors
    /// The thread could not be started.
    pub(crate) fn shared() -> Result<&'static Watch, &'static str> {
        static SHARED: Watch = Watch {
            arrivals: Mutex::new(Vec::new()),
            asleep: AtomicBool::new(false),
            thread: OnceLock::new(),
        };
        static STARTED: OnceLock<bool> = OnceLock::new();
        let start = || {
            let builder = thread::Builder::new().name("sallyport-deadlines".to_owned());
            builder.spawn(|| SHARED.run()).map(|handle| SHARED.thread.set(handle.thread().clone())).is_ok()
        };
        if *STARTED.get_or_init(start) {
            Ok(&SHARED)
        } else {
            Err("the thread for deadlines could not be started")
        }
    }

    fn add(&self, line: Line) {
        self.arrivals.lock().unwrap_or_else(PoisonError::into_inner).push(line);
        self.wake();
    }

    /// Wakes the thread if it sleeps without end. The limit was stored before this load and the thread says that it
    /// sleeps before it looks a last time, all sequentially consistent: one of the two sees the other.
    fn wake(&self) {
        if self.asleep.load(Ordering::SeqCst)
            && self.asleep.swap(false, Ordering::SeqCst)
            && let Some(thread) = self.thread.get()
        {
            thread.unpark();
        }
    }

    fn run(&self) {
        let _ = self.thread.set(thread::current());
        let mut lines = Vec::new();
        loop {
            self.receive(&mut lines);
            if let Some(due) = sweep(&mut lines, millis(Instant::now())) {
                let left = Duration::from_millis(due.saturating_sub(millis(Instant::now())).max(1));
                thread::park_timeout(left.min(TICK));
                continue;
            }
            self.asleep.store(true, Ordering::SeqCst);
            self.receive(&mut lines);
            if sweep(&mut lines, millis(Instant::now())).is_none() && self.asleep.load(Ordering::SeqCst) {
                thread::park();
            }
            self.asleep.store(false, Ordering::SeqCst);
        }
    }

    fn receive(&self, lines: &mut Vec<Line>) {
        lines.append(&mut self.arrivals.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

/// Shuts down what is due and forgets connections that are gone. The next limit to pass, if any is set.
fn sweep(lines: &mut Vec<Line>, now_millis: u64) -> Option<u64> {
    let mut next = None;
    lines.retain(|line| {
        if Arc::strong_count(&line.word) == 1 {
            return false;
        }
        let word = line.word.load(Ordering::SeqCst);
        let due = word & DUE_MASK;
        if word == FIRED {
            return false;
        }
        if due == 0 {
            return true;
        }
        if due > now_millis {
            next = Some(next.map_or(due, |next: u64| next.min(due)));
            return true;
        }
        // Only the limit that was seen may fire: if it was replaced meanwhile, the next sweep looks at the new one.
        if line.word.compare_exchange(word, FIRED, Ordering::SeqCst, Ordering::SeqCst).is_err() {
            next = Some(now_millis);
            return true;
        }
        if let Some(socket) = line.socket.upgrade() {
            // It fails only if the other side has closed already, which ends the read as well.
            let _ = socket.shutdown(Shutdown::Both);
        }
        false
    });
    next
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::net::TcpListener;

    use super::*;

    fn pair() -> (TcpStream, Deadline, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (far, _) = listener.accept().unwrap();
        let deadline = Deadline::new(near.try_clone().unwrap(), Watch::shared().unwrap());
        (near, deadline, far)
    }

    #[test]
    fn a_read_that_waits_ends_when_the_limit_passes() {
        let (mut near, deadline, _far) = pair();
        let term = deadline.begin();
        deadline.arm(term, Instant::now(), Duration::from_millis(5));
        assert_eq!(near.read(&mut [0; 1]).unwrap(), 0);
        assert!(deadline.fired());
    }

    #[test]
    fn the_watch_wakes_from_its_sleep() {
        for _ in 0..20 {
            let (mut near, deadline, _far) = pair();
            // As a rule it sleeps then; other tests may keep it awake.
            for _ in 0..10_000 {
                if deadline.watch.asleep.load(Ordering::SeqCst) {
                    break;
                }
                thread::yield_now();
            }
            let term = deadline.begin();
            deadline.arm(term, Instant::now(), Duration::ZERO);
            assert_eq!(near.read(&mut [0; 1]).unwrap(), 0);
        }
    }

    #[test]
    fn a_cleared_limit_does_not_fire() {
        let (mut near, deadline, far) = pair();
        let term = deadline.begin();
        deadline.arm(term, Instant::now(), Duration::from_millis(1));
        deadline.disarm(term);
        if deadline.fired() {
            return; // The machine stalled between the two lines; nothing can be said.
        }
        // Another connection's limit, set later, passes: the watch has looked at both.
        let (mut other, later, _other_far) = pair();
        let other_term = later.begin();
        later.arm(other_term, Instant::now(), Duration::from_millis(30));
        assert_eq!(other.read(&mut [0; 1]).unwrap(), 0);
        drop(far);
        assert_eq!(near.read(&mut [0; 1]).unwrap(), 0, "ended by the far side");
        assert!(!deadline.fired());
    }

    #[test]
    fn an_earlier_exchange_neither_clears_nor_sets_the_limit_of_a_later_one() {
        let (mut near, deadline, _far) = pair();
        let earlier = deadline.begin();
        let later = deadline.begin();
        deadline.arm(later, Instant::now(), Duration::from_millis(5));
        deadline.disarm(earlier);
        deadline.arm(earlier, Instant::now(), Duration::from_secs(3600));
        assert_eq!(near.read(&mut [0; 1]).unwrap(), 0);
        assert!(deadline.fired());
    }

    #[test]
    fn what_has_fired_stays_fired() {
        let (mut near, deadline, _far) = pair();
        let term = deadline.begin();
        deadline.arm(term, Instant::now(), Duration::ZERO);
        assert_eq!(near.read(&mut [0; 1]).unwrap(), 0);
        let next = deadline.begin();
        deadline.arm(next, Instant::now(), Duration::from_secs(3600));
        deadline.disarm(next);
        assert!(deadline.fired());
    }

    #[test]
    fn a_connection_that_is_gone_is_forgotten() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let socket = Arc::new(TcpStream::connect(listener.local_addr().unwrap()).unwrap());
        let word = Arc::new(AtomicU64::new(7));
        let mut lines = vec![Line { word: word.clone(), socket: Arc::downgrade(&socket) }];
        assert_eq!(sweep(&mut lines, 6), Some(7), "due at 7, not before");
        drop((word, socket));
        assert_eq!(sweep(&mut lines, 8), None);
        assert!(lines.is_empty());
    }
}
