//! A rule of `fold`, compiled: which events it is for, and what it does to a row. Carrying it out is in `fold`.

use std::collections::HashMap;
use std::sync::Arc;

use sallyport_condition::{Condition, FieldPath, Reads, singular};
use sallyport_config::view::{On, Rule};
use sallyport_config::{Located, Named, Report, nearest};

use super::expression::{Expression, Paths};

/// Fields that the rules of a view may give its rows.
pub const FIELDS_MAX: usize = 64;

/// Bytes of a field's name.
const FIELD_BYTES_MAX: usize = 64;

/// What `when` of a rule may use.
const OF_EVENTS: [&str; 4] = ["event", "ce", "key", "topic"];

/// A rule.
#[derive(Debug)]
pub struct RulePlan {
    /// Which events it is for.
    pub on: OnPlan,
    /// What it does, in order.
    pub effects: Vec<Effect>,
    /// Whether the row goes; there are no effects then.
    pub delete: bool,
    /// Whether a row that is not there is made.
    pub create: bool,
}

/// Which events a rule is for: all of it has to fit.
#[derive(Debug, Default)]
pub struct OnPlan {
    /// The event's type.
    pub event_type: Option<Box<str>>,
    /// Headers and their values.
    pub headers: Vec<(Box<str>, Box<str>)>,
    /// Numbers of paths, and the values there as text.
    pub fields: Vec<(usize, Box<str>)>,
    /// A condition over the event.
    pub when: Option<Condition>,
    /// Whether it is for records without a value, or for those with one.
    pub tombstone: bool,
}

/// What a rule does to a field: its number among the view's fields.
#[derive(Debug, PartialEq)]
pub struct Effect {
    /// The field.
    pub field: usize,
    /// What happens to it.
    pub change: Change,
}

/// What happens to a field.
#[derive(Debug, PartialEq)]
pub enum Change {
    /// It gets the value.
    Set(Expression),
    /// The number is added.
    Increment(Expression),
    /// It gets the value if that is larger.
    Max(Expression),
    /// It gets the value if that is smaller.
    Min(Expression),
    /// It goes.
    Unset,
}

/// The fields that rules give rows, in the order in which the file names them first.
#[derive(Debug, Clone, Default)]
pub struct Fields {
    names: Vec<Arc<str>>,
    numbers: HashMap<Arc<str>, usize>,
}

impl Fields {
    /// The number of a field.
    pub fn number(&self, name: &str) -> Option<usize> {
        self.numbers.get(name).copied()
    }

    /// The names, by number.
    pub fn names(&self) -> &[Arc<str>] {
        &self.names
    }

    /// The field that somebody who wrote this may have meant.
    pub(super) fn nearest(&self, name: &str) -> Option<&str> {
        nearest(name, self.names.iter().map(|name| &**name))
    }

    fn add(&mut self, name: &Located<String>, report: &mut Report) -> Option<usize> {
        if let Some(number) = self.number(name) {
            return Some(number);
        }
        let letter = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        if name.is_empty() || name.len() > FIELD_BYTES_MAX || !name.bytes().all(letter) {
            report
                .error(name.at, format!("`{}` cannot be a field of a row", name.value))
                .hint(format!("a field has 1 to {FIELD_BYTES_MAX} letters, digits and `_`"));
            return None;
        }
        if self.names.len() >= FIELDS_MAX {
            report.error(name.at, format!("a row has at most {FIELDS_MAX} fields"));
            return None;
        }
        let shared: Arc<str> = name.as_str().into();
        self.names.push(shared.clone());
        self.numbers.insert(shared, self.names.len() - 1);
        Some(self.names.len() - 1)
    }
}

