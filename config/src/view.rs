//! `views:`: tables that events of Kafka are folded into, and who may see their rows.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::forms::Written;
use crate::located::{Located, Named};
use crate::units::{ByteSize, Timespan};

/// A table of rows, each under its key, made of events by rules. Values are written as expressions: `$.path` (RFC 9535, a
/// singular query, into the data), `key` (the record's), `ce.attribute` (CloudEvents), `header.name`, `timestamp` (the
/// record's, in milliseconds), or a JSON literal: `1`, `true`, `'"a text"'`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct View {
    /// The cluster. Default: the only one there is.
    #[serde(default)]
    pub kafka: Option<Located<String>>,
    /// The topic, or a list of topics. All of it is read, from the first record that Kafka still has. Events of one key
    /// belong into one partition of one topic: between partitions there is no order.
    pub topic: Topics,
    /// The row's key: an expression. A record without it cannot be folded.
    pub key: Located<String>,
    /// What events do, in order: the first rule whose `on` fits is carried out, further ones are not. An event that no rule
    /// fits is passed over.
    pub fold: Vec<Located<Rule>>,
    /// Fields of a row that queries may filter and order by. Several fields in one entry, `"owner, created_at"`, are one
    /// index: for queries that filter by the first and order by the next. Fields that `visible_to` compares belong here.
    #[serde(default)]
    pub indexes: Vec<Located<String>>,
    /// Who may see a row: a condition (CEL) over `row` and `claims`. An error in it means no. `true` is everybody who passes
    /// the route.
    pub visible_to: Located<String>,
    /// Duplicates: what tells an event apart, such as `ce.id`. An event that was folded before is passed over. Default: none;
    /// what Kafka delivers twice, or a producer sends twice, counts twice. Within one topic Sallyport itself reads no record
    /// twice.
    #[serde(default)]
    pub unique: Option<Located<Unique>>,
    /// Late events: what orders the events of a key, such as `ce.time` or `$.version`. An event whose value is smaller than
    /// the largest the row has seen is late, and passed over. Default: none; events count in the order of the topic.
    #[serde(default)]
    pub ordered_by: Option<Located<String>>,
    /// How rows are asked for.
    #[serde(default)]
    pub query: ViewQuery,
    /// Where records go that cannot be folded, with headers that say where they came from and why. Default: nowhere; they
    /// are counted, and some are logged.
    #[serde(default)]
    pub dead_letter: Option<Located<String>>,
    /// The most rows. Events that would make one more are counted and passed over, and answers say that the view is not
    /// complete. Default: 10000000.
    #[serde(default = "ten_million")]
    pub rows_max: u64,
    /// Bytes of a row as JSON. An event that would make it larger cannot be folded. Default: 64KiB.
    #[serde(default = "sixty_four_kib")]
    pub row_bytes: ByteSize,
}

/// One topic or several.
#[derive(Debug, Clone, PartialEq)]
pub struct Topics(pub Vec<Located<String>>);

/// What an event does to the row of its key. In the order: `delete`, else `set`, `increment`, `max`, `min`, `unset`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// Which events. All of its conditions hold.
    pub on: Located<On>,
    /// Fields that get a value. A value that is missing in the event leaves the field as it is.
    #[serde(default)]
    #[schemars(with = "Named<Written>")]
    pub set: Named<Located<String>>,
    /// Numbers that are added to fields; a field that is not there counts as 0.
    #[serde(default)]
    #[schemars(with = "Named<Written>")]
    pub increment: Named<Located<String>>,
    /// Fields that get a value if it is larger than what they have: numbers, or texts such as times (compared byte by byte).
    #[serde(default)]
    #[schemars(with = "Named<Written>")]
    pub max: Named<Located<String>>,
    /// Fields that get a value if it is smaller than what they have.
    #[serde(default)]
    #[schemars(with = "Named<Written>")]
    pub min: Named<Located<String>>,
    /// Fields that go.
    #[serde(default)]
    pub unset: Vec<Located<String>>,
    /// Whether the row goes. Default: false.
    #[serde(default)]
    pub delete: bool,
    /// Whether a row that is not there is made. Default: true.
    #[serde(default = "yes")]
    pub create: bool,
}

/// Which events a rule is for.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct On {
    /// The event's type: of a CloudEvent its `type`, else the record's header `type`, else the data's `$.type`.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub event_type: Option<Located<String>>,
    /// Headers of the record with these values.
    pub header: Named<Located<String>>,
    /// Values in the data: `{ "$.kind": essay }`, compared as text.
    pub field: Named<Located<String>>,
    /// A condition (CEL) over `event` (the data), `ce`, `key` and `topic`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub when: Option<Located<String>>,
    /// Records without a value. The view's `key` must then be the record's. Default: false; a tombstone is passed over.
    pub tombstone: bool,
}

/// What tells an event apart.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Unique {
    /// An expression; an event without such a value cannot be folded.
    pub by: Located<String>,
    /// How many events are remembered, the newest. Default: 1000000.
    #[serde(default = "a_million")]
    pub keep: u64,
}

/// How rows are asked for.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ViewQuery {
    /// The most rows of a page, 1 to 1000; a larger `limit` is refused. Default: 200.
    #[schemars(range(min = 1, max = 1000))]
    pub max_page: usize,
    /// The rows of a page where the client names no `limit`. Default: 50.
    pub page: usize,
    /// How long a client's own cache may keep an answer (`Cache-Control: private, max-age`). Default: 0s, which is
    /// `private, no-cache`: it asks each time, and gets 304 where nothing has changed.
    pub max_age: Timespan,
    /// The longest that a query with `min_offset` waits for the view to get there. Beyond: 504. Default: 2s.
    pub wait: Timespan,
    /// The time a query may take. Beyond: 503. Default: 2s.
    pub timeout: Timespan,
}

/// A route to a view: its name, or `{ name: batches, key: "{id}" }`.
#[derive(Debug, Clone, PartialEq)]
pub struct RouteView {
    /// The view's name.
    pub name: Located<String>,
    /// One row instead of pages: its key, a text with path parameters of the route.
    pub key: Option<Located<String>>,
}

impl Default for ViewQuery {
    fn default() -> Self {
        ViewQuery {
            max_page: 200,
            page: 50,
            max_age: Timespan::default(),
            wait: Timespan::from_secs(2),
            timeout: Timespan::from_secs(2),
        }
    }
}

fn yes() -> bool {
    true
}

fn ten_million() -> u64 {
    10_000_000
}

fn a_million() -> u64 {
    1_000_000
}

fn sixty_four_kib() -> ByteSize {
    ByteSize(64 * 1024)
}
