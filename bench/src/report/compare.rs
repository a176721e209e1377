//! Two runs side by side, as Markdown: for a developer who wants to know whether a change made it slower.

use crate::data::{Better, Cell, Measure, Run, Scenario};

use super::escape::markdown as text;
use super::number::{NONE, Units, digits, range, with_unit};
use super::palette::is_ours;

/// A change of the median by more than this share is marked, if the rounds of the two runs do not overlap as well.
const MARKED_FROM: f64 = 0.05;

/// What one cell was before and is now.
struct Change<'a> {
    cell: &'a Cell,
    before: String,
    after: String,
    /// Of the median, as a share; none where one of the two is not there or is zero.
    share: Option<f64>,
    verdict: Verdict,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Better,
    Worse,
    /// Less than what is marked, or within what the rounds vary.
    Same,
    /// Only in one of the runs.
    Alone,
}

/// Compares two runs: first what is marked, then each measure with the change of each figure in per cent. Marked is
/// a median that moved by more than 5 % where no round of one run lies among the rounds of the other. How far the
/// figures of others than Sallyport moved says how far the machine did.
pub fn compare(before: &Run, after: &Run) -> String {
    let mut tables = String::new();
    let mut marked = Vec::new();
    let mut others = Vec::new();
    let mut count = 0;
    for scenario in &after.scenarios {
        for measure in &scenario.measures {
            let old = find(before, scenario, measure);
            let changes = changes(old, measure);
            count += changes.iter().filter(|change| change.verdict != Verdict::Alone).count();
            others.extend(
                changes.iter().filter(|change| !is_ours(&change.cell.contestant)).filter_map(|c| c.share),
            );
            let is_marked = |change: &&Change| matches!(change.verdict, Verdict::Better | Verdict::Worse);
            marked.extend(
                changes
                    .iter()
                    .filter(is_marked)
                    .map(|change| (change.verdict, line(scenario, measure, change))),
            );
            tables += &table(scenario, measure, &changes);
        }
    }
    let mut page = format!(
        "# {} against {}\n\n{}",
        text(&after.commit),
        text(&before.commit),
        cautions(before, after, &mut others)
    );
    let number = |verdict| marked.iter().filter(|(of, _)| *of == verdict).count();
    page += &format!(
        "Of {count} figures in both runs, {} worse and {} better: by more than {} %, and beyond what the rounds vary.\n",
        number(Verdict::Worse),
        number(Verdict::Better),
        digits(MARKED_FROM * 100.0).trim_end_matches(".00")
    );
    for verdict in [Verdict::Worse, Verdict::Better] {
        for (_, line) in marked.iter().filter(|(of, _)| *of == verdict) {
            page += line;
        }
    }
    page + &tables + &gone(before, after)
}

fn find<'a>(run: &'a Run, scenario: &Scenario, measure: &Measure) -> Option<&'a Measure> {
    let same = run.scenarios.iter().find(|other| other.name == scenario.name)?;
    same.measures.iter().find(|other| other.name == measure.name && other.unit == measure.unit)
}

/// The cells of a measure with what they were; behind them those that are only in the one before.
fn changes<'a>(before: Option<&'a Measure>, after: &'a Measure) -> Vec<Change<'a>> {
    let units = Units::of(after);
    let figure = |cell: Option<&Cell>| {
        cell.map_or(NONE.to_owned(), |cell| units.unit(&cell.case, cell.median()).figure(cell.median()))
    };
    let of = |cell: &'a Cell, old: Option<&Cell>, new: Option<&Cell>| {
        let (share, verdict) =
            old.zip(new).map_or((None, Verdict::Alone), |(old, new)| judge(old, new, after.better));
        Change { cell, before: figure(old), after: figure(new), share, verdict }
    };
    let old_of = |cell: &Cell| before.and_then(|before| before.cell(&cell.contestant, &cell.case));
    let mut changes: Vec<Change> =
        after.cells.iter().map(|cell| of(cell, old_of(cell), Some(cell))).collect();
    let is_gone = |cell: &&Cell| after.cell(&cell.contestant, &cell.case).is_none();
    changes.extend(
        before.iter().flat_map(|old| &old.cells).filter(is_gone).map(|cell| of(cell, Some(cell), None)),
    );
    changes
}

