//! Lines over the points of one quantity, each named at its end.

use crate::data::{Cases, Cell, Measure};
use crate::report::number::{count, range};

use super::axis::Axis;
use super::{Body, Drawing, Plan, fitted, text_width};

/// Figures farther apart than this are drawn on a logarithmic axis: else the small ones lie on the ground.
const LOGARITHMIC_FROM: f64 = 50.0;
/// Between two names at the right.
const NAME: f64 = 17.0;
const TOP: f64 = 10.0;
/// For the ticks and the words below.
const BELOW: f64 = 44.0;

/// What is to be said of the scales, if they are not plain ones.
pub(super) fn scales(measure: &Measure) -> Option<String> {
    match (is_logarithmic(measure), amounts_are_logarithmic(measure)) {
        (true, true) => Some("both scales logarithmic".to_owned()),
        (true, false) => Some("logarithmic to the right".to_owned()),
        (false, true) => Some("logarithmic upwards".to_owned()),
        (false, false) => None,
    }
}

fn is_logarithmic(measure: &Measure) -> bool {
    let asked = matches!(measure.cases, Cases::Scale { logarithmic: true, .. });
    asked && measure.cells.iter().all(|cell| cell.x.is_some_and(|x| x > 0.0))
}

fn amounts_are_logarithmic(measure: &Measure) -> bool {
    let (least, most) = range(&samples(measure));
    least > 0.0 && most > LOGARITHMIC_FROM * least
}

fn samples(measure: &Measure) -> Vec<f64> {
    measure.cells.iter().flat_map(|cell| cell.samples.iter().copied()).collect()
}

pub(super) fn draw(plan: &Plan) -> Drawing {
    let measure = plan.measure;
    let names = measure.contestant_names();
    let tallest = if plan.roomy { 300.0 } else { 240.0 };
    #[allow(clippy::cast_precision_loss, reason = "some contestants")]
    let bottom = TOP + f64::max(tallest, NAME * names.len() as f64);
    let factor = plan.units.factor();
    let up = Axis::amounts(&samples(measure), factor, amounts_are_logarithmic(measure), (bottom, TOP));
    let tick = |value: f64| plan.units.tick(value);
    let left = up.ticks.iter().map(|value| text_width(&tick(*value))).fold(0.0, f64::max) + 8.0;
    let longest = names.iter().map(|name| text_width(name)).fold(0.0, f64::max);
    let right = longest.min(plan.width * 0.28) + 30.0;
    let places: Vec<f64> = measure.cells.iter().filter_map(|cell| cell.x).collect();
    let across = Axis::places(&places, is_logarithmic(measure), (left + 10.0, plan.width - right));

    let mut body = Body::default();
    for value in &up.ticks {
        let y = up.place(*value);
        body.line("hair", (left, y), (plan.width - right + 8.0, y));
        body.text(left - 8.0, y + 4.0, "dim", "end", &tick(*value));
    }
    body.line("axis", (left, bottom), (plan.width - right + 8.0, bottom));
    ticks_below(&mut body, &across, bottom);
    if let Cases::Scale { axis, .. } = &measure.cases {
        body.text(left, bottom + 38.0, "dim", "start", &fitted(axis, plan.width - left));
    }

    // Ours last, so that it lies over the others; of ours, the first.
    let mut order = names.clone();
    order.reverse();
    order.sort_by_key(|name| plan.palette.look(name).ours);
    for name in &order {
        line(plan, &mut body, name, &across, &up);
    }
    names_at_right(plan, &mut body, &names, &across, &up, bottom);
    Drawing { body, height: bottom + BELOW }
}

/// The ticks of the places; where two would touch, the second has no words.
fn ticks_below(body: &mut Body, across: &Axis, bottom: f64) {
    let mut free_from = f64::NEG_INFINITY;
    for value in &across.ticks {
        let x = across.place(*value);
        body.line("axis", (x, bottom), (x, bottom + 4.0));
        let text = count(*value);
        let half = text_width(&text) / 2.0;
        if x - half > free_from {
            body.text(x, bottom + 19.0, "dim", "middle", &text);
            free_from = x + half + 6.0;
        }
    }
}

