//! From a text of the file to pieces, and from what stands in braces to what it reads.

use std::sync::Arc;

use sallyport_condition::{FieldPath, Step, Unclosed, closing_brace, singular};
use sallyport_config::{Located, Location, Report, nearest};

use super::{Field, Fragment, Origin, Text};

/// What fields may be used in a text, and by what names.
#[derive(Debug, Clone, Copy)]
pub struct Scope<'a> {
    /// The route's path parameters.
    pub params: &'a [&'a str],
    /// The route's branches, in file order; their results may be used.
    pub branches: &'a [&'a str],
    /// Which of them the text belongs to: its own result may not be used.
    pub own: Option<usize>,
    /// Whether there is an item.
    pub item: bool,
}

/// A piece of a text as written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Piece<'a> {
    /// What stands there: of a field what is between the braces, of an escaped brace one of it.
    pub(crate) text: &'a str,
    /// Where it begins, in characters of the whole.
    pub(crate) at: usize,
    /// Whether it is a field.
    pub(crate) is_field: bool,
}

pub(super) fn text(source: &Located<String>, scope: &Scope<'_>, report: &mut Report) -> Option<Text> {
    let pieces = pieces(source, report)?;
    // Not lazily: every fault is told, not only the first.
    let fragments: Vec<Option<Fragment>> =
        pieces.iter().map(|piece| fragment(piece, source, scope, report)).collect();
    let fragments: Vec<Fragment> = fragments.into_iter().collect::<Option<_>>()?;
    Some(Text::new(joined(fragments)))
}

/// A piece as a fragment. What the literal may hold is for who compiles the text.
pub(crate) fn fragment(
    piece: &Piece<'_>,
    source: &Located<String>,
    scope: &Scope<'_>,
    report: &mut Report,
) -> Option<Fragment> {
    if piece.is_field {
        let at = report.inside(source.at, source, piece.at);
        field(piece.text, at, scope, report).map(Fragment::Field)
    } else {
        Some(Fragment::Literal(piece.text.into()))
    }
}

/// Literals side by side made one.
pub(crate) fn joined(fragments: impl IntoIterator<Item = Fragment>) -> Vec<Fragment> {
    let mut joined: Vec<Fragment> = Vec::new();
    for fragment in fragments {
        match (joined.last_mut(), fragment) {
            (Some(Fragment::Literal(before)), Fragment::Literal(text)) => {
                *before = format!("{before}{text}").into();
            }
            (_, fragment) => joined.push(fragment),
        }
    }
    joined
}

/// Takes a text apart at its braces. A brace without the other is told and refused.
pub(crate) fn pieces<'a>(source: &'a Located<String>, report: &mut Report) -> Option<Vec<Piece<'a>>> {
    let text = source.value.as_str();
    let mut pieces = Vec::new();
    let (mut index, mut at) = (0, 0);
    while index < text.len() {
        let rest = &text[index..];
        let (piece, bytes) = match rest.as_bytes() {
            [b'{', b'{', ..] | [b'}', b'}', ..] => (Piece { text: &rest[..1], at, is_field: false }, 2),
            [b'{', ..] => match field_end(rest) {
                Some(end) => (Piece { text: &rest[1..end], at, is_field: true }, end + 1),
                None => {
                    unpaired(source, at, '{', "}", report);
                    return None;
                }
            },
            [b'}', ..] => {
                unpaired(source, at, '}', "{", report);
                return None;
            }
            _ => {
                let end = rest.find(['{', '}']).unwrap_or(rest.len());
                (Piece { text: &rest[..end], at, is_field: false }, end)
            }
        };
        pieces.push(piece);
        index += bytes;
        at += rest[..bytes].chars().count();
    }
    Some(pieces)
}

fn unpaired(source: &Located<String>, character: usize, brace: char, other: &str, report: &mut Report) {
    let at = report.inside(source.at, source, character);
    report
        .error(at, format!("a `{brace}` without its `{other}`"))
        .hint(format!("a field is written `{{id}}`; for the brace itself write `{brace}{brace}`"));
}

/// Where the `}` of the field stands that a text begins with.
fn field_end(text: &str) -> Option<usize> {
    match closing_brace(text) {
        Ok(end) => Some(end),
        // A quote that does not end begins no name.
        Err(Unclosed::Quote) => text.find('}'),
        Err(Unclosed::Brace) => None,
    }
}

/// What stands between braces. `at` is where the opening one stands.
fn field(written: &str, at: Location, scope: &Scope<'_>, report: &mut Report) -> Option<Field> {
    let origin = match written.split_once('.') {
        None => name(written, at, scope, report),
        Some(("query", name)) if !name.is_empty() => Some(Origin::Query(name.into())),
        Some(("claims", path)) => claim(path, at, report).map(Origin::Claim),
        Some(("item", query)) if query.starts_with('$') => {
            item(at, scope, report).and_then(|()| path(query, at, report)).map(Origin::Item)
        }
        Some((branch, query)) if query.starts_with('$') => {
            let branch = result(branch, at, scope, report);
            let path = path(query, at, report);
            branch.zip(path).map(|(branch, path)| Origin::Result { branch, path })
        }
        Some((head, rest)) => {
            unknown(written, head, rest, at, scope, report);
            None
        }
    }?;
    Some(Field { written: Arc::from(written), origin })
}

