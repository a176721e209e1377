//! That everybody really does the whole job: a filter that does not run makes a fast proxy.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::{ASKED, ORIGIN};
use crate::contest::{Answer, HAPROXY, Issuer, Request, Running, Signature};
use crate::data::Check;

/// Requests a second of a subject, where the limit is to trip.
pub(super) const LIMIT: u32 = 3;
/// What all set on every answer.
const SECURITY: [(&str, &str); 6] = [
    ("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'"),
    ("X-Content-Type-Options", "nosniff"),
    ("X-Frame-Options", "DENY"),
    ("Referrer-Policy", "no-referrer"),
    ("Cross-Origin-Resource-Policy", "same-site"),
    ("Cache-Control", "no-store"),
];
/// Envoy writes its log every 10 s.
const LOG_PATIENCE: Duration = Duration::from_secs(15);
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// Runs the checks of one request each.
pub(super) fn work_is_done(contestants: &[Running], issuer: &Issuer, folder: &Path) -> Result<Vec<Check>> {
    let strange = folder.join("stranger");
    fs::create_dir_all(&strange)?;
    let stranger = Issuer::new(&strange)?;
    let mut checks = Vec::new();
    for running in contestants {
        let mut passed = |what: &str| {
            checks.push(Check { contestant: running.name.clone(), what: what.to_owned() });
        };
        let one = One { running, issuer };
        one.refuses(&stranger).with_context(|| running.name.clone())?;
        passed("no token, wrong signature, expired, wrong issuer: 401; wrong audience: 401 or 403");
        one.accepts().with_context(|| running.name.clone())?;
        passed("good tokens, RS256 and ES256: 200 and the body");
        passed("security headers on 200 and 401");
        one.answers_cors().with_context(|| running.name.clone())?;
        passed("CORS for the origin that is allowed, none for another, preflights without a token");
        one.introduces().with_context(|| running.name.clone())?;
        passed(
            "the same new request id at the backend and in the answer; the token's subject at the backend",
        );
    }
    Ok(checks)
}

/// Runs the check of the limit, on contestants that have [`LIMIT`].
pub(super) fn limits_trip(contestants: &[Running], issuer: &Issuer) -> Result<Vec<Check>> {
    let mut checks = Vec::new();
    for running in contestants {
        let of = |subject: &str| -> Result<u16> {
            let token = issuer.token(Signature::Es256, subject)?;
            Ok(Request::get(running.port, ASKED.0).bearer(&token).send()?.status)
        };
        // Twice the limit and some more, in case a second ends meanwhile.
        let many: Vec<u16> = (0..3 * LIMIT).map(|_| of("eager")).collect::<Result<_>>()?;
        ensure!(many[0] == 200 && many.contains(&429), "{}: {LIMIT} a second, and {many:?}", running.name);
        let other = of("patient")?;
        ensure!(other == 200, "{}: the limit of one subject refuses another, {other}", running.name);
        let what = "the limit refuses a subject above it (429), and nobody else".to_owned();
        checks.push(Check { contestant: running.name.clone(), what });
    }
    Ok(checks)
}

/// That there is a line in the access log for each answer, with what all of them log.
pub(super) fn logs_are_whole(contestants: &[Running], answers: &[u64]) -> Result<Vec<Check>> {
    let mut checks = Vec::new();
    for (running, answers) in contestants.iter().zip(answers) {
        let file = access_log(running);
        let deadline = Instant::now() + LOG_PATIENCE;
        let lines = loop {
            let lines = count_lines(&file).with_context(|| file.display().to_string())?;
            if lines >= *answers || Instant::now() > deadline {
                break lines;
            }
            sleep(LOOK_EVERY);
        };
        ensure!(lines >= *answers, "{}: {lines} lines in the log of {answers} answers", running.name);
        let what = format!("a line in the access log for each of {answers} answers");
        checks.push(Check { contestant: running.name.clone(), what });
    }
    Ok(checks)
}

/// HAProxy writes no files; its log is what it says.
fn access_log(running: &Running) -> PathBuf {
    running.own.join(if running.rival.name == HAPROXY.name { "haproxy.log" } else { "access.log" })
}

/// Lines that are those of an answer to a user.
fn count_lines(file: &Path) -> Result<u64> {
    let mut reader = BufReader::with_capacity(1 << 20, fs::File::open(file)?);
    let (mut line, mut count) = (Vec::new(), 0);
    while reader.read_until(b'\n', &mut line)? > 0 {
        if count == 0 && line.ends_with(b"\n") {
            looks_right(&line)?;
        }
        count += u64::from(line.ends_with(b"\n"));
        line.clear();
    }
    Ok(count)
}

