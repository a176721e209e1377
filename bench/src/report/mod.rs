//! From what a run has found to what a person reads: `README.md`, `index.html` and the charts of a folder. Nothing
//! here measures.
//!
//! Everything is made of [`Run`] alone, so that a report can be written anew from `data.json`.

mod cells;
mod chart;
mod compare;
mod escape;
mod markdown;
mod number;
mod page;
mod palette;
mod prose;
mod table;
mod words;
#[cfg(test)]
mod fixture;

use std::collections::HashSet;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};

use crate::data::{Measure, Run, Scenario};

pub use compare::compare;

/// Reads what a run has found from the `data.json` of its folder.
///
/// # Errors
/// There is none, or it is not what this version writes.
pub fn read(folder: &Path) -> Result<Run> {
    let path = folder.join("data.json");
    let text = fs::read(&path)
        .with_context(|| format!("cannot read {}: name the folder of a run", path.display()))?;
    serde_json::from_slice(&text)
        .with_context(|| format!("{} is not the data of a run of this version", path.display()))
}

/// Writes `README.md`, `index.html` and `SCENARIO-MEASURE.svg` for each measure into a folder that exists.
///
/// # Errors
/// A scenario or measure has a name that is not one word or is there twice, or a file cannot be written.
pub fn write(run: &Run, folder: &Path) -> Result<()> {
    let mut names = HashSet::new();
    for (scenario, measure) in measures(run) {
        let name = chart_file(scenario, measure);
        let is_word = |name: &str| {
            !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || "-_".contains(c))
        };
        ensure!(
            is_word(&scenario.name) && is_word(&measure.name),
            "cannot name a file {name:?}: scenarios and measures have names of letters, digits, - and _"
        );
        ensure!(names.insert(name.clone()), "there are two measures for {name}: names are unique");
    }
    let palette = palette::Palette::of(run);
    let put = |name: &str, text: String| {
        let path = folder.join(name);
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))
    };
    for (scenario, measure) in measures(run) {
        put(&chart_file(scenario, measure), chart::draw(scenario, measure, &palette, chart::Place::File))?;
    }
    put("README.md", markdown::readme(run))?;
    put("index.html", page::page(run, &palette))
}

fn measures(run: &Run) -> impl Iterator<Item = (&Scenario, &Measure)> {
    run.scenarios.iter().flat_map(|scenario| scenario.measures.iter().map(move |measure| (scenario, measure)))
}

fn chart_file(scenario: &Scenario, measure: &Measure) -> String {
    format!("{}-{}.svg", scenario.name, measure.name)
}

#[cfg(test)]
mod tests {
    use super::*;

    use roxmltree::{Document, ParsingOptions};

    use super::table::Table;

