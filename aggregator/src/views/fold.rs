//! From a record and a row to the row after it. Pure: no store, no clock; the same record and row make the same bytes.

use std::borrow::Cow;
use std::cmp::Ordering;

use super::event::Event;
use super::expression::Expression;
use super::number::{add, compare, is_number};
use super::plan::ViewPlan;
use super::poison::{Poison, PoisonReason};
use super::row::{Edits, Row};
use super::rule::{Change, RulePlan};

/// Bytes of a row's key, and of what `unique` names.
const KEY_BYTES_MAX: usize = 1024;

/// What is to be done with an event: a rule for it was found.
pub(super) struct Due<'a> {
    pub(super) rule: &'a RulePlan,
    /// The row's key.
    pub(super) key: Cow<'a, str>,
    /// What tells the event apart.
    pub(super) unique: Option<Cow<'a, str>>,
    /// What orders it, as JSON: a number or a text.
    pub(super) mark: Option<Cow<'a, str>>,
}

/// What becomes of a row.
#[derive(Debug, PartialEq)]
pub(super) enum After {
    /// It is this one now.
    Row(Row),
    /// It goes.
    Gone,
    /// There is none, and none is made.
    Nothing,
}

/// Finds the rule for an event, and the row. `None`: no rule fits, and it is passed over.
pub(super) fn examine<'a>(plan: &'a ViewPlan, event: &'a Event<'_>) -> Result<Option<Due<'a>>, Poison> {
    for rule in &plan.rules {
        if event.fits(&rule.on)? {
            return due(plan, rule, event).map(Some);
        }
    }
    Ok(None)
}

fn due<'a>(plan: &'a ViewPlan, rule: &'a RulePlan, event: &'a Event<'_>) -> Result<Due<'a>, Poison> {
    event.check()?;
    let named = |expression: &'a Expression, what: &str| {
        let text = event.text(expression, what)?;
        let text =
            text.ok_or_else(|| Poison::new(PoisonReason::FieldMissing, format!("{what} is missing")))?;
        if text.is_empty() || text.len() > KEY_BYTES_MAX {
            let detail = format!("{what} has {} bytes; it has 1 to {KEY_BYTES_MAX}", text.len());
            return Err(Poison::new(PoisonReason::Length, detail));
        }
        Ok(text)
    };
    let key = named(&plan.key, "the row's key")?;
    let unique = plan.unique.as_ref().map(|(by, _)| named(by, "the value of `unique`")).transpose()?;
    let mark = plan.ordered_by.as_ref().map(|by| mark(event.json(by)?)).transpose()?;
    Ok(Due { rule, key, unique, mark })
}

fn mark(found: Option<Cow<'_, str>>) -> Result<Cow<'_, str>, Poison> {
    match found {
        None => Err(Poison::new(PoisonReason::FieldMissing, "the value of `ordered_by` is missing")),
        Some(mark) if mark == "null" => {
            Err(Poison::new(PoisonReason::FieldMissing, "the value of `ordered_by` is null"))
        }
        Some(mark) if is_number(&mark) || mark.starts_with('"') => Ok(mark),
        Some(_) => {
            Err(Poison::new(PoisonReason::FieldType, "the value of `ordered_by` is no number and no text"))
        }
    }
}

/// Whether an event is late: its mark is smaller than the largest that the row has seen.
pub(super) fn is_late(mark: &str, seen: &str) -> Result<bool, Poison> {
    let order = compare(mark, seen).ok_or_else(|| {
        Poison::new(PoisonReason::FieldType, "the values of `ordered_by` are numbers and texts by turns")
    })?;
    Ok(order == Ordering::Less)
}

/// Carries out a rule on a row.
pub(super) fn carry_out<'a>(
    plan: &ViewPlan,
    rule: &'a RulePlan,
    event: &'a Event<'_>,
    before: Option<&Row>,
) -> Result<After, Poison> {
    if before.is_none() && (rule.delete || !rule.create) {
        return Ok(After::Nothing);
    }
    if rule.delete {
        return Ok(After::Gone);
    }
    let mut edits = Edits::default();
    for effect in &rule.effects {
        let field = effect.field;
        let value = match &effect.change {
            Change::Unset => {
                edits.put(field, None);
                continue;
            }
            Change::Set(value) | Change::Increment(value) | Change::Max(value) | Change::Min(value) => {
                event.json(value)?
            }
        };
        let current = edits.find(field).unwrap_or_else(|| before.and_then(|row| row.find(field)));
        // A field that is null counts as one that is not there; only `set` knows null as a value.
        let current = current.filter(|current| *current != "null");
        let Some(value) = value else { continue };
        let name = || &*plan.fields.names()[field];
        let new = match &effect.change {
            Change::Set(_) => Some(value),
            _ if value == "null" => None,
            Change::Increment(_) => Some(Cow::Owned(sum(current, &value, name())?)),
            Change::Max(_) => extreme(current, value, Ordering::Greater, name())?,
            Change::Min(_) | Change::Unset => extreme(current, value, Ordering::Less, name())?,
        };
        if let Some(new) = new {
            edits.put(field, Some(new));
        }
    }
    let row = Row::edited(before, &edits, &plan.fields);
    if row.doc().len() > plan.row_bytes {
        let detail =
            format!("the row would have {} bytes; `row_bytes` is {}", row.doc().len(), plan.row_bytes);
        return Err(Poison::new(PoisonReason::RowBytes, detail));
    }
    Ok(After::Row(row))
}

fn sum(current: Option<&str>, value: &str, name: &str) -> Result<String, Poison> {
    let current = current.unwrap_or("0");
    if !is_number(current) || !is_number(value) {
        let detail = format!("what is to be added to `{name}`, or `{name}` itself, is no number");
        return Err(Poison::new(PoisonReason::FieldType, detail));
    }
    add(current, value)
}

/// The value, if it is beyond what is there.
fn extreme<'a>(
    current: Option<&str>,
    value: Cow<'a, str>,
    beyond: Ordering,
    name: &str,
) -> Result<Option<Cow<'a, str>>, Poison> {
    let order = match current {
        Some(current) => compare(&value, current),
        None => compare(&value, &value).map(|_| beyond),
    };
    let order = order.ok_or_else(|| {
        let detail = format!("`{name}` and its new value cannot be compared: two numbers or two texts can");
        Poison::new(PoisonReason::FieldType, detail)
    })?;
    Ok((order == beyond).then_some(value))
}
