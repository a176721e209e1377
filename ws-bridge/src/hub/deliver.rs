//! The way of an event: into the ring, and to the subscribers who may see it. It is put into frames once, however many
//! they are.

use std::cell::OnceCell;
use std::sync::Arc;

use bytes::Bytes;

use super::progress::Progress;
use super::{Channel, FamilyState, State, Stored};
use crate::client::{Client, Kind, Offered};
use crate::event::Event;
use crate::metrics::Metrics;
use crate::protocol::reply::json;
use crate::websocket::text_frame;

/// An event in the forms in which clients of one channel get it, each made when it is first needed.
struct Forms<'a> {
    channel: &'a str,
    /// Whether `channel` is a pattern.
    wildcard: bool,
    event: &'a Stored,
    progress: &'a Progress,
    topics: &'a [Arc<str>],
    all_topics: &'a [Arc<str>],
    frame: OnceCell<Bytes>,
    text: OnceCell<Bytes>,
}

impl State {
    /// Gives an event to those who may see it.
    pub(crate) fn publish(&mut self, event: Event, metrics: &Metrics) {
        let State { families, progress, topics, sequence, .. } = self;
        let Some(state) = families.get_mut(super::family_of(&event.channel)) else { return };
        *sequence += 1;
        let offset = progress.offset(&state.topics);
        let event = Arc::new(Stored::new(event, *sequence, offset));
        let added = state.keep(&event);
        state.deliver(&event, progress, topics, metrics);
        metrics.events.inc();
        self.replay_bytes += added;
        while self.replay_bytes > self.replay_bytes_max && self.drop_oldest() {}
    }

    /// Drops the oldest event of all families. Whether there was one.
    fn drop_oldest(&mut self) -> bool {
        let oldest = self.families.values_mut().filter(|family| family.log.oldest().is_some());
        let bytes = oldest.min_by_key(|family| family.log.oldest()).and_then(FamilyState::drop_oldest);
        self.replay_bytes -= bytes.unwrap_or(0);
        bytes.is_some()
    }
}

impl FamilyState {
    /// Keeps an event for those who come back; the bytes that costs.
    fn keep(&mut self, event: &Arc<Stored>) -> usize {
        let replay = &self.family.replay;
        if replay.events == 0 {
            return 0;
        }
        let name = &event.event.channel;
        let channel = self.channels.entry(name.clone()).or_insert_with(|| Channel::new(name.clone()));
        // What goes for it stays in the log, as an entry without an event, until its turn comes.
        channel.ring.push(event.clone(), replay.events, replay.bytes.0 as usize);
        self.log.push(event);
        event.cost()
    }

    fn deliver(
        &mut self,
        event: &Arc<Stored>,
        progress: &Progress,
        all_topics: &[Arc<str>],
        metrics: &Metrics,
    ) {
        let FamilyState { family, topics, channels, patterns, .. } = self;
        let exact = channels.get_mut(&event.event.channel).map(|channel| (channel, false));
        let name = &*event.event.channel;
        let prefixes = if patterns.is_empty() { "" } else { name };
        let ends = prefixes.char_indices().map(|(end, _)| end).chain([prefixes.len()]);
        let offer = |channel: &mut Channel, wildcard: bool| {
            if channel.classes.is_empty() {
                return;
            }
            let name = channel.name.clone();
            let forms = Forms {
                channel: &name,
                wildcard,
                event,
                progress,
                topics,
                all_topics,
                frame: OnceCell::new(),
                text: OnceCell::new(),
            };
            channel.classes.viewers(family, event, |member| {
                forms.offer(&member.client, event, family.slow, metrics);
            });
        };
        if let Some((channel, wildcard)) = exact {
            offer(channel, wildcard);
        }
        if !patterns.is_empty() {
            for end in ends {
                if let Some(channel) = patterns.get_mut(&name[..end]) {
                    offer(channel, true);
                }
            }
        }
    }
}

impl Forms<'_> {
    fn offer(
        &self,
        client: &Client,
        event: &Arc<Stored>,
        slow: sallyport_config::ws_bridge::Slow,
        metrics: &Metrics,
    ) {
        let bytes = match client.kind {
            Kind::WebSocket => self.frame.get_or_init(|| self.frame()),
            Kind::Events => self.text.get_or_init(|| self.text()),
        };
        match client.offer(bytes, event, slow) {
            Offered::Queued => metrics.deliveries.inc(),
            Offered::Replaced(dropped) => {
                metrics.deliveries.inc();
                metrics.dropped_slow.inc_by(dropped);
            }
            Offered::TooSlow => metrics.dropped_closed.inc(),
            Offered::Withheld => metrics.dropped_withheld.inc(),
        }
    }

    /// A push of the client protocol, in its frame.
    fn frame(&self) -> Bytes {
        let epoch = self.progress.epoch(self.topics, Some((self.event.place(), self.event.event.time)));
        let (name, channel) = (json(self.channel), self.channel_member());
        text_frame(&[
            b"{\"push\":{\"channel\":",
            name.as_bytes(),
            b",\"pub\":",
            self.event.open_publication(),
            channel.as_bytes(),
            b",\"epoch\":\"",
            epoch.as_bytes(),
            b"\"}}}",
        ])
    }

    /// A server-sent event. Its id is the position over all topics: a stream has channels of several families.
    fn text(&self) -> Bytes {
        let id = self.progress.epoch(self.all_topics, None);
        let mut text = format!("id: {id}\ndata: {{\"channel\":{},\"pub\":", json(self.channel)).into_bytes();
        text.extend_from_slice(self.event.open_publication());
        text.extend_from_slice(self.channel_member().as_bytes());
        text.extend_from_slice(b"}}\n\n");
        text.into()
    }

    /// A subscriber of a pattern is told which channel it was.
    fn channel_member(&self) -> String {
        if !self.wildcard {
            return String::new();
        }
        format!(",\"channel\":{}", json(&*self.event.event.channel))
    }
}
