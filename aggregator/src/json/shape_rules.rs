//! What `pick`, `drop` and `rename` say, as a tree of names; mistakes are found here, at load.

use bytes::Bytes;
use sallyport_condition::{FieldPath, Step};
use thiserror::Error;

use super::checked::quoted;

/// What becomes of a result. Empty lists change nothing.
#[derive(Debug, Clone, Default)]
pub struct ShapeRules {
    /// The value inside that replaces the whole, before all else.
    pub flatten: Option<FieldPath>,
    /// The members that stay.
    pub pick: Vec<FieldPath>,
    /// The members that go.
    pub drop: Vec<FieldPath>,
    /// Members and their new names. The paths hold the old ones.
    pub rename: Vec<(FieldPath, String)>,
}

/// Why rules cannot be carried out. Each names the path it is about.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum RulesError {
    /// A path leads to no member: it is empty, or has an index in it.
    #[error(
        "`{0}` names no member: write names only, as in `owner.id`; in a list they are those of its items"
    )]
    NoName(FieldPath),
    /// A member stands in one list twice.
    #[error("`{0}` is listed twice")]
    Twice(FieldPath),
    /// A member is to stay and to go.
    #[error("`{0}` is dropped, but something there is to be picked or renamed")]
    Dropped(FieldPath),
    /// A member is to be renamed, but nothing picks it.
    #[error("`{0}` is to be renamed, but it is not among what is picked")]
    NotPicked(FieldPath),
    /// Two members of one object get the same name.
    #[error("`{0}` gets a name that another member gets, too")]
    SameName(FieldPath),
}

/// What is to be done with the members of one name, and with those inside them.
#[derive(Debug, Clone, Default)]
pub(super) struct Rule {
    pub(super) name: Box<str>,
    /// It stays, with all that is in it.
    pub(super) picked: bool,
    /// Something inside stays.
    pub(super) way_to_picked: bool,
    /// It goes.
    pub(super) dropped: bool,
    /// Its new name: a position in `new_names` of the rule around it.
    pub(super) renamed: Option<usize>,
    pub(super) inside: Vec<Rule>,
    /// Whether something inside goes or is renamed.
    pub(super) changes_inside: bool,
    /// New names of members inside.
    pub(super) new_names: Vec<NewName>,
}

#[derive(Debug, Clone)]
pub(super) struct NewName {
    pub(super) name: Box<str>,
    /// In quotation marks.
    pub(super) quoted: Bytes,
}

impl Rule {
    /// The rules of all paths, as one tree. The root has no name.
    pub(super) fn tree(rules: &ShapeRules) -> Result<Rule, RulesError> {
        let mut root = Rule::default();
        for path in &rules.pick {
            let rule = root.member(path, |rule| rule.way_to_picked = true)?;
            once(&mut rule.picked, path)?;
        }
        for path in &rules.drop {
            let rule = root.member(path, |_| ())?;
            once(&mut rule.dropped, path)?;
            if rule.picked || rule.way_to_picked {
                return Err(RulesError::Dropped(path.clone()));
            }
        }
        for (path, name) in &rules.rename {
            root.rename(path, name, !rules.pick.is_empty())?;
        }
        root.note_changes();
        Ok(root)
    }

    fn note_changes(&mut self) {
        for rule in &mut self.inside {
            rule.note_changes();
            self.changes_inside |= rule.dropped || rule.renamed.is_some() || rule.changes_inside;
        }
    }

    pub(super) fn of_member(&self, meaning: &[u8]) -> Option<&Rule> {
        self.inside.iter().find(|rule| rule.name.as_bytes() == meaning)
    }

    /// The rule of a path, made if there is none yet. `on_way` gets those around it.
    fn member(
        &mut self,
        path: &FieldPath,
        mut on_way: impl FnMut(&mut Rule),
    ) -> Result<&mut Rule, RulesError> {
        let no_name = || RulesError::NoName(path.clone());
        if path.is_whole() {
            return Err(no_name());
        }
        let mut rule = self;
        for step in path.steps() {
            let Step::Name(name) = step else { return Err(no_name()) };
            on_way(rule);
            let position = rule.inside.iter().position(|inner| inner.name == *name).unwrap_or_else(|| {
                rule.inside.push(Rule { name: name.clone(), ..Rule::default() });
                rule.inside.len() - 1
            });
            rule = &mut rule.inside[position];
        }
        Ok(rule)
    }

