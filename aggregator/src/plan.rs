//! The configuration of an aggregator, compiled: what each route that leads here does, nothing started.

use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasher, Hash, Hasher, RandomState};
use std::path::PathBuf;
use std::sync::{Arc, LazyLock};

use sallyport_config::aggregator::{Aggregator, AggregatorLimits};
use sallyport_config::view::{View, ViewQuery};
use sallyport_config::{Config, Loaded, Report};
use sallyport_kafka::ClusterSettings;
use sallyport_upstreams::Upstreams;

use crate::compose::explain::Explained;
use crate::compose::plan::Compositions;
use crate::views::{Fingerprint, ViewRoute, Views};

/// Where stores are if nothing else is said.
const STATE: &str = "state";

/// An aggregator that could be started.
pub struct Plan {
    pub(crate) compositions: Compositions,
    pub(crate) views: Views,
    /// Routes that views answer, by name.
    pub(crate) view_routes: HashMap<Box<str>, ViewRoute>,
    /// Of each view.
    pub(crate) view_fingerprints: BTreeMap<Arc<str>, Fingerprint>,
    /// The clusters that views read.
    pub(crate) clusters: BTreeMap<Arc<str>, ClusterSettings>,
    pub(crate) limits: AggregatorLimits,
    /// The folder of stores.
    pub(crate) state: PathBuf,
    /// Equal for plans that say the same. Never shown.
    pub(crate) fingerprint: u64,
}

impl Plan {
    /// Compiles what concerns the aggregator. `None` if nothing does, or if the report has got errors. The names it uses were
    /// checked when the configuration was loaded.
    pub fn compile(loaded: &Loaded, upstreams: &Upstreams, report: &mut Report) -> Option<Plan> {
        let config = &loaded.config;
        let before = report.errors().count();
        let compositions = Compositions::compile(config, upstreams, report);
        let views = Views::compile(config, report);
        let mut view_routes = HashMap::new();
        for route in &config.routes {
            let compiled = route.view.as_ref().and_then(|view| ViewRoute::compile(route, view, report));
            view_routes.extend(compiled.map(|compiled| (route.name().into(), compiled)));
        }
        let named = config.views.iter().filter_map(|(_, view)| view.kafka.as_ref().map(|name| name.as_str()));
        let named: Vec<&str> = named.collect();
        let clusters = config.kafka.iter().filter(|(name, _)| {
            let only = config.kafka.iter().count() == 1;
            config.views.iter().next().is_some() && (only || named.contains(&name.as_str()))
        });
        let clusters = clusters.filter_map(|(name, kafka)| {
            ClusterSettings::compile(name, kafka, report).map(|cluster| (Arc::from(name.as_str()), cluster))
        });
        let clusters = clusters.collect();
        if report.errors().count() > before {
            return None;
        }
        let (compositions, views) = (compositions?, views?);
        if compositions.is_empty() && views.all().is_empty() {
            return None;
        }
        let settings = config.aggregator.as_ref().map(|settings| settings.value.clone()).unwrap_or_default();
        Some(Plan {
            compositions,
            views,
            view_routes,
            clusters,
            view_fingerprints: view_fingerprints(config),
            fingerprint: fingerprint(loaded, upstreams, &settings),
            limits: settings.limits,
            state: state_folder(loaded),
        })
    }

    /// The plan of a configuration that has nothing for an aggregator to do. What is read at start only stays.
    pub(crate) fn emptied(&self) -> Plan {
        Plan {
            compositions: Compositions::default(),
            views: Views::default(),
            view_routes: HashMap::new(),
            view_fingerprints: BTreeMap::new(),
            clusters: BTreeMap::new(),
            limits: self.limits.clone(),
            state: self.state.clone(),
            // No more likely that of another plan than any number is.
            fingerprint: 0,
        }
    }

    /// What the route of this name composes.
    pub fn explain(&self, route: &str) -> Option<Explained> {
        self.compositions.find(route).map(|composition| composition.explain())
    }
}

/// The folder of the views' stores.
pub fn state_folder(loaded: &Loaded) -> PathBuf {
    let named = loaded.config.aggregator.as_ref().and_then(|settings| settings.state.as_ref());
    loaded.base.join(named.map_or(STATE, |state| state.as_str()))
}

/// The same for all plans of a process.
static KEYS: LazyLock<RandomState> = LazyLock::new(RandomState::new);

/// What compositions and views depend on. An upstream with other settings is another one.
fn fingerprint(loaded: &Loaded, upstreams: &Upstreams, settings: &Aggregator) -> u64 {
    let config = &loaded.config;
    let mut hasher = KEYS.build_hasher();
    for route in config.routes.iter().filter(|route| route.aggregate.is_some() || route.view.is_some()) {
        serde_json::to_string(&route.value).unwrap_or_default().hash(&mut hasher);
    }
    serde_json::to_string(settings).unwrap_or_default().hash(&mut hasher);
    view_fingerprints(config).hash(&mut hasher);
    for (name, upstream) in upstreams {
        (name, Arc::as_ptr(upstream).addr()).hash(&mut hasher);
    }
    hasher.finish()
}

/// A view depends on its own settings and on those of the clusters. Secrets are not written out, so they are asked for
/// themselves.
fn view_fingerprints(config: &Config) -> BTreeMap<Arc<str>, Fingerprint> {
    let mut clusters = KEYS.build_hasher();
    serde_json::to_string(&config.kafka).unwrap_or_default().hash(&mut clusters);
    for (_, secret) in config.kafka.iter().flat_map(|(_, kafka)| kafka.secrets.iter()) {
        secret.expose().hash(&mut clusters);
    }
    let clusters = clusters.finish();
    let of_view = |view: &View| {
        let fold = View { query: ViewQuery::default(), ..view.clone() };
        Fingerprint {
            fold: KEYS.hash_one((clusters, serde_json::to_string(&fold).unwrap_or_default())),
            query: KEYS.hash_one(serde_json::to_string(&view.query).unwrap_or_default()),
        }
    };
    config.views.iter().map(|(name, view)| (Arc::from(name.as_str()), of_view(view))).collect()
}
