//! `flatten`, `pick`, `drop` and `rename` of a branch, with mistakes at their places.

use sallyport_condition::{FieldPath, Step, singular};
use sallyport_config::aggregate::Branch;
use sallyport_config::{Located, Location, Report};

use crate::json::{RulesError, Shape, ShapeRules};

/// Compiles what a branch says of the form of its result. `Some(None)` where it stays as it is; `name` is where faults
/// stand that have no place of their own.
pub(super) fn compile(settings: &Branch, name: Location, report: &mut Report) -> Option<Option<Shape>> {
    let before = report.errors().count();
    let flatten = settings.flatten.as_ref().and_then(|query| singular(query, report));
    let mut paths = |written: &mut dyn Iterator<Item = &Located<String>>| -> Vec<FieldPath> {
        written.filter_map(|written| dotted(written, report)).collect()
    };
    let pick = paths(&mut settings.pick.iter());
    let drop = paths(&mut settings.drop.iter());
    let old = paths(&mut settings.rename.iter().map(|(old, _)| old));
    if report.errors().count() > before {
        return None;
    }
    let rename = old.into_iter().zip(settings.rename.iter().map(|(_, new)| new.value.clone())).collect();
    match Shape::new(&ShapeRules { flatten, pick, drop, rename }) {
        Ok(shape) => Some((!shape.is_identity()).then_some(shape)),
        Err(error) => {
            report.error(place(settings, &error).unwrap_or(name), error.to_string());
            None
        }
    }
}

/// Where the path stands that an error about rules names; of several the last.
fn place(settings: &Branch, error: &RulesError) -> Option<Location> {
    let (RulesError::NoName(path)
    | RulesError::Twice(path)
    | RulesError::Dropped(path)
    | RulesError::NotPicked(path)
    | RulesError::SameName(path)) = error;
    let old = settings.rename.iter().map(|(old, _)| old);
    let written = settings.pick.iter().chain(&settings.drop).chain(old);
    written.filter(|written| names(written).as_ref() == Some(path)).last().map(|written| written.at)
}

/// `owner.name` as a path of names.
fn dotted(written: &Located<String>, report: &mut Report) -> Option<FieldPath> {
    let path = names(written);
    if path.is_none() {
        report.error(written.at, format!("`{}` names no member", written.value)).hint(
            "write names with dots between them: `id`, `owner.name`; in a list they are those of its items",
        );
    }
    path
}

fn names(written: &str) -> Option<FieldPath> {
    let named = written.split('.').all(|name| !name.is_empty()) && !written.starts_with('$');
    named.then(|| FieldPath::new(written.split('.').map(|name| Step::Name(name.into()))))
}
