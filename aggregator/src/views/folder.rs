//! A view that is kept: its reader, its fold and its store, on a thread of its own, so that views do not hold up each other.
//!
//! The thread lives through *lives*: in each it opens the store, reads Kafka from where the store is, and folds. A life ends
//! when the view is stopped, when the store fails, or when it has to be built anew; then the next begins.

use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use log::{error, info, warn};
use sallyport_kafka::{ClusterSettings, DeadLetters, Metrics, Timing};
use thiserror::Error;
use tokio::sync::broadcast;

use super::changes::{Changes, News};
use super::files::{Fate, Files, FilesError, Lock};
use super::life::{End, Life};
use super::metrics::ViewMetrics;
use super::plan::ViewPlan;
use super::queue::Queue;
use super::snapshot::{self, SnapshotError};
use super::status::{Building, ViewStatus};
use super::store::{self, Lettered, StoreError, find};
use super::table;
use super::versions::{Offsets, State, Store as Served, Touched, Versions};

/// Changed rows that wait for a listener; one that falls further behind is told that it has missed some.
const CHANGES_MAX: usize = 4096;

/// The pause after an error of the store: the first, and the longest.
const PAUSES: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(30));

/// What a view needs to be kept.
pub struct ViewParts {
    /// What is to be done.
    pub plan: Arc<ViewPlan>,
    /// The cluster of the plan.
    pub cluster: ClusterSettings,
    /// The folder of all views' stores.
    pub folder: std::path::PathBuf,
    /// Who is told about commits.
    pub versions: Arc<Versions>,
    /// Where records go that cannot be folded, if the plan says so.
    pub dead_letters: Option<DeadLetters>,
    /// The metrics of Kafka.
    pub kafka: Metrics,
    /// The metrics of views.
    pub metrics: ViewMetrics,
    /// How often Kafka is asked, and how long it may take; the default is meant for use.
    pub timing: Timing,
}

/// A view that is kept. It is stopped when it is dropped; [`Folder::stop`] also waits for it.
pub struct Folder {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

/// What others may ask the thread for.
pub(super) struct Shared {
    pub(super) plan: Arc<ViewPlan>,
    pub(super) files: Files,
    pub(super) versions: Arc<Versions>,
    pub(super) changes: broadcast::Sender<News>,
    pub(super) status: Mutex<ViewStatus>,
    stopped: AtomicBool,
    /// The queue of the present life.
    queue: Mutex<Option<Arc<Queue>>>,
    rung: Condvar,
}

/// Why a view could not be started.
#[derive(Debug, Error)]
pub enum ViewError {
    /// Its files cannot be used.
    #[error(transparent)]
    Files(#[from] FilesError),
    /// There is no thread for it.
    #[error("cannot start the thread of a view: {0}")]
    Thread(#[from] io::Error),
}

impl Folder {
    /// Takes the lock of the view's files and starts the thread. Kafka need not answer.
    ///
    /// # Errors
    ///
    /// If another process keeps the view, or the system refuses.
    pub fn start(parts: ViewParts) -> Result<Folder, ViewError> {
        let files = Files::new(&parts.folder, &parts.plan.name);
        let lock = files.lock()?;
        let shared = Arc::new(Shared {
            plan: parts.plan.clone(),
            files,
            versions: parts.versions.clone(),
            changes: broadcast::Sender::new(CHANGES_MAX),
            status: Mutex::default(),
            stopped: AtomicBool::new(false),
            queue: Mutex::new(None),
            rung: Condvar::new(),
        });
        let thread = Lives { shared: shared.clone(), parts, lock, reason: "new", lettered: Vec::new() };
        let name = format!("view-{}", shared.plan.name);
        let guard = Guard(shared.clone());
        let thread = std::thread::Builder::new().name(name).spawn(move || {
            let _guard = guard;
            thread.run();
        })?;
        Ok(Folder { shared, thread: Some(thread) })
    }

    /// How the view is.
    pub fn status(&self) -> ViewStatus {
        self.shared.status().clone()
    }

    /// The rows that change from now on, commit by commit. Nothing is told of rows while a store is being built.
    pub fn changes(&self) -> Changes {
        Changes {
            edition: (&*self.shared.plan.fingerprint).into(),
            versions: self.shared.versions.clone(),
            news: self.shared.changes.subscribe(),
        }
    }

    /// Takes a copy of the store; the fold goes on meanwhile. Blocks as long as it takes to write all of it.
    ///
    /// # Errors
    ///
    /// As [`snapshot::export`].
    pub fn export(&self, target: &Path) -> Result<(), SnapshotError> {
        snapshot::export(&self.shared.files, target)
    }

    /// Stops reading, commits what was folded, and gives the files free.
    pub fn stop(mut self) {
        self.shared.stop();
        if let Some(thread) = self.thread.take() {
            // A panic was told by the thread itself.
            let _ = thread.join();
        }
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        self.shared.stop();
    }
}

impl Shared {
    pub(super) fn status(&self) -> MutexGuard<'_, ViewStatus> {
        locked(&self.status)
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Acquire)
    }

    fn stop(&self) {
        self.stopped.store(true, Ordering::Release);
        let queue = locked(&self.queue);
        if let Some(queue) = &*queue {
            queue.wake();
        }
        self.rung.notify_all();
    }

    pub(super) fn set_queue(&self, queue: Option<Arc<Queue>>) {
        *locked(&self.queue) = queue;
    }