impl RulePlan {
    /// Compiles a rule. Faults are told at their place.
    pub(super) fn compile(
        rule: &Located<Rule>,
        fields: &mut Fields,
        paths: &mut Paths,
        report: &mut Report,
    ) -> Option<RulePlan> {
        let before = report.errors().count();
        let on = OnPlan::compile(&rule.on, paths, report);
        let mut effects = Vec::new();
        type Make = fn(Expression) -> Change;
        let groups: [(&Named<Located<String>>, Make); 4] = [
            (&rule.set, Change::Set),
            (&rule.increment, Change::Increment),
            (&rule.max, Change::Max),
            (&rule.min, Change::Min),
        ];
        for (group, make) in groups {
            for (name, source) in group.iter() {
                let field = fields.add(name, report);
                let Some(expression) = Expression::compile(source, paths, report) else { continue };
                if rule.on.tombstone && expression.reads_data() {
                    report.error(source.at, "a record without a value has no data to read");
                }
                let change = make(expression);
                check_literal(&change, source, report);
                effects.extend(field.map(|field| Effect { field, change }));
            }
        }
        for name in &rule.unset {
            let Some(field) = fields.add(name, report) else { continue };
            if effects.iter().any(|effect| effect.field == field) {
                report
                    .error(
                        name.at,
                        format!("this rule gives `{}` a value and takes it away again", name.value),
                    )
                    .hint("fields in `unset` go last; leave one of the two out");
            }
            effects.push(Effect { field, change: Change::Unset });
        }
        if rule.delete && !effects.is_empty() {
            report
                .error(rule.at, "a rule that deletes the row changes nothing else of it")
                .hint("leave out `set`, `increment`, `max`, `min` and `unset`, or leave out `delete`");
        } else if !rule.delete && effects.is_empty() && report.errors().count() == before {
            report
                .error(rule.at, "this rule does nothing")
                .hint("give it `set`, `increment`, `max`, `min`, `unset` or `delete: true`; events that no rule fits are passed over anyway");
        }
        let on = on.filter(|_| report.errors().count() == before)?;
        let only_unset = effects.iter().all(|effect| effect.change == Change::Unset);
        // Taking fields away is no reason to make a row.
        Some(RulePlan { on, create: rule.create && !only_unset, effects, delete: rule.delete })
    }
}

/// A literal that could never be folded.
fn check_literal(change: &Change, source: &Located<String>, report: &mut Report) {
    let first = |literal: &str| literal.bytes().next().unwrap_or_default();
    let number = |literal: &str| matches!(first(literal), b'-' | b'0'..=b'9');
    match change {
        Change::Increment(Expression::Literal(literal)) if !number(literal) => {
            report
                .error(source.at, format!("`{literal}` cannot be added: it is no number"))
                .hint("write a number: `1`; or a field that holds one: `$.count`");
        }
        Change::Max(Expression::Literal(literal)) | Change::Min(Expression::Literal(literal))
            if !number(literal) && first(literal) != b'"' =>
        {
            report.error(source.at, format!("`{literal}` cannot be compared")).hint("numbers and texts can");
        }
        _ => {}
    }
}

impl OnPlan {
    fn compile(on: &Located<On>, paths: &mut Paths, report: &mut Report) -> Option<OnPlan> {
        let before = report.errors().count();
        let text = |value: &Located<String>| Box::from(value.as_str());
        let when = on.when.as_ref().and_then(|when| Condition::compile(when, &OF_EVENTS, report));
        let mut fields = Vec::new();
        for (path, value) in on.field.iter() {
            if !path.starts_with('$') {
                report
                    .error(path.at, format!("`{}` is no path into the data", path.value))
                    .hint(format!("write `$.{}`", path.value));
            } else if let Some(path) = singular(path, report) {
                fields.push((paths.number(path), text(value)));
            }
        }
        if on.tombstone {
            let data = on
                .when
                .as_ref()
                .filter(|_| when.as_ref().is_some_and(|when| when.reads("event") != Reads::Nothing));
            let at = on.field.iter().next().map(|(path, _)| path.at).or(data.map(|when| when.at));
            if let Some(at) = at {
                report
                    .error(at, "a record without a value has no data to ask about")
                    .hint("its headers, its key and its topic can be asked: `header:`, or `when` over `key` and `topic`");
            }
        }
        (report.errors().count() == before).then(|| OnPlan {
            event_type: on.event_type.as_ref().map(text),
            headers: on.header.iter().map(|(name, value)| (Box::from(name.as_str()), text(value))).collect(),
            fields,
            when,
            tombstone: on.tombstone,
        })
    }

    /// Whether every event fits that has a value, or that has none, as `tombstone` says.
    pub(super) fn is_any(&self) -> bool {
        self.event_type.is_none()
            && self.headers.is_empty()
            && self.fields.is_empty()
            && self.when.as_ref().is_none_or(Condition::is_always)
    }

    /// What its condition reads of the data.
    pub(super) fn when_reads(&self) -> Vec<FieldPath> {
        match self.when.as_ref().map(|when| when.reads("event")) {
            Some(Reads::Paths(paths)) => paths,
            Some(Reads::Whole) => vec![FieldPath::default()],
            Some(Reads::Nothing) | None => Vec::new(),
        }
    }
}
