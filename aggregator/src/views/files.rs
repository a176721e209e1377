//! The files of a view: its store, the one before, and the lock that keeps a second process away.

use std::fs::{self, DirBuilder, File, TryLockError};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use thiserror::Error;

/// Where the files of a view are: `<folder>/<name>.sqlite`, and beside it.
#[derive(Debug, Clone)]
pub struct Files {
    folder: PathBuf,
    name: Box<str>,
}

/// Why the files of a view cannot be used.
#[derive(Debug, Error)]
pub enum FilesError {
    /// Somebody else has them.
    #[error(
        "the view `{view}` in `{folder}` is kept by another process{owner}; each needs a state folder of its own"
    )]
    Taken {
        /// The view.
        view: Box<str>,
        /// The folder.
        folder: PathBuf,
        /// Which, if it is known.
        owner: String,
    },
    /// The system.
    #[error("`{path}`: {source}")]
    Io {
        /// Which file or folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// The right to write the files. It ends with this value, or with the process.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

/// What becomes of a store that is not gone on with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// It is whole: its answers may serve until there is a new one.
    Old,
    /// Somebody may want to see what is wrong with it.
    Damaged,
    /// It was never whole.
    Useless,
    /// What it was made of is no more, nor what the one before was made of.
    Void,
}

/// What SQLite keeps beside a file: the write-ahead log and its index.
const BESIDE: [&str; 3] = ["", "-wal", "-shm"];

impl Files {
    /// The files of a view in a folder.
    pub fn new(folder: &Path, view: &str) -> Files {
        Files { folder: folder.to_owned(), name: view.into() }
    }

    /// The store.
    pub fn store(&self) -> PathBuf {
        self.folder.join(format!("{}.sqlite", self.name))
    }

    /// The store that was set aside last.
    pub fn old(&self) -> PathBuf {
        self.folder.join(format!("{}.sqlite.old", self.name))
    }

    /// The store that was found damaged last.
    pub fn damaged(&self) -> PathBuf {
        self.folder.join(format!("{}.sqlite.damaged", self.name))
    }

    /// A store that is being brought in.
    pub(super) fn incoming(&self) -> PathBuf {
        self.folder.join(format!("{}.sqlite.new", self.name))
    }

    /// Makes the folder, which only its owner may look into, and takes the lock.
    ///
    /// # Errors
    ///
    /// If another process has it, or the system refuses.
    pub fn lock(&self) -> Result<Lock, FilesError> {
        // Rows are for those whom `visible_to` names, not for whoever has an account on the machine.
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&self.folder)
            .map_err(|source| FilesError::Io { path: self.folder.clone(), source })?;
        let path = self.folder.join(format!("{}.lock", self.name));
        let failed = |source| FilesError::Io { path: path.clone(), source };
        let mut file = File::options()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(&path)
            .map_err(failed)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut owner = String::new();
                // Only for the message.
                let _ = file.take(32).read_to_string(&mut owner);
                let owner = owner.trim();
                let owner = if owner.is_empty() { String::new() } else { format!(", {owner}") };
                return Err(FilesError::Taken {
                    view: self.name.clone(),
                    folder: self.folder.clone(),
                    owner,
                });
            }
            Err(TryLockError::Error(source)) => return Err(failed(source)),
        }
        let note = |file: &mut File| {
            file.set_len(0)?;
            file.rewind()?;
            write!(file, "process {}", std::process::id())
        };
        note(&mut file).map_err(failed)?;
        Ok(Lock { _file: file })
    }

    /// Moves the store out of the way. Nobody may have it open for writing.
    ///
    /// # Errors
    ///
    /// Those of the system.
    pub(super) fn set_aside(&self, fate: Fate) -> io::Result<()> {
        let target = match fate {
            Fate::Old => self.old(),
            Fate::Damaged => self.damaged(),
            Fate::Void => {
                remove(&self.old())?;
                return remove(&self.store());
            }
            Fate::Useless => return remove(&self.store()),
        };
        remove(&target)?;
        rename(&self.store(), &target)
    }
}

/// Removes a store, if it is there.
///
/// # Errors
///
/// Those of the system.
pub(super) fn remove(store: &Path) -> io::Result<()> {
    // The log first: without its file it means nothing, the file without its log would be an older state.
    for beside in BESIDE.iter().rev() {
        match fs::remove_file(with(store, beside)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

/// Renames a store that nobody has open for writing.
///
/// # Errors
///
/// Those of the system.
pub(super) fn rename(from: &Path, to: &Path) -> io::Result<()> {
    for beside in BESIDE {
        match fs::rename(with(from, beside), with(to, beside)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

fn with(store: &Path, beside: &str) -> PathBuf {
    let mut name = store.as_os_str().to_owned();
    name.push(beside);
    name.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_process_at_a_time_keeps_a_view() {
        let folder = tempfile::tempdir().unwrap();
        let files = Files::new(&folder.path().join("a/b"), "batches");
        let lock = files.lock().unwrap();
        let refused = files.lock().unwrap_err().to_string();
        let expected = format!("is kept by another process, process {}", std::process::id());
        assert!(refused.contains(&expected), "{refused}");
        Files::new(&folder.path().join("a/b"), "another").lock().unwrap();
        drop(lock);
        files.lock().unwrap();
    }

    #[test]
    fn one_store_is_kept_aside() {
        let folder = tempfile::tempdir().unwrap();
        let files = Files::new(folder.path(), "v");
        files.set_aside(Fate::Old).unwrap();
        for generation in ["1", "2"] {
            fs::write(files.store(), generation).unwrap();
            fs::write(folder.path().join("v.sqlite-wal"), generation).unwrap();
            files.set_aside(Fate::Old).unwrap();
            assert!(!files.store().exists());
            assert_eq!(fs::read_to_string(files.old()).unwrap(), generation);
            assert_eq!(fs::read_to_string(folder.path().join("v.sqlite.old-wal")).unwrap(), generation);
        }
        fs::write(files.store(), "3").unwrap();
        files.set_aside(Fate::Old).unwrap();
        assert!(
            !folder.path().join("v.sqlite.old-wal").exists(),
            "the log of the one before would be taken for its own"
        );
        fs::write(files.store(), "4").unwrap();
        files.set_aside(Fate::Damaged).unwrap();
        assert!(files.old().exists() && files.damaged().exists() && !files.store().exists());
        fs::write(files.store(), "5").unwrap();
        files.set_aside(Fate::Useless).unwrap();
        assert!(files.old().exists() && !files.store().exists());
        fs::write(files.store(), "6").unwrap();
        files.set_aside(Fate::Void).unwrap();
        assert!(!files.old().exists() && !files.store().exists());
    }
}
