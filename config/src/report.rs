//! What is wrong with a configuration: messages with their places, and how they are printed.
//!
//! A report also keeps the text of every file it speaks of, so that it can show the line. Secrets are never in
//! that text: a file holds `${NAME}`, not the value.

use std::fmt;
use std::sync::Arc;

use serde_json::{Value, json};

use crate::located::Location;
pub use crate::nearest::nearest;
use crate::snippet;

/// Problems found in a configuration, and the files they are in.
#[derive(Debug, Clone, Default)]
pub struct Report {
    sources: Vec<Source>,
    diagnostics: Vec<Diagnostic>,
    masked: Vec<Location>,
}

#[derive(Debug, Clone)]
struct Source {
    name: String,
    text: Arc<str>,
}

/// How bad a problem is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// The configuration is refused.
    Error,
    /// The configuration works, but probably not as meant.
    Warning,
}

/// One problem.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// How bad it is.
    pub severity: Severity,
    /// What is wrong.
    pub message: String,
    /// Where.
    pub at: Location,
    /// What would be right, a line each.
    pub hints: Vec<String>,
}

impl Diagnostic {
    /// Adds what would be right.
    pub fn hint(&mut self, hint: impl Into<String>) -> &mut Self {
        self.hints.push(hint.into());
        self
    }
}

impl Report {
    /// Adds an error.
    pub fn error(&mut self, at: Location, message: impl Into<String>) -> &mut Diagnostic {
        self.add(Severity::Error, at, message.into())
    }

    /// Adds a warning.
    pub fn warning(&mut self, at: Location, message: impl Into<String>) -> &mut Diagnostic {
        self.add(Severity::Warning, at, message.into())
    }

    fn add(&mut self, severity: Severity, at: Location, message: String) -> &mut Diagnostic {
        let index = self.diagnostics.len();
        self.diagnostics.push(Diagnostic { severity, message, at, hints: Vec::new() });
        &mut self.diagnostics[index]
    }

    /// Whether there are no errors; warnings do not count.
    pub fn is_empty(&self) -> bool {
        self.errors().next().is_none()
    }

    /// Every problem, in the order it was found.
    pub fn diagnostics(&self) -> &[Diagnostic] {
        &self.diagnostics
    }

    /// The errors, in the order they were found.
    pub fn errors(&self) -> impl Iterator<Item = &Diagnostic> {
        self.diagnostics.iter().filter(|diagnostic| diagnostic.severity == Severity::Error)
    }

    /// The warnings, in the order they were found.
    pub fn warnings(&self) -> impl Iterator<Item = &Diagnostic> {
        self.diagnostics.iter().filter(|diagnostic| diagnostic.severity == Severity::Warning)
    }

    /// Adds a file; the number stands for it in every [`Location`].
    pub fn add_source(&mut self, name: impl Into<String>, text: impl Into<Arc<str>>) -> u16 {
        let file = u16::try_from(self.sources.len()).unwrap_or(u16::MAX);
        self.sources.push(Source { name: name.into(), text: text.into() });
        file
    }

    /// The name of a file, as it was given; empty for a number that stands for none.
    pub fn source_name(&self, file: u16) -> &str {
        self.sources.get(usize::from(file)).map_or("", |source| &source.name)
    }

    /// A place as `file:line:column`, or `None` if it is unknown.
    pub fn place(&self, at: Location) -> Option<String> {
        at.is_known().then(|| format!("{}:{}:{}", self.source_name(at.file), at.line, at.column))
    }

