//! Sentences about a run that both the page and the Markdown say. Plain text: who shows it escapes it.

use crate::data::{Goal, Machine, Run, Scenario};

use super::number::{Unit, digits};

/// From this load average on, the machine was not ours alone.
const BUSY_FROM: f64 = 0.5;
const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

/// When, which commit, and how long a run it was.
pub(super) fn origin(run: &Run) -> String {
    let length = if run.quick { "short run" } else { "full run" };
    let commit = match run.commit.strip_suffix('+') {
        Some(commit) => format!("{commit} with changes that are not committed"),
        None => run.commit.clone(),
    };
    format!("{} · commit {commit} · {length}", date(&run.began))
}

/// `2026-08-03T14:02:11Z` as `3 August 2026, 14:02 UTC`; any other form as it is.
fn date(began: &str) -> String {
    let parts = || {
        let (day, time) = began.strip_suffix('Z')?.split_once('T')?;
        let mut fields = day.split('-');
        let (year, month, day) = (fields.next()?, fields.next()?, fields.next()?);
        let month = MONTHS.get(month.parse::<usize>().ok()?.checked_sub(1)?)?;
        Some(format!("{} {month} {year}, {} UTC", day.parse::<u8>().ok()?, time.get(..5)?))
    };
    parts().unwrap_or_else(|| began.to_owned())
}

/// What makes the figures of a run weaker than they look.
pub(super) fn cautions(run: &Run) -> Vec<String> {
    let mut cautions = Vec::new();
    if run.quick {
        cautions.push("This was the short run: few and short rounds. It shows where things stand, not the last per cent.".to_owned());
    }
    if run.commit.ends_with('+') {
        cautions.push("Files differed from the commit: nobody else can measure the same program.".to_owned());
    }
    if run.machine.load_before >= BUSY_FROM {
        cautions.push(format!(
            "The machine was busy before the run (load average {}): the figures may be those of the neighbours.",
            digits(run.machine.load_before)
        ));
    }
    let samples =
        || run.scenarios.iter().flat_map(|scenario| &scenario.measures).flat_map(|measure| &measure.cells);
    let single = samples().filter(|cell| cell.samples.len() == 1).count();
    if single > 0 {
        cautions.push(format!(
            "{single} of {} figures are of one round: how far they vary is not known.",
            samples().count()
        ));
    }
    cautions
}

/// The goals of all scenarios; those that are not met first.
pub(super) fn goals(run: &Run) -> Vec<(&Scenario, &Goal)> {
    let mut goals = Vec::new();
    for scenario in &run.scenarios {
        goals.extend(scenario.goals.iter().map(|goal| (scenario, goal)));
    }
    goals.sort_by_key(|(_, goal)| goal.is_met());
    goals
}

/// How many goals are met, in one sentence.
pub(super) fn verdict(run: &Run) -> String {
    let goals = goals(run);
    let met = goals.iter().filter(|(_, goal)| goal.is_met()).count();
    match (goals.len(), goals.len() - met) {
        (0, _) => "This run had no goals.".to_owned(),
        (1, 0) => "The one goal is met.".to_owned(),
        (all, 0) => format!("All {all} goals are met."),
        (all, missed) => format!("{met} of {all} goals met, {missed} not."),
    }
}

impl Goal {
    /// What came out, and the most that it may be, in units of one kind.
    pub(super) fn figures(&self) -> (String, String) {
        let figure = |value: f64| match self.unit.as_str() {
            "×" => super::number::ratio(value),
            unit => Unit::one(unit, value).figure(value),
        };
        let (found, at_most) = (figure(self.found), figure(self.at_most));
        // Three digits may hide that it is missed.
        if !self.is_met() && found == at_most {
            (format!("over {at_most}"), at_most)
        } else {
            (found, at_most)
        }
    }
}

/// What the run ran on, as names and values.
pub(super) fn machine(machine: &Machine) -> Vec<(&'static str, String)> {
    #[allow(clippy::cast_precision_loss, reason = "MiB of a machine")]
    let memory = machine.memory_mib as f64;
    vec![
        ("Processor", machine.processor.clone()),
        ("Cores", machine.cores.to_string()),
        ("Memory", Unit::one("MiB", memory).figure(memory)),
        ("Kernel", machine.kernel.clone()),
        ("System", machine.system.clone()),
        ("Load before", digits(machine.load_before)),
    ]
}

/// Everything that is not there: contestants that could not be had, and what scenarios say.
pub(super) fn missing(run: &Run) -> Vec<(String, String)> {
    let contestants = run
        .contestants
        .iter()
        .filter_map(|contestant| Some((contestant.name.clone(), contestant.version.as_ref().err()?.clone())));
    let of = |scenario: &Scenario| -> Vec<(String, String)> {
        scenario.missing.iter().map(|what| (scenario.title.clone(), what.clone())).collect()
    };
    contestants.chain(run.scenarios.iter().flat_map(of)).collect()
}

/// The checks of a scenario by contestant, in the order in which they first come.
pub(super) fn checks(scenario: &Scenario) -> Vec<(&str, Vec<&str>)> {
    let mut checks: Vec<(&str, Vec<&str>)> = Vec::new();
    for check in &scenario.checks {
        match checks.iter_mut().find(|(name, _)| *name == check.contestant) {
            Some((_, whats)) => whats.push(&check.what),
            None => checks.push((&check.contestant, vec![&check.what])),
        }
    }
    checks
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::fixture;

    #[test]
    fn dates_are_written_out_where_they_are_utc() {
        assert_eq!(date("2026-08-03T14:02:11Z"), "3 August 2026, 14:02 UTC");
        for other in
            ["2026-08-03T14:02:11+02:00", "2026-13-03T14:02:11Z", "2026-00-03T14:02:11Z", "2026Z", "", "é"]
        {
            assert_eq!(date(other), other);
        }
    }

    #[test]
    fn what_weakens_a_run_is_said() {
        let mut run = fixture::run();
        assert_eq!(cautions(&run).len(), 4, "{:?}", cautions(&run));
        run.quick = false;
        run.commit = "abc1234".to_owned();
        run.machine.load_before = 0.1;
        run.scenarios.clear();
        assert_eq!(cautions(&run), [""; 0]);
    }

    #[test]
    fn a_goal_without_a_figure_is_not_met_and_comes_first() {
        let mut run = fixture::run();
        run.scenarios[0].goals[0].found = f64::NAN;
        let goals = goals(&run);
        assert!(!goals[0].1.is_met());
        assert_eq!(goals[0].1.figures(), ("–".to_owned(), "1.15×".to_owned()));
        let close = Goal { found: 1.151, ..goals[0].1.clone() };
        assert_eq!(close.figures(), ("over 1.15×".to_owned(), "1.15×".to_owned()));
        assert!(goals.windows(2).all(|pair| pair[0].1.is_met() <= pair[1].1.is_met()));
    }

    #[test]
    fn the_verdict_counts() {
        let mut run = fixture::run();
        assert_eq!(verdict(&run), "4 of 6 goals met, 2 not.");
        run.scenarios.iter_mut().for_each(|scenario| scenario.goals.retain(Goal::is_met));
        assert_eq!(verdict(&run), "All 4 goals are met.");
        run.scenarios.clear();
        assert_eq!(verdict(&run), "This run had no goals.");
    }
}