/// A field without a dot: the item, or a path parameter.
fn name(written: &str, at: Location, scope: &Scope<'_>, report: &mut Report) -> Option<Origin> {
    if written == "item" && (scope.item || !scope.params.contains(&written)) {
        return item(at, scope, report).map(|()| Origin::Item(FieldPath::default()));
    }
    if scope.params.contains(&written) {
        return Some(Origin::Parameter(written.into()));
    }
    let trimmed = written.trim();
    let error = if trimmed.is_empty() {
        report.error(at, "nothing stands between the braces")
    } else {
        report.error(at, format!("the route's path has no parameter `{trimmed}`"))
    };
    if trimmed != written && scope.params.contains(&trimmed) {
        error.hint(format!("without blanks: `{{{trimmed}}}`"));
    } else if scope.branches.contains(&trimmed) {
        error.hint(format!(
            "the result of the branch is `{{{trimmed}.$}}`, a value in it `{{{trimmed}.$.name}}`"
        ));
    } else if matches!(trimmed, "query" | "claims") {
        error.hint(format!("one value of it is `{{{trimmed}.name}}`"));
    } else if let Some(near) = nearest(trimmed, scope.params.iter().copied()) {
        error.hint(format!("did you mean `{{{near}}}`?"));
    } else {
        error.hint(fields(scope));
    }
    None
}

/// The fields that may be used, in words.
fn fields(scope: &Scope<'_>) -> String {
    let params = scope.params.iter().map(|name| format!("`{{{name}}}`"));
    let others = ["`{query.name}`", "`{claims.sub}`"].map(str::to_owned).into_iter();
    let item = scope.item.then(|| "`{item}`, `{item.$.name}`".to_owned());
    let branch = scope.branches.iter().enumerate().find(|(index, _)| Some(*index) != scope.own);
    let branch = branch.map(|(_, name)| format!("`{{{name}.$.name}}`"));
    let all: Vec<String> = params.chain(others).chain(item).chain(branch).collect();
    format!("fields are {}; for a brace itself write it twice", all.join(", "))
}

fn item(at: Location, scope: &Scope<'_>, report: &mut Report) -> Option<()> {
    if scope.item {
        return Some(());
    }
    report.error(at, "there is no `{item}` here").hint(
        "a branch with `each` has one; for a path parameter of the name choose another name in `match`",
    );
    None
}

/// A claim, as `sub`, `org.id` or, for odd names, `$['https://example.com/roles']`.
pub(crate) fn claim(path: &str, at: Location, report: &mut Report) -> Option<FieldPath> {
    if path.starts_with('$') {
        return self::path(path, at, report);
    }
    if path.split('.').any(|name| name.is_empty() || name.contains(char::is_whitespace)) {
        report
            .error(at, format!("`claims.{path}` names no claim"))
            .hint("write `claims.sub`, `claims.org.id`, or `claims.$['odd name']`");
        return None;
    }
    Some(FieldPath::new(path.split('.').map(|name| Step::Name(name.into()))))
}

fn path(query: &str, at: Location, report: &mut Report) -> Option<FieldPath> {
    singular(&Located::new(query.to_owned(), at), report)
}

/// The branch of this name, unless it is the text's own.
pub(crate) fn result(name: &str, at: Location, scope: &Scope<'_>, report: &mut Report) -> Option<usize> {
    let Some(branch) = scope.branches.iter().position(|known| *known == name) else {
        let error = report.error(at, format!("unknown branch `{name}`"));
        let others = || others(scope);
        if name == "item" || name == "claims" || name == "query" {
            error.hint(format!("write `{{{name}.name}}`"));
        } else if let Some(near) = nearest(name, others()) {
            error.hint(format!("did you mean `{near}`?"));
        } else if others().next().is_none() {
            error.hint("the route has no other branches");
        } else {
            let list: Vec<String> = others().map(|name| format!("`{name}`")).collect();
            error.hint(format!("the other branches: {}", list.join(", ")));
        }
        return None;
    };
    if Some(branch) == scope.own {
        report
            .error(at, format!("the branch `{name}` would wait for itself"))
            .hint("its own result is not there before it has ended");
        return None;
    }
    Some(branch)
}

fn others<'a>(scope: &Scope<'a>) -> impl Iterator<Item = &'a str> {
    let own = scope.own;
    scope.branches.iter().enumerate().filter(move |(index, _)| Some(*index) != own).map(|(_, name)| *name)
}

/// A field with a dot that is no known one.
fn unknown(written: &str, head: &str, rest: &str, at: Location, scope: &Scope<'_>, report: &mut Report) {
    let error = report.error(at, format!("`{{{written}}}` is no field"));
    if head == "item" || scope.branches.contains(&head) {
        error.hint(format!("a value in a result or an item is written as a query: `{{{head}.$.{rest}}}`"));
    } else if head == "params" {
        error.hint(format!("a path parameter is written by its name: `{{{rest}}}`"));
    } else if head == "query" {
        error.hint("a parameter of the query is written `{query.name}`");
    } else {
        let heads = ["query", "claims"].into_iter();
        match nearest(head, heads.chain(others(scope))) {
            Some(near @ ("query" | "claims")) => error.hint(format!("did you mean `{{{near}.{rest}}}`?")),
            Some(near) => error.hint(format!("did you mean `{{{near}.$.{rest}}}`?")),
            None => error.hint(fields(scope)),
        };
    }
}
