//! The report as one page, `index.html`: complete in itself, without script and without anything from elsewhere. It
//! is well-formed XML too, so that tests can read it.

use crate::data::{Goal, Measure, Run, Scenario};

use super::chart::{self, Place, legend};
use super::escape::{markup, slug};
use super::palette::Palette;
use super::table::{EMPTY, Figure, Table};
use super::{prose, words};

const STYLE: &str = include_str!("page.css");

/// The whole page.
pub(super) fn page(run: &Run, palette: &Palette) -> String {
    let sections: String = run.scenarios.iter().map(|scenario| section(scenario, palette)).collect();
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\"/>\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/>\n\
         <meta name=\"color-scheme\" content=\"light dark\"/>\n\
         <title>Sallyport beside its rivals, {}</title>\n<style>\n{}{STYLE}</style>\n</head>\n<body>\n\
         {}<main>\n{}{sections}{}{}</main>\n</body>\n</html>\n",
        markup(&run.commit),
        chart::STYLE,
        header(run),
        summary(run),
        missing(run),
        machine(run),
    )
}

fn header(run: &Run) -> String {
    let measured = run.contestants.iter().filter(|contestant| contestant.version.is_ok()).count();
    let links: String = run
        .scenarios
        .iter()
        .map(|scenario| format!("<a href=\"#{}\">{}</a>\n", anchor(scenario), markup(&scenario.title)))
        .collect();
    format!(
        "<header>\n<p class=\"origin\">{}</p>\n<h1>Sallyport beside its rivals</h1>\n\
         <p class=\"lead\">{}, {} on {}.</p>\n\
         <nav aria-label=\"Scenarios\">\n{links}<a href=\"#missing\">What is missing</a>\n\
         <a href=\"#machine\">Machine and versions</a>\n</nav>\n</header>\n",
        markup(&words::origin(run)),
        counted(run.scenarios.len(), "kind of work", "kinds of work"),
        counted(measured, "contestant", "contestants"),
        markup(&run.machine.processor),
    )
}

fn counted(count: usize, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}

fn anchor(scenario: &Scenario) -> String {
    format!("scenario-{}", slug(&scenario.name))
}

fn summary(run: &Run) -> String {
    let goals = words::goals(run);
    let mut part = format!("<section id=\"goals\" class=\"goals\">\n<h2>{}</h2>\n", words::verdict(run));
    if !goals.is_empty() {
        part += "<ul class=\"goal-list\">\n";
        for (scenario, goal) in goals {
            part += &goal_item(scenario, goal);
        }
        part += "</ul>\n";
    }
    let cautions = words::cautions(run);
    if !cautions.is_empty() {
        part += "<ul class=\"cautions\">\n";
        for caution in cautions {
            part += &format!("<li>{}</li>\n", markup(&caution));
        }
        part += "</ul>\n";
    }
    part + "</section>\n"
}

/// A goal as a line: how far its bar is from the limit is how far we are from it.
fn goal_item(scenario: &Scenario, goal: &Goal) -> String {
    let (found, at_most) = goal.figures();
    let (class, word) = if goal.is_met() { ("met", "✓ met") } else { ("missed", "✗ not met") };
    // The limit stands at two thirds, so that up to one and a half times of it is to be seen.
    let share = if goal.at_most > 0.0 { goal.found / goal.at_most } else { f64::NAN };
    let bar = if share.is_finite() {
        let width = (share / 1.5 * 100.0).clamp(0.5, 100.0);
        format!("<span class=\"gauge\" aria-hidden=\"true\"><i style=\"width:{width:.1}%\"></i></span>")
    } else {
        "<span></span>".to_owned()
    };
    format!(
        "<li class=\"{class}\"><b class=\"mark-{class}\">{word}</b><span class=\"what\">{} \
         <a href=\"#{}\">{}</a></span>{bar}<span class=\"found\"><strong>{}</strong> of at most {}</span></li>\n",
        markup(&goal.what),
        anchor(scenario),
        markup(&scenario.title),
        markup(&found),
        markup(&at_most),
    )
}

fn section(scenario: &Scenario, palette: &Palette) -> String {
    let mut part = format!(
        "<section id=\"{}\">\n<h2>{}</h2>\n<div class=\"prose\">\n{}</div>\n",
        anchor(scenario),
        markup(&scenario.title),
        prose::html(&scenario.about)
    );
    part += &checks(scenario);
    for measure in &scenario.measures {
        part += &figures(scenario, measure, palette);
    }
    if !scenario.missing.is_empty() {
        part += "<h3>Not measured here</h3>\n<ul class=\"prose\">\n";
        for what in &scenario.missing {
            part += &format!("<li>{}</li>\n", markup(what));
        }
        part += "</ul>\n";
    }
    part + "</section>\n"
}

