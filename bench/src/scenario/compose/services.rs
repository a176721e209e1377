//! The services behind composed answers: one nginx with documents of JSON, and one that is late.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use crate::contest::{NGINX, Settings};
use crate::process::{Core, Process, free_port};
use crate::scenario::own;

/// A document: its name in paths, its name in figures, and how long it is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Document {
    pub(super) path: &'static str,
    pub(super) name: &'static str,
    pub(super) bytes: usize,
}

/// Those that branches get.
pub(super) const DOCUMENTS: [Document; 3] = [
    Document { path: "1k", name: "1 KiB", bytes: 1024 },
    Document { path: "32k", name: "32 KiB", bytes: 32 * 1024 },
    Document { path: "256k", name: "256 KiB", bytes: 256 * 1024 },
];
/// Of these, what the other branches get where one fails or is slow.
pub(super) const OF_FAULTS: Document = DOCUMENTS[1];
/// One for answers of 8 MiB.
const LARGE: Document = Document { path: "1m", name: "1 MiB", bytes: 1024 * 1024 };

/// Running services, on the load core.
pub(super) struct Services {
    pub(super) backend: u16,
    pub(super) late: u16,
    _processes: [Process; 2],
}

impl Services {
    pub(super) fn start(settings: &Settings, folder: &Path) -> Result<Services> {
        let own = folder.join("services");
        let documents = own.join("www/json");
        fs::create_dir_all(&documents)?;
        for document in DOCUMENTS.iter().chain([&LARGE]) {
            fs::write(documents.join(document.path), document.text())?;
        }
        let (backend, late) = (free_port()?, free_port()?);
        fs::write(own.join("nginx.conf"), configuration(backend))?;
        let folder_of_nginx = own.display().to_string();
        let arguments = ["-p", &folder_of_nginx, "-e", "error.log", "-c", "nginx.conf"];
        let program = NGINX.program(settings).context("the services behind composed answers")?;
        let mut nginx = Process::start("services", Core::Load, &own, program, arguments)?;
        let mut slow = own::serve("late", Core::Load, &own, ["--port", &late.to_string()])?;
        nginx.listens(backend)?;
        slow.listens(late)?;
        Ok(Services { backend, late, _processes: [nginx, slow] })
    }
}

impl Document {
    /// JSON as services send it, of exactly this many bytes.
    pub(super) fn text(&self) -> String {
        let mut text = String::from(r#"{"items": ["#);
        let end = |padding: usize| format!(r#"], "pad": "{}"}}"#, "x".repeat(padding));
        for number in 0.. {
            let item = format!(
                "{}{{\"id\": \"batch-{number:06}\", \"title\": \"Essays of group {} — März\", \"owner\": \"user-{}\", \
                 \"count\": {number}, \"score\": {:.3}, \"done\": {}, \"tags\": [\"a\", \"b\"], \"note\": null}}",
                if number > 0 { ", " } else { "" },
                number % 40,
                number % 97,
                f64::from(number) / 7.0,
                number % 3 == 0
            );
            if text.len() + item.len() + end(0).len() > self.bytes {
                break;
            }
            text.push_str(&item);
        }
        let padding = self.bytes - text.len() - end(0).len();
        text + &end(padding)
    }
}

fn configuration(port: u16) -> String {
    format!(
        "master_process off; daemon off; pid nginx.pid; error_log error.log;
events {{ worker_connections 8192; }}
http {{
  access_log off; types {{ }} default_type application/json; etag off;
  sendfile on; tcp_nopush on; open_file_cache max=100;
  keepalive_requests 100000000; keepalive_timeout 600s;
  server {{
    listen 127.0.0.1:{port} backlog=4096; root www;
    location = /failing {{ return 500 '{{\"error\":\"out of order\"}}'; }}
  }}
}}
"
    )
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    #[test]
    fn documents_are_json_of_their_very_length() {
        for document in DOCUMENTS {
            let text = document.text();
            assert_eq!(text.len(), document.bytes);
            let parsed: Value = serde_json::from_str(&text).unwrap();
            assert!(parsed["items"].as_array().is_some_and(|items| items.len() >= document.bytes / 300));
        }
    }
}
