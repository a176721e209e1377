//! One JSON value of the results of several branches.
//!
//! Results are given in file order, whatever order they came in, so that the answer depends on them alone. Each is checked
//! or made of what was checked, so the whole is JSON; how deep and long it may be is for who asks.

use std::borrow::Cow;
use std::collections::HashMap;

use bytes::Bytes;
use thiserror::Error;

use super::checked::Checked;
use super::rope::Rope;
use super::scan::Kind;
use super::slot::{self, Slot, SlotError};
use super::template::Template;

/// How results become one value; compiled at load.
#[derive(Debug, Clone)]
pub struct Merge {
    branches: Box<[Box<str>]>,
    form: Form,
}

#[derive(Debug, Clone)]
enum Form {
    Named(Template),
    Template { template: Template, slots: Vec<Slot> },
    Root,
    List,
}

/// Why results do not fit together.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum MergeError {
    /// Two branches have a member of the same name where both become members of the answer.
    #[error("the branches `{first}` and `{second}` both have a member `{key}`")]
    Collision {
        /// The name as it was written, without quotation marks; at most [`KEY_SHOWN_BYTES`] of it.
        key: String,
        /// The branch that comes first in the file.
        first: String,
        /// The other.
        second: String,
    },
    /// A branch that should give members is no object.
    #[error("the branch `{branch}` is {}, not an object whose members could be merged", kind.name())]
    NoObject {
        /// The branch.
        branch: String,
        /// What it is.
        kind: Kind,
    },
}

/// How much of a name an error shows, in bytes.
pub const KEY_SHOWN_BYTES: usize = 64;

impl Merge {
    /// An object with one member for each branch: `{"profile":…,"batches":…}`. A branch without a result is left out.
    pub fn slots(branches: &[&str]) -> Self {
        Merge::new(branches, Form::Named(Template::of_names(branches.iter().copied())))
    }

    /// One object of all members of all results, in file order. `null` has no members and adds none.
    pub fn root(branches: &[&str]) -> Self {
        Merge::new(branches, Form::Root)
    }

    /// One array of all elements of all results, in file order. A result that is no array, `null` too, is one element.
    pub fn list(branches: &[&str]) -> Self {
        Merge::new(branches, Form::List)
    }

    /// A value of literals and slots. A string that is exactly `{name}` is the result of that branch, `{name.$.path}` one
    /// value within it (a singular query, RFC 9535, section 2.3.5.1), and `{{text}}` is the text `{text}`. A slot without
    /// a value is left out, with its name; if the slot is the whole template, the value is `null`.
    ///
    /// # Errors
    ///
    /// If a slot names no branch, or its path may lead to several values.
    pub fn template(template: &Checked, branches: &[&str]) -> Result<Self, SlotError> {
        let mut slots = Vec::new();
        let template = Template::new(template, |text| slot::read(text, branches, &mut slots))?;
        Ok(Merge::new(branches, Form::Template { template, slots }))
    }

    fn new(branches: &[&str], form: Form) -> Self {
        Merge { branches: branches.iter().map(|name| (*name).into()).collect(), form }
    }

    /// Whether the result of a branch is part of the answer at all. Only a template can leave one out.
    pub fn uses(&self, branch: usize) -> bool {
        match &self.form {
            Form::Template { slots, .. } => slots.iter().any(|slot| slot.branch == branch),
            Form::Named(_) | Form::Root | Form::List => branch < self.branches.len(),
        }
    }

    /// Puts results together: one for each branch, in the order in which the branches were given; `None` for a result
    /// that is left out. No result is copied.
    ///
    /// # Errors
    ///
    /// Only if members are merged into the root: if two branches have one of the same name, or one is no object.
    pub fn apply(&self, results: &[Option<Checked>]) -> Result<Rope, MergeError> {
        match &self.form {
            Form::Named(template) => Ok(template.render(|slot| results.get(slot).cloned().flatten())),
            Form::Template { template, slots } => {
                Ok(template.render(|slot| slots.get(slot).and_then(|slot| slot.value(results))))
            }
            Form::Root => self.root_of(results),
            Form::List => {
                let parts = results.iter().flatten().map(|result| match result.kind() {
                    Kind::Array => result.whole().inside(),
                    _ => result.bytes().clone(),
                });
                Ok(joined(b"[", parts, b"]"))
            }
        }
    }

