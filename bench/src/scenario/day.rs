//! The platform's own day: a hundred users log in, register batches, upload, poll the overview, and watch live events.

mod inside;
mod plan;
mod platform;
mod user;
mod users;
mod watch;
mod way;

use std::fs;
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use self::plan::KINDS;
use self::platform::Platform;
pub use self::users::Users;
use super::own;
use crate::contest::{Request, Round, Samples, Settings};
use crate::data::{Better, Check, Goal, Measure, Scenario};

/// The names in figures.
const THROUGH: &str = "through Sallyport";
const STRAIGHT: &str = "straight to the services";

/// The users of the promise, and how long each looks at something.
const USERS: u64 = 100;
const THINK: Duration = Duration::from_secs(2);
/// Of what is not kept.
const WARM: Round = Round { number: 0 };
/// How often half of saturation is looked for.
const TRIES: u32 = 2;
/// They log in within so many seconds: the platform checks a hundred batches at a time, for 3.5 seconds each, and everybody begins
/// with one.
const ARRIVE_SECONDS: u64 = 6;
/// Of the edge's core, at half of saturation, and how far off it may be to be called that.
const HALF: f64 = 0.5;
const HALF_OFF: f64 = 0.1;
/// How late the client may be itself with 1 % of the requests. Beyond, its core is the one that is at its limit.
const LATE_MS_MAX: f64 = 5.0;
/// Requests a second of a user there: routes.yaml allows 20.
const RATE_OF_USER: f64 = 5.0;
const USERS_MAX: f64 = 600.0;
/// The log is written this much later, at the most.
const LOG_DELAY: Duration = Duration::from_millis(300);

/// The name on the command line.
pub const NAME: &str = "day";

const ABOUT: &str = "\
The platform of `sallyport demo`: its services and its Kafka in one process, and in front of them, pinned to its own core with \
one thread, an edge with the very routes.yaml of this repository: TLS, tokens, CORS, security headers, rate limits, an \
overview composed of four services and a view, the view's own routes, and live events of Kafka over WebSocket. Each user \
has an address, logs in, opens a live connection, registers a batch, uploads a file, and then does things at random: 40 % \
overview, 15 % list, 15 % one batch, 10 % view, 5 % each register, upload (100 KB), download, results.

*Straight to the services* is the same plan, to the millisecond, without TLS and without the edge; the overview is then what a \
client would do itself, as much at once as it can. The view is there through the edge only. Times are from the moment \
a request was due to the end of its answer, and *live event* is from the registration to its event on the user's own live \
connection: the broker inside librdkafka, which the demo has for Kafka, answers a consumer that waits only when its wait of \
50 ms is over, so that half of that is the broker's (the scenario `live` has a real Kafka). At half of saturation the users \
are so many that the edge's core is busy half of the time.

Clients, services and Kafka share the other core: at half of saturation it is the busier one, and what it adds is in both ways.";

/// A number of users and how long they think.
#[derive(Debug, Clone, Copy)]
struct Crowd {
    users: u64,
    think: Duration,
    arrive: u64,
    seconds: u64,
    /// Whether the platform can check every batch that they register (it checks a hundred at a time).
    all_events: bool,
}

/// What was found of a crowd.
struct Found {
    p50: Samples,
    p95: Samples,
    p99: Samples,
    inside_p50: Samples,
    inside_p99: Samples,
}

/// What one run through the edge has used.
struct Used {
    requests: f64,
    seconds: f64,
    cpu: f64,
    /// How late the client itself was with 1 % of them, in ms.
    late_ms: f64,
}

