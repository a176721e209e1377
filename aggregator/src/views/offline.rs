//! A view that is folded without Kafka: records are given to it one by one. For measurements, and to try rules out.

use std::path::Path;
use std::sync::Arc;

use sallyport_kafka::Record;
use thiserror::Error;

use super::batch::{Outcome, RowChange};
use super::plan::ViewPlan;
use super::poison::Poison;
use super::store::{Opened, Store, StoreError};

/// A view's store, and nothing that reads Kafka.
pub struct Offline {
    store: Store,
}

/// Why a store cannot be used.
#[derive(Debug, Error)]
#[error("{0}")]
pub struct OfflineError(String);

impl From<StoreError> for OfflineError {
    fn from(error: StoreError) -> Self {
        OfflineError(error.to_string())
    }
}

impl Offline {
    /// Opens a store, or makes one. Nobody else may have it open for writing.
    ///
    /// # Errors
    ///
    /// If it is of other rules, damaged, or cannot be opened.
    pub fn open(path: &Path, plan: &Arc<ViewPlan>) -> Result<Offline, OfflineError> {
        match Store::open(path, plan, &[])? {
            Opened::Ready(store) => Ok(Offline { store: *store }),
            Opened::Outdated(why) => Err(OfflineError(why)),
        }
    }

    /// Makes the indexes: from now on the store is as one that queries ask. All that was folded has to be committed.
    ///
    /// # Errors
    ///
    /// Those of the store, after which it has to be opened again.
    pub fn finish(&mut self) -> Result<(), OfflineError> {
        Ok(self.store.set_built()?)
    }

    /// Folds a record: what becomes of it, or why it cannot be folded.
    ///
    /// # Errors
    ///
    /// Those of the store, after which it has to be opened again.
    pub fn fold(&mut self, record: &Record) -> Result<Result<Outcome, Poison>, OfflineError> {
        Ok(self.store.fold(record)?)
    }

    /// Commits what was folded; gives the rows that have changed.
    ///
    /// # Errors
    ///
    /// Those of the store, after which it has to be opened again.
    pub fn commit(&mut self) -> Result<Vec<RowChange>, OfflineError> {
        let mut changes = Vec::new();
        self.store.commit(|change| changes.push(change))?;
        Ok(changes)
    }
}
