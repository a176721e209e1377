//! One user: what each kind of request is, and what its answer has to be.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use futures::future::{try_join, try_join_all};
use serde_json::{Value, json};

use super::plan::Kind;
use super::way::{Line, Service};
use crate::scenario::connect::Answer;

/// Of an upload: some essays.
const FILE_BYTES: usize = 100_000;
/// A service shows at most as many results as routes.yaml asks for in an overview.
const RESULTS_MAX: usize = 50;

/// A user.
pub(super) struct User {
    pub(super) line: Line,
    /// Ids of the batches that were registered.
    batches: RefCell<Vec<u64>>,
    /// When each was sent, by its title, until its event has come.
    pub(super) registered: RefCell<HashMap<String, Instant>>,
    titles: Cell<u64>,
    file: Vec<u8>,
}

impl User {
    pub(super) fn new(line: Line) -> User {
        let (batches, registered, titles) = Default::default();
        User { line, batches, registered, titles, file: vec![b'e'; FILE_BYTES] }
    }

    /// Does it, and looks at the answer. What there is nobody to ask for is not done: `false`.
    pub(super) async fn act(&self, kind: Kind) -> Result<bool> {
        match kind {
            Kind::Login => self.log_in().await?,
            Kind::Overview => self.overview().await?,
            Kind::Batches => self.own(&self.get(Service::Batches, "/v1/batches").await?["batches"])?,
            Kind::Batch => {
                let path = format!("/v1/batches/{}", self.some_batch()?);
                self.own(&json!([self.get(Service::Batches, &path).await?]))?;
            }
            Kind::Dashboard if !self.line.through_edge() => return Ok(false),
            Kind::Dashboard => {
                let path = "/v1/dashboard/batches?order=-updated_at&limit=5";
                self.own(&self.get(Service::Batches, path).await?["items"])?;
            }
            Kind::Register => self.register().await?,
            Kind::Upload => {
                let answer =
                    self.line.ask(Service::Files, 201, "PUT /v1/files/essays.txt", &self.file).await?;
                ensure!(parsed(&answer)?["bytes"] == FILE_BYTES, "an upload was not whole");
            }
            Kind::Download => {
                let answer = self.line.ask(Service::Files, 200, "GET /v1/files/essays.txt", b"").await?;
                ensure!(answer.body == self.file, "a download is not what was uploaded");
            }
            Kind::Results => {
                let id = self.some_batch()?;
                let results = self.get(Service::Results, &format!("/v1/results/{id}")).await?;
                ensure!(
                    results["batch"].as_str() == Some(&id.to_string()),
                    "results of another batch: {results}"
                );
            }
            Kind::Event | Kind::All => return Ok(false),
        }
        Ok(true)
    }

    async fn get(&self, service: Service, path: &str) -> Result<Value> {
        parsed(&self.line.ask(service, 200, &format!("GET {path}"), b"").await?)
    }

    async fn log_in(&self) -> Result<()> {
        let session = self.get(Service::Live, &format!("/live/session?user={}", self.line.user())).await?;
        self.line.log_in(session["token"].as_str().context("a session without a token")?);
        Ok(())
    }

    async fn register(&self) -> Result<()> {
        let number = self.titles.replace(self.titles.get() + 1);
        let title = format!("Essays {number} of {}{}", self.line.user(), this_run());
        self.registered.borrow_mut().insert(title.clone(), Instant::now());
        let body = json!({ "title": title }).to_string();
        let answer = self.line.ask(Service::Batches, 201, "POST /v1/batches", body.as_bytes()).await?;
        let batch = parsed(&answer)?;
        ensure!(batch["title"] == title && batch["owner"] == self.line.user(), "another batch: {batch}");
        self.batches.borrow_mut().push(batch["id"].as_u64().context("a batch without an id")?);
        Ok(())
    }

    /// Through the edge one request; without it what a client would ask for, as much at once as it can: profile and batches,
    /// then the results of all batches.
    async fn overview(&self) -> Result<()> {
        let overview = if self.line.through_edge() {
            self.get(Service::Users, "/v1/overview").await?
        } else {
            let profile = format!("/v1/users/{}", self.line.user());
            let (profile, mut batches) =
                try_join(self.get(Service::Users, &profile), self.get(Service::Batches, "/v1/batches"))
                    .await?;
            let batches = batches["batches"].take();
            let ids =
                batches.as_array().into_iter().flatten().take(RESULTS_MAX).map(|batch| batch["id"].clone());
            let results = try_join_all(
                ids.map(|id| async move { self.get(Service::Results, &format!("/v1/results/{id}")).await }),
            );
            json!({ "profile": profile, "batches": batches, "results": results.await?, "progress": [] })
        };
        ensure!(overview["profile"]["id"] == self.line.user(), "another profile: {overview}");
        ensure!(overview["progress"].is_array(), "an overview without progress: {overview}");
        let results = overview["results"].as_array().map_or(0, Vec::len);
        let batches = overview["batches"].as_array().map_or(0, Vec::len);
        ensure!(results == batches.min(RESULTS_MAX), "an overview without results: {overview}");
        self.own(&overview["batches"])
    }

    /// All of them have to be this user's.
    fn own(&self, batches: &Value) -> Result<()> {
        let batches = batches.as_array().context("no list of batches")?;
        ensure!(batches.iter().all(|batch| batch["owner"] == self.line.user()), "a batch of somebody else");
        Ok(())
    }

    fn some_batch(&self) -> Result<u64> {
        let batches = self.batches.borrow();
        // Whichever it is does not matter: the newest is the one that people look at.
        batches.last().copied().context("there is no batch yet")
    }
}

/// The end of the titles of this run's batches: the platform may still be checking those of the run before.
pub(super) fn this_run() -> String {
    format!(" in {}", std::process::id())
}

fn parsed(answer: &Answer) -> Result<Value> {
    serde_json::from_slice(&answer.body).context("an answer that is not JSON")
}
