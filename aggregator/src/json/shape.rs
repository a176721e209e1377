//! A branch's result made smaller or renamed, by bytes: `flatten`, `pick`, `drop`, `rename`.

use sallyport_condition::FieldPath;
use thiserror::Error;

use super::checked::{Checked, Part};
use super::run;
use super::scan::Kind;
use super::shape_rules::{Rule, RulesError, ShapeRules};
use super::walk;

/// What becomes of a result, compiled at load.
///
/// 1. `flatten` replaces the whole by the value at a path.
/// 2. `pick` keeps the members it names, with the objects around them, and nothing else.
/// 3. `drop` takes members away.
/// 4. `rename` gives members new names where they stand.
///
/// Paths are names from the outside in; where a list stands on the way, each of its items is meant, and so on for lists
/// of lists. What stays keeps its order and its bytes: numbers, escapes and the blanks inside values that are kept whole.
/// Only blanks between members go where something around them was looked into. Members of the same name are treated alike.
///
/// Where `pick` meets something on its way that has no members, `null` stays and anything else goes, so that no more comes
/// through than was listed; an object without a picked member stays as `{}`. A result that is `null` stays `null`.
#[derive(Debug, Clone)]
pub struct Shape {
    flatten: Option<FieldPath>,
    root: Rule,
    picks: bool,
}

/// Why a result does not have the form that the rules need.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ShapeError {
    /// `flatten` leads nowhere.
    #[error("there is nothing at `{0}`")]
    Missing(FieldPath),
    /// `pick` has nothing to pick from.
    #[error("the result is {}; only members of an object or of a list's items can be picked", .0.name())]
    NoMembers(Kind),
    /// A member gets a name that another member of the same object has.
    #[error("a member is to be renamed to `{0}`, but there is one of that name")]
    Taken(Box<str>),
}

impl Shape {
    /// Compiles rules.
    ///
    /// # Errors
    ///
    /// If rules contradict each other or can never apply.
    pub fn new(rules: &ShapeRules) -> Result<Shape, RulesError> {
        let root = Rule::tree(rules)?;
        Ok(Shape { flatten: rules.flatten.clone(), root, picks: !rules.pick.is_empty() })
    }

    /// Whether every result stays what it is.
    pub fn is_identity(&self) -> bool {
        self.flatten.as_ref().is_none_or(FieldPath::is_whole) && self.root.inside.is_empty()
    }

    /// Applies the rules. Copies what stays, but nothing if there is only `flatten`.
    ///
    /// # Errors
    ///
    /// If `flatten` leads nowhere, `pick` meets a result that is neither object, array nor `null`, or a new name is
    /// taken.
    pub fn apply(&self, result: &Checked) -> Result<Checked, ShapeError> {
        let whole = result.whole();
        if whole.kind() == Kind::Null {
            return Ok(result.clone());
        }
        let part = match &self.flatten {
            None => whole,
            Some(path) => whole.find(path).ok_or_else(|| ShapeError::Missing(path.clone()))?,
        };
        if self.root.inside.is_empty() {
            return Ok(part.to_checked());
        }
        match part.kind() {
            Kind::Object | Kind::Array => self.rewritten(part),
            Kind::Null => Ok(part.to_checked()),
            kind if self.picks => Err(ShapeError::NoMembers(kind)),
            _ => Ok(part.to_checked()),
        }
    }

    /// Reads an object or array once from front to back, however deep lies what is looked for.
    fn rewritten(&self, part: Part<'_>) -> Result<Checked, ShapeError> {
        let text = part.bytes();
        let mut rewriting = Rewriting { text, at: 0, out: Vec::with_capacity(text.len()) };
        // A stack of our own: how deep lists of lists go is up to the branch.
        let mut open = vec![rewriting.enter(&self.root, self.picks)];
        while let Some(innermost) = open.last_mut() {
            match rewriting.step(innermost)? {
                Step::Done => {}
                Step::Inside(rule, picking) => open.push(rewriting.enter(rule, picking)),
                Step::End => {
                    open.pop();
                }
            }
        }
        Ok(Checked::built(rewriting.out))
    }
}

/// A text that is being rewritten, which is checked.
struct Rewriting<'a> {
    text: &'a [u8],
    at: usize,
    out: Vec<u8>,
}