fn judge(before: &Cell, after: &Cell, better: Better) -> (Option<f64>, Verdict) {
    let share = after.median() / before.median() - 1.0;
    if !share.is_finite() {
        return (None, Verdict::Same);
    }
    let ((least_before, most_before), (least_after, most_after)) =
        (range(&before.samples), range(&after.samples));
    let verdict = match better {
        _ if share.abs() <= MARKED_FROM => Verdict::Same,
        _ if least_after <= most_before && least_before <= most_after => Verdict::Same,
        Better::Lower if share < 0.0 => Verdict::Better,
        Better::Higher if share > 0.0 => Verdict::Better,
        _ => Verdict::Worse,
    };
    (Some(share), verdict)
}

/// A marked figure in the list at the top.
fn line(scenario: &Scenario, measure: &Measure, change: &Change) -> String {
    format!(
        "- {} {}: {}, {} · {}: {} → {} ({})\n",
        mark(change.verdict),
        text(&change.cell.contestant),
        text(&change.cell.case),
        text(&scenario.title),
        text(&measure.title),
        text(&change.before),
        text(&change.after),
        percent(change.share)
    )
}

fn table(scenario: &Scenario, measure: &Measure, changes: &[Change]) -> String {
    let mut part = format!(
        "\n## {} · {}\n\n| contestant | case | before | after | change | |\n|---|---|--:|--:|--:|---|\n",
        text(&scenario.title),
        text(&measure.title)
    );
    for change in changes {
        let cells = [
            text(&change.cell.contestant),
            text(&change.cell.case),
            text(&change.before),
            text(&change.after),
            percent(change.share),
            mark(change.verdict).to_owned(),
        ];
        part += &format!("| {} |\n", cells.join(" | "));
    }
    part
}

fn mark(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Worse => "▲ **worse**",
        Verdict::Better => "▼ better",
        Verdict::Same => "",
        Verdict::Alone => "in one run only",
    }
}

/// A share as `+1.2%`.
fn percent(share: Option<f64>) -> String {
    let Some(share) = share else { return NONE.to_owned() };
    let text = format!("{:+.1}", share * 100.0).replace('-', "−");
    with_unit(if text == "−0.0" { "+0.0" } else { &text }, "%")
}

/// What makes the two runs hard to compare, and how far those moved that did not change.
fn cautions(before: &Run, after: &Run, others: &mut [f64]) -> String {
    let mut cautions = Vec::new();
    let (old, new) = (&before.machine, &after.machine);
    if (&old.processor, old.cores, &old.kernel) != (&new.processor, new.cores, &new.kernel) {
        cautions.push(
            "The runs are of different machines: the changes are those of the machines too.".to_owned(),
        );
    }
    if before.quick != after.quick {
        cautions.push("One was the short run, one the full one.".to_owned());
    }
    for contestant in &after.contestants {
        let old = before.contestants.iter().find(|other| other.name == contestant.name);
        if let Some((Ok(was), Ok(is))) = old.map(|old| (&old.version, &contestant.version))
            && was != is
            && !is_ours(&contestant.name)
        {
            cautions.push(format!("{} was {was} and is {is}.", contestant.name));
        }
    }
    others.sort_by(f64::total_cmp);
    if let Some(middle) = others.get(others.len() / 2) {
        cautions.push(format!(
            "The figures of the others moved by {} in the median: so far did the machine.",
            percent(Some(*middle))
        ));
    }
    cautions.iter().map(|caution| format!("{}\n\n", text(caution))).collect()
}

