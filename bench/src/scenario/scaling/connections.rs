//! What a connection that is merely open takes in memory.

use std::path::Path;
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::NAME;
use crate::contest::{
    Backend, Client, ENVOY, Entry, HAPROXY, NGINX, Rival, Round, Running, SALLYPORT, Samples, Settings,
};
use crate::data::{Better, Check};
use crate::process::free_port;

const PATH: &str = "/b1k";
/// Connections at a time.
const QUICK: &[u32] = &[1000, 3000];
const FULL: &[u32] = &[1000, 5000, 9000];
/// Files that a process needs beside those of its connections.
const OTHER_FILES: u32 = 500;
/// Before none are open, so many were, so that what is made once is there.
const BEFORE: u32 = 20;
/// Until a process has put away what it needed for the last of them.
const SETTLE: Duration = Duration::from_millis(500);
const ONCE: Round = Round { number: 1 };

/// What a connection speaks: as the client calls it, and in words.
const KINDS: [(&str, &str); 3] =
    [("plain", "HTTP/1.1"), ("tls", "HTTP/1.1 over TLS"), ("h2", "HTTP/2 over TLS")];

/// What is the same for all contestants.
struct Ground<'a> {
    settings: &'a Settings,
    folder: &'a Path,
    certificate: &'a Path,
    backend: &'a Backend,
    steps: Vec<u32>,
}

/// The measures of all: a line for each kind, and what a connection takes.
pub(super) fn measure(
    settings: &Settings,
    folder: &Path,
    certificate: &Path,
    backend: &Backend,
    checks: &mut Vec<Check>,
    missing: &mut Vec<String>,
) -> Result<Vec<Samples>> {
    let ground = Ground { settings, folder, certificate, backend, steps: steps(settings, missing)? };
    let mut lines = KINDS.map(|(kind, words)| {
        let (name, title) = (format!("idle_{kind}"), format!("Memory with idle connections, {words}"));
        Samples::new(&name, &title, "MiB", Better::Lower).along("connections", false)
    });
    let mut each = Samples::new("connection", "Memory of an idle connection", "KiB", Better::Lower);
    for rival in [&SALLYPORT, &NGINX, &HAPROXY, &ENVOY] {
        if let Err(error) = rival.program(settings) {
            missing.push(format!("{}: {error:#}", rival.name));
            continue;
        }
        for ((kind, words), line) in KINDS.into_iter().zip(&mut lines) {
            let grown = ground.grow(rival, kind, line).with_context(|| format!("{}, {words}", rival.name))?;
            each.add(ONCE, rival.name, words, None, grown);
        }
        checks.push(Check {
            contestant: rival.name.to_owned(),
            what: "idle connections have had their answer and are still open when they are counted"
                .to_owned(),
        });
    }
    Ok(lines.into_iter().chain([each]).collect())
}

/// As many as files may be open. For this process, and so for all that it starts, the limit becomes the highest there is.
fn steps(settings: &Settings, missing: &mut Vec<String>) -> Result<Vec<u32>> {
    let highest = getrlimit(Resource::Nofile).maximum;
    setrlimit(Resource::Nofile, Rlimit { current: highest, maximum: highest })?;
    let wanted = if settings.quick { QUICK } else { FULL };
    // HAProxy counts two for each.
    let files = |step: u32| u64::from(2 * (step + OTHER_FILES));
    let fits = |step: &&u32| highest.is_none_or(|highest| files(**step) <= highest);
    let steps: Vec<u32> = wanted.iter().filter(fits).copied().collect();
    if steps.len() < wanted.len() {
        missing.push(format!(
            "more than {:?} connections: too few open files are allowed (ulimit -Hn)",
            steps.last()
        ));
    }
    Ok(steps)
}

impl Ground<'_> {
    /// Opens more and more connections to one contestant. The answer is what each of them took, in KiB.
    fn grow(&self, rival: &'static Rival, kind: &str, line: &mut Samples) -> Result<f64> {
        let tls_port = free_port()?;
        let most = self.steps.last().copied().unwrap_or(0) + OTHER_FILES;
        let entry = Entry::new(rival, "connections").with("BACKEND", self.backend.port);
        let entry = entry.with("TLS_PORT", tls_port).with("CONNECTIONS", most);
        let running = entry.start(self.settings, self.folder)?;
        let port = if kind == "plain" { running.port } else { tls_port };
        drop(open(port, kind, self.certificate, BEFORE)?);
        sleep(SETTLE);
        let none = mib(&running)?;
        line.add(ONCE, rival.name, "none", Some(0.0), none);
        let mut held: Vec<Client> = Vec::new();
        let (mut there, mut each) = (0, 0.0);
        for &step in &self.steps {
            held.push(open(port, kind, self.certificate, step - there)?);
            there = step;
            sleep(SETTLE);
            for client in &mut held {
                client.runs()?;
            }
            let mib = mib(&running)?;
            line.add(ONCE, rival.name, &step.to_string(), Some(f64::from(step)), mib);
            each = (mib - none) * 1024.0 / f64::from(step);
            self.settings.progress(
                NAME,
                &format!("{step} idle, {kind}: {} {mib:.1} MiB, {each:.1} KiB each", rival.name),
            );
        }
        Ok(each)
    }
}

fn open(port: u16, protocol: &str, certificate: &Path, count: u32) -> Result<Client> {
    let options = [
        ("--port", port.to_string()),
        ("--protocol", protocol.to_owned()),
        ("--certificate", certificate.display().to_string()),
        ("--connections", count.to_string()),
        ("--path", PATH.to_owned()),
    ];
    let mut client = Client::start("idle", &options)?;
    client.says("open")?;
    Ok(client)
}

fn mib(running: &Running) -> Result<f64> {
    Ok(running.process.resident_kib()? as f64 / 1024.0)
}
