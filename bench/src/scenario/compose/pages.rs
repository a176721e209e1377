//! Opens pages on time: a page is one composed answer, or calls that a client makes itself, one after another or all at
//! once. On time, and what is printed is what they took, from the moment a page was due to the end of its last answer; or a
//! number of them as fast as answers come, each on the connections of one that is done.
//!
//! No request is like another: each has a number `n` of its own in its query, because equal calls at a time are one call
//! to the edge's aggregator. Existing tools ask for the same again and again, or for the same list on each connection.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use clap::{Args, ValueEnum};
use futures::future::try_join_all;
use serde_json::{Value, json};
use tokio::task::{JoinSet, LocalSet};

use crate::scenario::connect::{Address, Connection};
use crate::scenario::pace::{Times, paced};

/// Pages that may be open at a time; beyond, the rate is more than can be answered and there is nothing to measure.
const OPEN_MAX: usize = 4000;
/// The first of the pages, a tenth, warm pools and caches and are not counted.
const WARM_SHARE: usize = 10;

/// Options of `load pages`.
#[derive(Debug, Args)]
pub struct Pages {
    /// Where to.
    #[arg(long)]
    to: SocketAddr,
    /// What a page asks for. May be repeated.
    #[arg(long = "path", required = true)]
    paths: Vec<String>,
    /// How a page makes its calls.
    #[arg(long, value_enum, default_value_t = Way::Sequence)]
    way: Way,
    /// Pages a second.
    #[arg(long, requires = "seconds", required_unless_present = "count")]
    rate: Option<f64>,
    /// How long.
    #[arg(long)]
    seconds: Option<f64>,
    /// As many pages as this instead, whatever time it takes.
    #[arg(long, conflicts_with = "rate")]
    count: Option<usize>,
    /// Of these, so many at a time.
    #[arg(long, default_value_t = 4)]
    at_a_time: usize,
    /// The length of every answer's body.
    #[arg(long)]
    bytes: usize,
}

/// How a page makes its calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Way {
    /// Each once the one before is answered, on one connection.
    Sequence,
    /// All at once, each on a connection of its own.
    Parallel,
}

struct Client {
    address: Address,
    paths: Vec<String>,
    way: Way,
    bytes: usize,
    idle: RefCell<Vec<Connection>>,
    open: Cell<usize>,
    /// The number of the next request.
    next: Cell<u64>,
}

impl Pages {
    /// Runs it and prints one JSON object.
    ///
    /// # Errors
    /// An answer that is not the expected one, or more pages than can be answered.
    #[allow(clippy::print_stdout, reason = "what it prints is what it is for")]
    pub fn run(&self) -> Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let said = runtime.block_on(LocalSet::new().run_until(self.measure()))?;
        println!("{said}");
        Ok(())
    }

    async fn measure(&self) -> Result<Value> {
        let client = Rc::new(Client {
            address: Address::new(self.to, None)?,
            paths: self.paths.clone(),
            way: self.way,
            bytes: self.bytes,
            idle: RefCell::default(),
            open: Cell::new(0),
            next: Cell::new(0),
        });
        match (self.rate, self.seconds, self.count) {
            (Some(rate), Some(seconds), _) => client.on_time(rate, seconds).await,
            (_, _, Some(count)) => client.at_once(count, self.at_a_time).await,
            _ => bail!("either --rate and --seconds, or --count"),
        }
    }
}

impl Client {
    async fn on_time(self: Rc<Self>, rate: f64, seconds: f64) -> Result<Value> {
        let count = (rate * seconds) as usize;
        let plan = (0..count).map(move |n| (Duration::from_secs_f64(n as f64 / rate), n));
        let mut due = paced(Instant::now(), plan);
        let times = Rc::new(RefCell::new(Times::default()));
        let mut pages = JoinSet::new();
        while let Some((at, n)) = due.recv().await {
            ensure!(self.open.get() < OPEN_MAX, "{OPEN_MAX} pages are open: {rate} a second are too many");
            let (client, times) = (self.clone(), times.clone());
            pages.spawn_local(async move {
                client.open.set(client.open.get() + 1);
                client.page().await?;
                client.open.set(client.open.get() - 1);
                if n >= count / WARM_SHARE {
                    times.borrow_mut().add(at.elapsed());
                }
                anyhow::Ok(())
            });
            while let Some(page) = pages.try_join_next() {
                page??;
            }
        }
        while let Some(page) = pages.join_next().await {
            page??;
        }
        Ok(times.take().summary())
    }

    async fn at_once(self: Rc<Self>, count: usize, at_a_time: usize) -> Result<Value> {
        let begin = Instant::now();
        let left = Rc::new(Cell::new(count));
        let mut lines = JoinSet::new();
        for _ in 0..at_a_time {
            let (client, left) = (self.clone(), left.clone());
            lines.spawn_local(async move {
                while let Some(less) = left.get().checked_sub(1) {
                    left.set(less);
                    client.page().await?;
                }
                anyhow::Ok(())
            });
        }
        while let Some(line) = lines.join_next().await {
            line??;
        }
        Ok(json!({ "count": count, "rate": count as f64 / begin.elapsed().as_secs_f64() }))
    }

    async fn page(&self) -> Result<()> {
        match self.way {
            Way::Sequence => {
                let mut connection = self.connection().await?;
                for path in &self.paths {
                    self.call(&mut connection, path).await?;
                }
                self.idle.borrow_mut().push(connection);
            }
            Way::Parallel => {
                try_join_all(self.paths.iter().map(|path| async move {
                    let mut connection = self.connection().await?;
                    self.call(&mut connection, path).await?;
                    self.idle.borrow_mut().push(connection);
                    anyhow::Ok(())
                }))
                .await?;
            }
        }
        Ok(())
    }

    async fn connection(&self) -> Result<Connection> {
        let idle = self.idle.borrow_mut().pop();
        match idle {
            Some(connection) => Ok(connection),
            None => self.address.connection().await.context("cannot connect"),
        }
    }

    async fn call(&self, connection: &mut Connection, path: &str) -> Result<()> {
        let number = self.next.replace(self.next.get() + 1);
        let request = format!("GET {path}?n={number} HTTP/1.1\r\nHost: localhost\r\n\r\n");
        let answer = connection.ask(request.as_bytes()).await?;
        let (status, length) = (answer.status, answer.body.len());
        ensure!(
            status == 200 && length == self.bytes,
            "{status} with {length} bytes, not 200 with {}",
            self.bytes
        );
        Ok(())
    }
}
