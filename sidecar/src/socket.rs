//! The socket file: there is one, it is ours, and nobody else may open it.

use std::fs::{self, DirBuilder, Permissions};
use std::io::{Error, ErrorKind, Result};
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, PermissionsExt};
use std::path::Path;

use tokio::net::{UnixListener, UnixStream};

/// Listens on a socket file of mode 0600. A file that a process left behind is replaced.
///
/// The file is made in a directory of mode 0700 and moved from there, so that there is no moment in which its mode is
/// what the umask makes of it, and no moment without a file.
///
/// # Errors
/// Somebody listens there already, the file is no socket, or the directory cannot be written to. Each names the path.
pub async fn bind(path: &Path) -> Result<UnixListener> {
    let at_path = |error: Error| Error::new(error.kind(), format!("{}: {error}", path.display()));
    check_free(path).await.map_err(at_path)?;
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    // Short, because a socket's path has room for 107 bytes; only this process makes it.
    let staging = parent.join(format!(".{}", std::process::id()));
    DirBuilder::new().mode(0o700).create(&staging).map_err(at_path)?;
    let staged = staging.join("s");
    let listener = UnixListener::bind(&staged).and_then(|listener| {
        fs::set_permissions(&staged, Permissions::from_mode(0o600))?;
        fs::rename(&staged, path)?;
        Ok(listener)
    });
    if listener.is_err() {
        // It may not exist; the error above is the one to tell.
        let _ = fs::remove_file(&staged);
    }
    fs::remove_dir(&staging).map_err(at_path)?;
    listener.map_err(at_path)
}

/// Whether `path` is free: nothing there, or a socket on which nobody listens.
async fn check_free(path: &Path) -> Result<()> {
    let file = match fs::symlink_metadata(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    if !file.file_type().is_socket() {
        return Err(Error::new(
            ErrorKind::AlreadyExists,
            "a file that is no socket; remove it, or give another path",
        ));
    }
    match UnixStream::connect(path).await {
        Err(error) if matches!(error.kind(), ErrorKind::ConnectionRefused | ErrorKind::NotFound) => Ok(()),
        // A queue that is full has a process behind it, too.
        Ok(_) | Err(_) => Err(Error::new(
            ErrorKind::AddrInUse,
            "another process listens here, or may; stop it, or give another path",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_socket_is_its_owners_alone() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("bridge.sock");
        let listener = bind(&path).await.unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1, "nothing else is left");
        let (client, server) = tokio::join!(UnixStream::connect(&path), listener.accept());
        assert!(client.is_ok() && server.is_ok());
    }

    #[tokio::test]
    async fn a_socket_left_behind_is_replaced_but_not_one_in_use() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("bridge.sock");
        let first = bind(&path).await.unwrap();
        let error = bind(&path).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::AddrInUse);
        assert!(error.to_string().contains("bridge.sock: another process listens"), "{error}");
        drop(first);
        let second = bind(&path).await.unwrap();
        let (client, server) = tokio::join!(UnixStream::connect(&path), second.accept());
        assert!(client.is_ok() && server.is_ok());
    }

    #[tokio::test]
    async fn other_files_are_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("bridge.sock");
        fs::write(&path, "precious").unwrap();
        assert_eq!(bind(&path).await.unwrap_err().kind(), ErrorKind::AlreadyExists);
        assert_eq!(fs::read(&path).unwrap(), b"precious");
        let link = directory.path().join("link.sock");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        assert_eq!(bind(&link).await.unwrap_err().kind(), ErrorKind::AlreadyExists);
        let nowhere = directory.path().join("nowhere").join("bridge.sock");
        assert_eq!(bind(&nowhere).await.unwrap_err().kind(), ErrorKind::NotFound);
    }
}
