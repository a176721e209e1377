//! From records to events: a source's mapping, compiled once and applied to each record.
//!
//! A mapping decides nothing about who sees an event; it reads what conditions will ask, in the same single pass in which
//! it reads its own fields. Sending poison records anywhere is not its business either.

mod poison;
mod template;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use sallyport_condition::{
    Condition, FieldPath, Projection, ProjectionError, Reads, Step, Vars, singular, slice,
};
use sallyport_config::ws_bridge::Source;
use sallyport_config::{Located, Report};
use sallyport_kafka::{CloudEvent, Record};
use serde_json::{Map, Value};

pub use self::poison::{Poison, PoisonReason};
use self::template::{Filling, Template};
use crate::event::{Event, Place};

/// The variables of an event: what `when` may use, and what [`Event::facts`] may have.
pub const FACTS: [&str; 5] = ["event", "ce", "key", "tags", "topic"];

/// Bytes of a channel's name.
pub const CHANNEL_BYTES_MAX: usize = 255;

/// Bytes of a tag's value.
pub const TAG_BYTES_MAX: usize = 1024;

/// Bytes of an event's key; an event with a longer one has none.
pub const KEY_BYTES_MAX: usize = 1024;

/// The family that a channel, or the text that makes one, belongs to: what stands before the first colon.
pub fn family(channel: &str) -> &str {
    channel.split_once(':').map_or(channel, |(family, _)| family)
}

/// A source's mapping.
#[derive(Debug)]
pub struct Mapping {
    channel: Template,
    tags: Vec<(Arc<str>, Template)>,
    /// Where in the data that stands which clients get; the whole data if empty.
    data: FieldPath,
    key: Template,
    when: Option<Condition>,
    /// The fields of the data that templates and conditions read.
    projection: Projection,
    facts: Facts,
}

/// What becomes of a record that is no poison.
#[derive(Debug)]
pub enum Outcome {
    /// Nothing: it has no value.
    Tombstone,
    /// Nothing: `when` does not hold for these facts, or cannot be decided.
    Unwanted(Value),
    /// This event.
    Event(Event),
}

/// What conditions read besides the data.
#[derive(Debug, Default)]
struct Facts {
    event: bool,
    attributes: Option<Wanted>,
    key: bool,
    tags: bool,
    topic: bool,
}

#[derive(Debug)]
enum Wanted {
    Names(Vec<Box<str>>),
    All,
}

impl Mapping {
    /// Compiles the mapping of a source. `reads` are the conditions of the families that it may feed: what they read of
    /// [`FACTS`] is read of each record. Faults are told at their place; `None` after one.
    pub fn compile(source: &Located<Source>, reads: &[&Condition], report: &mut Report) -> Option<Mapping> {
        let channel = Template::compile(&source.channel, report)
            .filter(|channel| names_family(channel, source, report));
        let mut tags = Some(Vec::new());
        for (name, text) in source.tags.iter() {
            match (Template::compile(text, report), &mut tags) {
                (Some(template), Some(tags)) => tags.push((Arc::from(name.as_str()), template)),
                _ => tags = None,
            }
        }
        let data =
            source.data.as_ref().map_or_else(|| Some(FieldPath::default()), |query| singular(query, report));
        let key = match &source.key {
            Some(text) => Template::compile(text, report),
            None => Some(Template::record_key()),
        };
        let when = match &source.when {
            Some(text) => Condition::compile(text, &FACTS, report).map(Some),
            None => Some(None),
        };
        let (channel, tags, data, key, when) = (channel?, tags?, data?, key?, when?);
        let conditions: Vec<&Condition> = reads.iter().copied().chain(&when).collect();
        let templates = [&channel, &key].into_iter().chain(tags.iter().map(|(_, template)| template));
        let mut paths: Vec<FieldPath> = templates.flat_map(Template::paths).cloned().collect();
        for condition in &conditions {
            match condition.reads("event") {
                Reads::Nothing => {}
                Reads::Paths(read) => paths.extend(read),
                Reads::Whole => paths.push(FieldPath::default()),
            }
        }
        let facts = Facts::of(&conditions);
        Some(Mapping { channel, tags, data, key, when, projection: Projection::new(paths), facts })
    }

