//! Requests over TLS from h2load, in a closed loop on the load core: HTTP/1.1 kept alive, or HTTP/2 with many streams.

use anyhow::{Context, Result, ensure};

use crate::load::tls_client::NAME;
use crate::process::Core;

/// A load over TLS.
#[derive(Debug, Clone)]
pub struct OverTls {
    /// Where to, on loopback.
    pub port: u16,
    /// What is asked for.
    pub path: String,
    /// Bytes that the body of every answer has to have.
    pub body_bytes: u64,
    /// Connections.
    pub connections: u32,
    /// Requests under way on each; more than one makes it HTTP/2.
    pub streams: u32,
}

impl OverTls {
    /// Asks for some seconds. The answer is how many answers there were; all were right.
    ///
    /// # Errors
    /// There is no h2load, an answer was not the right one, or something else than TLS 1.3 with
    /// `TLS_AES_128_GCM_SHA256` and X25519 was agreed on.
    pub fn run(&self, seconds: u32) -> Result<u64> {
        let mut command = Core::Load.command("h2load");
        command.args(["-t1", "--tls13-ciphers=TLS_AES_128_GCM_SHA256", "--groups=X25519"]);
        command.arg(format!("--npn-list={}", self.protocol()));
        command.arg(format!("-c{}", self.connections)).arg(format!("-m{}", self.streams));
        command.arg(format!("-D{seconds}")).arg(format!("https://{NAME}:{}{}", self.port, self.path));
        let out = command.output().context("cannot start h2load")?;
        let said = String::from_utf8_lossy(&out.stdout);
        ensure!(out.status.success(), "h2load: {said}{}", String::from_utf8_lossy(&out.stderr));
        self.judge(&said).with_context(|| format!("h2load: {said}"))
    }

    fn protocol(&self) -> &'static str {
        if self.streams > 1 { "h2" } else { "http/1.1" }
    }

    fn judge(&self, said: &str) -> Result<u64> {
        for expected in [
            "TLS Protocol: TLSv1.3",
            "Cipher: TLS_AES_128_GCM_SHA256",
            "Server Temp Key: X25519 253 bits",
            &format!("Application protocol: {}", self.protocol()),
        ] {
            ensure!(said.lines().any(|line| line == expected), "there is no `{expected}`");
        }
        let answers = number(said, "requests: ", " succeeded")?;
        ensure!(answers > 0, "there are no answers");
        ensure!(number(said, "requests: ", " failed")? == 0, "requests have failed");
        ensure!(number(said, "status codes: ", " 2xx")? >= answers, "there are other answers than 200");
        let bytes = number(said, "traffic: ", ") data")?;
        // Of the last answers on each stream, some may have come in part.
        let most = answers + u64::from(self.connections * self.streams);
        let right = answers * self.body_bytes..=most * self.body_bytes;
        ensure!(right.contains(&bytes), "{answers} answers have {bytes} bytes, not {} each", self.body_bytes);
        Ok(answers)
    }
}

/// The number that stands before `unit` on the line that begins so.
fn number(said: &str, line: &str, unit: &str) -> Result<u64> {
    let rest = said.lines().find_map(|one| one.strip_prefix(line)).with_context(|| format!("no `{line}`"))?;
    let (before, _) = rest.split_once(unit).with_context(|| format!("no `{unit}`"))?;
    let digits = before.rsplit(|c: char| !c.is_ascii_digit()).next().unwrap_or_default();
    digits.parse().with_context(|| format!("no number before `{unit}`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAID: &str = "\
TLS Protocol: TLSv1.3
Cipher: TLS_AES_128_GCM_SHA256
Server Temp Key: X25519 253 bits
Application protocol: h2

finished in 1.00s, 45404.00 req/s, 9.31MB/s
requests: 45404 total, 45724 started, 45404 done, 45404 succeeded, 0 failed, 0 errored, 0 timeout
status codes: 45404 2xx, 0 3xx, 0 4xx, 0 5xx
traffic: 9.31MB (9762350) total, 2.34MB (2451816) headers (space savings 49.06%), 6.19MB (6492772) data
";

    fn load() -> OverTls {
        OverTls { port: 1, path: "/x".to_owned(), body_bytes: 143, connections: 10, streams: 32 }
    }

    #[test]
    fn right_answers_are_counted() {
        assert_eq!(load().judge(SAID).unwrap(), 45404);
    }

    #[test]
    fn what_is_not_as_it_must_be_is_refused() {
        for (right, wrong) in [
            ("TLSv1.3", "TLSv1.2"),
            ("AES_128", "AES_256"),
            ("X25519 253", "P-256 256"),
            ("protocol: h2", "protocol: http/1.1"),
            ("0 failed", "2 failed"),
            ("45404 2xx, 0 3xx, 0 4xx", "45403 2xx, 0 3xx, 1 4xx"),
            ("(6492772)", "(6492771)"),
            ("traffic", "transfer"),
        ] {
            assert!(load().judge(&SAID.replace(right, wrong)).is_err(), "{wrong}");
        }
    }
}
