//! Horizontal bars, grouped by case; a line over each from the least to the most round.

use crate::data::{Cell, Measure};
use crate::report::number::range;
use crate::report::table::over;

use super::axis::Axis;
use super::{Body, Drawing, Plan, fitted, text_width};

/// Groups whose largest bars are farther apart than this have each a scale of its own.
const SPLIT: f64 = 6.0;
const ROW: f64 = 22.0;
const BAR: f64 = 14.0;
const CASE: f64 = 24.0;
const BETWEEN: f64 = 14.0;

/// Whether each group has a scale of its own.
pub(super) fn is_split(measure: &Measure) -> bool {
    let most = measure
        .case_names()
        .iter()
        .map(|case| ends(measure, Some(case)))
        .fold((f64::INFINITY, 0.0_f64), |(least, most), end| (least.min(end), most.max(end)));
    most.1 > SPLIT * most.0
}

/// The end of the longest bar or line over it, of a case or of all.
fn ends(measure: &Measure, case: Option<&str>) -> f64 {
    let cells = measure.cells.iter().filter(|cell| case.is_none_or(|case| cell.case == case));
    cells.map(|cell| range(&cell.samples).1).filter(|end| end.is_finite()).fold(0.0, f64::max)
}

/// What stands right of a bar.
struct Label {
    number: String,
    ratio: String,
}

pub(super) fn draw(plan: &Plan) -> Drawing {
    let measure = plan.measure;
    let (names, cases) = (measure.contestant_names(), measure.case_names());
    let left = names.iter().map(|name| text_width(name)).fold(0.0, f64::max).min(plan.width * 0.33) + 10.0;
    let labels = measure.cells.iter().map(|cell| label(plan, cell));
    let right =
        labels.map(|label| text_width(&label.number) + text_width(&label.ratio)).fold(40.0, f64::max) + 20.0;
    let (from, to) = (left, plan.width - right);
    let split = is_split(measure);
    let mut body = Body::default();
    let mut y = 0.0;
    for case in &cases {
        if !case.is_empty() {
            body.text(0.0, y + 14.0, "case", "start", &fitted(case, plan.width));
            y += CASE;
        }
        let end = ends(measure, split.then_some(case.as_str()));
        let axis = match split {
            true => Axis::up_to(end, (from, to)),
            false => Axis::amounts(&[end], plan.units.factor(), false, (from, to)),
        };
        let below = y + ROW * rows(&names);
        if !split {
            for tick in axis.ticks.iter().skip(1) {
                body.line("hair", (axis.place(*tick), y), (axis.place(*tick), below));
            }
        }
        for name in &names {
            row(plan, &mut body, name, case, (left, y), &axis);
            y += ROW;
        }
        body.line("axis", (from, below - ROW * rows(&names)), (from, below));
        y += BETWEEN;
    }
    if !split {
        let axis = Axis::amounts(&[ends(measure, None)], plan.units.factor(), false, (from, to));
        let mut free_from = f64::NEG_INFINITY;
        for tick in &axis.ticks {
            let (x, text) = (axis.place(*tick), plan.units.tick(*tick));
            let half = text_width(&text) / 2.0;
            if x - half > free_from {
                body.text(x, y + 4.0, "dim", "middle", &text);
                free_from = x + half + 4.0;
            }
        }
        y += BETWEEN;
    }
    Drawing { body, height: y }
}

#[allow(clippy::cast_precision_loss, reason = "some contestants")]
fn rows(names: &[String]) -> f64 {
    names.len() as f64
}

fn label(plan: &Plan, cell: &Cell) -> Label {
    let number = plan.units.figure(&cell.case, cell.median());
    let ratio = over(plan.measure, &cell.contestant, &cell.case).filter(|_| plan.roomy);
    Label { number, ratio: ratio.map(|ratio| format!("  {ratio}")).unwrap_or_default() }
}

/// One contestant in one case.
fn row(plan: &Plan, body: &mut Body, name: &str, case: &str, (left, y): (f64, f64), axis: &Axis) {
    let look = plan.palette.look(name);
    let middle = y + ROW / 2.0;
    let class = if look.ours { "ours" } else { "" };
    body.raw(&format!("<g class=\"{}\">{}\n", look.group(), plan.tip(name, case)));
    body.text(left - 8.0, middle + 4.0, class, "end", &fitted(name, left - 10.0));
    let Some(cell) = plan.measure.cell(name, case) else {
        body.text(left + 8.0, middle + 4.0, "dim", "start", "not measured");
        body.raw("</g>\n");
        return;
    };
    let median = cell.median();
    let end = if median.is_finite() { axis.place(median) } else { left };
    let width = (end - left).max(1.0);
    body.raw(&format!(
        "<rect class=\"bar\" x=\"{left:.1}\" y=\"{:.1}\" width=\"{width:.1}\" height=\"{BAR}\" rx=\"1.5\"/>\n",
        middle - BAR / 2.0
    ));
    let mut label_at = end;
    let (least, most) = range(&cell.samples);
    if cell.samples.len() > 1 && least.is_finite() && most.is_finite() {
        let (from, to) = (axis.place(least), axis.place(most));
        let cap = 3.5;
        let path = format!(
            "M{from:.1} {middle:.1}H{to:.1}M{from:.1} {:.1}v{:.1}M{to:.1} {:.1}v{:.1}",
            middle - cap,
            2.0 * cap,
            middle - cap,
            2.0 * cap
        );
        body.raw(&format!("<path class=\"halo\" d=\"{path}\"/><path class=\"spread\" d=\"{path}\"/>\n"));
        label_at = to.max(end);
    }
    let Label { number, ratio } = label(plan, cell);
    let (at, below) = (label_at + 8.0, middle + 4.0);
    let (number, ratio) =
        (crate::report::escape::markup(&number), crate::report::escape::markup(ratio.trim()));
    let ratio =
        if ratio.is_empty() { ratio } else { format!("<tspan class=\"dim\" dx=\"8\">{ratio}</tspan>") };
    body.raw(&format!(
        "<text x=\"{at:.1}\" y=\"{below:.1}\"><tspan class=\"number\">{number}</tspan>{ratio}</text>\n</g>\n"
    ));
}
