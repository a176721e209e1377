//! The users of the platform for a while: everybody logs in, has a live connection, and does things at the times of the plan.
//! Prints what each kind of request took, from the moment it was due to the end of its answer.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clap::Args;
use serde_json::{Value, json};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::{Notify, oneshot};
use tokio::task::{JoinSet, LocalSet};

use super::plan::{KINDS, Kind, plan};
use super::user::User;
use super::watch::{EVENTS_OF_BATCH, watch};
use super::way::{Service, Way};
use crate::scenario::pace::{Times, paced};

/// How long events may take that are still on their way when everybody has done what was planned.
const EVENTS_WAIT: Duration = Duration::from_secs(15);
/// How long a live connection may take to be subscribed.
const SUBSCRIBED_WAIT: Duration = Duration::from_secs(30);

/// Options of `load users`.
#[derive(Debug, Args)]
pub struct Users {
    #[command(flatten)]
    way: Way,
    /// How many.
    #[arg(long)]
    users: usize,
    /// Between two requests of a user, in the mean, in milliseconds.
    #[arg(long)]
    think_ms: f64,
    /// They log in within the first so many seconds. What else is due in that time does not count.
    #[arg(long)]
    arrive: f64,
    /// How long they stay after that.
    #[arg(long)]
    seconds: f64,
    /// Of the plan.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Wait until each batch has been checked, and see that all of its events have come.
    #[arg(long)]
    all_events: bool,
}

/// What users have seen, together.
#[derive(Default)]
pub(super) struct Seen {
    times: RefCell<BTreeMap<Kind, Times>>,
    events: Cell<u64>,
    batches: Cell<u64>,
    requests: Cell<u64>,
    changed: Notify,
    /// How late this client was itself in handing requests to its users.
    late: RefCell<Times>,
    /// What went wrong on a live connection.
    wrong: RefCell<Option<anyhow::Error>>,
    counts_from: Cell<Option<Instant>>,
}

impl Seen {
    fn took(&self, kind: Kind, due: Instant, until: Instant) {
        if kind == Kind::Login || self.counts_from.get().is_some_and(|from| due >= from) {
            let mut times = self.times.borrow_mut();
            times.entry(kind).or_default().add(until - due);
            // The view is there through the edge only, and an event is no request.
            if !matches!(kind, Kind::Dashboard | Kind::Event) {
                times.entry(Kind::All).or_default().add(until - due);
            }
        }
    }

    /// The event of a registration has come.
    pub(super) fn registered(&self, sent: Instant, seen: Instant) {
        self.took(Kind::Event, sent, seen);
        self.batches.set(self.batches.get() + 1);
    }

    fn is_well(&self) -> Result<()> {
        self.wrong.borrow_mut().take().map_or(Ok(()), Err)
    }

    /// An event has come.
    pub(super) fn event(&self) {
        self.events.set(self.events.get() + 1);
        self.changed.notify_waiters();
    }
}

