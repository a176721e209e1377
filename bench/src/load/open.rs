//! Requests at a fixed rate in an open loop, as many users make them: when one is due does not depend on the answers to those
//! before, and its latency counts from when it was due. A loop that waits for answers instead asks a slow server less often
//! and does not see how long requests would have waited (coordinated omission).
//!
//! Of existing tools those with an open loop have one set of headers for all requests or need another tool chain to be built;
//! here each request has a token of its own. Times are those of epoll with nanoseconds: runtimes with timers of a millisecond
//! would add as much as what is measured. One thread, because it has one core, which it shares with the backend.

use std::collections::VecDeque;
use std::fs;
use std::net::SocketAddr;
use std::num::NonZeroU64;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Error, Result, anyhow, ensure};
use clap::Args;
use hdrhistogram::Histogram;
use rustix::event::epoll;
use rustix::fd::OwnedFd;
use rustix::time::Timespec;
use serde::{Deserialize, Serialize};

use super::exchange::{Connection, Expected, Progress, Space};

/// How long answers are waited for when all requests are sent.
const GRACE: Duration = Duration::from_secs(5);
/// Events taken from the kernel at once.
const EVENTS: usize = 256;
/// The longest latency that is told apart from longer ones, in ns.
const LATENCY_NS_MAX: u64 = 120_000_000_000;

/// What is asked for, and how often.
#[derive(Debug, Clone, Args)]
pub struct Open {
    /// Where to, on loopback.
    #[arg(long)]
    pub port: u16,
    /// What is asked for.
    #[arg(long)]
    pub path: String,
    /// Requests a second.
    #[arg(long)]
    pub rate: f64,
    /// How long requests are made.
    #[arg(long)]
    pub seconds: u32,
    /// The most requests on their way at once; those due beyond wait, and their time runs.
    #[arg(long, default_value_t = 64)]
    pub connections: u32,
    /// Bytes that the body of every answer has to have.
    #[arg(long)]
    pub body_bytes: u64,
    /// The status that every answer has to have.
    #[arg(long, default_value_t = 200)]
    pub status: u16,
    /// A file of tokens, one a line, that take turns as `Authorization: Bearer TOKEN`.
    #[arg(long)]
    pub tokens: Option<PathBuf>,
    /// A file of hosts and paths, `HOST PATH` a line, that take turns in place of `path`. Not with `tokens`.
    #[arg(long, conflicts_with = "tokens")]
    pub targets: Option<PathBuf>,
    /// A header field of every request, `NAME: VALUE`. May be repeated.
    #[arg(long)]
    pub field: Vec<String>,
    /// Count what fails, where else the first failure is the end.
    #[arg(long)]
    pub go_on: bool,
}

/// What came of it. Latencies are from when a request was due until its whole answer was there.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Latencies {
    /// Answers that count: one request of each connection, the first, does not.
    pub answers: u64,
    /// Requests that had no answer at the end; they count with the time that they had waited.
    pub unanswered: u64,
    /// Half of all are below, in µs.
    pub p50_us: f64,
    /// 90 %.
    pub p90_us: f64,
    /// 99 %.
    pub p99_us: f64,
    /// 99.9 %.
    pub p999_us: f64,
    /// The longest.
    pub max_us: f64,
    /// Requests with a wrong answer or none, because their connection broke. Only with `--go-on` there can be any.
    pub failed: u64,
    /// 99 % of the requests that were due in each second, from the first on.
    pub p99_us_each_second: Vec<f64>,
    /// How late 99 % of the requests at most were sent: the client's own part, or that of connections that were all waiting.
    pub late_p99_us: f64,
}

impl Open {
    /// Makes the requests.
    ///
    /// # Errors
    /// An answer is not the right one, or the contestant cannot be reached.
    pub fn run(&self) -> Result<Latencies> {
        ensure!(
            self.rate > 0.0 && self.seconds > 0 && self.connections > 0,
            "rate, seconds and connections are above 0"
        );
        // The kernel may else put off what is due by 50 µs to save power.
        rustix::thread::set_current_timer_slack(NonZeroU64::new(1))?;
        self.run_with(GRACE)
    }

