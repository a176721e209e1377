//! Looking up the cells of a measure by contestant and case.

use crate::data::{Cases, Cell, Measure};

impl Measure {
    /// The contestants, in the order in which they first come.
    pub(super) fn contestant_names(&self) -> Vec<String> {
        distinct(self.cells.iter().map(|cell| &cell.contestant))
    }

    /// The cases: as they lie on the axis, if there is one; else in the order in which they first come.
    pub(super) fn case_names(&self) -> Vec<String> {
        let mut cells: Vec<&Cell> = self.cells.iter().collect();
        if matches!(self.cases, Cases::Scale { .. }) {
            cells.sort_by(|a, b| a.x.unwrap_or(f64::INFINITY).total_cmp(&b.x.unwrap_or(f64::INFINITY)));
        }
        distinct(cells.iter().map(|cell| &cell.case))
    }

    /// What a contestant reached in a case.
    pub(super) fn cell(&self, contestant: &str, case: &str) -> Option<&Cell> {
        self.cells.iter().find(|cell| cell.contestant == contestant && cell.case == case)
    }
}

fn distinct<'a>(names: impl Iterator<Item = &'a String>) -> Vec<String> {
    let mut distinct: Vec<String> = Vec::new();
    for name in names {
        if !distinct.contains(name) {
            distinct.push(name.clone());
        }
    }
    distinct
}
