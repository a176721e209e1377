//! `answer:` compiled: how results become one value, and which of them could never.

use sallyport_condition::singular;
use sallyport_config::aggregate::{self, Answer};
use sallyport_config::{Located, Node, Report, nearest};

use super::body::add_strings;
use super::branch::literal;
use super::compile::Ground;
use super::{Branch, OnError, Source};
use crate::json::{Kind, Merge, SlotError};

/// Compiles `merge` or `template`.
pub(super) fn compile(ground: &Ground<'_>, report: &mut Report) -> Option<Merge> {
    let answer = &ground.answer;
    let Some(template) = &answer.template else {
        return Some(match answer.merge {
            aggregate::Merge::Slots => Merge::slots(&ground.names),
            aggregate::Merge::Root => Merge::root(&ground.names),
            aggregate::Merge::List => Merge::list(&ground.names),
        });
    };
    if answer.merge != aggregate::Merge::Slots {
        report
            .error(answer.at, "both `merge` and `template`")
            .hint("a template says all of it; leave `merge` out");
        return None;
    }
    compile_template(template, ground, report)
}

fn compile_template(template: &Node, ground: &Ground<'_>, report: &mut Report) -> Option<Merge> {
    let mut strings = Vec::new();
    add_strings(template, &mut strings);
    let value = literal(template, report)?;
    for string in &strings {
        half_a_slot(string, ground, report);
    }
    let place = |slot: &str| {
        strings.iter().find(|string| string.value == slot).map_or(template.location(), |string| string.at)
    };
    match Merge::template(&value, &ground.names) {
        Ok(merge) => Some(merge),
        Err(SlotError::Unknown { slot, .. }) => {
            let at = place(&slot);
            let inside = slot.trim_start_matches('{').trim_end_matches('}');
            let name = inside.split('.').next().unwrap_or_default();
            let error = report.error(at, format!("`{slot}` names no branch"));
            let rest = inside.strip_prefix(name).unwrap_or_default();
            if ground.names.contains(&name) {
                error.hint(format!("a value in a result is written as a query: `{{{name}.${rest}}}`"));
            } else if let Some(near) = nearest(name, ground.names.iter().copied()) {
                error.hint(format!("did you mean `{{{near}{rest}}}`?"));
            } else {
                error.hint(format!(
                    "a slot is `{{branch}}` or `{{branch.$.name}}`; the text itself is `{{{slot}}}`"
                ));
            }
            None
        }
        Err(SlotError::Path { slot, .. }) => {
            let at = place(&slot);
            let query = slot.split_once('.').map_or("", |(_, query)| query).trim_end_matches('}');
            // It is no such query, which is now told at its place.
            let _ = singular(&Located::new(query.to_owned(), at), report);
            None
        }
    }
}

/// A slot is a whole string: one that stands within a text stays as it is, which is hardly meant.
fn half_a_slot(string: &Located<String>, ground: &Ground<'_>, report: &mut Report) {
    if string.starts_with('{') && string.ends_with('}') {
        return;
    }
    let inside =
        |name: &&str| string.contains(&format!("{{{name}}}")) || string.contains(&format!("{{{name}.$"));
    if ground.names.iter().any(inside) {
        report
            .warning(string.at, format!("nothing is filled into `{}`", string.value))
            .hint("in a template a slot is a whole string: `\"{branch}\"` or `\"{branch.$.name}\"`");
    }
}

/// Tells what of the compiled branches cannot become one value, and what of it nobody would see.
pub(super) fn check(
    branches: &[(&Located<String>, &Located<aggregate::Branch>, Branch)],
    merge: &Merge,
    answer: &Answer,
    report: &mut Report,
) {
    for (index, (name, _, branch)) in branches.iter().enumerate() {
        let waited_for = branches.iter().any(|(_, _, other)| other.after.contains(&index));
        let asks_only = match &branch.source {
            Source::Call(call) => call.method == http::Method::GET,
            Source::View(_) => true,
        };
        if !merge.uses(index) && !waited_for && asks_only {
            report
                .warning(name.at, format!("nothing uses the result of `{}`", name.value))
                .hint(format!("the template has no `\"{{{}}}\"`, and no branch needs it", name.value));
        }
    }
    if answer.template.is_none() && answer.merge == aggregate::Merge::Root {
        for (name, _, branch) in branches {
            no_object(name, branch, report);
        }
        collisions(branches, report);
    }
}

/// What is merged into the root has to be an object.
fn no_object(name: &Located<String>, branch: &Branch, report: &mut Report) {
    if branch.each.is_some() {
        report
            .error(
                name.at,
                format!("`merge: root`, but the result of `{}` is a list, for its `each`", name.value),
            )
            .hint("`merge: slots` gives it a name, `merge: list` joins lists");
    }
    if let OnError::Value(value) = &branch.on_error
        && !matches!(value.kind(), Kind::Object | Kind::Null)
    {
        let kind = value.kind().name();
        report
            .error(name.at, format!("`merge: root`, but if `{}` fails it is {kind}", name.value))
            .hint("write an object, or `on_error: omit`");
    }
}

/// Members that two branches certainly name.
fn collisions(branches: &[(&Located<String>, &Located<aggregate::Branch>, Branch)], report: &mut Report) {
    let members: Vec<Vec<(String, sallyport_config::Location)>> =
        branches.iter().map(|(_, settings, _)| members(settings)).collect();
    for (index, own) in members.iter().enumerate() {
        for (earlier, known) in members[..index].iter().enumerate() {
            for (member, at) in
                own.iter().filter(|(member, _)| known.iter().any(|(other, _)| other == member))
            {
                let (first, second) = (branches[earlier].0, branches[index].0);
                report
                    .error(
                        *at,
                        format!(
                            "`merge: root`, but `{}` and `{}` both have a member `{member}`",
                            first.value, second.value
                        ),
                    )
                    .hint("give one of them another name with `rename`, or leave `merge` out");
            }
        }
    }
}

/// The outermost members that `pick` and `rename` name, by the names that they have in the end.
fn members(settings: &aggregate::Branch) -> Vec<(String, sallyport_config::Location)> {
    let renamed =
        |name: &str| settings.rename.iter().find(|(old, _)| old.as_str() == name).map(|(_, new)| new);
    let mut members: Vec<(String, sallyport_config::Location)> = Vec::new();
    for path in &settings.pick {
        let first = path.split('.').next().unwrap_or_default();
        let name = renamed(first).map_or(first, |new| new.as_str());
        if !members.iter().any(|(known, _)| known == name) {
            members.push((name.to_owned(), path.at));
        }
    }
    let outermost = settings.rename.iter().filter(|(old, _)| !old.contains('.'));
    for (_, new) in outermost {
        if !members.iter().any(|(known, _)| *known == new.value) {
            members.push((new.value.clone(), new.at));
        }
    }
    members
}
