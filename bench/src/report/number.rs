//! How figures are written: three significant digits, in a unit that suits them. No layout.

use crate::data::{Cell, Measure};

/// Units that are stages of each other, the factor of each to the first.
const LADDERS: [&[(&str, f64)]; 3] = [
    &[("ns", 1.0), ("µs", 1e3), ("ms", 1e6), ("s", 1e9)],
    &[("B", 1.0), ("KiB", 1024.0), ("MiB", 1_048_576.0), ("GiB", 1_073_741_824.0)],
    &[("B/s", 1.0), ("KiB/s", 1024.0), ("MiB/s", 1_048_576.0), ("GiB/s", 1_073_741_824.0)],
];
/// Figures farther apart than this do not share a unit: one end would be zeros.
const SPAN_MAX: f64 = 1_000.0;
/// Whole numbers below this are counts, written as they are.
const EXACT_MAX: f64 = 10_000.0;
/// What is written where there is no number.
pub(super) const NONE: &str = "–";

/// The unit that some figures are written in.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Unit {
    /// Its name.
    pub(super) name: String,
    /// What a value of the data is multiplied with.
    factor: f64,
    /// Whether all values are whole numbers in it.
    whole: bool,
}

/// The units of one measure: one for all, or one a case, or one a figure, as far as the figures are apart.
pub(super) struct Units {
    given: String,
    all: Option<Unit>,
    cases: Vec<(String, Option<Unit>)>,
}

impl Units {
    pub(super) fn of(measure: &Measure) -> Units {
        let fit = |cells: &[&Cell]| {
            let whole = cells.iter().flat_map(|cell| &cell.samples).all(|sample| sample.fract() == 0.0);
            let medians: Vec<f64> = cells.iter().map(|cell| cell.median()).collect();
            Unit::fit(&measure.unit, &medians, whole)
        };
        let cells: Vec<&Cell> = measure.cells.iter().collect();
        let of_case = |case: &String| {
            let cells: Vec<&Cell> = cells.iter().copied().filter(|cell| cell.case == *case).collect();
            (case.clone(), fit(&cells))
        };
        Units {
            given: measure.unit.clone(),
            all: fit(&cells),
            cases: measure.case_names().iter().map(of_case).collect(),
        }
    }

    /// The unit of all figures of the measure, if they share one.
    pub(super) fn shared(&self) -> Option<&Unit> {
        self.all.as_ref()
    }

    /// The unit of a figure.
    pub(super) fn unit(&self, case: &str, value: f64) -> Unit {
        let of_case = || self.cases.iter().find(|(name, _)| name == case).and_then(|(_, unit)| unit.clone());
        self.all.clone().or_else(of_case).unwrap_or_else(|| Unit::one(&self.given, value))
    }

    /// A round value on an axis, with its unit where the measure has no common one.
    pub(super) fn tick(&self, value: f64) -> String {
        let one = || {
            let unit = Unit::one(&self.given, value);
            with_unit(&unit.tick(value), &unit.name)
        };
        self.shared().map_or_else(one, |unit| unit.tick(value))
    }

    /// What a value is multiplied with for the axis, whose ticks are round in that unit.
    pub(super) fn factor(&self) -> f64 {
        self.shared().map_or(1.0, |unit| unit.factor)
    }

    /// A figure: with its unit where the measure has no common one.
    pub(super) fn figure(&self, case: &str, value: f64) -> String {
        let unit = self.unit(case, value);
        if self.all.is_some() { unit.number(value) } else { unit.figure(value) }
    }
}

impl Unit {
    /// The unit of one figure by itself.
    pub(super) fn one(given: &str, value: f64) -> Unit {
        Unit::fit(given, &[value], false).unwrap_or_else(|| Unit::plain(given, false))
    }

    fn plain(given: &str, whole: bool) -> Unit {
        Unit { name: given.to_owned(), factor: 1.0, whole }
    }

