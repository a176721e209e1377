//! `ws_bridge:`: which events become which channels, who may see them, and what a client may cost.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::located::{Located, Named};
use crate::units::{ByteSize, Rate, Timespan};

/// The bridge from Kafka to browsers. Routes lead to it with `sidecar: ws-bridge`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WsBridge {
    /// The Unix socket of a bridge that runs as a process of its own (`sallyport-ws-bridge`), relative to the
    /// configuration file. Default: none, the bridge runs inside the edge.
    #[serde(default)]
    pub socket: Option<Located<String>>,
    /// Who signs the tokens of first messages, refreshes and subscriptions. Default: nobody; identities then come from
    /// the route's filters alone.
    #[serde(default)]
    pub issuers: Vec<Located<String>>,
    /// The claim that names the user, who shares limits and presence. Default: sub.
    #[serde(default = "sub")]
    pub user_claim: String,
    /// Whether a client without any identity may connect. It sees what `visible_to` allows without claims.
    /// Default: false.
    #[serde(default)]
    pub anonymous: bool,
    /// How connections live.
    #[serde(default)]
    pub connection: ConnectionLife,
    /// What clients may cost.
    #[serde(default)]
    pub limits: BridgeLimits,
    /// Where events come from. One topic may feed several sources.
    #[serde(default)]
    pub sources: Vec<Located<Source>>,
    /// Families of channels by name: the channel `batch:42` belongs to the family `batch`, and so does `batch`.
    #[serde(default)]
    pub channels: Named<Located<Family>>,
    /// Remote procedures that clients may call, by name: the call's data becomes a record, the answer is its place.
    #[serde(default)]
    pub rpc: Named<Located<Publish>>,
}

/// How connections live.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ConnectionLife {
    /// Time for the first message, `connect`. Beyond: closed with 3502. Default: 10s.
    pub connect_timeout: Timespan,
    /// How often a client is pinged when nothing else was sent to it. Default: 25s.
    pub ping: Timespan,
    /// Time for the pong. Beyond: closed with 3012. Default: 10s.
    pub pong_timeout: Timespan,
    /// How long a connection or subscription whose token has expired may still refresh it. It gets no events in this
    /// time. Beyond: closed with 3005, or unsubscribed with 2501. Default: 20s.
    pub expiry_grace: Timespan,
    /// How long a connection may live at all; then it is closed with 3011, and the client connects again.
    /// Default: 24h; `0s` turns it off.
    pub max_age: Timespan,
}

/// What clients may cost.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct BridgeLimits {
    /// Connections at a time. One more is closed with 3001, and tries again; a stream of server-sent events gets 503.
    /// Default: 20000.
    pub connections: usize,
    /// Connections of one user at a time. One more is closed with 3504. Default: 32.
    pub connections_per_user: usize,
    /// Connections of one address (IPv6: one /64) at a time. One more is closed with 3504; a stream of server-sent events
    /// gets 429. Default: 256.
    pub connections_per_address: usize,
    /// Subscriptions of one connection. One more is closed with 3505. Default: 128.
    pub subscriptions: usize,
    /// Bytes of a message from a client, all its fragments together. Above: closed with 1009. Default: 64KiB.
    pub message_bytes: ByteSize,
    /// Messages that a client may send. Above: closed with 3013. Default: 50/s, with a burst of 200.
    pub messages: Rate,
    /// The burst of `messages`. Default: 200.
    pub message_burst: u32,
    /// Bytes of events that wait for one client. What happens then says its family's `slow`. If as many bytes of replies
    /// wait, its next commands are not looked at before it has read. Default: 1MiB.
    pub queue_bytes: ByteSize,
    /// Bytes of a channel's name. Above: refused. Default: 255.
    pub channel_bytes: usize,
    /// Bytes of events kept for replay, all channels together; the oldest go first. Default: 256MiB.
    pub replay_bytes: ByteSize,
    /// How many records of Kafka one catch-up may read for clients that have been away longer than the replay reaches.
    /// Beyond: they start anew with `recovered: false`. Default: 200000; 0 turns catching up off.
    pub catch_up_records: u64,
}

/// Where events come from, and how a record becomes one. Either `topics` or `view` says where.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Source {
    /// The cluster of `topics`. Default: the only one there is.
    #[serde(default)]
    pub kafka: Option<Located<String>>,
    /// Topics: names, or patterns with `*` for any characters. A topic that appears later is found.
    #[serde(default)]
    pub topics: Vec<Located<String>>,
    /// A view, whose changes are the events instead: the data of each is `{"key": "b1", "row": {...}}`, and where the row has
    /// gone `{"key": "b1", "row": null, "was": {...}}` with the last that it was; `key` is the row's, `ce.type` is
    /// `view.changed` or `view.deleted`, `topic` and `timestamp` are those of the record that made the change. Who sees it is
    /// for `visible_to` of the family to say, not for that of the view. Default: none.
    #[serde(default)]
    pub view: Option<Located<String>>,
    /// The channel: text with fields of the record, `batch:{$.batch_id}`. A field is `{$.path}` (RFC 9535, a singular
    /// query, of the data), `{key}`, `{ce.attribute}` (CloudEvents), `{header.name}`, or `{topic}`. It begins with a
    /// family's name. A record that lacks a field is a poison record.
    pub channel: Located<String>,
    /// Short texts that go with an event, for clients' filters and for conditions: `type: "{ce.type}"`. A tag whose
    /// field is missing is left out.
    #[serde(default)]
    pub tags: Named<Located<String>>,
    /// What clients get: a singular query (RFC 9535) into the data. Default: all of it, as it is.
    #[serde(default)]
    pub data: Option<Located<String>>,
    /// Events with the same key replace each other where a family's `slow` is `conflate`: text with fields, as in
    /// `channel`. Default: `{key}`.
    #[serde(default)]
    pub key: Option<Located<String>>,
    /// Only records for which this condition (CEL) holds. It may use `event`, `ce`, `key`, `tags`, `topic`.
    /// Default: all.
    #[serde(default)]
    pub when: Option<Located<String>>,
    /// Where records go that cannot be mapped, with headers that say where they came from and why. Not for changes of a view,
    /// which are no records. Default: nowhere; they are counted, and some are logged.
    #[serde(default)]
    pub dead_letter: Option<Located<String>>,
}