    fn run_with(&self, grace: Duration) -> Result<Latencies> {
        let mut client = Client::new(self)?;
        client.run(grace)?;
        Ok(client.latencies())
    }

    fn requests(&self) -> Result<Vec<Vec<u8>>> {
        let fields: String = self.field.iter().map(|field| format!("{field}\r\n")).collect();
        if let Some(file) = &self.targets {
            return targets(file, &fields);
        }
        let head = format!("GET {} HTTP/1.1\r\nHost: edge.test\r\n{fields}", self.path);
        let Some(file) = &self.tokens else { return Ok(vec![format!("{head}\r\n").into_bytes()]) };
        let tokens = fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
        let requests: Vec<Vec<u8>> = tokens
            .lines()
            .map(|token| format!("{head}Authorization: Bearer {token}\r\n\r\n").into_bytes())
            .collect();
        ensure!(!requests.is_empty(), "there is no token in {}", file.display());
        Ok(requests)
    }
}

/// A request for each line of a file, `HOST PATH`.
fn targets(file: &Path, fields: &str) -> Result<Vec<Vec<u8>>> {
    let text = fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    let request = |line: &str| {
        let (host, path) = line.split_once(' ').with_context(|| format!("no `HOST PATH`: `{line}`"))?;
        Ok(format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n{fields}\r\n").into_bytes())
    };
    let requests: Vec<Vec<u8>> = text.lines().map(request).collect::<Result<_>>()?;
    ensure!(!requests.is_empty(), "there is no target in {}", file.display());
    Ok(requests)
}

/// When each request is due.
#[derive(Debug, Clone, Copy)]
struct Schedule {
    start: Instant,
    interval_ns: f64,
    requests: u64,
}

impl Schedule {
    fn due(&self, number: u64) -> Instant {
        self.start + Duration::from_nanos((number as f64 * self.interval_ns) as u64)
    }

    /// The second in which it is due.
    fn second(&self, number: u64) -> usize {
        (number as f64 * self.interval_ns / 1e9) as usize
    }
}

struct Client {
    address: SocketAddr,
    expected: Expected,
    requests: Vec<Vec<u8>>,
    schedule: Schedule,
    epoll: OwnedFd,
    space: Space,
    connections: Vec<Connection>,
    /// The request that each connection waits for, by its number.
    waits: Vec<Option<u64>>,
    /// Connections that wait for nothing. The one that was used longest ago is next, so that all are in use at any rate.
    idle: VecDeque<usize>,
    next: u64,
    latency: Histogram<u64>,
    /// By the second in which a request was due.
    seconds: Vec<Histogram<u64>>,
    late: Histogram<u64>,
    unanswered: u64,
    go_on: bool,
    failed: u64,
}

impl Client {
    fn new(open: &Open) -> Result<Client> {
        let address = SocketAddr::from(([127, 0, 0, 1], open.port));
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let count = open.connections as usize;
        let mut connections = Vec::with_capacity(count);
        for index in 0..count {
            let connection = Connection::open(address)?;
            watch(&epoll, &connection, index)?;
            connections.push(connection);
        }
        let requests = (open.rate * f64::from(open.seconds)) as u64 + u64::from(open.connections);
        Ok(Client {
            address,
            expected: Expected { status: open.status, body_bytes: open.body_bytes },
            requests: open.requests()?,
            schedule: Schedule { start: Instant::now(), interval_ns: 1e9 / open.rate, requests },
            epoll,
            space: Space::new(),
            connections,
            waits: vec![None; count],
            idle: (0..count).collect(),
            next: 0,
            latency: Histogram::new_with_max(LATENCY_NS_MAX, 3)?,
            seconds: vec![Histogram::new_with_max(LATENCY_NS_MAX, 3)?; open.seconds as usize],
            late: Histogram::new_with_max(LATENCY_NS_MAX, 3)?,
            unanswered: 0,
            go_on: open.go_on,
            failed: 0,
        })
    }

    fn run(&mut self, grace: Duration) -> Result<()> {
        self.schedule.start = Instant::now();
        let end = self.schedule.due(self.schedule.requests) + grace;
        let mut events: Vec<epoll::Event> = Vec::with_capacity(EVENTS);
        loop {
            let now = self.send_due()?;
            let all_sent = self.next == self.schedule.requests;
            if (all_sent && self.idle.len() == self.connections.len()) || now >= end {
                break;
            }
            // While all connections wait for answers, what is due next is no reason to wake up.
            let until = if all_sent || self.idle.is_empty() { end } else { self.schedule.due(self.next) };
            let timeout = Timespec::try_from(until.saturating_duration_since(now))?;
            events.clear();
            epoll::wait(&self.epoll, rustix::buffer::spare_capacity(&mut events), Some(&timeout))?;
            for event in &events {
                self.read(usize::try_from(event.data.u64())?)?;
            }
        }
        self.give_up(end);
        Ok(())
    }

    /// Sends what is due as far as connections are free. When it looked last.
    fn send_due(&mut self) -> Result<Instant> {
        loop {
            let now = Instant::now();
            if self.next == self.schedule.requests {
                return Ok(now);
            }
            let due = self.schedule.due(self.next);
            if due > now {
                return Ok(now);
            }
            let Some(index) = self.idle.pop_front() else { return Ok(now) };
            let request = &self.requests[(self.next % self.requests.len() as u64) as usize];
            let sent = self.connections[index].send(request);
            self.waits[index] = Some(self.next);
            if self.counts(self.next) {
                self.late.saturating_record(nanos(now - due));
            }
            self.next += 1;
            sent.or_else(|error| self.fail(index, error))?;
        }
    }

    fn read(&mut self, index: usize) -> Result<()> {
        match self.connections[index].read(&mut self.space, self.expected) {
            Ok(Progress::Waits) => Ok(()),
            Ok(Progress::Whole) => {
                let number = self.waits[index].take().context("an answer to no request")?;
                self.idle.push_back(index);
                self.record(number, Instant::now());
                Ok(())
            }
            Ok(Progress::Closed) if self.waits[index].is_none() => self.reopen(index),
            Ok(Progress::Closed) => {
                self.fail(index, anyhow!("a connection was closed in place of an answer"))
            }
            Err(error) => self.fail(index, error),
        }
    }

    /// Counts a request as failed and goes on with a new connection, or ends.
    fn fail(&mut self, index: usize, error: Error) -> Result<()> {
        if !self.go_on {
            return Err(error);
        }
        if self.waits[index].take().is_some() {
            self.failed += 1;
            self.idle.push_back(index);
        }
        self.reopen(index)
    }

    fn reopen(&mut self, index: usize) -> Result<()> {
        self.connections[index] = Connection::open(self.address)?;
        watch(&self.epoll, &self.connections[index], index)
    }

    /// The first request of each connection makes the other side set it up.
    fn counts(&self, number: u64) -> bool {
        number >= self.connections.len() as u64
    }

    fn record(&mut self, number: u64, end: Instant) {
        if self.counts(number) {
            let latency = nanos(end.saturating_duration_since(self.schedule.due(number)));
            self.latency.saturating_record(latency);
            // As many as connections come behind the last second; they stand for the first, which do not count.
            if let Some(second) = self.seconds.get_mut(self.schedule.second(number)) {
                second.saturating_record(latency);
            }
        }
    }

    /// Counts what has no answer with the time it has waited: to leave it out would be to leave out the worst.
    fn give_up(&mut self, end: Instant) {
        let waiting: Vec<u64> =
            self.waits.iter().copied().flatten().chain(self.next..self.schedule.requests).collect();
        for number in waiting {
            self.unanswered += 1;
            self.record(number, end);
        }
    }

    fn latencies(&self) -> Latencies {
        let us = |ns: u64| ns as f64 / 1e3;
        let at = |quantile: f64| us(self.latency.value_at_quantile(quantile));
        Latencies {
            answers: self.latency.len().saturating_sub(self.unanswered),
            unanswered: self.unanswered,
            p50_us: at(0.5),
            p90_us: at(0.9),
            p99_us: at(0.99),
            p999_us: at(0.999),
            max_us: us(self.latency.max()),
            failed: self.failed,
            p99_us_each_second: self
                .seconds
                .iter()
                .map(|second| us(second.value_at_quantile(0.99)))
                .collect(),
            late_p99_us: us(self.late.value_at_quantile(0.99)),
        }
    }
}

fn watch(epoll: &OwnedFd, connection: &Connection, index: usize) -> Result<()> {
    let data = epoll::EventData::new_u64(index as u64);
    Ok(epoll::add(epoll, connection.stream(), data, epoll::EventFlags::IN)?)
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader, Write};
    use std::net::TcpListener;
    use std::sync::mpsc;
    use std::thread;

    use super::*;

    fn open(port: u16, tokens: Option<PathBuf>) -> Open {
        Open {
            port,
            path: "/a".to_owned(),
            rate: 200.0,
            seconds: 1,
            connections: 2,
            body_bytes: 2,
            status: 200,
            tokens,
            targets: None,
            go_on: false,
            field: vec!["Origin: https://app.test".to_owned()],
        }
    }

    /// A server that tells what each request asked with, and answers with `answer` of its number on the connection.
    fn server(answer: fn(usize) -> &'static str) -> (u16, mpsc::Receiver<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let (told, tells) = mpsc::channel();
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (stream, told) = (stream.unwrap(), told.clone());
                thread::spawn(move || {
                    let lines = BufReader::new(stream.try_clone().unwrap()).lines().map_while(Result::ok);
                    let mut number = 0;
                    for line in lines {
                        if let Some(token) = line.strip_prefix("Authorization: ") {
                            let _ = told.send(token.to_owned());
                        }
                        if line.is_empty() {
                            let _ = (&stream).write_all(answer(number).as_bytes());
                            number += 1;
                        }
                    }
                });
            }
        });
        (port, tells)
    }

    #[test]
    fn every_request_is_made_and_tokens_take_turns() {
        let (port, tells) = server(|_| "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("tokens");
        fs::write(&file, "a\nb\nc\n").unwrap();
        let found = open(port, Some(file)).run().unwrap();
        assert_eq!((found.answers, found.unanswered), (200, 0));
        assert!(found.p50_us <= found.p99_us && found.p99_us <= found.max_us, "{found:?}");
        let all: Vec<String> = tells.try_iter().collect();
        assert_eq!(all.len(), 202, "with the first of each connection");
        assert_eq!(all.iter().filter(|token| *token == "Bearer a").count(), 68);
    }

    #[test]
    fn one_wrong_answer_ends_it() {
        let (port, _tells) = server(|number| match number {
            3 => "HTTP/1.1 503 Busy\r\nContent-Length: 2\r\n\r\nno",
            _ => "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
        });
        assert_eq!(open(port, None).run().unwrap_err().to_string(), "status 503 in place of 200");
    }

    #[test]
    fn who_goes_on_counts_what_fails() {
        let (port, _tells) = server(|number| match number {
            3 => "HTTP/1.1 503 Busy\r\nContent-Length: 2\r\n\r\nno",
            _ => "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
        });
        let found = Open { go_on: true, ..open(port, None) }.run().unwrap();
        // Every fourth, because a connection that has failed is made anew.
        assert!((45..=50).contains(&found.failed), "{found:?}");
        assert_eq!(found.answers + found.failed, 200);
        assert_eq!(found.p99_us_each_second.len(), 1);
    }

    #[test]
    fn targets_have_a_host_and_a_path() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("targets");
        fs::write(&file, "a.test /x\nb.test /y\n").unwrap();
        let requests = targets(&file, "A: b\r\n").unwrap();
        assert_eq!(requests[1], b"GET /y HTTP/1.1\r\nHost: b.test\r\nA: b\r\n\r\n");
        fs::write(&file, "/x\n").unwrap();
        assert_eq!(targets(&file, "").unwrap_err().to_string(), "no `HOST PATH`: `/x`");
    }

    /// Coordinated omission: a server that stops answering must not make the requests disappear that were due meanwhile.
    #[test]
    fn requests_that_wait_count_with_the_time_they_have_waited() {
        let (port, _tells) = server(|number| match number {
            0..10 => "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
            _ => "",
        });
        let grace = Duration::from_millis(100);
        let found = open(port, None).run_with(grace).unwrap();
        // All but those of the first ten on each of the two connections, of 202.
        assert_eq!((found.answers, found.unanswered), (18, 182));
        assert!(found.p50_us >= grace.as_secs_f64() * 1e6, "{found:?}");
    }
}
