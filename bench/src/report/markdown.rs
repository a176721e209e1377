//! The report as `README.md`, for where code is read.

use crate::data::{Measure, Run, Scenario};

use super::chart::legend;
use super::escape::markdown as text;
use super::table::{EMPTY, Figure, Table};
use super::{chart_file, words};

/// The whole file.
pub(super) fn readme(run: &Run) -> String {
    let mut page = format!("# Sallyport beside its rivals\n\n{}\n\n", text(&words::origin(run)));
    page += "The same with more to see is in [index.html](index.html), the raw figures are in [data.json](data.json). \
             In the tables the best of a case is bold; in brackets stand the least and the most of the rounds.\n\n";
    for caution in words::cautions(run) {
        page += &format!("> {}\n", text(&caution));
        page += ">\n";
    }
    page += &goals(run);
    for scenario in &run.scenarios {
        page += &section(scenario);
    }
    page += &missing(run);
    page += &machine(run);
    page
}

fn goals(run: &Run) -> String {
    let mut part = format!("\n## Goals\n\n{}\n", words::verdict(run));
    let goals = words::goals(run);
    if goals.is_empty() {
        return part;
    }
    part += "\n| | goal | found | at most | scenario |\n|---|---|--:|--:|---|\n";
    for (scenario, goal) in goals {
        let (found, at_most) = goal.figures();
        let mark = if goal.is_met() { "✓ met" } else { "✗ **not met**" };
        part +=
            &row(&[mark.to_owned(), text(&goal.what), text(&found), text(&at_most), text(&scenario.title)]);
    }
    part
}

fn section(scenario: &Scenario) -> String {
    let mut part = format!("\n## {}\n\n{}\n", text(&scenario.title), scenario.about.trim());
    let checks = words::checks(scenario);
    if !checks.is_empty() {
        part += "\nSeen to work before anything was measured:\n\n";
    }
    for (contestant, whats) in checks {
        let whats: Vec<String> = whats.into_iter().map(text).collect();
        part += &format!("- {}: {}\n", text(contestant), whats.join("; "));
    }
    for measure in &scenario.measures {
        part += &figures(scenario, measure);
    }
    if !scenario.missing.is_empty() {
        part += "\nNot measured:\n\n";
    }
    for what in &scenario.missing {
        part += &format!("- {}\n", text(what));
    }
    part
}

fn figures(scenario: &Scenario, measure: &Measure) -> String {
    let mut part = format!("\n### {}\n\n{}", text(&measure.title), text(&legend(measure)));
    let alternative = text(&format!("{}: {}", scenario.title, measure.title));
    part += &format!("\n\n![{alternative}]({})\n\n", chart_file(scenario, measure));
    let table = Table::of(measure);
    let heads: Vec<String> = table.columns.iter().map(|head| text(&head.name)).collect();
    part += &row(&[vec![table.corner.to_owned()], heads].concat());
    part += &format!("|---|{}\n", "--:|".repeat(table.columns.len()));
    for (head, figures) in table.rows {
        let name = if head.ours { format!("**{}**", text(&head.name)) } else { text(&head.name) };
        part += &row(&[vec![name], figures.iter().map(figure).collect()].concat());
    }
    part
}

fn figure(figure: &Option<Figure>) -> String {
    let Some(figure) = figure else { return EMPTY.to_owned() };
    let median = text(&figure.median);
    let mut parts = vec![if figure.best { format!("**{median}**") } else { median }];
    parts.extend(figure.spread.iter().map(|spread| format!("({spread})")));
    parts.extend(figure.ratio.clone());
    parts.join(" ")
}

fn missing(run: &Run) -> String {
    let missing = words::missing(run);
    let mut part = "\n## What is missing\n\n".to_owned();
    if missing.is_empty() {
        part += "Nothing: all contestants took part, and all scenarios were measured whole.\n";
    }
    for (whose, what) in missing {
        part += &format!("- {}: {}\n", text(&whose), text(&what));
    }
    part
}

fn machine(run: &Run) -> String {
    let mut part = "\n## Machine and versions\n\n| | |\n|---|---|\n".to_owned();
    for (name, value) in words::machine(&run.machine) {
        part += &row(&[name.to_owned(), text(&value)]);
    }
    part += "\n| contestant | version | from |\n|---|---|---|\n";
    for contestant in &run.contestants {
        let version = contestant.version.as_ref().map_or_else(|why| format!("missing: {why}"), Clone::clone);
        part += &row(&[text(&contestant.name), text(&version), text(&contestant.source)]);
    }
    part
}

fn row(cells: &[String]) -> String {
    format!("| {} |\n", cells.join(" | "))
}