    fn root_of(&self, results: &[Option<Checked>]) -> Result<Rope, MergeError> {
        let mut objects = Vec::with_capacity(results.len());
        for (branch, result) in results.iter().enumerate() {
            match result.as_ref().map(|result| (result, result.kind())) {
                None | Some((_, Kind::Null)) => {}
                Some((result, Kind::Object)) => objects.push((branch, result)),
                Some((_, kind)) => return Err(MergeError::NoObject { branch: self.name(branch), kind }),
            }
        }
        if objects.len() > 1 {
            self.no_collision(&objects)?;
        }
        Ok(joined(b"{", objects.iter().map(|(_, object)| object.whole().inside()), b"}"))
    }

    /// A name that comes twice within one result is that branch's own affair and stays as it is.
    fn no_collision(&self, objects: &[(usize, &Checked)]) -> Result<(), MergeError> {
        let mut owners: HashMap<Cow<'_, [u8]>, usize> = HashMap::new();
        for (branch, object) in objects {
            for member in object.whole().members() {
                let owner = *owners.entry(member.key.meaning()).or_insert(*branch);
                if owner != *branch {
                    return Err(MergeError::Collision {
                        key: shown(member.key.raw()),
                        first: self.name(owner),
                        second: self.name(*branch),
                    });
                }
            }
        }
        Ok(())
    }

    fn name(&self, branch: usize) -> String {
        self.branches.get(branch).map(|name| String::from(&**name)).unwrap_or_default()
    }
}

/// The insides of arrays or objects, one behind the other.
fn joined(open: &'static [u8], parts: impl Iterator<Item = Bytes>, close: &'static [u8]) -> Rope {
    let mut rope = Rope::with_capacity(2 * parts.size_hint().1.unwrap_or_default() + 1);
    rope.push(Bytes::from_static(open));
    for part in parts.filter(|part| !part.is_empty()) {
        if rope.pieces().len() > 1 {
            rope.push(Bytes::from_static(b","));
        }
        rope.push(part);
    }
    rope.push(Bytes::from_static(close));
    rope
}

