//! Singular queries of JSONPath: `$.a['b'][0]`, RFC 9535, section 2.3.5.1.

use jsonpath_rust::parser::model::{Segment, Selector};
use jsonpath_rust::parser::parse_json_path;
use sallyport_config::{Located, Report};

use crate::path::{FieldPath, Step};

/// Bytes of a query.
const QUERY_BYTES_MAX: usize = 1024;

/// Reads a query that leads to one value at most. Anything else is told at its place and refused.
pub fn singular(query: &Located<String>, report: &mut Report) -> Option<FieldPath> {
    match steps(query) {
        Ok(steps) => Some(FieldPath::new(steps)),
        Err((message, hint)) => {
            report.error(query.at, message).hint(hint);
            None
        }
    }
}

/// Why a brace is not closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unclosed {
    /// No `}` follows.
    Brace,
    /// A quote before it does not end.
    Quote,
}

/// Where the `}` stands that closes the brace a text begins with. One within the quotes of a query's name closes nothing.
///
/// # Errors
/// None does.
pub fn closing_brace(text: &str) -> Result<usize, Unclosed> {
    let mut quotes = Quotes::default();
    for (at, c) in text.char_indices() {
        if !quotes.covers(c) && c == '}' {
            return Ok(at);
        }
    }
    Err(if quotes.open.is_some() { Unclosed::Quote } else { Unclosed::Brace })
}

/// Where in a text a name stands in quotes, single or double, with backslashes as escapes.
#[derive(Default)]
struct Quotes {
    open: Option<char>,
    escaped: bool,
}

impl Quotes {
    /// Whether the next character is within quotes, or one of them.
    fn covers(&mut self, c: char) -> bool {
        match self.open {
            Some(_) if self.escaped => self.escaped = false,
            Some(_) if c == '\\' => self.escaped = true,
            Some(open) if c == open => self.open = None,
            Some(_) => {}
            None if matches!(c, '\'' | '"') => self.open = Some(c),
            None => return false,
        }
        true
    }
}

type Refused = (String, &'static str);

const EXAMPLE: &str = "write `$.batch.id`, `$['odd name']` or `$.items[0].id`";

fn steps(query: &str) -> Result<Vec<Step>, Refused> {
    if query.len() > QUERY_BYTES_MAX {
        return Err((format!("a query has at most {QUERY_BYTES_MAX} bytes"), EXAMPLE));
    }
    if has_blanks_between_segments(query) {
        return Err((format!("`{query}` has blanks between its parts"), EXAMPLE));
    }
    let parsed = parse_json_path(query)
        .map_err(|_| (format!("`{query}` is not a query of JSONPath (RFC 9535)"), EXAMPLE))?;
    parsed.segments.into_iter().map(step).collect()
}

/// Blanks outside of brackets. The RFC allows them before a segment, but jsonpath-rust 1.0 also takes them inside a name:
/// it would read `$.a b` as the field `a b`. So there are none here.
fn has_blanks_between_segments(query: &str) -> bool {
    let mut quotes = Quotes::default();
    let mut in_brackets = false;
    for c in query.chars().filter(|c| !quotes.covers(*c)) {
        match c {
            '[' => in_brackets = true,
            ']' => in_brackets = false,
            c if c.is_whitespace() && !in_brackets => return true,
            _ => {}
        }
    }
    false
}

fn step(segment: Segment) -> Result<Step, Refused> {
    let refused =
        |what: &str| Err((format!("{what} can lead to several values; a field is one value"), EXAMPLE));
    let selector = match segment {
        Segment::Selector(selector) => selector,
        Segment::Selectors(mut selectors) if selectors.len() == 1 => selectors.remove(0),
        Segment::Selectors(_) => return refused("a list of selectors"),
        Segment::Descendant(_) => return refused("`..`"),
    };
    match selector {
        Selector::Name(name) => Ok(Step::Name(name.into())),
        Selector::Index(index) => usize::try_from(index).map(Step::Index).map_err(|_| {
            let message = "an index from the end is not taken: the text is read once, from the front";
            (message.to_owned(), EXAMPLE)
        }),
        Selector::Wildcard => refused("`*`"),
        Selector::Slice(..) => refused("a slice"),
        Selector::Filter(_) => refused("a filter"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(query: &str) -> Result<String, String> {
        let mut report = Report::default();
        singular(&Located::nowhere(query.to_owned()), &mut report)
            .map(|path| path.to_string())
            .ok_or_else(|| report.to_string())
    }

    /// RFC 9535, section 2.3.5.1, table 10, and the escapes of section 2.3.1.
    #[test]
    fn singular_queries_become_paths() {
        for (query, path) in [
            ("$", ""),
            ("$.a", "a"),
            ("$['a']", "a"),
            ("$[\"a\"]", "a"),
            ("$['a'][1]", "a[1]"),
            ("$.a[1].b_c", "a[1].b_c"),
            ("$['a b']", "[\"a b\"]"),
            ("$['a\\'b']", "[\"a'b\"]"),
            ("$['\\u00e9']", "[\"é\"]"),
            ("$.é", "[\"é\"]"),
            ("$[ 'a' ][ 1 ]", "a[1]"),
            ("$['a ]b']", "[\"a ]b\"]"),
        ] {
            assert_eq!(read(query).as_deref(), Ok(path), "{query}");
        }
    }

    #[test]
    fn anything_else_is_refused_with_a_way_out() {
        for query in [
            "",
            "a",
            "$.",
            "$.a.",
            "$..a",
            "$.*",
            "$[*]",
            "$[0,1]",
            "$['a','b']",
            "$[0:2]",
            "$[::2]",
            "$[?@.a]",
            "$[-1]",
            "$.a[",
            "$['a",
            "@.a",
            "$.a b",
            " $.a",
            "$.a ",
            "$.1a",
            "$ .a",
            "$.a .b",
            "$[1 2]",
            "$[01]",
            "$[1.0]",
        ] {
            let text = read(query).expect_err(query);
            assert!(text.contains("$.items[0].id"), "{query}: {text}");
        }
        assert!(read(&format!("$.{}", "a".repeat(2000))).is_err());
    }
}
