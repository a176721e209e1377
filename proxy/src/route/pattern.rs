//! The path of a route: literal segments, `{name}`, `{**name}`, or a regular expression.

use std::cmp::Ordering;

use regex::{Regex, RegexBuilder};
use sallyport_config::Located;
use sallyport_config::route::Match;

use super::Params;
use crate::path::canonical;

/// The most segments of a path, so that [`Places`] is small, and the search for one has a bound.
const SEGMENTS_MAX: usize = 32;

/// The most bytes a compiled regular expression may take.
const REGEX_BYTES_MAX: usize = 1 << 20;

/// A path pattern.
#[derive(Debug, Clone)]
pub(super) enum Pattern {
    /// Segments, and perhaps a tail that takes all the rest.
    Segments {
        /// Between the slashes, in order. The last is an empty literal if the path ends with a slash.
        segments: Box<[Segment]>,
        /// Whether `{**name}` follows.
        tail: bool,
    },
    /// Matches whole paths.
    Regex(Regex),
}

/// One segment of a path.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Segment {
    /// Exactly this.
    Literal(Box<str>),
    /// Anything but nothing.
    Param,
}

/// Where the parameters of a pattern are. So they are found in a path that matches without looking at the pattern again.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Places {
    /// Which segments are parameters: a bit for each, the lowest for the first.
    params: u32,
    /// How many segments stand before the tail, if there is one.
    before_tail: Option<u8>,
}

/// What is wrong with a path, and what would be right.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Wrong {
    pub(super) message: String,
    pub(super) hint: Option<String>,
}

/// How specific a pattern is, before looking inside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Class {
    Exact,
    Template,
    Tail,
    Regex,
}

impl Pattern {
    /// The pattern of a match and the names of its parameters. A match without a path takes every path.
    pub(super) fn of(matches: &Match) -> Result<(Pattern, Vec<Box<str>>), Wrong> {
        match (&matches.path, &matches.path_regex) {
            (Some(path), _) => template(path),
            (None, Some(regex)) => Ok((Pattern::Regex(whole_regex(regex)?), Vec::new())),
            (None, None) => Ok((Pattern::Segments { segments: Box::default(), tail: true }, Vec::new())),
        }
    }

    pub(super) fn class(&self) -> Class {
        match self {
            Pattern::Segments { tail: true, .. } => Class::Tail,
            Pattern::Segments { segments, .. } if segments.contains(&Segment::Param) => Class::Template,
            Pattern::Segments { .. } => Class::Exact,
            Pattern::Regex(_) => Class::Regex,
        }
    }

    /// Which of two patterns takes a path that both match: the lesser.
    pub(super) fn precedence(&self, other: &Pattern) -> Ordering {
        self.class().cmp(&other.class()).then_with(|| match (self, other) {
            (Pattern::Segments { segments: a, tail }, Pattern::Segments { segments: b, .. }) => {
                let longest = if *tail { b.len().cmp(&a.len()) } else { Ordering::Equal };
                let is_param = |segment: &Segment| *segment == Segment::Param;
                longest.then_with(|| a.iter().map(is_param).cmp(b.iter().map(is_param)))
            }
            _ => Ordering::Equal,
        })
    }

    /// The same text for patterns that match the same paths because they have the same form.
    pub(super) fn shape(&self) -> String {
        match self {
            Pattern::Regex(regex) => format!("~{}", regex.as_str()),
            Pattern::Segments { segments, tail } => {
                let piece = |segment: &Segment| match segment {
                    Segment::Literal(text) => format!("/{text}"),
                    Segment::Param => "/{}".to_owned(),
                };
                let mut shape: String = segments.iter().map(piece).collect();
                if *tail {
                    shape.push_str("/{**}");
                }
                shape
            }
        }
    }

    /// Whether this matches every path there is.
    pub(super) fn is_everything(&self) -> bool {
        matches!(self, Pattern::Segments { segments, tail: true } if segments.is_empty())
    }

    /// Whether the whole of a canonical path matches.
    pub(super) fn matches(&self, path: &str) -> bool {
        let (segments, tail) = match self {
            Pattern::Segments { segments, tail } => (segments, *tail),
            Pattern::Regex(regex) => return regex.is_match(path),
        };
        let mut rest = path;
        for segment in segments {
            let Some(behind) = rest.strip_prefix('/') else { return false };
            let (found, behind) = behind.split_at(behind.find('/').unwrap_or(behind.len()));
            let fits = match segment {
                Segment::Literal(text) => **text == *found,
                Segment::Param => !found.is_empty(),
            };
            if !fits {
                return false;
            }
            rest = behind;
        }
        if tail { rest.starts_with('/') } else { rest.is_empty() }
    }

    /// Where the parameters are.
    pub(super) fn places(&self) -> Places {
        let Pattern::Segments { segments, tail } = self else { return Places::default() };
        let param = |(place, segment): (usize, &Segment)| match segment {
            Segment::Param => 1 << place,
            Segment::Literal(_) => 0,
        };
        let params = segments.iter().enumerate().map(param).fold(0, |params: u32, param| params | param);
        // No pattern has more than `SEGMENTS_MAX`.
        let before_tail = tail.then(|| u8::try_from(segments.len()).unwrap_or(u8::MAX));
        Places { params, before_tail }
    }
}