/// Runs it.
///
/// # Errors
/// Something does not start, or an answer or an event was not what it has to be.
pub fn run(settings: &Settings) -> Result<Scenario> {
    let folder = settings.folder_of(NAME)?;
    let platform = Platform::start(settings, &folder)?;
    let mut checks = checks(&platform)?;
    let seconds = if settings.quick { 6 } else { 60 };
    let hundred = Crowd { users: USERS, think: THINK, arrive: ARRIVE_SECONDS, seconds, all_events: true };
    let mut load =
        Samples::new("load", "The mix: how much of it, and what it takes of the edge", "", Better::Lower);
    let mut day = Found::new("users", "100 users");
    let mut half = Found::new("half", "half of saturation");

    settings.progress(NAME, "getting warm, and looking for half of saturation");
    let (_, mut used) = through(&platform, WARM, Crowd { seconds: 2, ..hundred })?;
    let mut busy = busy(&used, settings);
    // What a request takes is another thing when there are many, so it is tried.
    for _ in 0..TRIES {
        (_, used) = through(&platform, WARM, Crowd { seconds: 4, ..busy })?;
        busy = busy.with_share(used.cpu / used.seconds);
    }
    // A short run has one round, because a day is long.
    for round in
        settings.rounds().filter(|round| round.counts()).take(if settings.quick { 1 } else { usize::MAX })
    {
        settings.progress(NAME, &format!("{USERS} users, {round}"));
        day.round(&platform, round, hundred)?.add(&mut load, round, "100 users");
        settings.progress(NAME, &format!("{} users without rest, {round}", busy.users));
        half.round(&platform, round, busy)?.add(&mut load, round, "half of saturation");
    }
    let events = watch::EVENTS_OF_BATCH;
    checks.extend(
        [
            "no token, and one that somebody has changed: 401".to_owned(),
            "every answer is the asking user's own".to_owned(),
            format!("all {events} events of each batch came to its owner, each once, and to nobody else"),
        ]
        .map(|what| Check { contestant: THROUGH.to_owned(), what }),
    );
    let (goals, missing) = (goals(&day, &half, &load), missing(&load));
    let half = if is_half(&load) { half.measures() } else { Vec::new() };
    let measures = [day.measures(), half, vec![load.measure()]].concat();
    Ok(Scenario {
        name: NAME.to_owned(),
        title: "The platform's own day".to_owned(),
        about: ABOUT.to_owned(),
        checks,
        measures,
        goals,
        missing,
    })
}

/// A crowd's day through the edge: what its users say, and what it has used.
fn through(platform: &Platform, round: Round, crowd: Crowd) -> Result<(Value, Used)> {
    let arguments = crowd.arguments(round);
    let edge = ["--edge", &platform.address, "--ca", &platform.authority];
    let before = platform.edge.cpu()?;
    let said = own::load("users", arguments.iter().map(String::as_str).chain(edge))?;
    let cpu = platform.edge.cpu()?.saturating_sub(before).as_secs_f64();
    let number = |name: &str| said[name].as_f64().with_context(|| format!("no `{name}` in {said}"));
    let used = Used {
        requests: number("requests")?,
        seconds: number("seconds")?,
        cpu,
        late_ms: own::millis(&said["late"], "p99_us")?,
    };
    Ok((said, used))
}

/// As many users as keep the edge's core busy for half of the time.
fn busy(used: &Used, settings: &Settings) -> Crowd {
    let rate = HALF * used.requests / used.cpu;
    let users = (rate / RATE_OF_USER).clamp(USERS as f64, USERS_MAX).ceil();
    let think = Duration::from_secs_f64(users / rate);
    let seconds = if settings.quick { 5 } else { 30 };
    Crowd { users: users as u64, think, arrive: 3, seconds, all_events: false }
}

impl Crowd {
    /// The same crowd, thinking as long as takes it from a share of the core to half of it.
    fn with_share(self, share: f64) -> Crowd {
        Crowd { think: self.think.mul_f64(share / HALF), ..self }
    }

    fn arguments(&self, round: Round) -> Vec<String> {
        let mut arguments: Vec<String> = [
            ("--users", self.users.to_string()),
            ("--think-ms", (self.think.as_secs_f64() * 1000.0).to_string()),
            ("--arrive", self.arrive.to_string()),
            ("--seconds", self.seconds.to_string()),
            ("--seed", round.number.to_string()),
        ]
        .into_iter()
        .flat_map(|(name, value)| [name.to_owned(), value])
        .collect();
        if self.all_events {
            arguments.push("--all-events".to_owned());
        }
        arguments
    }
}

impl Found {
    fn new(name: &str, crowd: &str) -> Found {
        let samples = |part: &str, title: &str| {
            Samples::new(&format!("{name}-{part}"), &format!("{title}, {crowd}"), "ms", Better::Lower)
        };
        Found {
            p50: samples("p50", "Time of a request (p50)"),
            p95: samples("p95", "Time of a request (p95)"),
            p99: samples("p99", "Time of a request (p99)"),
            inside_p50: samples("inside-p50", "Of that in the edge, by its log (p50)"),
            inside_p99: samples("inside-p99", "Of that in the edge, by its log (p99)"),
        }
    }

    /// The same day both ways; what it took of the edge.
    fn round(&mut self, platform: &Platform, round: Round, crowd: Crowd) -> Result<Used> {
        let arguments = crowd.arguments(round);
        let services = ["--service"].into_iter().chain(platform.services.iter().map(String::as_str));
        let said = own::load("users", arguments.iter().map(String::as_str).chain(services))?;
        self.add(round, STRAIGHT, &said)?;

        let logged = fs::metadata(&platform.access_log).map_or(0, |log| log.len());
        let (said, used) = through(platform, round, crowd)?;
        self.add(round, THROUGH, &said)?;
        sleep(LOG_DELAY);
        for (kind, (p50, p99)) in inside::read(&platform.access_log, logged)? {
            self.inside_p50.add(round, THROUGH, kind, None, p50);
            self.inside_p99.add(round, THROUGH, kind, None, p99);
        }
        Ok(used)
    }

