//! What the YAML parser's errors mean in a routes file, and how to write the line instead.

use granit_parser::{ErrorKind, ScanError};

use crate::located::Location;

/// The message and the hints for an error of the parser.
pub(crate) fn explain(error: &ScanError, text: &str, at: Location) -> (String, Vec<String>) {
    use ErrorKind as E;
    let line = text.lines().nth(at.line.saturating_sub(1) as usize).unwrap_or_default();
    let (message, hint) = match error.kind() {
        E::ExpectedFlowMappingSeparator => ("expected `,` or `}` here", flow_hint(line, at)),
        E::ExpectedFlowSequenceSeparator => ("expected `,` or `]` here", flow_hint(line, at)),
        E::UnexpectedEofFlowMapping | E::UnexpectedEofImplicitFlowMapping => {
            ("the file ends inside { }", Some("a closing `}` is missing".to_owned()))
        }
        E::UnexpectedEofFlowSequence => {
            ("the file ends inside [ ]", Some("a closing `]` is missing".to_owned()))
        }
        E::UnclosedFlowCollection { open } => {
            let close = if *open == '{' { '}' } else { ']' };
            return (format!("`{open}` is never closed"), vec![format!("a `{close}` is missing")]);
        }
        E::MismatchedFlowCollectionEnd { open, close } => {
            return (format!("`{open}` is closed by `{close}`"), flow_hint(line, at).into_iter().collect());
        }
        E::MisplacedFlowCollectionEnd => ("a closing bracket without an opening one", flow_hint(line, at)),
        E::TabNotAllowed | E::TabInBlockIndentation | E::TabInIndentation | E::TabInPlainScalar => {
            ("a tab stands where only spaces may", Some("indent with spaces".to_owned()))
        }
        E::MappingValueNotAllowed | E::MappingKeyNotAllowed => (
            "a `:` stands where no key may be",
            Some(
                "a value that contains `: ` must be quoted; keys of one mapping begin in the same column"
                    .to_owned(),
            ),
        ),
        E::ExpectedBlockMappingKey | E::SimpleKeyExpected | E::InvalidSimpleKey => (
            "expected `key: value` here",
            Some("keys of one mapping begin in the same column, each followed by `: `".to_owned()),
        ),
        E::ExpectedBlockSequenceEntry => (
            "expected a list entry, `- value`, here",
            Some("entries of one list begin in the same column".to_owned()),
        ),
        E::InvalidIndentation | E::InvalidQuotedScalarIndent | E::InvalidFlowScalarIndent => (
            "this line is indented wrongly",
            Some("entries of one level begin in the same column".to_owned()),
        ),
        E::UnclosedQuotedScalar => ("a quote is never closed", None),
        E::InvalidTrailingSingleQuotedScalar | E::InvalidTrailingDoubleQuotedScalar => {
            ("text follows a closing quote", Some("quote the whole value".to_owned()))
        }
        E::UnexpectedCharacter { character } => {
            let character = character.escape_default();
            let hint = format!("a value that begins with `{character}` must be quoted");
            return (format!("a value cannot begin with `{character}`"), vec![hint]);
        }
        E::UndeclaredTagHandle | E::InvalidTagTerminator | E::MissingTagUri => {
            ("tags such as `!name` mean nothing here", Some("quote a value that begins with `!`".to_owned()))
        }
        E::MissingAnchorOrAliasName => (
            "a name must follow `*` or `&`",
            Some("a value that begins with `*` or `&` must be quoted".to_owned()),
        ),
        E::RecursionLimitExceeded => ("more than 64 levels of lists and mappings", None),
        E::UnknownQuotedScalarEscape => (
            "unknown escape after `\\`",
            Some("in single quotes a backslash is only a backslash: '^/v\\d+$'".to_owned()),
        ),
        _ => return (format!("not valid YAML: {}", error.kind()), Vec::new()),
    };
    (message.to_owned(), hint.into_iter().collect())
}

/// The trap of `{ match: GET /v1/{id} }`: inside brackets, a bracket in a value must be quoted. At the beginning of a
/// line it is rather a bracket above that was not closed.
fn flow_hint(line: &str, at: Location) -> Option<String> {
    let before: String = line.chars().take(at.column.saturating_sub(1) as usize).collect();
    if before.trim().is_empty() {
        return Some("a `{` or `[` above is not closed".to_owned());
    }
    let general = "inside { } and [ ] a value that contains { } [ ] or , must be quoted";
    let after = |sign: &str| before.rfind(sign).map(|index| index + sign.len());
    let start = [": ", "[", ", ", "{ "].into_iter().filter_map(after).max();
    let value = start.and_then(|start| line.get(start..)).map(|value| word_with_brackets(value.trim_start()));
    Some(match value {
        Some(value) if value.contains(['{', '[']) && !value.starts_with(['{', '[', '"', '\'']) => {
            format!("{general}: \"{value}\"")
        }
        _ => general.to_owned(),
    })
}

/// A value whose own brackets are balanced, up to the `,` or bracket that ends it.
fn word_with_brackets(value: &str) -> &str {
    let mut open = 0usize;
    for (index, c) in value.char_indices() {
        match c {
            '{' | '[' => open += 1,
            '}' | ']' if open == 0 => return value[..index].trim_end(),
            '}' | ']' => open -= 1,
            ',' if open == 0 => return value[..index].trim_end(),
            _ => {}
        }
    }
    value.trim_end()
}

/// What follows an alias on its line and belongs to the value that was meant.
pub(crate) fn rest_of_value(rest: &str) -> &str {
    let end = rest.find(|c: char| c.is_whitespace() || matches!(c, ',' | ']' | '}'));
    // In `*.example.com/{id}` the brackets belong to the value.
    match rest.chars().next() {
        Some('{') => word_with_brackets(rest.split(char::is_whitespace).next().unwrap_or_default()),
        _ => &rest[..end.unwrap_or(rest.len())],
    }
}