impl Places {
    /// Adds the ranges of the parameters in a path that matches.
    pub(super) fn capture(self, path: &str, params: &mut Params) {
        // Canonical paths are no longer than 65,535 bytes.
        let short = |at: usize| u16::try_from(at).unwrap_or(u16::MAX);
        let (mut left, mut from, mut place) = (self.params, 1, 0);
        while self.before_tail != Some(place) {
            if left == 0 && self.before_tail.is_none() {
                return;
            }
            let Some(rest) = path.as_bytes().get(from..) else { return };
            let end = from + memchr::memchr(b'/', rest).unwrap_or(rest.len());
            if left & 1 == 1 {
                params.push((short(from), short(end)));
            }
            (left, from, place) = (left >> 1, end + 1, place + 1);
        }
        params.push((short(from), short(path.len())));
    }
}

/// A regular expression that matches whole values only. Unanchored ones are a way round a guard.
pub(super) fn whole_regex(pattern: &Located<String>) -> Result<Regex, Wrong> {
    let build = |text: &str| {
        RegexBuilder::new(text).size_limit(REGEX_BYTES_MAX).dfa_size_limit(REGEX_BYTES_MAX).build()
    };
    // First as it stands: `a)|(b` would become valid between parentheses of ours, and mean something else.
    let wrong = |error: regex::Error| match error {
        regex::Error::CompiledTooBig(limit) => Wrong {
            message: format!("the regular expression needs more than {limit} bytes"),
            hint: Some("shorten it, or lower its repetition counts".to_owned()),
        },
        error => Wrong {
            message: format!("not a regular expression: {}", last_line(&error.to_string())),
            hint: None,
        },
    };
    build(pattern).map_err(wrong)?;
    build(&format!(r"\A(?:{})\z", pattern.value)).map_err(wrong)
}

/// The parser draws a picture over several lines; its last one says what is wrong.
fn last_line(text: &str) -> String {
    let line = text.lines().last().unwrap_or_default();
    line.strip_prefix("error: ").unwrap_or(line).to_owned()
}

fn template(text: &str) -> Result<(Pattern, Vec<Box<str>>), Wrong> {
    let wrong = |message: String, hint: &str| Wrong {
        message,
        hint: Some(hint.to_owned()).filter(|hint| !hint.is_empty()),
    };
    let Some(rest) = text.strip_prefix('/') else {
        return Err(wrong(format!("a path begins with `/`, found `{text}`"), ""));
    };
    let mut names: Vec<Box<str>> = Vec::new();
    let mut segments = Vec::new();
    let mut tail = false;
    let mut pieces = rest.split('/').peekable();
    while let Some(piece) = pieces.next() {
        let last = pieces.peek().is_none();
        let Some(inner) = piece.strip_prefix('{').and_then(|inner| inner.strip_suffix('}')) else {
            if piece.contains(['{', '}']) {
                let message = format!("`{piece}`: a parameter fills a whole segment, between `{{` and `}}`");
                return Err(wrong(message, "write `/{name}/`, or use `path_regex`"));
            }
            if piece.is_empty() && !last {
                let hint = "paths are made canonical before they are matched, `//` becomes `/`";
                return Err(wrong("an empty segment in the path".to_owned(), hint));
            }
            literal(piece)?;
            segments.push(Segment::Literal(piece.into()));
            continue;
        };
        let name = inner.strip_prefix("**").unwrap_or(inner);
        if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
            let hint = "`{name}` is one segment, `{**name}` all the rest; names are letters, digits and `_`";
            return Err(wrong(format!("`{piece}` is not a parameter"), hint));
        }
        if names.iter().any(|known| **known == *name) {
            return Err(wrong(format!("the parameter `{name}` stands here twice"), ""));
        }
        names.push(name.into());
        if inner.starts_with("**") {
            if !last {
                return Err(wrong(
                    format!("`{piece}` must come last"),
                    "it stands for all the rest of a path",
                ));
            }
            tail = true;
        } else {
            segments.push(Segment::Param);
        }
    }
    if segments.len() > SEGMENTS_MAX {
        let message = format!("a path of {} segments; {SEGMENTS_MAX} are the most", segments.len());
        return Err(wrong(message, "end it with `{**name}`, which is all the rest"));
    }
    Ok((Pattern::Segments { segments: segments.into(), tail }, names))
}

