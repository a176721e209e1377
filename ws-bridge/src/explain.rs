//! Why an event does or does not reach a subject: the very code that decides it for clients, asked once, with what each
//! condition read on the way.
//!
//! Nothing is decided here. What a record becomes says [`Mapping::outcome`](crate::mapping::Mapping::outcome), who may
//! subscribe says the family, and who sees an event says `sees`.

use std::sync::Arc;

use serde::Serialize;
use serde_json::Value;
use serde_json::value::RawValue;

use sallyport_condition::path::Place;
use sallyport_condition::{Condition, EvaluationError, FieldPath, Found, Reads, Vars};
use sallyport_kafka::Record;

use crate::changes::Change;
use crate::event::Event;
use crate::hub::family::{OF_EVENT, OF_SUBSCRIPTION};
use crate::hub::{ClassKey, Family, Stored, family_of, sees};
use crate::mapping::{FACTS, Outcome};
use crate::plan::{Plan, SourcePlan};
use crate::protocol::TagFilter;
use crate::protocol::filter::FilterNode;
use crate::session::check_name;
use crate::who::Who;

#[cfg(test)]
mod tests;

/// What somebody wonders about.
pub struct EventQuery<'a> {
    /// The record.
    pub record: &'a Record,
    /// The cluster it is from; none: any that has such a topic.
    pub cluster: Option<&'a str>,
    /// The view that it is a change of, made by [`change`]; none: it is a record of a topic.
    pub view: Option<&'a str>,
    /// The claims of who subscribes; none: nobody in particular.
    pub claims: Option<&'a Value>,
    /// Why who subscribes does not even get a connection, if that is known.
    pub refused: Option<String>,
    /// The channel or pattern that is subscribed to; none: the very channel that the event is sent in.
    pub subscription: Option<&'a str>,
    /// The client's filter over tags, as the protocol writes it (`tf`).
    pub filter: Option<&'a Value>,
}

/// What becomes of a record for one subject.
#[derive(Debug, Serialize)]
pub struct EventExplanation {
    /// Whether the subject sees an event of it.
    pub sees: bool,
    /// Why, in a sentence without its end.
    pub because: String,
    /// Who that is, by the claim that names users; empty for nobody.
    pub user: String,
    /// What each source makes of the record, in the order of the file.
    pub sources: Vec<SourceExplanation>,
}

/// What a source makes of the record.
#[derive(Debug, Serialize)]
pub struct SourceExplanation {
    /// Counted from 1.
    pub source: usize,
    /// The cluster that it reads; none where it takes the changes of a view.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cluster: Option<String>,
    /// The topics that it reads.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub topics: Vec<String>,
    /// The view whose changes it takes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub view: Option<String>,
    /// Whether the record is one of those.
    pub takes: bool,
    /// Whether the subject sees what comes of it.
    pub sees: bool,
    /// Why, in a sentence without its end.
    pub because: String,
    /// The condition that a record has to fulfil, where it was asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub when: Option<Decision>,
    /// The event, if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub event: Option<EventShown>,
    /// Its way to the subject.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delivery: Option<Delivery>,
}

/// An event, as clients get it.
#[derive(Debug, Serialize)]
pub struct EventShown {
    /// The channel.
    pub channel: String,
    /// What conflation compares.
    pub key: Option<String>,
    /// The tags, in the order of the file.
    pub tags: Vec<(String, String)>,
    /// The data.
    pub data: Box<RawValue>,
}

/// The way of an event to a subject.
#[derive(Debug, Serialize)]
pub struct Delivery {
    /// The family of the event's channel.
    pub family: String,
    /// What is subscribed to.
    pub subscription: String,
    /// Whether the server subscribes this client without being asked.
    pub joined: bool,
    /// Whether subscribing needs a token for the channel, which is taken for given here.
    pub needs_token: bool,
    /// Why the subscription cannot be, whoever asks for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub impossible: Option<String>,
    /// Who may subscribe; none: everybody.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subscribe_if: Option<Decision>,
    /// Who may see the event.
    pub visible_to: Decision,
    /// Whether the client's filter over tags lets the event pass, if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub filter_passes: Option<bool>,
    /// What is kept for clients that come back.
    pub replay: ReplayShown,
}

/// What is kept for clients that come back.
#[derive(Debug, Serialize)]
pub struct ReplayShown {
    /// Events of one channel.
    pub events: usize,
    /// Bytes of one channel.
    pub bytes: String,
    /// For how long.
    pub window: String,
}

/// What a condition said.
#[derive(Debug, Serialize)]
pub struct Decision {
    /// The condition as it is written.
    pub condition: String,
    /// Whether it holds. An error means no.
    pub holds: bool,
    /// Why it could not be decided.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// The fields that it may read, with what stands there.
    pub reads: Vec<FieldRead>,
}

/// A field that a condition may read.
#[derive(Debug, Serialize)]
pub struct FieldRead {
    /// `claims.sub`, for instance.
    pub field: String,
    /// What stands there; absent where nothing does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<Value>,
}

