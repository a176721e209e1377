//! Who has which colour, mark and stroke: the same in every chart of a run.

use crate::data::Run;

/// How many colours `chart.css` has for us, and for others.
const OURS: usize = 3;
const OTHERS: usize = 7;

/// The order and the looks of all contestants.
pub(super) struct Palette {
    /// Each with its place among its kind.
    names: Vec<(String, usize)>,
}

/// How one contestant is drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Look {
    pub(super) ours: bool,
    /// Its place among ours or the others.
    place: usize,
}

/// Whether it is Sallyport, in whatever arrangement, such as `Sallyport, 2 threads`.
pub(super) fn is_ours(name: &str) -> bool {
    name.starts_with("Sallyport")
}

impl Palette {
    /// In the order of the run's contestants; behind them those that only measures name.
    pub(super) fn of(run: &Run) -> Palette {
        let mut palette = Palette { names: Vec::new() };
        let listed = run.contestants.iter().map(|contestant| &contestant.name);
        let measures = run.scenarios.iter().flat_map(|scenario| &scenario.measures);
        let measured = measures.flat_map(|measure| &measure.cells).map(|cell| &cell.contestant);
        for name in listed.chain(measured) {
            if !palette.names.iter().any(|(known, _)| known == name) {
                let place = palette.names.iter().filter(|(known, _)| is_ours(known) == is_ours(name)).count();
                palette.names.push((name.clone(), place));
            }
        }
        palette
    }

    pub(super) fn look(&self, name: &str) -> Look {
        let known = self.names.iter().find(|(known, _)| known == name);
        Look { ours: is_ours(name), place: known.map_or(0, |(_, place)| *place) }
    }
}

impl Look {
    /// The classes of `chart.css` with its colour.
    pub(super) fn group(self) -> String {
        if self.ours { format!("us us{}", self.place % OURS) } else { format!("o{}", self.place % OTHERS) }
    }

    /// The dashes of its line; with the colours, no two of 28 others look alike.
    pub(super) fn dashes(self) -> &'static str {
        let round = self.place / if self.ours { OURS } else { OTHERS };
        ["none", "6 3", "2 3", "8 3 2 3"][(round + usize::from(self.place > 0 && self.ours)) % 4]
    }

    /// The outline of its mark round a point. Ours is the full circle.
    pub(super) fn mark(self, x: f64, y: f64) -> String {
        let r = if self.ours { 4.5 } else { 4.0 };
        let place = if self.ours { 0 } else { 1 + self.place % 5 };
        let path = |points: &[(f64, f64)]| {
            let points: Vec<String> =
                points.iter().map(|(dx, dy)| format!("{:.1},{:.1}", x + dx * r, y + dy * r)).collect();
            format!("<polygon class=\"mark\" points=\"{}\"/>", points.join(" "))
        };
        match place {
            0 => format!("<circle class=\"mark\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"{r}\"/>"),
            1 => path(&[(-0.85, -0.85), (0.85, -0.85), (0.85, 0.85), (-0.85, 0.85)]),
            2 => path(&[(0.0, -1.1), (1.0, 0.8), (-1.0, 0.8)]),
            3 => path(&[(0.0, -1.2), (1.2, 0.0), (0.0, 1.2), (-1.2, 0.0)]),
            4 => path(&[(0.0, 1.1), (1.0, -0.8), (-1.0, -0.8)]),
            _ => format!("<circle class=\"mark open\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3.5\"/>"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::fixture;

    #[test]
    fn contestants_keep_their_looks_and_no_two_look_alike() {
        let run = fixture::run();
        let palette = Palette::of(&run);
        let looks = |name: &str| {
            let look = palette.look(name);
            (look.group(), look.mark(0.0, 0.0), look.dashes())
        };
        assert_eq!(looks("Sallyport").0, "us us0");
        assert_eq!(looks("Sallyport, 2 threads").0, "us us1");
        let mut all: Vec<_> = palette.names.iter().map(|(name, _)| looks(name)).collect();
        let count = all.len();
        assert!(count > 7, "the fixture has {count} contestants");
        all.sort();
        all.dedup();
        assert_eq!(all.len(), count);
    }
}
