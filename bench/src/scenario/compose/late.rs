//! A service that is late: `GET /after/200` is answered after 200 ms, whatever else is asked meanwhile.

use std::time::Duration;

use anyhow::{Context, Result};
use clap::Args;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::scenario::connect::head;
use crate::scenario::own;

const BODY: &str = r#"{"late":true}"#;

/// Options of `serve late`.
#[derive(Debug, Args)]
pub struct Late {
    /// The port on loopback.
    #[arg(long)]
    port: u16,
}

impl Late {
    /// Serves until the process ends.
    ///
    /// # Errors
    /// The port is taken.
    pub fn run(&self) -> Result<()> {
        // A client that leaves is the expected end: its patience is what is measured.
        own::accept(self.port, serve)
    }
}

async fn serve(mut stream: TcpStream) -> Result<()> {
    loop {
        let (request, _) = head(&mut stream).await?;
        let path = std::str::from_utf8(&request)?.split(' ').nth(1).context("no path")?;
        let path = path.split('?').next().unwrap_or(path);
        let millis = path.strip_prefix("/after/").context("not /after/MILLISECONDS")?.parse()?;
        tokio::time::sleep(Duration::from_millis(millis)).await;
        let length = BODY.len();
        let answer = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{BODY}"
        );
        stream.write_all(answer.as_bytes()).await?;
    }
}
