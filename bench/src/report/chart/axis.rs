//! The scale of one direction of a chart: from values to places, and where its ticks are.

/// More distinct values than this are not ticks by themselves.
const TICKS_MAX: usize = 8;

/// With fewer powers of ten than this on a logarithmic axis, 2 and 5 have ticks too.
const POWERS_MIN: usize = 3;

/// From values to places between two ends.
pub(super) struct Axis {
    low: f64,
    high: f64,
    logarithmic: bool,
    /// The places of the low and the high end.
    pub(super) ends: (f64, f64),
    pub(super) ticks: Vec<f64>,
}

impl Axis {
    /// For amounts: from zero, or from the tick below the least, to the tick above the most. Ticks are round when
    /// multiplied with `factor`.
    pub(super) fn amounts(values: &[f64], factor: f64, logarithmic: bool, ends: (f64, f64)) -> Axis {
        let axis = Axis::round_amounts(values.iter().map(|value| value * factor), logarithmic, ends);
        let ticks = axis.ticks.into_iter().map(|tick| tick / factor).collect();
        Axis { low: axis.low / factor, high: axis.high / factor, ticks, ..axis }
    }

    fn round_amounts(values: impl Iterator<Item = f64>, logarithmic: bool, ends: (f64, f64)) -> Axis {
        let values: Vec<f64> = values.collect();
        let finite = || values.iter().copied().filter(|value| value.is_finite());
        let (least, most) = (finite().fold(f64::INFINITY, f64::min), finite().fold(0.0, f64::max));
        if logarithmic && least > 0.0 && least.is_finite() {
            let ticks = logarithmic_ticks(least, most);
            let (low, high) = (ticks[0], ticks[ticks.len() - 1]);
            let powers: Vec<f64> = ticks.iter().copied().filter(|tick| is_power(*tick)).collect();
            let ticks = if powers.len() < POWERS_MIN { ticks } else { powers };
            return Axis { low, high, logarithmic, ends, ticks };
        }
        let most = if most > 0.0 { most } else { 1.0 };
        let step = step(most / 4.0);
        let count = (most / step).ceil();
        let ticks = std::iter::successors(Some(0.0), |place| (*place < count).then(|| place + 1.0));
        let ticks = ticks.map(|place| place * step).collect();
        Axis { low: 0.0, high: count * step, logarithmic: false, ends, ticks }
    }

    /// From zero to an end, without ticks.
    pub(super) fn up_to(high: f64, ends: (f64, f64)) -> Axis {
        Axis { low: 0.0, high, logarithmic: false, ends, ticks: Vec::new() }
    }

    /// For the places of points: from the first to the last, with a tick at each, if they are few.
    pub(super) fn places(values: &[f64], logarithmic: bool, ends: (f64, f64)) -> Axis {
        let mut ticks = values.to_vec();
        ticks.sort_by(f64::total_cmp);
        ticks.dedup();
        let (low, high) = (ticks.first().copied().unwrap_or(0.0), ticks.last().copied().unwrap_or(1.0));
        if ticks.len() > TICKS_MAX {
            let amounts = Axis::amounts(values, 1.0, logarithmic, ends);
            ticks = amounts.ticks.into_iter().filter(|tick| (low..=high).contains(tick)).collect();
        }
        Axis { low, high, logarithmic: logarithmic && low > 0.0, ends, ticks }
    }

    pub(super) fn place(&self, value: f64) -> f64 {
        let scaled = |value: f64| if self.logarithmic { value.log10() } else { value };
        let (low, high) = (scaled(self.low), scaled(self.high));
        let share = if high > low { (scaled(value) - low) / (high - low) } else { 0.5 };
        self.ends.0 + (self.ends.1 - self.ends.0) * share.clamp(0.0, 1.0)
    }
}

/// The round number (1, 2 or 5 at a power of ten) that is not below a value.
fn step(value: f64) -> f64 {
    let power = 10_f64.powf(value.log10().floor());
    let digit = [1.0, 2.0, 5.0].into_iter().find(|digit| digit * power >= value * 0.999_999).unwrap_or(10.0);
    digit * power
}

/// 1, 2 and 5 at each power of ten, from not above the least to not below the most; two at least.
fn logarithmic_ticks(least: f64, most: f64) -> Vec<f64> {
    let mut ticks = vec![step(least)];
    if ticks[0] > least {
        ticks[0] = step(ticks[0] / 2.6);
    }
    while ticks.len() < 2 || ticks[ticks.len() - 1] < most * 0.999_999 {
        // Just above a tick, the next one is the round number.
        ticks.push(step(ticks[ticks.len() - 1] * 1.1));
    }
    ticks
}

fn is_power(tick: f64) -> bool {
    let power = tick.log10();
    (power - power.round()).abs() < 1e-6
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_begin_at_zero_and_end_at_a_round_number() {
        let axis = Axis::amounts(&[3.0, 87.0], 1.0, false, (0.0, 200.0));
        assert_eq!(axis.ticks, [0.0, 50.0, 100.0]);
        assert_eq!((axis.place(0.0), axis.place(50.0), axis.place(1e9)), (0.0, 100.0, 200.0));
    }

    #[test]
    fn logarithms_have_a_tick_a_power() {
        let axis = Axis::amounts(&[0.3, 870.0], 1.0, true, (400.0, 0.0));
        let powers: Vec<f64> = axis.ticks.iter().map(|tick| tick.log10().round()).collect();
        assert_eq!(powers, [0.0, 1.0, 2.0, 3.0]);
        let middle = (0.2_f64 * 1_000.0).sqrt();
        assert!((axis.place(middle) - 200.0).abs() < 0.001, "from 0.2 to 1,000");
        let narrow = Axis::amounts(&[3.0, 40.0], 1.0, true, (0.0, 1.0));
        let rounded: Vec<f64> = narrow.ticks.iter().map(|tick| tick.round()).collect();
        assert_eq!(rounded, [2.0, 5.0, 10.0, 20.0, 50.0]);
    }

    #[test]
    fn ticks_are_round_in_the_unit_that_is_shown() {
        let axis = Axis::amounts(&[3.0 * 1024.0], 1.0 / 1024.0, false, (0.0, 300.0));
        assert_eq!(axis.ticks, [0.0, 1_024.0, 2_048.0, 3_072.0]);
    }

    #[test]
    fn nothing_and_nonsense_have_places_too() {
        for values in [&[][..], &[0.0], &[f64::NAN], &[f64::INFINITY], &[-1.0]] {
            for logarithmic in [false, true] {
                let axis = Axis::amounts(values, 1.0, logarithmic, (0.0, 100.0));
                assert!(axis.ticks.len() > 1 && axis.place(0.5).is_finite(), "{values:?} {:?}", axis.ticks);
            }
        }
    }

    #[test]
    fn points_have_their_own_ticks_while_they_are_few() {
        let few = Axis::places(&[80.0, 30.0, 60.0, 30.0], false, (0.0, 100.0));
        assert_eq!(few.ticks, [30.0, 60.0, 80.0]);
        assert_eq!((few.place(30.0), few.place(55.0), few.place(80.0)), (0.0, 50.0, 100.0));
        let many: Vec<f64> = (1..=20).map(f64::from).collect();
        assert_eq!(Axis::places(&many, false, (0.0, 100.0)).ticks, [5.0, 10.0, 15.0, 20.0]);
    }
}
