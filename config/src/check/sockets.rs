//! Paths of Unix sockets.

use crate::located::Located;
use crate::report::Report;

/// The longest path of a socket as written, in bytes: a whole path has room for 107.
const SOCKET_BYTES_MAX: usize = 100;

/// Checks a path; `example` is one that can be.
pub(super) fn check(socket: &Located<String>, example: &str, report: &mut Report) {
    if socket.is_empty() || socket.ends_with('/') || socket.contains('\0') {
        let hint =
            format!("such as `{example}`, relative to this file, or `/run/sallyport/{}`", name(example));
        report.error(socket.at, format!("`{}` is not the path of a socket", socket.value)).hint(hint);
    } else if socket.len() > SOCKET_BYTES_MAX {
        report
            .error(
                socket.at,
                format!("the path of a socket has at most {SOCKET_BYTES_MAX} bytes, found {}", socket.len()),
            )
            .hint("the system allows no more; use a folder near the root, such as `/run`");
    }
}

fn name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}
