//! The program under test: started, asked over its socket as the edge asks, and killed.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use crate::{PATIENCE, until};

/// A folder with a configuration, and the program if it runs.
pub(crate) struct Program {
    folder: tempfile::TempDir,
    running: Option<Child>,
}

/// An answer.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) offsets: String,
    pub(crate) body: Value,
}

impl Program {
    /// A program for these views, whose routes have the views' names. Not started yet.
    pub(crate) fn new(address: &str, views: &str, names: &[&str]) -> Program {
        let folder = tempfile::tempdir().unwrap();
        let route =
            |name: &&str| format!("  - {{ name: {name}, match: GET /{name}, public: true, view: {name} }}\n");
        let routes: String = names.iter().map(route).collect();
        let yaml = format!(
            "version: 1\nlisteners: {{ main: {{ address: \"127.0.0.1:0\" }} }}\naggregator: {{ socket: a.sock }}\n\
             kafka: {{ main: {{ brokers: [\"{address}\"] }} }}\nviews:\n{views}\nroutes:\n{routes}"
        );
        std::fs::write(folder.path().join("routes.yaml"), yaml).unwrap();
        Program { folder, running: None }
    }

    /// Starts it. It need not serve yet when this returns.
    pub(crate) fn start(&mut self) {
        assert!(self.running.is_none(), "it runs already");
        let log = std::fs::File::options().create(true).append(true).open(self.path("log")).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_sallyport-aggregator"))
            .arg(self.path("routes.yaml"))
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn();
        self.running = Some(child.unwrap());
    }

    /// Kills it (SIGKILL), and waits until it is gone.
    pub(crate) fn kill(&mut self) {
        let mut child = self.running.take().expect("it runs");
        assert_eq!(child.try_wait().unwrap(), None, "it ended by itself:\n{}", self.log());
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// Asks a view, as the edge would; `None` as long as nobody listens.
    pub(crate) fn ask(&mut self, view: &str, query: &str) -> Option<Answer> {
        let text = self.get(
            &format!("/{view}?{query}"),
            &format!("Sallyport-Client: 127.0.0.1\r\nSallyport-Route: {view}\r\n"),
        )?;
        let (head, body) = text.split_once("\r\n\r\n")?;
        let field = |name: &str| {
            let of = |line: &str| {
                line.to_ascii_lowercase().strip_prefix(name).map(|value| value.trim().to_owned())
            };
            head.lines().find_map(of).unwrap_or_default()
        };
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
        Some(Answer {
            status,
            offsets: field("view-offsets:"),
            body: serde_json::from_str(body).expect(body),
        })
    }

    /// The sum of the samples of a metric with these labels.
    pub(crate) fn metric(&mut self, name: &str, labels: &str) -> f64 {
        let text = until("metrics", || self.get("/metrics", ""));
        let lines =
            text.lines().filter(|line| line.starts_with(&format!("{name}{{")) && line.contains(labels));
        lines.filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok()).sum()
    }

    /// The rows of a view by key, once it has folded these records.
    pub(crate) fn rows(
        &mut self,
        view: &str,
        last: &BTreeMap<(String, i32), i64>,
    ) -> BTreeMap<String, Value> {
        let places = last.iter().map(|((topic, partition), offset)| format!("{topic}/{partition}@{offset}"));
        let query = format!("limit=200&min_offset={}", places.collect::<Vec<_>>().join(","));
        let page = until(&format!("{view} has folded all"), || {
            let answer = self.ask(view, &query)?;
            match answer.status {
                200 => Some(answer.body),
                503 | 504 => None,
                status => panic!("{status}: {}", answer.body),
            }
        });
        assert_eq!(page["next"], Value::Null, "more rows than a page has");
        let row = |row: &Value| (row["key"].as_str().expect("a key").to_owned(), row.clone());
        page["items"].as_array().expect("rows").iter().map(row).collect()
    }

    fn get(&mut self, target: &str, headers: &str) -> Option<String> {
        if let Some(child) = &mut self.running {
            assert_eq!(child.try_wait().unwrap(), None, "it ended by itself:\n{}", self.log());
        }
        let mut stream = UnixStream::connect(self.path("a.sock")).ok()?;
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let request = format!("GET {target} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{headers}\r\n");
        stream.write_all(request.as_bytes()).ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        Some(answer)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.path("log")).unwrap_or_default()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        if let Some(mut child) = self.running.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
        if std::thread::panicking() {
            eprintln!("the program's log:\n{}", self.log());
        }
    }
}
