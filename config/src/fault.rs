//! One problem on its way through `Deserialize`, where only a text can travel.
//!
//! A type may refuse a value with `Error::custom("message")`; further lines of the text are hints. The types of this
//! crate also send a place, in front of the text, between two marks that no file can hold.

use std::fmt;

use crate::located::Location;
use crate::report::Report;

/// Stands before and after a place. YAML does not allow this character in a file.
const MARK: char = '\u{1}';

/// The message about a secret in the file itself; the report then hides what stands there.
pub(crate) const LITERAL_SECRET: &str = "a secret may not stand in the file itself";

/// One problem: where, what, and what would be right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) at: Location,
    pub(crate) message: String,
    pub(crate) hints: Vec<String>,
}

impl Fault {
    pub(crate) fn new(at: Location, message: impl Into<String>) -> Self {
        Fault { at, message: message.into(), hints: Vec::new() }
    }

    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }

    /// Adds the problem to a report.
    pub(crate) fn report(self, report: &mut Report) {
        if self.message == LITERAL_SECRET {
            report.mask(self.at);
        }
        let diagnostic = report.error(self.at, self.message);
        diagnostic.hints = self.hints;
    }

    /// Reads what `Display` wrote; any other text is a message without a place.
    pub(crate) fn from_text(text: &str) -> Fault {
        let (at, rest) = placed(text).unwrap_or((Location::NOWHERE, text));
        let mut lines = rest.lines();
        let message = lines.next().unwrap_or_default().to_owned();
        Fault { at, message, hints: lines.map(str::to_owned).collect() }
    }
}

fn placed(text: &str) -> Option<(Location, &str)> {
    let (place, rest) = text.strip_prefix(MARK)?.split_once(MARK)?;
    let mut numbers = place.split(':');
    let file = numbers.next()?.parse().ok()?;
    let line = numbers.next()?.parse().ok()?;
    let column = numbers.next()?.parse().ok()?;
    Some((Location { file, line, column }, rest))
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Location { file, line, column } = self.at;
        if self.at.is_known() {
            write!(f, "{MARK}{file}:{line}:{column}{MARK}")?;
        }
        f.write_str(&self.message)?;
        self.hints.iter().try_for_each(|hint| write!(f, "\n{hint}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn survives_the_way_as_text() {
        let at = Location { file: 3, line: 14, column: 15 };
        let fault = Fault::new(at, "wrong").hint("right").hint("also right");
        assert_eq!(Fault::from_text(&fault.to_string()), fault);
        let nowhere = Fault::new(Location::NOWHERE, "wrong: 1:2:3");
        assert_eq!(Fault::from_text(&nowhere.to_string()), nowhere);
    }
}