/// The measures that are only in the run before.
fn gone(before: &Run, after: &Run) -> String {
    let mut part = String::new();
    for scenario in &before.scenarios {
        for measure in scenario.measures.iter().filter(|measure| find(after, scenario, measure).is_none()) {
            part += &format!("- {} · {}\n", text(&scenario.title), text(&measure.title));
        }
    }
    if part.is_empty() { part } else { format!("\n## Only in the run before\n\n{part}") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::fixture;

    /// The fixture, with the samples of Sallyport in the first case of the first measure as given.
    fn with(samples: &[f64]) -> Run {
        let mut run = fixture::run();
        let cells = &mut run.scenarios[0].measures[0].cells;
        let cell = cells.iter_mut().find(|cell| cell.contestant == "Sallyport").unwrap();
        cell.samples = samples.to_vec();
        run
    }

    fn first_row(page: &str) -> &str {
        page.lines().find(|line| line.starts_with("| Sallyport |")).unwrap()
    }

    #[test]
    fn a_run_is_the_same_as_itself() {
        let page = compare(&fixture::run(), &fixture::run());
        assert!(page.contains(" figures in both runs, 0 worse and 0 better: by more than 5 %"), "{page}");
        assert!(page.contains("moved by +0.0% in the median"), "{page}");
        assert!(!page.contains("worse**") && !page.contains("run only") && !page.contains("Only in"));
    }

    #[test]
    fn what_moved_beyond_the_rounds_is_marked() {
        let page = compare(&with(&[20.0, 20.5, 21.0]), &with(&[22.0, 22.5, 21.9]));
        assert!(page.contains("1 worse and 0 better"), "{page}");
        assert!(
            first_row(&page).ends_with("| 20.5\u{a0}µs | 22.0\u{a0}µs | +7.3% | ▲ **worse** |"),
            "{page}"
        );
        assert!(page.contains("- ▲ **worse** Sallyport: 0.1 KiB, "), "{page}");
        let page = compare(&with(&[22.0, 22.5, 21.9]), &with(&[20.0, 20.5, 21.0]));
        assert!(first_row(&page).ends_with("| −6.8% | ▼ better |"), "{page}");
    }

    #[test]
    fn what_moved_among_the_rounds_or_little_is_not_marked() {
        for after in [&[22.0, 23.0, 20.9], &[21.2, 21.3, 21.1]] {
            let page = compare(&with(&[20.0, 20.5, 21.0]), &with(after));
            assert!(page.contains("0 worse and 0 better"), "{page}");
        }
    }

    #[test]
    fn more_is_better_where_it_is() {
        let cell = |samples: &[f64]| Cell {
            samples: samples.to_vec(),
            ..fixture::run().scenarios[0].measures[0].cells[0].clone()
        };
        let verdict = |before: &[f64], after: &[f64], better| judge(&cell(before), &cell(after), better).1;
        assert_eq!(verdict(&[10.0], &[12.0], Better::Higher), Verdict::Better);
        assert_eq!(verdict(&[10.0], &[12.0], Better::Lower), Verdict::Worse);
        assert_eq!(verdict(&[12.0], &[10.0], Better::Higher), Verdict::Worse);
        assert_eq!(judge(&cell(&[0.0]), &cell(&[1.0]), Better::Lower), (None, Verdict::Same));
    }

    #[test]
    fn what_is_in_one_run_only_is_said() {
        let mut before = fixture::run();
        let after = fixture::run();
        before.scenarios[0].measures[0].cells.remove(0);
        let page = compare(&before, &after);
        assert_eq!(first_row(&page), "| Sallyport | 0.1 KiB | – | 23.4\u{a0}µs | – | in one run only |");
        let page = compare(&after, &before);
        assert!(page.contains("| Sallyport | 0.1 KiB | 23.4\u{a0}µs | – | – | in one run only |"), "{page}");
        let mut without = fixture::run();
        without.scenarios.remove(1);
        assert!(compare(&after, &without).contains("## Only in the run before\n\n- "));
    }

    #[test]
    fn runs_that_differ_in_more_than_the_commit_are_told_apart() {
        let (before, mut after) = (fixture::run(), fixture::run());
        after.machine.cores += 1;
        after.quick = !after.quick;
        let envoy = after.contestants.iter_mut().find(|contestant| contestant.name == "Envoy").unwrap();
        envoy.version = Ok("1.41.0".to_owned());
        let page = compare(&before, &after);
        for text in ["different machines", "short run", "Envoy was 1.40.0 and is 1.41.0."] {
            assert!(page.contains(text), "{text}: {page}");
        }
    }
}