    /// The place of a character (counted from 0) of a value that begins at `at`, as far as the file has the value there
    /// as it is: plain, quoted without escapes before the character, or as a block of lines. Else `at`.
    pub fn inside(&self, at: Location, value: &str, character: usize) -> Location {
        let Some(source) = self.sources.get(usize::from(at.file)).filter(|_| at.is_known()) else {
            return at;
        };
        let before: String = value.chars().take(character).collect();
        let (line, column) = (before.matches('\n').count(), before.rsplit('\n').next().unwrap_or_default());
        let lines: Vec<&str> = source.text.lines().collect();
        let first = (at.line - 1) as usize;
        if line == 0 {
            let rest: String = lines
                .get(first)
                .into_iter()
                .flat_map(|line| line.chars())
                .skip(at.column as usize - 1)
                .collect();
            // A value may itself begin with a quote: as it stands comes first.
            for quote in [0, usize::from(rest.starts_with(['\'', '"']))] {
                if rest.chars().skip(quote).take(character).eq(before.chars())
                    && rest.chars().count() >= character + quote
                {
                    return at.right(character + quote);
                }
            }
        }
        // A block: its lines follow the `|`, or it begins right at the place.
        for start in [first, first + 1] {
            let same = value.lines().take(line + 1).enumerate().all(|(index, wanted)| {
                lines.get(start + index).is_some_and(|found| found.trim_start() == wanted.trim_start())
            });
            let (Some(found), Some(wanted)) = (lines.get(start + line), value.lines().nth(line)) else {
                continue;
            };
            if same {
                let indent = found.chars().count() - wanted.chars().count().min(found.chars().count());
                let at = Location { line: (start + line + 1) as u32, column: 1, ..at };
                return at.right(indent + column.chars().count());
            }
        }
        at
    }

    /// Hides what stands at this place whenever its line is shown: somebody wrote a secret into the file.
    pub(crate) fn mask(&mut self, at: Location) {
        self.masked.push(at);
    }

    /// Sorts the problems by file and place. Those without a place come first.
    pub fn sort(&mut self) {
        self.diagnostics.sort_by_key(|diagnostic| sort_key(diagnostic.at));
    }

    /// The problems as a JSON array of `{severity, message, file, line, column, hint}`, sorted by file and place.
    /// `file`, `line` and `column` are null where a problem has no place, `hint` where it has none.
    pub fn to_json(&self) -> Value {
        let one = |diagnostic: &Diagnostic| {
            let at = diagnostic.at;
            let known = at.is_known();
            json!({
                "severity": match diagnostic.severity { Severity::Error => "error", Severity::Warning => "warning" },
                "message": diagnostic.message,
                "file": known.then(|| self.source_name(at.file)),
                "line": known.then_some(at.line),
                "column": known.then_some(at.column),
                "hint": (!diagnostic.hints.is_empty()).then(|| diagnostic.hints.join("; ")),
            })
        };
        Value::Array(self.sorted().into_iter().map(one).collect())
    }

    fn sorted(&self) -> Vec<&Diagnostic> {
        let mut sorted: Vec<_> = self.diagnostics.iter().collect();
        sorted.sort_by_key(|diagnostic| sort_key(diagnostic.at));
        sorted
    }
}

fn sort_key(at: Location) -> (bool, u16, u32, u32) {
    (at.is_known(), at.file, at.line, at.column)
}