    /// The largest unit in which the (geometric) middle is not below 1; none where the values are too far apart.
    fn fit(given: &str, values: &[f64], whole: bool) -> Option<Unit> {
        let ladder = LADDERS.iter().find(|ladder| ladder.iter().any(|(name, _)| *name == given));
        let sizes = || values.iter().map(|value| value.abs()).filter(|size| size.is_finite() && *size > 0.0);
        let (least, most) = (sizes().fold(f64::INFINITY, f64::min), sizes().fold(0.0, f64::max));
        let Some(ladder) = ladder.filter(|_| most > 0.0) else { return Some(Unit::plain(given, whole)) };
        if most / least > SPAN_MAX {
            return None;
        }
        let middle = (least * most).sqrt();
        let of_given = ladder.iter().find(|(name, _)| *name == given).map_or(1.0, |(_, factor)| *factor);
        let stage =
            ladder.iter().rev().find(|(_, factor)| middle * of_given / factor >= 1.0).unwrap_or(&ladder[0]);
        let factor = of_given / stage.1;
        Some(Unit { name: stage.0.to_owned(), factor, whole: whole && factor == 1.0 })
    }

    /// A value in this unit, without its name.
    pub(super) fn number(&self, value: f64) -> String {
        let value = value * self.factor;
        if self.whole && value.fract() == 0.0 && value.abs() < EXACT_MAX {
            return grouped(&format!("{value:.0}"));
        }
        digits(value)
    }

    /// A value with the name of the unit.
    pub(super) fn figure(&self, value: f64) -> String {
        with_unit(&self.number(value), &self.name)
    }

    /// A round value, as short as it can be.
    fn tick(&self, value: f64) -> String {
        count(value * self.factor)
    }

    /// From the least to the most; nothing where there is one sample only.
    pub(super) fn spread(&self, samples: &[f64]) -> Option<String> {
        let (least, most) = range(samples);
        (samples.len() > 1).then(|| format!("{}–{}", self.number(least), self.number(most)))
    }
}

/// The least and the most of some samples.
pub(super) fn range(samples: &[f64]) -> (f64, f64) {
    samples.iter().fold((f64::INFINITY, f64::NEG_INFINITY), |(least, most), sample| {
        (least.min(*sample), most.max(*sample))
    })
}

/// A number and its unit, with a space that does not break where there is to be one.
pub(super) fn with_unit(number: &str, unit: &str) -> String {
    match unit {
        "" => number.to_owned(),
        "×" | "%" => format!("{number}{unit}"),
        _ => format!("{number}\u{a0}{unit}"),
    }
}

/// A ratio such as `1.15×`.
pub(super) fn ratio(value: f64) -> String {
    let number = match value.abs() {
        size if !size.is_finite() => return NONE.to_owned(),
        size if (0.095..9.995).contains(&size) => format!("{value:.2}"),
        _ => digits(value),
    };
    with_unit(&number, "×")
}

/// Three significant digits, thousands grouped.
pub(super) fn digits(value: f64) -> String {
    if !value.is_finite() {
        return NONE.to_owned();
    }
    // Rounded first, so that 9.999 counts as 10.0 and not as 10.00.
    let rounded: f64 = format!("{value:.2e}").parse().unwrap_or(value);
    let size = rounded.abs();
    match size {
        0.0 => "0".to_owned(),
        _ if size < 1e-6 => format!("{rounded:e}"),
        _ => {
            // Two decimals from 1 to 10, one to 100, none above; below 1 as many more as there are zeros.
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "from 0 to 8")]
            let decimals = (2.0 - size.log10().floor()).max(0.0) as usize;
            grouped(&format!("{rounded:.decimals$}"))
        }
    }
}

/// A number without zeros that say nothing behind the point: whole ones as they are.
pub(super) fn count(value: f64) -> String {
    if value.is_finite() && value.fract() == 0.0 && value.abs() < 1e15 {
        return grouped(&format!("{value:.0}"));
    }
    let text = digits(value);
    match text.contains('.') && !text.contains('e') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => text,
    }
}

