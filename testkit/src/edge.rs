//! The edge of a story: started in this process from a YAML text, with its files in a folder of its own.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use sallyport::{Edge, Running};
use sallyport_filters::Registry;
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

use crate::client::Client;
use crate::client_h2::H2Client;
use crate::response::Response;
use crate::wait::{until, within};

const CONFIG: &str = "routes.yaml";
const ACCESS_LOG: &str = "access.log";

/// A running edge and its folder.
pub struct EdgeUnderTest {
    running: Option<Running>,
    folder: TempDir,
}

/// An edge before it is started.
pub struct EdgeBuilder {
    folder: TempDir,
    registry: Registry,
}

impl EdgeBuilder {
    /// Puts a file into the folder that the configuration's relative paths start from.
    pub fn file(self, name: &str, content: impl AsRef<[u8]>) -> Self {
        std::fs::write(self.folder.path().join(name), content).expect("a file in the temporary folder");
        self
    }

    /// Where a file of that folder is.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Knows these filters instead of the standard ones.
    pub fn registry(mut self, registry: Registry) -> Self {
        self.registry = registry;
        self
    }

    /// Starts the edge with this configuration, see [`EdgeUnderTest::start`].
    ///
    /// # Panics
    /// When the configuration is refused; the text is the edge's own report.
    pub async fn start(self, yaml: &str) -> EdgeUnderTest {
        self.try_start(yaml).await.unwrap_or_else(|error| panic!("the edge did not start:\n{error}"))
    }

    /// Starts the edge with this configuration.
    ///
    /// # Errors
    /// The edge's own report of what it refuses.
    pub async fn try_start(self, yaml: &str) -> Result<EdgeUnderTest, String> {
        let path = self.folder.path().join(CONFIG);
        std::fs::write(&path, complete(yaml, &self.folder)).expect("a file in the temporary folder");
        let start = Edge::new(self.registry).start(&path);
        let running = within("the start of the edge", start).await.map_err(|error| error.to_string())?;
        Ok(EdgeUnderTest { running: Some(running), folder: self.folder })
    }
}

impl EdgeUnderTest {
    /// Starts an edge. What a story does not care about may be left out of `yaml`: `version`, `listeners` (then `public`,
    /// plain, on a free port), `admin`, and `process` (the access log goes to a file, nothing is watched).
    pub async fn start(yaml: &str) -> Self {
        EdgeUnderTest::builder().start(yaml).await
    }

    /// An edge with files or filters of its own.
    pub fn builder() -> EdgeBuilder {
        EdgeBuilder { folder: TempDir::new().expect("a temporary folder"), registry: Registry::standard() }
    }

    /// The address of a listener.
    pub fn address(&self, listener: &str) -> SocketAddr {
        self.running().address(listener).unwrap_or_else(|| panic!("no listener `{listener}`"))
    }

    /// A new connection to the listener `public`.
    pub async fn client(&self) -> Client {
        Client::plain(self.address("public")).await
    }

    /// A new HTTP/2 connection to the listener `public`, which must have `h2c: true`.
    pub async fn h2_client(&self) -> H2Client {
        H2Client::plain(self.address("public")).await.expect("an HTTP/2 connection")
    }

    /// A GET on a connection of its own to the listener `public`.
    pub async fn get(&self, target: &str) -> Response {
        self.client().await.get(target).send().await
    }

    /// The address of the admin listener, for a story that goes on asking while the edge stops.
    pub fn admin_address(&self) -> SocketAddr {
        self.running().admin().expect("the edge has an admin listener")
    }

    /// A request to the admin listener.
    pub async fn admin(&self, method: &str, target: &str) -> Response {
        let mut client = Client::plain(self.admin_address()).await;
        client.request(method, target).send().await
    }

    /// The metrics in Prometheus' text format.
    pub async fn metrics(&self) -> String {
        self.admin("GET", "/metrics").await.expect(200).text()
    }

    /// The sum of all samples of this name that have these labels; 0 when there is none.
    pub async fn metric(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        total(&self.metrics().await, name, labels)
    }

