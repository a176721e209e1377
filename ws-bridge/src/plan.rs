//! The configuration of a bridge, compiled: every condition, template and name resolved, nothing started.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{BuildHasher, Hash, Hasher, RandomState};
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use sallyport_condition::{Condition, FieldPath, Projection, Reads};
use sallyport_config::ws_bridge::{Publish, Source, WsBridge};
use sallyport_config::{Config, Located, Report};
use sallyport_identity::{Issuers, Verifier};
use sallyport_kafka::{ClusterSettings, TopicPattern};
use serde_json::Value;

use crate::allowance::Allowance;
use crate::feed::of_view;
use crate::hub::Family;
use crate::mapping::Mapping;
use crate::protocol::reply::json;
use crate::template::{ClaimsTemplate, Template};

/// What a condition on a publication may read.
const OF_PUBLICATION: [&str; 4] = ["claims", "event", "channel", "id"];

/// A bridge that could be started.
pub struct Plan {
    pub(crate) settings: WsBridge,
    pub(crate) families: BTreeMap<Arc<str>, Arc<Family>>,
    pub(crate) sources: Vec<Arc<SourcePlan>>,
    pub(crate) clusters: BTreeMap<Arc<str>, ClusterSettings>,
    pub(crate) publish: BTreeMap<Arc<str>, Arc<PublishPlan>>,
    pub(crate) rpc: BTreeMap<Arc<str>, Arc<PublishPlan>>,
    pub(crate) joins: Vec<ClaimsTemplate>,
    pub(crate) verifier: Option<Verifier>,
    pub(crate) messages: Allowance,
    /// The aggregator's socket, of which changes of views are read.
    pub(crate) aggregator: Option<Arc<Path>>,
    /// Equal for plans that say the same, secrets included. Never shown.
    pub(crate) fingerprint: u64,
}

/// Where events come from.
pub(crate) struct SourcePlan {
    /// The cluster; for changes of a view what stands in its place.
    pub(crate) cluster: Arc<str>,
    /// The view whose changes it takes.
    pub(crate) view: Option<Arc<str>>,
    pub(crate) topics: Vec<TopicPattern>,
    pub(crate) mapping: Mapping,
    pub(crate) dead_letter: Option<Arc<str>>,
}

/// Where publications go.
pub(crate) struct PublishPlan {
    pub(crate) cluster: Arc<str>,
    pub(crate) topic: Arc<str>,
    pub(crate) key: Template,
    pub(crate) allow: Condition,
    /// What `allow` reads of the data.
    pub(crate) read: Projection,
    pub(crate) event_type: Box<str>,
    pub(crate) allowance: Allowance,
    pub(crate) bytes: usize,
}

impl Plan {
    /// Compiles `ws_bridge:`. `None` if there is no such section, or if the report has got errors. The names it uses
    /// were checked when the configuration was loaded.
    pub fn compile(config: &Config, issuers: &Issuers, report: &mut Report) -> Option<Plan> {
        let settings = &config.ws_bridge.as_ref()?.value;
        let before = report.errors().count();
        let clusters = config.kafka.iter().filter_map(|(name, kafka)| {
            ClusterSettings::compile(name, kafka, report).map(|cluster| (Arc::from(name.as_str()), cluster))
        });
        let clusters: BTreeMap<Arc<str>, ClusterSettings> = clusters.collect();
        let verifier = if settings.issuers.is_empty() {
            None
        } else {
            Verifier::new(issuers, &settings.issuers, report)
        };
        let mut families = BTreeMap::new();
        let mut publish = BTreeMap::new();
        let mut joins = Vec::new();
        for (name, family) in settings.channels.iter() {
            let fed = settings.sources.iter().filter(|source| feeds(source, name));
            let topics = fed.flat_map(|source| {
                let (cluster, topics) = origin(source, config);
                topics.into_iter().map(move |topic| (cluster.clone(), topic))
            });
            if let Some(compiled) = Family::compile(name, family, topics.collect(), report) {
                families.insert(compiled.name.clone(), Arc::new(compiled));
            }
            if let Some(settings) = &family.publish
                && let Some(compiled) = PublishPlan::compile(name, settings, config, report)
            {
                publish.insert(name.as_str().into(), Arc::new(compiled));
            }
            joins.extend(family.join.as_ref().and_then(|join| ClaimsTemplate::compile(join, report)));
        }
        let rpc = settings.rpc.iter().filter_map(|(name, settings)| {
            let compiled = PublishPlan::compile(name, settings, config, report)?;
            Some((name.as_str().into(), Arc::new(compiled)))
        });
        let rpc = rpc.collect();
        let sources = settings
            .sources
            .iter()
            .filter_map(|source| SourcePlan::compile(source, config, &families, report).map(Arc::new));
        let sources = sources.collect();
        if report.errors().count() > before {
            return None;
        }
        Some(Plan {
            families,
            sources,
            clusters,
            publish,
            rpc,
            joins,
            verifier,
            messages: Allowance::new(settings.limits.messages, settings.limits.message_burst),
            aggregator: None,
            fingerprint: fingerprint(config, issuers),
            settings: settings.clone(),
        })
    }
}

