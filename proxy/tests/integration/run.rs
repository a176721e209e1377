//! `run`: the ready file, SIGHUP, SIGTERM, and starts that fail.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use sallyport_testkit::wait::until;
use sallyport_testkit::{Answer, Client, Origin, Signal};
use serde_json::Value;
use tempfile::TempDir;

use crate::{command, sallyport};

/// A running `sallyport`. Killed when it is dropped, if it has not ended.
pub(crate) struct Process {
    child: Child,
    /// What it wrote when it was ready.
    pub(crate) ready: Value,
}

impl Process {
    /// Starts a command that takes `--ready-file`, and waits for the file. Its log goes to `log` in the folder.
    pub(crate) async fn start(folder: &Path, arguments: &[&str]) -> Self {
        let log = fs::File::create(folder.join("log")).unwrap();
        let mut command = command(folder);
        command.args(arguments).args(["--ready-file", "ready.json"]);
        command.env("TMPDIR", folder).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        let mut child = command.spawn().unwrap();
        let ready = until("the ready file", || {
            let ended = child.try_wait().unwrap();
            let text = fs::read_to_string(folder.join("ready.json"));
            async move {
                assert!(ended.is_none(), "{}", fs::read_to_string(folder.join("log")).unwrap());
                text.ok()
            }
        });
        let ready = serde_json::from_str(&ready.await).unwrap();
        Process { child, ready }
    }

    /// The address of a listener.
    pub(crate) fn address(&self, listener: &str) -> SocketAddr {
        self.ready["listeners"][listener].as_str().unwrap().parse().unwrap()
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, name: &str) {
        let status = Command::new("kill").args(["-s", name, &self.child.id().to_string()]).status().unwrap();
        assert!(status.success());
    }

    /// Waits for its end; answers with the exit code.
    pub(crate) async fn end(mut self) -> Option<i32> {
        let status = until("the end of the process", || {
            let status = self.child.try_wait().unwrap();
            async move { status }
        });
        status.await.code()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn routes(body: &str) -> String {
    format!(
        "version: 1\nlisteners: {{ public: {{ address: \"127.0.0.1:0\" }} }}\nadmin: {{ address: \"127.0.0.1:0\" }}\n\
         process: {{ access_log: \"off\", watch: false, drain: 10s }}\n\
         routes:\n  - {{ match: /, public: true, respond: {{ body: \"{body}\" }} }}\n"
    )
}

async fn body(address: SocketAddr) -> String {
    Client::plain(address).await.get("/").send().await.text()
}

#[tokio::test]
async fn sighup_loads_again_sigterm_stops() {
    let folder = TempDir::new().unwrap();
    let put = |text: String| fs::write(folder.path().join("routes.yaml"), text).unwrap();
    put(routes("one"));
    let edge = Process::start(folder.path(), &["run", "routes.yaml"]).await;
    let (public, log) = (edge.address("public"), folder.path().join("log"));
    assert!(
        edge.ready["admin"].as_str().is_some_and(|admin| admin.starts_with("127.0.0.1:")),
        "{}",
        edge.ready
    );
    assert_eq!(body(public).await, "one");

    put(routes("two"));
    edge.signal("HUP");
    until("the second body", || async { (body(public).await == "two").then_some(()) }).await;

    // What is refused changes nothing and is told with its place.
    put(routes("three").replace("respond", "respnod"));
    edge.signal("HUP");
    until("the refusal in the log", || {
        let said = fs::read_to_string(&log).unwrap();
        async move {
            (said.contains("was not reloaded") && said.contains("did you mean `respond`?")).then_some(())
        }
    })
    .await;
    assert_eq!(body(public).await, "two");

    edge.signal("TERM");
    assert_eq!(edge.end().await, Some(0));
    assert!(fs::read_to_string(&log).unwrap().contains("stopped"));
}

#[tokio::test]
async fn what_a_socket_was_bound_with_takes_a_restart() {
    let folder = TempDir::new().unwrap();
    let put = |text: String| fs::write(folder.path().join("routes.yaml"), text).unwrap();
    put(routes("one"));
    let edge = Process::start(folder.path(), &["run", "routes.yaml"]).await;
    put(routes("two").replacen("127.0.0.1:0\"", "127.0.0.1:0\", reuse_port: true", 1));
    edge.signal("HUP");
    until("the second body", || async { (body(edge.address("public")).await == "two").then_some(()) }).await;
    let said = fs::read_to_string(folder.path().join("log")).unwrap();
    assert!(
        said.contains("listener public: `backlog` or `reuse_port` has changed; that takes a restart"),
        "{said}"
    );
}

#[tokio::test]
async fn an_exchange_under_way_is_finished_before_the_end() {
    let (folder, signal) = (TempDir::new().unwrap(), Signal::new());
    let origin = Origin::builder().on("/slow", Answer::fixed(200, "done").held(&signal)).start().await;
    let action = format!(
        "respond: {{ body: \"\" }} }}\n  - {{ match: /slow, public: true, upstream: app }}\nupstreams:\n  app: {{ targets: [\"{}\"] }}\n",
        origin.address()
    );
    let text = routes("").replace("respond: { body: \"\" } }\n", &action);
    fs::write(folder.path().join("routes.yaml"), text).unwrap();
    let edge = Process::start(folder.path(), &["run", "routes.yaml"]).await;
    let address = edge.address("public");
    let slow = tokio::spawn(async move { Client::plain(address).await.get("/slow").send().await });
    origin.wait_for(1).await;
    edge.signal("TERM");
    // The listener is closed first: then the stop has begun.
    until("the listener to close", || async {
        tokio::net::TcpStream::connect(address).await.is_err().then_some(())
    })
    .await;
    signal.give();
    assert_eq!(slow.await.unwrap().expect(200).text(), "done");
    assert_eq!(edge.end().await, Some(0));
}

#[test]
fn a_refused_configuration_is_code_1_and_opens_nothing() {
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join("routes.yaml"), routes("x").replace("public: true, ", "")).unwrap();
    let ran = sallyport(folder.path(), &["run", "--ready-file", "ready.json"]).expect(1);
    assert!(ran.stderr.contains("nothing identifies the client on this route"), "{}", ran.stderr);
    assert!(!folder.path().join("ready.json").exists());
}

#[test]
fn an_address_that_is_taken_is_told_by_its_listener() {
    let folder = TempDir::new().unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let text = routes("x").replacen("127.0.0.1:0", &address, 1);
    fs::write(folder.path().join("routes.yaml"), text).unwrap();
    let ran = sallyport(folder.path(), &["run"]).expect(1);
    assert!(ran.stderr.contains(&format!("listener public: cannot listen on {address}")), "{}", ran.stderr);
}
