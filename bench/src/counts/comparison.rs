//! Counts beside their baselines: a table for people, and whether it is a failure.

use std::collections::BTreeSet;
use std::fmt;

use super::{Baselines, Count, Counts, MadeWith};

/// The cases, sorted by name.
#[derive(Debug)]
pub struct Comparison {
    /// One a case or baseline.
    pub rows: Vec<Row>,
    /// With what the baselines were made, if it was with something else; then nobody can say whose a difference is.
    pub made_otherwise: Option<String>,
}

/// One case.
#[derive(Debug)]
pub struct Row {
    /// Its name.
    pub name: String,
    /// The baseline.
    pub before: Option<Count>,
    /// The count.
    pub now: Option<Count>,
    /// What that means.
    pub verdict: Verdict,
}

/// What a difference means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Within what is let pass.
    Same,
    /// More than is let pass: a failure.
    Grown,
    /// Less by as much: no failure, but the baseline should be moved, or the next growth hides in it.
    Shrunk,
    /// A case without a baseline: a failure.
    New,
    /// A baseline without a case: a failure.
    Gone,
}

/// Puts counts beside their baselines.
pub fn compare(baselines: &Baselines, counts: &Counts, here: &MadeWith) -> Comparison {
    let names: BTreeSet<&String> = baselines.counts.keys().chain(counts.keys()).collect();
    let row = |name: &String| {
        let before = baselines.counts.get(name).map(|baseline| baseline.count());
        let now = counts.get(name).copied();
        let verdict = match (&before, &now) {
            (Some(before), Some(now)) if now.grown_from(before) => Verdict::Grown,
            (Some(before), Some(now)) if now.shrunk_from(before) => Verdict::Shrunk,
            (Some(_), None) => Verdict::Gone,
            (None, _) => Verdict::New,
            _ => Verdict::Same,
        };
        Row { name: name.clone(), before, now, verdict }
    };
    Comparison {
        rows: names.into_iter().map(row).collect(),
        made_otherwise: baselines.made_with.differs_from(here),
    }
}

impl Comparison {
    /// How many cases have this verdict.
    pub fn of(&self, verdict: Verdict) -> usize {
        self.rows.iter().filter(|row| row.verdict == verdict).count()
    }

    /// Whether a case and its baseline do not belong together any more, wherever this is looked at.
    pub fn unmatched(&self) -> bool {
        self.of(Verdict::New) + self.of(Verdict::Gone) > 0
    }
}

impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let longest = self.rows.iter().map(|row| row.name.len()).max().unwrap_or_default();
        writeln!(
            f,
            "{:longest$}{:>14}{:>14}{:>9}{:>10}{:>9}",
            "", "instructions", "now", "change", "allocated", "now"
        )?;
        for row in &self.rows {
            let instructions = |count: &Option<Count>| of(count, |count| count.instructions.to_string());
            let allocations = |count: &Option<Count>| of(count, |count| format!("{:.1}", count.allocations));
            let change = match (&row.before, &row.now) {
                (Some(before), Some(now)) => {
                    let (before, now) = (before.instructions as f64, now.instructions as f64);
                    format!("{:+.1} %", (now / before - 1.0) * 100.0)
                }
                _ => "-".into(),
            };
            writeln!(
                f,
                "{:longest$}{:>14}{:>14}{change:>9}{:>10}{:>9}{}",
                row.name,
                instructions(&row.before),
                instructions(&row.now),
                allocations(&row.before),
                allocations(&row.now),
                row.verdict
            )?;
        }
        Ok(())
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Verdict::Same => "",
            Verdict::Grown => "  GROWN",
            Verdict::Shrunk => "  shrunk",
            Verdict::New => "  NO BASELINE",
            Verdict::Gone => "  NO CASE",
        })
    }
}

fn of(count: &Option<Count>, number: impl Fn(&Count) -> String) -> String {
    count.as_ref().map_or_else(|| "-".into(), number)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(instructions: u64, allocations: f64) -> Count {
        Count { instructions, allocations }
    }

    #[track_caller]
    fn judged(before: Option<Count>, now: Option<Count>, verdict: Verdict) {
        let counts =
            |count: Option<Count>| count.map(|count| ("case".to_owned(), count)).into_iter().collect();
        let baselines = Baselines::moved(None, &counts(before), MadeWith::default(), "test");
        let comparison = compare(&baselines, &counts(now), &MadeWith::default());
        assert_eq!(comparison.rows[0].verdict, verdict, "{comparison}");
        assert_eq!(comparison.unmatched(), matches!(verdict, Verdict::New | Verdict::Gone));
    }

    #[test]
    fn five_percent_of_instructions_are_let_pass_both_ways() {
        for (now, verdict) in [
            (10_000, Verdict::Same),
            (10_500, Verdict::Same),
            (10_501, Verdict::Grown),
            (9_500, Verdict::Same),
            (9_499, Verdict::Shrunk),
        ] {
            judged(Some(count(10_000, 0.0)), Some(count(now, 0.0)), verdict);
        }
    }

    #[test]
    fn of_a_small_count_a_hundred_instructions_are_let_pass() {
        for (now, verdict) in
            [(600, Verdict::Same), (601, Verdict::Grown), (400, Verdict::Same), (399, Verdict::Shrunk)]
        {
            judged(Some(count(500, 0.0)), Some(count(now, 0.0)), verdict);
        }
    }

    #[test]
    fn one_allocation_more_is_one_too_many_unless_there_are_very_many() {
        for (before, now, verdict) in [
            (0.0, 0.5, Verdict::Same),
            (0.0, 1.0, Verdict::Grown),
            (23.0, 24.0, Verdict::Grown),
            (126.0, 128.0, Verdict::Same),
            (126.0, 129.0, Verdict::Grown),
            (3.0, 2.0, Verdict::Shrunk),
        ] {
            judged(Some(count(1000, before)), Some(count(1000, now)), verdict);
        }
        judged(Some(count(1000, 3.0)), Some(count(1101, 2.0)), Verdict::Grown);
    }

    #[test]
    fn a_case_without_a_baseline_and_a_baseline_without_a_case_fail() {
        judged(None, Some(count(1, 0.0)), Verdict::New);
        judged(Some(count(1, 0.0)), None, Verdict::Gone);
    }
}
