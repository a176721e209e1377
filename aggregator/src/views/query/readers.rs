//! Threads that ask stores: a few, each with connections of its own, behind one queue with an end. SQLite waits for disks,
//! so that no thread of the runtime may ask it.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use log::warn;
use rusqlite::Connection;
use rusqlite::functions::FunctionFlags;
use tokio::sync::oneshot;

use super::execute::Fault;
use super::refusal::Refusal;
use super::sql::ROW_HOLDS;
use super::statement::Parts;
use crate::views::table::open_for_queries;
use crate::views::versions::Store;

/// Queries that wait for a thread. One more gets 503.
const QUEUE_MAX: usize = 1024;
/// Threads, if there are as many processors.
const THREADS_MAX: usize = 8;
/// Connections of a thread; of more, those not used for longest are closed.
const CONNECTIONS_MAX: usize = 32;
/// How long a connection stays open without a query. One to a store that was replaced keeps its file on the disk.
const IDLE: Duration = Duration::from_secs(30);
/// Bytes of a store's pages that a connection keeps, in KiB. What it has not goes to the system's cache.
const CACHE_KIB: i64 = 4096;
/// Instructions of SQLite between two looks at the clock: some tens of microseconds.
const INSTRUCTIONS: i32 = 2000;

/// Threads that ask stores. They end when this goes.
#[derive(Debug)]
pub(super) struct Readers {
    queue: Arc<Queue>,
}

#[derive(Debug, Default)]
struct Queue {
    waiting: Mutex<Waiting>,
    more: Condvar,
}

#[derive(Debug, Default)]
struct Waiting {
    jobs: VecDeque<Job>,
    closed: bool,
}

type Work = Box<dyn FnOnce(Result<&Connection, Fault>) + Send>;

struct Job {
    store: Store,
    parts: Arc<Parts>,
    until: Until,
    work: Work,
}

impl std::fmt::Debug for Job {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Job").field("store", &self.store).finish_non_exhaustive()
    }
}

/// When a query has to end, if the client does not leave before.
#[derive(Debug, Clone)]
struct Until {
    deadline: Instant,
    gone: Arc<AtomicBool>,
}

impl Until {
    fn is_over(&self) -> bool {
        self.gone.load(Ordering::Relaxed) || Instant::now() >= self.deadline
    }
}

/// Tells the thread that nobody waits any more.
struct Interest(Arc<AtomicBool>);

impl Drop for Interest {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Readers {
    /// Starts the threads.
    ///
    /// # Errors
    ///
    /// If the system gives no thread.
    pub(super) fn start() -> std::io::Result<Self> {
        let queue = Arc::new(Queue::default());
        let readers = Readers { queue: queue.clone() };
        let threads = thread::available_parallelism().map_or(2, usize::from).clamp(2, THREADS_MAX);
        for number in 0..threads {
            let queue = queue.clone();
            thread::Builder::new().name(format!("view-query-{number}")).spawn(move || work(&queue))?;
        }
        Ok(readers)
    }

    /// Asks a store, within a time from now, waiting included.
    pub(super) async fn ask<T: Send + 'static>(
        &self,
        store: &Store,
        parts: Arc<Parts>,
        timeout: Duration,
        question: impl FnOnce(&Connection) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, Fault> {
        let (tell, told) = oneshot::channel();
        let gone = Arc::new(AtomicBool::new(false));
        // Dropped with this future: when the client leaves, too.
        let _interest = Interest(gone.clone());
        let deadline = Instant::now() + timeout;
        let until = Until { deadline, gone };
        let work: Work = Box::new(move |connection| {
            // Nobody may wait any more.
            let _ = tell.send(connection.and_then(question));
        });
        self.queue.push(Job { store: store.clone(), parts, until, work })?;
        match tokio::time::timeout(timeout, told).await {
            Ok(Ok(result)) => result,
            // Passed over by its thread, for being too late.
            Ok(Err(_)) if Instant::now() >= deadline => Err(Fault::Refused(Refusal::too_slow())),
            Ok(Err(_)) => {
                Err(Fault::Refused(Refusal::unavailable("view-unavailable", "the view is being closed")))
            }
            Err(_) => Err(Fault::Refused(Refusal::too_slow())),
        }
    }
}

impl Drop for Readers {
    fn drop(&mut self) {
        let mut waiting = self.queue.lock();
        waiting.closed = true;
        waiting.jobs.clear();
        drop(waiting);
        self.queue.more.notify_all();
    }
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, job: Job) -> Result<(), Fault> {
        let mut waiting = self.lock();
        if waiting.jobs.len() >= QUEUE_MAX {
            return Err(Fault::Refused(Refusal::unavailable(
                "too-many-queries",
                "too many queries are waiting",
            )));
        }
        waiting.jobs.push_back(job);
        drop(waiting);
        self.more.notify_one();
        Ok(())
    }