/// Commas between thousands of the part before the point.
fn grouped(number: &str) -> String {
    let (whole, rest) = number.split_at(number.find('.').unwrap_or(number.len()));
    let (sign, whole) = whole.strip_prefix('-').map_or(("", whole), |whole| ("−", whole));
    let mut text = sign.to_owned();
    for (place, digit) in whole.chars().enumerate() {
        if place > 0 && (whole.len() - place) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    text + rest
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::{Better, Cases};

    #[test]
    fn three_digits_count() {
        let cases = [
            (0.0, "0"),
            (-0.0, "0"),
            (0.012_345, "0.0123"),
            (0.999_6, "1.00"),
            (9.999, "10.0"),
            (12.34, "12.3"),
            (99.96, "100"),
            (1_234.5, "1,230"),
            (-1_234_567.0, "−1,230,000"),
            (2.5e-9, "2.5e-9"),
            (f64::NAN, "–"),
            (f64::INFINITY, "–"),
        ];
        for (value, text) in cases {
            assert_eq!(digits(value), text, "{value}");
        }
    }

    #[test]
    fn a_figure_by_itself_has_the_unit_that_suits_it() {
        let cases = [
            ("µs", 12.3, "12.3\u{a0}µs"),
            ("µs", 12_300.0, "12.3\u{a0}ms"),
            ("s", 0.000_004, "4.00\u{a0}µs"),
            ("ns", 0.5, "0.500\u{a0}ns"),
            ("KiB", 2_048.0, "2.00\u{a0}MiB"),
            ("requests/s", 123_456.0, "123,000\u{a0}requests/s"),
            ("%", 12.0, "12.0%"),
            ("", 3.0, "3.00"),
        ];
        for (unit, value, text) in cases {
            assert_eq!(Unit::one(unit, value).figure(value), text);
        }
    }

    #[test]
    fn ratios_have_two_decimals_where_they_matter() {
        let cases = [(1.149, "1.15×"), (0.4, "0.40×"), (0.012, "0.0120×"), (12.34, "12.3×"), (f64::NAN, "–")];
        for (value, text) in cases {
            assert_eq!(ratio(value), text);
        }
    }

    fn measure(unit: &str, cells: &[(&str, f64)]) -> Measure {
        let cell = |(case, value): &(&str, f64)| Cell {
            contestant: "a".to_owned(),
            case: (*case).to_owned(),
            x: None,
            samples: vec![*value],
        };
        Measure {
            name: "m".to_owned(),
            title: String::new(),
            unit: unit.to_owned(),
            better: Better::Lower,
            cases: Cases::Kinds,
            over: None,
            cells: cells.iter().map(cell).collect(),
        }
    }

    #[test]
    fn figures_share_a_unit_as_far_as_they_can() {
        let near = Units::of(&measure("µs", &[("a", 800.0), ("b", 1_100.0)]));
        assert_eq!(near.shared().map(|unit| unit.name.as_str()), Some("µs"));
        assert_eq!(near.figure("b", 1_100.0), "1,100");
        let by_case = Units::of(&measure("µs", &[("a", 2.0), ("a", 900.0), ("b", 2e6), ("b", 2.5e7)]));
        assert!(by_case.shared().is_none());
        assert_eq!(by_case.figure("a", 900.0), "900\u{a0}µs");
        assert_eq!(by_case.figure("b", 2.5e7), "25.0\u{a0}s");
        let by_figure = Units::of(&measure("µs", &[("a", 2.0), ("a", 2e6)]));
        assert_eq!(by_figure.figure("a", 2.0), "2.00\u{a0}µs");
        assert_eq!(by_figure.figure("a", 2e6), "2.00\u{a0}s");
    }

    #[test]
    fn counts_are_written_as_they_are() {
        let units = Units::of(&measure("threads", &[("a", 8.0), ("b", 1_234.0)]));
        assert_eq!(
            (units.figure("a", 8.0), units.figure("b", 1_234.0)),
            ("8".to_owned(), "1,234".to_owned())
        );
        let mixed = Units::of(&measure("threads", &[("a", 8.0), ("b", 1.5)]));
        assert_eq!(mixed.figure("a", 8.0), "8.00");
    }

    #[test]
    fn one_sample_has_no_spread() {
        let unit = Unit::one("ms", 2.0);
        assert_eq!(unit.spread(&[2.0]), None);
        assert_eq!(unit.spread(&[2.5, 1.0, 2.0]), Some("1.00–2.50".to_owned()));
    }
}
