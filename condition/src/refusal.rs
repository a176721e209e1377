//! Where in the file a fault of a condition stands, and how it is told.

use cel::common::ast::SourceInfo;
use cel::parser::ParseError;
use sallyport_config::{Diagnostic, Located, Report};

/// The text of a condition while it is compiled, and where faults go.
pub(crate) struct Refusals<'a> {
    pub(crate) source: &'a Located<String>,
    pub(crate) report: &'a mut Report,
}

impl Refusals<'_> {
    /// A fault of the condition as a whole.
    pub(crate) fn whole(&mut self, message: impl Into<String>) -> &mut Diagnostic {
        self.report.error(self.source.at, message)
    }

    /// A fault at a part of the condition. Parts are numbered by the parser.
    pub(crate) fn part(&mut self, info: &SourceInfo, id: u64, message: impl Into<String>) -> &mut Diagnostic {
        // The parser counts bytes.
        let bytes = info.offset_for(id).map_or(0, |(start, _)| start as usize);
        let before = self.source.value.char_indices().take_while(|(at, _)| *at < bytes).count();
        let at = self.report.inside(self.source.at, &self.source.value, before);
        self.report.error(at, message)
    }

    /// The first fault that the parser found; those behind it are often its consequences.
    pub(crate) fn syntax(&mut self, errors: &[ParseError]) {
        let Some(first) = errors.first() else {
            self.whole("this is no condition");
            return;
        };
        let offset = offset_of(&self.source.value, first.pos);
        let at = self.report.inside(self.source.at, &self.source.value, offset);
        // What it expected instead would be every token there is.
        let what = first.msg.trim_start_matches("Syntax error: ").lines().next().unwrap_or_default();
        let what = what.split(" expecting ").next().unwrap_or(what);
        let recursion = first.msg == "UNKNOWN";
        let message = match what {
            _ if recursion => "this condition is nested too deeply".to_owned(),
            _ if what.contains("<EOF>") => "this condition ends too early".to_owned(),
            what => format!("this condition cannot be read: {what}"),
        };
        let error = self.report.error(at, message);
        if recursion {
            return;
        }
        error.hint(
            "a condition is written in CEL: `claims.sub == event.owner && event.state in ['open', 'held']`",
        );
    }
}

/// The character offset of a line and column of the parser, both from 1, columns in characters.
fn offset_of(text: &str, (line, column): (isize, isize)) -> usize {
    let before = usize::try_from(line - 1).unwrap_or(0);
    let lines: usize = text.split_inclusive('\n').take(before).map(|line| line.chars().count()).sum();
    // The end of the text stands somewhere behind it, or nowhere.
    let column = usize::try_from(column - 1).unwrap_or(usize::MAX);
    lines.saturating_add(column).min(text.trim_end().chars().count())
}