    fn rename(&mut self, path: &FieldPath, name: &str, picking: bool) -> Result<(), RulesError> {
        let mut kept = !picking;
        let mut dropped = false;
        self.member(path, |rule| {
            kept |= rule.picked;
            dropped |= rule.dropped;
        })?;
        let (last, around) = path.steps().split_last().ok_or_else(|| RulesError::NoName(path.clone()))?;
        let parent = match around {
            [] => self,
            around => self.member(&FieldPath::new(around.iter().cloned()), |_| ())?,
        };
        let position = parent.new_names.len();
        if parent.new_names.iter().any(|known| *known.name == *name) {
            return Err(RulesError::SameName(path.clone()));
        }
        let Some(rule) =
            parent.inside.iter_mut().find(|rule| matches!(last, Step::Name(name) if rule.name == *name))
        else {
            return Err(RulesError::NoName(path.clone()));
        };
        if dropped || rule.dropped {
            return Err(RulesError::Dropped(path.clone()));
        }
        if !kept && !rule.picked && !rule.way_to_picked {
            return Err(RulesError::NotPicked(path.clone()));
        }
        if rule.renamed.replace(position).is_some() {
            return Err(RulesError::Twice(path.clone()));
        }
        parent.new_names.push(NewName { name: name.into(), quoted: quoted(name).into() });
        Ok(())
    }
}

fn once(flag: &mut bool, path: &FieldPath) -> Result<(), RulesError> {
    if std::mem::replace(flag, true) { Err(RulesError::Twice(path.clone())) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(dotted: &str) -> FieldPath {
        FieldPath::of_names(dotted.split('.').filter(|name| !name.is_empty()))
    }

    fn rules(pick: &[&str], drop: &[&str], rename: &[(&str, &str)]) -> Result<Rule, RulesError> {
        Rule::tree(&ShapeRules {
            flatten: None,
            pick: pick.iter().map(|dotted| path(dotted)).collect(),
            drop: drop.iter().map(|dotted| path(dotted)).collect(),
            rename: rename.iter().map(|(dotted, name)| (path(dotted), (*name).to_owned())).collect(),
        })
    }

    #[test]
    fn what_can_never_apply_is_refused() {
        let refused = |pick: &[&str], drop: &[&str], rename: &[(&str, &str)]| {
            rules(pick, drop, rename).expect_err(&format!("{pick:?} {drop:?} {rename:?}"))
        };
        assert_eq!(refused(&[""], &[], &[]), RulesError::NoName(path("")));
        assert_eq!(refused(&[], &[""], &[]), RulesError::NoName(path("")));
        assert_eq!(refused(&[], &[], &[("", "x")]), RulesError::NoName(path("")));
        assert_eq!(refused(&["a.b", "a.b"], &[], &[]), RulesError::Twice(path("a.b")));
        assert_eq!(refused(&[], &["a", "b", "a"], &[]), RulesError::Twice(path("a")));
        assert_eq!(refused(&[], &[], &[("a", "x"), ("a", "y")]), RulesError::Twice(path("a")));
        assert_eq!(refused(&["a"], &["a"], &[]), RulesError::Dropped(path("a")));
        assert_eq!(refused(&["a.b.c"], &["a.b"], &[]), RulesError::Dropped(path("a.b")));
        assert_eq!(refused(&[], &["a"], &[("a", "x")]), RulesError::Dropped(path("a")));
        assert_eq!(refused(&[], &["a"], &[("a.b", "x")]), RulesError::Dropped(path("a.b")));
        assert_eq!(refused(&["a"], &[], &[("b", "x")]), RulesError::NotPicked(path("b")));
        assert_eq!(refused(&["a.b"], &[], &[("a.c", "x")]), RulesError::NotPicked(path("a.c")));
        assert_eq!(refused(&[], &[], &[("a", "x"), ("b", "x")]), RulesError::SameName(path("b")));
        let index = path("a").then(Step::Index(0));
        let with_index = ShapeRules { pick: vec![index.clone()], ..ShapeRules::default() };
        assert_eq!(Rule::tree(&with_index).unwrap_err(), RulesError::NoName(index.clone()));
        assert!(RulesError::NoName(index).to_string().starts_with("`a[0]` names no member"));
    }

    #[test]
    fn what_can_apply_is_taken() {
        assert!(rules(&[], &[], &[]).unwrap().inside.is_empty());
        rules(&["a", "a.b"], &["a.c", "d"], &[]).unwrap();
        rules(&["a.b"], &[], &[("a", "x"), ("a.b", "x")]).unwrap();
        rules(&["a"], &[], &[("a.b", "x"), ("a.c", "b")]).unwrap();
        rules(&[], &[], &[("a", "b"), ("b", "a"), ("c.a", "b")]).unwrap();
    }
}
