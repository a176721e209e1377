//! What a view's fold tells about itself: to the log, to metrics, and to whoever asks.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use log::warn;
use prometheus::IntCounter;
use sallyport_kafka::Record;

use super::batch::Outcome;
use super::metrics::ViewMetrics;
use super::poison::{Poison, PoisonReason};

/// How often a poison record is logged.
const SAMPLE_EVERY: Duration = Duration::from_secs(10);

/// How a view is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ViewStatus {
    /// Rows, as of the last commit.
    pub rows: u64,
    /// Whether a store is being built that queries do not see yet; how much of it, in thousandths, and why.
    pub building: Option<Building>,
    /// Since when events are missing that Kafka deleted before they were read, milliseconds since 1970.
    pub incomplete_since: Option<i64>,
    /// Events that would have made one row too many.
    pub left_out: u64,
    /// The last error of the store, until it works again.
    pub failing: Option<String>,
}

/// A store that is being built.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Building {
    /// Why: `new`, `fold`, `damage`, `topic`.
    pub reason: &'static str,
    /// How much of what was there at the start is folded, in thousandths.
    pub thousandths: u16,
}

/// Counts events by what became of them, and logs a sample of those that could not be folded.
pub(super) struct Tally {
    view: Box<str>,
    outcomes: [IntCounter; Outcome::ALL.len()],
    poison: HashMap<PoisonReason, IntCounter>,
    sampled: Option<Instant>,
    unsampled: u64,
}

impl Tally {
    pub(super) fn new(view: &str, metrics: &ViewMetrics) -> Tally {
        let counter = |result: &str| metrics.events.with_label_values(&[view, result]);
        Tally {
            view: view.into(),
            outcomes: Outcome::ALL.map(|outcome| counter(outcome.label())),
            poison: PoisonReason::ALL
                .iter()
                .map(|reason| (*reason, counter(&format!("poison_{}", reason.label()))))
                .collect(),
            sampled: None,
            unsampled: 0,
        }
    }

    pub(super) fn count(&self, outcome: Outcome) {
        // The counters are in the order of the outcomes.
        self.outcomes[outcome as usize].inc();
    }

    pub(super) fn poison(&mut self, record: &Record, poison: &Poison) {
        if let Some(counter) = self.poison.get(&poison.reason) {
            counter.inc();
        }
        if self.sampled.is_some_and(|sampled| sampled.elapsed() < SAMPLE_EVERY) {
            self.unsampled += 1;
            return;
        }
        let others = match std::mem::take(&mut self.unsampled) {
            0 => String::new(),
            others => format!("; {others} others since the last such line"),
        };
        let Record { topic, partition, offset, .. } = record;
        warn!("view `{}`: {topic}/{partition} offset {offset} cannot be folded: {poison}{others}", self.view);
        self.sampled = Some(Instant::now());
    }
}