/// The cells of one contestant, from left to right.
fn points<'a>(measure: &'a Measure, name: &str) -> Vec<(f64, &'a Cell)> {
    let of_name = measure.cells.iter().filter(|cell| cell.contestant == *name && cell.median().is_finite());
    let mut points: Vec<(f64, &Cell)> = of_name.filter_map(|cell| Some((cell.x?, cell))).collect();
    points.sort_by(|(a, _), (b, _)| a.total_cmp(b));
    points
}

fn line(plan: &Plan, body: &mut Body, name: &str, across: &Axis, up: &Axis) {
    let look = plan.palette.look(name);
    let points = points(plan.measure, name);
    body.raw(&format!("<g class=\"{}\">\n", look.group()));
    let at: Vec<(f64, f64)> =
        points.iter().map(|(x, cell)| (across.place(*x), up.place(cell.median()))).collect();
    let path: Vec<String> = at.iter().map(|(x, y)| format!("{x:.1} {y:.1}")).collect();
    body.raw(&format!(
        "<path class=\"path\" style=\"stroke-dasharray:{}\" d=\"M{}\"/>\n",
        look.dashes(),
        if path.is_empty() { "0 0".to_owned() } else { path.join("L") }
    ));
    for ((x, y), (_, cell)) in at.iter().zip(&points) {
        let (least, most) = range(&cell.samples);
        body.raw(&format!("<g>{}\n", plan.tip(name, &cell.case)));
        if cell.samples.len() > 1 && least.is_finite() && most.is_finite() {
            body.line("range", (*x, up.place(least)), (*x, up.place(most)));
        }
        body.raw(&look.mark(*x, *y));
        body.raw("</g>\n");
    }
    body.raw("</g>\n");
}

/// Each name right of the end of its line, moved apart where they would touch.
fn names_at_right(plan: &Plan, body: &mut Body, names: &[String], across: &Axis, up: &Axis, bottom: f64) {
    let end = |name: &String| {
        let (x, cell) = points(plan.measure, name).pop()?;
        Some((name.clone(), across.place(x), up.place(cell.median())))
    };
    let mut ends: Vec<(String, f64, f64)> = names.iter().filter_map(end).collect();
    ends.sort_by(|a, b| a.2.total_cmp(&b.2));
    let places = apart(&ends.iter().map(|end| end.2).collect::<Vec<_>>(), bottom);
    let column = across.ends.1 + 28.0;
    for ((name, x, y), place) in ends.iter().zip(places) {
        let look = plan.palette.look(name);
        body.raw(&format!("<g class=\"{}\">", look.group()));
        let path = format!("M{:.1} {y:.1}L{:.1} {place:.1}H{:.1}", x + 6.0, column - 10.0, column - 3.0);
        body.raw(&format!("<path class=\"leader\" d=\"{path}\"/>"));
        let class = if look.ours { "ours" } else { "" };
        body.text(column, place + 4.0, class, "start", &fitted(name, plan.width - column));
        body.raw("</g>\n");
    }
}

/// Heights in ascending order, moved so that none touches the next and none is below the bottom.
fn apart(heights: &[f64], bottom: f64) -> Vec<f64> {
    let mut places = heights.to_vec();
    for index in 1..places.len() {
        places[index] = places[index].max(places[index - 1] + NAME);
    }
    let mut limit = bottom;
    for place in places.iter_mut().rev() {
        *place = place.min(limit);
        limit = *place - NAME;
    }
    places
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_do_not_touch_and_stay_above_the_bottom() {
        assert_eq!(apart(&[10.0, 100.0], 200.0), [10.0, 100.0]);
        assert_eq!(apart(&[10.0, 12.0, 100.0], 200.0), [10.0, 27.0, 100.0]);
        assert_eq!(apart(&[190.0, 195.0, 199.0], 200.0), [166.0, 183.0, 200.0]);
        assert_eq!(apart(&[], 200.0), [0.0; 0]);
    }
}