    /// The condition that a record's facts have to fulfil, if there is one.
    pub fn when(&self) -> Option<&Condition> {
        self.when.as_ref()
    }

    /// The family that its channels belong to.
    pub fn family(&self) -> &str {
        family(self.channel.beginning())
    }

    /// Makes an event of a record. `None` for a tombstone, and where `when` does not hold or cannot be decided.
    ///
    /// # Errors
    ///
    /// If the record is a poison record.
    pub fn apply(&self, record: &Record) -> Result<Option<Event>, Poison> {
        Ok(match self.outcome(record)? {
            Outcome::Event(event) => Some(event),
            Outcome::Tombstone | Outcome::Unwanted(_) => None,
        })
    }

    /// What becomes of a record, and if it is no event, why.
    ///
    /// The data passes byte for byte, shared with the record, but for white space: around the value it is cut off, and
    /// line breaks inside, which JSON only has between its tokens, become spaces, since clients' messages are lines.
    ///
    /// # Errors
    ///
    /// If the record is a poison record.
    pub fn outcome(&self, record: &Record) -> Result<Outcome, Poison> {
        let Some(value) = &record.value else { return Ok(Outcome::Tombstone) };
        let event = CloudEvent::of(record, value)?;
        let fields = self.projection.read(&event.data).map_err(not_json)?;
        let from = Filling { record, event: &event, fields: &fields };
        let mut tags: Vec<(Arc<str>, Box<str>)> = Vec::with_capacity(self.tags.len());
        for (name, template) in &self.tags {
            let Some(value) = template.fill(&from)? else { continue };
            if value.len() > TAG_BYTES_MAX {
                let detail = format!("the tag `{name}` has more than {TAG_BYTES_MAX} bytes");
                return Err(Poison::new(PoisonReason::Name, detail));
            }
            tags.push((name.clone(), value.into()));
        }
        let mut facts = self.facts.gather(record, &event, &tags)?;
        // Before all else that may be missing: what is kept out need not have it.
        if let Some(when) = &self.when
            && !self.facts.hold(when, &facts, &fields)
        {
            self.facts.add_event(&mut facts, fields);
            return Ok(Outcome::Unwanted(facts));
        }
        let channel = match self.channel.fill(&from)? {
            Some(channel) => checked(channel)?,
            None => return Err(self.channel.lacking(&from)),
        };
        // A key only serves conflation: without one, nothing is replaced, and nothing is lost.
        let key =
            self.key.fill(&from).ok().flatten().filter(|key| key.len() <= KEY_BYTES_MAX).map(Into::into);
        let data = self.data_of(&event.data)?;
        self.facts.add_event(&mut facts, fields);
        let place = Place { topic: record.topic.clone(), partition: record.partition, offset: record.offset };
        Ok(Outcome::Event(Event { channel, data, tags, key, time: record.timestamp, facts, place }))
    }

    fn data_of(&self, data: &Bytes) -> Result<Bytes, Poison> {
        if self.data.is_whole() {
            return Ok(one_line(data.slice_ref(data.trim_ascii())));
        }
        match slice(data, &self.data).map_err(not_json)? {
            Some(part) => Ok(one_line(data.slice_ref(part.as_bytes()))),
            None => Err(Poison::new(PoisonReason::NoData, format!("the data has no `{}`", self.data))),
        }
    }
}

