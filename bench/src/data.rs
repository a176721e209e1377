//! What a run has found, as `data.json` of its folder holds it. Nothing here measures or draws.

use serde::{Deserialize, Serialize};

/// One run of the scenarios.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Run {
    /// When it began, RFC 3339, UTC.
    pub began: String,
    /// The commit that was measured, abbreviated; with `+` behind it where files differed from it.
    pub commit: String,
    /// Whether it was the short one.
    pub quick: bool,
    /// What it ran on.
    pub machine: Machine,
    /// Who took part, or could not.
    pub contestants: Vec<Contestant>,
    /// What was done, in this order.
    pub scenarios: Vec<Scenario>,
}

/// What a run ran on.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Machine {
    /// As the kernel names it.
    pub processor: String,
    /// How many the process may use.
    pub cores: usize,
    /// MiB of memory.
    pub memory_mib: u64,
    /// Name and release.
    pub kernel: String,
    /// Of the distribution.
    pub system: String,
    /// The load average of a minute before the run: above some tenths, somebody else was using the machine.
    pub load_before: f64,
}

/// A proxy, server or client that takes part.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Contestant {
    /// The name in all figures, such as `Envoy`.
    pub name: String,
    /// Its version as it says itself; or why it could not be had.
    pub version: Result<String, String>,
    /// Where it comes from, such as `Debian haproxy`.
    pub source: String,
}

/// One kind of work that all contestants did.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Scenario {
    /// One word, such as `pass`: the name on the command line and of its files.
    pub name: String,
    /// A heading.
    pub title: String,
    /// What is done and how it is measured, some sentences of Markdown.
    pub about: String,
    /// What was seen to work before anything was measured.
    pub checks: Vec<Check>,
    /// Its figures.
    pub measures: Vec<Measure>,
    /// Where they stand against what we want.
    pub goals: Vec<Goal>,
    /// What could not be measured, and why.
    pub missing: Vec<String>,
}

/// That a contestant really does the work.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Check {
    /// Whose.
    pub contestant: String,
    /// Such as `no token: 401`. A run ends at a check that fails, so it is here because it passed.
    pub what: String,
}

/// One quantity, of several contestants in several cases.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Measure {
    /// One word, unique in its scenario, such as `cpu`.
    pub name: String,
    /// A heading, such as `CPU time a request`.
    pub title: String,
    /// Of the values, such as `µs`.
    pub unit: String,
    /// Which end is the good one.
    pub better: Better,
    /// What the cases are.
    pub cases: Cases,
    /// The contestant that ratios are given over, if they make sense.
    pub over: Option<String>,
    /// The values.
    pub cells: Vec<Cell>,
}

/// Which values are good.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Better {
    /// Small ones.
    Lower,
    /// Large ones.
    Higher,
}

/// What the cases of a measure are, and so how it is drawn.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cases {
    /// Different things: bars.
    Kinds,
    /// Points of one quantity: lines. `x` of each cell is the place.
    Scale {
        /// What the axis says, with its unit.
        axis: String,
        /// Whether it is logarithmic.
        logarithmic: bool,
    },
}

/// What one contestant reached in one case.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Cell {
    /// Whose.
    pub contestant: String,
    /// The case in words, such as `1 KiB`.
    pub case: String,
    /// Its place on the axis of [`Cases::Scale`].
    pub x: Option<f64>,
    /// One value a round, in order; never empty. What counts is the median.
    pub samples: Vec<f64>,
}

/// A figure against what we want of it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Goal {
    /// Such as `CPU over HAProxy, RS256`.
    pub what: String,
    /// What came out.
    pub found: f64,
    /// The most it may be.
    pub at_most: f64,
    /// Of both, such as `×` or `ms`.
    pub unit: String,
}

impl Cell {
    /// The middle of the samples; of an even number, the mean of the two in the middle.
    pub fn median(&self) -> f64 {
        let mut sorted = self.samples.clone();
        sorted.sort_by(f64::total_cmp);
        let middle = sorted.len() / 2;
        match sorted.len() {
            0 => f64::NAN,
            odd if odd % 2 == 1 => sorted[middle],
            _ => f64::midpoint(sorted[middle - 1], sorted[middle]),
        }
    }
}

impl Measure {
    /// The median of a contestant in a case.
    pub fn median(&self, contestant: &str, case: &str) -> Option<f64> {
        self.cells.iter().find(|cell| cell.contestant == contestant && cell.case == case).map(Cell::median)
    }
}

impl Goal {
    /// Whether it is reached.
    pub fn is_met(&self) -> bool {
        self.found <= self.at_most
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle_whatever_the_order() {
        let cell = |samples: &[f64]| Cell {
            contestant: "a".to_owned(),
            case: "b".to_owned(),
            x: None,
            samples: samples.to_vec(),
        };
        assert_eq!(cell(&[3.0, 1.0, 2.0]).median(), 2.0);
        assert_eq!(cell(&[4.0, 1.0, 2.0, 3.0]).median(), 2.5);
        assert_eq!(cell(&[7.0]).median(), 7.0);
    }
}
