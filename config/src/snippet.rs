//! The line of a file that a message speaks of, cropped, harmless and underlined.

use std::fmt;

use crate::located::Location;

/// Characters of a line that are shown; a longer line is cropped around the place.
const COLUMNS_MAX: usize = 160;

/// What stands where something was cropped.
const CROPPED: &str = "...";

/// Replaces what a terminal could take for a command, or what would break the line, by visible signs.
pub(crate) fn harmless(text: &str) -> String {
    text.chars().map(harmless_char).collect()
}

fn harmless_char(c: char) -> char {
    match c {
        '\t' => ' ',
        c if c.is_control() => '\u{fffd}',
        // Marks that turn the direction of text make a line read as something else (CVE-2021-42574).
        '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => '\u{fffd}',
        '\u{feff}' | '\u{2028}' | '\u{2029}' => '\u{fffd}',
        c => c,
    }
}

/// Writes the line at a place and underlines what starts there. `margin` is the width of the line number. What
/// starts at a `masked` place is written as stars.
pub(crate) fn write<'a>(
    f: &mut fmt::Formatter<'_>,
    text: &str,
    at: Location,
    margin: usize,
    masked: impl Iterator<Item = &'a Location>,
) -> fmt::Result {
    let Some(line) = text.lines().nth(at.line.saturating_sub(1) as usize) else { return Ok(()) };
    let mut letters: Vec<char> = line.chars().collect();
    let start = (at.column.saturating_sub(1) as usize).min(letters.len());
    let width = extent(&letters, start).max(1);
    for masked in masked {
        let from = (masked.column.saturating_sub(1) as usize).min(letters.len());
        let to = (from + extent(&letters, from)).min(letters.len());
        letters[from..to].fill('*');
    }
    let from = if letters.len() <= COLUMNS_MAX { 0 } else { start.saturating_sub(COLUMNS_MAX / 3) };
    let to = letters.len().min(from + COLUMNS_MAX);
    let lead = if from > 0 { CROPPED } else { "" };
    let tail = if to < letters.len() { CROPPED } else { "" };
    let shown: String = letters[from..to].iter().copied().map(harmless_char).collect();
    let shown = format!("{lead}{shown}{tail}");
    let indent = lead.len() + (start - from);
    let width = width.min((to.max(start + 1)) - start);
    writeln!(f, "{:margin$} |", "")?;
    writeln!(f, "{} | {}", at.line, shown.trim_end())?;
    writeln!(f, "{:margin$} | {:indent$}{}", "", "", "^".repeat(width))
}

/// How many characters the key or value has that starts here.
fn extent(letters: &[char], start: usize) -> usize {
    let Some(&first) = letters.get(start) else { return 1 };
    if first == '"' || first == '\'' {
        return quoted(&letters[start..]);
    }
    if matches!(first, '{' | '[' | '}' | ']' | ',' | ':' | '|' | '>') {
        return 1;
    }
    let flow = open_brackets(&letters[..start]);
    let mut end = start;
    while end < letters.len() {
        let blank_next = letters.get(end + 1).is_none_or(|c| c.is_whitespace());
        let comment = letters[end] == '#' && end > start && letters[end - 1].is_whitespace();
        let flow_ends = flow && matches!(letters[end], ',' | ']' | '}');
        if (letters[end] == ':' && blank_next) || comment || flow_ends {
            break;
        }
        end += 1;
    }
    while end > start && letters[end - 1].is_whitespace() {
        end -= 1;
    }
    end - start
}

fn quoted(letters: &[char]) -> usize {
    let quote = letters[0];
    let mut index = 1;
    while index < letters.len() {
        if letters[index] == '\\' && quote == '"' {
            index += 1;
        } else if letters[index] == quote {
            return index + 1;
        }
        index += 1;
    }
    letters.len()
}

/// Whether more flow brackets are open than closed, outside quotes, on this part of a line.
fn open_brackets(letters: &[char]) -> bool {
    let mut open = 0usize;
    let mut index = 0;
    while index < letters.len() {
        match letters[index] {
            '{' | '[' => open += 1,
            '}' | ']' => open = open.saturating_sub(1),
            '"' | '\'' => index += quoted(&letters[index..]) - 1,
            _ => {}
        }
        index += 1;
    }
    open > 0
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Shown<'a>(&'a str, u32);

    impl fmt::Display for Shown<'_> {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write(f, self.0, Location { file: 0, line: 1, column: self.1 }, 1, [].iter())
        }
    }

    fn underlined(line: &str, column: u32) -> usize {
        Shown(line, column).to_string().matches('^').count()
    }

    #[test]
    fn underlines_the_whole_key_or_value() {
        assert_eq!(underlined("key: some value # note", 6), "some value".len());
        assert_eq!(underlined("key: some value", 1), "key".len());
        assert_eq!(underlined("key: { a: b c, d: e }", 11), "b c".len());
        assert_eq!(underlined("key: \"a \\\" b\" # note", 6), "\"a \\\" b\"".len());
        assert_eq!(underlined("- match: GET api.example.com:80/v1/{id}", 10), 30);
        assert_eq!(underlined("key: {", 6), 1);
        assert_eq!(underlined("key:", 40), 1);
    }

    #[test]
    fn a_long_line_is_cropped_round_the_place() {
        let line = format!("{}here{}", "x ".repeat(400), " y".repeat(400));
        let text = Shown(&line, 801).to_string();
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[1].chars().count() < 180, "{text}");
        let column = lines[2].find('^').unwrap();
        assert!(lines[1][column..].starts_with("here"), "{text}");
    }
}