impl Facts {
    fn of(conditions: &[&Condition]) -> Self {
        let reads =
            |variable: &str| conditions.iter().any(|condition| condition.reads(variable) != Reads::Nothing);
        let mut names = BTreeSet::new();
        let mut all = false;
        for condition in conditions {
            match condition.reads("ce") {
                Reads::Nothing => {}
                Reads::Whole => all = true,
                Reads::Paths(paths) => {
                    for path in paths {
                        // Attributes are read as a whole: they are short.
                        if let Some(Step::Name(name)) = path.steps().first() {
                            names.insert(name.clone());
                        }
                    }
                }
            }
        }
        let attributes = match reads("ce") {
            false => None,
            true if all => Some(Wanted::All),
            true => Some(Wanted::Names(names.into_iter().collect())),
        };
        Facts {
            event: reads("event"),
            attributes,
            key: reads("key"),
            tags: reads("tags"),
            topic: reads("topic"),
        }
    }

    fn gather(
        &self,
        record: &Record,
        event: &CloudEvent<'_>,
        tags: &[(Arc<str>, Box<str>)],
    ) -> Result<Value, Poison> {
        let mut facts = Map::new();
        match &self.attributes {
            None => {}
            Some(Wanted::All) => drop(facts.insert("ce".to_owned(), event.facts(None)?)),
            Some(Wanted::Names(names)) => drop(facts.insert("ce".to_owned(), event.facts(Some(names))?)),
        }
        // A key that is no text, or none at all, is missing for conditions.
        let key = record.key.as_ref().filter(|_| self.key).and_then(|key| std::str::from_utf8(key).ok());
        facts.extend(key.map(|key| ("key".to_owned(), Value::from(key))));
        if self.tags {
            let tags: Map<String, Value> =
                tags.iter().map(|(name, value)| (name.to_string(), Value::from(&**value))).collect();
            facts.insert("tags".to_owned(), Value::Object(tags));
        }
        if self.topic {
            facts.insert("topic".to_owned(), Value::from(&*record.topic));
        }
        Ok(Value::Object(facts))
    }

    /// Whether a condition holds for these facts and fields of the data; an error means no.
    fn hold(&self, condition: &Condition, facts: &Value, fields: &Value) -> bool {
        let vars = Vars::new().bind_members(facts);
        let vars = if self.event { vars.bind("event", fields) } else { vars };
        matches!(condition.holds(&vars), Ok(true))
    }

    fn add_event(&self, facts: &mut Value, fields: Value) {
        if self.event
            && let Value::Object(facts) = facts
        {
            facts.insert("event".to_owned(), fields);
        }
    }
}

/// Whether a channel's text names its family itself: a record must never choose the rules that apply to it.
fn names_family(channel: &Template, source: &Source, report: &mut Report) -> bool {
    let beginning = channel.beginning();
    let named = beginning.contains(':') || channel.is_constant();
    if !named || family(beginning).is_empty() {
        report
            .error(source.channel.at, "a channel begins with its family's name and a colon, before any field")
            .hint("write `batch:{$.batch_id}`, where `batch` is one of `channels`");
        return false;
    }
    true
}

/// A channel's name, if it can be one.
fn checked(channel: String) -> Result<Arc<str>, Poison> {
    let refused = |detail: String| Err(Poison::new(PoisonReason::Name, detail));
    if channel.len() > CHANNEL_BYTES_MAX {
        return refused(format!("the channel's name has more than {CHANNEL_BYTES_MAX} bytes"));
    }
    if channel.split_once(':').is_some_and(|(_, id)| id.is_empty()) {
        return refused("nothing stands behind the colon of the channel's name".to_owned());
    }
    if channel.chars().any(char::is_control) {
        return refused("the channel's name has control characters".to_owned());
    }
    if channel.contains('*') {
        return refused("the channel's name has a `*`, which stands for any channels".to_owned());
    }
    Ok(channel.into())
}

fn not_json(error: ProjectionError) -> Poison {
    Poison::new(PoisonReason::NotJson, format!("the data is {error}"))
}

/// JSON on one line. In a text that is JSON, line breaks are white space between tokens: inside strings they are escaped.
fn one_line(json: Bytes) -> Bytes {
    let is_break = |byte: &u8| matches!(byte, b'\n' | b'\r');
    if !json.iter().any(is_break) {
        return json;
    }
    json.iter().map(|byte| if is_break(byte) { b' ' } else { *byte }).collect()
}
