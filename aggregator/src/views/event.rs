//! A record as rules and expressions see it: read as far as somebody asks, and at most once.

use std::borrow::Cow;
use std::cell::OnceCell;

use sallyport_condition::{Reads, Vars};
use sallyport_kafka::{CloudEvent, Record};
use serde_json::{Map, Value};

use super::expression::Expression;
use super::number::unquoted;
use super::plan::ViewPlan;
use super::poison::{Poison, PoisonReason};
use super::rule::OnPlan;
use super::slices::Sliced;

/// A record of a view.
pub(super) struct Event<'a> {
    plan: &'a ViewPlan,
    record: &'a Record,
    cloud: &'a CloudEvent<'a>,
    sliced: OnceCell<Sliced<'a>>,
    /// The fields that `when` of the rules reads.
    fields: OnceCell<Value>,
}

impl<'a> Event<'a> {
    /// Nothing of the data is read yet. `cloud` is of the record.
    pub(super) fn new(plan: &'a ViewPlan, record: &'a Record, cloud: &'a CloudEvent<'a>) -> Event<'a> {
        Event { plan, record, cloud, sliced: OnceCell::new(), fields: OnceCell::new() }
    }

    /// Whether a rule is for it.
    pub(super) fn fits(&self, on: &OnPlan) -> Result<bool, Poison> {
        if on.tombstone != self.record.value.is_none() {
            return Ok(false);
        }
        if let Some(wanted) = &on.event_type
            && self.event_type()?.as_deref() != Some(&**wanted)
        {
            return Ok(false);
        }
        for (name, wanted) in &on.headers {
            if self.record.header(name).is_none_or(|value| value.as_ref() != wanted.as_bytes()) {
                return Ok(false);
            }
        }
        for (path, wanted) in &on.fields {
            let found = self.sliced()?.find(*path).filter(|found| !found.starts_with(['{', '[', 'n']));
            if found.map(|found| unquoted(found).unwrap_or(Cow::Borrowed(found))).as_deref()
                != Some(&**wanted)
            {
                return Ok(false);
            }
        }
        match &on.when {
            // What cannot be decided does not hold.
            Some(when) => {
                let facts = self.facts(when)?;
                Ok(when.holds(&Vars::new().bind_members(&facts)) == Ok(true))
            }
            None => Ok(true),
        }
    }

    /// Of a CloudEvent its `type`, else the header `type`, else the data's `$.type`.
    fn event_type(&self) -> Result<Option<Cow<'_, str>>, Poison> {
        if let Some(found) = self.cloud.attribute("type", "ce_type")? {
            return Ok(Some(found));
        }
        if let Some(found) = self.header("type")? {
            return Ok(Some(Cow::Borrowed(found)));
        }
        if self.record.value.is_none() {
            return Ok(None);
        }
        Ok(self.sliced()?.find(self.plan.slices.event_type()).and_then(unquoted))
    }

    fn header(&self, name: &str) -> Result<Option<&'a str>, Poison> {
        self.record.header(name).map(|value| utf8(value, name)).transpose()
    }

    fn key(&self) -> Result<Option<&'a str>, Poison> {
        self.record.key.as_ref().map(|key| utf8(key, "key")).transpose()
    }

    fn sliced(&self) -> Result<&Sliced<'a>, Poison> {
        if let Some(sliced) = self.sliced.get() {
            return Ok(sliced);
        }
        let sliced = match self.record.value {
            Some(_) => self.plan.slices.read(&self.cloud.data)?,
            None => self.plan.slices.nothing(),
        };
        Ok(self.sliced.get_or_init(|| sliced))
    }

    /// Reads what has to be JSON, whether or not anything of it is wanted.
    pub(super) fn check(&self) -> Result<(), Poison> {
        self.sliced().map(|_| ())
    }

    /// The variables that a condition reads.
    fn facts(&self, when: &sallyport_condition::Condition) -> Result<Value, Poison> {
        let mut facts = Map::new();
        let reads = |variable: &str| when.reads(variable) != Reads::Nothing;
        if reads("event") {
            if self.fields.get().is_none() {
                let fields = self.plan.projection.read(&self.cloud.data);
                let not_json = |error| Poison::new(PoisonReason::NotJson, format!("the data is {error}"));
                let _ = self.fields.set(fields.map_err(not_json)?);
            }
            facts.insert("event".to_owned(), self.fields.get().cloned().unwrap_or_default());
        }
        if reads("ce") {
            facts.insert("ce".to_owned(), self.cloud.facts(None)?);
        }
        // A key that is no text is missing for conditions.
        if let Some(key) = self.key().ok().flatten().filter(|_| reads("key")) {
            facts.insert("key".to_owned(), Value::from(key));
        }
        if reads("topic") {
            facts.insert("topic".to_owned(), Value::from(&*self.record.topic));
        }
        Ok(Value::Object(facts))
    }

    /// The value of an expression, as JSON. `None` where it is missing.
    pub(super) fn json<'e>(&'e self, expression: &'e Expression) -> Result<Option<Cow<'e, str>>, Poison> {
        let quoted = |text: &str| Cow::Owned(Value::from(text).to_string());
        Ok(match expression {
            Expression::Literal(json) => Some(Cow::Borrowed(&**json)),
            Expression::Data(path) => self.sliced()?.find(*path).map(Cow::Borrowed),
            Expression::Timestamp => Some(Cow::Owned(self.record.timestamp.to_string())),
            Expression::Key => self.key()?.map(quoted),
            Expression::Header(name) => self.header(name)?.map(quoted),
            Expression::Attribute(name, header) => self.cloud.attribute(name, header)?.as_deref().map(quoted),
        })
    }

    /// The value of an expression as a text that names something. Numbers and booleans are as they are written.
    pub(super) fn text<'e>(
        &'e self,
        expression: &'e Expression,
        what: &str,
    ) -> Result<Option<Cow<'e, str>>, Poison> {
        let json = match expression {
            Expression::Key => return Ok(self.key()?.map(Cow::Borrowed)),
            Expression::Header(name) => return Ok(self.header(name)?.map(Cow::Borrowed)),
            Expression::Attribute(name, header) => return Ok(self.cloud.attribute(name, header)?),
            Expression::Data(path) => self.sliced()?.find(*path),
            Expression::Literal(json) => Some(&**json),
            Expression::Timestamp => return Ok(Some(Cow::Owned(self.record.timestamp.to_string()))),
        };
        match json {
            None | Some("null") => Ok(None),
            Some(json) if json.starts_with(['{', '[']) => {
                let detail = format!("{what} is not a text, a number or a boolean");
                Err(Poison::new(PoisonReason::FieldType, detail))
            }
            Some(json) => Ok(Some(unquoted(json).unwrap_or(Cow::Borrowed(json)))),
        }
    }
}

fn utf8<'a>(bytes: &'a [u8], name: &str) -> Result<&'a str, Poison> {
    std::str::from_utf8(bytes)
        .map_err(|_| Poison::new(PoisonReason::NotText, format!("`{name}` is not UTF-8")))
}
