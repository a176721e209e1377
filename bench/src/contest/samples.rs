//! The figures of a measure as they come in, round by round.

use crate::data::{Better, Cases, Cell, Measure};

use super::settings::Round;

/// A measure that is being made.
#[derive(Debug)]
pub struct Samples {
    measure: Measure,
}

impl Samples {
    /// A measure of kinds of things, without any value yet.
    pub fn new(name: &str, title: &str, unit: &str, better: Better) -> Samples {
        let measure = Measure {
            name: name.to_owned(),
            title: title.to_owned(),
            unit: unit.to_owned(),
            better,
            cases: Cases::Kinds,
            over: None,
            cells: Vec::new(),
        };
        Samples { measure }
    }

    /// The contestant that ratios are given over.
    #[must_use]
    pub fn over(mut self, contestant: &str) -> Samples {
        self.measure.over = Some(contestant.to_owned());
        self
    }

    /// Makes the cases points of a quantity.
    #[must_use]
    pub fn along(mut self, axis: &str, logarithmic: bool) -> Samples {
        self.measure.cases = Cases::Scale { axis: axis.to_owned(), logarithmic };
        self
    }

    /// Adds a value, unless the round does not count. `x` is its place on the axis, if there is one.
    pub fn add(&mut self, round: Round, contestant: &str, case: &str, x: Option<f64>, value: f64) {
        if !round.counts() {
            return;
        }
        let cells = &mut self.measure.cells;
        match cells.iter_mut().find(|cell| cell.contestant == contestant && cell.case == case) {
            Some(cell) => cell.samples.push(value),
            None => cells.push(Cell {
                contestant: contestant.to_owned(),
                case: case.to_owned(),
                x,
                samples: vec![value],
            }),
        }
    }

    /// The median so far.
    pub fn median(&self, contestant: &str, case: &str) -> Option<f64> {
        self.measure.median(contestant, case)
    }

    /// The measure, with all its values.
    pub fn measure(self) -> Measure {
        self.measure
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_round_to_get_warm_is_left_out() {
        let mut samples = Samples::new("cpu", "CPU", "µs", Better::Lower);
        for number in 0..3 {
            samples.add(Round { number }, "a", "b", None, f64::from(number));
        }
        let measure = samples.measure();
        assert_eq!(measure.cells.len(), 1);
        assert_eq!(measure.cells[0].samples, [1.0, 2.0]);
    }
}