/// A literal that no canonical path contains would never match.
fn literal(segment: &str) -> Result<(), Wrong> {
    let path = format!("/{segment}");
    let message = format!("`{segment}` is not in canonical form, so no path ever matches it");
    match canonical(&path) {
        Ok(form) if *form.path == *path => Ok(()),
        Ok(form) => Err(Wrong { message, hint: Some(format!("write `{}`", &form.path[1..])) }),
        Err(error) => Err(Wrong { message, hint: Some(error.detail().to_owned()) }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(text: &str) -> Pattern {
        template(text).unwrap().0
    }

    fn captured(text: &str, path: &str) -> Option<Vec<String>> {
        let mut params = Params::new();
        let pattern = pattern(text);
        let piece = |&(from, to): &(u16, u16)| path[usize::from(from)..usize::from(to)].to_owned();
        pattern.matches(path).then(|| {
            pattern.places().capture(path, &mut params);
            params.iter().map(piece).collect()
        })
    }

    #[test]
    fn templates_match_whole_paths() {
        let table: [(&str, &str, Option<&[&str]>); 17] = [
            ("/", "/", Some(&[])),
            ("/", "/a", None),
            ("/a", "/a", Some(&[])),
            ("/a", "/a/", None),
            ("/a/", "/a/", Some(&[])),
            ("/a/", "/a", None),
            ("/a/{x}", "/a/b", Some(&["b"])),
            ("/a/{x}", "/a/", None),
            ("/a/{x}", "/a", None),
            ("/a/{x}", "/a/b/", None),
            ("/a/{x}/", "/a/b/", Some(&["b"])),
            ("/{x}/b/{y}", "/a%2Fc/b/d", Some(&["a%2Fc", "d"])),
            ("/a/{**r}", "/a/b/c/", Some(&["b/c/"])),
            ("/a/{**r}", "/a/", Some(&[""])),
            ("/a/{**r}", "/a", None),
            ("/{x}/{**r}", "/a/b", Some(&["a", "b"])),
            ("/{**r}", "/", Some(&[""])),
        ];
        for (text, path, expected) in table {
            let expected = expected.map(|pieces| pieces.iter().map(|piece| (*piece).to_owned()).collect());
            assert_eq!(captured(text, path), expected, "{text} {path}");
        }
    }

    #[test]
    fn a_path_has_at_most_32_segments() {
        let longest = "/a".repeat(31) + "/{x}";
        assert_eq!(captured(&longest, &("/a".repeat(31) + "/b")), Some(vec!["b".to_owned()]));
        let tail = longest.clone() + "/{**r}";
        let path = "/a".repeat(31) + "/b/c/d";
        assert_eq!(captured(&tail, &path), Some(vec!["b".to_owned(), "c/d".to_owned()]));
        let wrong = template(&(longest + "/a")).unwrap_err();
        assert_eq!(wrong.message, "a path of 33 segments; 32 are the most");
    }

    #[test]
    fn the_more_specific_comes_first() {
        let order = [
            "/a/b",
            "/a/{x}",
            "/{x}/a",
            "/{x}/{y}",
            "/a/b/{**r}",
            "/a/{x}/{**r}",
            "/a/{**r}",
            "/{x}/{**r}",
            "/{**r}",
        ];
        for pair in order.windows(2) {
            assert_eq!(pattern(pair[0]).precedence(&pattern(pair[1])), Ordering::Less, "{pair:?}");
        }
        assert_eq!(pattern("/a/{x}").precedence(&pattern("/b/{y}")), Ordering::Equal);
        let regex = Pattern::Regex(whole_regex(&Located::nowhere("/a".to_owned())).unwrap());
        assert_eq!(pattern("/{**r}").precedence(&regex), Ordering::Less);
    }

    #[test]
    fn malformed_templates_say_what_would_be_right() {
        let table = [
            ("a", "begins with `/`"),
            ("/{a", "fills a whole segment"),
            ("/a}", "fills a whole segment"),
            ("/{a}.json", "fills a whole segment"),
            ("/{}", "is not a parameter"),
            ("/{**}", "is not a parameter"),
            ("/{a-b}", "is not a parameter"),
            ("/{a}/{a}", "twice"),
            ("/{a}/{**a}", "twice"),
            ("/{**a}/b", "must come last"),
            ("/a//b", "empty segment"),
            ("/a/../b", "canonical"),
            ("/%00", "canonical"),
        ];
        for (text, message) in table {
            let wrong = template(text).unwrap_err();
            assert!(wrong.message.contains(message), "{text}: {wrong:?}");
        }
        for (text, hint) in
            [("/%7euser", "write `~user`"), ("/a%2fb", "write `a%2Fb`"), ("/a|b", "write `a%7Cb`")]
        {
            assert_eq!(template(text).unwrap_err().hint.as_deref(), Some(hint));
        }
    }

    #[test]
    fn regular_expressions_match_whole_values() {
        let regex = |text: &str| whole_regex(&Located::nowhere(text.to_owned()));
        assert!(regex("a|ab").unwrap().is_match("ab"));
        assert!(!regex("a|b").unwrap().is_match("xa"));
        assert!(!regex("a$|b").unwrap().is_match("a\n"));
        assert!(regex("a)|(b").is_err());
        assert!(regex("(").unwrap_err().message.contains("unclosed group"));
        assert!(regex("(?:(?:a{1000}){1000}){1000}").unwrap_err().message.contains("more than"));
    }
}