    fn document(text: &str) -> Document<'_> {
        let options = ParsingOptions { allow_dtd: true, ..ParsingOptions::default() };
        Document::parse_with_options(text, options).unwrap_or_else(|error| panic!("{error}: {text}"))
    }

    /// All text of a document, the description and tips of charts too.
    fn all_text(document: &Document) -> String {
        document
            .descendants()
            .filter(|node| node.is_text())
            .filter_map(|node| node.text())
            .collect::<Vec<_>>()
            .join(" ")
    }

    fn written(run: &Run) -> (tempfile::TempDir, impl Fn(&str) -> String + use<>) {
        let folder = tempfile::tempdir().unwrap();
        write(run, folder.path()).unwrap();
        let path = folder.path().to_owned();
        (folder, move |name: &str| fs::read_to_string(path.join(name)).unwrap())
    }

    #[test]
    fn every_median_stands_in_every_form_of_the_report() {
        let run = fixture::run();
        let (_folder, file) = written(&run);
        let (readme, page) = (file("README.md"), file("index.html"));
        let page = all_text(&document(&page));
        for (scenario, measure) in measures(&run) {
            let chart = file(&chart_file(scenario, measure));
            let chart = all_text(&document(&chart));
            let units = number::Units::of(measure);
            let figures = Table::of(measure).rows.into_iter().flat_map(|(_, figures)| figures);
            assert_eq!(figures.flatten().count(), measure.cells.len(), "{}", measure.name);
            for cell in &measure.cells {
                let median = units.figure(&cell.case, cell.median());
                assert!(readme.contains(&median), "{median} in README.md");
                assert!(page.contains(&median), "{median} in index.html");
                let with_unit = units.unit(&cell.case, cell.median()).figure(cell.median());
                assert!(chart.contains(&format!("{}: ", cell.case)), "{} in the chart", cell.case);
                assert!(
                    chart.contains(&format!("{} {with_unit}", cell.contestant)),
                    "{with_unit} in the chart"
                );
            }
        }
    }

    #[test]
    fn charts_are_bars_for_kinds_and_lines_for_scales() {
        let run = fixture::run();
        let (_folder, file) = written(&run);
        let count = |name: &str, class: &str| {
            let text = file(name);
            let document = document(&text);
            document.descendants().filter(|node| node.attribute("class") == Some(class)).count()
        };
        // 4 cases of 5, and two more in one of them; the rest of those two is said to be missing.
        assert_eq!((count("pass-cpu.svg", "bar"), count("pass-cpu.svg", "path")), (22, 0));
        // Two have one sample or three.
        assert_eq!(count("pass-cpu.svg", "spread"), 21);
        assert_eq!(file("pass-cpu.svg").matches("not measured").count(), 6);
        assert_eq!((count("routes-cpu.svg", "bar"), count("routes-cpu.svg", "path")), (0, 4));
        assert_eq!(count("routes-cpu.svg", "mark"), 11);
        assert_eq!(count("job-p99.svg", "path"), 4);
    }

    #[test]
    fn bars_are_as_long_as_their_figures() {
        let run = fixture::run();
        let (_folder, file) = written(&run);
        let text = file("job-cpu.svg");
        let document = document(&text);
        let bars = document.descendants().filter(|node| node.attribute("class") == Some("bar"));
        let widths: Vec<f64> = bars.filter_map(|bar| bar.attribute("width")?.parse().ok()).collect();
        // RS256 of Sallyport, HAProxy, Envoy, and Envoy without its cache.
        for (width, median) in widths.iter().zip([31.2, 61.0, 66.0, 104.0]) {
            assert!((width / widths[0] - median / 31.2).abs() < 0.01, "{widths:?}");
        }
    }

    #[test]
    fn each_chart_stands_alone_and_has_words_for_those_who_do_not_see_it() {
        let run = fixture::run();
        let (_folder, file) = written(&run);
        for (scenario, measure) in measures(&run) {
            let text = file(&chart_file(scenario, measure));
            let document = document(&text);
            let root = document.root_element();
            assert_eq!(root.attribute("role"), Some("img"));
            let named: Vec<&str> = root.attribute("aria-labelledby").unwrap().split(' ').collect();
            let is_there = |id: &&str| document.descendants().any(|node| node.attribute("id") == Some(*id));
            assert!(named.len() == 2 && named.iter().all(is_there), "{named:?}");
            assert!(text.contains("prefers-color-scheme:dark") && text.contains(&measure.title));
            let from_elsewhere =
                |text: &str| text.contains("href") || text.contains("url(") || text.contains("@import");
            assert!(!from_elsewhere(&text));
        }
    }

    #[test]
    fn the_page_needs_nothing_but_itself() {
        let run = fixture::run();
        let (_folder, file) = written(&run);
        let text = file("index.html");
        let page = document(&text);
        let elements = || page.descendants().filter(|node| node.is_element());
        assert!(
            elements()
                .all(|node| !["script", "link", "img", "iframe", "object"].contains(&node.tag_name().name()))
        );
        assert!(
            elements().all(|node| node.attribute("src").is_none())
                && !text.contains("url(")
                && !text.contains("@import")
        );
        let mut ids: Vec<&str> = elements().filter_map(|node| node.attribute("id")).collect();
        for target in elements().filter_map(|node| node.attribute("href")?.strip_prefix('#')) {
            assert!(ids.contains(&target), "{target}");
        }
        let count = ids.len();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), count, "ids are unique");
    }

    #[test]
    fn goals_stand_with_their_outcome_in_both_texts() {
        let run = fixture::run();
        let (_folder, file) = written(&run);
        let readme = file("README.md");
        assert!(readme.contains("4 of 6 goals met, 2 not."));
        assert!(
            readme.contains(
                "| ✗ **not met** | CPU over Envoy with its cache | 0.47× | 0.45× | The whole job |"
            ),
            "{readme}"
        );
        assert!(
            readme.contains("| ✓ met | CPU over HAProxy, RS256 | 0.51× | 0.55× | The whole job |"),
            "{readme}"
        );
        let text = file("index.html");
        let page = document(&text);
        let goals = |class| page.descendants().filter(|node| node.attribute("class") == Some(class)).count();
        assert_eq!((goals("mark-met"), goals("mark-missed")), (4, 2));
    }

    #[test]
    fn what_is_missing_is_named_with_its_reason() {
        let run = fixture::run();
        let (_folder, file) = written(&run);
        let (readme, page) = (file("README.md"), file("index.html"));
        for text in ["unable to locate package", "did not answer within 60 s", "check no tokens"] {
            assert!(readme.contains(text) && page.contains(text), "{text}");
        }
    }

    #[test]
    fn names_are_shown_and_not_obeyed() {
        let run = fixture::run();
        let (_folder, file) = written(&run);
        let names = ["README.md", "index.html", "pass-cpu.svg"].map(&file);
        assert!(names.iter().all(|text| !text.contains("<script")));
        assert!(all_text(&document(&names[1])).contains(fixture::HOSTILE));
        assert!(all_text(&document(&names[2])).contains(fixture::HOSTILE));
        let row = names[0].lines().find(|line| line.starts_with("| &lt;script&gt;")).unwrap();
        // Two of the name's own, escaped; the others make five cells.
        assert_eq!((row.matches('|').count(), row.matches("\\|").count()), (8, 2), "{row}");
    }

    #[test]
    fn a_name_that_is_no_word_or_is_there_twice_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let refused = |change: fn(&mut Run)| {
            let mut run = fixture::run();
            change(&mut run);
            write(&run, folder.path()).unwrap_err().to_string()
        };
        for change in [
            (|run| run.scenarios[0].name = "../a".to_owned()) as fn(&mut Run),
            |run| run.scenarios[0].measures[0].name = "a b".to_owned(),
            |run| run.scenarios[0].measures[0].name.clear(),
        ] {
            assert!(refused(change).contains("letters, digits, - and _"));
        }
        assert!(
            refused(|run| run.scenarios[1].name = "pass".to_owned())
                .contains("pass-cpu.svg: names are unique")
        );
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "nothing is written then");
    }

    #[test]
    fn data_is_read_as_it_was_written_and_nothing_else_is() {
        let folder = tempfile::tempdir().unwrap();
        let error = |folder: &Path| format!("{:#}", read(folder).unwrap_err());
        assert!(error(folder.path()).contains("name the folder of a run"));
        fs::write(folder.path().join("data.json"), "{\"began\": 1}").unwrap();
        assert!(error(folder.path()).contains("not the data of a run of this version"));
        fs::write(folder.path().join("data.json"), serde_json::to_vec(&fixture::run()).unwrap()).unwrap();
        let read = read(folder.path()).unwrap();
        assert!(markdown::readme(&read) == markdown::readme(&fixture::run()));
    }

    #[test]
    fn a_run_without_anything_has_a_report_too() {
        let mut run = fixture::run();
        run.contestants.retain(|contestant| contestant.version.is_ok());
        run.scenarios.clear();
        let (_folder, file) = written(&run);
        assert!(file("README.md").contains("Nothing: all contestants took part"));
        document(&file("index.html"));
        let mut run = fixture::run();
        for measure in run.scenarios.iter_mut().flat_map(|scenario| &mut scenario.measures) {
            measure.cells.clear();
        }
        let (_folder, file) = written(&run);
        document(&file("index.html"));
        document(&file("job-p99.svg"));
    }
}