fn shown(key: &[u8]) -> String {
    let end = key.len().min(KEY_SHOWN_BYTES);
    key.get(..end).unwrap_or_default().utf8_chunks().map(|chunk| chunk.valid()).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use sallyport_condition::FieldPath;

    use super::super::generate::{LIMITS, checked, document};
    use super::super::{Limits, Part, scan};
    use super::*;

    const NAMES: [&str; 3] = ["profile", "batches", "odd \"name\""];

    fn results(texts: &[Option<&str>]) -> Vec<Option<Checked>> {
        texts.iter().map(|text| text.map(checked)).collect()
    }

    fn merged(merge: &Merge, texts: &[Option<&str>]) -> String {
        String::from_utf8(merge.apply(&results(texts)).unwrap().to_vec()).unwrap()
    }

    #[test]
    fn slots_have_the_names_of_the_branches() {
        let merge = Merge::slots(&NAMES);
        assert_eq!(
            merged(&merge, &[Some(r#" {"id": 1.0} "#), Some("null"), Some("[]")]),
            r#"{"profile":{"id": 1.0},"batches":null,"odd \"name\"":[]}"#
        );
        assert_eq!(merged(&merge, &[None, Some("1"), None]), r#"{"batches":1}"#);
        assert_eq!(merged(&merge, &[None, None, Some("1")]), r#"{"odd \"name\"":1}"#);
        assert_eq!(merged(&merge, &[None, None, None]), "{}");
        assert_eq!(merged(&Merge::slots(&[]), &[]), "{}");
    }

    #[test]
    fn results_are_not_copied() {
        let results = results(&[Some(r#"{"a": 1}"#), Some(r#"{"b": 2}"#)]);
        let first = results[0].as_ref().unwrap().bytes().as_ptr();
        let holds = |merge: &Merge, at: *const u8| {
            merge.apply(&results).unwrap().pieces().iter().any(|piece| piece.as_ptr() == at)
        };
        assert!(holds(&Merge::slots(&NAMES), first) && holds(&Merge::list(&NAMES), first));
        assert!(holds(&Merge::root(&NAMES), first.wrapping_add(1)));
    }

    #[test]
    fn members_are_merged_into_the_root() {
        let merge = Merge::root(&NAMES);
        assert_eq!(
            merged(&merge, &[Some(r#"{ "b" : 1.0, "a": "\u0041" }"#), Some("{ }"), Some(r#"{"c":[ ]}"#)]),
            r#"{"b" : 1.0, "a": "\u0041","c":[ ]}"#
        );
        assert_eq!(merged(&merge, &[None, Some("null"), Some(r#"{"c":1}"#)]), r#"{"c":1}"#);
        assert_eq!(merged(&merge, &[Some("null"), None, None]), "{}");
        // A branch's own duplicates stay as they were.
        assert_eq!(merged(&merge, &[Some(r#"{"a":1,"a":2}"#), Some(r#"{"b":1}"#)]), r#"{"a":1,"a":2,"b":1}"#);
    }

    #[test]
    fn colliding_members_are_refused_whatever_their_spelling() {
        let merge = Merge::root(&NAMES);
        for (first, second) in [
            (r#"{"x":0,"a":1}"#, r#"{"a":1}"#),
            (r#"{"a":1}"#, r#"{"y":{},"\u0061":2}"#),
            (r#"{"\uD800":1}"#, r#"{"\ud800":2}"#),
            (r#"{"":1}"#, r#"{"":1}"#),
        ] {
            let refused = merge.apply(&results(&[Some(first), None, Some(second)])).unwrap_err();
            let MergeError::Collision { first, second, .. } = refused else { panic!("{refused}") };
            assert_eq!((&*first, &*second), ("profile", NAMES[2]));
        }
        let refused = merge.apply(&results(&[Some(r#"{"a":1}"#), Some(r#"{"\u0061":1}"#)])).unwrap_err();
        assert_eq!(refused.to_string(), r"the branches `profile` and `batches` both have a member `\u0061`");
        let long = format!(r#"{{"{}":1}}"#, "é".repeat(400));
        let MergeError::Collision { key, .. } =
            merge.apply(&results(&[Some(&long), Some(&long)])).unwrap_err()
        else {
            panic!("no collision")
        };
        assert_eq!(key, "é".repeat(KEY_SHOWN_BYTES / 2));
    }

    #[test]
    fn only_objects_are_merged_into_the_root() {
        for (text, kind) in
            [("[]", "an array"), ("1", "a number"), ("true", "a boolean"), (r#""s""#, "a string")]
        {
            let refused = Merge::root(&NAMES).apply(&results(&[Some("{}"), Some(text), None])).unwrap_err();
            let text = format!("the branch `batches` is {kind}, not an object whose members could be merged");
            assert_eq!(refused.to_string(), text);
        }
    }

    #[test]
    fn lists_are_joined() {
        let merge = Merge::list(&NAMES);
        assert_eq!(merged(&merge, &[Some("[ 1, [2] ]"), Some("[]"), Some("[ 3]")]), "[1, [2],3]");
        assert_eq!(merged(&merge, &[Some(r#"{"a":[]}"#), None, Some("null")]), r#"[{"a":[]},null]"#);
        assert_eq!(merged(&merge, &[None, None, None]), "[]");
    }

    #[test]
    fn a_template_places_results_and_parts_of_them() {
        let template = checked(
            r#"{ "user": "{profile}", "name": "{profile.$.name}", "first": ["{batches.$['a b'][0]}"],
                 "open": "{{profile}}", "half": "{profile", "set": "{a: 1", "version": 1.0, "": {} }"#,
        );
        let merge = Merge::template(&template, &NAMES).unwrap();
        assert_eq!(
            merged(&merge, &[Some(r#"{"name": "\u0041"}"#), Some(r#"{"a b": [ 7.00 ]}"#), None]),
            concat!(
                r#"{"user":{"name": "\u0041"},"name":"\u0041","first":[7.00],"#,
                r#""open":"{profile}","half":"{profile","set":"{a: 1","version":1.0,"":{}}"#
            )
        );
        assert_eq!(
            merged(&merge, &[Some("7"), None, None]),
            r#"{"user":7,"first":[],"open":"{profile}","half":"{profile","set":"{a: 1","version":1.0,"":{}}"#
        );
        assert!(merge.uses(0) && merge.uses(1) && !merge.uses(2));
        assert!(Merge::list(&NAMES).uses(2) && !Merge::root(&NAMES).uses(3));
        let whole = Merge::template(&checked(r#""{batches}""#), &NAMES).unwrap();
        assert_eq!(merged(&whole, &[None, Some("[1]"), None]), "[1]");
        assert_eq!(merged(&whole, &[Some("1"), None, None]), "null");
    }

    #[test]
    fn slots_that_name_nothing_are_refused() {
        let refused = |text: &str| {
            let template = checked(&format!(r#"[{{"a": "{text}"}}]"#));
            Merge::template(&template, &["profile", "batches"]).expect_err(text).to_string()
        };
        assert_eq!(
            refused("{profil}"),
            "`{profil}` names no branch; the branches are `profile`, `batches`, and the text itself is written `{{profil}}`"
        );
        assert!(refused("{}").contains("names no branch"));
        assert!(refused("{profile.name}").contains("names no branch"));
        assert!(refused("{profile.$..name}").contains("several values"));
        assert!(refused("{profile.$.a b}").contains("$.items[0].id"));
    }

    fn form() -> impl Strategy<Value = Merge> {
        let template = r#"[{"b":"{batches}","p":"{profile.$.a}","l":[]},"{odd \"name\"}","{profile}"]"#;
        prop_oneof![
            Just(Merge::slots(&NAMES)),
            Just(Merge::root(&NAMES)),
            Just(Merge::list(&NAMES)),
            Just(Merge::template(&checked(template), &NAMES).unwrap()),
        ]
    }

    proptest! {
        // Three documents each.
        #![proptest_config(ProptestConfig::with_cases(96))]

        #[test]
        fn what_is_merged_is_json_and_keeps_every_result(
            texts in prop::collection::vec(prop::option::weighted(0.8, document()), 3),
            merge in form(),
        ) {
            let results: Vec<_> = texts.iter().map(|text| text.as_deref().map(checked)).collect();
            let Ok(rope) = merge.apply(&results) else {
                prop_assert!(matches!(merge.form, Form::Root));
                return Ok(());
            };
            let text = rope.to_vec();
            prop_assert_eq!(text.len(), rope.bytes());
            let limits = Limits { depth_max: LIMITS.depth_max + 3, bytes_max: usize::MAX };
            prop_assert_eq!(scan(&text, &limits).unwrap().1, 0..text.len());
            let whole = rope.into_checked();
            prop_assert_eq!(&whole.bytes()[..], &text[..]);
            if let Form::Named(_) = merge.form {
                for (name, result) in NAMES.iter().zip(&results) {
                    let found = whole.whole().find(&FieldPath::of_names([*name]));
                    prop_assert_eq!(&found.map(Part::to_checked), result);
                }
                prop_assert_eq!(whole.whole().members().count(), results.iter().flatten().count());
            }
        }

        #[test]
        fn the_order_in_which_results_come_does_not_matter(
            texts in prop::collection::vec(prop::option::weighted(0.8, document()), 3),
            merge in form(),
            order in Just([0, 1, 2]).prop_shuffle(),
        ) {
            let mut in_order = vec![None; 3];
            for branch in 0..3 {
                in_order[branch] = texts[branch].as_deref().map(checked);
            }
            let mut as_they_came = vec![None; 3];
            for branch in order {
                as_they_came[branch] = texts[branch].as_deref().map(checked);
            }
            let bytes = |results: &[_]| merge.apply(results).map(|rope| rope.to_vec());
            prop_assert_eq!(bytes(&in_order), bytes(&as_they_came));
        }
    }
}
