//! Charts as SVG: bars for different things, lines for points of one quantity.
//!
//! A chart has no script and no font of its own; its colours follow the reader's scheme, light or dark. Widths of
//! text are estimated, because nobody knows the reader's font here.

mod axis;
mod bars;
mod lines;

use crate::data::{Better, Cases, Measure, Scenario};

use super::escape::markup;
use super::number::Units;
use super::palette::Palette;

/// The looks of all charts, for a page that holds some.
pub(super) const STYLE: &str = include_str!("../chart.css");

/// Where a chart is to be shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// In a file of its own: with its heading, colours and all figures as its description.
    File,
    /// In the page, which has the heading, the colours and the table.
    Page,
    /// The same for a narrow window.
    Narrow,
}

/// What the two forms of chart are given.
struct Plan<'a> {
    measure: &'a Measure,
    units: Units,
    palette: &'a Palette,
    width: f64,
    /// Whether there is room for more than the figures.
    roomy: bool,
}

/// What the two forms of chart give back: what is drawn, from `y` = 0 on.
struct Drawing {
    body: Body,
    height: f64,
}

/// The elements of a chart.
#[derive(Default)]
struct Body(String);

/// The chart of a measure.
pub(super) fn draw(scenario: &Scenario, measure: &Measure, palette: &Palette, place: Place) -> String {
    let width = if place == Place::Narrow { 344.0 } else { 760.0 };
    let plan = Plan { measure, units: Units::of(measure), palette, width, roomy: place != Place::Narrow };
    let drawing = if are_lines(measure) { lines::draw(&plan) } else { bars::draw(&plan) };
    let id =
        format!("{}-{}-{place:?}", super::escape::slug(&scenario.name), super::escape::slug(&measure.name));
    let title = markup(&format!("{}: {}", scenario.title, measure.title));
    let head = |height: f64, margin: f64| {
        let (full, tall) = (width + 2.0 * margin, height + 2.0 * margin);
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" class=\"chart\" role=\"img\" \
             aria-labelledby=\"{id}-t {id}-d\" viewBox=\"{:.0} {:.0} {full:.0} {tall:.0}\" width=\"{full:.0}\" \
             height=\"{tall:.0}\">\n<title id=\"{id}-t\">{title}</title>\n",
            -margin, -margin
        )
    };
    if place != Place::File {
        return format!(
            "{}<desc id=\"{id}-d\">{}. The table beside it holds all figures.</desc>\n{}</svg>\n",
            head(drawing.height, 0.0),
            markup(&legend(measure)),
            drawing.body.0
        );
    }
    let mut heading = Body::default();
    heading.text(
        0.0,
        14.0,
        "title",
        "start",
        &fitted(&format!("{} · {}", scenario.title, measure.title), width * 0.75),
    );
    heading.text(0.0, 34.0, "dim", "start", &fitted(&legend(measure), width));
    let (above, margin) = (50.0, 20.0);
    format!(
        "{}<desc id=\"{id}-d\">{}. {}</desc>\n<style>{STYLE}</style>\n\
         <rect class=\"paper\" x=\"-20\" y=\"-20\" width=\"100%\" height=\"100%\"/>\n\
         {}<g transform=\"translate(0 {above})\">\n{}</g>\n</svg>\n",
        head(drawing.height + above, margin),
        markup(&legend(measure)),
        markup(&in_words(&plan)),
        heading.0,
        drawing.body.0
    )
}

/// How the chart of a measure is to be read.
pub(super) fn legend(measure: &Measure) -> String {
    let units = Units::of(measure);
    let mut parts = Vec::new();
    if let Some(unit) = units.shared().filter(|unit| !unit.name.is_empty()) {
        parts.push(unit.name.clone());
    }
    parts.push(match measure.better {
        Better::Lower => "less is better".to_owned(),
        Better::Higher => "more is better".to_owned(),
    });
    let rounds = measure.cells.iter().map(|cell| cell.samples.len()).max().unwrap_or(0);
    parts.push(match rounds {
        0 | 1 => "one round".to_owned(),
        _ => format!("median of {rounds} rounds, whiskers least to most"),
    });
    if are_lines(measure) {
        parts.extend(lines::scales(measure));
    } else if bars::is_split(measure) {
        parts.push("each group to its own scale".to_owned());
    }
    parts.extend(measure.over.iter().map(|over| format!("× over {over}")));
    parts.join(" · ")
}

/// Lines need points: all with a place, and two places at least.
fn are_lines(measure: &Measure) -> bool {
    let places: Option<Vec<f64>> =
        measure.cells.iter().map(|cell| cell.x.filter(|x| x.is_finite())).collect();
    let is_scale = matches!(measure.cases, Cases::Scale { .. });
    is_scale && places.is_some_and(|places| places.iter().any(|x| *x != places[0]))
}

/// All medians, for readers who do not see the chart.
fn in_words(plan: &Plan) -> String {
    let measure = plan.measure;
    let figure = |name: &String, case: &String| {
        let median = measure.median(name, case)?;
        Some(format!("{name} {}", plan.units.unit(case, median).figure(median)))
    };
    let case = |case: &String| {
        let figures: Vec<String> =
            measure.contestant_names().iter().filter_map(|name| figure(name, case)).collect();
        format!("{case}: {}.", figures.join(", "))
    };
    measure.case_names().iter().map(case).collect::<Vec<_>>().join(" ")
}

impl Plan<'_> {
    /// A cell in words, for the pointer that rests on it.
    fn tip(&self, contestant: &str, case: &str) -> String {
        let Some(cell) = self.measure.cell(contestant, case) else { return String::new() };
        let unit = self.units.unit(case, cell.median());
        let spread =
            unit.spread(&cell.samples).map(|spread| format!(" ({spread}, {} rounds)", cell.samples.len()));
        let text =
            format!("{contestant}, {case}: {}{}", unit.figure(cell.median()), spread.unwrap_or_default());
        format!("<title>{}</title>", markup(&text))
    }
}

impl Body {
    fn text(&mut self, x: f64, y: f64, class: &str, anchor: &str, text: &str) {
        let text = markup(text);
        self.0 += &format!(
            "<text x=\"{x:.1}\" y=\"{y:.1}\" class=\"{class}\" text-anchor=\"{anchor}\">{text}</text>\n"
        );
    }

    fn line(&mut self, class: &str, (x1, y1): (f64, f64), (x2, y2): (f64, f64)) {
        self.0 += &format!("<path class=\"{class}\" d=\"M{x1:.1} {y1:.1}L{x2:.1} {y2:.1}\"/>\n");
    }

    fn raw(&mut self, markup: &str) {
        self.0 += markup;
    }
}

/// About how wide a text of 12 px is.
fn text_width(text: &str) -> f64 {
    text.chars().map(|character| if u32::from(character) < 0x1100 { 7.0 } else { 12.0 }).sum()
}

/// A text cut to a width.
fn fitted(text: &str, width: f64) -> String {
    if text_width(text) <= width {
        return text.to_owned();
    }
    let mut fitted = String::new();
    for character in text.chars() {
        if text_width(&fitted) + 2.0 * 7.0 > width {
            break;
        }
        fitted.push(character);
    }
    fitted.trim_end().to_owned() + "…"
}