/// Keyed anew in each process, so that nobody can try out what a secret might be.
static FINGERPRINT_KEY: LazyLock<RandomState> = LazyLock::new(RandomState::new);

fn fingerprint(config: &Config, issuers: &Issuers) -> u64 {
    let mut hasher = FINGERPRINT_KEY.build_hasher();
    json(&config.ws_bridge).hash(&mut hasher);
    json(&config.kafka).hash(&mut hasher);
    for (name, secret) in config.kafka.iter().flat_map(|(_, kafka)| kafka.secrets.iter()) {
        (name.as_str(), secret.expose()).hash(&mut hasher);
    }
    let named =
        config.ws_bridge.iter().flat_map(|bridge| &bridge.issuers).filter_map(|name| issuers.find(name));
    named.for_each(|issuer| issuer.settings_fingerprint().hash(&mut hasher));
    hasher.finish()
}

impl Plan {
    /// The plan for a bridge that reads changes of views from the aggregator behind this socket. Without it, a plan with such
    /// sources can be explained, not started.
    #[must_use]
    pub fn with_aggregator(self, socket: PathBuf) -> Plan {
        Plan { aggregator: Some(socket.into()), ..self }
    }

    /// The views whose changes are read.
    pub(crate) fn views(&self) -> BTreeSet<Arc<str>> {
        self.sources.iter().filter_map(|source| source.view.clone()).collect()
    }

    /// Whether anything is sent to a cluster.
    pub(crate) fn sends_to(&self, cluster: &str) -> bool {
        let mut publishes = self.publish.values().chain(self.rpc.values());
        publishes.any(|publish| *publish.cluster == *cluster)
            || self.sources.iter().any(|source| *source.cluster == *cluster && source.dead_letter.is_some())
    }

    /// The channels that a client with these claims is subscribed to without asking.
    pub(crate) fn joined(&self, claims: &Value) -> Vec<Arc<str>> {
        let mut channels: Vec<Arc<str>> =
            self.joins.iter().filter_map(|join| join.render(claims).map(Arc::from)).collect();
        if let Some(Value::Array(listed)) = claims.get("channels") {
            channels.extend(listed.iter().filter_map(Value::as_str).map(Arc::from));
        }
        channels.sort();
        channels.dedup();
        channels
    }

    /// How far back a start reads: as far as the family that keeps its events longest.
    pub(crate) fn window(&self) -> Duration {
        self.families.values().map(|family| *family.replay.window).max().unwrap_or_default()
    }
}

impl SourcePlan {
    fn compile(
        source: &Located<Source>,
        config: &Config,
        families: &BTreeMap<Arc<str>, Arc<Family>>,
        report: &mut Report,
    ) -> Option<SourcePlan> {
        let fed = families.values().filter(|family| feeds(source, &family.name));
        let conditions: Vec<&Condition> = fed.map(|family| &family.visible_to).collect();
        let (cluster, topics) = origin(source, config);
        Some(SourcePlan {
            cluster,
            view: source.view.as_ref().map(|view| view.as_str().into()),
            topics,
            mapping: Mapping::compile(source, &conditions, report)?,
            dead_letter: source.dead_letter.as_ref().map(|topic| topic.as_str().into()),
        })
    }

    /// Whether records of this topic are for it.
    pub(crate) fn takes(&self, topic: &str) -> bool {
        self.topics.iter().any(|pattern| pattern.matches(topic))
    }
}

impl PublishPlan {
    fn compile(
        name: &Located<String>,
        settings: &Located<Publish>,
        config: &Config,
        report: &mut Report,
    ) -> Option<PublishPlan> {
        let allow = Condition::compile(&settings.allow, &OF_PUBLICATION, report);
        let default = Located::nowhere("{channel}".to_owned());
        let key =
            Template::compile(settings.key.as_ref().unwrap_or(&default), &["channel", "id", "user"], report);
        let (allow, key) = (allow?, key?);
        let read = match allow.reads("event") {
            Reads::Nothing => Projection::new([]),
            Reads::Paths(paths) => Projection::new(paths),
            Reads::Whole => Projection::new([FieldPath::default()]),
        };
        let burst = settings.rate.count;
        Some(PublishPlan {
            cluster: config.cluster(settings.kafka.as_ref()).into(),
            topic: settings.topic.as_str().into(),
            key,
            allow,
            read,
            event_type: settings.event_type.as_ref().unwrap_or(name).as_str().into(),
            allowance: Allowance::new(settings.rate, burst),
            bytes: usize::try_from(settings.bytes.0).unwrap_or(usize::MAX),
        })
    }
}

/// Where a source's events come from: the cluster, or what stands in its place for a view, and the topics there.
fn origin(source: &Source, config: &Config) -> (Arc<str>, Vec<TopicPattern>) {
    match &source.view {
        Some(view) => (of_view(view), vec![TopicPattern::new("*")]),
        None => {
            let topics = source.topics.iter().map(|topic| TopicPattern::new(topic.as_str()));
            (config.cluster(source.kafka.as_ref()).into(), topics.collect())
        }
    }
}

/// Whether a source's channels belong to a family: its template begins with the family's name.
fn feeds(source: &Source, family: &str) -> bool {
    let rest = source.channel.strip_prefix(family);
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(':'))
}
