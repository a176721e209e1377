//! Paths that are made from others.
//!
//! The path that comes in is canonical, and so is every parameter cut from it; what goes out is checked again, because
//! two canonical parts can join to something that is not.

use regex::{Regex, RegexBuilder};
use sallyport_config::{Located, Report};

use super::{Config, Replacement};
use crate::exchange::Exchange;
use crate::filter::Fault;
use crate::reply::ProblemKind;

/// How a path is made.
pub(super) enum PathRule {
    /// From segments, each fixed or a parameter.
    Template(Box<[Segment]>),
    /// By taking away a beginning and putting another one before.
    Prefix { strip: Box<str>, add: Box<str> },
    /// By replacing the first match.
    Regex { matching: Regex, replace: Box<str> },
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Segment {
    Fixed(Box<str>),
    Param(Box<str>),
}

impl PathRule {
    /// Reads the settings, of which only one way to make a path is given; the inner `None` is a path that stays. What
    /// is wrong is reported.
    pub(super) fn from_config(config: &Config, report: &mut Report) -> Option<Option<PathRule>> {
        if let Some(template) = &config.path {
            return parse_template(template, report).map(|segments| Some(PathRule::Template(segments)));
        }
        if let Some(replacement) = &config.regex {
            return parse_regex(replacement, report).map(Some);
        }
        let strip = config.strip_prefix.as_ref().map(|prefix| parse_prefix(prefix, report));
        let add = config.add_prefix.as_ref().map(|prefix| parse_prefix(prefix, report));
        if strip.is_none() && add.is_none() {
            return Some(None);
        }
        let (strip, add) = (strip.unwrap_or_else(|| Some("".into())), add.unwrap_or_else(|| Some("".into())));
        Some(Some(PathRule::Prefix { strip: strip?, add: add? }))
    }

    /// The parameters that a route must have.
    pub(super) fn params(&self) -> impl Iterator<Item = &str> {
        let segments = match self {
            PathRule::Template(segments) => &segments[..],
            _ => &[],
        };
        segments.iter().filter_map(|segment| match segment {
            Segment::Param(name) => Some(&**name),
            Segment::Fixed(_) => None,
        })
    }

