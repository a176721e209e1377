//! The service behind all contestants: one nginx on the load core.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use super::rival::NGINX;
use super::settings::Settings;
use crate::process::{Core, Process, free_port};

/// The bodies there are: path and bytes.
pub const BODIES: [(&str, usize); 4] =
    [("/b100", 100), ("/b1k", 1024), ("/b16k", 16 * 1024), ("/b256k", 256 * 1024)];

/// Bytes of the body of whatever begins with `/service-`.
pub const ROUTED_BYTES: u64 = 100;

/// A running backend. Besides the [`BODIES`] and [`ROUTED_BYTES`], `/seen` answers with the request id and user that arrived.
pub struct Backend {
    /// Where it listens, on loopback.
    pub port: u16,
    /// Its process.
    pub process: Process,
}

impl Backend {
    /// Starts it with its files below `folder`.
    ///
    /// # Errors
    /// There is no nginx, or it does not start.
    pub fn start(settings: &Settings, folder: &Path) -> Result<Backend> {
        let own = folder.join("backend");
        let bodies = own.join("www");
        fs::create_dir_all(&bodies)?;
        for (path, bytes) in BODIES {
            fs::write(bodies.join(&path[1..]), "x".repeat(bytes))?;
        }
        let port = free_port()?;
        let file = own.join("nginx.conf");
        fs::write(&file, configuration(port))?;
        let program = NGINX.program(settings).context("the backend of every scenario")?;
        let mut process = Process::start("backend", Core::Load, &own, program, NGINX.arguments(&file, ""))?;
        process.listens(port)?;
        Ok(Backend { port, process })
    }
}

/// Small bodies are in the configuration, so that the backend costs the load core as little as it can; nginx takes no long
/// ones there.
fn configuration(port: u16) -> String {
    let small: String = BODIES
        .iter()
        .filter(|(_, bytes)| *bytes <= 1024)
        .map(|(path, bytes)| format!("    location = {path} {{ return 200 '{}'; }}\n", "x".repeat(*bytes)))
        .collect();
    let routed = "x".repeat(ROUTED_BYTES as usize);
    format!(
        "master_process off; daemon off; pid nginx.pid; error_log nginx.err;
events {{ worker_connections 4096; }}
http {{
  access_log off; default_type text/plain; etag off;
  sendfile on; tcp_nopush on; open_file_cache max=100;
  keepalive_requests 100000000; keepalive_timeout 600s;
  server {{
    listen 127.0.0.1:{port} backlog=4096; root www;
    location /service- {{ return 200 '{routed}'; }}
    location = /seen {{ return 200 'id=$http_x_request_id user=$http_x_user'; }}
{small}  }}
}}
"
    )
}
