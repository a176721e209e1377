//! A thousand slow clients: the memory they take, and what they do to a fast one beside them.

use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::NAME;
use crate::contest::{Calls, Client, Round, Running, SALLYPORT, Samples, Settings};
use crate::data::{Better, Check, Goal};
use crate::load::slow::Left;

/// How many there are.
const CLIENTS: u32 = 1000;
/// How often the fast client asks in a second, and over how many connections.
const FAST: (f64, u32) = (500.0, 16);
/// What it asks for.
const FAST_BYTES: u64 = 100;
/// Before figures are taken, every slow client moves once or twice.
const SETTLE: Duration = Duration::from_secs(3);
/// How often the fast client is looked at.
const TIMES_MAX: u32 = 3;

const ALONE: &str = "alone";
const BESIDE: &str = "beside 1,000 slow clients";

/// The measures while they are being made.
pub(super) struct Slow {
    memory: Samples,
    connect: Samples,
    latency: Samples,
}

/// The measures of all.
pub(super) fn measure(settings: &Settings, contestants: &[Running], checks: &mut Vec<Check>) -> Result<Slow> {
    let mut slow = Slow {
        memory: Samples::new("slow_memory", "Memory for 1,000 slow clients", "MiB", Better::Lower),
        connect: Samples::new("slow_connect", "Until 1,000 slow clients are connected", "ms", Better::Lower),
        latency: Samples::new("slow_p99", "A fast client's 99th percentile", "ms", Better::Lower),
    };
    for running in contestants {
        turn(settings, running, &mut slow).with_context(|| running.name.clone())?;
        checks.push(Check {
            contestant: running.name.clone(),
            what: format!("{CLIENTS} slow clients are served for as long as they want"),
        });
    }
    Ok(slow)
}

fn turn(settings: &Settings, running: &Running, slow: &mut Slow) -> Result<()> {
    let times = settings.rounds.min(TIMES_MAX);
    // To get warm.
    fast(running, 1)?;
    let alone: Vec<f64> = (0..times).map(|_| fast(running, settings.seconds)).collect::<Result<_>>()?;
    running.process.forget_peak()?;
    let before = running.process.resident_kib()?;
    let start = Instant::now();
    let options = [
        ("--port", running.port.to_string()),
        ("--clients", CLIENTS.to_string()),
        // Until the fast client is done, which takes a little to start and to wait for its last answers.
        ("--seconds", (SETTLE.as_secs() + u64::from(times * (settings.seconds + 1))).to_string()),
    ];
    let mut clients = Client::start("slow", &options)?;
    clients.says("ready")?;
    let connected = start.elapsed();
    sleep(SETTLE);
    let held = running.process.resident_kib()?;
    let beside: Vec<f64> = (0..times).map(|_| fast(running, settings.seconds)).collect::<Result<_>>()?;
    let peak = running.process.peak_kib()?;
    let left: Left = clients.found()?;
    ensure!(left.head + left.body + left.reading == CLIENTS as usize, "not all were put up with: {left:?}");
    let mib = |kib: u64| kib.saturating_sub(before) as f64 / 1024.0;
    let held = mib(held);
    let peak = mib(peak);
    settings.progress(
        NAME,
        &format!("slow clients: {} {held:.0} MiB, {peak:.0} MiB at most; connected in {connected:.1?}; p99 {alone:.2?} ms, beside them {beside:.2?} ms", running.name),
    );
    let once = Round { number: 1 };
    slow.memory.add(once, &running.name, "at most", None, peak);
    slow.memory.add(once, &running.name, "once connected", None, held);
    slow.connect.add(once, &running.name, "connected", None, connected.as_secs_f64() * 1e3);
    for (case, all) in [(ALONE, alone), (BESIDE, beside)] {
        for p99 in all {
            slow.latency.add(once, &running.name, case, None, p99);
        }
    }
    Ok(())
}

/// The 99th percentile of a fast client, in ms.
fn fast(running: &Running, seconds: u32) -> Result<f64> {
    let (rate, connections) = FAST;
    let calls = Calls::get(running.port, &format!("/bytes/{FAST_BYTES}"), FAST_BYTES);
    let found = calls.at_rate(connections, rate, seconds)?;
    ensure!(found.unanswered == 0, "{} requests of a fast client have no answer", found.unanswered);
    Ok(found.p99_us / 1e3)
}

impl Slow {
    /// Slow clients must not show.
    pub(super) fn goals(&self) -> Vec<Goal> {
        let p99 = |case| self.latency.median(SALLYPORT.name, case);
        let goal = |(alone, beside): (f64, f64)| Goal {
            what: "p99 of a fast client beside 1,000 slow ones, over alone".to_owned(),
            found: beside / alone,
            at_most: 2.0,
            unit: "×".to_owned(),
        };
        p99(ALONE).zip(p99(BESIDE)).map(goal).into_iter().collect()
    }

    /// All of them.
    pub(super) fn samples(self) -> [Samples; 3] {
        [self.memory, self.connect, self.latency]
    }
}