    /// Waits, unless or until the view is stopped.
    fn pause(&self, time: Duration) {
        let queue = locked(&self.queue);
        if !self.is_stopped() {
            drop(self.rung.wait_timeout(queue, time));
        }
    }
}

/// No panic can leave these half changed.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Tells of a thread that ends by a panic: without it, a view that stands still would look like one without events.
struct Guard(Arc<Shared>);

impl Drop for Guard {
    fn drop(&mut self) {
        if std::thread::panicking() {
            error!("view `{}`: its thread has failed; start again", self.0.plan.name);
            self.0.status().failing = Some("its thread has failed; start again".to_owned());
            self.0.versions.set_lag(None);
        }
    }
}

/// What the thread keeps from one life to the next.
struct Lives {
    shared: Arc<Shared>,
    parts: ViewParts,
    #[allow(dead_code, reason = "held, not read: the files are free when the thread has ended")]
    lock: Lock,
    /// Why there is no built store, if there is none.
    reason: &'static str,
    /// Up to where poison records were told, for the store to be made.
    lettered: Lettered,
}

impl Lives {
    fn run(mut self) {
        let (mut pause, longest) = PAUSES;
        while !self.shared.is_stopped() {
            let lived = self.live();
            let name = &self.shared.plan.name;
            let done = match lived {
                Ok(End::Stopped) => Ok(()),
                Ok(End::Anew { reason, why, lettered, fate }) => {
                    warn!("view `{name}` is built anew from Kafka: {why}");
                    self.lettered = lettered;
                    self.set_aside(reason, fate)
                }
                Err(error) if error.is_damage() => {
                    error!("view `{name}`: its store is damaged and set aside: {error}");
                    let committed = self.shared.versions.state();
                    let offsets = committed.offsets.0.iter();
                    self.lettered.extend(
                        offsets.map(|(topic, partition, next)| (topic.to_string(), *partition, *next)),
                    );
                    let building = self.shared.status().building.is_some();
                    self.set_aside("damage", if building { Fate::Useless } else { Fate::Damaged })
                }
                Err(error) => {
                    error!("view `{name}`: {error}; trying again");
                    self.shared.status().failing = Some(error.to_string());
                    self.parts.metrics.errors.with_label_values(&[&**name]).inc();
                    self.shared.pause(pause);
                    pause = (pause * 2).min(longest);
                    continue;
                }
            };
            match done {
                Ok(()) => pause = PAUSES.0,
                Err(error) => {
                    error!(
                        "view `{}`: its store cannot be set aside: {error}; trying again",
                        self.shared.plan.name
                    );
                    self.shared.status().failing = Some(error.to_string());
                    self.shared.pause(pause);
                    pause = (pause * 2).min(longest);
                }
            }
        }
        self.shared.versions.committed(&all(), State::default());
    }

    /// One life, from opening the store to its end.
    fn live(&mut self) -> Result<End, StoreError> {
        let plan = &self.shared.plan;
        let opened = store::Store::open(&self.shared.files.store(), plan, &self.lettered)?;
        let store = match opened {
            store::Opened::Ready(store) => *store,
            store::Opened::Outdated(why) => {
                let (lettered, built) = legacy_of(&self.shared.files.store())?;
                let fate = if built { Fate::Old } else { Fate::Useless };
                return Ok(End::Anew { reason: "fold", why, lettered, fate });
            }
        };
        self.lettered.clear();
        self.shared.status().failing = None;
        if store.facts.built {
            self.shared.status().building = None;
        } else {
            self.shared.status().building = Some(Building { reason: self.reason, thousandths: 0 });
            info!("view `{}` is built from the records that Kafka has ({})", plan.name, self.reason);
            let old = self.old();
            self.shared.versions.committed(&all(), old.unwrap_or_default());
        }
        Life::begin(&self.shared, &self.parts, store)?.run()
    }

    /// The store that was set aside, if its answers are sound: it was whole, its columns are those that queries ask, and
    /// the same people may see the same rows.
    fn old(&self) -> Option<State> {
        let path = self.shared.files.old();
        let db = table::open_for_queries(&path).ok()?;
        let plan = &self.shared.plan;
        let sound = find::<bool>(&db, "built").ok()??
            && find::<i64>(&db, "format").ok()?? == table::FORMAT
            && find::<String>(&db, "shape").ok()?? == store::shape(plan)
            && find::<String>(&db, "visible_to").ok()?? == plan.visible_to.source();
        let offsets = table::read_offsets(&db).ok().filter(|_| sound)?;
        let offsets = offsets.into_iter().map(|(topic, partition, next)| (topic.into(), partition, next));
        info!("view `{}`: answers come from the store before, meanwhile", plan.name);
        let store = Some(Served { path: path.into(), number: Served::next_number() });
        Some(State { store, offsets: Offsets(offsets.collect()), complete: false })
    }

    /// Moves the store out of the way.
    fn set_aside(&mut self, reason: &'static str, fate: Fate) -> io::Result<()> {
        self.shared.versions.committed(&all(), State::default());
        self.parts.metrics.rebuilds.with_label_values(&[&*self.shared.plan.name, reason]).inc();
        self.reason = reason;
        self.shared.files.set_aside(fate)
    }
}

/// Up to where a store, and those before it, have told of poison records; and whether it was whole.
fn legacy_of(path: &Path) -> Result<(Lettered, bool), StoreError> {
    let db = table::open_for_queries(path)?;
    // A store of another format may keep its offsets elsewhere.
    let offsets = table::read_offsets(&db).unwrap_or_default();
    let before = store::lettered(&db).unwrap_or_default();
    let built = find(&db, "built")?.unwrap_or_default();
    Ok((before.into_iter().chain(offsets).collect(), built))
}

fn all() -> Touched {
    let mut touched = Touched::default();
    touched.everything();
    touched
}