    /// Appends the new path to an empty `target`.
    pub(super) fn write(&self, x: &Exchange<'_>, path: &str, target: &mut String) -> Result<(), Fault> {
        match self {
            PathRule::Template(segments) => {
                for segment in segments {
                    target.push('/');
                    target.push_str(match segment {
                        Segment::Fixed(text) => text,
                        Segment::Param(name) => param(x, name)?,
                    });
                }
            }
            PathRule::Prefix { strip, add } => {
                // `/api` is a beginning of `/api` and `/api/x`, not of `/apix`.
                let rest =
                    path.strip_prefix(&**strip).filter(|rest| rest.is_empty() || rest.starts_with('/'));
                target.push_str(add);
                target.push_str(rest.unwrap_or(path));
            }
            PathRule::Regex { matching, replace } => target.push_str(&matching.replace(path, &**replace)),
        }
        settle(target);
        if is_canonical(target) {
            return Ok(());
        }
        Err(Fault::new(ProblemKind::BadRequest, "the rewritten path is not canonical"))
    }
}

/// A parameter of the route. A plan refuses routes without it, so this fails only where a filter is run without one.
pub(super) fn param<'x>(x: &'x Exchange<'_>, name: &str) -> Result<&'x str, Fault> {
    x.param(name).ok_or_else(|| {
        Fault::new(
            ProblemKind::Internal,
            format!("`rewrite` needs the path parameter `{name}`, which the route lacks"),
        )
    })
}

/// Makes the path begin with a slash and merges empty segments; a slash at the end stays.
fn settle(path: &mut String) {
    if !path.starts_with('/') {
        path.insert(0, '/');
    }
    if path.contains("//") {
        let mut after_slash = false;
        path.retain(|letter| {
            let doubled = letter == '/' && after_slash;
            after_slash = letter == '/';
            !doubled
        });
    }
}

/// Whether a path is one that the edge would forward: absolute, no empty, `.` or `..` segment in whatever encoding, no
/// backslash, and nothing but what RFC 3986, section 3.3 allows in a path.
pub(super) fn is_canonical(path: &str) -> bool {
    let Some(rest) = path.strip_prefix('/') else { return false };
    let of_a_path = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@/".contains(&byte);
    let mut bytes = path.bytes();
    while let Some(byte) = bytes.next() {
        if byte == b'%' {
            let digits = [bytes.next(), bytes.next()];
            let value = digits
                .iter()
                .try_fold(0, |value, digit| Some(value * 16 + char::from((*digit)?).to_digit(16)?));
            if value.is_none_or(|value| value == 0 || value == u32::from(b'.')) {
                return false;
            }
        } else if !of_a_path(byte) {
            return false;
        }
    }
    let mut segments = rest.split('/').peekable();
    while let Some(segment) = segments.next() {
        let last = segments.peek().is_none();
        if matches!(segment, "." | "..") || segment.is_empty() && !last {
            return false;
        }
    }
    true
}

fn parse_template(text: &Located<String>, report: &mut Report) -> Option<Box<[Segment]>> {
    let Some(rest) = text.strip_prefix('/') else {
        report.error(text.at, format!("the path `{}` does not begin with `/`", text.value));
        return None;
    };
    let mut segments = Vec::new();
    for segment in rest.split('/') {
        let inner = segment.strip_prefix('{').and_then(|rest| rest.strip_suffix('}'));
        let name = inner.map(|inner| inner.strip_prefix("**").unwrap_or(inner));
        segments.push(match name {
            Some(name) if is_name(name) => Segment::Param(name.into()),
            _ if segment.contains(['{', '}']) => {
                report
                    .error(text.at, format!("`{segment}` is neither text nor a parameter"))
                    .hint("a parameter is a whole segment: `{id}`, or `{**rest}` for several");
                return None;
            }
            _ => Segment::Fixed(segment.into()),
        });
    }
    let fixed: Vec<&str> = segments
        .iter()
        .map(|segment| match segment {
            Segment::Fixed(text) => &**text,
            Segment::Param(_) => "x",
        })
        .collect();
    check_canonical(&format!("/{}", fixed.join("/")), text, report)?;
    Some(segments.into())
}

pub(super) fn is_name(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-')
}

/// A prefix without its last slash, which every path has behind it anyway.
fn parse_prefix(text: &Located<String>, report: &mut Report) -> Option<Box<str>> {
    if !text.starts_with('/') {
        report
            .error(text.at, format!("the prefix `{}` does not begin with `/`", text.value))
            .hint(format!("write `/{}`", text.value));
        return None;
    }
    if text.ends_with('/') {
        let right = text.trim_end_matches('/');
        let error = report.error(text.at, format!("the prefix `{}` ends with `/`", text.value));
        match right {
            "" => error.hint("`/` alone changes nothing; leave it out"),
            right => error.hint(format!("write `{right}`")),
        };
        return None;
    }
    check_canonical(text, text, report)?;
    Some(text.as_str().into())
}

fn check_canonical(path: &str, text: &Located<String>, report: &mut Report) -> Option<()> {
    if is_canonical(path) {
        return Some(());
    }
    report
        .error(text.at, format!("`{}` is not a canonical path", text.value))
        .hint("no `//`, `.` or `..`, no query; anything but letters, digits and `-._~!$&'()*+,;=:@` is percent-encoded");
    None
}

/// Bytes of a replacement at most.
const REPLACE_BYTES_MAX: usize = 512;

fn parse_regex(setting: &Replacement, report: &mut Report) -> Option<PathRule> {
    const BYTES_MAX: usize = 1 << 20;
    let (text, replace) = (&setting.matching, &setting.replace);
    let matching = match RegexBuilder::new(text).size_limit(BYTES_MAX).dfa_size_limit(BYTES_MAX).build() {
        Ok(matching) => matching,
        Err(error) => {
            let message = error.to_string();
            let reason = message.lines().last().unwrap_or(&message).trim_start_matches("error: ");
            report.error(text.at, format!("not a regular expression: {reason}"));
            return None;
        }
    };
    if replace.len() > REPLACE_BYTES_MAX {
        report.error(replace.at, format!("the replacement is longer than {REPLACE_BYTES_MAX} bytes"));
        return None;
    }
    if let Some(name) = unknown_group(&matching, replace) {
        let error = report.error(replace.at, format!("the expression has no group `{name}`"));
        match name.find(|letter: char| !letter.is_ascii_digit()) {
            Some(end) if end > 0 => error.hint(format!(
                "write `${{{}}}{}` for group {0} and text behind it",
                &name[..end],
                &name[end..]
            )),
            _ => error.hint("`$1` is the first group; write `$$` for `$`"),
        };
        return None;
    }
    Some(PathRule::Regex { matching, replace: replace.as_str().into() })
}

/// The first group that the replacement names and the expression does not have; the `regex` crate would put nothing in
/// its place without a word.
fn unknown_group<'r>(matching: &Regex, replace: &'r str) -> Option<&'r str> {
    let mut rest = replace;
    while let Some((_, behind)) = rest.split_once('$') {
        if let Some(behind) = behind.strip_prefix('$') {
            rest = behind;
            continue;
        }
        let name = match behind.strip_prefix('{').and_then(|braced| braced.split_once('}')) {
            Some((name, _)) => name,
            None => {
                let end = behind.find(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_');
                &behind[..end.unwrap_or(behind.len())]
            }
        };
        let known = match name.parse::<usize>() {
            Ok(number) => number < matching.captures_len(),
            Err(_) => matching.capture_names().flatten().any(|known| known == name),
        };
        if !known {
            return Some(name);
        }
        rest = behind;
    }
    None
}
