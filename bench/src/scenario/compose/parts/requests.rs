//! A number of requests of which none is like another, see the client ([`Pages`](super::super::Pages)).

use anyhow::{Context, Result};

use crate::contest::{Request, Running};
use crate::scenario::own;

/// Requests of one path.
#[derive(Debug, Clone)]
pub(super) struct Requests {
    to: String,
    path: String,
    pub(super) count: u64,
    at_a_time: String,
    /// Bytes of the body of each answer.
    body_bytes: String,
}

impl Requests {
    /// So many requests, of which so many are under way at a time. How long an answer is, the first one tells.
    pub(super) fn new(contestant: &Running, path: &str, count: u64, at_a_time: u32) -> Result<Requests> {
        let first = Request::get(contestant.port, path).send()?;
        anyhow::ensure!(first.status == 200, "{path} is answered with {}", first.status);
        Ok(Requests {
            to: format!("127.0.0.1:{}", contestant.port),
            path: path.to_owned(),
            count,
            at_a_time: at_a_time.to_string(),
            body_bytes: first.body.len().to_string(),
        })
    }

    /// The client's arguments.
    pub(super) fn arguments(&self) -> Vec<String> {
        let count = self.count.to_string();
        let named = [
            ("--to", &self.to),
            ("--path", &self.path),
            ("--count", &count),
            ("--at-a-time", &self.at_a_time),
            ("--bytes", &self.body_bytes),
        ];
        named.into_iter().flat_map(|(name, value)| [name.to_owned(), value.clone()]).collect()
    }

    /// Sends them and waits for all answers; how many a second there were.
    ///
    /// # Errors
    /// An answer was not the right one.
    pub(super) fn send(&self) -> Result<f64> {
        let said = own::load("pages", self.arguments().iter().map(String::as_str))?;
        said["rate"].as_f64().with_context(|| format!("no rate in {said}"))
    }
}
