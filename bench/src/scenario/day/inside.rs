//! How long requests were in the edge itself, by its access log: from the complete head to the end, without the time until the
//! service's answer began.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Seek, SeekFrom};
use std::path::Path;

use anyhow::{Context, Result};
use serde::Deserialize;

use super::plan::{KINDS, Kind};
use crate::scenario::pace::share;

/// What of a line is needed.
#[derive(Deserialize)]
struct Line {
    method: String,
    path: String,
    #[serde(default)]
    upstream: String,
    took_ms: f64,
    upstream_ms: Option<f64>,
}

/// Milliseconds of each kind that were spent in the edge: the middle one, and all but the slowest 1 %.
pub(super) type Inside = HashMap<&'static str, (f64, f64)>;

/// Reads the log from a place that it had reached before. What is answered by the edge itself, and what its aggregator composes,
/// says nothing of services and is left out; so are bodies that take a while, because most of that is the client's and the service's.
pub(super) fn read(log: &Path, from: u64) -> Result<Inside> {
    let mut file = File::open(log).with_context(|| format!("cannot read {}", log.display()))?;
    file.seek(SeekFrom::Start(from))?;
    let mut times: HashMap<&'static str, Vec<f64>> = HashMap::new();
    for line in BufReader::new(file).lines() {
        let line: Line = serde_json::from_str(&line?)?;
        if let (Some(kind), Some(upstream)) = (kind(&line), line.upstream_ms) {
            times.entry(kind).or_default().push((line.took_ms - upstream).max(0.0));
        }
    }
    let summary = times.into_iter().filter_map(|(kind, mut times)| {
        times.sort_by(f64::total_cmp);
        Some((kind, (share(&times, 0.5)?, share(&times, 0.99)?)))
    });
    Ok(summary.collect())
}

/// The name of the kind that a line is of.
fn kind(line: &Line) -> Option<&'static str> {
    let kind = match (line.method.as_str(), line.path.as_str(), line.upstream.as_str()) {
        (_, _, "aggregator" | "ws-bridge" | "") => return None,
        ("GET", "/live/session", _) => Kind::Login,
        ("GET", "/v1/batches", _) => Kind::Batches,
        ("POST", "/v1/batches", _) => Kind::Register,
        ("GET", path, _) if path.starts_with("/v1/batches/") => Kind::Batch,
        ("GET", path, _) if path.starts_with("/v1/results/") => Kind::Results,
        _ => return None,
    };
    KINDS.iter().find(|(is, _)| *is == kind).map(|(_, name)| *name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_time_beside_the_service_counts() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("access.log");
        let line = |method: &str, path: &str, more: &str| {
            format!("{{\"method\":\"{method}\",\"path\":\"{path}\",{more}}}\n")
        };
        let before = line("GET", "/v1/batches", r#""upstream":"batches","took_ms":900.0,"upstream_ms":1.0"#);
        let counted = [
            line("GET", "/v1/batches", r#""upstream":"batches","took_ms":3.0,"upstream_ms":2.5"#),
            line("GET", "/v1/batches", r#""upstream":"batches","took_ms":3.0,"upstream_ms":2.0"#),
            line("POST", "/v1/batches", r#""upstream":"batches","took_ms":2.0,"upstream_ms":2.0"#),
            line("GET", "/v1/overview", r#""upstream":"aggregator","took_ms":9.0,"upstream_ms":2.0"#),
            line("GET", "/v1/batches", r#""took_ms":7.0"#),
        ];
        std::fs::write(&log, format!("{before}{}", counted.concat())).unwrap();
        let inside = read(&log, before.len() as u64).unwrap();
        assert_eq!(inside, HashMap::from([("list", (0.5, 1.0)), ("register", (0.0, 0.0))]));
    }
}
