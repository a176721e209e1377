//! The access log: one JSON line an exchange, put into a buffer on the request path and written by a thread.
//!
//! A line costs no system call and no wake-up: the thread looks at the buffer many times a second. When the disk or pipe is
//! slower than the traffic, lines are dropped and counted; the traffic never waits. What a line says is in `line`.

mod line;

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use prometheus::IntCounter;

pub(crate) use line::Line;

/// Bytes that may wait to be written.
const WAITING_BYTES_MAX: usize = 8 * 1024 * 1024;
const WRITE_EVERY: Duration = Duration::from_millis(50);

/// The log. Dropping it writes what waits.
pub(crate) struct AccessLog {
    shared: Option<Arc<Shared>>,
    dropped: IntCounter,
    thread: Mutex<Option<JoinHandle<()>>>,
}

struct Shared {
    inner: Mutex<Inner>,
    wake: Condvar,
}

struct Inner {
    waiting: Vec<u8>,
    out: Out,
    closing: bool,
}

/// Where lines go.
#[derive(Debug)]
enum Out {
    Stdout,
    Stderr,
    File(Arc<File>),
}

impl AccessLog {
    /// Opens the log: `stdout`, `stderr`, `off`, or a file's path relative to `base`.
    ///
    /// # Errors
    /// The file cannot be opened for appending.
    pub(crate) fn open(destination: &str, base: &Path, dropped: IntCounter) -> io::Result<AccessLog> {
        let Some(out) = Out::open(destination, base)? else {
            return Ok(AccessLog { shared: None, dropped, thread: Mutex::new(None) });
        };
        let inner = Inner { waiting: Vec::new(), out, closing: false };
        let shared = Arc::new(Shared { inner: Mutex::new(inner), wake: Condvar::new() });
        let of_thread = shared.clone();
        let thread =
            std::thread::Builder::new().name("access-log".into()).spawn(move || of_thread.write_all())?;
        Ok(AccessLog { shared: Some(shared), dropped, thread: Mutex::new(Some(thread)) })
    }

    /// Opens the destination again, after a rotation for instance. A log that is off stays off.
    ///
    /// # Errors
    /// The file cannot be opened; the old one stays in use.
    pub(crate) fn reopen(&self, destination: &str, base: &Path) -> io::Result<()> {
        if let (Some(shared), Some(out)) = (&self.shared, Out::open(destination, base)?) {
            shared.lock().out = out;
        }
        Ok(())
    }

    /// Whether lines are wanted at all.
    pub(crate) fn is_on(&self) -> bool {
        self.shared.is_some()
    }

    /// Puts a line into the buffer.
    pub(crate) fn write(&self, line: &Line<'_>) {
        let Some(shared) = &self.shared else { return };
        let mut inner = shared.lock();
        if inner.waiting.len() >= WAITING_BYTES_MAX {
            self.dropped.inc();
            return;
        }
        line.write(&mut inner.waiting);
    }
}

impl Drop for AccessLog {
    fn drop(&mut self) {
        if let Some(shared) = &self.shared {
            shared.lock().closing = true;
            shared.wake.notify_all();
        }
        if let Some(thread) = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take() {
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write_all(&self) {
        let mut batch = Vec::new();
        loop {
            let mut inner = self.lock();
            if inner.waiting.is_empty() && !inner.closing {
                inner = self.wake.wait_timeout(inner, WRITE_EVERY).unwrap_or_else(PoisonError::into_inner).0;
            }
            std::mem::swap(&mut batch, &mut inner.waiting);
            let closing = inner.closing;
            let out = inner.out.duplicate();
            drop(inner);
            if !batch.is_empty() {
                if let Err(error) = out.write_all(&batch) {
                    log::error!("cannot write the access log: {error}");
                }
                batch.clear();
                // Gathers the next lines instead of waking for each.
                if !closing {
                    std::thread::sleep(WRITE_EVERY);
                }
            } else if closing {
                return;
            }
        }
    }
}

impl Out {
    fn open(destination: &str, base: &Path) -> io::Result<Option<Out>> {
        Ok(match destination {
            "off" => None,
            "stdout" => Some(Out::Stdout),
            "stderr" => Some(Out::Stderr),
            path => {
                let file = OpenOptions::new().create(true).append(true).open(base.join(path))?;
                Some(Out::File(Arc::new(file)))
            }
        })
    }

    fn duplicate(&self) -> Out {
        match self {
            Out::Stdout => Out::Stdout,
            Out::Stderr => Out::Stderr,
            Out::File(file) => Out::File(file.clone()),
        }
    }

    fn write_all(&self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Out::Stdout => io::stdout().write_all(bytes),
            Out::Stderr => io::stderr().write_all(bytes),
            Out::File(file) => (&**file).write_all(bytes),
        }
    }
}