/// Every problem with its line, sorted by file and place, an empty line between two.
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, diagnostic) in self.sorted().into_iter().enumerate() {
            if index > 0 {
                writeln!(f)?;
            }
            let word = match diagnostic.severity {
                Severity::Error => "error",
                Severity::Warning => "warning",
            };
            writeln!(f, "{word}: {}", snippet::harmless(&diagnostic.message))?;
            let at = diagnostic.at;
            let mut margin = 1;
            if at.is_known() {
                margin = at.line.to_string().len();
                let name = snippet::harmless(self.source_name(at.file));
                writeln!(f, "{:margin$}--> {name}:{}:{}", "", at.line, at.column)?;
                if let Some(source) = self.sources.get(usize::from(at.file)) {
                    let masked =
                        self.masked.iter().filter(|masked| (masked.file, masked.line) == (at.file, at.line));
                    snippet::write(f, &source.text, at, margin, masked)?;
                }
            }
            for hint in &diagnostic.hints {
                writeln!(f, "{:margin$} = {}", "", snippet::harmless(hint))?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(line: u32, column: u32) -> Location {
        Location { file: 0, line, column }
    }

    #[test]
    fn an_error_shows_the_line_and_the_way_out() {
        let mut report = Report::default();
        let text = format!("{}    upstream: ordrs # typo\n", "#\n".repeat(11));
        report.add_source("routes.yaml", text);
        report.error(at(12, 15), "unknown upstream `ordrs`").hint("did you mean `orders`?");
        let expected = "\
error: unknown upstream `ordrs`
  --> routes.yaml:12:15
   |
12 |     upstream: ordrs # typo
   |               ^^^^^
   = did you mean `orders`?
";
        assert_eq!(report.to_string(), expected);
    }

    #[test]
    fn a_place_inside_a_value_is_found_where_the_file_shows_the_value() {
        let mut report = Report::default();
        let text = "a: x == y\nb: 'x == y'\nc: 'it''s == y'\nd: |\n  x ==\n    y\ne: >\n  x ==\n  y\n";
        report.add_source("routes.yaml", text);
        let place = |line, column, value: &str, character| {
            let at = report.inside(at(line, column), value, character);
            (at.line, at.column)
        };
        assert_eq!(place(1, 4, "x == y", 5), (1, 9));
        assert_eq!(place(2, 4, "x == y", 5), (2, 10));
        assert_eq!(place(2, 4, "'x == y'", 5), (2, 9));
        assert_eq!(place(3, 4, "it's == y", 8), (3, 4));
        assert_eq!(place(4, 4, "x ==\n  y\n", 2), (5, 5));
        assert_eq!(place(4, 4, "x ==\n  y\n", 7), (6, 5));
        assert_eq!(place(7, 4, "x == y\n", 5), (7, 4));
        assert_eq!(report.inside(Location::NOWHERE, "x", 0), Location::NOWHERE);
    }

    #[test]
    fn problems_are_sorted_and_separated() {
        let mut report = Report::default();
        report.add_source("a", "x: 1\ny: 2\n");
        report.warning(at(2, 1), "second");
        report.error(at(1, 1), "first");
        report.error(Location::NOWHERE, "no place").hint("a hint");
        let text = report.to_string();
        assert!(text.starts_with("error: no place\n  = a hint\n\nerror: first\n"), "{text}");
        assert!(text.contains("\n\nwarning: second\n"), "{text}");
        assert!(!report.is_empty());
        assert_eq!((report.errors().count(), report.warnings().count()), (2, 1));
    }

    #[test]
    fn json_has_the_same_in_the_same_order() {
        let mut report = Report::default();
        report.add_source("a", "x: 1\ny: 2\n");
        report.error(at(2, 4), "two").hint("one").hint("two");
        report.warning(Location::NOWHERE, "none");
        let json = report.to_json();
        assert_eq!(json[0]["severity"], "warning");
        assert_eq!(json[0]["line"], Value::Null);
        assert_eq!(
            json[1],
            json!({"severity": "error", "message": "two", "file": "a", "line": 2, "column": 4, "hint": "one; two"})
        );
    }

    #[test]
    fn a_secret_in_the_file_is_hidden_from_every_message_about_its_line() {
        let mut report = Report::default();
        report.add_source("a", "x: { key: hunter2, other: hunter }\n");
        report.mask(at(1, 11));
        report.error(at(1, 20), "unknown key");
        let text = report.to_string();
        assert!(text.contains("x: { key: *******, other: hunter }"), "{text}");
    }

    #[test]
    fn a_terminal_is_not_at_the_mercy_of_the_file() {
        let mut report = Report::default();
        report.add_source("a\u{1b}[2J", "k: \u{1b}[31m\tv\u{202e}\n");
        report.error(at(1, 4), "bad\nvalue \u{7}");
        let text = report.to_string();
        assert!(
            text.lines().all(|line| line.chars().all(|c| !c.is_control() && c != '\u{202e}')),
            "{text:?}"
        );
    }
}
