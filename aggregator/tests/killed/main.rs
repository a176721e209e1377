//! The program `sallyport-aggregator`, killed again and again while events come: at the end each event counts once. With the
//! broker inside librdkafka, and with a real Apache Kafka, whose address (`host:port`) is in `SALLYPORT_TEST_KAFKA`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod embedded;
mod program;
mod real;
mod sums;

use std::time::{Duration, Instant};

/// Nothing here takes so long unless it is broken.
const PATIENCE: Duration = Duration::from_secs(120);

/// How often the program is killed before it may go on to the end.
const KILLS: usize = 15;

/// Asks again and again until `probe` answers `Some`.
fn until<T>(what: &str, mut probe: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(value) = probe() {
            return value;
        }
        assert!(began.elapsed() < PATIENCE, "never happened: {what}");
        // Bounds the cost of asking; the outcome does not depend on its length.
        std::thread::park_timeout(Duration::from_millis(2));
    }
}

/// A random number generator whose seed is told, so that a run can be told again: `KILLED_SEED=…`.
fn random() -> fastrand::Rng {
    let seed = std::env::var("KILLED_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = seed.unwrap_or_else(|| fastrand::u64(..));
    eprintln!("KILLED_SEED={seed}");
    fastrand::Rng::with_seed(seed)
}