    fn add(&mut self, round: Round, contestant: &str, said: &Value) -> Result<()> {
        for (_, kind) in KINDS {
            let times = &said["kinds"][kind];
            if times.is_object() {
                for (samples, name) in
                    [(&mut self.p50, "p50_us"), (&mut self.p95, "p95_us"), (&mut self.p99, "p99_us")]
                {
                    samples.add(round, contestant, kind, None, own::millis(times, name)?);
                }
            }
        }
        Ok(())
    }

    /// What the edge adds to all but the slowest 1 % of the requests that both ways have.
    fn added_p99(&self) -> f64 {
        let median = |contestant| self.p99.median(contestant, ALL).unwrap_or(f64::NAN);
        (median(THROUGH) - median(STRAIGHT)).max(0.0)
    }

    /// What its log says that it adds to all but the slowest 1 % of any kind.
    fn inside_p99(&self) -> f64 {
        KINDS.iter().filter_map(|(_, kind)| self.inside_p99.median(THROUGH, kind)).fold(0.0, f64::max)
    }

    fn slowest_p95(&self) -> f64 {
        KINDS.iter().filter_map(|(_, kind)| self.p95.median(THROUGH, kind)).fold(0.0, f64::max)
    }

    fn measures(self) -> Vec<Measure> {
        let Found { p50, p95, p99, inside_p50, inside_p99 } = self;
        [p50, p95, p99, inside_p50, inside_p99].map(Samples::measure).into()
    }
}

impl Used {
    fn add(&self, load: &mut Samples, round: Round, crowd: &str) {
        for (what, value) in [
            ("requests a second", self.requests / self.seconds),
            ("µs CPU a request, live events and view included", self.cpu / self.requests * 1e6),
            (SHARE, self.cpu / self.seconds * 100.0),
            (LATE, self.late_ms),
        ] {
            load.add(round, THROUGH, &format!("{crowd}: {what}"), None, value);
        }
    }
}

const SHARE: &str = "% of the core";
const LATE: &str = "ms that the client itself was late (p99)";
const ALL: &str = "all requests";

fn goals(day: &Found, half: &Found, load: &Samples) -> Vec<Goal> {
    let goal =
        |what: &str, found, at_most| Goal { what: what.to_owned(), found, at_most, unit: "ms".to_owned() };
    let mut goals = vec![
        goal("100 users: p95 of the slowest kind of request", day.slowest_p95(), 500.0),
        goal("100 users: p99 that the edge adds", day.added_p99(), 50.0),
        goal("100 users: p99 within the edge, by its log, of the worst kind", day.inside_p99(), 50.0),
    ];
    // Of a load that was none of the kind there is nothing to say.
    if is_half(load) {
        goals.push(goal("half of saturation: p99 that the edge adds", half.added_p99(), 5.0));
        goals.push(goal(
            "half of saturation: p99 within the edge, by its log, of the worst kind",
            half.inside_p99(),
            5.0,
        ));
    }
    goals
}

/// Whether what was found is about the edge at half of its saturation, and not about the client at its own.
fn is_half(load: &Samples) -> bool {
    let median = |what| load.median(THROUGH, &format!("half of saturation: {what}")).unwrap_or(f64::NAN);
    let range = HALF - HALF_OFF..=HALF + HALF_OFF;
    range.contains(&(median(SHARE) / 100.0)) && median(LATE) <= LATE_MS_MAX
}

fn missing(load: &Samples) -> Vec<String> {
    let mut missing =
        vec!["Rivals: none of them composes, keeps views and sends events of Kafka.".to_owned()];
    if !is_half(load) {
        missing.push(
            "Half of saturation: the edge's core was more than ten points away from half, or the client was late itself, \
             because the other core could not keep up or somebody else used the machine."
                .to_owned(),
        );
    }
    missing
}

/// What the edge does for the platform, before anything is measured.
fn checks(platform: &Platform) -> Result<Vec<Check>> {
    let answer = Request::get(platform.plain, "/v1/batches").host("localhost").send()?;
    ensure!(answer.status == 308, "plain HTTP is answered with {}, not redirected", answer.status);
    let seen = ["plain HTTP is redirected to HTTPS".to_owned()];
    Ok(seen.into_iter().map(|what| Check { contestant: THROUGH.to_owned(), what }).collect())
}
