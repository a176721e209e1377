//! The figures of a measure as rows and columns, before they are Markdown or HTML.

use crate::data::{Better, Measure};

use super::number::{NONE, Units, ratio};
use super::palette::is_ours;

/// With more cases than this, and than contestants, the cases are the rows.
const COLUMNS_MAX: usize = 5;

/// A table of figures.
pub(super) struct Table {
    /// What the first column holds.
    pub(super) corner: &'static str,
    pub(super) columns: Vec<Head>,
    pub(super) rows: Vec<(Head, Vec<Option<Figure>>)>,
}

/// The name of a row or a column.
#[derive(Clone)]
pub(super) struct Head {
    pub(super) name: String,
    /// Whether it is Sallyport.
    pub(super) ours: bool,
}

/// What one contestant reached in one case.
#[derive(Clone)]
pub(super) struct Figure {
    pub(super) median: String,
    /// From the least to the most round, if there was more than one.
    pub(super) spread: Option<String>,
    /// Over the contestant that the measure names; none of that one itself.
    pub(super) ratio: Option<String>,
    /// Whether no other is better in this case, of several.
    pub(super) best: bool,
}

impl Table {
    /// The table of a measure.
    pub(super) fn of(measure: &Measure) -> Table {
        let units = Units::of(measure);
        let (contestants, cases) = (measure.contestant_names(), measure.case_names());
        let ours = |name: &String| Head { name: name.clone(), ours: is_ours(name) };
        // A measure of one case need not name it.
        let case_head = |name: &String| if name.is_empty() { "Median".to_owned() } else { name.clone() };
        let plain = |name: &String| Head { name: case_head(name), ours: false };
        let row = |head, figures: Vec<_>| (head, figures);
        if cases.len() > COLUMNS_MAX && cases.len() > contestants.len() {
            let rows = cases.iter().map(|case| {
                row(plain(case), contestants.iter().map(|name| figure(measure, &units, name, case)).collect())
            });
            let rows = rows.collect();
            return Table { corner: "Case", columns: contestants.iter().map(ours).collect(), rows };
        }
        let rows = contestants.iter().map(|name| {
            row(ours(name), cases.iter().map(|case| figure(measure, &units, name, case)).collect())
        });
        let rows = rows.collect();
        Table { corner: "Contestant", columns: cases.iter().map(plain).collect(), rows }
    }
}

fn figure(measure: &Measure, units: &Units, contestant: &str, case: &str) -> Option<Figure> {
    let cell = measure.cell(contestant, case)?;
    let median = cell.median();
    let unit = units.unit(case, median);
    let others: Vec<f64> =
        measure.cells.iter().filter(|other| other.case == case).map(|other| other.median()).collect();
    let is_best = |other: &f64| match measure.better {
        Better::Lower => median <= *other,
        Better::Higher => median >= *other,
    };
    Some(Figure {
        median: units.figure(case, median),
        spread: unit.spread(&cell.samples),
        ratio: over(measure, contestant, case),
        best: others.len() > 1 && others.iter().all(is_best),
    })
}

/// The ratio of a contestant in a case over the one that the measure names; none of that one itself.
pub(super) fn over(measure: &Measure, contestant: &str, case: &str) -> Option<String> {
    let over = measure.over.as_deref().filter(|over| *over != contestant)?;
    let value = measure.median(contestant, case)? / measure.median(over, case)?;
    value.is_finite().then(|| ratio(value))
}

/// What stands in a cell for which nothing was measured.
pub(super) const EMPTY: &str = NONE;