fn looks_right(line: &[u8]) -> Result<()> {
    let line: Value = serde_json::from_slice(line).context("a line of the log is not JSON")?;
    let wanted = [
        "time",
        "request_id",
        "client",
        "method",
        "host",
        "path",
        "protocol",
        "status",
        "sent_bytes",
        "took_ms",
    ];
    let missing: Vec<&str> = wanted.into_iter().filter(|name| line.get(name).is_none()).collect();
    ensure!(missing.is_empty(), "a line of the log has no {missing:?}: {line}");
    Ok(())
}

/// A contestant, and the issuer whose tokens it accepts.
struct One<'a> {
    running: &'a Running,
    issuer: &'a Issuer,
}

impl One<'_> {
    fn ask(&self, path: &str) -> Request {
        Request::get(self.running.port, path).with("Origin", ORIGIN)
    }

    fn refuses(&self, stranger: &Issuer) -> Result<()> {
        let mut bad = vec![("no token", None)];
        for signature in [Signature::Rs256, Signature::Es256] {
            let with = |claims| self.issuer.token_with(signature, "user-0", claims).map(Some);
            bad.push(("wrong signature", Some(stranger.token(signature, "user-0")?)));
            bad.push(("expired", with(json!({ "exp": 1_600_000_000 }))?));
            bad.push(("wrong audience", with(json!({ "aud": "another" }))?));
            bad.push(("wrong issuer", with(json!({ "iss": "https://another.test" }))?));
        }
        for (what, token) in bad {
            let request = self.ask(ASKED.0);
            let answer = match &token {
                Some(token) => request.bearer(token),
                None => request,
            };
            let answer = answer.send()?;
            // Envoy says of another audience that it is forbidden.
            let refused = answer.status == 401 || (what == "wrong audience" && answer.status == 403);
            ensure!(refused, "{what}: {} in place of 401", answer.status);
            secure(&answer).context(what)?;
        }
        Ok(())
    }

    fn accepts(&self) -> Result<()> {
        for signature in [Signature::Rs256, Signature::Es256] {
            // Twice, because the second may be answered from memory.
            for _ in 0..2 {
                let token = self.issuer.token(signature, "user-0")?;
                let answer = self.ask(ASKED.0).bearer(&token).send()?;
                let name = signature.name();
                ensure!(answer.status == 200, "a good token, {name}: {}", answer.status);
                ensure!(answer.body.len() == ASKED.1, "a good token, {name}: {} bytes", answer.body.len());
                secure(&answer)?;
            }
        }
        Ok(())
    }

    fn answers_cors(&self) -> Result<()> {
        const ALLOWED: &str = "Access-Control-Allow-Origin";
        let token = self.issuer.token(Signature::Es256, "user-0")?;
        let answer = self.ask(ASKED.0).bearer(&token).send()?;
        ensure!(answer.field(ALLOWED) == Some(ORIGIN), "{ALLOWED}: {:?}", answer.field(ALLOWED));
        let varies = answer.fields.iter().any(|(name, value)| {
            name.eq_ignore_ascii_case("Vary") && value.to_ascii_lowercase().contains("origin")
        });
        ensure!(varies, "no Vary: Origin");
        let other = Request::get(self.running.port, ASKED.0)
            .with("Origin", "https://evil.test")
            .bearer(&token)
            .send()?;
        ensure!(other.field(ALLOWED).is_none(), "another origin, and {ALLOWED}: {:?}", other.field(ALLOWED));
        let preflight = Request::new("OPTIONS", self.running.port, ASKED.0)
            .with("Origin", ORIGIN)
            .with("Access-Control-Request-Method", "GET")
            .send()?;
        ensure!(matches!(preflight.status, 200 | 204), "a preflight: {}", preflight.status);
        ensure!(preflight.field(ALLOWED) == Some(ORIGIN), "a preflight without {ALLOWED}");
        Ok(())
    }

    fn introduces(&self) -> Result<()> {
        let token = self.issuer.token(Signature::Rs256, "user-7")?;
        let forged = self.ask("/seen").with("X-User", "admin").with("X-Request-Id", "forged").bearer(&token);
        let answer = forged.send()?;
        let id = answer.field("X-Request-Id").context("no X-Request-Id in the answer")?;
        ensure!(id != "forged" && !id.is_empty(), "the client's own request id stays");
        let seen = answer.text();
        ensure!(seen == format!("id={id} user=user-7"), "the backend has seen {seen}, the answer has {id}");
        Ok(())
    }
}

fn secure(answer: &Answer) -> Result<()> {
    for (name, value) in SECURITY {
        ensure!(answer.field(name) == Some(value), "{name} of a {}: {:?}", answer.status, answer.field(name));
    }
    Ok(())
}