/// A change of a view, by its document: `{"key": "b1", "row": {...}}`, with `was` where the row has gone.
///
/// # Errors
/// The document is no such object.
pub fn change(view: &str, topic: &str, document: &[u8]) -> Result<Record, String> {
    let change = Change::read(document)?;
    change.record(view, topic.into(), 0, 0, 0).map_err(|malformed| format!("the change has {malformed}"))
}

impl Plan {
    /// Explains what becomes of a record for a subject.
    ///
    /// # Errors
    /// The filter over tags is none.
    pub fn explain_event(&self, query: &EventQuery<'_>) -> Result<EventExplanation, String> {
        let filter = query.filter.map(tag_filter).transpose()?;
        let who = query.claims.map_or(Who::Nobody, |claims| Who::Edge(claims.clone().into()));
        let anonymous = || {
            let nobody = query.claims.is_none() && !self.settings.anonymous;
            nobody.then(|| "nobody gets a connection without an identity (`anonymous` is not set)".to_owned())
        };
        let refused = query.refused.clone().or_else(anonymous);
        let subject = Subject { plan: self, query, who, filter, refused };
        let sources = self.sources.iter().zip(1..);
        let sources: Vec<_> = sources.map(|(source, number)| subject.source(source, number)).collect();
        Ok(EventExplanation {
            sees: sources.iter().any(|source| source.sees),
            because: because(&sources, query),
            user: subject.who.user(&self.settings.user_claim).to_string(),
            sources,
        })
    }
}

/// Who subscribes, and to what.
struct Subject<'a> {
    plan: &'a Plan,
    query: &'a EventQuery<'a>,
    who: Who,
    filter: Option<Arc<TagFilter>>,
    refused: Option<String>,
}

impl Subject<'_> {
    fn source(&self, source: &SourcePlan, number: usize) -> SourceExplanation {
        let record = self.query.record;
        let mut told = SourceExplanation {
            source: number,
            cluster: source.view.is_none().then(|| source.cluster.to_string()),
            topics: match source.view {
                None => source.topics.iter().map(ToString::to_string).collect(),
                Some(_) => Vec::new(),
            },
            view: source.view.as_deref().map(str::to_owned),
            takes: false,
            sees: false,
            because: String::new(),
            when: None,
            event: None,
            delivery: None,
        };
        match (self.query.view, source.view.as_deref()) {
            (asked, Some(view)) if asked != Some(view) => {
                told.because = format!("it takes the changes of the view `{view}`");
                return told;
            }
            (Some(_), None) => {
                told.because = "it reads topics".to_owned();
                return told;
            }
            _ => {}
        }
        if self.query.cluster.is_some_and(|cluster| *cluster != *source.cluster) {
            told.because = format!("it reads the cluster `{}`", source.cluster);
            return told;
        }
        if !source.takes(&record.topic) {
            told.because = format!("it does not read the topic `{}`", record.topic);
            return told;
        }
        told.takes = true;
        let when = |facts: &Value| {
            let vars = Vars::new().bind_members(facts);
            source.mapping.when().map(|when| decision(when, when.holds(&vars), &FACTS, &vars))
        };
        match source.mapping.outcome(record) {
            Err(poison) => told.because = format!("the record becomes no event: {poison}"),
            Ok(Outcome::Tombstone) => {
                told.because = "the record has no value: it deletes, and tells nobody".to_owned();
            }
            Ok(Outcome::Unwanted(facts)) => {
                told.when = when(&facts);
                told.because =
                    format!("`when` {}", told.when.as_ref().map_or_else(String::new, Decision::verdict));
            }
            Ok(Outcome::Event(event)) => {
                told.when = when(&event.facts);
                told.event = Some(shown(&event));
                self.delivery(event, &mut told);
            }
        }
        told
    }

    fn delivery(&self, event: Event, told: &mut SourceExplanation) {
        let event = Stored::new(event, 1, 1);
        // A source's channels belong to a family: a configuration in which they do not is refused.
        let Some(family) = self.plan.families.get(event.family()) else {
            told.because = format!("there is no family `{}`", event.family());
            return;
        };
        let claims = self.who.claims();
        let channel = &*event.event.channel;
        let subscription = self.query.subscription.unwrap_or(channel);
        let (text, read) = family.subject(claims);
        let key = ClassKey { claims: text, filter: self.filter.clone() };
        let visible = family.visible(claims, &event);
        let vars = family.event_vars(&event).bind("claims", claims);
        let subscribe_if = family.subscribe_if.as_ref().map(|condition| {
            let vars = Family::subscription_vars(claims, subscription);
            decision(condition, condition.holds(&vars), &OF_SUBSCRIPTION, &vars)
        });
        let delivery = Delivery {
            family: family.name.to_string(),
            subscription: subscription.to_owned(),
            joined: self.plan.joined(claims).iter().any(|joined| **joined == *subscription),
            needs_token: family.token,
            impossible: self.impossible(family, channel, subscription),
            subscribe_if,
            visible_to: decision(&family.visible_to, visible, &OF_EVENT, &vars),
            filter_passes: self.filter.as_ref().map(|filter| filter.passes(&event.event.tags)),
            replay: ReplayShown {
                events: family.replay.events,
                bytes: family.replay.bytes.to_string(),
                window: family.replay.window.to_string(),
            },
        };
        let obstacle = self.refused.clone().or_else(|| delivery.impossible.clone()).or_else(|| {
            (!family.may_subscribe(claims, subscription)).then(|| {
                let verdict = delivery.subscribe_if.as_ref().map_or_else(String::new, Decision::verdict);
                format!("`subscribe_if` of `{}` {verdict}", family.name)
            })
        });
        told.sees = obstacle.is_none() && sees(family, &key, &read, &event);
        told.because = obstacle.unwrap_or_else(|| match (told.sees, delivery.visible_to.holds) {
            (true, _) => format!("it comes on `{channel}`"),
            (false, false) => format!("`visible_to` of `{}` {}", family.name, delivery.visible_to.verdict()),
            (false, true) => "the client's own filter over tags leaves it out".to_owned(),
        });
        told.delivery = Some(delivery);
    }

    /// Why a subscription cannot have this name, or would not cover the channel.
    fn impossible(&self, family: &Family, channel: &str, subscription: &str) -> Option<String> {
        let covers = match subscription.strip_suffix('*') {
            Some(prefix) => channel.starts_with(prefix),
            None => channel == subscription,
        };
        if !covers || family_of(subscription) != &*family.name {
            return Some(format!(
                "it comes on `{channel}`, which a subscription to `{subscription}` does not cover"
            ));
        }
        let bytes_max = self.plan.settings.limits.channel_bytes;
        let error = check_name(subscription, family, bytes_max).err()?;
        let why = if subscription.ends_with('*') && !family.wildcard {
            format!(" (the family `{}` has no `wildcard`)", family.name)
        } else {
            String::new()
        };
        Some(format!("a subscription to `{subscription}` is refused: {}{why}", error.message))
    }
}