/// An object or array whose end was not reached yet.
struct Open<'r> {
    object: bool,
    rule: &'r Rule,
    /// Whether only what leads to something picked stays.
    picking: bool,
    empty: bool,
    /// For each new name, whether a member was renamed to it, and whether another has it anyway.
    names: Vec<(bool, bool)>,
}

enum Step<'r> {
    /// A member or element has been left out or written.
    Done,
    /// One has been begun: what is to be done inside, and whether only what is picked stays there.
    Inside(&'r Rule, bool),
    End,
}

impl Rewriting<'_> {
    /// Goes into the object or array that begins here.
    fn enter<'r>(&mut self, rule: &'r Rule, picking: bool) -> Open<'r> {
        let object = self.text.get(self.at) == Some(&b'{');
        self.out.push(if object { b'{' } else { b'[' });
        self.at += 1;
        let names = if object { vec![(false, false); rule.new_names.len()] } else { Vec::new() };
        Open { object, rule, picking, empty: true, names }
    }

    /// Deals with the next member or element.
    fn step<'r>(&mut self, open: &mut Open<'r>) -> Result<Step<'r>, ShapeError> {
        self.at = run::blanks(self.text, self.at);
        match self.text.get(self.at) {
            Some(b',') => self.at = run::blanks(self.text, self.at + 1),
            None | Some(b'}' | b']') => {
                self.at += 1;
                self.out.push(if open.object { b'}' } else { b']' });
                return Ok(Step::End);
            }
            Some(_) => {}
        }
        if !open.object {
            let fate = Fate::of(self.kind(), Some(open.rule), open.picking);
            if !matches!(fate, Fate::Goes) {
                self.comma(open);
            }
            return Ok(self.value(fate));
        }
        let Some((key, start)) = walk::key(self.text, self.at) else {
            self.at = self.text.len();
            return Ok(Step::Done);
        };
        self.at = start;
        let meaning = key.meaning();
        let rule = open.rule.of_member(&meaning);
        let fate = Fate::of_member(self.kind(), rule, open.picking);
        if !matches!(fate, Fate::Goes) {
            let new_name = open.note_name(rule.and_then(|rule| rule.renamed), &meaning)?;
            self.comma(open);
            self.out.extend_from_slice(new_name.unwrap_or(key.written()));
            self.out.push(b':');
        }
        Ok(self.value(fate))
    }

    fn kind(&self) -> Kind {
        Kind::of(self.text.get(self.at).copied().unwrap_or_default())
    }

    fn comma(&mut self, open: &mut Open<'_>) {
        if !std::mem::replace(&mut open.empty, false) {
            self.out.push(b',');
        }
    }

    /// Leaves out, copies or begins the value that stands here.
    fn value<'r>(&mut self, fate: Fate<'r>) -> Step<'r> {
        if let Fate::IsRewritten(rule, picking) = fate {
            return Step::Inside(rule, picking);
        }
        let end = walk::past(self.text, self.at);
        if let Fate::StaysWhole = fate {
            self.out.extend_from_slice(self.text.get(self.at..end).unwrap_or_default());
        }
        self.at = end;
        Step::Done
    }
}

impl<'r> Open<'r> {
    /// The new name of a member, in quotation marks, if it gets one. Refuses a name that one member gets and another has.
    fn note_name(&mut self, renamed: Option<usize>, meaning: &[u8]) -> Result<Option<&'r [u8]>, ShapeError> {
        let new_names = &self.rule.new_names;
        let position = renamed.or_else(|| new_names.iter().position(|new| new.name.as_bytes() == meaning));
        let Some(position) = position else { return Ok(None) };
        let (Some(new), Some((gets, has))) = (new_names.get(position), self.names.get_mut(position)) else {
            return Ok(None);
        };
        *gets |= renamed.is_some();
        *has |= renamed.is_none();
        if *gets && *has {
            return Err(ShapeError::Taken(new.name.clone()));
        }
        Ok(renamed.map(|_| &new.quoted[..]))
    }
}

/// What becomes of a value that is reached.
enum Fate<'r> {
    Goes,
    StaysWhole,
    IsRewritten(&'r Rule, bool),
}

