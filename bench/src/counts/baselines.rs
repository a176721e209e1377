//! The file of baselines: what each case cost when its number was last moved, and why it was moved.
//!
//! A reason begins with the numbers it is the reason of. So a number that was changed without its reason is refused,
//! whether by hand or by a merge, and needs no look into the history.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};

use super::{Count, Counts, MadeWith};

/// All that is known of before.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Baselines {
    /// With what the numbers were made.
    pub made_with: MadeWith,
    /// By the names of the cases.
    pub counts: BTreeMap<String, Baseline>,
}

/// What one case cost.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Baseline {
    /// Instructions a turn.
    pub instructions: u64,
    /// Heap allocations a turn.
    pub allocations: f64,
    /// The numbers, a colon, and why they are what they are.
    pub reason: String,
}

impl Baselines {
    /// Reads the file; `None` if there is none.
    ///
    /// # Errors
    /// The file cannot be read, is not in the form of baselines, or has a number that its reason does not speak of.
    pub fn read(path: &Path) -> Result<Option<Baselines>> {
        if !path.exists() {
            return Ok(None);
        }
        let text =
            std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        Baselines::parse(&text).map(Some).with_context(|| format!("{} is not good", path.display()))
    }

    /// Writes the file.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn write(&self, path: &Path) -> Result<()> {
        std::fs::write(path, self.text()?).with_context(|| format!("cannot write {}", path.display()))
    }

    /// These baselines, moved to new counts for a reason. Those that are still good stay as they are, so that small
    /// growths cannot add up unseen.
    pub fn moved(before: Option<Baselines>, counts: &Counts, made_with: MadeWith, reason: &str) -> Baselines {
        let before = before.map(|baselines| baselines.counts).unwrap_or_default();
        let moved = |(name, count): (&String, &Count)| {
            let still_good = before.get(name).filter(|baseline| {
                !count.grown_from(&baseline.count()) && !count.shrunk_from(&baseline.count())
            });
            (name.clone(), still_good.cloned().unwrap_or_else(|| Baseline::new(count, reason)))
        };
        Baselines { made_with, counts: counts.iter().map(moved).collect() }
    }

    fn parse(text: &str) -> Result<Baselines> {
        let baselines: Baselines = serde_json::from_str(text)?;
        for (name, baseline) in &baselines.counts {
            let numbers = numbers(&baseline.count());
            let reason = baseline.reason.strip_prefix(&numbers);
            ensure!(
                reason.is_some_and(|reason| !reason.trim().is_empty()),
                "`{name}` has no reason for its numbers. It has to begin with \"{numbers}\", but says \"{}\". \
                 Put the old number back, and move it with: make counts-accept REASON=\"...\"",
                baseline.reason
            );
        }
        Ok(baselines)
    }

    /// One line a case, so that a moved number is one line of a diff.
    fn text(&self) -> Result<String> {
        let mut text =
            format!("{{\n  \"made_with\": {},\n  \"counts\": {{", serde_json::to_string(&self.made_with)?);
        for (index, (name, baseline)) in self.counts.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            let (name, baseline) = (serde_json::to_string(name)?, serde_json::to_string(baseline)?);
            write!(text, "{comma}\n    {name}: {baseline}")?;
        }
        text.push_str("\n  }\n}\n");
        Ok(text)
    }
}

impl Baseline {
    fn new(count: &Count, reason: &str) -> Baseline {
        let &Count { instructions, allocations } = count;
        Baseline { instructions, allocations, reason: format!("{}{}", numbers(count), reason.trim()) }
    }

    /// The numbers alone.
    pub fn count(&self) -> Count {
        Count { instructions: self.instructions, allocations: self.allocations }
    }
}

fn numbers(count: &Count) -> String {
    format!("{} and {}: ", count.instructions, count.allocations)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(list: &[(&str, u64, f64)]) -> Counts {
        let count = |&(name, instructions, allocations): &_| {
            (String::from(name), Count { instructions, allocations })
        };
        list.iter().map(count).collect()
    }

    fn moved(before: Option<Baselines>, list: &[(&str, u64, f64)], reason: &str) -> Baselines {
        Baselines::moved(before, &counts(list), MadeWith::default(), reason)
    }

    #[test]
    fn what_is_written_is_read_again_one_line_a_case() {
        let written = moved(None, &[("b", 1000, 0.0), ("a", 20, 2.5)], "first counted");
        let text = written.text().unwrap();
        assert_eq!(Baselines::parse(&text).unwrap(), written);
        let line = "\n    \"a\": {\"instructions\":20,\"allocations\":2.5,\"reason\":\"20 and 2.5: first counted\"},\n";
        assert!(text.contains(line), "{text}");
    }

    #[test]
    fn only_what_moved_gets_the_new_reason_and_what_is_gone_goes() {
        let before = moved(
            None,
            &[("grown", 1000, 0.0), ("shrunk", 1000, 0.0), ("same", 1000, 0.0), ("gone", 1, 0.0)],
            "old",
        );
        let after = moved(
            Some(before),
            &[("grown", 1101, 0.0), ("shrunk", 899, 0.0), ("same", 1050, 0.0), ("new", 7, 1.0)],
            "why",
        );
        let reasons: Vec<&str> = after.counts.values().map(|baseline| &*baseline.reason).collect();
        assert_eq!(reasons, ["1101 and 0: why", "7 and 1: why", "1000 and 0: old", "899 and 0: why"]);
    }

    #[test]
    fn a_number_that_was_moved_without_its_reason_is_refused() {
        let text = moved(None, &[("a", 1000, 2.0)], "why").text().unwrap();
        let by_hand = text.replace("\"instructions\":1000", "\"instructions\":1200");
        let refused = Baselines::parse(&by_hand).unwrap_err().to_string();
        assert!(refused.contains("`a` has no reason") && refused.contains("\"1200 and 2: \""), "{refused}");
        assert!(Baselines::parse(&text.replace(": why", ": ")).is_err(), "an empty reason");
        assert!(Baselines::parse(&text.replace("allocations", "alocations")).is_err(), "an unknown key");
    }
}