impl Decision {
    /// What it says, as the end of a sentence.
    fn verdict(&self) -> String {
        match (&self.error, self.holds) {
            (Some(error), _) => format!("cannot be decided, which means no: {error}"),
            (None, true) => "holds".to_owned(),
            (None, false) => "does not hold".to_owned(),
        }
    }
}

fn decision(
    condition: &Condition,
    holds: Result<bool, EvaluationError>,
    variables: &[&str],
    vars: &Vars<'_>,
) -> Decision {
    let reads = variables.iter().flat_map(|variable| {
        let paths = match condition.reads(variable) {
            Reads::Nothing => Vec::new(),
            Reads::Paths(paths) => paths,
            Reads::Whole => vec![FieldPath::default()],
        };
        paths.into_iter().map(|path| {
            let place = Place { variable: (*variable).into(), path };
            let value = place.find(vars).map(|found| match found {
                Found::Text(text) => Value::from(text),
                Found::Json(value) => value.clone(),
            });
            FieldRead { field: place.to_string(), value }
        })
    });
    Decision {
        condition: condition.source().to_owned(),
        reads: reads.collect(),
        error: holds.as_ref().err().map(ToString::to_string),
        holds: holds.unwrap_or(false),
    }
}

fn shown(event: &Event) -> EventShown {
    let data = String::from_utf8_lossy(&event.data).into_owned();
    EventShown {
        channel: event.channel.to_string(),
        key: event.key.as_ref().map(ToString::to_string),
        tags: event.tags.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect(),
        // The mapping has seen to it that it is JSON; null would be a defect of the mapping.
        data: RawValue::from_string(data).unwrap_or_default(),
    }
}

/// The answer in a sentence: of the sources that have something to do with the record.
fn because(sources: &[SourceExplanation], query: &EventQuery<'_>) -> String {
    if sources.iter().any(|source| source.sees) {
        let seen = sources.iter().filter(|source| source.sees).map(|source| source.because.as_str());
        return seen.collect::<Vec<_>>().join(", and ");
    }
    let topic = &query.record.topic;
    let concerned: Vec<&SourceExplanation> = sources.iter().filter(|source| source.takes).collect();
    match concerned.as_slice() {
        [] => match (query.view, query.cluster) {
            (Some(view), _) => format!("no source takes the changes of the view `{view}`"),
            (None, Some(cluster)) => {
                format!("no source reads the topic `{topic}` of the cluster `{cluster}`")
            }
            (None, None) => format!("no source reads the topic `{topic}`"),
        },
        [source] => source.because.clone(),
        several => {
            let each = several.iter().map(|source| format!("source {}: {}", source.source, source.because));
            each.collect::<Vec<_>>().join("; ")
        }
    }
}

fn tag_filter(filter: &Value) -> Result<Arc<TagFilter>, String> {
    let node: FilterNode =
        serde_json::from_value(filter.clone()).map_err(|error| format!("not a filter over tags: {error}"))?;
    TagFilter::compile(node).map(Arc::new).ok_or_else(|| {
        "not a filter over tags; one is `{\"key\": \"type\", \"cmp\": \"eq\", \"val\": \"order.paid\"}`"
            .to_owned()
    })
}
