//! What is asked for again and again, whatever asks.

use std::path::PathBuf;

/// One kind of request, and what its answers have to be.
#[derive(Debug, Clone)]
pub struct Calls {
    /// Where to, on loopback.
    pub port: u16,
    /// What is asked for with `GET`.
    pub path: String,
    /// Bytes that the body of every answer has to have.
    pub body_bytes: u64,
    /// A file of tokens, one a line, that take turns as `Authorization: Bearer TOKEN`.
    pub tokens: Option<PathBuf>,
    /// A file of hosts and paths, `HOST PATH` a line, that take turns in place of `path`.
    pub targets: Option<PathBuf>,
    /// Further header fields of every request.
    pub fields: Vec<(String, String)>,
}

impl Calls {
    /// `GET` of a path without tokens.
    pub fn get(port: u16, path: &str, body_bytes: u64) -> Calls {
        Calls { port, path: path.to_owned(), body_bytes, tokens: None, targets: None, fields: Vec::new() }
    }
}