fn checks(scenario: &Scenario) -> String {
    let checks = words::checks(scenario);
    if checks.is_empty() {
        return String::new();
    }
    let mut part = format!(
        "<details class=\"checks\">\n<summary>{} before anything was measured</summary>\n<dl>\n",
        counted(scenario.checks.len(), "check passed", "checks passed")
    );
    for (contestant, whats) in checks {
        let whats: Vec<String> = whats.into_iter().map(markup).collect();
        part += &format!("<dt>{}</dt><dd>{}</dd>\n", markup(contestant), whats.join(" · "));
    }
    part + "</dl>\n</details>\n"
}

fn figures(scenario: &Scenario, measure: &Measure, palette: &Palette) -> String {
    format!(
        "<figure>\n<figcaption><h3>{}</h3><p>{}</p></figcaption>\n\
         <div class=\"wide\">{}</div>\n<div class=\"narrow\">{}</div>\n\
         <details open=\"open\">\n<summary>Figures, the best in bold</summary>\n{}</details>\n</figure>\n",
        markup(&measure.title),
        markup(&legend(measure)),
        chart::draw(scenario, measure, palette, Place::Page),
        chart::draw(scenario, measure, palette, Place::Narrow),
        table(measure)
    )
}

fn table(measure: &Measure) -> String {
    let table = Table::of(measure);
    let ours = |ours: bool| if ours { " class=\"ours\"" } else { "" };
    let mut part = format!(
        "<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"Figures: {}\">\n<table>\n\
         <thead><tr><th scope=\"col\">{}</th>",
        markup(&measure.title),
        table.corner
    );
    for head in &table.columns {
        part += &format!("<th scope=\"col\"{}>{}</th>", ours(head.ours), markup(&head.name));
    }
    part += "</tr></thead>\n<tbody>\n";
    for (head, figures) in &table.rows {
        part += &format!("<tr{}><th scope=\"row\">{}</th>", ours(head.ours), markup(&head.name));
        for (figure, column) in figures.iter().zip(&table.columns) {
            part +=
                &format!("<td{}>{}</td>", ours(column.ours), figure.as_ref().map_or(EMPTY.to_owned(), cell));
        }
        part += "</tr>\n";
    }
    part + "</tbody>\n</table>\n</div>\n"
}

fn cell(figure: &Figure) -> String {
    let median = markup(&figure.median);
    let median = if figure.best { format!("<b>{median}</b>") } else { format!("<span>{median}</span>") };
    let ratio = figure.ratio.as_ref().map(|ratio| format!(" <i>{ratio}</i>")).unwrap_or_default();
    let spread = figure.spread.as_ref().map(|spread| format!("<small>{spread}</small>")).unwrap_or_default();
    median + &ratio + &spread
}

fn missing(run: &Run) -> String {
    let missing = words::missing(run);
    let mut part = "<section id=\"missing\">\n<h2>What is missing</h2>\n".to_owned();
    if missing.is_empty() {
        part += "<p>Nothing: all contestants took part, and all scenarios were measured whole.</p>\n";
    } else {
        part += "<dl class=\"facts\">\n";
        for (whose, what) in missing {
            part += &format!("<dt>{}</dt><dd>{}</dd>\n", markup(&whose), markup(&what));
        }
        part += "</dl>\n";
    }
    part + "</section>\n"
}

fn machine(run: &Run) -> String {
    let mut part =
        "<section id=\"machine\">\n<h2>Machine and versions</h2>\n<dl class=\"facts\">\n".to_owned();
    for (name, value) in words::machine(&run.machine) {
        part += &format!("<dt>{name}</dt><dd>{}</dd>\n", markup(&value));
    }
    part += "</dl>\n<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"Versions\">\n\
             <table class=\"versions\">\n<thead><tr><th scope=\"col\">Contestant</th><th scope=\"col\">Version</th>\
             <th scope=\"col\">From</th></tr></thead>\n<tbody>\n";
    for contestant in &run.contestants {
        let version = match &contestant.version {
            Ok(version) => markup(version),
            Err(why) => format!("<em>missing:</em> {}", markup(why)),
        };
        part += &format!(
            "<tr><th scope=\"row\">{}</th><td>{version}</td><td>{}</td></tr>\n",
            markup(&contestant.name),
            markup(&contestant.source)
        );
    }
    part + "</tbody>\n</table>\n</div>\n</section>\n"
}
