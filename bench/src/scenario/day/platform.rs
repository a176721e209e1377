//! The platform of the demo: its services and its Kafka in one process, and an edge of its own process in front of them, with
//! the demo's routes.yaml.

use std::fs;
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::contest::{Request, SALLYPORT, Settings};
use crate::process::{Core, Process, free_port};
use crate::scenario::own;

/// How long the edge may take until it is ready and its view can be asked.
const READY_WAIT: Duration = Duration::from_secs(30);
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// What the demo gives the addresses of the edge, in this order in its file: public, plain, admin.
const ANY_PORT: &str = "127.0.0.1:0";
/// The services as `load users` wants them: the upstreams of routes.yaml.
const SERVICES: [&str; 5] = ["live", "users", "batches", "files", "results"];

/// A running platform.
pub(super) struct Platform {
    /// What is measured.
    pub(super) edge: Process,
    /// Its public address, `127.0.0.1:PORT`.
    pub(super) address: String,
    pub(super) plain: u16,
    pub(super) authority: String,
    pub(super) access_log: std::path::PathBuf,
    /// The addresses of [`SERVICES`].
    pub(super) services: Vec<String>,
    _demo: Process,
}

impl Platform {
    /// Starts all of it and waits until it is ready.
    ///
    /// # Errors
    /// Something does not start.
    pub(super) fn start(settings: &Settings, folder: &Path) -> Result<Platform> {
        let program = SALLYPORT.program(settings)?;
        let (services_folder, ready) = (folder.join("services"), folder.join("ready.json"));
        let _ = fs::remove_file(&ready);
        let arguments = [
            "demo".as_ref(),
            "--free-ports".as_ref(),
            "--folder".as_ref(),
            services_folder.as_os_str(),
            "--ready-file".as_ref(),
            ready.as_os_str(),
        ];
        let mut demo = Process::start("demo", Core::Load, folder, &program, arguments)?;
        own::appears(&mut demo, &ready)?;
        let routes = fs::read_to_string(services_folder.join("routes.yaml"))?;
        let services = SERVICES.iter().map(|name| target(&routes, name)).collect::<Result<_>>()?;

        let own = folder.join("edge");
        for part in ["tls", "keys"] {
            copy(&services_folder.join(part), &own.join(part))?;
        }
        // What the edge of before has folded is of another Kafka.
        let _ = fs::remove_dir_all(own.join("state"));
        let access_log = own.join("access.log");
        let _ = fs::remove_file(&access_log);
        let [public, plain, admin] = [free_port()?, free_port()?, free_port()?];
        let file = own.join("routes.yaml");
        fs::write(&file, configuration(&routes, [public, plain, admin])?)?;
        let mut edge =
            Process::start("edge", Core::Measured, &own, program, ["run".as_ref(), file.as_os_str()])?;
        edge.listens(public)?;
        wait_until_ready(admin)?;
        Ok(Platform {
            edge,
            address: format!("127.0.0.1:{public}"),
            plain,
            authority: own.join("tls/ca.crt").display().to_string(),
            access_log,
            services,
            _demo: demo,
        })
    }
}

/// The demo's file with addresses that are free, one thread as every contestant, and its log in a file.
fn configuration(routes: &str, ports: [u16; 3]) -> Result<String> {
    ensure!(routes.matches(ANY_PORT).count() == ports.len(), "the demo's routes.yaml has other listeners");
    ensure!(!routes.contains("\nprocess:"), "the demo's routes.yaml has a section `process`");
    let mut text = routes.to_owned();
    for port in ports {
        text = text.replacen(ANY_PORT, &format!("127.0.0.1:{port}"), 1);
    }
    Ok(format!("{text}\nprocess: {{ threads: 1, access_log: access.log, watch: false }}\n"))
}

/// The first target of an upstream, from the section as the demo writes it.
fn target(routes: &str, upstream: &str) -> Result<String> {
    let (_, section) =
        routes.split_once("\nupstreams:\n").context("the demo's routes.yaml has no upstreams")?;
    let (_, settings) = section
        .split_once(&format!("  {upstream}:\n"))
        .with_context(|| format!("there is no upstream {upstream}"))?;
    let found = settings.split_once("targets: [\"").and_then(|(_, rest)| rest.split('"').next());
    Ok(found.with_context(|| format!("the upstream {upstream} has no targets"))?.to_owned())
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for file in fs::read_dir(from)? {
        let file = file?;
        fs::copy(file.path(), to.join(file.file_name()))?;
    }
    Ok(())
}

fn wait_until_ready(admin: u16) -> Result<()> {
    let deadline = Instant::now() + READY_WAIT;
    loop {
        let ask = |path| Request::get(admin, path).host("localhost").send();
        let ready = ask("/readyz")?.status == 200;
        let views: Value = serde_json::from_slice(&ask("/views")?.body)?;
        let mut serving =
            views["views"].as_object().into_iter().flatten().map(|(_, view)| view["serving"] == true);
        if ready && serving.all(|is| is) {
            return Ok(());
        }
        if Instant::now() > deadline {
            bail!("the edge is not ready: {views}");
        }
        sleep(LOOK_EVERY);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROUTES: &str = "listeners:\n  public:\n    address: 127.0.0.1:0\n  plain:\n    address: 127.0.0.1:0\n\
        admin: { address: 127.0.0.1:0 }\n\nupstreams:\n  batches:\n    targets: [\"127.0.0.1:1\", \"127.0.0.1:2\"]\n  \
        files:\n    targets: [\"127.0.0.1:3\"]\n";

    #[test]
    fn addresses_are_put_in_and_taken_out() {
        let text = configuration(ROUTES, [7, 8, 9]).unwrap();
        assert!(text.contains("plain:\n    address: 127.0.0.1:8\nadmin: { address: 127.0.0.1:9 }"), "{text}");
        assert_eq!(target(&text, "batches").unwrap(), "127.0.0.1:1");
        assert_eq!(target(&text, "files").unwrap(), "127.0.0.1:3");
        assert!(target(&text, "users").is_err());
    }

    #[test]
    fn another_file_than_the_demos_is_refused() {
        assert!(configuration(&ROUTES.replacen(ANY_PORT, "127.0.0.1:5", 1), [7, 8, 9]).is_err());
        assert!(configuration(&format!("{ROUTES}\nprocess: {{}}\n"), [7, 8, 9]).is_err());
    }
}
