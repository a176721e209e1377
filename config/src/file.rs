//! The top of `routes.yaml`: what the file holds, section by section.
//!
//! These types are the file as written; names are not resolved here. The doc comments are the reference manual and
//! the JSON Schema: unit, default and what happens at the limit belong in them.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::aggregator::Aggregator;
use crate::issuer::Issuer;
use crate::kafka::Kafka;
use crate::listener::{Admin, Listener};
use crate::located::{Located, Named};
use crate::node::Node;
use crate::route::Route;
use crate::units::Timespan;
use crate::upstream::Upstream;
use crate::view::View;
use crate::ws_bridge::WsBridge;

/// The whole configuration: `routes.yaml` and every file it includes.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The version of this language. Always 1.
    #[schemars(range(min = 1, max = 1))]
    pub version: Located<u32>,
    /// Further files, as globs relative to this file. An included file may hold `issuers`, `chains`, `upstreams` and
    /// `routes`; a name defined twice is an error. A glob that matches no file is an error unless it has a wildcard.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub include: Vec<Located<String>>,
    /// Where the edge accepts connections, by name.
    #[serde(default)]
    pub listeners: Named<Listener>,
    /// The operator's own listener: health, metrics, the running configuration. Off when absent. Read at start only.
    #[serde(default)]
    pub admin: Option<Admin>,
    /// How the process runs.
    #[serde(default)]
    pub process: Process,
    /// Who issues the tokens that `jwt` filters accept, by name.
    #[serde(default)]
    pub issuers: Named<Issuer>,
    /// Lists of filters, by name, in the order they run. A filter's state (its limits, its caches) belongs to the chain
    /// and is shared by every route that names the chain.
    #[serde(default)]
    pub chains: Named<Vec<FilterEntry>>,
    /// The services behind the edge, by name.
    #[serde(default)]
    pub upstreams: Named<Upstream>,
    /// Kafka clusters, by name.
    #[serde(default)]
    pub kafka: Named<Kafka>,
    /// The bridge from Kafka to browsers, over WebSocket and server-sent events. Off when absent.
    #[serde(default)]
    pub ws_bridge: Option<Located<WsBridge>>,
    /// What composed answers and views may cost, and where they are made. Default: inside the edge, as far as routes need it.
    #[serde(default)]
    pub aggregator: Option<Located<Aggregator>>,
    /// Tables kept from events of Kafka, by name. Routes lead to them with `view`.
    #[serde(default)]
    pub views: Named<Located<View>>,
    /// What goes where. The most specific match wins, not the first: see `match`.
    #[serde(default)]
    pub routes: Vec<Located<Route>>,
}

/// How the process runs.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Process {
    /// Worker threads. Default: one for each core. Read at start only.
    pub threads: Option<usize>,
    /// How long a stop waits for exchanges under way before it cuts them. Default: 30s.
    pub drain: Timespan,
    /// Where the access log goes: `stdout`, `stderr`, `off`, or a file's path (opened again on reload, so that it can be
    /// rotated). A log is turned on or off at start only. Default: stdout.
    pub access_log: String,
    /// Whether a changed file (this one, an included one, a certificate, a key set) is loaded by itself. Read at start
    /// only. Default: true.
    pub watch: bool,
}

impl Default for Process {
    fn default() -> Self {
        Process {
            threads: None,
            drain: Timespan::from_secs(30),
            access_log: "stdout".to_owned(),
            watch: true,
        }
    }
}

/// One filter of a chain: its name, then its settings. `- cors: { origins: [...] }`, or the bare name where every
/// setting has a default: `- request_id`.
#[derive(Debug, Clone)]
pub struct FilterEntry {
    /// The filter's name and where it stands.
    pub name: Located<String>,
    /// Its settings as written; the filter's own type reads them.
    pub settings: Node,
}

impl Config {
    /// The Kafka cluster of this name, or the only one there is where none is named; the loader has seen to it that there is
    /// one.
    pub fn cluster<'a>(&'a self, named: Option<&'a Located<String>>) -> &'a str {
        let only = || self.kafka.iter().next().map(|(name, _)| name.as_str()).unwrap_or_default();
        named.map_or_else(only, |name| name.as_str())
    }
}

/// A configuration and what belongs to it.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// The merged configuration.
    pub config: Config,
    /// Every file that was read: the main one, included ones, and files that secrets came from. The edge watches these.
    pub files: Vec<PathBuf>,
    /// The globs of `include`, joined to the folder: a new file that matches one belongs to the configuration too.
    pub globs: Vec<String>,
    /// The folder that relative paths in the configuration start from: the main file's.
    pub base: PathBuf,
}