/// A family of channels.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Family {
    /// Who may see an event: a condition (CEL) over `claims`, `event` (the data), `ce` (CloudEvents attributes), `tags`,
    /// `key`, `channel` (its name), `id` (the name behind the colon). An error in it means no. `true` is everybody who
    /// may subscribe.
    pub visible_to: Located<String>,
    /// Who may subscribe: a condition (CEL) over `claims`, `channel`, `id`. Default: `true`; what a subscriber sees is
    /// still for `visible_to` to say.
    #[serde(default)]
    pub subscribe_if: Option<Located<String>>,
    /// Whether subscribing needs a token for the channel (claims `channel`, `sub`, `exp`). Default: false.
    #[serde(default)]
    pub token: bool,
    /// Whether `family:*` may be subscribed to, and `family:a*`. Default: false.
    #[serde(default)]
    pub wildcard: bool,
    /// A channel that every client is subscribed to when it connects: `user:{claims.sub}`. Default: none. Channels that a
    /// token lists in its claim `channels` are subscribed to as well.
    #[serde(default)]
    pub join: Option<Located<String>>,
    /// What is kept for clients that come back.
    #[serde(default)]
    pub replay: Replay,
    /// What happens to a client that does not read as fast as events come. Default: disconnect.
    #[serde(default)]
    pub slow: Slow,
    /// Whether subscribers may ask who else is there, on this node. Default: false.
    #[serde(default)]
    pub presence: bool,
    /// Whether subscribers are told who comes and goes, on this node. Default: false.
    #[serde(default)]
    pub join_leave: bool,
    /// Whether subscribers may read what was sent before, as far as the replay reaches. Default: true.
    #[serde(default = "yes")]
    pub history: bool,
    /// Where clients' publications go. Default: clients may not publish.
    #[serde(default)]
    pub publish: Option<Located<Publish>>,
}

/// What is kept for clients that come back.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Replay {
    /// Events of one channel. Default: 256.
    pub events: usize,
    /// Bytes of one channel's events. Default: 256KiB.
    pub bytes: ByteSize,
    /// How far back a start reads, and how long events are kept. Default: 5m.
    pub window: Timespan,
}

/// What happens to a client whose queue is full.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Slow {
    /// It is closed with 3008, connects again, and recovers.
    #[default]
    Disconnect,
    /// Its oldest events of the family go; it is told how many (`gap`).
    DropOldest,
    /// Of events with the same key only the newest stays; it is told how many went (`gap`).
    Conflate,
}

/// Where clients' publications go: a record with the client's data as its value.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Publish {
    /// The cluster. Default: the only one there is.
    #[serde(default)]
    pub kafka: Option<Located<String>>,
    /// The topic. All in-sync replicas have the record before the client is answered.
    pub topic: Located<String>,
    /// The record's key: text with `{channel}`, `{id}` and `{user}`. Default: `{channel}`.
    #[serde(default)]
    pub key: Option<Located<String>>,
    /// Who may: a condition (CEL) over `claims`, `channel`, `id`, and `event`, the data. It has to be given.
    pub allow: Located<String>,
    /// The CloudEvents type of the record. Default: the family's or the procedure's name.
    #[serde(default, rename = "type")]
    pub event_type: Option<Located<String>>,
    /// How often one connection may, with a burst of as many. Beyond: error 111. Default: 10/s.
    #[serde(default = "ten_a_second")]
    pub rate: Rate,
    /// Bytes of the data. Above: refused. Default: 16KiB.
    #[serde(default = "sixteen_kib")]
    pub bytes: ByteSize,
}

impl Default for ConnectionLife {
    fn default() -> Self {
        ConnectionLife {
            connect_timeout: Timespan::from_secs(10),
            ping: Timespan::from_secs(25),
            pong_timeout: Timespan::from_secs(10),
            expiry_grace: Timespan::from_secs(20),
            max_age: Timespan::from_secs(24 * 3600),
        }
    }
}

impl Default for BridgeLimits {
    fn default() -> Self {
        BridgeLimits {
            connections: 20_000,
            connections_per_user: 32,
            connections_per_address: 256,
            subscriptions: 128,
            message_bytes: ByteSize(64 * 1024),
            messages: Rate { count: 50, per: std::time::Duration::from_secs(1) },
            message_burst: 200,
            queue_bytes: ByteSize(1024 * 1024),
            channel_bytes: 255,
            replay_bytes: ByteSize(256 * 1024 * 1024),
            catch_up_records: 200_000,
        }
    }
}

impl Default for Replay {
    fn default() -> Self {
        Replay { events: 256, bytes: ByteSize(256 * 1024), window: Timespan::from_secs(300) }
    }
}

fn sub() -> String {
    "sub".to_owned()
}

fn yes() -> bool {
    true
}

fn ten_a_second() -> Rate {
    Rate { count: 10, per: std::time::Duration::from_secs(1) }
}

fn sixteen_kib() -> ByteSize {
    ByteSize(16 * 1024)
}