    /// Waits until [`EdgeUnderTest::metric`] has this value: some counters move after the client has its answer.
    pub async fn wait_for_metric(&self, name: &str, labels: &[(&str, &str)], value: f64) {
        until(&format!("{name}{labels:?} = {value}"), || async {
            ((self.metric(name, labels).await - value).abs() < 1e-9).then_some(())
        })
        .await;
    }

    /// Waits until the access log has `count` lines and answers with all of them.
    pub async fn access_log(&self, count: usize) -> Vec<Value> {
        let path = self.path(ACCESS_LOG);
        until(&format!("line {count} of the access log"), || async {
            let text = std::fs::read_to_string(&path).unwrap_or_default();
            let whole = text.rfind('\n').map_or("", |end| &text[..end]);
            let lines: Vec<&str> = whole.lines().collect();
            let parse =
                |line: &&str| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e} in the log: {line}"));
            (lines.len() >= count).then(|| lines.iter().map(parse).collect())
        })
        .await
    }

    /// Where a file of the edge's folder is.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes a file into the edge's folder.
    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        std::fs::write(self.path(name), content).expect("a file in the temporary folder");
    }

    /// Writes another configuration and does not load it.
    pub fn rewrite(&self, yaml: &str) {
        self.write(CONFIG, complete(yaml, &self.folder));
    }

    /// Loads the configuration again.
    ///
    /// # Errors
    /// The edge's own report; the running plan stays.
    pub async fn reload(&self) -> Result<u64, String> {
        within("a reload", self.running().reload()).await.map_err(|error| error.to_string())
    }

    /// Stops the edge gracefully.
    pub async fn stop(mut self) {
        if let Some(running) = self.running.take() {
            within("the stop of the edge", running.stop()).await;
        }
    }

    fn running(&self) -> &Running {
        self.running.as_ref().expect("the edge runs until it is stopped")
    }
}

/// Adds what the story left out.
fn complete(yaml: &str, folder: &TempDir) -> String {
    let log = folder.path().join(ACCESS_LOG);
    let parts = [
        ("version:", "version: 1\n".to_owned()),
        ("listeners:", "listeners:\n  public: { address: \"127.0.0.1:0\" }\n".to_owned()),
        ("admin:", "admin: { address: \"127.0.0.1:0\" }\n".to_owned()),
        ("process:", format!("process: {{ access_log: \"{}\", watch: false, drain: 10s }}\n", log.display())),
    ];
    let missing = parts.into_iter().filter(|(key, _)| !yaml.lines().any(|line| line.starts_with(key)));
    missing.map(|(_, text)| text).collect::<String>() + yaml
}

/// The sum of all samples of this name that have these labels; 0 when there is none.
pub(crate) fn total(metrics: &str, name: &str, labels: &[(&str, &str)]) -> f64 {
    metrics.lines().filter_map(|line| sample(line, name, labels)).sum()
}

/// Asks a sidecar's socket as an operator would; head and body of the answer.
pub(crate) async fn ask(socket: &Path, target: &str) -> String {
    let mut stream = UnixStream::connect(socket).await.expect("the sidecar's socket");
    let request = format!("GET {target} HTTP/1.1\r\nHost: sidecar\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.expect("a request");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("an answer");
    answer
}

/// The value of a line of Prometheus' text format if it has this name and these labels.
fn sample(line: &str, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
    let (series, value) = line.rsplit_once(' ')?;
    let (series, written) = series.split_once('{').unwrap_or((series, ""));
    let has = |(label, value): &(&str, &str)| written.contains(&format!("{label}=\"{value}\""));
    (series == name && labels.iter().all(has)).then(|| value.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_story_leaves_out_is_added() {
        let folder = TempDir::new().unwrap();
        let text = complete("listeners:\n  other: { address: \"127.0.0.1:0\" }\n", &folder);
        assert!(
            text.starts_with("version: 1\n") && text.contains("admin:") && !text.contains("public"),
            "{text}"
        );
    }

    #[test]
    fn a_sample_is_found_by_name_and_labels() {
        let line = "x_total{a=\"1\",b=\"2\"} 7";
        assert_eq!(sample(line, "x_total", &[("b", "2")]), Some(7.0));
        assert_eq!(sample(line, "x_total", &[("b", "3")]), None);
        assert_eq!(sample(line, "x", &[]), None);
        assert_eq!(sample("# HELP x y", "x", &[]), None);
    }
}