    /// The next job; `None` after a while without one. The outer `None` is the end.
    fn next(&self) -> Option<Option<Job>> {
        let waiting = self.lock();
        let idle = |waiting: &mut Waiting| waiting.jobs.is_empty() && !waiting.closed;
        let (mut waiting, _) =
            self.more.wait_timeout_while(waiting, IDLE, idle).unwrap_or_else(PoisonError::into_inner);
        (!waiting.closed).then(|| waiting.jobs.pop_front())
    }
}

/// One thread.
fn work(queue: &Queue) {
    let mut readers: Vec<Reader> = Vec::new();
    while let Some(job) = queue.next() {
        if let Some(job) = job.filter(|job| !job.until.is_over()) {
            let reader =
                position(&mut readers, &job.store).and_then(|at| readers.get_mut(at).ok_or(Fault::Row));
            match reader {
                Ok(reader) => reader.run(job),
                Err(fault) => (job.work)(Err(fault)),
            }
        }
        let now = Instant::now();
        readers.retain(|reader| now.duration_since(reader.used) < IDLE);
    }
}

/// Where the connection to a store is; opens it if there is none.
fn position(readers: &mut Vec<Reader>, store: &Store) -> Result<usize, Fault> {
    if let Some(at) = readers.iter().position(|reader| reader.store == *store) {
        return Ok(at);
    }
    // Its file may be gone; nobody asks it any more.
    readers.retain(|reader| reader.store.path != store.path);
    if readers.len() >= CONNECTIONS_MAX {
        let oldest = (0..readers.len()).min_by_key(|at| readers.get(*at).map(|reader| reader.used));
        oldest.map(|at| readers.swap_remove(at));
    }
    readers.push(Reader::open(store)?);
    Ok(readers.len() - 1)
}

/// The query that is being carried out.
type Now = Mutex<Option<(Arc<Parts>, Until)>>;

/// A connection, and what its function and its clock look at.
struct Reader {
    store: Store,
    connection: Connection,
    now: Arc<Now>,
    used: Instant,
}

impl Reader {
    fn open(store: &Store) -> Result<Self, Fault> {
        let connection = open(&store.path)?;
        let now: Arc<Now> = Arc::default();
        let asked = now.clone();
        add_row_holds(&connection, move |part, doc| {
            let now = asked.lock().unwrap_or_else(PoisonError::into_inner);
            now.as_ref().is_some_and(|(parts, _)| parts.holds(part, doc))
        })?;
        let clock = now.clone();
        connection.progress_handler(
            INSTRUCTIONS,
            Some(move || {
                let now = clock.lock().unwrap_or_else(PoisonError::into_inner);
                now.as_ref().is_some_and(|(_, until)| until.is_over())
            }),
        );
        Ok(Reader { store: store.clone(), connection, now, used: Instant::now() })
    }

    fn run(&mut self, job: Job) {
        let set = |now| *self.now.lock().unwrap_or_else(PoisonError::into_inner) = now;
        set(Some((job.parts, job.until)));
        let work = std::panic::AssertUnwindSafe(|| (job.work)(Ok(&self.connection)));
        // A query that panics costs its client an answer, not everybody a thread.
        if std::panic::catch_unwind(work).is_err() {
            warn!("a query of a view failed in a way that it never should");
        }
        set(None);
        self.used = Instant::now();
    }
}

/// Opens a store as queries do.
fn open(path: &Path) -> rusqlite::Result<Connection> {
    let connection = open_for_queries(path)?;
    connection.pragma_update(None, "cache_size", -CACHE_KIB)?;
    Ok(connection)
}

/// Adds the function that asks parts of `visible_to`.
pub(super) fn add_row_holds(
    connection: &Connection,
    holds: impl Fn(usize, &[u8]) -> bool + Send + 'static,
) -> rusqlite::Result<()> {
    let flags =
        FunctionFlags::SQLITE_UTF8 | FunctionFlags::SQLITE_DETERMINISTIC | FunctionFlags::SQLITE_DIRECTONLY;
    connection.create_scalar_function(ROW_HOLDS, 2, flags, move |context| {
        let part: i64 = context.get(0)?;
        let doc = context.get_raw(1).as_bytes()?;
        Ok(usize::try_from(part).is_ok_and(|part| holds(part, doc)))
    })
}
