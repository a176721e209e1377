//! A sidecar's process from outside: SIGTERM or SIGINT ends it, SIGHUP loads the configuration again.

use std::future::Future;
use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// The signals that a sidecar listens to, from the moment this is made.
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    /// Begins to listen, so that no signal ends a process that has only half started.
    ///
    /// # Errors
    /// The system refuses a handler.
    pub fn new() -> io::Result<Self> {
        Ok(Signals {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    /// Waits until the process is to end. Meanwhile each SIGHUP calls `reload`, one at a time; what became of it goes to
    /// the log: whether anything has changed that concerns the sidecar.
    pub async fn until_stopped<E, F>(mut self, mut reload: impl FnMut() -> F)
    where
        E: std::fmt::Display,
        F: Future<Output = Result<bool, E>>,
    {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => return,
                _ = self.interrupt.recv() => return,
                _ = self.hangup.recv() => match reload().await {
                    Ok(true) => log::info!("the changed configuration is in force"),
                    Ok(false) => log::info!("nothing that concerns this process has changed"),
                    Err(error) => log::error!("the configuration is not loaded: {error}"),
                },
            }
        }
    }
}
