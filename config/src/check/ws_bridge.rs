//! The bridge: names that must be known, channels that belong to families, sensible numbers. Conditions and templates
//! are read where they are compiled.

use std::collections::HashSet;
use std::time::Duration;

use crate::check::{Facts, clusters, sockets, topics};
use crate::file::Config;
use crate::located::{Located, Location};
use crate::report::Report;
use crate::ws_bridge::{Family, Publish, Source, WsBridge};

/// How often a client may be pinged at most.
const PING_MIN: Duration = Duration::from_secs(1);

pub(super) fn check(config: &Config, facts: &Facts, report: &mut Report) {
    let Some(bridge) = &config.ws_bridge else { return };
    let mut check = Check { config, bridge, facts, report };
    check.section();
    check.numbers();
    for source in &bridge.sources {
        check.source(source);
    }
    for (name, family) in bridge.channels.iter() {
        check.family(name, family);
    }
    for (_, publish) in bridge.rpc.iter() {
        check.publish(publish);
    }
    check.unfed();
}

struct Check<'a> {
    config: &'a Config,
    bridge: &'a Located<WsBridge>,
    facts: &'a Facts,
    report: &'a mut Report,
}

impl Check<'_> {
    /// Where the key of this path stands; else the section.
    fn place(&self, path: &str) -> Location {
        let places = &self.facts.bridge;
        places.get(path).or_else(|| places.get("")).copied().unwrap_or(self.bridge.at)
    }

    /// Whether everything below this key could be read. A key that is not there is sound.
    fn is_sound(&self, path: &str) -> bool {
        self.facts.bridge.get(path).is_none_or(|at| self.facts.is_sound(*at))
    }

    fn section(&mut self) {
        let bridge = self.bridge;
        for (index, name) in bridge.issuers.iter().enumerate() {
            self.facts.issuers.check("issuer", name, self.report);
            if bridge.issuers[..index].contains(name) {
                self.report.error(name.at, format!("the issuer `{}` stands here twice", name.value));
            }
        }
        if bridge.sources.is_empty() && bridge.channels.is_empty() && self.is_sound("") {
            self.report
                .error(self.place(""), "the bridge has neither `sources` nor `channels`")
                .hint("leave `ws_bridge` out where there is nothing to send");
        }
        if bridge.user_claim.is_empty() {
            self.report
                .error(self.place("user_claim"), "`user_claim` is empty")
                .hint("leave it out for `sub`");
        }
        if let Some(socket) = &bridge.socket {
            sockets::check(socket, "run/ws-bridge.sock", self.report);
        }
        let apart = self.config.aggregator.as_ref().is_some_and(|aggregator| aggregator.socket.is_some());
        let mut views = bridge.sources.iter().filter_map(|source| source.view.as_ref());
        if let Some(view) = views.next().filter(|_| bridge.socket.is_some() && !apart) {
            self.report
                .error(
                    view.at,
                    "the bridge is a process of its own, the aggregator is not: it cannot read views",
                )
                .hint("write `aggregator: { socket: run/aggregator.sock }`, and run `sallyport-aggregator`");
        }
    }

    fn numbers(&mut self) {
        let (life, limits) = (&self.bridge.connection, &self.bridge.limits);
        let zero = [
            ("connection.connect_timeout", life.connect_timeout.is_zero()),
            ("connection.pong_timeout", life.pong_timeout.is_zero()),
            ("limits.connections", limits.connections == 0),
            ("limits.connections_per_user", limits.connections_per_user == 0),
            ("limits.connections_per_address", limits.connections_per_address == 0),
            ("limits.subscriptions", limits.subscriptions == 0),
            ("limits.message_bytes", limits.message_bytes.0 == 0),
            ("limits.message_burst", limits.message_burst == 0),
            ("limits.queue_bytes", limits.queue_bytes.0 == 0),
            ("limits.channel_bytes", limits.channel_bytes == 0),
            ("limits.replay_bytes", limits.replay_bytes.0 == 0),
        ];
        for (path, _) in zero.iter().filter(|(_, zero)| *zero) {
            let name = path.rsplit('.').next().unwrap_or(path);
            self.report.error(self.place(path), format!("`{name}` may not be 0"));
        }
        if *life.ping < PING_MIN {
            self.report
                .error(self.place("connection.ping"), format!("`ping` is at least 1s, found {}", life.ping))
                .hint("25s is the default; a ping is there to find dead connections and to keep proxies patient");
        }
    }

    fn source(&mut self, source: &Located<Source>) {
        if !self.facts.is_sound(source.at) {
            return;
        }
        self.channel(&source.channel, None);
        if let Some(view) = &source.view {
            return self.changes(source, view);
        }
        clusters::check("source", source.kafka.as_ref(), source.at, self.facts, self.report);
        if source.topics.is_empty() {
            self.report
                .error(source.at, "a source needs topics")
                .hint("write `topics: [orders]`, or `view:` for the changes of a view");
        }
        for (index, topic) in source.topics.iter().enumerate() {
            topics::check(topic, true, self.report);
            if source.topics[..index].contains(topic) {
                self.report.error(topic.at, format!("the topic `{}` stands here twice", topic.value));
            }
        }
        if let Some(letters) = &source.dead_letter {
            topics::check(letters, false, self.report);
            if source.topics.iter().any(|topic| topics::means(topic, letters)) {
                self.report
                    .error(letters.at, format!("the source reads its own dead letters, `{}`", letters.value))
                    .hint("a record that cannot be mapped would go round for ever: take a topic it does not read");
            }
        }
    }

    /// A source of a view's changes.
    fn changes(&mut self, source: &Located<Source>, view: &Located<String>) {
        self.facts.views.check("view", view, self.report);
        let first_topic = source.topics.first();
        for (key, at) in [
            ("topics", first_topic.map(|topic| topic.at)),
            ("kafka", source.kafka.as_ref().map(|kafka| kafka.at)),
            ("dead_letter", source.dead_letter.as_ref().map(|letters| letters.at)),
        ] {
            let Some(at) = at else { continue };
            let hint = match key {
                "dead_letter" => "records that the view cannot fold go where its own `dead_letter` says",
                _ => "the view says itself what it reads; take two sources for both",
            };
            self.report.error(at, format!("a source with `view` has no `{key}`")).hint(hint);
        }
        let texts = source.tags.iter().map(|(_, text)| text).chain(&source.key).chain([&source.channel]);
        for text in texts.filter(|text| text.contains("{header.")) {
            self.report
                .error(text.at, "a change of a view has no headers")
                .hint("fields: `{key}`, `{$.row.owner}`, `{$.was.owner}`, `{ce.type}`, `{topic}`");
        }
    }

    fn family(&mut self, name: &Located<String>, family: &Located<Family>) {
        if !self.facts.is_sound(name.at) {
            return;
        }
        let place = |key: &str| format!("channels.{}.{key}", name.value);
        for (key, zero) in [
            ("replay.events", family.replay.events == 0),
            ("replay.bytes", family.replay.bytes.0 == 0),
            ("replay.window", family.replay.window.is_zero()),
        ] {
            if zero {
                let text = format!("`{key}` of the family `{}` is 0", name.value);
                self.report
                    .error(self.place(&place(key)), text)
                    .hint("a client that comes back after a moment would always have lost something");
            }
        }
        if family.token && self.bridge.issuers.is_empty() && self.is_sound("issuers") {
            self.report
                .error(self.place(&place("token")), "nobody could sign the tokens for these channels")
                .hint("name who does: `issuers: [main]` in `ws_bridge`");
        }
        if let Some(join) = &family.join {
            self.channel(join, Some(name));
        }
        if let Some(publish) = &family.publish {
            self.publish(publish);
        }
    }

    fn publish(&mut self, publish: &Located<Publish>) {
        if !self.facts.is_sound(publish.at) {
            return;
        }
        clusters::check("publication", publish.kafka.as_ref(), publish.at, self.facts, self.report);
        topics::check(&publish.topic, false, self.report);
        if publish.bytes.0 == 0 {
            self.report
                .error(publish.at, "`bytes` is 0, so no publication would pass")
                .hint("16KiB is the default");
        }
    }

    /// A channel, as a text with fields, that belongs to a family: to `of`, or else to any.
    fn channel(&mut self, channel: &Located<String>, of: Option<&Located<String>>) {
        let fixed = channel.split('{').next().unwrap_or_default();
        let family = match fixed.split_once(':') {
            Some((family, _)) => Some(family),
            // A field right behind it could make another family's name of it.
            None => (fixed.len() == channel.len()).then_some(fixed),
        };
        let Some(family) = family.filter(|family| !family.is_empty()) else {
            self.report
                .error(channel.at, format!("`{}` does not begin with a family's name", channel.value))
                .hint("write the name, a colon, then the rest: `batch:{$.batch_id}`; else data could choose who may see it");
            return;
        };
        match of {
            None => {
                let name = Located::new(family.to_owned(), channel.at);
                self.facts.families.check("channel family", &name, self.report);
            }
            Some(of) if family != of.as_str() => {
                self.report
                    .error(
                        channel.at,
                        format!("`{}` is no channel of the family `{}`", channel.value, of.value),
                    )
                    .hint(format!("write `{}:...`, or give `join` to the other family", of.value));
            }
            Some(_) => {}
        }
    }

    /// Families that nothing is ever sent in.
    fn unfed(&mut self) {
        if !self.is_sound("sources") {
            return;
        }
        let family = |source: &Located<Source>| {
            let end = source.channel.find([':', '{']).unwrap_or(source.channel.len());
            source.channel[..end].to_owned()
        };
        let fed: HashSet<String> = self.bridge.sources.iter().map(family).collect();
        for (name, family) in self.bridge.channels.iter() {
            if !fed.contains(name.as_str()) && !family.presence && !family.join_leave {
                self.report
                    .warning(name.at, format!("no source feeds the family `{}`", name.value))
                    .hint(format!("its events come from a source with `channel: \"{}:...\"`", name.value));
            }
        }
    }
}