impl Users {
    /// Runs it and prints one JSON object.
    ///
    /// # Errors
    /// An answer or an event was not what it has to be.
    #[allow(clippy::print_stdout, reason = "what it prints is what it is for")]
    pub fn run(&self) -> Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        println!("{}", runtime.block_on(LocalSet::new().run_until(self.live()))?);
        Ok(())
    }

    async fn live(&self) -> Result<Value> {
        let [arrive, stay] = [self.arrive, self.seconds].map(Duration::from_secs_f64);
        let think = Duration::from_secs_f64(self.think_ms / 1000.0);
        if self.way.edge.is_some() {
            refused(&self.way).await?;
        }
        let seen = Rc::new(Seen::default());
        let mut tasks = JoinSet::new();
        let (mut queues, mut users) = (Vec::new(), Vec::new());
        for number in 0..self.users {
            let user = Rc::new(User::new(self.way.line(number)?));
            let (queue, planned) = unbounded_channel();
            tasks.spawn_local(one(user.clone(), seen.clone(), planned));
            queues.push(queue);
            users.push(user);
        }
        let begin = Instant::now();
        seen.counts_from.set(Some(begin + arrive));
        let planned = plan(self.users, arrive, think, arrive + stay, self.seed);
        self.hand_out(&seen, begin, planned, queues, &mut tasks).await?;
        while let Some(done) = tasks.join_next().await {
            done??;
        }
        let seconds = begin.elapsed().as_secs_f64();
        if self.way.edge.is_some() {
            self.events(&seen, &users).await?;
        }
        Ok(self.said(&seen, seconds))
    }

    /// Tells each user what to do when its time has come.
    async fn hand_out(
        &self,
        seen: &Seen,
        begin: Instant,
        plan: Vec<(Duration, (usize, Kind))>,
        queues: Vec<UnboundedSender<(Instant, Kind)>>,
        tasks: &mut JoinSet<Result<()>>,
    ) -> Result<()> {
        let mut due = paced(begin, plan);
        while let Some((at, (user, kind))) = due.recv().await {
            seen.late.borrow_mut().add(at.elapsed());
            // One who has given up has said why.
            let _ = queues[user].send((at, kind));
            seen.is_well()?;
            while let Some(done) = tasks.try_join_next() {
                done??;
            }
        }
        Ok(())
    }

    /// Waits for the events that are on their way, and looks whether any was missed.
    async fn events(&self, seen: &Seen, users: &[Rc<User>]) -> Result<()> {
        let all_there = || {
            let registered = users.iter().all(|user| user.registered.borrow().is_empty());
            registered
                && (!self.all_events || seen.events.get() == seen.batches.get() * u64::from(EVENTS_OF_BATCH))
        };
        let wait = async {
            while !all_there() {
                seen.is_well()?;
                // An event between the look and the wait is seen: nothing else runs meanwhile.
                seen.changed.notified().await;
            }
            seen.is_well()
        };
        let waited = tokio::time::timeout(EVENTS_WAIT, wait).await;
        let (events, batches) = (seen.events.get(), seen.batches.get());
        waited.with_context(|| format!("events were missed: {events} came of {batches} batches"))?
    }

    fn said(&self, seen: &Seen, seconds: f64) -> Value {
        let times = std::mem::take(&mut *seen.times.borrow_mut());
        let name = |kind: Kind| KINDS.iter().find(|(is, _)| *is == kind).map_or("", |(_, name)| name);
        let kinds: BTreeMap<&str, Value> =
            times.into_iter().map(|(kind, times)| (name(kind), times.summary())).collect();
        json!({
            "requests": seen.requests.get(), "seconds": seconds, "batches": seen.batches.get(),
            "events": seen.events.get(), "kinds": kinds, "late": seen.late.take().summary(),
        })
    }
}

/// The edge lets nobody in without a token, nor with one that was changed: whatever comes after is an edge that does its work.
async fn refused(way: &Way) -> Result<()> {
    let user = User::new(way.line(0)?);
    user.line.ask(Service::Batches, 401, "GET /v1/batches", b"").await.context("without a token")?;
    user.act(Kind::Login).await?;
    let token = user.line.token();
    let (signed, signature) = token.rsplit_once('.').context("a token without a signature")?;
    let other: String = signature.chars().rev().collect();
    user.line.log_in(&format!("{signed}.{other}"));
    user.line.ask(Service::Batches, 401, "GET /v1/batches", b"").await.context("with a changed token")?;
    Ok(())
}

/// A user's day.
async fn one(user: Rc<User>, seen: Rc<Seen>, mut planned: UnboundedReceiver<(Instant, Kind)>) -> Result<()> {
    while let Some((due, kind)) = planned.recv().await {
        if user.act(kind).await? {
            seen.took(kind, due, Instant::now());
            seen.requests.set(seen.requests.get() + 1);
        }
        if kind == Kind::Login && user.line.through_edge() {
            let (tell, subscribed) = oneshot::channel();
            tokio::task::spawn_local(watch_well(user.clone(), seen.clone(), tell));
            let waited = tokio::time::timeout(SUBSCRIBED_WAIT, subscribed).await;
            seen.is_well()?;
            waited.with_context(|| format!("{}: no subscription", user.line.user()))??;
        }
    }
    Ok(())
}

/// Watches, and remembers why it has ended: it should not.
async fn watch_well(user: Rc<User>, seen: Rc<Seen>, subscribed: oneshot::Sender<()>) {
    let Err(error) = watch(&user, &seen, subscribed).await;
    *seen.wrong.borrow_mut() = Some(error);
    seen.changed.notify_waiters();
}