impl<'r> Fate<'r> {
    fn of_member(kind: Kind, rule: Option<&'r Rule>, picking: bool) -> Fate<'r> {
        match rule {
            Some(rule) if rule.dropped => Fate::Goes,
            Some(rule) if rule.picked => Fate::of(kind, Some(rule), false),
            Some(rule) if picking && !rule.way_to_picked => Fate::Goes,
            None if picking => Fate::Goes,
            rule => Fate::of(kind, rule, picking),
        }
    }

    fn of(kind: Kind, rule: Option<&'r Rule>, picking: bool) -> Fate<'r> {
        let Some(rule) = rule.filter(|rule| picking || rule.changes_inside) else {
            return Fate::StaysWhole;
        };
        match kind {
            Kind::Object | Kind::Array => Fate::IsRewritten(rule, picking),
            Kind::Null => Fate::StaysWhole,
            _ if picking => Fate::Goes,
            _ => Fate::StaysWhole,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use sallyport_condition::Step as PathStep;

    use super::super::generate::{LIMITS, checked, document, without_blanks};
    use super::super::scan;
    use super::*;

    fn path(dotted: &str) -> FieldPath {
        FieldPath::of_names(dotted.split('.').filter(|name| !name.is_empty()))
    }

    fn paths(dotted: &[&str]) -> Vec<FieldPath> {
        dotted.iter().map(|dotted| path(dotted)).collect()
    }

    fn shaped(rules: &ShapeRules, json: &str) -> Result<String, ShapeError> {
        let shaped = Shape::new(rules).unwrap().apply(&checked(json))?;
        Ok(String::from_utf8(shaped.into_bytes().to_vec()).unwrap())
    }

    fn pick(dotted: &[&str]) -> ShapeRules {
        ShapeRules { pick: paths(dotted), ..ShapeRules::default() }
    }

    fn drop(dotted: &[&str]) -> ShapeRules {
        ShapeRules { drop: paths(dotted), ..ShapeRules::default() }
    }

    fn rename(names: &[(&str, &str)]) -> ShapeRules {
        let rename = names.iter().map(|(dotted, name)| (path(dotted), (*name).to_owned())).collect();
        ShapeRules { rename, ..ShapeRules::default() }
    }

    const OWNER: &str = r#"{"id": 7, "name": "\u0041" , "mail": "x"}"#;
    const ITEMS: &str = r#"[{"sku": "a", "cost": 1}, {"cost": 2 }, null, 3]"#;

    fn batch() -> String {
        format!(r#"{{ "id" : 1.00, "owner": {OWNER}, "items":	{ITEMS}, "\u006eote": null, "id": [ 2 ] }}"#)
    }

    #[test]
    fn only_what_is_picked_stays() {
        let picked = |dotted: &[&str]| shaped(&pick(dotted), &batch()).unwrap();
        assert_eq!(picked(&["id"]), r#"{"id":1.00,"id":[ 2 ]}"#);
        assert_eq!(picked(&["note", "owner.name"]), r#"{"owner":{"name":"\u0041"},"\u006eote":null}"#);
        assert_eq!(picked(&["owner"]), r#"{"owner":{"id": 7, "name": "\u0041" , "mail": "x"}}"#);
        assert_eq!(picked(&["owner", "owner.id"]), picked(&["owner"]));
        assert_eq!(picked(&["items.sku"]), r#"{"items":[{"sku":"a"},{},null]}"#);
        assert_eq!(picked(&["owner.missing", "missing.deeper"]), r#"{"owner":{}}"#);
        assert_eq!(picked(&["note.deeper", "id.deeper"]), r#"{"\u006eote":null,"id":[]}"#);
        assert_eq!(
            shaped(&pick(&["a"]), r#"[{"a":1,"b":2}, [[{"b":3,"a":4}]], "text", null]"#).unwrap(),
            r#"[{"a":1},[[{"a":4}]],null]"#
        );
    }

    #[test]
    fn what_is_dropped_goes() {
        let dropped = |dotted: &[&str]| shaped(&drop(dotted), &batch()).unwrap();
        assert_eq!(dropped(&["owner", "items", "note"]), r#"{"id":1.00,"id":[ 2 ]}"#);
        assert_eq!(
            dropped(&["id", "owner", "items.cost"]),
            r#"{"items":[{"sku":"a"},{},null,3],"\u006eote":null}"#
        );
        assert_eq!(
            dropped(&["missing", "id.deeper"]),
            format!(r#"{{"id":1.00,"owner":{OWNER},"items":{ITEMS},"\u006eote":null,"id":[2]}}"#)
        );
        assert_eq!(
            shaped(&drop(&["a"]), r#"[{"a":1,"b":2}, [[{"a":4}]], "text"]"#).unwrap(),
            r#"[{"b":2},[[{}]],"text"]"#
        );
    }

    #[test]
    fn members_are_renamed_where_they_stand() {
        let names = [("owner.id", "user \"id\""), ("note", "remark"), ("owner", "user")];
        let owner = r#"{"user \"id\"":7,"name":"\u0041","mail":"x"}"#;
        assert_eq!(
            shaped(&rename(&names), &batch()).unwrap(),
            format!(r#"{{"id":1.00,"user":{owner},"items":{ITEMS},"remark":null,"id":[ 2 ]}}"#)
        );
        assert_eq!(
            shaped(&rename(&[("a", "b"), ("b", "a")]), r#"[{"a":1,"b":2},{"a":3}]"#).unwrap(),
            r#"[{"b":1,"a":2},{"b":3}]"#
        );
        assert_eq!(shaped(&rename(&[("a", "a")]), r#"{"\u0061":1}"#).unwrap(), r#"{"a":1}"#);
        let taken = |json: &str| shaped(&rename(&[("a", "b")]), json).unwrap_err();
        assert_eq!(taken(r#"{"a":1,"b":2}"#), ShapeError::Taken("b".into()));
        assert_eq!(taken(r#"[{},{"\u0062":2,"a":1}]"#), ShapeError::Taken("b".into()));
        let without = ShapeRules { drop: paths(&["b"]), ..rename(&[("a", "b")]) };
        assert_eq!(shaped(&without, r#"{"a":1,"b":2}"#).unwrap(), r#"{"b":1}"#);
        let picked = ShapeRules { pick: paths(&["a"]), ..rename(&[("a", "b")]) };
        assert_eq!(shaped(&picked, r#"{"a":1,"b":2}"#).unwrap(), r#"{"b":1}"#);
    }

    #[test]
    fn flatten_comes_first_and_copies_nothing() {
        let to_items = path("data").then(PathStep::Name("items".into()));
        let rules = ShapeRules { flatten: Some(to_items.clone()), ..ShapeRules::default() };
        let shape = Shape::new(&rules).unwrap();
        let whole = checked(r#"{"data": {"items": [ {"a": 1} ]}}"#);
        let items = shape.apply(&whole).unwrap();
        assert_eq!(&items.bytes()[..], br#"[ {"a": 1} ]"#);
        assert_eq!(items.bytes().as_ptr(), whole.bytes()[19..].as_ptr());
        assert_eq!(shape.apply(&checked(r#"{"data": {}}"#)), Err(ShapeError::Missing(to_items)));
        assert_eq!(ShapeError::Missing(path("data.items")).to_string(), "there is nothing at `data.items`");
        let first = rules.flatten.clone().unwrap().then(PathStep::Index(0));
        let all = ShapeRules { flatten: Some(first), ..pick(&["b"]) };
        assert_eq!(shaped(&all, r#"{"data": {"items": [ {"a": 1, "b": 2} ]}}"#).unwrap(), r#"{"b":2}"#);
    }

    #[test]
    fn results_without_members() {
        for rules in [pick(&["a"]), drop(&["a"]), rename(&[("a", "b")])] {
            assert_eq!(shaped(&rules, "null").unwrap(), "null");
            assert_eq!(shaped(&rules, "[ ]").unwrap(), "[]");
            assert_eq!(shaped(&rules, "{ }").unwrap(), "{}");
        }
        // 204 is null, and so it stays.
        let flatten = ShapeRules { flatten: Some(path("a")), ..ShapeRules::default() };
        assert_eq!(shaped(&flatten, "null").unwrap(), "null");
        assert_eq!(shaped(&drop(&["a"]), "7.0").unwrap(), "7.0");
        let refused = shaped(&pick(&["a"]), "\"secret\"").unwrap_err();
        assert_eq!(
            refused.to_string(),
            "the result is a string; only members of an object or of a list's items can be picked"
        );
        assert!(Shape::new(&ShapeRules::default()).unwrap().is_identity());
        assert!(
            !Shape::new(&flatten).unwrap().is_identity() && !Shape::new(&drop(&["a"])).unwrap().is_identity()
        );
    }

    /// What rules say about one path, read from the lists each time.
    fn model(part: Part<'_>, at: &[String], rules: &ShapeRules) -> Option<String> {
        let names = |path: &FieldPath| -> Vec<String> {
            let names = path.steps().iter().filter_map(|step| match step {
                PathStep::Name(name) => Some(String::from(&**name)),
                PathStep::Index(_) => None,
            });
            names.collect()
        };
        if rules.drop.iter().any(|path| names(path) == at) {
            return None;
        }
        let is_picked = rules.pick.is_empty() || rules.pick.iter().any(|path| at.starts_with(&names(path)));
        if !is_picked && !rules.pick.iter().any(|path| names(path).starts_with(at)) {
            return None;
        }
        match part.kind() {
            Kind::Object => {
                let members = part.members().filter_map(|member| {
                    let name = String::from_utf8_lossy(&member.key.meaning()).into_owned();
                    let inner = [at, &[name]].concat();
                    let value = model(member.value, &inner, rules)?;
                    let renamed = rules.rename.iter().find(|(path, _)| names(path) == inner);
                    let written = String::from_utf8_lossy(member.key.written());
                    let key = renamed.map_or(written.into_owned(), |(_, name)| format!("\"{name}\""));
                    Some(format!("{key}:{value}"))
                });
                Some(format!("{{{}}}", members.collect::<Vec<_>>().join(",")))
            }
            Kind::Array => {
                let elements: Vec<_> =
                    part.elements().filter_map(|element| model(element, at, rules)).collect();
                Some(format!("[{}]", elements.join(",")))
            }
            Kind::Null => Some("null".to_owned()),
            _ => is_picked.then(|| String::from_utf8_lossy(part.bytes()).into_owned()),
        }
    }

    fn any_rules() -> impl Strategy<Value = ShapeRules> {
        let some = || {
            prop::collection::vec(
                prop::sample::select(vec!["a", "b", "c", "a.a", "a.b", "b.a", "b.c", "a.b.c"]),
                0..4,
            )
        };
        (some(), some(), some()).prop_map(|(pick, drop, rename)| ShapeRules {
            flatten: None,
            pick: paths(&pick),
            drop: paths(&drop),
            rename: rename.iter().enumerate().map(|(at, from)| (path(from), format!("new{at}"))).collect(),
        })
    }

    proptest! {
        #[test]
        fn what_stays_is_what_the_lists_say(json in document(), rules in any_rules()) {
            let Ok(shape) = Shape::new(&rules) else { return Ok(()) };
            let document = checked(&json);
            match shape.apply(&document) {
                Ok(shaped) => {
                    let text = std::str::from_utf8(shaped.bytes()).unwrap();
                    prop_assert_eq!(Some(without_blanks(text)), model(document.whole(), &[], &rules));
                    prop_assert_eq!(scan(text.as_bytes(), &LIMITS), Ok((shaped.kind(), 0..text.len())));
                }
                Err(error) => {
                    prop_assert!(matches!(error, ShapeError::NoMembers(_)), "{}", error);
                    prop_assert_eq!(model(document.whole(), &[], &rules), None);
                }
            }
        }

        #[test]
        fn what_is_picked_keeps_its_bytes(json in document(), name in "[abc]") {
            let document = checked(&json);
            if let Ok(shaped) = Shape::new(&pick(&[&name])).unwrap().apply(&document) {
                let all = |checked: &Checked| -> Vec<_> {
                    let members = checked.whole().members().filter(|member| member.key.is(&name));
                    members.map(|member| (member.key.written().to_vec(), member.value.to_checked())).collect()
                };
                prop_assert_eq!(all(&shaped), all(&document));
            }
        }
    }
}
