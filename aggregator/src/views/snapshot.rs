//! Copies of stores: taken while the fold goes on, and brought in where there is no store yet, so that a new node need
//! not read a topic from its beginning. A copy holds the offsets that its rows stand for; the fold goes on from there.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use rusqlite::{Connection, OpenFlags};
use thiserror::Error;

use super::files::{Files, FilesError, remove, rename};
use super::plan::ViewPlan;
use super::store::{StoreError, check, find, outdated, put};
use super::table::leave_files_alone;

/// Why a copy cannot be taken or brought in.
#[derive(Debug, Error)]
pub enum SnapshotError {
    /// The files of the view cannot be used.
    #[error(transparent)]
    Files(#[from] FilesError),
    /// There is something already where the copy should go.
    #[error("`{}` is there already; move it away first", .0.display())]
    Exists(PathBuf),
    /// The copy is of another view, or of other rules.
    #[error("`{}` is no copy of this view: {why}", .path.display())]
    Foreign {
        /// Which file.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// The store is still being built: a copy would lack rows.
    #[error("the view is still being built; take the copy when it is ready")]
    Building,
    /// The system.
    #[error("`{}`: {source}", .path.display())]
    Io {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// SQLite.
    #[error("`{}`: {why}", .path.display())]
    Store {
        /// Which file.
        path: PathBuf,
        /// Why.
        why: String,
    },
}

/// Takes a copy of a view's store. The fold may go on meanwhile; the copy is as of one commit. It is compact, and readable
/// by its owner's rights only as far as the file system has it so.
///
/// # Errors
///
/// If there is no built store, the target is there already, or cannot be written.
pub fn export(files: &Files, target: &Path) -> Result<(), SnapshotError> {
    let source = files.store();
    let failed = |error: StoreError| SnapshotError::Store { path: source.clone(), why: error.to_string() };
    if target.exists() {
        return Err(SnapshotError::Exists(target.to_owned()));
    }
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let db = Connection::open_with_flags(&source, flags).map_err(|error| failed(error.into()))?;
    leave_files_alone(&db).map_err(|error| failed(error.into()))?;
    if !find::<bool>(&db, "built").map_err(failed)?.unwrap_or_default() {
        return Err(SnapshotError::Building);
    }
    // Under another name until it is whole: half a copy must not look like one.
    let mut unfinished = target.as_os_str().to_owned();
    unfinished.push(".unfinished");
    let unfinished = PathBuf::from(unfinished);
    let io = |source| SnapshotError::Io { path: target.to_owned(), source };
    remove(&unfinished).map_err(io)?;
    let Some(name) = unfinished.to_str() else {
        let why = "the path is not UTF-8".to_owned();
        return Err(SnapshotError::Store { path: target.to_owned(), why });
    };
    db.execute("VACUUM INTO ?", [name])
        .map_err(|error| SnapshotError::Store { path: target.to_owned(), why: error.to_string() })?;
    File::open(&unfinished).and_then(|copy| copy.sync_all()).map_err(io)?;
    rename(&unfinished, target).map_err(io)
}

/// Brings a copy in as the store of a view that has none, and is not running.
///
/// # Errors
///
/// If there is a store, another process keeps the view, or the copy is damaged or of other rules.
pub fn import(files: &Files, plan: &ViewPlan, copy: &Path) -> Result<(), SnapshotError> {
    let _lock = files.lock()?;
    if files.store().exists() {
        return Err(SnapshotError::Exists(files.store()));
    }
    let incoming = files.incoming();
    let io = |source| SnapshotError::Io { path: incoming.clone(), source };
    remove(&incoming).map_err(io)?;
    fs::copy(copy, &incoming).map_err(|source| SnapshotError::Io { path: copy.to_owned(), source })?;
    let judged = judge(&incoming, plan);
    if let Err(why) = judged {
        remove(&incoming).map_err(io)?;
        return Err(SnapshotError::Foreign { path: copy.to_owned(), why });
    }
    File::open(&incoming).and_then(|file| file.sync_all()).map_err(io)?;
    rename(&incoming, &files.store()).map_err(io)
}

/// What is wrong with a copy.
fn judge(path: &Path, plan: &ViewPlan) -> Result<(), String> {
    let words = |error: StoreError| error.to_string();
    let db = Connection::open(path).map_err(|error| error.to_string())?;
    check(&db).map_err(words)?;
    if !db.table_exists(None, "meta").map_err(|error| error.to_string())? {
        return Err("it is no store of a view".to_owned());
    }
    if let Some(why) = outdated(&db, plan).map_err(words)? {
        return Err(why);
    }
    if !find::<bool>(&db, "built").map_err(words)?.unwrap_or_default() {
        return Err("it was still being built".to_owned());
    }
    // Letters that the other node has sent are sent.
    put(&db, "closed", &true).map_err(words)?;
    db.close().map_err(|(_, error)| error.to_string())
}
