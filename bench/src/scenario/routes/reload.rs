//! A new set of routes while requests come.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};

use super::{MANY, NAME, ONCE, Started, answers};
use crate::contest::{Backend, SALLYPORT, Samples, Settings};
use crate::data::{Better, Goal};
use crate::load::open::Latencies;

/// Requests a second, and the connections they come on.
const RATE: f64 = 1000.0;
const CONNECTIONS: u32 = 64;
/// How long they come.
const QUICK_SECONDS: u32 = 6;
const FULL_SECONDS: u32 = 60;

const WHOLE: &str = "the whole time";
const RELOAD: &str = "the reload's worst second";

/// The measures while they are being made.
pub(super) struct Reloads {
    p99: Samples,
    took: Samples,
    failed: Samples,
}

/// The reload of each.
pub(super) fn measure(settings: &Settings, backend: &Backend, contestants: &[Started]) -> Result<Reloads> {
    let mut reloads = Reloads {
        p99: Samples::new("reload_p99", "99th percentile around a reload", "ms", Better::Lower),
        took: Samples::new("reload_time", "From the new file to the new route", "s", Better::Lower),
        failed: Samples::new("reload_failed", "Requests that failed", "", Better::Lower),
    };
    for started in contestants {
        one(settings, backend, started, &mut reloads).with_context(|| started.running.name.clone())?;
    }
    Ok(reloads)
}

fn one(settings: &Settings, backend: &Backend, started: &Started, reloads: &mut Reloads) -> Result<()> {
    let seconds = if settings.quick { QUICK_SECONDS } else { FULL_SECONDS };
    // To get warm after the others' turns.
    started.calls.at_rate(CONNECTIONS, RATE, 1)?;
    let begin = Instant::now();
    let (found, from, to) = thread::scope(|scope| {
        let load = scope.spawn(|| started.calls.at_rate_going_on(CONNECTIONS, RATE, seconds));
        thread::sleep(Duration::from_secs(u64::from(seconds) / 3));
        let from = begin.elapsed();
        replace(backend, started)?;
        let to = begin.elapsed();
        let found = load.join().map_err(|_| anyhow!("the load broke off"))??;
        anyhow::Ok((found, from, to))
    })?;
    let took = (to - from).as_secs_f64();
    let (whole, worst) = (found.p99_us / 1e3, worst_second(&found, from, to));
    let failed = found.failed + found.unanswered;
    let name = started.idiom.contestant;
    settings.progress(
        NAME,
        &format!(
            "reload: {name} {took:.2} s, p99 {worst:.2} ms in it, {whole:.2} ms in all, {failed} failed"
        ),
    );
    reloads.p99.add(ONCE, name, WHOLE, None, whole);
    reloads.p99.add(ONCE, name, RELOAD, None, worst);
    reloads.took.add(ONCE, name, "reload", None, took);
    reloads.failed.add(ONCE, name, "reload", None, failed as f64);
    Ok(())
}

/// One route more; comes back when it answers.
fn replace(backend: &Backend, started: &Started) -> Result<()> {
    let text = started.idiom.file(MANY + 1, backend.port);
    started.running.reload(&started.routes, &text)?;
    answers(started.idiom, &started.running, MANY)
}

/// The highest 99th percentile of the seconds from one time to another, both included, in ms.
fn worst_second(found: &Latencies, from: Duration, to: Duration) -> f64 {
    let first = usize::try_from(from.as_secs()).unwrap_or(usize::MAX);
    let seconds = found.p99_us_each_second.iter().skip(first);
    // One more: the client begins a little later than the clock here.
    let within = seconds.take(usize::try_from((to - from).as_secs()).unwrap_or(usize::MAX).saturating_add(2));
    within.copied().fold(0.0, f64::max) / 1e3
}

impl Reloads {
    pub(super) fn goals(&self) -> Vec<Goal> {
        let ratio =
            || Some(self.p99.median(SALLYPORT.name, RELOAD)? / self.p99.median(SALLYPORT.name, WHOLE)?);
        let goal = |what: &str, found, at_most, unit: &str| Goal {
            what: what.to_owned(),
            found,
            at_most,
            unit: unit.to_owned(),
        };
        let failed = self.failed.median(SALLYPORT.name, "reload");
        let failed =
            failed.map(|failed| goal("requests that fail in a reload of 10,000 routes", failed, 0.0, ""));
        let ratio = ratio().map(|ratio| {
            goal("p99 in the second of the reload, over that of the whole time", ratio, 1.5, "×")
        });
        failed.into_iter().chain(ratio).collect()
    }

    pub(super) fn samples(self) -> [Samples; 3] {
        [self.p99, self.took, self.failed]
    }
}
